"""The kernels over NumPy arrays, in Numba, on all cores.

The columns are cut into chunks of a size that depends on the matrix alone; threads take chunks, and partial sums are
added in the chunks' order, so that the number of cores never changes a bit of the answer. Threads are Python's own and
the compiled loops release the interpreter lock: calls from several threads at once are safe.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from .order import OrderStatistic, network

Floats = NDArray[np.float64]
Order = NDArray[np.intp]
Block = NDArray[Any]
T = TypeVar("T")

CHUNK = 1 << 21  # values a task reads: large enough to hide the hand-over, small enough to share evenly
TILE = 1 << 16  # values of a tile that a core keeps in its cache

jit: Any = numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"}, error_model="numpy")


class _Threads:
    """The pool, made at first use and again after a fork, which leaves no threads behind."""

    def __init__(self) -> None:
        self.pool: ThreadPoolExecutor | None = None
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self.pool = None

    def each(self, work: Callable[[int, int], T], columns: int, chunk: int) -> Iterator[T]:
        """What `work(start, stop)` answers for each chunk of columns, in order, few of them alive at a time."""
        spans = [(start, min(start + chunk, columns)) for start in range(0, columns, chunk)]
        if len(spans) <= 1:
            yield from (work(start, stop) for start, stop in spans)
            return
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.pool = self.pool or ThreadPoolExecutor(cores, thread_name_prefix="hawthorn")
        waiting: deque[Future[T]] = deque()
        for start, stop in spans:
            waiting.append(self.pool.submit(work, start, stop))
            if len(waiting) > 2 * cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


threads = _Threads()


def chunk_of(n: int) -> int:
    """The columns of `n` rows that one task reads."""
    return max(CHUNK // max(n, 1) // 64 * 64, 64)


def _tile(n: int) -> int:
    return min(max(TILE // max(n, 1) // 16 * 16, 64), 4096)


def _span(data: Block, start: int, stop: int) -> tuple[Block, int, int]:
    """The matrix and the span of columns to read of it, as the compiled loops take them: C order, float32 or float64.

    Anything else (float16, strided, Fortran order) is converted chunk by chunk.
    """
    if data.dtype.name in {"float32", "float64"} and data.flags.c_contiguous:
        view = data.view()
        view.flags.writeable = False  # one compiled variant for arrays that are read-only and those that are not
        return view, start, stop
    wide = np.float64 if data.dtype == np.float64 else np.float32
    block = np.array(data[:, start:stop], dtype=wide, order="C")
    block.flags.writeable = False
    return block, 0, stop - start


def _held(data: Block, start: int, stop: int, order: Order, scale: Floats) -> tuple[Block, int, int, Order]:
    """The rows as held, the span of columns to read of them, and their order there.

    Scaled rows are written out before anything is multiplied: scales may be so small that their own squares vanish.
    """
    if (scale == 1).all():
        return *_span(data, start, stop), order
    block = data[order, start:stop].astype(np.float64) * scale[:, None]
    block.flags.writeable = False
    return block, 0, stop - start, np.arange(len(order))


def gram(data: Block, order: Order, scale: Floats) -> tuple[Floats, Floats]:
    """See `kernels.gram`."""
    n, d = len(order), data.shape[1]

    def work(start: int, stop: int) -> tuple[Floats, Floats]:
        distances, norms = np.zeros((n, n)), np.zeros(n)
        _gram(*_held(data, start, stop, order, scale), _tile(n), distances, norms)
        return distances, norms

    distances, norms = np.zeros((n, n)), np.zeros(n)
    for part_distances, part_norms in threads.each(work, d, chunk_of(n)):
        distances += part_distances
        norms += part_norms
    return distances + distances.T, norms


def grow(data: Block, start: int, stop: int) -> tuple[Floats, Floats]:
    """See `kernels.grow`."""
    distances, norms = gram(data, np.arange(stop), np.ones(stop))
    return distances[start:], norms[start:]


def products(data: Block, order: Order, scale: Floats, left: Order) -> Floats:
    """See `kernels.products`."""
    n, d = len(order), data.shape[1]

    def work(start: int, stop: int) -> Floats:
        sums = np.zeros((len(left), n))
        _products(*_held(data, start, stop, order, scale), left, sums)
        return sums

    return sum(threads.each(work, d, chunk_of(n)), np.zeros((len(left), n)))


def largest(data: Block) -> Floats:
    """See `kernels.largest`."""
    n, d = data.shape

    def work(start: int, stop: int) -> Floats:
        block, first, last = _span(data, start, stop)
        return np.abs(block[:, first:last]).max(axis=1).astype(np.float64)

    found = np.zeros(n)
    for part in threads.each(work, d, chunk_of(n)):
        found = np.maximum(found, part)  # keeps NaN
    return found


def combine(data: Block, order: Order, weights: Floats) -> Block:
    """See `kernels.combine`."""
    return mix(data, order, weights[None, :])[0]


def mix(data: Block, order: Order, mixing: Floats) -> Block:
    """See `kernels.mix`."""
    (m, n), d = mixing.shape, data.shape[1]
    mixed = np.empty((m, d), data.dtype)
    mixing = np.ascontiguousarray(mixing)

    def work(start: int, stop: int) -> None:
        block, first, last = _span(data, start, stop)
        out = mixed[:, start:stop] if mixed.dtype == block.dtype else np.empty((m, stop - start), block.dtype)
        for row in range(m):
            _mix(block, first, last, order, mixing[row], _tile(n), out[row])
        if out.base is not mixed:
            mixed[:, start:stop] = out

    for _ in threads.each(work, d, chunk_of(n)):
        pass
    return mixed


def order_statistic(
    data: Block, order: Order, statistic: OrderStatistic, mixing: Floats | None
) -> tuple[Block, NDArray[np.bool_]]:
    """See `kernels.order_statistic`."""
    n, d = len(order), data.shape[1]
    m = n if mixing is None else len(mixing)
    comparators = network(m, statistic.low, statistic.high)
    matrix = np.zeros((0, 0)) if mixing is None else np.ascontiguousarray(mixing)
    found = np.empty(d, data.dtype)

    def work(start: int, stop: int) -> NDArray[np.bool_]:
        block, first, last = _span(data, start, stop)
        out = np.empty(stop - start, block.dtype)
        scratch = np.empty((m, _tile(m)), block.dtype)
        wrong = np.zeros(n, np.bool_)
        _order_statistic(
            block, first, last, order, matrix, comparators, statistic.low, statistic.high, scratch, out, wrong
        )
        found[start:stop] = out
        return wrong

    non_finite = np.zeros(n, np.bool_)
    for part in threads.each(work, d, chunk_of(n)):
        non_finite |= part
    return found, non_finite


def columns(data: Block, chosen: Order) -> Floats:
    """See `kernels.columns`."""
    return np.ascontiguousarray(data[:, chosen], dtype=np.float64)


def compare(data: Block, a: int, b: int) -> int:
    """See `kernels.compare`."""
    for start in range(0, data.shape[1], 1 << 16):
        left, right = data[a, start : start + (1 << 16)], data[b, start : start + (1 << 16)]
        differing = np.flatnonzero(left != right)
        if len(differing):
            return -1 if left[differing[0]] < right[differing[0]] else 1
    return 0


# The compiled loops. Each takes rows as slices that start at 0, which is what lets LLVM use vector instructions.


@jit
def _gram(rows: Block, start: int, stop: int, order: Order, tile: int, distances: Floats, norms: Floats) -> None:
    n = len(order)
    for low in range(start, stop, tile):
        high = min(low + tile, stop)
        for i in range(0, n, 4):
            for j in range(i, n, 4):
                _pairs(
                    rows[order[i], low:high],
                    rows[order[min(i + 1, n - 1)], low:high],
                    rows[order[min(i + 2, n - 1)], low:high],
                    rows[order[min(i + 3, n - 1)], low:high],
                    rows[order[j], low:high],
                    rows[order[min(j + 1, n - 1)], low:high],
                    rows[order[min(j + 2, n - 1)], low:high],
                    rows[order[min(j + 3, n - 1)], low:high],
                    i,
                    j,
                    distances,
                )
        for i in range(n):
            norms[i] += _square(rows[order[i], low:high])


@jit
def _square(row: Block) -> float:
    total = 0.0
    for c in range(len(row)):
        total += np.float64(row[c]) * np.float64(row[c])
    return total


@jit
def _pairs(
    a0: Block, a1: Block, a2: Block, a3: Block, b0: Block, b1: Block, b2: Block, b3: Block, i: int, j: int, sums: Floats
) -> None:
    """Add the squared distances of four rows to four rows to the upper triangle of `sums`."""
    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = 0.0
    for c in range(len(a0)):
        x0, x1, x2, x3 = np.float64(a0[c]), np.float64(a1[c]), np.float64(a2[c]), np.float64(a3[c])
        y0, y1, y2, y3 = np.float64(b0[c]), np.float64(b1[c]), np.float64(b2[c]), np.float64(b3[c])
        s00 += (x0 - y0) * (x0 - y0)
        s01 += (x0 - y1) * (x0 - y1)
        s02 += (x0 - y2) * (x0 - y2)
        s03 += (x0 - y3) * (x0 - y3)
        s10 += (x1 - y0) * (x1 - y0)
        s11 += (x1 - y1) * (x1 - y1)
        s12 += (x1 - y2) * (x1 - y2)
        s13 += (x1 - y3) * (x1 - y3)
        s20 += (x2 - y0) * (x2 - y0)
        s21 += (x2 - y1) * (x2 - y1)
        s22 += (x2 - y2) * (x2 - y2)
        s23 += (x2 - y3) * (x2 - y3)
        s30 += (x3 - y0) * (x3 - y0)
        s31 += (x3 - y1) * (x3 - y1)
        s32 += (x3 - y2) * (x3 - y2)
        s33 += (x3 - y3) * (x3 - y3)
    found = ((s00, s01, s02, s03), (s10, s11, s12, s13), (s20, s21, s22, s23), (s30, s31, s32, s33))
    n = len(sums)
    for p in range(4):
        for q in range(4):
            if i + p < j + q < n:
                sums[i + p, j + q] += found[p][q]


@jit
def _products(rows: Block, start: int, stop: int, order: Order, left: Order, sums: Floats) -> None:
    for k in range(len(left)):
        a = rows[order[left[k]], start:stop]
        for j in range(len(order)):
            b = rows[order[j], start:stop]
            total = 0.0
            for c in range(len(a)):
                total += np.float64(a[c]) * np.float64(b[c])
            sums[k, j] += total


@jit
def _mix(rows: Block, start: int, stop: int, order: Order, weights: Floats, tile: int, out: Block) -> None:
    total = np.empty(tile)
    for low in range(start, stop, tile):
        width = min(tile, stop - low)
        _weighted(rows, low, width, order, weights, total)
        for c in range(width):
            out[low - start + c] = total[c]


@jit
def _weighted(rows: Block, low: int, width: int, order: Order, weights: Floats, total: Floats) -> None:
    """Write the weighted sum of the rows' columns `low` to `low + width` into `total`; a weight of 0 reads nothing."""
    for c in range(width):
        total[c] = 0.0
    for k in range(len(order)):
        weight = weights[k]
        if weight != 0.0:
            source = rows[order[k], low : low + width]
            for c in range(width):
                total[c] += weight * source[c]


