"""Rules that select rows by their nearest neighbors."""

import numpy as np

from ..contract import Floats, rule, whole_number
from ..errors import ToleranceError
from ..geometry import Geometry, Order


def two_f_plus_three(f: int) -> int:
    """The fewest rows Krum's proof covers."""
    return 2 * f + 3


def krum_ranking(geometry: Geometry, f: int) -> Order:
    """The rows `(n,)` by Krum score, least first: the sum of squared distances to the n - f - 2 nearest other rows.

    Two rows that are each other's nearest can tie exactly; the distances to farther neighbors then decide, in turn.
    """
    nearest = geometry.nearest_first()
    scores = nearest[:, : geometry.n - f - 2].sum(axis=1)
    if len(np.unique(scores)) == geometry.n:
        return np.argsort(scores)
    return np.lexsort((*nearest.T[::-1], scores))


def neighborhood(distances: Floats, row: int, count: int) -> Order:
    """The `count` rows nearest to one of them, itself first, of squared distances `(n, n)`."""
    away = distances[row].copy()
    away[row] = -1.0  # a row is nearest to itself, also beside a duplicate
    return np.argsort(away, kind="stable")[:count]


def tightest(distances: Floats, f: int) -> Order:
    """The neighborhood of n - f rows with the least sum of squared distances to its row, in canonical order."""
    count = len(distances) - f
    sums = np.sort(distances, axis=1)[:, :count].sum(axis=1)
    return np.sort(neighborhood(distances, int(np.argmin(sums)), count))


@rule(least=two_f_plus_three)
def krum(geometry: Geometry, f: int) -> Floats:
    """The one row with the least sum of squared distances to its n - f - 2 nearest other rows.

    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017, https://arxiv.org/abs/1703.02757

    >>> krum(np.array([[0.0], [1.0], [2.0], [4.0], [50.0]]), f=1)
    array([1.])
    """
    weights = np.zeros(geometry.n)
    weights[krum_ranking(geometry, f)[0]] = 1.0
    return weights


@rule(least=two_f_plus_three)
def multi_krum(geometry: Geometry, f: int, *, m: int | None = None) -> Floats:
    """The mean of the m rows with the least Krum scores, 1 <= m <= n - f; by default n - f - 2.

    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017, https://arxiv.org/abs/1703.02757; the default m is
    the largest with a proof: El Mhamdi, Guerraoui, Rouault, https://arxiv.org/abs/1905.04374

    >>> multi_krum(np.array([[0.0], [1.0], [2.0], [4.0], [50.0]]), f=1, m=3)
    array([1.])
    """
    n = geometry.n
    selected = n - f - 2 if m is None else whole_number("multi_krum", "m", m)
    if selected > n - f:
        raise ToleranceError(f"multi_krum averages at most n - f = {n - f} rows, but m={selected}")
    weights = np.zeros(n)
    weights[krum_ranking(geometry, f)[:selected]] = 1 / selected
    return weights
