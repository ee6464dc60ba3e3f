"""The server's own update: it trains on examples that no client has, as a client does, so that a defense can compare.

Cao, Fang, Liu, Gong, NDSS 2021, https://arxiv.org/abs/2012.13995, call such examples the root data set.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from flwr.app import ArrayRecord
from hawthorn.strategies.errors import SettingError

from .assignment import held_back, read, schedule, stream, task_of
from .stacking import Job
from .tasks import Task
from .tasks.examples import Examples, Floats
from .training import Training, arrays_of, float_entries, load_arrays, train


@dataclass(frozen=True, eq=False)
class Root:
    """The server as a client: examples of its own, and how it trains on them.

    It goes over its examples as often as clients do, and more often where these take more steps on the mean share of
    the examples, because rules compare lengths too. Momentum from round to round and a proximal term are the clients'.
    """

    task: Task
    examples: Examples
    training: Training
    learning_rate_decay: float
    seed: int

    @classmethod
    def of(cls, run_config: Mapping[str, object]) -> Root:
        """The server of a run config; raises `SettingError` where that gives it no examples."""
        task, seed = task_of(run_config), read(run_config, "seed", 1)
        count, clients = read(run_config, "root-examples", 0), read(run_config, "clients", 10)
        if not count:
            raise SettingError("the server has no examples to train an update of its own on: write root-examples=100")
        training, decay = schedule(run_config)
        held = held_back(task, count, seed)
        return cls(task, task.train[held], _as_long(training, len(task.train) - count, clients, count), decay, seed)

    def job(self, number: int) -> Job:
        """The server's work in a round, for a fleet."""
        learning_rate = self.training.learning_rate * self.learning_rate_decay ** (max(number, 1) - 1)
        seed = int(stream(self.seed, 0, "root", number).integers(2**63))
        return Job(self.examples, replace(self.training, learning_rate=learning_rate), seed)

    def trained(self, number: int, arrays: ArrayRecord) -> ArrayRecord:
        """The model of a round after the server's training."""
        load_arrays(self._model, arrays)
        self._train(number)
        return arrays_of(self._model)

    def update(self, number: int, sent: Floats) -> Floats:
        """What that training adds to the model `(d,)` sent in a round, `(d,)`."""
        entries = list(float_entries(self._model).values())
        parts = torch.split(torch.tensor(sent, dtype=torch.float32), [entry.numel() for entry in entries])
        for entry, part in zip(entries, parts, strict=True):
            entry.copy_(part.view(entry.shape))
        self._train(number)
        after = np.concatenate([entry.numpy().ravel() for entry in entries])
        return after - np.asarray(sent, np.float32)

    @functools.cached_property
    def _model(self) -> torch.nn.Module:
        return self.task.model(self.seed)

    def _train(self, number: int) -> None:
        job = self.job(number)
        train(self._model, job.examples, job.training, seed=job.seed, loss=self.task.loss)


def _as_long(training: Training, examples: int, clients: int, own: int) -> Training:
    """Training on `own` examples for as many epochs, and at least as many steps, as clients that share `examples` take.

    >>> own = _as_long(Training(epochs=2, batch_size=32), examples=2000, clients=10, own=100)
    >>> own.epochs, own.steps  # clients train on 180 each: twice 6 steps; 100 are seen in 4
    (3, 12)
    """
    mean = examples // clients
    theirs, once = (-(-max(1, count) // training.batch_size) for count in (mean - mean // 10, own))
    steps = training.epochs * max(theirs, once)
    steps = min(steps, training.steps or steps)
    return replace(training, epochs=-(-steps // once), steps=steps)
