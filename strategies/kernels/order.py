"""Comparator networks: which pairs of rows to put in order so that the middle of every column falls out."""

from __future__ import annotations

import functools
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

    Batcher's merge exchange (Knuth, The Art of Computer Programming, volume 3, 5.2.2, algorithm M) sorts any `n`. Going
    through it backwards, a comparator is dropped when nothing after it looks at either of its rows and both lie in the
    same part (below, inside or above the ranks asked for), because then its order does not matter any more.

    >>> len(network(5, 2, 3)), len(network(64, 31, 33))
    (8, 444)
    """
    part = [(rank >= low) + (rank >= high) for rank in range(n)]
    looked_at = [False] * n
    kept: list[tuple[int, int]] = []
    for a, b in reversed(_merge_exchange(n)):
        if not looked_at[a] and not looked_at[b] and part[a] == part[b]:
            continue
        looked_at[a] = looked_at[b] = True
        kept.append((a, b))
    return np.array(kept[::-1], dtype=np.int32).reshape(-1, 2)


def _merge_exchange(n: int) -> list[tuple[int, int]]:
    comparators: list[tuple[int, int]] = []
    top = 1 << max(n - 1, 0).bit_length() >> 1
    p = top
    while p > 0:
        q, r, step = top, 0, p
        while True:
            comparators += [(i, i + step) for i in range(n - step) if i & p == r]
            if q == p:
                break
            step, q, r = q - p, q >> 1, p
        p >>= 1
    return comparators
