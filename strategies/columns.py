"""The rows' columns, for rules and scores that the geometry does not tell enough: signs, layers, largest values."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import kernels
from .errors import SettingError
from .geometry import LONGEST, held
from .rows import Rows, saved

Floats = NDArray[np.float64]
Order = NDArray[np.intp]
Counts = NDArray[np.int64]

TILE = 1 << 20  # values of a tile: 8 MB, and how many does not depend on where the rows lie


@dataclass(frozen=True, eq=False)
class Layers:
    """What a pass 1 in parts finds of the rows, layer by layer.

    `squared_distances` `(L, n, n)` are of the rows as held, that is multiplied by `scale` `(n,)`, which is 1 but for
    rows whose squares do not fit float64 (see `Geometry`). `norms` `(L, n)` are of the rows as they came. `signs`
    `(L, n, 2)` are how many values are negative and how many positive.
    """

    squared_distances: Floats
    norms: Floats
    signs: Counts
    scale: Floats

    def take(self, kept: NDArray[np.bool_]) -> Layers:
        """The same of some of the rows."""
        between = self.squared_distances[:, kept][:, :, kept]
        return Layers(between, self.norms[:, kept], self.signs[:, kept], self.scale[kept])


class Columns:
    """A view of the columns of `n` rows in canonical order, which reads what it is asked for when it is asked.

    `bounds` `(L + 1,)` say where layers begin and, last, where the last one ends: one layer unless they are given.
    Every answer is the same wherever the rows lie, and in whatever order clients replied.

    >>> columns = Columns.of(np.array([[3.0, -1.0, 0.0], [0.0, -2.0, -5.0]]), bounds=[0, 1, 3])
    >>> columns.signs.tolist(), columns.layers.norms.tolist()  # the second row is the first by its content
    ([[2, 0], [1, 1]], [[0.0, 3.0], [5.385164807134504, 1.0]])
    """

    def __init__(self, rows: Rows, bounds: Order, whole: tuple[Columns, NDArray[np.bool_]] | None = None) -> None:
        self.bounds = bounds
        self.n, self.d = len(rows.order), int(rows.data.shape[1])
        self._rows = rows
        self._whole = whole

    def __repr__(self) -> str:
        return f"<columns of {self.n} rows>"

    @classmethod
    def of(cls, updates: object, bounds: Sequence[int] | None = None) -> Columns:
        """The columns of `(n, d)` updates; raises `UpdateError` naming rows that are not finite, and `SettingError`."""
        rows = Rows.of(updates)
        rows.refuse_non_finite()
        return cls(rows, layer_bounds(bounds, rows.data.shape[1]))

    def take(self, kept: NDArray[np.bool_]) -> Columns:
        """The columns of some of the rows, `kept` being `(n,)` in canonical order; layers read once serve both."""
        return Columns(replace(self._rows, order=self._rows.order[kept]), self.bounds, (self, kept))

    @functools.cached_property
    def scale(self) -> Floats:
        """What rows are multiplied by, `(n,)`, for their squares to fit float64: 1 but for rows of astronomic size."""
        if self._whole is not None:
            whole, kept = self._whole
            return whole.scale[kept]
        return held(kernels.largest(self._rows.data)[self._rows.order])

    @property
    def shortening(self) -> Floats:
        """How much shorter than the others each row is held, `(n,)`: 1, and less for rows far longer than the rest."""
        return self.scale / self.scale.max(initial=0.0)

    @functools.cached_property
    def layers(self) -> Layers:
        """Squared distances, norms and sign counts in each layer; costs one read of the matrix, once."""
        if self._whole is not None:
            whole, kept = self._whole
            return whole.layers.take(kept)
        data, order = self._rows.data, self._rows.order
        scale = np.ones(self.n)
        distances, squares, signs = kernels.layers(data, order, scale, self.bounds)
        lengths = squares.sum(axis=0)
        if not np.isfinite(distances).all() or not LONGEST**-2 < np.median(lengths) <= lengths.max() <= LONGEST**2:
            scale = self.scale
            if (scale != 1).any():
                distances, squares, signs = kernels.layers(data, order, scale, self.bounds)
        with np.errstate(over="ignore"):
            norms = np.minimum(np.sqrt(squares) / scale, np.finfo(np.float64).max)
        return Layers(distances, norms, signs, scale)

    @property
    def signs(self) -> Counts:
        """How many values of each row are negative and how many positive, `(n, 2)`."""
        return self.layers.signs.sum(axis=0)

    @functools.cached_property
    def sign_votes(self) -> Counts:
        """In how many columns a row's sign is not that of most other rows, and in how many it was compared, `(n, 2)`.

        Columns in which the row is zero, or in which the other rows' signs are in balance, do not count. Costs one read
        of the matrix, once.

        >>> Columns.of(np.array([[1.0, -2.0, 0.0], [2.0, 5.0, 1.0], [3.0, 5.0, 1.0]])).sign_votes.tolist()
        [[1, 2], [0, 2], [0, 2]]
        """
        return kernels.sign_votes(self._rows.data, self._rows.order)

    def tiles(
        self, width: int | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, int, Floats]]:
        """All columns, or those from `start` to `stop`, some at a time: first, last, `(n, last - first)` in float64.

        A `width` is for a rule that needs so many beside each other; by default a tile is of a size that caches hold.

        >>> [(start, stop, tile.shape) for start, stop, tile in Columns.of(np.ones((2, 3))).tiles(width=2)]
        [(0, 2, (2, 2)), (2, 3, (2, 1))]
        """
        step = width or max(TILE // self.n, 1)
        end = self.d if stop is None else stop
        for first in range(start, max(end, start + 1), step):  # an empty one of rows that have none
            last = min(first + step, end)
            yield first, last, self._chosen(np.arange(first, last))

    def sample(self, k: int) -> Floats:
        """At most `k` columns, evenly spaced from the first to the last, `(n, k)` in float64.

        >>> Columns.of(np.arange(10.0)[None]).sample(4)
        array([[0., 3., 6., 9.]])
        """
        if not self.d:
            return np.zeros((self.n, 0))
        return self._chosen(np.unique(np.linspace(0, self.d - 1, min(k, self.d)).round().astype(np.intp)))

    def row(self, place: int) -> NDArray[Any]:
        """One row `(d,)` in canonical order, on its own in this process's memory: in its dtype, bfloat16 as float32."""
        rows = self._rows
        return saved(rows.like(kernels.combine(rows.data, rows.order[[place]], np.ones(1))))

    def thresholds(self, k: int) -> Floats:
        """Each row's `k`-th largest absolute value `(n,)`, 1 <= k <= d: what a value of its top k reaches.

        >>> Columns.of(np.array([[3.0, -4.0, 1.0]])).thresholds(2)
        array([3.])
        """
        if not self.d:
            return np.zeros(self.n)
        return np.array([np.partition(np.abs(self.row(place)), self.d - k)[self.d - k] for place in range(self.n)])

    def _chosen(self, columns: Order) -> Floats:
        return kernels.columns(self._rows.data, columns)[self._rows.order]


def layer_bounds(bounds: Sequence[int] | None, d: int) -> Order:
    """Where the layers of `d` columns begin and end, one if `bounds` are None; raises `SettingError`.

    >>> layer_bounds(None, 5), layer_bounds((0, 2, 5), 5)
    (array([0, 5]), array([0, 2, 5]))
    """
    found = np.array([0, d] if bounds is None else bounds)
    rising = found.ndim == 1 and len(found) > 1 and found.dtype.kind in "iu" and (np.diff(found) >= 0).all()
    if not rising or found[0] != 0 or found[-1] != d:
        raise SettingError(f"bounds of layers must rise from 0 to the {d} columns, such as (0, {d}), got {bounds!r}")
    return found.astype(np.intp)
