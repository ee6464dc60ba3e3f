"""All clients of a round trained in one process, each as its ClientApp would: rows of updates, without messages.

    updates, losses = Fleet(task, seed=1).trained(sent, jobs)   # (n, d), (n,)

Two methods: `one_by_one`, each client's parameters being views into its row of the result, so that nothing is copied,
and `stacked` (`stacking.py`), all clients' parameters being one tensor each. Which is faster depends on the model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from hawthorn.strategies.contract import nearest
from hawthorn.strategies.errors import SettingError

from .tasks.examples import Examples, Floats, Task
from .tasks.models import Loss
from .training import Training, cores, descended, float_entries, one_thread, seeded

METHODS = ("auto", "stacked", "one_by_one")


@dataclass(frozen=True, eq=False)
class Job:
    """One client's work in a round: its examples, how it trains on them, and the seed that draws its batches."""

    examples: Examples
    training: Training
    seed: int


class Fleet:
    """Many clients of one task.

    A model is a row `(d,)`: the floating-point entries of its state one after another. Integer entries, such as batch
    norm's counters, stay in every client as they are in a new model. `threads` train at once, as many as there are
    cores unless said otherwise; their number changes no bit. Raises `SettingError` for an unknown method, a device that
    is not there, and a model that is not of float32 throughout.
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
        self.method = method
        self._template = task.model(seed)
        self.initial: Floats = _vector(self._template)
        self._replicas: list[Replica] = []
        self._pool: ThreadPoolExecutor | None = None
        self._draws = _draws(task.model(seed), task)

    def model(self, vector: Floats) -> torch.nn.Module:
        """The model of a row `(d,)`, for evaluation: always the same module, loaded anew."""
        start = 0
        for entry in float_entries(self._template).values():
            part = torch.as_tensor(vector[start : start + entry.numel()])
            entry.copy_(part.view(entry.shape))
            start += entry.numel()
        return self._template

    def trained(self, sent: Floats, jobs: Sequence[Job]) -> tuple[Floats, npt.NDArray[np.float64]]:
        """The updates `(n, d)` of the clients, what they trained less what was sent, and their mean losses `(n,)`."""
        if sent.shape != self.initial.shape:
            raise SettingError(f"a model of this task is a row of {self.initial.shape}, got {sent.shape}")
        start = torch.tensor(sent, dtype=torch.float32, device=self.device)
        rows = torch.empty((len(jobs), len(sent)), dtype=torch.float32, device=self.device)
        losses = np.full(len(jobs), np.nan)
        self._one_by_one(start, jobs, rows, losses)
        return rows.cpu().numpy(), losses

    def _one_by_one(
        self, start: torch.Tensor, jobs: Sequence[Job], rows: torch.Tensor, losses: npt.NDArray[np.float64]
    ) -> None:
        # what layers such as dropout draw comes from torch's only generator: such clients must take turns
        threads = 1 if self._draws else min(self.threads, len(jobs))
        while len(self._replicas) < threads:
            self._replicas.append(Replica(self.task.model(self.seed).to(self.device), self.task.loss))
        left = iter(range(len(jobs)))

        def work(replica: Replica) -> None:
            for place in left:  # shared by the threads: each takes the next client
                row, job = rows[place], jobs[place]
                row.copy_(start)
                with seeded(job.seed) if self._draws else contextlib.nullcontext():
                    losses[place] = replica.trained(row, job)
                row.sub_(start)

        with one_thread():  # around the pool, too: MKL knows only one number of threads, for all that call it
            if threads == 1:
                work(self._replicas[0])
                return
            self._pool = self._pool or ThreadPoolExecutor(self.threads, "fleet", torch.set_num_threads, (1,))
            for _ in self._pool.map(work, self._replicas[:threads]):
                pass


class Replica:
    """A model whose parameters and buffers are views into whichever row it trains."""

    def __init__(self, model: torch.nn.Module, loss: Loss) -> None:
        self.model = model
        self.loss = loss
        entries = model.state_dict(keep_vars=True)
        self.counters = {name: entry.clone() for name, entry in entries.items() if not entry.is_floating_point()}
        self.entries = [entry for entry in entries.values() if entry.is_floating_point()]

    def trained(self, row: torch.Tensor, job: Job) -> float:
        """The mean loss of training that turns the row, the model as it was sent, into the trained one."""
        parts = list(self._parts(row))
        for entry, part in zip(self.entries, parts, strict=True):
            entry.data = part
        if self.counters:
            self.model.load_state_dict(self.counters, strict=False)
        loss = descended(self.model, job.examples, job.training, seed=job.seed, loss=self.loss)
        for entry, part in zip(self.entries, parts, strict=True):
            if entry.data_ptr() != part.data_ptr():  # the same tensor by two names is in the row twice
                part.copy_(entry.detach())
        return loss

    def _parts(self, row: torch.Tensor) -> Iterator[torch.Tensor]:
        start = 0
        for entry in self.entries:
            yield row[start : start + entry.numel()].view(entry.shape)
            start += entry.numel()


def _vector(model: torch.nn.Module) -> Floats:
    """The row `(d,)` of a model; raises `SettingError` if it is not of float32 throughout."""
    entries = float_entries(model)
    for name, entry in entries.items():
        if entry.dtype != torch.float32:
            raise SettingError(f"a fleet trains models of float32, but {name} is {entry.dtype}")
    return torch.cat([entry.flatten() for entry in entries.values()]).numpy()


def _draws(model: torch.nn.Module, task: Task) -> bool:
    """Whether the model draws from torch's global random state as it learns."""
    few = torch.from_numpy(task.train.x[:2])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.get_rng_state()
        model(few)
        return not torch.equal(before, torch.get_rng_state())
