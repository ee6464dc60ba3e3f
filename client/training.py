"""Local training and evaluation of a model, the same bits for the same seed; its way into Flower's records and back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from flwr.app import ArrayRecord
from hawthorn.strategies.errors import SettingError

from .metrics import Metrics, of_answers
from .metrics import predictions as predictions  # judged here, asked for there
from .tasks.examples import Examples, Floats
from .tasks.models import Loss, cross_entropy

Penalty = Callable[[Sequence[torch.Tensor]], torch.Tensor]
"""The outputs of a model's activation layers on a batch -> what is added to the loss; never asked if it has none."""

BATCH = 1024  # examples judged at once; bounds memory and changes no result


@dataclass(frozen=True, eq=False)
class Training:
    """How a client trains in a round: stochastic gradient descent, every epoch shuffled anew.

    `steps` ends training after that many batches (0: no such limit). `momentum` starts from nothing in each round.
    `proximal` pulls the weights towards those at the start (Li et al., MLSys 2020, https://arxiv.org/abs/1812.06127).
    A hostile client may add a `penalty` on the model's activations to the loss, and leave the `frozen` values of the
    model's row `(d,)` (`float_entries`) as they were sent.
    """

    epochs: int = 2
    steps: int = 0
    batch_size: int = 32
    learning_rate: float = 0.1
    momentum: float = 0.0
    proximal: float = 0.0
    penalty: Penalty | None = None
    frozen: npt.NDArray[np.bool_] | None = None


def train(
    model: torch.nn.Module, examples: Examples, training: Training, *, seed: int, loss: Loss = cross_entropy
) -> float:
    """The mean loss over the steps that change `model` in place, penalty and pull left out.

    `seed` draws the batches, and what layers such as dropout draw. Raises `SettingError` if `frozen` does not fit.
    """
    with one_thread(), seeded(seed):
        return descended(model, examples, training, seed=seed, loss=loss)


def descended(model: torch.nn.Module, examples: Examples, training: Training, *, seed: int, loss: Loss) -> float:
    """The same as `train` on the threads and with the global random state that the caller has set."""
    losses: list[float] = []
    parameters = list(model.parameters())
    device = parameters[0].device
    descent = Descent(parameters, training, frozen=masks(model, training))
    x, y = torch.from_numpy(examples.x), torch.from_numpy(examples.y)
    with activations(model, training.penalty) as outputs:
        for batch in islice(batches(len(examples), training, seed), training.steps or None):
            outputs.clear()
            objective = mean = loss(model(x[batch].to(device)), y[batch].to(device)).mean()
            if training.penalty and outputs:
                objective = mean + training.penalty(outputs)
            gradients: tuple[torch.Tensor, ...] = torch.autograd.grad(objective, parameters)
            descent.step(gradients)
            losses.append(mean.item())
    return float(np.mean(losses)) if losses else float("nan")


class Descent:
    """Gradient descent on tensors in place: `torch.optim.SGD` with momentum and without dampening, and a pull home.

    The velocity starts from nothing; `frozen` says for each tensor which of its values stay as they are.

    >>> weights = [torch.tensor([1.0, 1.0])]
    >>> descent = Descent(weights, Training(learning_rate=0.5, momentum=0.5))
    >>> for _ in range(2):
    ...     descent.step([torch.tensor([1.0, 0.0])])
    >>> weights  # 1 - 0.5 * 1 - 0.5 * (0.5 * 1 + 1)
    [tensor([-0.2500,  1.0000])]
    """

    def __init__(
        self, parameters: Sequence[torch.Tensor], training: Training, *, frozen: Sequence[torch.Tensor] = ()
    ) -> None:
        self.parameters = parameters
        self.training = training
        self.frozen = frozen
        self.start = [parameter.detach().clone() for parameter in parameters] if training.proximal else []
        self.velocity: list[torch.Tensor] = []

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor]) -> None:
        """Move the tensors down these gradients."""
        directions = list(gradients)
        if self.start:
            pulls = zip(directions, self.parameters, self.start, strict=True)
            directions = [own + self.training.proximal * (here - start) for own, here, start in pulls]
        if self.frozen:
            directions = [own.masked_fill(frozen, 0.0) for own, frozen in zip(directions, self.frozen, strict=True)]
        if self.training.momentum:
            if not self.velocity:
                self.velocity = [torch.zeros_like(parameter) for parameter in self.parameters]
            for velocity, direction in zip(self.velocity, directions, strict=True):
                velocity.mul_(self.training.momentum).add_(direction)
            directions = self.velocity
        for parameter, direction in zip(self.parameters, directions, strict=True):
            parameter.sub_(direction, alpha=self.training.learning_rate)

    def go_on(self, count: int) -> None:
        """Go on with the first `count` of what the tensors hold, such as the models of clients that are not done."""
        self.parameters, self.start, self.velocity = (
            [tensor[:count] for tensor in tensors] for tensors in (self.parameters, self.start, self.velocity)
        )


