"""The obvious loops for rules that look at each column by itself, and for Bulyan, which does so last.

Values are compared and added as fractions, so that what ties does so exactly.
"""

from fractions import Fraction

import numpy as np
from oracles import squared_distances


def near_median(column, count):
    """The mean of the `count` values nearest the median; of those as near that find no place, of all alike."""
    values = sorted(Fraction(float(v)) for v in column)
    n = len(values)
    center = (values[(n - 1) // 2] + values[n // 2]) / 2
    windows = [values[start : start + count] for start in range(n - count + 1)]
    away = [sum(abs(v - center) for v in window) for window in windows]
    nearest = [window for window, distance in zip(windows, away, strict=True) if distance == min(away)]
    return float(sum(nearest[0] + nearest[-1]) / count / 2)


def mean_around_median(rows, f):
    return np.array([near_median(column, len(rows) - f) for column in rows.T])


def selected_by_krum(rows, f, count):
    """The numbers of the rows that Krum selects, one at a time, of those left each time."""
    squares = squared_distances(rows)
    left, selected = list(range(len(rows))), []
    while len(selected) < count:
        neighbors = max(1, len(left) - f - 2)
        nearest = {i: sorted(squares[i, j] for j in left if j != i) for i in left}
        best = min(left, key=lambda i: (sum(nearest[i][:neighbors]), *nearest[i]))
        left.remove(best)
        selected.append(best)
    return selected


def bulyan(rows, f):
    n = len(rows)
    kept = np.asarray(rows)[selected_by_krum(rows, f, n - 2 * f)]
    return np.array([near_median(column, n - 4 * f) for column in kept.T])


def rlr(rows, f, *, theta=None):
    theta = (2 * f + 1 if f else 0) if theta is None else theta
    found = []
    for column in np.asarray(rows, dtype=np.float64).T:
        votes = sum((v > 0) - (v < 0) for v in column.tolist())
        mean = float(sum(map(Fraction, column.tolist())) / len(column))
        found.append(mean if abs(votes) >= theta else -mean)
    return np.array(found)


def sign_majority(rows, f=0):
    found = []
    for column in np.asarray(rows, dtype=np.float64).T:
        up, down = sum(v > 0 for v in column), sum(v < 0 for v in column)
        sizes = sorted(abs(v) for v in column)
        usual = sizes[(len(sizes) - 1) // 2] / 2 + sizes[len(sizes) // 2] / 2
        found.append(usual if up > down else -usual if down > up else 0.0)
    return np.array(found)


RULES = {
    "mean_around_median": mean_around_median,
    "bulyan": bulyan,
    "rlr": rlr,
    "sign_majority": sign_majority,
}
