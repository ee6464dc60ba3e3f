"""DeepSight once more, neuron by neuron, from scikit-learn's HDBSCAN."""

import math

import numpy as np
from oracles import cosines, length, lengths


def neurons(row, bounds):
    """The values of each output neuron, and the biases."""
    row = list(map(float, row))
    if bounds is None:
        count = min(len(row), 1024)
        return [[row[c] for c in range(len(row)) if c * count // len(row) == k] for k in range(count)], row
    bounds = sorted(set(bounds))
    bias, before = row[bounds[-2] :], row[bounds[-3] : bounds[-2]]
    if len(before) % len(bias):
        return [[value] for value in bias], bias
    width = len(before) // len(bias)
    return [[*before[k * width : (k + 1) * width], bias[k]] for k in range(len(bias))], bias


def energies(row, bounds):
    changes = [sum(abs(value) for value in values) for values in neurons(row, bounds)[0]]
    largest = max(changes, default=0.0)
    squares = [(change / largest) ** 2 if largest else 0.0 for change in changes]
    return [square / sum(squares) if largest else 0.0 for square in squares]


def groups(distances):
    from sklearn.cluster import HDBSCAN

    if len(distances) <= 2:
        return [set(range(len(distances)))]
    fit = HDBSCAN(metric="precomputed", min_cluster_size=2, min_samples=1, allow_single_cluster=True, copy=True)
    labels = fit.fit(np.array(distances)).labels_.tolist()
    return [{i for i, own in enumerate(labels) if own == label} for label in set(labels) - {-1}] + [
        {i} for i, own in enumerate(labels) if own == -1
    ]


def deepsight(rows, f=0, *, tau=1 / 3, bounds=None):
    rows = np.asarray(rows, dtype=np.float64)
    n = len(rows)
    shares = [energies(row, bounds) for row in rows]
    count = len(shares[0])
    exceeding = [sum(s > max(0.01, 1 / max(count, 1)) * max(share) for s in share) for share in shares]
    suspect = [e <= np.median(exceeding) / 2 for e in exceeding]
    angles = np.maximum(1 - cosines([neurons(row, bounds)[1] for row in rows]), 0.0)
    np.fill_diagonal(angles, 0.0)
    first = [groups([[math.dist(a, b) for b in shares] for a in shares]), groups((angles + angles.T) / 2)]
    together = [[any(i in g and j in g for g in found) for j in range(n)] for found in first for i in range(n)]
    apart = [[1 - (together[i][j] + together[n + i][j]) / 2 for j in range(n)] for i in range(n)]
    kept = [i for group in groups(apart) if sum(suspect[i] for i in group) / len(group) < tau for i in group]
    usual = np.median(lengths(rows))
    weight = {i: min(1.0, usual / length(rows[i])) if length(rows[i]) else 1.0 for i in kept}
    return np.array([math.fsum(weight[i] / len(kept) * rows[i][c] for i in kept) for c in range(rows.shape[1])])


RULES = {"deepsight": deepsight}
