"""Weighted order statistics: values and their rows' weights are put in order together, some columns at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import jit
from .lanes import BYTES, COLUMNS, copy_vector, put_in_order
from .order import ROUNDING, WeightedMiddle, sorting_network
from .selection import WIDE, hold

Block = NDArray[Any]
Order = NDArray[np.intp]


def weighted_middle(
    statistic: WeightedMiddle,
    like: Block,
    rows: Order,
    held: Block,
    places: Order,
    weights: Block,
    factors: Block,
    start: int,
    stop: int,
    out: int,
) -> bool:
    """Write the statistic of the rows, or of sums of rows; what `selection.select` does, with its arguments."""
    shares = np.array(statistic.weights)
    comparators = sorting_network(len(shares)).astype(np.intp)
    mean = np.empty((1, COLUMNS), like.dtype)
    return _middle(
        like, rows, held, places, weights, factors, shares, comparators, *statistic.bounds,
        np.empty((len(shares), COLUMNS)), start, stop, out, mean, mean.ctypes.data,
    )  # fmt: skip


@jit
def _middle(
    like: Block,
    rows: Order,
    held: Block,
    places: Order,
    weights: Block,
    factors: Block,
    shares: Block,
    comparators: Block,
    low: float,
    high: float,
    carried: Block,
    start: int,
    stop: int,
    out: int,
    mean: Block,
    place: int,
) -> bool:
    step = BYTES // like.itemsize
    n = len(shares)
    wrong = 0
    for begin in range(start, stop, WIDE):
        turns = min(WIDE, stop - begin) // COLUMNS
        hold(like, rows, held, places, weights, factors, n, begin, turns)
        for turn in range(turns):
            values = held[turn]
            for i in range(n):
                row, weight = values[i], carried[i]
                for c in range(COLUMNS):
                    weight[c] = shares[i]
                    wrong |= not (abs(row[c]) < np.inf)
            put_in_order(like, values, carried, comparators)
            if low == high:
                _median(values, carried, low, mean[0])
            else:
                _mean_between(values, carried, low, high, mean[0])
            for at in range(0, COLUMNS, step):
                copy_vector(like, place, at, out, begin - start + turn * COLUMNS + at)
    return wrong == 0


@jit
def _median(values: Block, carried: Block, half: float, mean: Block) -> None:
    """Write the mean of the first value up to which lies half of the weight and the first up to which lies more."""
    room = 2 * half * ROUNDING
    reached, least, most = np.zeros(COLUMNS), np.empty(COLUMNS), np.empty(COLUMNS)
    for i in range(len(carried)):
        row, weight = values[i], carried[i]
        for c in range(COLUMNS):
            before = reached[c]
            reached[c] += weight[c]
            if before < half - room:
                least[c] = row[c]
            if before <= half + room:
                most[c] = row[c]
    for c in range(COLUMNS):
        mean[c] = least[c] / 2 + most[c] / 2 if least[c] != most[c] else least[c]


@jit
def _mean_between(values: Block, carried: Block, low: float, high: float, mean: Block) -> None:
    """Write the mean of the values weighed by what of their weight lies between `low` and `high`."""
    share = 1 / (high - low)
    reached, total = np.zeros(COLUMNS), np.zeros(COLUMNS)
    least, most = np.full(COLUMNS, np.inf), np.full(COLUMNS, -np.inf)
    for i in range(len(carried)):
        row, weight = values[i], carried[i]
        for c in range(COLUMNS):
            before = reached[c]
            reached[c] += weight[c]
            first, last = before if before > low else low, reached[c] if reached[c] < high else high
            value, inside = np.float64(row[c]), last > first
            total[c] += value * ((last - first) * share) if inside else 0.0
            least[c] = value if inside & (value < least[c]) else least[c]
            most[c] = value if inside & (value > most[c]) else most[c]
    for c in range(COLUMNS):  # shares add up to 1 but for rounding
        at_least = total[c] if total[c] > least[c] else least[c]
        mean[c] = at_least if at_least < most[c] else most[c]
