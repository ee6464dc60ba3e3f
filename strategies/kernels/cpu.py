"""The kernels over NumPy arrays, in Numba, on all cores.

The columns are cut into chunks of a size that depends on the matrix alone; threads take chunks, and partial sums are
added in the chunks' order, so that the number of cores never changes a bit of the answer. Threads are Python's own and
the compiled loops release the interpreter lock: calls from several threads at once are safe.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import stream
from .compiled import jit
from .lanes import (
    BYTES,
    COLUMNS,
    PRODUCTS,
    SIDE,
    SQUARE,
    TILE,
    TRIANGLE,
    add_pairs,
    add_rows,
    count_signs,
    fetch_ahead,
    write_middle,
    write_sums,
)
from .order import OrderStatistic
from .selection import WIDE, select

Floats = NDArray[np.float64]
Order = NDArray[np.intp]
Counts = NDArray[np.int64]
Block = NDArray[Any]
T = TypeVar("T")

TASK = 1 << 21  # values a task reads: large enough to hide the hand-over, small enough to share evenly
CHUNK = 1 << 14  # columns whose sums are added up before they join those of the columns before
NARROW = 1 << 14  # fewer columns take no time: distances are exact from the start, and NumPy puts them in order
UNROLLED = 128  # rows up to which a comparator network beats bisection; it is compiled for its very ranks
MIXED_AT_ONCE = 24  # rows up to which their weighted sums are unrolled too
BLOCK = 10  # weighted sums made at a time: they fill the registers
STREAMS = 24  # rows whose columns the hardware sees coming
LEAST = 1e-24  # a float32 sum of squares below this may have lost squares too small for float32
LANES = 32  # columns are read in whole multiples of this


class _Threads:
    """The pool, made at first use and again after a fork, which leaves no threads behind."""

    def __init__(self) -> None:
        self.pool: ThreadPoolExecutor | None = None
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self.pool = None

    def each(self, work: Callable[[int, int], T], spans: list[tuple[int, int]]) -> Iterator[T]:
        """What `work(start, stop)` answers for each span, in order, few answers alive at a time."""
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


def _spans(rows: int, columns: int) -> list[tuple[int, int]]:
    """The columns in tasks of whole chunks; the last few, which fill no vector, in a task of their own."""
    step = max(TASK // max(rows * CHUNK, 1), 1) * CHUNK
    whole = columns - columns % LANES
    spans = [(start, min(start + step, whole)) for start in range(0, whole, step)]
    return spans if whole == columns else [*spans, (whole, columns)]


class _Span:
    """Some columns of all rows as the compiled loops take them: where rows begin, and which columns to read of them.

    Whole vectors of float32 or float64 are read where they lie. Anything else (float16, columns that lie apart, the
    last few columns) is written out, a span at a time, with zeros up to a whole vector; so are rows that are multiplied
    by `factors`, in float64 and before anything else is done with them, because squares of factors may vanish. Who
    reads whole vectors only, wherever they begin, calls the columns `filled`.
    """

    def __init__(self, data: Block, start: int, stop: int, factors: Floats | None = None, filled: bool = False) -> None:
        self.data, self.first, self.last = data, start, stop
        ready = data.dtype.name in {"float32", "float64"} and data.flags.aligned and data.strides[1] == data.itemsize
        if not ready or factors is not None or ((stop - start) % LANES and not filled):
            wide = np.float64 if factors is not None or data.dtype == np.float64 else np.float32
            self.first, self.last = 0, -(-(stop - start) // LANES) * LANES
            self.data = np.zeros((len(data), self.last), wide)
            self.data[:, : stop - start] = widened(data[:, start:stop])
            if factors is not None:
                self.data *= factors[:, None]
        self.like = np.empty(0, self.data.dtype)
        self.places = addresses(self.data)
        self.begins = self.places + self.first * self.data.itemsize  # of the span itself


def addresses(block: Block) -> Order:
    """Where the rows of a block begin."""
    return block.ctypes.data + np.arange(len(block)) * block.strides[0]


def _written(write: Callable[[_Span, Block], T], data: Block, found: Block, start: int, stop: int) -> T:
    """What `write(span, out)` answers; the columns that it wrote to `out` are then in `found`."""
    span = _Span(data, start, stop)
    in_place = span.data is data and found.dtype == data.dtype
    out = found[:, start:stop] if in_place else np.empty((len(found), span.last - span.first), span.data.dtype)
    answer = write(span, out)
    if not in_place:
        found[:, start:stop] = narrowed(out[:, : stop - start], found.dtype)
    stream.release(data, start, stop)
    return answer


def widened(block: Block) -> Block:
    """The numbers of a block that NumPy can compute with: bfloat16, which comes as its bits in uint16, as float32."""
    return (block.astype(np.uint32) << 16).view(np.float32) if block.dtype == np.uint16 else block


def narrowed(found: Block, dtype: Any) -> Block:
    """Numbers rounded to the data's dtype, to the nearest and if there are two to the even one."""
    if dtype != np.uint16:
        return found.astype(dtype, copy=False)
    bits = found.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def gram(data: Block, order: Order, scale: Floats, grown: tuple[Floats, Floats] | None = None) -> tuple[Floats, Floats]:
    """See `kernels.gram`."""
    if grown is None:
        sums = _pair_sums(data, order, order, scale)
        grown = _symmetric(sums), np.diag(sums).copy()
    return grown if _exact(data, scale) else _repaired(data, order, *grown)


