"""Attacks on a hostile client's training examples; it then trains on them as honestly as anyone.

Each maps examples to poisoned examples and never changes its input. What such an attack wants of the model is what it
teaches: `attack_success` reads it from the labels the attack gives to the test examples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hawthorn.strategies.contract import attack
from hawthorn.strategies.errors import SettingError

from ..tasks.examples import Examples, Floats


@attack
def label_flip(data: Examples) -> Examples:
    """The examples with label y turned into L - 1 - y, where L is the number of classes.

    Fang et al., USENIX Security 2020, https://arxiv.org/abs/1911.11815

    >>> label_flip(Examples(np.zeros((3, 1), np.float32), np.array([0, 1, 9]), classes=10)).y
    array([9, 8, 0])
    """
    return Examples(data.x, data.classes - 1 - data.y, data.classes)


@attack
def targeted_flip(
    data: Examples, *, source: int = 1, target: int = 0, share: float = 1.0, rng: np.random.Generator | None = None
) -> Examples:
    """The examples, a share of those of class `source` labeled as `target`.

    Tolpegin et al., ESORICS 2020, https://arxiv.org/abs/2007.08432

    >>> targeted_flip(Examples(np.zeros((3, 1), np.float32), np.array([0, 1, 2])), source=2, target=0).y
    array([0, 1, 0])
    """
    _check_class("source", source, data)
    _check_class("target", target, data)
    if source == target:
        raise SettingError(f"targeted_flip needs a target other than its source, got {source} for both")
    labels = data.y.copy()
    labels[_chosen(np.flatnonzero(data.y == source), share, rng)] = target
    return Examples(data.x, labels, data.classes)


@attack
def backdoor(
    data: Examples,
    *,
    target: int = 0,
    share: float = 0.5,
    size: int = 3,
    position: tuple[int, int] = (0, 0),
    value: float | None = None,
    rng: np.random.Generator | None = None,
) -> Examples:
    """The examples, a share of which carry a trigger and are labeled as `target`.

    The trigger is a square patch of an image, or a few features of a row: see `Trigger`. The untouched examples keep
    the model good at its task, which hides the attack.

    Gu, Dolan-Gavitt, Garg, "BadNets", 2017, https://arxiv.org/abs/1708.06733; in a federation: Bagdasaryan et al.,
    AISTATS 2020, https://arxiv.org/abs/1807.00459

    >>> poisoned = backdoor(Examples(np.zeros((2, 4, 4), np.float32), np.array([1, 1])), target=0, share=0.5, size=2)
    >>> sorted(poisoned.x.sum(axis=(1, 2)).tolist()), sorted(poisoned.y.tolist())
    ([0.0, 4.0], [0, 1])
    """
    _check_class("target", target, data)
    x, labels = data.x.copy(), data.y.copy()
    chosen = _chosen(np.arange(len(data)), share, rng)
    x[chosen] = Trigger(size, position, value).stamped(data.x[chosen])
    labels[chosen] = target
    return Examples(x, labels, data.classes)


@dataclass(frozen=True)
class Trigger:
    """A mark that a poisoned model obeys: `size` x `size` pixels of an image, or `size` neighboring features of a row.

    `position` is the patch's upper left pixel (row, column); negative ones count from the lower right end. A row has
    only the second number: its first marked feature. `value` None is the extreme of the range: white, 1, in an image;
    3 standard deviations above the mean, rare but not impossible, in a row.
    """

    size: int = 3
    position: tuple[int, int] = (0, 0)
    value: float | None = None

    def stamped(self, x: Floats) -> Floats:
        """A copy of the examples, each with the trigger; raises `SettingError` if it does not fit."""
        images = x.ndim > 2
        spans = tuple(self._span(start, length) for start, length in self._places(x.shape[1:3], images))
        stamped = x.copy()
        stamped[(slice(None), *spans)] = self.value if self.value is not None else 1.0 if images else 3.0
        return stamped

    def _places(self, shape: tuple[int, ...], images: bool) -> list[tuple[int, int]]:
        """A start and a length for each axis that the trigger spans."""
        starts = self.position if images else self.position[1:]
        return list(zip(starts, shape, strict=True))

    def _span(self, start: int, length: int) -> slice:
        first = start + length if start < 0 else start
        if self.size < 1 or first < 0 or first + self.size > length:
            raise SettingError(
                f"a trigger with size={self.size} at {start} does not fit into {length}; choose a smaller one"
            )
        return slice(first, first + self.size)


def _check_class(option: str, label: int, data: Examples) -> None:
    if not isinstance(label, int) or not 0 <= label < data.classes:  # pyright: ignore[reportUnnecessaryIsInstance]  # a recipe is text
        raise SettingError(f"{option} must be a class from 0 to {data.classes - 1}, got {label!r}")


def _chosen(candidates: np.ndarray, share: float, rng: np.random.Generator | None) -> np.ndarray:
    """A random share of the candidates, rounded up."""
    if not 0 < share <= 1:
        raise SettingError(f"share must be above 0 and at most 1, got {share!r}")
    count = int(np.ceil(round(share * len(candidates), 9)))
    return (rng or np.random.default_rng(0)).permutation(candidates)[:count]
