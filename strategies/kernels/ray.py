"""The kernels over column shards on a Ray cluster: each worker runs those of `cpu` on its columns.

Distances and products add up, in the order of the columns; answers on columns are joined. Only those travel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import cpu, pairs
from .order import Statistic
from .shards import Shards

Floats = NDArray[np.float64]
Order = NDArray[np.intp]
Counts = NDArray[np.int64]
Block = NDArray[Any]
Number = TypeVar("Number", np.float64, np.int64)


def _added(parts: Sequence[NDArray[Number]]) -> NDArray[Number]:
    return sum(parts, np.zeros_like(parts[0]))


def gram(
    data: Shards, order: Order, scale: Floats, grown: tuple[Floats, Floats] | None = None
) -> tuple[Floats, Floats]:
    """See `kernels.gram`."""
    if grown is not None and not pairs.doubts(*grown).any():
        return grown
    distances, norms = zip(*data.each("gram", order, scale), strict=True)
    return _added(distances), _added(norms)


def grow(data: Shards, start: int, stop: int) -> tuple[Floats, Floats]:
    """See `kernels.grow`."""
    distances, norms = zip(*data.each("grow", start, stop), strict=True)
    return _added(distances), _added(norms)


def layers(data: Shards, order: Order, scale: Floats, bounds: Order) -> tuple[Floats, Floats, Counts]:
    """See `kernels.layers`."""
    distances, norms, signs = zip(*data.layers(order, scale, bounds), strict=True)
    return _added(distances), _added(norms), _added(signs)


def sign_votes(data: Shards, order: Order) -> Counts:
    """See `kernels.sign_votes`."""
    return _added(data.each("sign_votes", order))


def products(data: Shards, order: Order, scale: Floats, left: Order) -> Floats:
    """See `kernels.products`."""
    return _added(data.each("products", order, scale, left))


def beside(data: Shards, order: Order, scale: Floats, row: Block, factor: float) -> tuple[Floats, Floats]:
    """See `kernels.beside`."""
    distances, products = zip(*data.beside(order, scale, row, factor), strict=True)
    return _added(distances), _added(products)


def alike(data: Shards, row: Any) -> Block:
    """See `kernels.alike`."""
    return cpu.alike(np.empty(0, data.dtype), row)


def largest(data: Shards) -> Floats:
    """See `kernels.largest`."""
    return np.max(data.each("largest"), axis=0)  # keeps NaN


def combine(data: Shards, order: Order, weights: Floats) -> Block:
    """See `kernels.combine`."""
    return np.concatenate(data.each("combine", order, weights))


def mix(data: Shards, order: Order, mixing: Floats) -> Block:
    """See `kernels.mix`."""
    return np.concatenate(data.each("mix", order, mixing), axis=1)


def order_statistic(
    data: Shards, order: Order, statistic: Statistic, mixing: Floats | None
) -> tuple[Block, NDArray[np.bool_]]:
    """See `kernels.order_statistic`."""
    found, non_finite = zip(*data.each("order_statistic", order, statistic, mixing), strict=True)
    return np.concatenate(found), np.any(non_finite, axis=0)


def columns(data: Shards, chosen: Order) -> Floats:
    """See `kernels.columns`."""
    return data.chosen(chosen)


def compare(data: Shards, a: int, b: int) -> int:
    """See `kernels.compare`."""
    return next((found for found in data.each("compare", a, b) if found), 0)
