"""The rules that are functions of the geometry once more, from the rows: all subsets, singular values, loops.

Nothing here is imported from the package.
"""

import itertools
import math

import numpy as np
from oracles import distances, geometric_median, length, lengths, mean, median


def wide(rows):
    return np.asarray(rows, dtype=np.float64)


def subsets(rows, f):
    return map(list, itertools.combinations(range(len(rows)), len(rows) - f))


def cge(rows, f):
    return mean(wide(rows)[np.argsort(lengths(rows), kind="stable")[: len(rows) - f]])


def mda(rows, f):
    """Of all subsets: the least diameter, then the least sum of squares."""
    away = distances(rows)

    def worth(chosen):
        within = away[np.ix_(chosen, chosen)]
        with np.errstate(over="ignore"):
            return within.max(), (within**2).sum()

    return mean(wide(rows)[min(subsets(rows, f), key=worth)])


def strongest(rows, weights):
    """The square root of the top eigenvalue of the rows' covariance, and the rows' places along it from the mean."""
    rows = wide(rows)
    middle = rows[0] + weights @ (rows - rows[0])  # rows that share a common part keep their differences
    seen = (rows - middle) * np.sqrt(weights)[:, None]
    _, values, directions = np.linalg.svd(seen, full_matrices=False)
    return values[0], (rows - middle) @ directions[0]


def smea(rows, f):
    """Of all subsets: the least largest singular value."""
    rows = wide(rows)
    m = len(rows) - f
    return mean(rows[min(subsets(rows, f), key=lambda chosen: strongest(rows[chosen], np.full(m, 1 / m))[0])])


def caf(rows, f):
    rows, left, found = wide(rows), np.ones(len(rows)), []
    while left.sum() > len(rows) - 2 * f or not found:
        kept = left > 0
        weights = left[kept] / left[kept].sum()
        value, along = strongest(rows[kept], weights)
        found.append((value, rows[kept][0] + weights @ (rows[kept] - rows[kept][0])))
        if value == 0:
            break
        left[kept] *= 1 - (along / np.abs(along).max()) ** 2
    return min(found, key=lambda one: one[0])[1]


def dnc(rows, f, *, c=1.0, niters=1):
    rows = wide(rows)
    for _ in range(niters):
        _, along = strongest(rows, np.full(len(rows), 1 / len(rows)))
        rows = rows[np.argsort(np.abs(along), kind="stable")[: max(len(rows) - math.ceil(c * f), 0)]]
        if not len(rows):
            return np.zeros(rows.shape[1])
    return mean(rows)


def nearest_allowed(weights, most):
    """Weights of sum 1 up to `most` of the form min(most, t w), t by bisection: the nearest in relative entropy."""
    low, high = 0.0, 1e300
    for _ in range(3000):
        factor = math.sqrt(low) * math.sqrt(high) if low else min(high / 2, 1.0)
        if not low < factor < high:  # no number lies between them
            break
        low, high = (factor, high) if np.minimum(most, factor * weights).sum() < 1 else (low, factor)
    return np.minimum(most, high * weights)


def no_regret(rows, f, *, steps=50):
    rows = wide(rows)
    n, away = len(rows), distances(rows)
    reach = [sorted(row)[n - f - 1] for row in away]
    with np.errstate(over="ignore"):
        sums = [sum(sorted(row**2)[: n - f]) for row in away]
    tight = np.argsort(away[np.argmin(sums)], kind="stable")[: n - f]
    found = [(strongest(rows[tight], np.full(n - f, 1 / (n - f)))[0], mean(rows[tight]))]
    rows = rows[away[np.argmin(reach)] <= 2 * min(reach)]
    weights = np.full(len(rows), 1 / len(rows))
    for _ in range(steps):
        value, along = strongest(rows, weights)
        found.append((value, rows[0] + weights @ (rows - rows[0])))
        if value == 0:
            break
        weights = nearest_allowed(weights * (1 - (along / np.abs(along).max()) ** 2 / 2), 1 / (n - f))
    return min(found, key=lambda one: one[0])[1]


def median_of_means(rows, f, *, groups=None, rng=None):
    """Rows sorted by their columns in turn, shuffled, and dealt into groups of sizes that differ by one at most."""
    rows = np.array(sorted(wide(rows).tolist()))
    n = len(rows)
    count = min(n, 3 * f + 1) if groups is None else groups
    shuffled = rows[(rng or np.random.default_rng(0)).permutation(n)]
    starts = [math.ceil(group * n / count) for group in range(count + 1)]
    return geometric_median([mean(shuffled[a:b]) for a, b in itertools.pairwise(starts)])


def monna(rows, f, *, trusted):
    away = [length(row / 2 - trusted / 2) for row in wide(rows)]
    return mean(wide(rows)[np.argsort(away, kind="stable")[: len(rows) - f]])


