"""All clients of a round trained in one process, each as its ClientApp would: rows of updates, without messages.

    updates, losses = Fleet(task, seed=1).trained(sent, jobs)   # (n, d), (n,)

Methods: `one_by_one`, in which every bit is the ClientApp's; `channels_last`, the same with convolutions' kernels laid
out as pooling likes best; and `stacked` (`stacking.py`), all clients' parameters being one tensor each. Which is
fastest depends on the model: `auto` measures it once per machine (`choice.py`).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from hawthorn.strategies.contract import nearest
from hawthorn.strategies.errors import SettingError
from hawthorn.strategies.kernels.tasks import cores

from .choice import Choice
from .stacking import Job, descended_together, stackable, stacks
from .tasks.examples import Floats, Task
from .tasks.models import Loss
from .training import descended, float_entries, one_thread, seeded

__all__ = ["METHODS", "Fleet", "Job"]

log = logging.getLogger(__name__)

KEPT = 31 << 20  # bytes; glibc learns nothing from blocks of 32 MiB and more
METHODS = ("auto", "stacked", "one_by_one", "channels_last")


class Fleet:
    """Many clients of one task.

    A model is a row `(d,)`: the floating-point entries of its state one after another. Integer entries, such as batch
    norm's counters, stay in every client as they are in a new model. `threads` train at once, as many as there are
    cores unless said otherwise; their number changes no bit. With `stacked`, models that cannot be stacked and jobs
    with a penalty or frozen values go one by one, and a row may depend on the others in its last digits. On a GPU
    (`device="cuda"`, never run on one so far) `auto` means `stacked`. Raises `SettingError` for an unknown method, a
    device that is not there, and a model that is not of float32 throughout.

    >>> from hawthorn.client.tasks import find_task
    >>> from hawthorn.client.training import Training
    >>> task = find_task("digits")
    >>> fleet = Fleet(task, seed=1, method="one_by_one")
    >>> jobs = [Job(task.train[:60], Training(epochs=1), seed=1), Job(task.train[60:200], Training(steps=3), seed=2)]
    >>> updates, losses = fleet.trained(fleet.initial, jobs)
    >>> updates.shape == (2, len(fleet.initial)), losses.shape
    (True, (2,))
    """

    def __init__(
        self, task: Task, *, seed: int, method: str = "auto", threads: int | None = None, device: str = "cpu"
    ) -> None:
        if method not in METHODS:
            raise SettingError(f"no training method named {method!r}; {nearest(method, METHODS)}")
        if device != "cpu" and not torch.cuda.is_available():
            raise SettingError(f"device must be cpu, or cuda where torch finds a GPU, got {device!r}")
        self.task = task
        self.seed = seed
        self.device = torch.device(device)
        self.threads = threads or cores()
        self.asked = method
        self.method = method
        self._template = task.model(seed)
        self.initial: Floats = _vector(self._template)
        self._replicas: dict[bool, list[Replica]] = {}  # by whether channels come last
        self._pool: ThreadPoolExecutor | None = None
        self._choice = Choice(task, self._template)
        # What a step allocates the next one needs again. The C library would give it back to the system meanwhile,
        # which takes a sixth of a small network's time; once it has seen a block of this size go, it keeps as much.
        torch.empty(KEPT, dtype=torch.uint8)

    def model(self, vector: Floats) -> torch.nn.Module:
        """The model of a row `(d,)`, for evaluation: always the same module, loaded anew."""
        start = 0
        for entry in float_entries(self._template).values():
            part = torch.as_tensor(vector[start : start + entry.numel()])
            entry.copy_(part.view(entry.shape))
            start += entry.numel()
        return self._template

    def trained(
        self, sent: Floats, jobs: Sequence[Job], *, out: Floats | None = None
    ) -> tuple[Floats, npt.NDArray[np.float64]]:
        """The updates `(n, d)` of the clients, what they trained less what was sent, and their mean losses `(n,)`.

        They are written to the first rows of `out`, if it is given: memory that is there already costs no time.
        """
        if sent.shape != self.initial.shape:
            raise SettingError(f"a model of this task is a row of {self.initial.shape}, got {sent.shape}")
        start = torch.tensor(sent, dtype=torch.float32, device=self.device)
        # NumPy asks for large pages, which take a fraction of the time to come by; torch does not
        updates = np.empty((len(jobs), len(sent)), dtype=np.float32) if out is None else out[: len(jobs)]
        rows = torch.from_numpy(updates).to(self.device)
        self.method = self._method(start, jobs)
        losses = self._train(self.method, start, jobs, rows, self.threads)
        return rows.cpu().numpy(), losses

    def _method(self, start: torch.Tensor, jobs: Sequence[Job]) -> str:
        """The method for these jobs."""
        method = self.asked
        if method == "auto" and self.device.type != "cpu":
            method = "stacked"
        if method == "auto":

            def run(method: str, some: Sequence[Job]) -> None:
                rows = torch.empty((len(some), len(start)), dtype=torch.float32)
                self._train(method, start, some, rows, threads=1)

            candidates = [name for name in METHODS[1:] if name != "channels_last" or self._kernels]
            method = self._choice(jobs, [name for name in candidates if name != "stacked" or self._stackable], run)
        if method == "stacked" and not self._stackable:
            log.info("the model of %s cannot be stacked: its clients train one by one", self.task.name)
            return "one_by_one"
        return method

    @cached_property
    def _kernels(self) -> bool:
        """Whether the model has kernels of convolutions, whose channels could come last."""
        return any(parameter.ndim == 4 for parameter in self._template.parameters())

    @cached_property
    def _draws(self) -> bool:
        """Whether the model draws from torch's global random state as it learns."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            before = torch.get_rng_state()
            self.task.model(self.seed)(torch.from_numpy(self.task.train.x[:2]))
            return not torch.equal(before, torch.get_rng_state())

    @cached_property
    def _stackable(self) -> bool:
        """Whether the model can be stacked."""

        def alone(start: torch.Tensor, job: Job, update: torch.Tensor) -> None:
            Replica(self.task.model(self.seed), self.task.loss).train(start, job, update)

        with one_thread():
            return not self._draws and stackable(self.task.model(self.seed), self.task.train, self.task.loss, alone)

    def _train(
        self, method: str, start: torch.Tensor, jobs: Sequence[Job], rows: torch.Tensor, threads: int
    ) -> npt.NDArray[np.float64]:
        """The mean losses of training that makes the rows the updates of the jobs."""
        losses = np.full(len(jobs), np.nan)
        together = [place for place, job in enumerate(jobs) if method == "stacked" and not job.alone]
        units = list(stacks(jobs, together, len(start)))
        units += [[place] for place, job in enumerate(jobs) if method != "stacked" or job.alone]
        left = iter(units)

        def work(replica: Replica) -> None:
            for places in left:  # shared by the threads: each takes the next clients
                if method == "stacked" and not jobs[places[0]].alone:
                    stack = start.repeat(len(places), 1)
                    stacked = [jobs[place] for place in places]
                    losses[places] = descended_together(replica.model, stack, stacked, self.task.loss)
                    for place, own in zip(places, stack, strict=True):
                        torch.sub(own, start, out=rows[place])
                else:
                    job = jobs[places[0]]
                    with seeded(job.seed) if self._draws else contextlib.nullcontext():
                        losses[places] = replica.train(start, job, rows[places[0]])

        # what layers such as dropout draw comes from torch's only generator: such clients must take turns
        threads = 1 if self._draws else max(1, min(threads, len(units)))
        last = method == "channels_last"
        replicas = self._replicas.setdefault(last, [])
        while len(replicas) < threads:
            model = self.task.model(self.seed).to(self.device)
            replicas.append(Replica(model, self.task.loss, channels_last=last))
        with one_thread():  # around the pool, too: MKL knows only one number of threads, for all that call it
            if threads == 1:
                work(replicas[0])
            else:
                self._pool = self._pool or ThreadPoolExecutor(self.threads, "fleet", torch.set_num_threads, (1,))
                for _ in self._pool.map(work, replicas[:threads]):
                    pass
        return losses


