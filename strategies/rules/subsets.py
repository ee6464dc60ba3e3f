"""Rules that keep the n - f rows which together look least suspicious, and average them."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..contract import Floats, rule
from ..geometry import Geometry, Order
from .selection import neighborhood, tightest
from .spectral import leading

FEW = 20  # so many hostile rows that mda is exact whatever the rows are, within its steps
STEPS = 30_000  # of mda's search for each diameter tried: Fibonacci's bound for FEW, see `_apart`
STEPS_BEYOND = 3_000  # the same for more than FEW hostile rows
SUBSETS = 5_000  # so many are compared by smea
CUTS = 24  # directions by which smea rules subsets out before it looks at each
BATCH = 256


@rule(exempt={"survival": "short rows are kept wherever they point", "translation": "lengths are from the origin"})
def cge(geometry: Geometry, f: int) -> Floats:
    """The mean of the n - f shortest rows (comparative gradient elimination).

    Source: Gupta, Liu, Vaidya 2020, https://arxiv.org/abs/2008.04699 (their sum, divided by n - f)

    >>> cge(np.array([[1.0], [2.0], [-30.0]]), f=1)
    array([1.5])
    """
    return _average(geometry.n, np.argsort(geometry.norms, kind="stable")[: geometry.n - f])


@rule()
def mda(geometry: Geometry, f: int) -> Floats:
    """The mean of the n - f rows whose two farthest ones are least far apart (minimum diameter averaging).

    Of subsets with the same diameter, it is the one with the least sum of squared distances.

    The search asks of one diameter after the other whether f rows can go so that no two of the rest are farther apart,
    by branch and bound. That is exact for f <= 20, and for more hostile rows while 3,000 steps decide each diameter;
    one they do not decide counts as one that cannot be. What is kept then has at most twice the least diameter, which
    is what the tightest neighborhood of a row has.

    Source: Rousseeuw 1985; El Mhamdi, Guerraoui, Guirguis, Hoang, Rouault, PODC 2020, https://arxiv.org/abs/1905.03853

    >>> mda(np.array([[0.0], [4.0], [5.0], [6.0], [90.0]]), f=2)
    array([5.])
    """
    n, distances = geometry.n, geometry.squared_distances
    steps = STEPS if f <= FEW else STEPS_BEYOND
    reach = np.sort(distances, axis=1)[:, n - f - 1]  # each row's subsets have at least this diameter
    kept = neighborhood(distances, int(np.argmin(reach)), n - f)
    diameters = np.unique(distances[(reach.min() <= distances) & (distances < _diameter(distances, kept))])
    low, high = 0, len(diameters)  # the least diameter that can be is at one of these places, or not among them
    while low < high:
        middle = (low + high) // 2
        found = next(_apart(distances > diameters[middle], f, steps), None)
        if found is None:
            low = middle + 1
        else:
            kept, high = _nearest_together(distances, found, n - f), middle
    within = _diameter(distances, kept)
    equals = (_nearest_together(distances, found, n - f) for found in _apart(distances > within, f, STEPS_BEYOND))
    return _average(n, min((kept, *equals), key=lambda rows: _spread(distances, rows)))


def _apart(far: NDArray[np.bool_], f: int, steps: int) -> Iterator[Order]:
    """Every set of at least n - f rows no two of which are `far` from each other that is no part of another such set.

    Each step takes the row that is far from most of those left: either it goes, or all those do. Before that, the
    number of pairs that are left tells whether f rows can be enough. Where more than one row is far from it, s steps
    are as many as two kinds of smaller cases have, at most s(f - 1) + s(f - 2) + 1, which is below STEPS for FEW. The
    search ends after `steps`, so that sets may be missing.
    """
    n = len(far)
    others = [int.from_bytes(np.packbits(row, bitorder="little").tobytes(), "little") for row in far]
    places = [row for row in range(n) if others[row]]
    stack = [((1 << n) - 1, f)]
    for _ in range(steps):
        if not stack:
            return
        left, may_go = stack.pop()
        counts = [(others[row] & left).bit_count() if left >> row & 1 else 0 for row in places]
        most = max(counts, default=0)
        if most == 0:
            yield np.array([row for row in range(n) if left >> row & 1], dtype=np.intp)
        elif sum(counts) <= 2 * may_go * most:
            row = places[counts.index(most)]
            if most <= may_go:
                stack.append((left & ~others[row], may_go - most))
            stack.append((left & ~(1 << row), may_go - 1))


def _nearest_together(distances: Floats, rows: Order, count: int) -> Order:
    """`count` of the rows: the one farthest from the others, in the sum of squares, goes until so many are left."""
    while len(rows) > count:
        rows = np.delete(rows, np.argmax(distances[np.ix_(rows, rows)].sum(axis=1)))
    return rows


def _diameter(distances: Floats, rows: Order) -> float:
    return float(distances[np.ix_(rows, rows)].max(initial=0.0))


def _spread(distances: Floats, rows: Order) -> float:
    """The sum of squared distances within."""
    return float(distances[np.ix_(rows, rows)].sum())


@rule()
def smea(geometry: Geometry, f: int) -> Floats:
    """The mean of the n - f rows whose covariance has the least top eigenvalue (smallest maximum eigenvalue averaging).

    Rows that are too far from more than f others to be among them are left out first. Of the rest, all subsets are
    compared where there are at most 5,000 of them (f = 4 of n = 20, 3 of 30, 2 of 100). Otherwise it is the better of
    two that are near it: the n - f rows of the tightest neighborhood, by the sum of squared distances to one row, and
    what is left when the rows farthest along the top eigenvector go, one or an eighth of those yet to go at a time;
    then single rows are exchanged along the top eigenvector while that lowers it. The tightest neighborhood is what
    `smea_kappa` of `certificates.py` counts on there.

    Source: Allouah, Guerraoui, Gupta, Pinot, Stephan, ICML 2023, https://arxiv.org/abs/2302.04787

    >>> smea(np.array([[0.0, 1.0], [0.0, -1.0], [2.0, 0.0], [9.0, 0.0]]), f=1)
    array([0.66666667, 0.        ])
    """
    n, distances = geometry.n, geometry.squared_distances
    frame = geometry.frame[:n, :n]
    starts = tightest(distances, f), _filtered(frame, n - f)
    best, kept = min((leading(frame, _average(n, rows))[0], tuple(rows)) for rows in starts)
    # two rows alone have a top eigenvalue of half their squared distance, and more rows never a lower one
    possible = np.flatnonzero((distances / 2 > best * (n - f) * (1 + 1e-9)).sum(axis=1) <= f)
    search = _compared if math.comb(len(possible), n - f) <= SUBSETS else _exchanged
    return _average(n, search(frame, possible, np.array(kept, dtype=np.intp)))


def _filtered(frame: Floats, count: int) -> Order:
    """`count` of the rows: those farthest from the mean along the top eigenvector go until so many are left."""
    left = np.arange(len(frame))
    while len(left) > count:
        weights = _average(len(frame), left)
        _, along = leading(frame, weights)
        away = np.abs(along - along @ weights)[left]
        go = max((len(left) - count) // 8, 1)
        left = left[np.sort(np.argsort(away, kind="stable")[: len(left) - go])]
    return left


def _compared(frame: Floats, possible: Order, kept: Order) -> Order:
    """The subset of the possible rows, as many as are kept, of the least top eigenvalue, found by comparing all.

    The scatter along any direction is at most the top eigenvalue, so that the directions of subsets that look best rule
    others out; those that are left are looked at one by one.
    """
    n, m = len(frame), len(kept)
    best, along = leading(frame, _average(n, kept))
    subsets = possible[np.array(list(itertools.combinations(range(len(possible)), m)), dtype=np.intp)]
    least = np.zeros(len(subsets))
    for _ in range(CUTS):
        places = along[subsets]
        places -= places.mean(axis=1)[:, None]
        least = np.maximum(least, (places**2).mean(axis=1))
        left = least < best
        subsets, least = subsets[left], least[left]
        if not len(subsets):
            return kept
        value, along = leading(frame, _average(n, subsets[np.argmin(least)]))
        if value < best:
            best, kept = value, subsets[np.argmin(least)]
    subsets = subsets[np.argsort(least, kind="stable")]
    for start in range(0, len(subsets), BATCH):
        some = subsets[start : start + BATCH]
        within = frame[some[:, :, None], some[:, None, :]]
        means = within.mean(axis=1)
        centered = within - means[:, None, :] - means[:, :, None] + means.mean(axis=1)[:, None, None]
        values = np.linalg.eigvalsh(centered)[:, -1] / m
        if values.min() < best:
            best, kept = float(values.min()), some[np.argmin(values)]
    return kept


def _exchanged(frame: Floats, possible: Order, kept: Order) -> Order:
    """The rows kept, the one farthest along their top eigenvector exchanged for the nearest other while that helps."""
    n = len(frame)
    best, along = leading(frame, _average(n, kept))
    while True:
        others = np.setdiff1d(possible, kept)
        if not len(others):
            return kept
        away = np.abs(along - along[kept].mean())
        changed = np.sort(np.where(kept == kept[np.argmax(away[kept])], others[np.argmin(away[others])], kept))
        value, along = leading(frame, _average(n, changed))
        if value >= best:
            return kept
        best, kept = value, changed


def _average(n: int, rows: Order) -> Floats:
    """The weights `(n,)` of the mean of some rows."""
    weights = np.zeros(n)
    weights[rows] = 1 / len(rows)
    return weights
