"""Clients in the plane, and in an order that puts those alike beside each other: pictures of the geometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from hawthorn.strategies import Geometry
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FARTHEST = 3.0  # usual distances from the medoid: what lies farther is drawn there


@dataclass(frozen=True, eq=False)
class Embedding:
    """Points `(n, 2)`, one for each row, whose distances resemble those of the rows.

    The unit is the usual distance: the median one from the medoid. `distances` `(n,)` are how far the rows lie from it,
    and `shortened` `(n,)` says which of them lie farther than is drawn. `explained` is the share of the variance, of
    the rows as they are drawn, that the plane shows.
    """

    points: Floats
    shortened: NDArray[np.bool_]
    distances: Floats
    explained: float

    def document(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "points": self.points.tolist(),
            "shortened": self.shortened.tolist(),
            "distances": self.distances.tolist(),
            "explained": self.explained,
        }


def embedding(geometry: Geometry) -> Embedding:
    """The rows by classical multidimensional scaling of their squared distances.

    One row of 1e30 would put all others on one spot. So rows are first drawn nearer the medoid, to at most `FARTHEST`
    times the median distance from it, in their own direction: exact algebra on the geometry, as of any mixed rows.
    Source: Torgerson, Psychometrika 1952, https://doi.org/10.1007/BF02288916

    >>> found = embedding(Geometry.of(np.array([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, -2.0], [9e30, 0.0]])))
    >>> found.shortened.tolist(), np.linalg.norm(found.points[4] - found.points[0]).round(6).item()
    ([False, False, False, False, True], 3.0)
    """
    n, r = geometry.n, geometry.medoid
    away = np.sqrt(geometry.squared_distances[r]) / geometry.shortening
    others = np.delete(away, r)
    usual = float(np.median(others)) if n > 1 else 0.0
    usual = usual or float(others.max(initial=0.0)) or 1.0  # where most rows are the same, the others' is all there is
    share = np.minimum(1.0, FARTHEST / np.maximum(away / usual, FARTHEST))
    mixing = np.diag(share)
    mixing[:, r] += 1 - share
    nearer = geometry.mixed(mixing)
    points, explained = _scaled(nearer.squared_distances)
    unit = usual / geometry.scale.max() * nearer.scale.max()  # both geometries may hold rows by factors
    return Embedding(points / unit, share < 1, away / usual, explained)


def _scaled(squared_distances: Floats) -> tuple[Floats, float]:
    """Points `(n, 2)` of squared distances `(n, n)`, and the share of the variance that they show."""
    n = len(squared_distances)
    centering = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-centering @ squared_distances @ centering / 2)
    values = np.maximum(values[::-1], 0.0)
    points = np.zeros((n, 2))
    for axis in range(min(2, n)):
        vector = vectors[:, n - 1 - axis]
        sign = 1.0 if vector[np.argmax(np.abs(vector))] > 0 else -1.0  # an axis has no direction of its own
        points[:, axis] = sign * vector * np.sqrt(values[axis])
    return points, float(values[:2].sum() / values.sum()) if values.sum() > 0 else 1.0


def alike_first(geometry: Geometry) -> NDArray[np.intp]:
    """The rows `(n,)` in an order in which those of like direction are beside each other (average linkage).

    >>> alike_first(Geometry.of(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.1, 1.0]]))).tolist()
    [0, 2, 3, 1]
    """
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    if geometry.n < 3:
        return np.arange(geometry.n)
    unlike = np.maximum(1 - geometry.cosines, 0.0)
    np.fill_diagonal(unlike, 0.0)
    untyped = cast("Any", hierarchy)
    links = untyped.linkage(squareform(unlike, checks=False), "average", optimal_ordering=True)
    return np.asarray(untyped.leaves_list(links), dtype=np.intp)
