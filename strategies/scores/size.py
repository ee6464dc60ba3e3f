"""Scores of how long a row is and how far it is from its neighbors."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..contract import Floats, score
from ..evidence import ALONE, History
from ..geometry import Geometry
from ..pairs import averaged

FAINTEST = 1e-12  # ratios to the median below this are one and the same
MOST = 6.0  # a logarithm counts for no more in an average, so that one accident is forgotten in time


def _log_ratio(lengths: Floats) -> Floats:
    """The natural logarithm of each length over the median one, within what `FAINTEST` tells apart."""
    usual = float(np.median(lengths))
    if usual == 0.0:
        return np.where(lengths > 0, -np.log(FAINTEST), 0.0)
    with np.errstate(over="ignore"):
        return np.log(np.clip(lengths / usual, FAINTEST, 1 / FAINTEST))


@score(spread=0.15)
def length(
    geometry: Geometry,
    f: int,
    history: History,
    *,
    clients: tuple[str, ...] | None = None,
    memory: Mapping[str, Any] | None = None,
) -> tuple[Floats, dict[str, Any] | None]:
    """How much longer than the median row a client's rows are over the rounds, as a logarithm; shorter counts a third.

    Whoever trains on labels or triggers that other clients contradict has more left to learn in every round, and sends
    longer updates; the noise of a single round averages out. A third of the present round's value counts however good
    the past, so that one boosted update (model replacement, noise) is seen at once. Sees free riders, who send next to
    nothing.

    >>> length(Geometry.of(np.array([[1.0], [1.0], [-1.0], [np.e], [np.exp(-3)]])), f=1).round(9)
    array([0., 0., 0., 1., 1.])
    """
    now = _log_ratio(geometry.norms)
    over_rounds, after = averaged(np.clip(now, -MOST, MOST), 1.0, clients, memory)
    return np.maximum(_one_sided(over_rounds), ALONE * _one_sided(now)), after


def _one_sided(ratios: Floats) -> Floats:
    return np.where(ratios > 0, ratios, np.abs(ratios) / 3)


@score(spread=0.2)
def distance(geometry: Geometry, f: int, history: History) -> Floats:
    """How far a row is from its n - f - 2 nearest other rows (at least one), root mean square, against the median row.

    The logarithm of the ratio: Krum's score on a scale that can be compared across rounds. Sees rows that stand apart.

    >>> distance(Geometry.of(np.array([[0.0], [1.0], [2.0], [3.0], [50.0]])), f=1).round(2)
    array([ 0.  , -0.46, -0.46,  0.  ,  3.4 ])
    """
    neighbors = max(1, geometry.n - f - 2)
    if geometry.n == 1:
        return np.zeros(1)
    return _log_ratio(np.sqrt(geometry.nearest_first()[:, :neighbors].mean(axis=1)))
