"""How the columns of a matrix are cut into tasks for all cores, and how a task finds its rows.

The columns are cut into chunks of a size that depends on nothing; threads take some chunks each, and partial sums are
added in the chunks' order, so that the number of cores never changes a bit of the answer. Threads are Python's own and
the compiled loops release the interpreter lock: calls from several threads at once are safe.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import stream

Floats = NDArray[np.float64]
Order = NDArray[np.intp]
Block = NDArray[Any]
T = TypeVar("T")

TASK = 1 << 21  # values a task reads: large enough to hide the hand-over, small enough to share evenly
CHUNK = 1 << 14  # columns whose sums are added up before they join those of the columns before
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
        count = cores()
        self.pool = self.pool or ThreadPoolExecutor(count, thread_name_prefix="hawthorn")
        waiting: deque[Future[T]] = deque()
        for start, stop in spans:
            waiting.append(self.pool.submit(work, start, stop))
            if len(waiting) > count + 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


threads = _Threads()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spans(data: Block, unit: int | None = None) -> list[tuple[int, int]]:
    """The columns in tasks of whole units, by default chunks; the last few, which fill no vector, in their own task."""
    (rows, columns), unit = data.shape, unit or CHUNK
    step = max(TASK // max(rows * unit, 1), 1) * unit
    whole = columns - columns % LANES
    spans = [(start, min(start + step, whole)) for start in range(0, whole, step)]
    return spans if whole == columns else [*spans, (whole, columns)]


class Span:
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


def written(write: Callable[[Span, Block], T], data: Block, found: Block, start: int, stop: int) -> T:
    """What `write(span, out)` answers; the columns that it wrote to `out` are then in `found`."""
    span = Span(data, start, stop)
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
