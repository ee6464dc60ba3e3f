"""Scores of how a row lies to the robust center of all rows."""

import numpy as np

from ..contract import Floats, score
from ..evidence import History
from ..geometry import Geometry
from ..rules.center import geometric_median


@score(spread=0.04)
def direction(geometry: Geometry, f: int, history: History) -> Floats:
    """How far a row turns away from the others' robust center: 1 minus the cosine, 0 to 2; a row of length 0 has 1.

    The center is the geometric median of the rows at unit length, less the row's own part in it, so that nobody vouches
    for itself. Sees flipped signs, flipped labels and noise.

    >>> direction(Geometry.of(np.array([[1.0, 0.1], [1.0, -0.1], [1.0, 0.0], [-1.0, 0.0]])), f=1).round(1)
    array([0., 0., 0., 2.])
    """
    cosines = geometry.cosines
    center = geometric_median.function(geometry.unit())
    own = center * np.diag(cosines)
    towards = cosines @ center - own
    squares = center @ cosines @ center - 2 * center * (towards + own) + center * own
    lengths = np.sqrt(np.maximum(squares, 0.0))
    return 1 - np.divide(towards, lengths, out=np.zeros(geometry.n), where=lengths > 1e-7).clip(-1.0, 1.0)


@score(spread=0.5)
def leverage(geometry: Geometry, f: int, history: History) -> Floats:
    """How far a row lies along the direction that most rows share, in median distances from the center.

    Rows are seen from their geometric median and shortened to the median distance first: otherwise one long row would
    be that direction itself and hide the others. What a row alone gives its own direction is taken off, so that being
    different is no fault; sees colluders, who move together.

    Source of the idea: Shejwalkar, Houmansadr, NDSS 2021 (DnC's spectral score), here exact from the Gram matrix.

    >>> rows = np.vstack([np.eye(8)[:6] / 10, [[0, 0, 0, 0, 0, 0, 1, 0]] * 2])  # six on their own, two together
    >>> leverage(Geometry.of(rows), f=2).round(1)[4:]
    array([0. , 0. , 1.7, 1.7])
    """
    seen = geometry.centered(geometric_median.function(geometry))
    lengths = np.sqrt(np.diag(seen))
    usual = float(np.median(lengths))
    if usual == 0.0:
        return (lengths > 0).astype(np.float64)
    shortened = usual / np.maximum(lengths, usual)
    values, vectors = np.linalg.eigh(seen * shortened[:, None] * shortened[None, :] / usual**2)
    along = np.sqrt(max(float(values[-1]), 0.0)) * vectors[:, -1]
    shared = np.sqrt(max(float(values[-1]) - 1.0, 0.0))  # one row alone makes a direction of eigenvalue 1
    return shared * np.abs(along - np.median(along))
