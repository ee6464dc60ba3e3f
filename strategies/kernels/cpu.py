"""The kernels over NumPy arrays, in Numba, on all cores."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import stream, tasks
from .by_layer import layers
from .compiled import jit
from .lanes import BLOCK, BYTES, COLUMNS, NEAREST, TILE, add_rows, fetch_ahead, write_middle, write_sums
from .order import NearMedian, Statistic, WeightedMiddle
from .pairs import LEAST, NARROW, beside, gram, grow, products
from .selection import MOST, WIDE, select
from .sorting import middle
from .tasks import LANES, Block, Floats, Order, Span, addresses, narrowed, threads, widened, written
from .votes import sign_votes
from .weighted import weighted_middle

__all__ = [
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
    "mix",
    "order_statistic",
    "products",
    "sign_votes",
]

UNROLLED = 128  # rows up to which a comparator network beats bisection; it is compiled for its very ranks
SORTED_BY_NETWORK = 512  # rows up to which a network over columns in the cache beats a sort that moves weights along
MIXED_AT_ONCE = 24  # rows up to which their weighted sums are unrolled too
STREAMS = 24  # rows whose columns the hardware sees coming


def largest(data: Block) -> Floats:
    """See `kernels.largest`."""

    def work(start: int, stop: int) -> Floats:
        found = np.abs(widened(data[:, start:stop])).max(axis=1).astype(np.float64)
        stream.release(data, start, stop)
        return found

    found = np.zeros(len(data))
    for part in threads.each(work, tasks.spans(data, LANES)):
        found = np.maximum(found, part)  # keeps NaN
    return found


def combine(data: Block, order: Order, weights: Floats) -> Block:
    """See `kernels.combine`."""
    return mix(data, order, weights[None, :])[0]


def added(found: Block, row: Block, weight: float) -> Block:
    """See `kernels.added`."""
    return narrowed(widened(found) + weight * widened(row).astype(np.float64), found.dtype)


def alike(data: Block, row: Any) -> Block:
    """See `kernels.alike`."""
    if hasattr(row, "detach"):
        row = row.detach().cpu()
        row = (row.float() if str(row.dtype) == "torch.bfloat16" else row).numpy()
    with np.errstate(over="ignore"):  # whoever asks looks whether it fits
        return narrowed(row, data.dtype)


def mix(data: Block, order: Order, mixing: Floats) -> Block:
    """See `kernels.mix`."""
    heard = np.flatnonzero((mixing != 0).any(axis=0))  # a row that weighs nothing is not read
    fill = -len(heard) % BLOCK
    weights = np.ascontiguousarray(np.pad(mixing[:, heard], ((0, 0), (0, fill))))
    order = order[np.pad(heard, (0, fill), mode="edge")] if len(heard) else heard
    mixed = np.empty((len(mixing), data.shape[1]), data.dtype)

    def write(span: Span, out: Block) -> None:
        _mix(span.like, span.places[order], weights, span.first, span.last, out)

    for _ in threads.each(lambda start, stop: written(write, data, mixed, start, stop), tasks.spans(data, LANES)):
        pass
    return mixed


def order_statistic(
    data: Block, order: Order, statistic: Statistic, mixing: Floats | None
) -> tuple[Block, NDArray[np.bool_]]:
    """See `kernels.order_statistic`."""
    n = len(order) if mixing is None else len(mixing)
    loop = _loop(statistic, n, 0 if mixing is None else len(order))
    if data.shape[1] < NARROW or n > MOST or loop is None:
        return _by_sorting(data, order, statistic, mixing)
    found = np.empty((1, data.shape[1]), data.dtype)
    ways = _ways_to_mix(data, np.empty((0, 0)) if mixing is None else mixing)

    def write(span: Span, out: Block) -> bool:
        scratch = np.empty((WIDE // COLUMNS, n + BLOCK, COLUMNS), span.data.dtype)
        given = span.like, span.places[order], scratch, addresses(scratch[0])
        # float32 sums first, and float64 ones where those overflow
        return any(loop(*given, *way, span.first, span.last, addresses(out)[0]) for way in ways)

    spans = tasks.spans(data, LANES)
    finite = all(list(threads.each(lambda start, stop: written(write, data, found, start, stop), spans)))
    wrong = np.zeros(len(order), np.bool_)
    if not finite and mixing is None:
        wrong = ~np.isfinite(largest(data)[order])
    return found[0], wrong


def _loop(statistic: Statistic, n: int, mixed_of: int) -> Any:
    """The compiled loop for a statistic of n rows, or of n sums of `mixed_of` rows; None where sorting is as good."""
    if isinstance(statistic, WeightedMiddle):
        return functools.partial(weighted_middle, statistic) if n <= SORTED_BY_NETWORK else None
    if isinstance(statistic, NearMedian):
        return _network_loop(n, NEAREST, statistic.count, mixed_of) if n <= UNROLLED else None
    low, high = statistic.low, statistic.high
    return _network_loop(n, low, high, mixed_of) if n <= UNROLLED else functools.partial(select, n, low, high)


def _by_sorting(
    data: Block, order: Order, statistic: Statistic, mixing: Floats | None
) -> tuple[Block, NDArray[np.bool_]]:
    """The same by NumPy, some columns at a time: of rows that are short, or more than the loops are made for."""
    found = np.empty(data.shape[1], data.dtype)

    def work(start: int, stop: int) -> NDArray[np.bool_]:
        part = data[:, start:stop]
        rows = widened(part[order] if mixing is None else mix(part, order, mixing))
        found[start:stop] = narrowed(middle(rows, statistic), data.dtype)
        wrong = np.zeros(len(order), np.bool_)
        if mixing is None:
            wrong |= [not np.isfinite(row).all() for row in rows]
        stream.release(data, start, stop)
        return wrong

    wrong = np.zeros(len(order), np.bool_)
    for part in threads.each(work, tasks.spans(data, LANES)):
        wrong |= part
    return found, wrong


def _ways_to_mix(data: Block, mixing: Floats) -> list[tuple[Block, Floats]]:
    """Weights `(m, n)`, with rows of zeros up to a whole block, and what each sum is multiplied by; one way or two."""
    whole = np.ascontiguousarray(np.pad(mixing, ((0, -len(mixing) % BLOCK), (0, 0))))
    exact = whole, np.ones(len(whole))
    sizes = np.abs(whole)
    longest = sizes.max(axis=1, initial=0.0)
    longest[longest == 0] = 1.0
    shares = whole / longest[:, None]
    if data.dtype == np.float64 or not _near_one(shares) or not _near_one(longest):
        return [exact]
    return [(shares.astype(np.float32, order="C"), longest.astype(np.float32)), exact]


def _near_one(numbers: Floats) -> bool:
    """Whether numbers are zero or far from where float32 ends."""
    sizes = np.abs(numbers[numbers != 0])
    return bool(((sizes > LEAST) & (sizes < 1 / LEAST)).all())


def columns(data: Block, chosen: Order) -> Floats:
    """See `kernels.columns`."""
    found = np.empty((len(data), len(chosen)))
    for row, values in zip(data, found, strict=True):
        values[:] = widened(row[chosen])
        stream.release(data, 0, data.shape[1])
    return found


def compare(data: Block, a: int, b: int) -> int:
    """See `kernels.compare`."""
    for start in range(0, data.shape[1], 1 << 16):
        left, right = (widened(data[row, start : start + (1 << 16)]) for row in (a, b))
        differing = np.flatnonzero(left != right)
        stream.release(data, start, start + (1 << 16))
        if len(differing):
            return -1 if left[differing[0]] < right[differing[0]] else 1
    return 0


# The compiled loops. Those made for a number of rows are made when first asked for; all are cached on disk.


@jit
def _mix(like: Block, rows: Order, weights: Floats, start: int, stop: int, out: Block) -> None:
    totals = np.empty(TILE)
    for low in range(start, stop, TILE):
        high = min(low + TILE, stop)
        for i in range(len(weights)):
            totals[:] = 0.0
            for k in range(0, len(rows), BLOCK):
                add_rows(like, rows, weights[i], k, BLOCK, low, high, totals)
            target = out[i, low - start : high - start]
            for c in range(len(target)):
                target[c] = totals[c]


@functools.cache
def _network_loop(n: int, low: int, high: int, mixed_of: int) -> Any:
    """What does the work of `select` for these ranks alone, of `n` rows, or of `n` sums of `mixed_of` rows."""

    at_once = mixed_of == n <= MIXED_AT_ONCE

    @jit
    def middle(
        like: Block,
        rows: Order,
        scratch: Block,
        places: Order,
        weights: Block,
        factors: Block,
        start: int,
        stop: int,
        out: int,
    ) -> bool:
        finite = True
        for c in range(start, stop, BYTES // like.itemsize):
            if n > STREAMS:
                fetch_ahead(like, rows, c)
            finite &= write_middle(like, rows, c, weights, factors, n, low, high, at_once, out, c - start)
        return finite

    @jit
    def middle_of_sums(
        like: Block,
        rows: Order,
        scratch: Block,
        places: Order,
        weights: Block,
        factors: Block,
        start: int,
        stop: int,
        out: int,
    ) -> bool:
        finite = True
        for c in range(start, stop, BYTES // like.itemsize):
            if n > STREAMS:
                fetch_ahead(like, rows, c)
            for i in range(0, len(factors), BLOCK):
                write_sums(like, rows, c, weights, factors, i, BLOCK, places)
            finite &= write_middle(like, places, 0, weights, factors, n, low, high, False, out, c - start)
        return finite

    return middle if at_once or not mixed_of else middle_of_sums
