"""The marks that a poisoned model obeys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from hawthorn.strategies.contract import nearest
from hawthorn.strategies.errors import SettingError

from ..tasks.examples import Floats

KINDS = ("patch", "pixels", "blended")


@dataclass(frozen=True)
class Trigger:
    """A mark that a poisoned model obeys, on an image `(H, W)` or `(H, W, C)` or on a row of features.

    `kind` "patch" is a square of `size` x `size` pixels, or `size` neighboring features; "pixels" every other one of
    these; "blended" a random picture, always the same, mixed into the whole example with weight `blend`. `position` is
    the patch's upper left pixel (row, column); negative ones count from the lower right end. A row has only the second
    number: its first marked feature. `value` None is the extreme of the range: white, 1, in an image; 3 standard
    deviations above the mean, rare but not impossible, in a row. `part` (k, m) is the k-th of m disjoint pieces.

    Chen et al., 2017, https://arxiv.org/abs/1712.05526 (blended)

    >>> Trigger(size=2, part=(0, 2)).stamped(np.zeros((1, 3, 3), np.float32)).tolist()
    [[[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]
    """

    size: int = 3
    position: tuple[int, int] = (0, 0)
    value: float | None = None
    kind: str = "patch"
    blend: float = 0.2
    part: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingError(f"no trigger named {self.kind!r}; {nearest(str(self.kind), KINDS)}")
        if not 0 < self.blend <= 1:
            raise SettingError(f"blend must be above 0 and at most 1, got {self.blend!r}")

    def stamped(self, x: Floats) -> Floats:
        """A copy of the examples, each with the trigger; raises `SettingError` if it does not fit."""
        marked = self.places(x.shape[1:])
        weight = self.blend if self.kind == "blended" else 1.0
        stamped = x.copy()
        stamped[:, marked] = (1 - weight) * x[:, marked] + weight * self._values(x.shape[1:])[marked]
        return stamped

    def places(self, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """Which pixels or features of an example of that shape the trigger marks: `(H, W)` or `(features,)`."""
        surface = shape[:2]
        whole = np.ones(surface, dtype=bool)
        if self.kind != "blended":
            starts = self.position if len(surface) == 2 else self.position[1:]
            spans = tuple(self._span(start, length) for start, length in zip(starts, surface, strict=True))
            whole[:] = False
            whole[spans] = np.indices(whole[spans].shape).sum(axis=0) % (2 if self.kind == "pixels" else 1) == 0
        piece = np.zeros(surface, dtype=bool)
        piece.flat[np.array_split(np.flatnonzero(whole), self.part[1])[self.part[0]]] = True
        return piece

    def _values(self, shape: tuple[int, ...]) -> Floats:
        """What the trigger shows where it marks an example of that shape."""
        images = len(shape) > 1
        if self.value is not None:
            return np.full(shape, self.value, dtype=np.float32)
        if self.kind != "blended":
            return np.full(shape, 1.0 if images else 3.0, dtype=np.float32)
        picture = np.random.default_rng(0).random(shape, dtype=np.float32)
        return picture if images else np.where(picture < 0.5, np.float32(-3), np.float32(3))

    def _span(self, start: int, length: int) -> slice:
        first = start + length if start < 0 else start
        if self.size < 1 or first < 0 or first + self.size > length:
            raise SettingError(
                f"a trigger with size={self.size} at {start} does not fit into {length}; choose a smaller one"
            )
        return slice(first, first + self.size)