class Replica:
    """A model for one thread, whose weights stay in the cache; with `channels_last` kernels lie in the other order."""

    def __init__(self, model: torch.nn.Module, loss: Loss, *, channels_last: bool = False) -> None:
        self.model = model
        self.loss = loss
        entries = model.state_dict(keep_vars=True)
        self.counters = {name: entry.clone() for name, entry in entries.items() if not entry.is_floating_point()}
        for entry in entries.values():
            if channels_last and entry.ndim == 4:
                entry.data = entry.data.contiguous(memory_format=torch.channels_last)
        self.entries = [entry.detach() for entry in entries.values() if entry.is_floating_point()]
        self.parameters = list(model.parameters())
        places = [parameter.data_ptr() for parameter in self.parameters]
        self.bare = places == [entry.data_ptr() for entry in self.entries] and not self.counters
        self.loaded: torch.Tensor | None = None  # what the weights are, as long as nobody has trained them

    def train(self, start: torch.Tensor, job: Job, update: torch.Tensor) -> float:
        """The mean loss of training from `start` `(d,)`; what it moves is written to `update` `(d,)`."""
        if self.loaded is not start:
            for entry, part in zip(self.entries, self._parts(start), strict=True):
                entry.copy_(part)
            self.loaded = start
        if self.bare and job.steps == 1 and not job.alone:
            return self._step(start, job, update)
        self.loaded = None
        if self.counters:
            self.model.load_state_dict(self.counters, strict=False)
        loss = descended(self.model, job.examples, job.training, seed=job.seed, loss=self.loss)
        for entry, part, moved in zip(self.entries, self._parts(start), self._parts(update), strict=True):
            torch.sub(entry, part, out=moved)
        return loss

    def _step(self, start: torch.Tensor, job: Job, update: torch.Tensor) -> float:
        """The same for a single step, after which the next client finds the weights as they were sent."""
        (batch,) = job.batches()
        x, y = torch.from_numpy(job.examples.x), torch.from_numpy(job.examples.y)
        mean = self.loss(self.model(x[batch].to(start.device)), y[batch].to(start.device)).mean()
        gradients = torch.autograd.grad(mean, self.parameters)
        for part, gradient, moved in zip(self._parts(start), gradients, self._parts(update), strict=True):
            # as if the weights had moved and come back: the same bits as those of who has taken the step
            torch.sub(part, gradient, alpha=job.training.learning_rate, out=moved).sub_(part)
        return mean.item()

    def _parts(self, vector: torch.Tensor) -> list[torch.Tensor]:
        parts = torch.split(vector, [entry.numel() for entry in self.entries])
        return [part.view(entry.shape) for part, entry in zip(parts, self.entries, strict=True)]


def _vector(model: torch.nn.Module) -> Floats:
    """The row `(d,)` of a model; raises `SettingError` if it is not of float32 throughout."""
    entries = float_entries(model)
    for name, entry in entries.items():
        if entry.dtype != torch.float32:
            raise SettingError(f"a fleet trains models of float32, but {name} is {entry.dtype}")
    return torch.cat([entry.flatten() for entry in entries.values()]).numpy()