def cosine(a, b):
    return math.fsum(a / (length(a) or 1) * (b / (length(b) or 1)))


def fltrust(rows, f=0, *, trusted):
    rows, trusted = wide(rows), wide(trusted)
    trust = [max(cosine(row, trusted), 0.0) for row in rows]
    total, found = sum(trust), np.zeros(rows.shape[1])
    for row, share in zip(rows, trust, strict=True):
        if share > 0:
            found += share / total * length(trusted) * (row / length(row))
    return found


def foolsgold(rows, f=0, *, sums=None):
    """As in the paper, step by step, in wide numbers because 1 minus a cosine has few digits."""
    rows = wide(rows)
    n = len(rows)
    given = [row.astype(np.longdouble) for row in (rows if sums is None else wide(sums))]
    units = [row / length(row) for row in given]
    units = [unit / np.sqrt((unit * unit).sum()) if length(unit) else unit for unit in units]
    cs = np.array([[0 if i == j else (units[i] * units[j]).sum() for j in range(n)] for i in range(n)])
    largest = cs.max(axis=1)  # once, before any of them is pardoned
    for i in range(n):
        for j in range(n):
            if largest[i] < largest[j]:
                cs[i, j] *= largest[i] / largest[j]
    wv = np.clip(1 - cs.max(axis=1), 0, 1)
    if wv.max() <= 0:
        return np.zeros(rows.shape[1])
    wv = wv / wv.max()
    wv[wv == 1] = 0.99
    wv = np.array([min(max(math.log(w / (1 - w)) + 0.5, 0), 1) if w > 0 else 0 for w in wv])
    return mean(rows * (wv / wv.sum())[:, None]) * n


def flame(rows, f=0):
    """With scikit-learn's HDBSCAN itself, and without the noise."""
    from sklearn.cluster import HDBSCAN

    rows = wide(rows)
    n = len(rows)
    apart = np.array([[0.0 if i == j else max(1 - cosine(rows[i], rows[j]), 0) for j in range(n)] for i in range(n)])
    search = HDBSCAN(
        min_cluster_size=n // 2 + 1, min_samples=1, metric="precomputed", allow_single_cluster=True, copy=True
    )
    labels = search.fit(apart).labels_
    usual = np.median(lengths(rows))
    kept = [row * min(1.0, usual / length(row)) for row, label in zip(rows, labels, strict=True) if label >= 0]
    return mean(kept)


def aksel(rows, f=0):
    away = [length(row / 2 - median(rows) / 2) for row in wide(rows)]
    return mean(wide(rows)[np.argsort(away, kind="stable")[: math.ceil(len(rows) / 2)]])


def fitted(column, tuning):
    """Confidences in the values of one column, and what the repeated median's line says in their place."""
    n = len(column)
    if n < 3:
        return np.ones(n), column
    middle, ranked = np.median(column), np.argsort(column, kind="stable")
    y = column[ranked] - middle
    slope = np.median([np.median([(y[j] - y[i]) / (j - i) for j in range(n) if j != i]) for i in range(n)])
    line = np.array([slope * (i - (n - 1) / 2) for i in range(n)])
    design = np.stack([np.ones(n), np.arange(n)], axis=1)
    leverage = np.diag(design @ np.linalg.inv(design.T @ design) @ design.T)
    line = np.where(abs(y - line) < 1e-9 * abs(slope), y, line)
    usual = np.median(abs(y - line))
    confidence = np.ones(n)
    for i in range(n):
        if y[i] != line[i]:
            e = 25 * (n - 1) / (37 * (n + 4)) * (y[i] - line[i]) / usual if usual else math.inf
            reach = tuning * math.sqrt(2 / n) * math.sqrt(1 - leverage[i])
            confidence[i] = min(1.0, reach / abs(e))
    back = np.argsort(ranked)
    return confidence[back], line[back] + middle


def residual_reweighting(rows, f=0, *, tuning=2.0, least=0.1):
    rows = np.array(sorted(wide(rows).tolist())).reshape(
        np.shape(rows)
    )  # values that tie in a column are in this order
    found = [fitted(column, tuning) for column in rows.T]
    weights = sum(confidence * confidence.std() for confidence, _ in found)
    weights = weights / weights.sum() if weights.any() else np.full(len(rows), 1 / len(rows))
    kept = [np.where(c < least, line, column) for column, (c, line) in zip(rows.T, found, strict=True)]
    return np.array([math.fsum(weights * column) for column in kept])


RULES = {
    "aksel": aksel,
    "residual_reweighting": residual_reweighting,
    "cge": cge,
    "mda": mda,
    "smea": smea,
    "caf": caf,
    "dnc": dnc,
    "no_regret": no_regret,
    "median_of_means": median_of_means,
    "monna": monna,
    "fltrust": fltrust,
    "foolsgold": foolsgold,
    "flame": flame,
}
