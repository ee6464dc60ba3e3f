"""The models of many clients trained at once, stacked: every parameter is one tensor, its first axis the clients.

What n small models would do in n times as many small operations becomes a few large ones; a model whose operations
fill a core gains nothing. A client's row comes out as it would alone up to rounding, which may depend on the clients
that are stacked with it: products are cut otherwise, and small batches filled up with examples that do not count.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice

import numpy as np
import numpy.typing as npt
import torch
from torch.func import functional_call, grad_and_value, vmap

from .tasks.examples import Examples
from .tasks.models import Loss
from .training import Descent, Training, batches

Gradients = Callable[..., tuple[tuple[torch.Tensor, ...], torch.Tensor]]
"""Stacked parameters, examples, labels and weights -> stacked gradients, and the losses `(k,)`."""

MOST, VALUES = 64, 1 << 22  # clients and parameter values in a stack: more would leave the caches


@dataclass(frozen=True, eq=False)
class Job:
    """One client's work in a round: its examples, how it trains on them, and the seed that draws its batches."""

    examples: Examples
    training: Training
    seed: int

    def batches(self) -> Iterator[torch.Tensor]:
        """The indices of each step's examples."""
        return islice(batches(len(self.examples), self.training, self.seed), self.training.steps or None)

    @property
    def steps(self) -> int:
        """How many steps of gradient descent the client takes.

        >>> job = Job(Examples(np.zeros((33, 1)), np.zeros(33)), Training(epochs=3, batch_size=32), seed=1)
        >>> job.steps
        6
        """
        every = self.training.epochs * -(-len(self.examples) // self.training.batch_size)
        return min(every, self.training.steps or every)

    @property
    def alone(self) -> bool:
        """Whether this work cannot be stacked: penalties and frozen values are of one client."""
        return self.training.penalty is not None or self.training.frozen is not None


def at_once(d: int) -> int:
    """How many clients of `d` parameters are stacked at most.

    >>> [at_once(d) for d in (1_000, 100_000, 10_000_000)]
    [64, 41, 8]
    """
    return max(MOST // 8, min(MOST, VALUES // d))


def stacks(jobs: Sequence[Job], places: Sequence[int], d: int) -> Iterator[list[int]]:
    """The places cut into stacks whose clients step alike, those with most steps first."""

    def kind(place: int) -> tuple[float, float, float]:
        training = jobs[place].training
        return training.learning_rate, training.momentum, training.proximal

    most = at_once(d)
    for _, group in groupby(sorted(places, key=lambda place: (kind(place), -jobs[place].steps)), key=kind):
        left = list(group)
        yield from (left[start : start + most] for start in range(0, len(left), most))


def descended_together(
    model: torch.nn.Module, rows: torch.Tensor, jobs: Sequence[Job], loss: Loss
) -> npt.NDArray[np.float64]:
    """The mean losses `(k,)` of training that changes the rows `(k, d)` in place; jobs with most steps come first.

    `model` lends its structure, and must be used by nobody else meanwhile.
    """
    parts = list(_parts(model, rows))
    descent = Descent(parts, jobs[0].training)
    gradients_of = differentiated(model, loss)
    sums = torch.zeros(len(jobs), dtype=torch.float64, device=rows.device)
    drawn = [list(job.batches()) for job in jobs]
    data = [(torch.from_numpy(job.examples.x), torch.from_numpy(job.examples.y)) for job in jobs]
    active = len(jobs)
    for step in range(len(drawn[0])):
        while len(drawn[active - 1]) <= step:
            active -= 1
        descent.go_on(active)
        x, y, weights = step_batch(data[:active], [own[step] for own in drawn[:active]])
        batch = (tensor.to(rows.device) for tensor in (x, y, weights))
        gradients, values = gradients_of(tuple(descent.parameters), *batch)
        descent.step(gradients)
        sums[:active] += values
    with np.errstate(invalid="ignore"):  # without a step there is no loss
        return sums.cpu().numpy() / [len(own) for own in drawn]


def differentiated(model: torch.nn.Module, loss: Loss) -> Gradients:
    """The function that differentiates the loss by the stacked parameters of a model."""
    names = [name for name, _ in model.named_parameters()]
    return vmap(grad_and_value(partial(_weighted, model, names, loss)))


def _weighted(
    model: torch.nn.Module,
    names: Sequence[str],
    loss: Loss,
    parameters: Sequence[torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
    weights: torch.Tensor,
) -> torch.Tensor:
    """The loss of one client's batch `(B, ...)`, each example counted with its weight."""
    answers = functional_call(model, dict(zip(names, parameters, strict=True)), (x,))
    return (loss(answers, y) * weights).sum()


def _parts(model: torch.nn.Module, rows: torch.Tensor) -> Iterator[torch.Tensor]:
    start = 0
    for parameter in model.parameters():
        yield rows[:, start : start + parameter.numel()].view(len(rows), *parameter.shape)
        start += parameter.numel()


def step_batch(
    data: Sequence[tuple[torch.Tensor, torch.Tensor]], drawn: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The examples, labels and weights `(k, B, ...)` of a step; what fills up a batch is its own first example."""
    k, width = len(data), max(map(len, drawn))
    x = torch.empty((k, width, *data[0][0].shape[1:]), dtype=data[0][0].dtype)
    y = torch.empty((k, width), dtype=data[0][1].dtype)
    weights = torch.zeros((k, width))
    for place, ((own_x, own_y), batch) in enumerate(zip(data, drawn, strict=True)):
        weights[place, : len(batch)] = 1 / len(batch)
        if len(batch) < width:
            batch = torch.cat([batch, batch[:1].expand(width - len(batch))])
        torch.index_select(own_x, 0, batch, out=x[place])
        torch.index_select(own_y, 0, batch, out=y[place])
    return x, y, weights


def stackable(
    model: torch.nn.Module,
    examples: Examples,
    loss: Loss,
    alone: Callable[[torch.Tensor, Job, torch.Tensor], object],
) -> bool:
    """Whether stacking gives what `alone(start, job, update)` writes to the update of one client: found by trying.

    It does not for models with buffers, such as batch norm, for dropout, and where control flow depends on the data.
    """
    if list(model.state_dict()) != [name for name, _ in model.named_parameters()]:
        return False
    jobs = [Job(examples[:count], Training(epochs=1, batch_size=4), seed=1) for count in (8, 6)]
    start = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    expected, found = torch.empty(len(jobs), len(start)), start.repeat(len(jobs), 1)
    for job, update in zip(jobs, expected, strict=True):
        alone(start, job, update)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "There is a performance drop")  # torch would go one by one itself, slowly
            descended_together(model, found, jobs, loss)
    except Exception:  # whatever a model does that cannot be stacked
        return False
    off = (found - start - expected).abs().max().item()
    return off <= 1e-4 * expected.abs().max().item()