def grow(data: Block, start: int, stop: int) -> tuple[Floats, Floats]:
    """See `kernels.grow`."""
    first = start - start % SIDE  # blocks begin where they begin in `gram`
    rows = np.arange(stop)
    sums = _pair_sums(data, rows[first:], rows, np.ones(stop))
    norms = np.diag(sums[:, first:]).copy()
    sums[:, first:] = _symmetric(sums[:, first:])
    return sums[start - first :], norms[start - first :]


def _exact(data: Block, scale: Floats) -> bool:
    """Whether distances are made in float64 from the start."""
    return data.dtype == np.float64 or data.shape[1] < NARROW or bool((scale != 1).any())


def _pair_sums(
    data: Block, left: Order, right: Order, scale: Floats, kind: int = TRIANGLE, exact: bool | None = None
) -> Floats:
    """What the rows `left` and `right` have in common `(len(left), len(right))`, `left` being the last of `right`.

    Of two rows that are on both sides, the distance is at one of their two places and the other one is zero; squared
    lengths are on the diagonal. Of the other kinds, any rows may be on the left, and all places are filled.
    """
    shape = len(left), len(right)
    loop = _pair_loop(kind, _exact(data, scale) if exact is None else exact)
    factors = _factors(data, right, scale)
    before = len(right) - len(left) if kind == TRIANGLE else len(right)
    left, right = (np.pad(rows, (0, -len(rows) % SIDE), mode="edge") for rows in (left, right))

    def work(start: int, stop: int) -> Floats:
        span = _Span(data, start, stop, factors)
        parts = np.zeros((-(-(span.last - span.first) // CHUNK), len(left), len(right)))
        loop(span.like, span.places[left], span.places[right], before, span.first, span.last, CHUNK, parts)
        stream.release(data, start, stop)
        return parts

    sums = np.zeros((len(left), len(right)))
    for parts in threads.each(work, _spans(len(data), data.shape[1])):
        for part in parts:
            sums += part
    return sums[: shape[0], : shape[1]]


def _factors(data: Block, order: Order, scale: Floats) -> Floats | None:
    """What each row of the data is multiplied by, in the data's own order; None where no row is changed."""
    if not (scale != 1).any():
        return None
    factors = np.ones(len(data))
    factors[order] = scale
    return factors


def _repaired(data: Block, order: Order, distances: Floats, norms: Floats) -> tuple[Floats, Floats]:
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
        sums = _pair_sums(data, order, order, ones, exact=True)
        return _symmetric(sums), np.diag(sums).copy()
    if again:
        chosen = np.array(again)
        found = _pair_sums(data, order[chosen], order, ones, SQUARE, exact=True)
        distances[chosen], distances[:, chosen] = found, found.T
        norms[chosen] = np.diag(_pair_sums(data, order[chosen], order[chosen], ones[chosen], exact=True))
    return distances, norms


def doubts(distances: Floats, norms: Floats) -> NDArray[np.bool_]:
    """Which distances `(n, n)`, and on the diagonal norms, float32 may not have held."""
    sums = distances + np.diag(norms)
    return ~((sums > LEAST) & (sums < np.inf))


def _symmetric(sums: Floats) -> Floats:
    """Distances of which each was at one of its two places, with squared lengths on the diagonal."""
    distances = sums + sums.T
    np.fill_diagonal(distances, 0.0)
    return distances


def layers(data: Block, order: Order, scale: Floats, bounds: Order) -> tuple[Floats, Floats, Counts]:
    """See `kernels.layers`."""
    cut = list(itertools.pairwise(bounds.tolist()))
    exact = np.array([_exact(data[:, start:stop], scale) for start, stop in cut], np.bool_)
    sums, signs = _layer_sums(data, order, scale, cut, exact)
    norms = sums.diagonal(axis1=1, axis2=2).copy()
    for layer, (start, stop) in enumerate(cut):
        sums[layer] = _symmetric(sums[layer])
        if not exact[layer]:
            sums[layer], norms[layer] = _repaired(data[:, start:stop], order, sums[layer], norms[layer])
    return sums, norms, signs


def _layer_sums(
    data: Block, order: Order, scale: Floats, cut: list[tuple[int, int]], exact: NDArray[np.bool_]
) -> tuple[Floats, Counts]:
    """What `_pair_sums` finds of each layer's columns `(L, n, n)`, to the last bit, and their signs `(L, n, 2)`."""
    n, factors, pieces = len(order), _factors(data, order, scale), _pieces(cut)
    rows = np.pad(order, (0, -n % SIDE), mode="edge")

    def work(first: int, last: int) -> tuple[Floats, Counts]:
        own = pieces[first:last]
        sums, signs = np.zeros((len(own), len(rows), len(rows))), np.zeros((len(own), len(rows), 2), np.int64)
        for matrix, places in _sources(data, own):
            start, stop = int(places[0, 1]), int(places[-1, 2])
            held = _Span(matrix, start, stop, factors, filled=True)
            plain = held if factors is None else _Span(matrix, start, stop, filled=True)
            read = held.like, held.begins[rows], plain.like, plain.begins[rows]
            for exactly in (False, True):
                chosen = places[exact[own[places[:, 0], 0]] == exactly]
                if len(chosen):
                    _layer_loop(exactly)(*read, chosen - [0, start, start], sums, signs)
        stream.release(data, int(own[0, 1]), int(own[-1, 2]))
        return sums, signs

    sums, signs = np.zeros((len(cut), n, n)), np.zeros((len(cut), n, 2), np.int64)
    found = threads.each(work, _shares(pieces, len(data), n))
    parts = itertools.chain.from_iterable(zip(*both, strict=True) for both in found)
    for layer, (part, counts) in zip(pieces[:, 0], parts, strict=True):
        sums[layer] += part[:n, :n]
        signs[layer] += counts[:n]
    return sums, signs


def _pieces(cut: list[tuple[int, int]]) -> Order:
    """Layers in chunks `(k, 3)`: layer, first and last column; what fills no vector is a piece of its own.

    >>> _pieces([(0, 70), (70, 70), (70, 73)]).tolist()
    [[0, 0, 64], [0, 64, 70], [2, 70, 73]]
    """
    pieces: list[tuple[int, int, int]] = []
    for layer, (start, stop) in enumerate(cut):
        whole = stop - (stop - start) % LANES
        pieces += [(layer, low, min(low + CHUNK, whole)) for low in range(start, whole, CHUNK)]
        pieces += [(layer, whole, stop)] * (whole < stop)
    return np.array(pieces, np.intp).reshape(-1, 3)


def _shares(pieces: Order, held: int, n: int) -> list[tuple[int, int]]:
    """Tasks, as ranges of pieces: of about `TASK` values to read, and sums of no more unless a piece has them."""
    step, most = max(TASK // max(held, 1), CHUNK), max(TASK // max(n * n, 1), 1)
    shares: list[tuple[int, int]] = []
    first = 0
    while first < len(pieces):
        within = int(np.searchsorted(pieces[:, 2], int(pieces[first, 1]) + step, "right"))
        shares.append((first, min(max(within, first + 1), first + most)))
        first = shares[-1][1]
    return shares


def _sources(data: Block, pieces: Order) -> Iterator[tuple[Block, Order]]:
    """Where the pieces are read, whole vectors each: a matrix, and `(k, 3)` of piece, first and last column there."""
    ragged = (pieces[:, 2] - pieces[:, 1]) % LANES > 0
    places = np.column_stack([np.arange(len(pieces)), pieces[:, 1:]])
    if not ragged.all():
        yield data, places[~ragged]
    if ragged.any():
        few = np.zeros((len(data), int(ragged.sum()) * LANES), data.dtype)
        begins = np.arange(0, few.shape[1], LANES)
        for begin, (_, start, stop) in zip(begins.tolist(), pieces[ragged].tolist(), strict=True):
            few[:, begin : begin + stop - start] = data[:, start:stop]
        yield few, np.column_stack([places[ragged, 0], begins, begins + LANES])


def products(data: Block, order: Order, scale: Floats, left: Order) -> Floats:
    """See `kernels.products`."""
    return _pair_sums(data, order[left], order, scale, PRODUCTS, exact=True)


def largest(data: Block) -> Floats:
    """See `kernels.largest`."""

    def work(start: int, stop: int) -> Floats:
        found = np.abs(widened(data[:, start:stop])).max(axis=1).astype(np.float64)
        stream.release(data, start, stop)
        return found

    found = np.zeros(len(data))
    for part in threads.each(work, _spans(*data.shape)):
        found = np.maximum(found, part)  # keeps NaN
    return found


def combine(data: Block, order: Order, weights: Floats) -> Block:
    """See `kernels.combine`."""
    return mix(data, order, weights[None, :])[0]


def mix(data: Block, order: Order, mixing: Floats) -> Block:
    """See `kernels.mix`."""
    heard = np.flatnonzero((mixing != 0).any(axis=0))  # a row that weighs nothing is not read
    fill = -len(heard) % BLOCK
    weights = np.ascontiguousarray(np.pad(mixing[:, heard], ((0, 0), (0, fill))))
    order = order[np.pad(heard, (0, fill), mode="edge")] if len(heard) else heard
    mixed = np.empty((len(mixing), data.shape[1]), data.dtype)

    def write(span: _Span, out: Block) -> None:
        _mix(span.like, span.places[order], weights, span.first, span.last, out)

    for _ in threads.each(lambda start, stop: _written(write, data, mixed, start, stop), _spans(*data.shape)):
        pass
    return mixed


def order_statistic(
    data: Block, order: Order, statistic: OrderStatistic, mixing: Floats | None
) -> tuple[Block, NDArray[np.bool_]]:
    """See `kernels.order_statistic`."""
    low, high = statistic.low, statistic.high
    if data.shape[1] < NARROW:
        rows = widened(data[order] if mixing is None else mix(data, order, mixing))
        share = 0.5 ** (high - low - 1).bit_length()  # of each value: a sum of the largest floats would overflow
        with np.errstate(invalid="ignore"):  # what is not finite is told
            middle = (np.sort(rows, axis=0)[low:high] * np.float64(share)).sum(axis=0) / (share * (high - low))
        return narrowed(middle, data.dtype), np.array([not np.isfinite(row).all() for row in rows])
    found = np.empty((1, data.shape[1]), data.dtype)
    ways = _ways_to_mix(data, np.empty((0, 0)) if mixing is None else mixing)
    n = len(order) if mixing is None else len(mixing)
    loop: Any = functools.partial(select, n, low, high)
    if n <= UNROLLED:
        loop = _network_loop(n, low, high, 0 if mixing is None else len(order))

    def write(span: _Span, out: Block) -> bool:
        scratch = np.empty((WIDE // COLUMNS, n + BLOCK, COLUMNS), span.data.dtype)
        given = span.like, span.places[order], scratch, addresses(scratch[0])
        # float32 sums first, and float64 ones where those overflow
        return any(loop(*given, *way, span.first, span.last, addresses(out)[0]) for way in ways)

    spans = _spans(*data.shape)
    finite = all(list(threads.each(lambda start, stop: _written(write, data, found, start, stop), spans)))
    wrong = np.zeros(len(order), np.bool_)
    if not finite and mixing is None:
        wrong = ~np.isfinite(largest(data)[order])
    return found[0], wrong


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
        if len(differing):
            return -1 if left[differing[0]] < right[differing[0]] else 1
    return 0


# The compiled loops. Those made for a number of rows or a kind are made when first asked for; all are cached on disk.


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


@functools.cache
def _layer_loop(exact: bool) -> Any:
    """Adds up pieces `(k, 3)`: place in `sums` and `signs`, first and last column. Signs are of the `plain` rows."""

    @jit
    def add_pieces(
        like: Block, rows: Order, plain_like: Block, plain: Order, pieces: Order, sums: Floats, signs: Counts
    ) -> None:
        for k in range(len(pieces)):
            found, count = sums[pieces[k, 0]], signs[pieces[k, 0]]
            for low in range(pieces[k, 1], pieces[k, 2], TILE):
                high = min(low + TILE, pieces[k, 2])
                for i in range(0, len(rows), SIDE):
                    for j in range(0, i, SIDE):
                        add_pairs(like, rows, rows, low, high, found, i, j, SQUARE, exact)
                    add_pairs(like, rows, rows, low, high, found, i, i, TRIANGLE, exact)
                    count_signs(plain_like, plain, i, low, high, count)

    return add_pieces


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