@jit
def _exchange(a: Block, b: Block, width: int) -> None:
    for c in range(width):
        x, y = a[c], b[c]
        a[c] = x if x < y else y
        b[c] = y if x < y else x


@jit
def _order_statistic(
    rows: Block,
    start: int,
    stop: int,
    order: Order,
    mixing: Floats,
    comparators: NDArray[np.int32],
    rank_low: int,
    rank_high: int,
    scratch: Block,
    out: Block,
    non_finite: NDArray[np.bool_],
) -> None:
    m, tile = scratch.shape
    total = np.empty(tile)
    share = 1.0  # of each value in the sum, a power of two: a sum of the largest floats would overflow
    while share * (rank_high - rank_low) > 1:
        share /= 2
    for low in range(start, stop, tile):
        width = min(tile, stop - low)
        for i in range(m):
            target = scratch[i]
            if len(mixing):
                _weighted(rows, low, width, order, mixing[i], total)
                for c in range(width):
                    target[c] = total[c]
            else:
                source = rows[order[i], low : low + width]
                wrong = False
                for c in range(width):
                    target[c] = source[c]
                    # a comparison, because sums that only a NaN can change are optimized away
                    wrong |= not (abs(source[c]) < np.inf)
                non_finite[i] |= wrong
        for k in range(len(comparators)):
            _exchange(scratch[comparators[k, 0]], scratch[comparators[k, 1]], width)
        for c in range(width):
            total[c] = 0.0
        for rank in range(rank_low, rank_high):
            source = scratch[rank]
            for c in range(width):
                total[c] += source[c] * share
        for c in range(width):
            out[low - start + c] = total[c] / (share * (rank_high - rank_low))
