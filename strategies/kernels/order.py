"""What can be taken of each column, and comparator networks: which pairs of rows to put in order for it to fall out."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class OrderStatistic:
    """The mean of the values ranked `low <= rank < high` of each column, ranks counted from 0 upwards.

    >>> OrderStatistic(2, 3)  # the median of five
    OrderStatistic(low=2, high=3)
    """

    low: int
    high: int


@dataclass(frozen=True)
class NearMedian:
    """The mean of the `count` values of each column that are nearest its median, for even n the middle two's mean.

    Sorted, these are neighbors: a window. Of its `n - count` steps upwards, from `[0, count)` on, each exchanges the
    least value for one above the window, and is taken if that one is nearer the median. Where both are as near, to the
    last bit, no order of the rows could say which of them counts, and the answer is the mean over both windows: so a
    change of all signs changes the sign of the answer.

    >>> NearMedian(3)  # of (0, 1, 2, 4): the mean of 0, 1, 2; of (-2, -1, 1, 2): of -1, 1 and half of -2 and 2 each
    NearMedian(count=3)
    """

    count: int


@dataclass(frozen=True)
class WeightedMiddle:
    """The weighted mean of each column without the weight `trimmed` on either side: a share of the value where it ends.

    `weights` are those of the rows in their order, finite and positive. Where `trimmed` is half of their sum it is the
    weighted median: for two values with half of the weight up to the one and from the other on, their mean. A row of
    weight k counts as k rows of weight 1.

    >>> WeightedMiddle((1.0, 1.0, 2.0), 1.0)  # of (0, 6, 9): 6 and one of two 9s
    WeightedMiddle(weights=(1.0, 1.0, 2.0), trimmed=1.0)
    """

    weights: tuple[float, ...]
    trimmed: float

    @property
    def bounds(self) -> tuple[float, float]:
        """The weights from which and up to which values count; equal for the median."""
        total = math.fsum(self.weights)
        # weights such as 0.1, 0.2 and 0.3 add up to their half only but for rounding
        if total - 2 * self.trimmed <= ROUNDING * total:
            return total / 2, total / 2
        return self.trimmed, total - self.trimmed


Statistic = OrderStatistic | NearMedian | WeightedMiddle

ROUNDING = 1e-12  # of the sum of weights: less of it is the rounding of their sums


def network(n: int, low: int, high: int) -> NDArray[np.int32]:
    """Comparators `(k, 2)` after which rows `low` to `high - 1` hold the values of those ranks, in some order.

    >>> len(network(5, 2, 3)), len(network(64, 31, 33))
    (8, 444)
    """
    return _network(tuple((rank >= low) + (rank >= high) for rank in range(n)))


def sorting_network(n: int) -> NDArray[np.int32]:
    """Comparators `(k, 2)` after which all rows are in order.

    >>> len(sorting_network(5)), len(sorting_network(64))
    (9, 543)
    """
    return _network(tuple(range(n)))


def window_network(n: int, count: int) -> NDArray[np.int32]:
    """Comparators `(k, 2)` after which the rows that `NearMedian` tells apart hold the values of their ranks.

    Those are the middle ones and those that may or may not be in the window; the others are in it in some order.

    >>> len(window_network(64, 52)), len(sorting_network(64))
    (493, 543)
    """
    alone = [rank < n - count or rank >= count or (n - 1) // 2 <= rank <= n // 2 for rank in range(n)]
    steps = [0, *(one or other for one, other in itertools.pairwise(alone))]
    return _network(tuple(itertools.accumulate(steps)))


@functools.lru_cache(maxsize=64)
def _network(part: tuple[int, ...]) -> NDArray[np.int32]:
    """Comparators `(k, 2)` after which each of the parts, which rise with the ranks, holds the values of its ranks.

    Batcher's odd-even merge sort (Knuth, The Art of Computer Programming, volume 3, 5.3.4) sorts any number of rows,
    halves before the whole, so that few rows are in hand at a time. Going through it backwards, a comparator is dropped
    when nothing after it looks at either of its rows and both lie in the same part, because then its order does not
    matter any more.
    """
    n = len(part)
    looked_at = [False] * n
    kept: list[tuple[int, int]] = []
    for a, b in reversed([pair for pair in _sort(0, 1 << max(n - 1, 0).bit_length()) if pair[1] < n]):
        if not looked_at[a] and not looked_at[b] and part[a] == part[b]:
            continue
        looked_at[a] = looked_at[b] = True
        kept.append((a, b))
    return np.array(kept[::-1], dtype=np.int32).reshape(-1, 2)


def _sort(first: int, count: int) -> Iterator[tuple[int, int]]:
    """Comparators that sort `count` rows, a power of two, from `first` on."""
    if count > 1:
        yield from _sort(first, count // 2)
        yield from _sort(first + count // 2, count // 2)
        yield from _merge(first, first + count, 1)


def _merge(first: int, end: int, step: int) -> Iterator[tuple[int, int]]:
    """Comparators that merge the sorted halves of every `step`-th row between `first` and `end`."""
    if 2 * step == end - first:
        yield first, first + step
        return
    yield from _merge(first, end, 2 * step)
    yield from _merge(first + step, end + step, 2 * step)
    yield from ((row, row + step) for row in range(first + step, end - step, 2 * step))
