"""How a site's data differ from those it trained on in the round before: classes, and what they look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..tasks.examples import Examples
from .digest import example_digests
from .report import Drift

PROJECTIONS = 8
KEPT = 200  # examples of a class that are remembered, as eight numbers each
LEAST = 20  # of a class on both sides, to compare what they look like
FEW = 5  # examples of a class, expected on both sides, below which counts say nothing


@dataclass(frozen=True, eq=False)
class Sketch:
    """What is remembered of a data set: `counts` `(C,)` of its classes, and of some examples the `labels` `(m,)` and
    eight random directions' `values` `(m, 8)`, from which no example can be made again.
    """

    counts: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]

    @classmethod
    def of(cls, data: Examples) -> Sketch:
        """The sketch of a data set, the same in whatever order its examples are."""
        flat = data.x.reshape(len(data), -1)
        directions = np.random.default_rng(0).standard_normal((flat.shape[1], PROJECTIONS)) / np.sqrt(flat.shape[1])
        digests = example_digests(data)
        order = sorted(range(len(data)), key=lambda i: digests[i])  # random as to content, and the same every time
        kept: list[int] = []
        room = dict.fromkeys(range(data.classes), KEPT)
        for i in order:
            label = int(data.y[i])
            if room[label]:
                room[label] -= 1
                kept.append(i)
        values = (flat[kept].astype(np.float64) @ directions).astype(np.float32)
        return cls(np.bincount(data.y, minlength=data.classes), data.y[kept], values)


def drifts(before: Sketch, now: Sketch, level: float) -> tuple[Drift, ...]:
    """What has changed, with a probability of at most `level` to say so of anything in data that have not.

    Class counts are compared as a whole and class by class (chi-squared), what a class looks like along eight
    directions (Kolmogorov-Smirnov); p-values are corrected for all of these at once (Holm, 1979). Data that overlap
    with those of the round before differ by less than the tests expect, so these err on the quiet side.
    """
    classes = max(len(before.counts), len(now.counts))
    counts = np.stack([np.pad(one.counts, (0, classes - len(one.counts))) for one in (before, now)])
    tests = [*_of_counts(counts), *_of_looks(before, now, classes)]
    found: list[Drift] = []
    corrected = 0.0
    for place, test in enumerate(sorted(tests, key=lambda one: one.p)):
        corrected = max(corrected, min(1.0, test.p * (len(tests) - place)))
        if corrected > level:
            break
        found.append(Drift(test.what, test.label, corrected, test.detail))
    return tuple(found)


def _of_counts(counts: npt.NDArray[np.int64]) -> list[Drift]:
    sizes = counts.sum(axis=1)
    if not sizes.all():
        return []
    expected = counts.sum(axis=0) * sizes.min() / sizes.sum()
    told: list[Drift] = []
    enough = expected >= FEW
    if enough.sum() > 1:
        p = _independence(counts[:, enough])
        told.append(Drift("class shares", None, p, "the classes have other shares than in the round before"))
    for label in np.flatnonzero(enough):
        table = np.stack([counts[:, label], sizes - counts[:, label]], axis=1)
        if table.all(axis=0).any() and table.sum(axis=0).all():
            shares = counts[:, label] / sizes
            detail = f"{shares[0]:.1%} of the examples before, {shares[1]:.1%} now"
            told.append(Drift(f"share of class {label}", int(label), _independence(table), detail))
    return told


def _independence(table: npt.NDArray[np.int64]) -> float:
    testing: Any = stats
    return float(testing.chi2_contingency(table).pvalue)


def _of_looks(before: Sketch, now: Sketch, classes: int) -> list[Drift]:
    testing: Any = stats
    told: list[Drift] = []
    for label in range(classes):
        one, other = before.values[before.labels == label], now.values[now.labels == label]
        if min(len(one), len(other)) < LEAST:
            continue
        for direction in range(PROJECTIONS):
            test = testing.ks_2samp(one[:, direction], other[:, direction])
            detail = f"they look different along direction {direction}, by {test.statistic:.2f}"
            told.append(Drift(f"examples of class {label}", label, float(test.pvalue), detail))
    return told
