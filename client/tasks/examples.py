"""What a task is: labeled examples and a model that learns them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from hawthorn.strategies.errors import SettingError

from .models import Loss, cross_entropy, initialized

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Groups = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Examples:
    """Labeled examples: images `(N, H, W)` or `(N, H, W, C)` in [0, 1] or rows `(N, features)`, with labels `(N,)`.

    `classes` is the number of labels there are, also where a client has not met all of them; 0 means as many as the
    largest label says. Raises `SettingError` if the lengths differ.

    >>> examples = Examples(np.zeros((3, 2), np.float32), np.array([0, 2, 1]))
    >>> len(examples), examples.classes, examples[[0, 1]].y
    (3, 3, array([0, 2]))
    """

    x: Floats
    y: Labels
    classes: int = 0

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise SettingError(f"every example needs one label, got {len(self.x)} examples and {len(self.y)} labels")
        object.__setattr__(self, "x", np.asarray(self.x, dtype=np.float32))
        object.__setattr__(self, "y", np.asarray(self.y, dtype=np.int64))
        if not self.classes and len(self.y):
            object.__setattr__(self, "classes", int(self.y.max()) + 1)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: Any) -> Examples:
        """The chosen examples: a slice, a mask or an index array."""
        return Examples(self.x[index], self.y[index], self.classes)

    @property
    def images(self) -> bool:
        """Whether these are images rather than rows of features."""
        return self.x.ndim > 2


def train_and_test(examples: Examples, share: float = 0.2) -> tuple[Examples, Examples]:
    """The examples in two: of every class, `share` goes to the second part, always the same ones.

    >>> parts = train_and_test(Examples(np.zeros((10, 1), np.float32), np.repeat([0, 1], 5)))
    >>> [part.y.tolist() for part in parts]
    [[0, 0, 0, 0, 1, 1, 1, 1], [0, 1]]
    """
    test = held_out(examples.y, share)
    return examples[~test], examples[test]


def held_out(labels: npt.NDArray[Any], share: float = 0.2) -> npt.NDArray[np.bool_]:
    """Which examples `(N,)` are test examples: of every class, a random `share`, always the same ones."""
    rng = np.random.default_rng(0)
    test = np.zeros(len(labels), dtype=bool)
    for label in range(int(labels.max()) + 1):
        members = rng.permutation(np.flatnonzero(labels == label))
        test[members[: round(share * len(members))]] = True
    return test


@dataclass(frozen=True, eq=False)
class Task:
    """A learning task: training examples for the clients, test examples for the judge, and a model for both.

    `figure` names the metric that matters most here, and `positive` the class that it is about, such as fraud. `story`
    is the attack, as a recipe, by which somebody would do harm here. `groups` `(N,)` says which training examples
    belong together, such as one hospital's: they are never split over clients; `test_groups` says the same of the test
    examples. Where `network` is None the task grows a forest (`client/forest.py`): a client's contribution is its
    trees, which the server compares by what they say of the unlabeled `reference` examples that it has.
    """

    name: str
    train: Examples
    test: Examples
    class_names: tuple[str, ...]
    network: Callable[[], torch.nn.Module] | None
    loss: Loss = cross_entropy
    figure: str = "accuracy"
    positive: int | None = None
    story: str = "label_flip"
    groups: Groups | None = None
    test_groups: Groups | None = None
    group_names: tuple[str, ...] = ()
    reference: Floats | None = None

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def learner(self) -> Literal["network", "forest"]:
        """What learns the task."""
        return "forest" if self.network is None else "network"

    @property
    def describe(self) -> str:
        """One line for people: sizes, shape and classes."""
        shape = "x".join(map(str, self.train.x.shape[1:]))
        kind = f"images of {shape}" if self.train.images else f"rows of {shape} features"
        return f"{self.name}: {len(self.train)} training and {len(self.test)} test {kind}, {self.classes} classes"

    def model(self, seed: int) -> torch.nn.Module:
        """A new model with weights drawn from `seed`; the global random state is neither read nor changed.

        Raises `SettingError` for a task that grows a forest.
        """
        if self.network is None:
            raise SettingError(
                f"{self.name} grows a forest, whose trees have no weights to send: write network='logistic', or run "
                "it with hawthorn evaluate"
            )
        return initialized(self.network, seed)

    def with_reference(self, most: int = 500) -> Task:
        """The same task, if it grows a forest, with a tenth of its training examples set aside, `most` at most.

        They are the server's `reference`, without labels, and no client's any more.
        """
        if self.network is not None:
            return self
        aside = np.zeros(len(self.train), dtype=bool)
        aside[thinned(self.train, min(most, max(1, len(self.train) // 10)))] = True
        groups = None if self.groups is None else self.groups[~aside]
        return replace(self, train=self.train[~aside], groups=groups, reference=self.train.x[aside])

    def reduced(self, train: int = 0, test: int = 0) -> Task:
        """The same task with so many of its training and test examples, always the same ones; 0 for all.

        They are a random subset with each class's share kept; a larger one holds the smaller one. Groups that keep a
        few of their examples stay together all the same.
        """
        kept, judging = thinned(self.train, train, "train"), thinned(self.test, test, "test")
        return replace(
            self,
            train=self.train[kept],
            test=self.test[judging],
            groups=None if self.groups is None else self.groups[kept],
            test_groups=None if self.test_groups is None else self.test_groups[judging],
        )


def thinned(examples: Examples, count: int, option: str = "count") -> Labels:
    """The indices of `count` examples, ascending: random, always the same, every class with its share; 0 for all.

    Raises `SettingError` for other counts than there are examples.

    >>> thinned(Examples(np.zeros((8, 1)), np.array([0, 0, 0, 1, 0, 1, 0, 0])), 4).size
    4
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= len(examples):  # pyright: ignore[reportUnnecessaryIsInstance]  # a task is text
        raise SettingError(f"{option} must be a whole number up to {len(examples)}, 0 for all examples; got {count!r}")
    if not count:
        return np.arange(len(examples))
    rng = np.random.default_rng(0)
    place = np.empty(len(examples))
    for label in np.unique(examples.y):
        members = rng.permutation(np.flatnonzero(examples.y == label))
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.sort(np.argsort(place, kind="stable")[:count])
