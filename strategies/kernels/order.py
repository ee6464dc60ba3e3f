"""Comparator networks: which pairs of rows to put in order so that the middle of every column falls out."""

from __future__ import annotations

import functools
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


@functools.lru_cache(maxsize=64)
def network(n: int, low: int, high: int) -> NDArray[np.int32]:
    """Comparators `(k, 2)` after which rows `low` to `high - 1` hold the values of those ranks, in some order.

    Batcher's odd-even merge sort (Knuth, The Art of Computer Programming, volume 3, 5.3.4) sorts any `n`, halves before
    the whole, so that few rows are in hand at a time. Going through it backwards, a comparator is dropped when nothing
    after it looks at either of its rows and both lie in the same part (below, inside or above the ranks asked for),
    because then its order does not matter any more.

    >>> len(network(5, 2, 3)), len(network(64, 31, 33))
    (8, 444)
    """
    part = [(rank >= low) + (rank >= high) for rank in range(n)]
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
