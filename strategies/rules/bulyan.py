"""Bulyan: rows selected one by one, and of those the middle of every column."""

import numpy as np

from ..contract import Combination, rule
from ..geometry import Geometry, Order
from ..kernels import NearMedian


def four_f_plus_three(f: int) -> int:
    """The fewest rows of which Krum may select 2f + 1 at the last."""
    return 4 * f + 3


def selected_by_krum(geometry: Geometry, f: int, count: int) -> Order:
    """The places `(count,)` of the rows that Krum selects one after the other, each among those not yet selected.

    Of r rows left, a row's score is the sum of squared distances to its max(1, r - f - 2) nearest others left. Exact
    ties, as between two rows that are each other's nearest, are decided by the distances to farther others in turn.
    """
    left = np.arange(geometry.n)
    others = geometry.squared_distances.copy()
    np.fill_diagonal(others, np.inf)
    neighbors = np.argsort(others, axis=1, kind="stable")[:, : geometry.n - 1]
    nearest = np.take_along_axis(others, neighbors, axis=1)
    selected: list[int] = []
    for remaining in range(geometry.n, geometry.n - count, -1):
        scores = nearest[:, : max(1, remaining - f - 2)].sum(axis=1)
        least = np.flatnonzero(scores == scores.min())
        if len(least) > 1 and remaining > 1:
            least = least[np.lexsort(nearest[least].T[::-1])]
        found = int(least[0])
        selected.append(int(left[found]))
        stays = neighbors != left[found]
        stays[found] = False
        left = np.delete(left, found)
        shape = (remaining - 1, max(remaining - 2, 0))
        neighbors, nearest = neighbors[stays].reshape(shape), nearest[stays].reshape(shape)
    return np.array(selected)


@rule(least=four_f_plus_three, exempt={"rotation": "each coordinate has a middle of its own"})
def bulyan(geometry: Geometry, f: int) -> Combination:
    """The mean of the n - 4f values of each coordinate nearest its median, of n - 2f rows selected by Krum in turn.

    Krum selects one row at a time, and scores the rows that are left anew each time. Ties in a coordinate count as in
    `mean_around_median`.

    Source: El Mhamdi, Guerraoui, Rouault, ICML 2018, https://arxiv.org/abs/1802.07927

    >>> bulyan(np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [1e30]]), f=1)
    array([2.])
    """
    n = geometry.n
    weights = np.zeros(n)
    weights[selected_by_krum(geometry, f, n - 2 * f)] = 1 / (n - 2 * f)
    return Combination(weights, statistic=NearMedian(n - 4 * f))
