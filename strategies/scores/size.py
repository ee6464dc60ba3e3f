"""Scores of how long a row is and how far it is from its neighbors."""

import numpy as np

from ..contract import Floats, score
from ..evidence import History
from ..geometry import Geometry

FAINTEST = 1e-12  # ratios to the median below this are one and the same


def _log_ratio(lengths: Floats) -> Floats:
    """The natural logarithm of each length over the median one, within what `FAINTEST` tells apart."""
    usual = float(np.median(lengths))
    if usual == 0.0:
        return np.where(lengths > 0, -np.log(FAINTEST), 0.0)
    with np.errstate(over="ignore"):
        return np.log(np.clip(lengths / usual, FAINTEST, 1 / FAINTEST))


@score(spread=0.5)
def length(geometry: Geometry, f: int, history: History) -> Floats:
    """How much longer or shorter a row is than the median row: the absolute logarithm of the ratio.

    Sees boosted updates (model replacement, noise) and free riders that send next to nothing.

    >>> length(Geometry.of(np.array([[1.0], [1.0], [-1.0], [np.e]])), f=1).round(9)
    array([0., 0., 0., 1.])
    """
    return np.abs(_log_ratio(geometry.norms))


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
