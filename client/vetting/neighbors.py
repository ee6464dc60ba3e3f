"""Examples beside their nearest neighbors: labels that do not fit, copies, and examples that are far from all others.

Copies count once: whoever repeats a wrong example would otherwise give it neighbors that agree with it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from sklearn.neighbors import NearestNeighbors

from ..tasks.examples import Examples, Labels
from .report import Check, Finding

Floats = npt.NDArray[np.float64]
Votes = npt.NDArray[np.float64]

SPARE = 3  # times as many neighbors are found as have a vote, since some lose theirs
PLANTED = 0.05  # share of the labels that are made wrong at a time to see whether that would be noticed
TRIALS, ENOUGH = 20, 200  # at most, and wrong labels that say enough
THRESHOLDS = (0.9, 0.8, 0.7, 0.6, 0.5)
FEWEST = 50  # distinct examples, to know what distance is usual
EVEN = 1e-9  # shares of votes are sums of fractions
NEAR = 0.05  # of the usual distance to the nearest neighbor: closer examples are near duplicates


@dataclass(frozen=True, eq=False)
class Neighborhood:
    """The distinct examples `rows` `(m, d)`, which of them each example is `(n,)`, and each one's nearest others.

    `near` `(m, K)` are places in `rows`, nearest first, at `distances` `(m, K)`.
    """

    rows: npt.NDArray[np.float32]
    which: npt.NDArray[np.int64]
    near: npt.NDArray[np.int64]
    distances: Floats

    @classmethod
    def of(cls, x: npt.NDArray[np.float32], neighbors: int) -> Neighborhood:
        """The neighborhood of examples of any shape; as many neighbors as there are, where these are fewer."""
        flat = np.ascontiguousarray(x.reshape(len(x), -1) + np.float32(0))  # minus zero is zero
        bytes_of = flat.view(np.dtype((np.void, flat.itemsize * flat.shape[1]))).ravel()
        _, first, which = np.unique(bytes_of, return_index=True, return_inverse=True)
        rows = flat[first]
        count = min(SPARE * neighbors, len(rows) - 1)
        if count < 1:
            return cls(rows, which, np.empty((len(rows), 0), np.int64), np.empty((len(rows), 0)))
        search: Any = NearestNeighbors(n_neighbors=count, algorithm="brute", n_jobs=1)
        distances, near = search.fit(rows).kneighbors()
        distances = distances.astype(np.float64)
        distances[:, 0] = _lengths(rows[near[:, 0]] - rows)  # the search has no digits left where examples are close
        return cls(rows, which, near.astype(np.int64), distances)

    @functools.cached_property
    def usual(self) -> float:
        """The median distance to the nearest neighbor; 0 where nobody has one."""
        return float(np.median(self.distances[:, 0])) if self.distances.size else 0.0


def _lengths(rows: npt.NDArray[Any]) -> Floats:
    return np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))


def labels(
    data: Examples, hood: Neighborhood, neighbors: int, power: float, rng: np.random.Generator
) -> tuple[Check, list[Finding]]:
    """Labels that their neighbors contradict.

    The margin of a label is the share of the votes that the strongest other label has, minus its own. From which margin
    on a label is in doubt is found on these very data: some labels are made wrong on purpose, and the threshold is the
    highest at which the share `power` of those is noticed. Where even the lowest notices fewer, neighbors say too
    little of labels here and nothing is judged. Those in doubt lose their vote, and the rest is judged again.
    """
    if len(np.unique(data.y)) < 2 or hood.near.shape[1] < neighbors:
        return Check("labels", len(data), None, "it takes two classes and more examples"), []
    voting = np.ones(len(hood.rows), dtype=bool)
    threshold, noticed = _threshold(data, hood, neighbors, voting, power, rng)
    if threshold is None:
        told = f"neighbors say too little of labels here: of wrong ones {noticed:.0%} would be found"
        return Check("labels", len(data), None, told), []
    margins, _ = _margins(data.y, hood, neighbors, voting, data.classes)
    voting[hood.which[margins >= threshold - EVEN]] = False
    margins, others = _margins(data.y, hood, neighbors, voting, data.classes)
    doubted = np.flatnonzero(margins >= threshold - EVEN)
    voting[hood.which[doubted]] = False
    _, found_of_wrong = _threshold(data, hood, neighbors, voting, power, rng, (threshold,))
    findings = [
        Finding(
            "labels",
            int(i),
            int(data.y[i]),
            float(margins[i]),
            "its nearest neighbors have another label",
            suggested=int(others[i]),
        )
        for i in doubted
    ]
    return Check("labels", len(data), threshold, f"of wrong labels {found_of_wrong:.0%} would be found"), findings


def _margins(
    y: Labels, hood: Neighborhood, neighbors: int, voting: npt.NDArray[np.bool_], classes: int
) -> tuple[Floats, Labels]:
    """The margin of each example `(n,)` by which another label is ahead of its own, and which label that is `(n,)`."""
    ballots: Votes = np.zeros((len(hood.rows), classes))
    np.add.at(ballots, (hood.which, y), 1.0)
    ballots /= ballots.sum(axis=1, keepdims=True)
    may = voting[hood.near]
    counted = may & (np.cumsum(may, axis=1) <= neighbors)
    shares: Votes = np.zeros_like(ballots)
    for column, counts in zip(hood.near.T, counted.T, strict=True):
        shares += ballots[column] * counts[:, np.newaxis]
    shares /= np.maximum(counted.sum(axis=1), 1)[:, np.newaxis]
    of_examples = shares[hood.which]
    everyone = np.arange(len(y))
    own = of_examples[everyone, y]
    of_examples[everyone, y] = -1.0
    return of_examples.max(axis=1) - own, of_examples.argmax(axis=1)


def _threshold(
    data: Examples,
    hood: Neighborhood,
    neighbors: int,
    voting: npt.NDArray[np.bool_],
    power: float,
    rng: np.random.Generator,
    candidates: tuple[float, ...] = THRESHOLDS,
) -> tuple[float | None, float]:
    """The highest candidate at which enough of the labels made wrong are noticed, and the share that is.

    None, with the share that the lowest notices, if none is low enough.
    """
    present = np.unique(data.y)
    margins: list[Floats] = []
    for _ in range(TRIALS):
        wrong = rng.random(len(data)) < PLANTED
        y = data.y.copy()
        y[wrong] = rng.choice(present, int(wrong.sum()))
        wrong &= y != data.y
        margins.append(_margins(y, hood, neighbors, voting, data.classes)[0][wrong])
        if sum(map(len, margins)) >= ENOUGH:
            break
    found = np.concatenate(margins)
    shares = [float(np.mean(found >= candidate - EVEN)) if len(found) else 0.0 for candidate in candidates]
    enough = [pair for pair in zip(candidates, shares, strict=True) if pair[1] >= power]
    return enough[0] if enough else (None, shares[-1])


def duplicates(data: Examples, hood: Neighborhood) -> tuple[Check, list[Finding]]:
    """Examples that are there more than once; where the copies have several labels all of them are in doubt."""
    findings: list[Finding] = []
    order = np.argsort(hood.which, kind="stable")
    cuts = np.flatnonzero(np.diff(hood.which[order])) + 1
    for copies in np.split(order, cuts):
        if len(copies) < 2:
            continue
        first, told = int(copies[0]), sorted({int(label) for label in data.y[copies]})
        several = len(told) > 1
        reason = f"its copies are labeled {' and '.join(map(str, told))}" if several else f"a copy of example {first}"
        findings += [
            Finding("duplicates", int(i), int(data.y[i]), float(len(copies)), reason)
            for i in (copies if several else copies[1:])
        ]
    return Check("duplicates", len(data), 2.0), findings


def near_duplicates(data: Examples, hood: Neighborhood) -> tuple[Check, list[Finding]]:
    """Examples much closer to another one than is usual, such as frames of one film; they are told, never dropped."""
    name = "near duplicates"
    if not hood.usual:
        return Check(name, len(data), None, "most examples are copies, or alone"), []
    nearest = hood.distances[:, 0]
    first = np.full(len(hood.rows), -1)
    first[hood.which[::-1]] = np.arange(len(data))[::-1]
    findings = [
        Finding(
            name,
            int(i),
            int(data.y[i]),
            1 - float(nearest[row] / hood.usual),
            f"almost the same as example {first[hood.near[row, 0]]}",
            suggested=int(data.y[first[hood.near[row, 0]]]),
            drop=False,
        )
        for i, row in enumerate(hood.which)
        if nearest[row] < NEAR * hood.usual
    ]
    return Check(name, len(data), 1 - NEAR), findings


def leaks(data: Examples, held_out: Examples, hood: Neighborhood) -> tuple[Check, list[Finding]]:
    """Examples that are also, or almost, among those that the site judges models by."""
    if not len(held_out):
        return Check("leaks", len(data), None, "the site holds no examples out"), []
    search: Any = NearestNeighbors(n_neighbors=1, algorithm="brute", n_jobs=1)
    judging = np.unique(held_out.x.reshape(len(held_out), -1) + np.float32(0), axis=0)
    found = search.fit(judging).kneighbors(hood.rows, return_distance=False)
    nearest = _lengths(hood.rows - judging[cast("npt.NDArray[np.int64]", found)[:, 0]])
    limit = NEAR * hood.usual
    findings = [
        Finding(
            "leaks",
            int(i),
            int(data.y[i]),
            1.0 if nearest[row] == 0 else 1 - float(nearest[row] / hood.usual),
            f"{'also' if nearest[row] == 0 else 'almost the same is'} among the examples held out",
            drop=bool(nearest[row] == 0),
        )
        for i, row in enumerate(hood.which)
        if nearest[row] <= limit
    ]
    return Check("leaks", len(data), 1 - NEAR), findings


def outliers(data: Examples, hood: Neighborhood, neighbors: int, level: float) -> tuple[Check, list[Finding]]:
    """Examples far from their neighbors, in robust deviations of the logarithm of the mean distance.

    The deviation is that of the upper half, from the median to the upper quartile. Were the logarithms normal, a data
    set without outliers would show one with probability `level`.
    """
    if len(hood.rows) < FEWEST or hood.distances.shape[1] < neighbors or not hood.usual:
        return Check("outliers", len(data), None, "it takes more examples"), []
    size = np.log(hood.distances[:, :neighbors].mean(axis=1))
    middle = float(np.median(size))
    spread = float(np.quantile(size, 0.75) - middle) / float(norm.ppf(0.75))
    limit = float(norm.isf(level / len(size)))
    if spread <= 0:
        return Check("outliers", len(data), None, "most examples are equally far from their neighbors"), []
    deviations = ((size - middle) / spread)[hood.which]
    findings = [
        Finding("outliers", int(i), int(data.y[i]), float(deviations[i]), f"far from all others: {deviations[i]:.1f}")
        for i in np.flatnonzero(deviations > limit)
    ]
    return Check("outliers", len(data), limit), findings
