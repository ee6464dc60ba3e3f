"""The rules that look at signs once more, column by column; mean shift is scikit-learn's, from every row."""

import math

import numpy as np
from oracles import geometric_median, length, lengths


def signs(row):
    """Shares of positive, zero and negative values."""
    return [sum(f(v) for v in row) / max(len(row), 1) for f in (lambda v: v > 0, lambda v: v == 0, lambda v: v < 0)]


def clipped(row, radius):
    return row * (radius / length(row)) if length(row) > radius else row


def average(rows, d):
    rows = list(rows)
    return np.array([math.fsum(row[c] / len(rows) for row in rows) for c in range(d)]) if rows else np.zeros(d)


def signguard(rows, f=0):
    from sklearn.cluster import MeanShift

    rows = np.asarray(rows, dtype=np.float64)
    usual = np.median(lengths(rows))
    band = [0.1 * usual <= size <= 3 * usual for size in lengths(rows)]
    shares = np.array([signs(row) for row in rows])
    away = [sorted(math.dist(a, b) for b in shares) for a in shares]
    reach = np.mean([row[max(len(rows) // 2, 1) - 1] for row in away])
    labels = MeanShift(bandwidth=reach + 1e-6, cluster_all=False).fit(shares).labels_
    cluster = labels == np.argmax(np.bincount(labels[labels >= 0]))
    kept = [i for i in range(len(rows)) if band[i] and cluster[i]] or [i for i in range(len(rows)) if band[i]]
    return average([clipped(rows[i], usual) for i in kept], rows.shape[1])


def unusual(values):
    """Robust standard deviations from the median."""
    away = [abs(v - np.median(values)) for v in values]
    usual = 1.4826 * np.median(away)
    return [(a / usual if usual else math.inf) if a else 0.0 for a in away]


def near(values, most):
    away = unusual(values)
    return {i for i, a in enumerate(away) if a <= max(most, min(away))}


def lasa(rows, f=0, *, sparsity=0.3, magnitude=2.0, direction=2.0, bounds=None):
    rows = np.asarray(rows, dtype=np.float64)
    d = rows.shape[1]
    rows = [clipped(row, np.median(lengths(rows))) for row in rows]
    count = max(d - math.floor(sparsity * d + 1e-9), 1)
    sparse = [np.where(np.abs(row) >= sorted(np.abs(row))[-count], row, 0.0) if d else row for row in rows]
    found = np.zeros(d)
    for start, stop in zip((bounds or (0, d))[:-1], (bounds or (0, d))[1:], strict=True):
        parts = [row[start:stop] for row in sparse]
        pure = [sum(part > 0) / sum(part != 0) if sum(part != 0) else 0.5 for part in parts]
        long = near(lengths(parts), magnitude)
        kept = long & near(pure, direction) or long
        found[start:stop] = average([parts[i] for i in sorted(kept)], stop - start)
    return found


def cosine(a, b):
    return math.fsum(a / length(a) * (b / length(b))) if length(a) and length(b) else 0.0


def alignins(rows, f=0, *, sparsity=0.3, direction=2.0, signs=2.0, model=None):
    rows = np.asarray(rows, dtype=np.float64)
    d = rows.shape[1]
    towards = geometric_median(rows) if model is None else model
    principal = np.sign(sum(np.sign(row) for row in rows))
    count = max(math.floor(sparsity * d + 1e-9), 1)
    agreeing = []
    for row in rows:
        least = sorted(np.abs(row))[-count] if d else 0.0
        top = [c for c in range(d) if abs(row[c]) >= least]
        agreeing.append(sum(np.sign(row[c]) == principal[c] for c in top) / max(len(top), 1))
    kept = sorted(near([cosine(row, towards) for row in rows], direction) & near(agreeing, signs))
    radius = np.median([length(rows[i]) for i in kept]) if kept else 0.0
    return average([clipped(rows[i], radius) for i in kept], d)


RULES = {"signguard": signguard, "lasa": lasa, "alignins": alignins}
