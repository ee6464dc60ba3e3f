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
from torch.nn import functional

from .tasks.examples import Examples, Floats, Labels
from .tasks.models import Loss, cross_entropy

Penalty = Callable[[Sequence[torch.Tensor]], torch.Tensor]
"""The outputs of a model's activation layers on a batch -> what is added to the loss."""

BATCH = 1024  # examples judged at once; bounds memory and changes no result


@dataclass(frozen=True, eq=False)
class Metrics:
    """How well a model does: mean cross-entropy, share of correct answers, and that share per class.

    `recalls` `(C,)` is NaN for a class that has no examples.
    """

    loss: float
    accuracy: float
    recalls: npt.NDArray[np.float64]

    @property
    def worst_class_recall(self) -> float:
        """The recall of the class that fares worst."""
        return float(np.nanmin(self.recalls))


@dataclass(frozen=True, eq=False)
class Training:
    """How a client trains in a round: stochastic gradient descent, every epoch shuffled anew.

    `steps` ends training after that many batches (0: no such limit). `momentum` starts from nothing in each round.
    `proximal` pulls the weights towards those at the start (Li et al., MLSys 2020, https://arxiv.org/abs/1812.06127).
    A hostile client may add a `penalty` on the model's activations to the loss, and leave the `frozen` parameters,
    `(d,)`, as they were sent.
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
    """The mean loss over the steps that change `model` in place; `seed` draws the batches."""
    losses: list[float] = []
    parameters = list(model.parameters())
    start = [parameter.detach().clone() for parameter in parameters] if training.proximal else []
    x, y = torch.from_numpy(examples.x), torch.from_numpy(examples.y)
    with one_thread():
        for batch in islice(batches(len(examples), training, seed), training.steps or None):
            mean = loss(model(x[batch]), y[batch]).mean()
            gradients = torch.autograd.grad(mean, parameters)
            with torch.no_grad():
                for i, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
                    if training.proximal:
                        gradient = gradient + training.proximal * (parameter - start[i])
                    parameter.sub_(gradient, alpha=training.learning_rate)
            losses.append(float(mean.detach()))
    return float(np.mean(losses)) if losses else float("nan")


def batches(count: int, training: Training, seed: int) -> Iterator[torch.Tensor]:
    """Index tensors, every example once per epoch."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(training.epochs):
        yield from torch.split(torch.randperm(count, generator=generator), training.batch_size)


def logits(model: torch.nn.Module, x: Floats) -> torch.Tensor:
    """What the model says of each example, `(N, classes)`."""
    with one_thread(), torch.inference_mode():
        return torch.cat([model(batch) for batch in torch.split(torch.from_numpy(x), BATCH)])


def predictions(answers: torch.Tensor) -> Labels:
    """The predicted label of each example `(N,)`; -1, which is never right, where the logits are not finite.

    >>> predictions(torch.tensor([[0.0, 2.0], [float("nan"), 1.0]]))
    array([ 1, -1])
    """
    labels = answers.argmax(dim=1)
    labels[~answers.isfinite().all(dim=1)] = -1
    return labels.numpy()


def evaluate(model: torch.nn.Module, examples: Examples) -> Metrics:
    """How well the model does on these examples; the model stays as it is."""
    answers = logits(model, examples.x)
    correct = predictions(answers) == examples.y
    classes = answers.shape[1]
    present = np.bincount(examples.y, minlength=classes)
    right = np.bincount(examples.y[correct], minlength=classes)
    return Metrics(
        loss=float(functional.cross_entropy(answers, torch.from_numpy(examples.y))),
        accuracy=float(correct.mean()),
        recalls=np.divide(right, present, out=np.full(classes, np.nan), where=present > 0),
    )


@contextlib.contextmanager
def one_thread() -> Generator[None]:
    """Torch on one core: small models lose time on more, and sums would depend on how many a machine has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def arrays_of(model: torch.nn.Module) -> ArrayRecord:
    """The model's parameters and buffers as a Flower record."""
    return ArrayRecord(model.state_dict())


def load_arrays(model: torch.nn.Module, record: ArrayRecord) -> None:
    """Put a record's arrays into the model; raises `RuntimeError` if names or shapes differ."""
    model.load_state_dict(record.to_torch_state_dict())