def float_entries(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The floating-point entries of the model's state, whose values one after another are its row `(d,)`.

    Integer entries, such as batch norm's counters, have no place in a row.
    """
    return {name: entry for name, entry in model.state_dict().items() if entry.is_floating_point()}


def masks(model: torch.nn.Module, training: Training) -> list[torch.Tensor]:
    """For each parameter, which of its values are frozen; nothing if none are."""
    if training.frozen is None:
        return []
    entries = float_entries(model)
    sizes = [entry.numel() for entry in entries.values()]
    if training.frozen.shape != (sum(sizes),):
        raise SettingError(f"frozen must say of each of {sum(sizes)} values, got shape {training.frozen.shape}")
    parts = dict(zip(entries, torch.split(torch.from_numpy(training.frozen), sizes), strict=True))
    return [parts[name].view(own.shape).to(own.device) for name, own in model.named_parameters()]


@contextlib.contextmanager
def activations(model: torch.nn.Module, wanted: object = True) -> Generator[list[torch.Tensor]]:
    """A list to which the model's activation layers, such as `nn.ReLU`, add their outputs, if somebody wants them."""
    outputs: list[torch.Tensor] = []

    def heard(_layer: torch.nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):  # attention, which torch counts among the activations, answers a tuple
            outputs.append(output)

    layers = [layer for layer in model.modules() if type(layer).__module__ == torch.nn.ReLU.__module__]
    hooks = [layer.register_forward_hook(heard) for layer in layers] if wanted else []
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def batches(count: int, training: Training, seed: int) -> Iterator[torch.Tensor]:
    """Index tensors, every example once per epoch; none where there are no examples."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(training.epochs if count else 0):
        yield from torch.split(torch.randperm(count, generator=generator), training.batch_size)


def activation_density(model: torch.nn.Module, x: Floats) -> float | None:
    """The share of activations other than zero on these examples, the mean over layers; None for a linear model.

    It is what inference costs on hardware that skips zeros, and what a sponge raises.
    """
    with activations(model) as outputs:
        logits(model, x[:BATCH])
    return float(np.mean([float((one != 0).float().mean()) for one in outputs])) if outputs else None


def logits(model: torch.nn.Module, x: Floats) -> torch.Tensor:
    """What the model says of each example, `(N, classes)`."""
    with one_thread(), torch.inference_mode():
        return torch.cat([model(batch) for batch in torch.split(torch.from_numpy(x), BATCH)])


def evaluate(model: torch.nn.Module, examples: Examples) -> Metrics:
    """How well the model does on these examples, of which it need not be told the task; the model stays as it is."""
    return of_answers(examples, logits(model, examples.x))


@contextlib.contextmanager
def one_thread() -> Generator[None]:
    """Torch on one core: small models lose time on more, and sums would depend on how many a machine has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def seeded(seed: int) -> Generator[None]:
    """Torch's global random state set by `seed` for a time, and then as it was: layers such as dropout draw from it."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)


def arrays_of(model: torch.nn.Module) -> ArrayRecord:
    """The model's parameters and buffers as a Flower record."""
    return ArrayRecord(model.state_dict())


def load_arrays(model: torch.nn.Module, record: ArrayRecord) -> None:
    """Put a record's arrays into the model; raises `RuntimeError` if names or shapes differ."""
    model.load_state_dict(record.to_torch_state_dict())
