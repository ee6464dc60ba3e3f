"""Statistics of columns by sorting them in NumPy: for what the compiled loops are not made for, and for arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .order import ROUNDING, NearMedian, OrderStatistic, Statistic

Floats = NDArray[np.float64]


def middle(rows: NDArray[Any], statistic: Statistic) -> Floats:
    """A statistic `(d,)` of each column of the rows `(n, d)`, in float64; NaN or infinite where a value is.

    >>> middle(np.array([[0.0, -2.0], [1.0, -1.0], [2.0, 1.0], [4.0, 2.0]]), NearMedian(3)).tolist()
    [1.0, 0.0]
    """
    with np.errstate(invalid="ignore", over="ignore"):
        if isinstance(statistic, OrderStatistic):
            ordered = np.sort(np.ascontiguousarray(rows.T), axis=1)
            return _mean(ordered[:, statistic.low : statistic.high].astype(np.float64))
        if isinstance(statistic, NearMedian):
            return _near_median(np.sort(np.ascontiguousarray(rows.T), axis=1).astype(np.float64), statistic.count)
        weights = np.array(statistic.weights)
        # rows of least weight first, and a sort that keeps ties in that order: then no order of the rows changes a bit
        lightest = np.argsort(weights, kind="stable")
        columns = np.ascontiguousarray(rows[lightest].T)
        order = np.argsort(columns, axis=1, kind="stable")
        ordered = np.take_along_axis(columns, order, axis=1).astype(np.float64)
        return _weighted(ordered, weights[lightest][order], *statistic.bounds)


def _near_median(ordered: Floats, count: int) -> Floats:
    """The mean of the `count` values nearest the median of each row of values in order (see `NearMedian`)."""
    width, n = ordered.shape
    halves = ordered / 2
    centers = halves[:, (n - 1) // 2] + halves[:, n // 2]
    ends = halves[:, : n - count] + halves[:, count:]
    windows: list[Floats] = []
    for start in ((ends < centers[:, None]).sum(axis=1), (ends <= centers[:, None]).sum(axis=1)):
        # one rank of each remainder, in the order of the remainders: both windows differ only where they must
        places = np.arange(count) + (start[:, None] - np.arange(count) + count - 1) // count * count
        windows.append(ordered[np.arange(width)[:, None], places])
    least, most = windows
    return _mean(np.where(least == most, least, least / 2 + most / 2))


def _mean(values: Floats) -> Floats:
    """The mean of each row; a sum of the largest floats does not overflow."""
    mean: Floats = values.mean(axis=1)
    count = values.shape[1]
    share = 0.5 ** count.bit_length()
    return np.where(np.isfinite(mean), mean, (values * share).sum(axis=1) / (share * count))


def _weighted(ordered: Floats, carried: Floats, low: float, high: float) -> Floats:
    """The mean of values in order, weighed by what lies between `low` and `high`, or where these meet the median."""
    reached = np.cumsum(carried, axis=1)
    before = np.pad(reached[:, :-1], ((0, 0), (1, 0)))
    if low == high:
        room = 2 * low * ROUNDING
        last = ((before < low - room).sum(axis=1) - 1, (before <= low + room).sum(axis=1) - 1)
        least, most = (np.take_along_axis(ordered, place[:, None], axis=1)[:, 0] for place in last)
        return np.where(least == most, least, least / 2 + most / 2)
    kept = np.maximum(np.minimum(reached, high) - np.maximum(before, low), 0.0)
    total = np.where(kept > 0, ordered * (kept / (high - low)), 0.0).sum(axis=1)
    least = np.where(kept > 0, ordered, np.inf).min(axis=1)
    most = np.where(kept > 0, ordered, -np.inf).max(axis=1)
    return np.clip(total, least, most)  # shares add up to 1 but for rounding
