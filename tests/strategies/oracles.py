"""Every rule and transform once more: the obvious float64 loops over the definitions, as slow as they like.

Nothing here is imported from the package. Squares that overflow become infinite, which is right for whoever sorts them:
infinitely far is far.
"""

import math

import numpy as np


def length(row):
    """The Euclidean length, without squaring anything that would overflow or vanish."""
    row = np.asarray(row, dtype=np.float64)
    largest = np.abs(row).max(initial=0.0)
    if largest == 0.0:
        return 0.0
    exponent = math.frexp(largest)[1]
    scaled = np.ldexp(row, -exponent)
    return math.ldexp(math.sqrt(math.fsum((scaled * scaled).tolist())), exponent)


def lengths(rows):
    return np.array([length(row) for row in rows])


def distances(rows):
    """Distances (n, n), not squared."""
    rows = np.asarray(rows, dtype=np.float64)
    return np.array([[length(a / 2 - b / 2) * 2 for b in rows] for a in rows])


def squared_distances(rows):
    with np.errstate(over="ignore"):
        return distances(rows) ** 2


def cosines(rows):
    units = [row / length(row) if length(row) else row * 0 for row in np.asarray(rows, dtype=np.float64)]
    return np.array([[math.fsum(a * b) for b in units] for a in units])


def krum_scores(rows, f):
    """The sum of squared distances to the n - f - 2 nearest other rows, per row."""
    squares = squared_distances(rows)
    n = len(squares)
    scores = []
    for i in range(n):
        others = sorted(squares[i, j] for j in range(n) if j != i)
        scores.append(sum(others[: n - f - 2]))
    return np.array(scores)


def krum(rows, f):
    return np.asarray(rows, dtype=np.float64)[np.argmin(krum_scores(rows, f))]


def multi_krum(rows, f, m=None):
    rows = np.asarray(rows, dtype=np.float64)
    m = len(rows) - f - 2 if m is None else m
    return mean(rows[np.argsort(krum_scores(rows, f), kind="stable")[:m]])


def mean(rows, f=0):
    rows = np.asarray(rows, dtype=np.float64)
    return np.array([math.fsum(column / len(rows)) for column in rows.T])


def median(rows, f=0):
    n = len(rows)
    found = []
    for column in np.asarray(rows, dtype=np.float64).T:
        values = sorted(column)
        found.append(values[n // 2] if n % 2 else values[n // 2 - 1] / 2 + values[n // 2] / 2)
    return np.array(found)


def trimmed_mean(rows, f):
    n = len(rows)
    return np.array(
        [math.fsum(v / (n - 2 * f) for v in sorted(column)[f : n - f]) for column in np.asarray(rows, np.float64).T]
    )


def geometric_median(rows, f=0):
    """Weiszfeld's iteration on the columns themselves, from the coordinate-wise median; leaves a row when it should."""
    rows = np.asarray(rows, dtype=np.float64)
    middle = median(rows)
    rows = rows - middle
    scale = np.median(lengths(rows))
    if scale == 0.0:
        return middle
    center = np.zeros(rows.shape[1])
    for _ in range(20000):
        away = np.maximum(lengths(rows - center), 1e-12 * scale)
        moved = (rows * (1 / away / (1 / away).sum())[:, None]).sum(axis=0)
        if length(moved - center) <= 1e-14 * scale:
            break
        center = moved
    return center + middle


def pull(rows, center):
    """The sum of the unit vectors to the rows, less the number of rows at the center: 0 at a geometric median."""
    rows = np.asarray(rows, dtype=np.float64)
    away = lengths(rows - center)
    there = away <= 1e-7 * np.median(away)
    units = (rows[~there] - center) / away[~there, None]
    return max(length(units.sum(axis=0)) - there.sum(), 0.0) if len(units) else 0.0


def centered_clipping(rows, f=0, *, tau=None, iterations=5, center=None):
    """Differences from the center itself, each shortened to tau; no geometry and no mixture weights."""
    rows = np.asarray(rows, dtype=np.float64)
    center = geometric_median(rows) if center is None else np.asarray(center, dtype=np.float64)
    for _ in range(iterations):
        away = [row - center for row in rows]
        reach = np.median(lengths(away)) if tau is None else tau
        center = center + mean([d * (reach / length(d)) if length(d) > reach else d for d in away])
    return center


def bucketing(rows, f=0, *, s=2, rng):
    """Rows sorted by their columns in turn, shuffled, and averaged s at a time."""
    rows = np.array(sorted(np.asarray(rows, dtype=np.float64).tolist()))
    shuffled = rows[rng.permutation(len(rows))]
    return np.array([mean(shuffled[k : k + s]) for k in range(0, len(rows), s)])


def clip(rows, f=0, *, radius):
    rows = np.asarray(rows, dtype=np.float64)
    return np.array([row * min(1.0, radius / length(row)) if length(row) else row for row in rows])


def arc(rows, f):
    n = len(rows)
    k = math.floor(2 * f * (n - f) / n + 1e-12)
    return clip(rows, radius=sorted(lengths(rows))[n - 1 - k])


def nnm(rows, f):
    rows = np.asarray(rows, dtype=np.float64)
    away = distances(rows)
    np.fill_diagonal(away, -1.0)
    return np.array([mean(rows[np.argsort(row, kind="stable")[: len(rows) - f]]) for row in away])


def shortened_mean(rows, f=0, *, times=2.0):
    middle = sorted(lengths(rows))
    half = middle[(len(middle) - 1) // 2] / 2 + middle[len(middle) // 2] / 2
    return mean(clip(rows, radius=min(times * half, 1e308)))


RULES = {
    "shortened_mean": shortened_mean,
    "krum": krum,
    "multi_krum": multi_krum,
    "mean": mean,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "geometric_median": geometric_median,
    "centered_clipping": centered_clipping,
}
import oracles_alignment  # noqa: E402 - it needs what is above
import oracles_columns  # noqa: E402
import oracles_deepsight  # noqa: E402
import oracles_forecast  # noqa: E402
import oracles_geometric  # noqa: E402

RULES |= oracles_columns.RULES | oracles_geometric.RULES
RULES |= oracles_alignment.RULES | oracles_deepsight.RULES | oracles_forecast.RULES
TRANSFORMS = {"clip": clip, "arc": arc, "nnm": nnm, "bucketing": bucketing}
