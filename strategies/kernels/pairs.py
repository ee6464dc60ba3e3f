"""Pass 1 over NumPy arrays: what pairs of rows have in common, added up over the columns."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import stream, tasks
from .compiled import jit
from .lanes import PRODUCTS, SIDE, SQUARE, TILE, TRIANGLE, add_pairs
from .tasks import Block, Floats, Order, Span, threads

NARROW = 1 << 14  # fewer columns take no time: distances are exact from the start, and NumPy puts them in order
LEAST = 1e-24  # a float32 sum of squares below this may have lost squares too small for float32


def gram(data: Block, order: Order, scale: Floats, grown: tuple[Floats, Floats] | None = None) -> tuple[Floats, Floats]:
    """See `kernels.gram`."""
    if grown is None:
        sums = pair_sums(data, order, order, scale)
        grown = symmetric(sums), np.diag(sums).copy()
    return grown if is_exact(data, scale) else repaired(data, order, *grown)


def grow(data: Block, start: int, stop: int) -> tuple[Floats, Floats]:
    """See `kernels.grow`."""
    first = start - start % SIDE  # blocks begin where they begin in `gram`
    rows = np.arange(stop)
    sums = pair_sums(data, rows[first:], rows, np.ones(stop))
    norms = np.diag(sums[:, first:]).copy()
    sums[:, first:] = symmetric(sums[:, first:])
    return sums[start - first :], norms[start - first :]


def products(data: Block, order: Order, scale: Floats, left: Order) -> Floats:
    """See `kernels.products`."""
    return pair_sums(data, order[left], order, scale, PRODUCTS, exact=True)


def beside(data: Block, order: Order, scale: Floats, row: Block, factor: float) -> tuple[Floats, Floats]:
    """See `kernels.beside`: one more row, which lies elsewhere, on the left of all the others."""
    row = np.ascontiguousarray(row[None, :], data.dtype)
    scaled = bool((scale != 1).any() or factor != 1)
    factors, own = (np.ones(len(data)), np.array([factor])) if scaled else (None, None)
    if factors is not None:
        factors[order] = scale
    right = np.pad(order, (0, -len(order) % SIDE), mode="edge")
    found = np.zeros((2, len(order)))

    def work(start: int, stop: int) -> Floats:
        span, other = Span(data, start, stop, factors), Span(row, start, stop, own)
        left = np.repeat(other.begins - span.first * span.data.itemsize, SIDE)  # where its first column would be
        parts = np.zeros((2, -(-(span.last - span.first) // tasks.CHUNK), SIDE, len(right)))
        for kind, sums in zip((SQUARE, PRODUCTS), parts, strict=True):
            loop = _pair_loop(kind, True)
            loop(span.like, left, span.places[right], len(right), span.first, span.last, tasks.CHUNK, sums)
        stream.release(data, start, stop)
        return parts[:, :, 0, : len(order)]

    for parts in threads.each(work, tasks.spans(data)):
        for part in parts.transpose(1, 0, 2):
            found += part
    return found[0], found[1]


def is_exact(data: Block, scale: Floats) -> bool:
    """Whether distances are made in float64 from the start."""
    return data.dtype == np.float64 or data.shape[1] < NARROW or bool((scale != 1).any())


def pair_sums(
    data: Block, left: Order, right: Order, scale: Floats, kind: int = TRIANGLE, exact: bool | None = None
) -> Floats:
    """What the rows `left` and `right` have in common `(len(left), len(right))`, `left` being the last of `right`.

    Of two rows that are on both sides, the distance is at one of their two places and the other one is zero; squared
    lengths are on the diagonal. Of the other kinds, any rows may be on the left, and all places are filled.
    """
    shape = len(left), len(right)
    loop = _pair_loop(kind, is_exact(data, scale) if exact is None else exact)
    factors = factors_of(data, right, scale)
    before = len(right) - len(left) if kind == TRIANGLE else len(right)
    left, right = (np.pad(rows, (0, -len(rows) % SIDE), mode="edge") for rows in (left, right))

    def work(start: int, stop: int) -> Floats:
        span = Span(data, start, stop, factors)
        parts = np.zeros((-(-(span.last - span.first) // tasks.CHUNK), len(left), len(right)))
        loop(span.like, span.places[left], span.places[right], before, span.first, span.last, tasks.CHUNK, parts)
        stream.release(data, start, stop)
        return parts

    sums = np.zeros((len(left), len(right)))
    for parts in threads.each(work, tasks.spans(data)):
        for part in parts:
            sums += part
    return sums[: shape[0], : shape[1]]


def factors_of(data: Block, order: Order, scale: Floats) -> Floats | None:
    """What each row of the data is multiplied by, in the data's own order; None where no row is changed."""
    if not (scale != 1).any():
        return None
    factors = np.ones(len(data))
    factors[order] = scale
    return factors


def repaired(data: Block, order: Order, distances: Floats, norms: Floats) -> tuple[Floats, Floats]:
    """The same with what float32 could not hold made again in float64: squares too large, and sums of tiny ones.

    Usually that is nothing, or a few rows are in all such pairs: equal rows, or rows far longer than the others.
    """
    n = len(order)
    ones = np.ones(n)
    doubtful = doubts(distances, norms)
    again: list[int] = []
    while doubtful.any() and 3 * len(again) < n:
        again.append(int(doubtful.sum(axis=1).argmax()))
        doubtful[again[-1]] = doubtful[:, again[-1]] = False
    if doubtful.any():
        sums = pair_sums(data, order, order, ones, exact=True)
        return symmetric(sums), np.diag(sums).copy()
    if again:
        chosen = np.array(again)
        found = pair_sums(data, order[chosen], order, ones, SQUARE, exact=True)
        distances[chosen], distances[:, chosen] = found, found.T
        norms[chosen] = np.diag(pair_sums(data, order[chosen], order[chosen], ones[chosen], exact=True))
    return distances, norms


def doubts(distances: Floats, norms: Floats) -> NDArray[np.bool_]:
    """Which distances `(n, n)`, and on the diagonal norms, float32 may not have held."""
    sums = distances + np.diag(norms)
    return ~((sums > LEAST) & (sums < np.inf))


def symmetric(sums: Floats) -> Floats:
    """Distances of which each was at one of its two places, with squared lengths on the diagonal."""
    distances = sums + sums.T
    np.fill_diagonal(distances, 0.0)
    return distances


@functools.cache
def _pair_loop(kind: int, exact: bool) -> Any:
    @jit
    def add_all_pairs(
        like: Block, left: Order, right: Order, before: int, start: int, stop: int, chunk: int, parts: Floats
    ) -> None:
        for k in range(len(parts)):
            sums = parts[k]
            last = min(start + (k + 1) * chunk, stop)
            for low in range(start + k * chunk, last, TILE):
                high = min(low + TILE, last)
                for i in range(0, len(left), SIDE):
                    for j in range(0, min(i + before, len(right)), SIDE):
                        add_pairs(like, left, right, low, high, sums, i, j, square, exact)
                    if kind == TRIANGLE:
                        add_pairs(like, left, right, low, high, sums, i, i + before, TRIANGLE, exact)

    square = PRODUCTS if kind == PRODUCTS else SQUARE
    return add_all_pairs
