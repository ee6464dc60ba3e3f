"""The only code that touches the `d` columns: it reads the matrix tile by tile, where it lies, and never copies it.

Which file does the work is decided by where the data is: NumPy arrays (and CPU tensors, which share their memory) go to
`cpu`, other tensors to `cuda`, shards on a Ray cluster to `ray`. Kernels know nothing of rules: they get the rows, the
order in which to take them, and what to compute. Answers on `n` rows are NumPy in float64; answers on `d` columns are
of the data's own kind and dtype (arrays, where it is shards).
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import cpu
from .order import NearMedian, OrderStatistic, Statistic, WeightedMiddle
from .sorting import middle

Floats = NDArray[np.float64]
Order = NDArray[np.intp]
Counts = NDArray[np.int64]

__all__ = [
    "LostColumnsError",
    "NearMedian",
    "OrderStatistic",
    "Statistic",
    "WeightedMiddle",
    "added",
    "alike",
    "beside",
    "columns",
    "combine",
    "compare",
    "gram",
    "grow",
    "largest",
    "layers",
    "middle",
    "mix",
    "order_statistic",
    "products",
    "sharded",
    "sign_votes",
]


class LostColumnsError(ConnectionError):
    """Columns that no worker of a cluster holds and that cannot be had again, or for which no worker can be had."""


def sharded(data: Any) -> bool:
    """Whether the columns lie with the workers of a Ray cluster; whoever made them so has imported Ray."""
    return type(data).__module__ == f"{__name__}.shards"


def _backend(data: Any) -> ModuleType:
    if isinstance(data, np.ndarray):
        return cpu
    if sharded(data):
        from . import ray

        return ray
    from . import cuda  # imports torch, which a CPU server does without

    return cuda


def gram(data: Any, order: Order, scale: Floats, grown: tuple[Floats, Floats] | None = None) -> tuple[Floats, Floats]:
    """Squared distances `(n, n)` and squared norms `(n,)` of the rows `data[order] * scale`: pass 1.

    Distances are summed from differences, so that a part common to all rows costs no precision, in float64, or where
    rows are long in float32 a few hundred columns at a time; what float32 cannot hold is made again in float64. `grown`
    is what `grow` found of these rows, in this order: then nothing is left to do but the latter.
    """
    if grown is None:
        return _backend(data).gram(data, order, scale)
    return _backend(data).gram(data, order, scale, grown)


def grow(data: Any, start: int, stop: int) -> tuple[Floats, Floats]:
    """Squared distances `(stop - start, stop)` of rows `start` to `stop` to the rows up to `stop`, and their norms.

    Of each pair it finds what `gram` finds first, to the last bit, in whatever order rows came; `gram` finishes it.
    """
    return _backend(data).grow(data, start, stop)


def layers(data: Any, order: Order, scale: Floats, bounds: Order) -> tuple[Floats, Floats, Counts]:
    """Distances `(L, n, n)`, norms `(L, n)` and sign counts `(L, n, 2)` of the rows in each layer: a pass 1 in parts.

    Layer `l` is the columns `bounds[l]` to `bounds[l + 1]`, of which there may be none. Distances and norms are what
    `gram` finds of those columns alone, and add up to those of whole rows: whoever calls this need not call `gram`.
    Signs are how many values are negative and how many positive, as they came: `scale` changes none, and a zero of
    either sign is neither.

    >>> rows = np.array([[3.0, -1.0, 0.0], [0.0, -1.0, -0.0]])
    >>> distances, norms, signs = layers(rows, np.arange(2), np.ones(2), np.array([0, 1, 3]))
    >>> distances[:, 0, 1], signs.tolist()
    (array([9., 0.]), [[[0, 1], [0, 0]], [[1, 0], [1, 0]]])
    """
    if bounds[0] != 0 or bounds[-1] != data.shape[1] or (np.diff(bounds) < 0).any():  # nothing else is looked up safely
        raise ValueError(f"bounds of layers must rise from 0 to {data.shape[1]} columns, got {bounds}")
    return _backend(data).layers(data, order, scale, bounds)


def sign_votes(data: Any, order: Order) -> Counts:
    """In how many columns each row's sign is not that of most other rows, and in how many it was compared, `(n, 2)`.

    Columns in which the row is zero, of either sign, or in which the other rows' signs are in balance do not count.

    >>> sign_votes(np.array([[1.0, -2.0, 0.0], [3.0, 5.0, 1.0], [-1.0, 5.0, 1.0]]), np.arange(3)).tolist()
    [[1, 1], [0, 1], [1, 2]]
    """
    return _backend(data).sign_votes(data, order)


def products(data: Any, order: Order, scale: Floats, left: Order) -> Floats:
    """Inner products `(len(left), n)` of the rows at positions `left` of the order with all rows."""
    return _backend(data).products(data, order, scale, left)


def beside(data: Any, order: Order, scale: Floats, row: Any, factor: float) -> tuple[Floats, Floats]:
    """Squared distances and inner products `(n,)` of the rows `data[order] * scale` to one more row, `row * factor`.

    `row` `(d,)` lies elsewhere, in the data's own kind and dtype (an array, where it is shards).

    >>> beside(np.array([[3.0, 4.0], [1.0, 0.0]]), np.arange(2), np.ones(2), np.array([0.0, 2.0]), 0.5)
    (array([18.,  2.]), array([4., 0.]))
    """
    return _backend(data).beside(data, order, scale, row, factor)


def largest(data: Any) -> Floats:
    """The largest absolute value of each row `(n,)`, in the data's own order; NaN where the row holds one."""
    return _backend(data).largest(data)


def combine(data: Any, order: Order, weights: Floats) -> Any:
    """The weighted sum `(d,)` of the rows, accumulated in float64."""
    return _backend(data).combine(data, order, weights)


def added(found: Any, row: Any, weight: float) -> Any:
    """The vector `found + weight * row` `(d,)`, made in float64 and of the kind and dtype of `found`."""
    return _backend(found).added(found, row, weight)


def alike(data: Any, row: Any) -> Any:
    """A vector, an array or a tensor, in the data's own kind and dtype and where the data is (an array, for shards)."""
    return _backend(data).alike(data, row)


def mix(data: Any, order: Order, mixing: Floats) -> Any:
    """The rows `mixing @ data[order]`, `(m, d)`: for whoever asks for the mixed rows themselves."""
    return _backend(data).mix(data, order, mixing)


def order_statistic(
    data: Any, order: Order, statistic: Statistic, mixing: Floats | None = None
) -> tuple[Any, NDArray[np.bool_]]:
    """An order statistic `(d,)` of each column of the rows, or of `mixing @ rows`, never made as a whole: pass 2.

    It is an `OrderStatistic`, `NearMedian`, or `WeightedMiddle`, whose weights are of the rows in this order.

    Says too which rows `(n,)` were seen to hold a value that is not finite; with `mixing` nobody looks.
    """
    return _backend(data).order_statistic(data, order, statistic, mixing)


def columns(data: Any, chosen: Order) -> Floats:
    """The chosen columns `(n, k)` in float64."""
    return _backend(data).columns(data, chosen)


def compare(data: Any, a: int, b: int) -> int:
    """-1, 0 or 1 as row `a` comes before, equals or comes after row `b` at the first column where they differ."""
    return _backend(data).compare(data, a, b)
