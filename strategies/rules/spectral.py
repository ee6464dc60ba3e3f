"""Rules that look for the direction in which the rows differ most, and for who makes them differ there."""

import math
from typing import cast

import numpy as np
from scipy import linalg

from ..contract import Floats, number_between, rule, whole_number
from ..geometry import Geometry
from .selection import tightest


def leading(frame: Floats, weights: Floats) -> tuple[float, Floats]:
    """The top eigenvalue of the rows' covariance, and where the rows lie along its direction, `(n,)`.

    `frame` holds the rows' inner products `(n, n)` seen from one of them, from which places are measured, too: the mean
    may be far away, and then nothing would be left of what tells most rows apart. `weights` `(n,)` have sum 1.
    """
    some = np.flatnonzero(weights)
    shares, roots = weights[some], np.sqrt(weights[some])
    towards = frame[:, some]
    means = towards[some] @ shares
    centered = (towards[some] - means - means[:, None] + shares @ means) * roots * roots[:, None]
    size, last = math.frexp(float(np.diag(centered).max()))[1], len(some) - 1  # rows twice as long: the very bits
    alike = np.ldexp(centered, -size)
    values, vectors = cast("tuple[Floats, Floats]", linalg.eigh(alike, subset_by_index=(last, last)))
    value, pulls = math.ldexp(float(values[0]), size), roots * vectors[:, 0]
    if value <= 0.0:
        return 0.0, np.zeros(len(frame))
    return value, towards @ (pulls - shares * pulls.sum()) / np.sqrt(value)


@rule()
def caf(geometry: Geometry, f: int) -> Floats:
    """The weighted mean of least top eigenvalue that a filter meets (covariance-bound agnostic filter).

    Weights start at 1. In each step a row loses the share of its weight that its squared distance from the mean along
    the top eigenvector of the weighted covariance has in the largest such one, until no more than n - 2f are left.
    Eigenvectors are exact; rows that are all alike are their own mean.

    Source: Diakonikolas et al., ICML 2017, https://arxiv.org/abs/1703.00893; Allouah, Guerraoui, Stephan, ICML 2025,
    https://arxiv.org/abs/2505.01874

    >>> caf(np.array([[1.0], [2.0], [3.0], [2.0], [90.0]]), f=1).round(1)
    array([2.])
    """
    n = geometry.n
    frame = geometry.frame[:n, :n]
    left, least, best = np.ones(n), math.inf, np.zeros(n)
    while True:
        weights = left / left.sum()
        value, along = leading(frame, weights)
        if value < least:
            least, best = value, weights
        away = np.where(left > 0, (along - along @ weights) ** 2, 0.0)
        if value == 0.0 or away.max() == 0.0:
            break
        left = left * (1 - away / away.max())
        if left.sum() <= n - 2 * f:
            break
    return best * geometry.shortening


@rule(
    exempt={
        "survival": "rows are seen from the mean, which hostile rows move: they hide behind each other",
        "size": "one huge row takes the direction for itself, and a smaller one that stands across it stays",
    }
)
def dnc(geometry: Geometry, f: int, *, c: float = 1.0, niters: int = 1) -> Floats:
    """The mean of the rows that remain when c f of them have gone, in each pass, for lying farthest from the mean along
    the direction in which the rows differ most (divide and conquer).

    The paper projects a random sample of columns in each pass, and keeps what all passes keep; here all columns count,
    exactly, and a pass looks at the rows that the one before kept, for to look at the same again would change nothing.
    c f is rounded up. Where no row remains the update is zero and the model stays.

    Source: Shejwalkar, Houmansadr, NDSS 2021, https://www.ndss-symposium.org/ndss-paper/manipulating-the-byzantine/

    >>> dnc(np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 1.0], [9.0, 9.0]]), f=1).round(6)
    array([2.      , 0.333333])
    """
    factor = number_between("dnc", "a positive finite c", c, 0, math.inf)
    n = geometry.n
    frame = geometry.frame[:n, :n]
    go, kept = math.ceil(round(factor * f, 9)), np.arange(n)
    for _ in range(whole_number("dnc", "niters", niters)):
        if len(kept) <= go:
            return np.zeros(n)
        weights = np.zeros(n)
        weights[kept] = 1 / len(kept)
        _, along = leading(frame, weights)
        kept = kept[np.argsort(along[kept], kind="stable")]
        middle = along @ weights
        for _ in range(go):  # always one of the two ends, where places next to each other keep what tells them apart
            first, last = along[kept[0]], along[kept[-1]]
            kept = kept[1:] if middle - first > last - middle else kept[:-1]
    weights = np.zeros(n)
    weights[kept] = 1 / len(kept)
    return weights


@rule()
def no_regret(geometry: Geometry, f: int, *, steps: int = 50) -> Floats:
    """The weighted mean of least top eigenvalue that multiplicative weights meet, none above 1 / (n - f).

    Rows farther than 2 r from a row are left out first, r being the least radius about a row that holds n - f rows.
    Then each step multiplies a weight by 1 minus half the share that the row's squared distance from the mean along the
    top eigenvector has in the largest such one, and goes back to the nearest weights allowed, in relative entropy.

    The tightest neighborhood of n - f rows counts as met, which bounds what any hostile rows can do, see
    `tightest_kappa` of `certificates.py`.

    Source: Hopkins, Li, Zhang, NeurIPS 2020, https://arxiv.org/abs/2007.15839; in federated learning: Zhu, Pang, Wang,
    Wang, Jiao, Song, Jordan, AISTATS 2023, https://arxiv.org/abs/2205.11765. Both stop at a covariance that is known;
    here the steps are a number.

    >>> no_regret(np.array([[1.0], [2.0], [3.0], [2.0], [90.0]]), f=1)
    array([2.])
    """
    n, distances = geometry.n, geometry.squared_distances
    frame = geometry.frame[:n, :n]
    reach = np.sort(distances, axis=1)[:, n - f - 1]
    middle = int(np.argmin(reach))
    near = distances[middle] <= 4 * reach[middle]
    weights, best = near / near.sum(), np.zeros(n)
    best[tightest(distances, f)] = 1 / (n - f)
    least, _ = leading(frame, best)
    for _ in range(whole_number("no_regret", "steps", steps)):
        value, along = leading(frame, weights)
        if value < least:
            least, best = value, weights
        away = np.where(near, (along - along @ weights) ** 2, 0.0)
        if away.max() == 0.0:
            break
        weights = _capped(weights * (1 - away / away.max() / 2), 1 / (n - f))
    return best * geometry.shortening


def _capped(weights: Floats, most: float) -> Floats:
    """The weights of sum 1, none above `most`, that are nearest in relative entropy: the largest cut, the rest scaled.

    >>> _capped(np.array([0.5, 0.2, 0.2]), 0.4).round(9)
    array([0.4, 0.3, 0.3])
    """
    order = np.argsort(-weights, kind="stable")
    falling = weights[order]
    cut = np.arange(len(weights))  # so many of the largest
    rest = falling[::-1].cumsum()[::-1]
    factors = np.divide(1 - cut * most, rest, out=np.zeros(len(weights)), where=rest > 0)
    count = int(np.argmax(falling * factors <= most * (1 + 1e-12)))
    found = weights * factors[count]
    found[order[:count]] = most
    return found / found.sum()
