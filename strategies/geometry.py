"""The geometry of one round: everything a geometric rule, transform or score may know about the rows."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import kernels
from .rows import Rows

Floats = NDArray[np.float64]
Order = NDArray[np.intp]

LONGEST = 1e140  # a row whose squares would overflow float64 is held at this size


def held(lengths: Floats) -> Floats:
    """What rows of these lengths `(n,)` are multiplied by for their squares to fit float64: 1 for ordinary rows.

    Where the usual row itself is longer than `LONGEST`, or shorter than its inverse, all get one common factor, a power
    of two; beside it, a row that is still too long gets a smaller one.

    >>> held(np.array([1.0, 2.0, 2.0**666])).round(3).tolist()
    [1.0, 1.0, 0.0]
    """
    some = np.sort(lengths[lengths > 0])
    usual = float(some[(len(some) - 1) // 2]) if len(some) else 1.0
    exponent = 0 if 1 / LONGEST <= usual <= LONGEST else min(max(-math.frexp(usual)[1], -800), 800)
    return np.minimum(math.ldexp(1.0, exponent), LONGEST / np.maximum(lengths, 1 / LONGEST))


@dataclass(frozen=True, eq=False, repr=False)
class Geometry:
    """Squared distances and inner products of `n` rows, from one read of the matrix.

    `squared_distances` and `gram` are `(n, n)`, both measured, because neither gives the other: beside a common offset
    the Gram matrix has no digits left for distances, and beside one huge row distances have none left for products.
    Rows whose squares do not fit float64 are held multiplied by `scale`, `(n,)`, which is 1 for all rows of an
    ordinary round; both matrices are of the rows as held, `norms` are of the rows as they came. `rank[i]` is the place
    of row `i` in canonical order.
    """

    squared_distances: Floats
    gram: Floats
    scale: Floats
    rank: Order

    def __repr__(self) -> str:
        return f"<geometry of {self.n} rows>"

    @classmethod
    def of(cls, updates: object) -> Geometry:
        """The geometry of `(n, d)` updates; raises `UpdateError` naming rows that are not finite.

        >>> Geometry.of(np.array([[3.0, 4.0], [0.0, 0.0]])).squared_distances.tolist()
        [[0.0, 25.0], [25.0, 0.0]]
        """
        rows = Rows.of(updates)
        rank = np.empty(rows.n, dtype=np.intp)
        rank[rows.order] = np.arange(rows.n)
        return cls.measured(rows).reordered(rank)

    @classmethod
    def measured(cls, rows: Rows) -> Geometry:
        """The geometry of the rows in their canonical order."""
        n = len(rows.order)
        scale = np.ones(n)
        distances, squares = rows.measured()
        if not np.isfinite(distances).all() or not LONGEST**-2 < np.median(squares) <= squares.max() <= LONGEST**2:
            rows.refuse_non_finite()
            scale = held(kernels.largest(rows.data)[rows.order])
            if (scale != 1).any():
                distances, squares = kernels.gram(rows.data, rows.order, scale)
        gram = (squares[:, None] + squares[None, :] - distances) / 2
        np.fill_diagonal(gram, squares)
        usual = np.median(squares)
        unusual = np.flatnonzero((squares > 1e6 * usual) | (squares < 1e-6 * usual))
        if len(unusual):
            gram[unusual] = kernels.products(rows.data, rows.order, scale, unusual)
            gram[:, unusual] = gram[unusual].T
        return cls(distances, gram, scale, np.arange(n))

    def followed_by(self, rows: Rows, row: Any) -> Geometry:
        """The geometry of the `rows` that this is of, in canonical order, and last of one more, `row` `(d,)`.

        `row` is what `Rows.vector` answers. Costs one more read of the matrix.
        """
        largest = float(kernels.largest(row[None])[0])
        factor = min(float(self.scale.max()), LONGEST / max(largest, 1 / LONGEST))
        distances, products = kernels.beside(rows.data, rows.order, self.scale, row, factor)
        _, squares = kernels.beside(row[None], np.arange(1), np.array([factor]), row, factor)
        gram = np.pad(self.gram, ((0, 1), (0, 1)))
        gram[-1] = gram[:, -1] = [*products, *squares]
        between = np.pad(self.squared_distances, ((0, 1), (0, 1)))
        between[-1, :-1] = between[:-1, -1] = distances
        return Geometry(between, gram, np.append(self.scale, factor), np.append(self.rank, self.n))

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.rank)

    @functools.cached_property
    def norms(self) -> Floats:
        """The lengths `(n,)` of the rows as they came; the largest float where a length does not fit."""
        with np.errstate(over="ignore"):
            return np.minimum(np.sqrt(np.diag(self.gram)) / self.scale, np.finfo(np.float64).max)

    @functools.cached_property
    def shortening(self) -> Floats:
        """How much shorter than the others each row is held, `(n,)`: 1, and less for rows far longer than the rest."""
        return self.scale / self.scale.max(initial=0.0)

    @functools.cached_property
    def cosines(self) -> Floats:
        """The cosines `(n, n)` between rows; 0 with a row of length 0."""
        lengths = np.sqrt(np.diag(self.gram))
        inverse = np.divide(1.0, lengths, out=np.zeros(self.n), where=lengths > 0)
        cosines = np.clip(self.gram * inverse[:, None] * inverse[None, :], -1.0, 1.0)
        np.fill_diagonal(cosines, lengths > 0)
        return cosines

    @functools.cached_property
    def cosine_distances(self) -> Floats:
        """What the cosines `(n, n)` lack of 1, from 0 to 2; 1 for a row of length 0 and another one.

        Taken from the distances for rows that are much alike: 1 minus a cosine has no digits left there.
        """
        lengths = np.sqrt(np.diag(self.gram))
        both = lengths[:, None] * lengths[None, :]
        across = np.maximum(self.squared_distances - (lengths[:, None] - lengths[None, :]) ** 2, 0.0)
        apart = 1 - self.cosines
        np.divide(across, 2 * both, out=apart, where=self.squared_distances < both)
        np.fill_diagonal(apart, 0.0)
        return apart

    def unit(self) -> Geometry:
        """The geometry of the rows at length 1, in this order taken for canonical; rows of length 0 stay."""
        squares = np.diag(self.cosines)
        between = np.maximum(squares[:, None] + squares[None, :] - 2 * self.cosines, 0.0)
        return Geometry(between, self.cosines, np.ones(self.n), np.arange(self.n))

    @functools.cached_property
    def medoid(self) -> int:
        """The row whose median distance to the rows is least: a robust point to see the others from."""
        return int(np.argmin(np.median(self.squared_distances, axis=1)))

    @functools.cached_property
    def frame(self) -> Floats:
        """Inner products `(n + 1, n + 1)` of the held rows and, last, the origin, all seen from the medoid.

        Seen from there, rows with a common offset keep the digits of their differences. Each entry is taken from the
        distances or from the products, whichever has the smaller rounding error.
        """
        r = self.medoid
        squares = np.diag(self.gram)
        distances = np.block([[self.squared_distances, squares[:, None]], [squares[None, :], np.zeros((1, 1))]])
        products = np.pad(self.gram, ((0, 1), (0, 1)))
        lengths = np.append(np.sqrt(squares), 0.0)
        away = distances[:, r]
        from_distances = (away[:, None] + away[None, :] - distances) / 2
        distance_error = np.maximum(np.maximum(away[:, None], away[None, :]), distances)
        from_products = products - products[:, [r]] - products[[r], :] + products[r, r]
        product_error = (lengths[:, None] + lengths[r]) * (lengths[None, :] + lengths[r])
        frame = np.where(distance_error <= product_error, from_distances, from_products)
        np.fill_diagonal(frame, away)
        return frame

    def mixed(self, mixing: Floats) -> Geometry:
        """The geometry of the rows `mixing @ rows`, `mixing` being `(m, n)`: algebra, nothing of length d is read."""
        m = len(mixing)
        if not m:
            return Geometry(np.zeros((0, 0)), np.zeros((0, 0)), np.ones(0), np.arange(0))
        parts = mixing / self.scale
        with np.errstate(over="ignore"):
            lengths = np.abs(parts) @ np.sqrt(np.diag(self.gram))  # a mixed row is as long as its parts, or shorter
        scale = held(np.minimum(lengths, np.finfo(np.float64).max))
        points = np.vstack([parts * scale[:, None], np.zeros(self.n)])  # the last one is the origin
        # Seen from the origin, new rows with a common part keep no digits of their differences; seen from one of
        # themselves they do.
        first = _distances(self._products(points))
        points -= points[np.argmin(np.median(first[:m, :m], axis=1))]
        frame = self._products(points)
        distances = _distances(frame)
        gram = frame[:m, :m] - frame[:m, [m]] - frame[[m], :m] + frame[m, m]
        np.fill_diagonal(gram, distances[:m, m])
        return Geometry(distances[:m, :m], gram, scale, np.arange(m))

    def _products(self, vectors: Floats) -> Floats:
        """The inner products `(m, m)` of combinations `(m, n)` of the held rows, each a difference from the origin."""
        whole = np.column_stack([vectors, -vectors.sum(axis=1)])  # differences are the same from wherever they are seen
        products = whole @ self.frame @ whole.T
        return (products + products.T) / 2

    def centered(self, weights: Floats) -> Floats:
        """The Gram matrix `(n, n)` of the held rows seen from their weighted mean, `weights` `(n,)` having sum 1."""
        n = self.n
        away = np.eye(n) - (weights / self.shortening)[None, :]
        gram = away @ self.frame[:n, :n] @ away.T
        np.fill_diagonal(gram, np.maximum(np.diag(gram), 0.0))
        return gram

    def take(self, kept: NDArray[np.bool_] | Order) -> Geometry:
        """The geometry of some of the rows, in the order given."""
        chosen = np.arange(self.n)[kept]
        rank = np.argsort(np.argsort(self.rank[chosen], kind="stable"), kind="stable")
        both = np.ix_(chosen, chosen)
        return Geometry(self.squared_distances[both], self.gram[both], self.scale[chosen], rank)

    def reordered(self, rank: Order) -> Geometry:
        """The same geometry with its canonical rows `rank` put in the caller's order."""
        both = np.ix_(rank, rank)
        return Geometry(self.squared_distances[both], self.gram[both], self.scale[rank], rank)

    def canonical(self) -> Geometry:
        """The same geometry with its rows in canonical order."""
        order = np.argsort(self.rank)
        both = np.ix_(order, order)
        return Geometry(self.squared_distances[both], self.gram[both], self.scale[order], np.arange(self.n))

    def nearest_first(self) -> Floats:
        """Squared distances `(n, n - 1)` of each row to the *other* rows, least first."""
        others = self.squared_distances.copy()
        np.fill_diagonal(others, np.inf)
        return np.sort(others, axis=1)[:, : self.n - 1]


def _distances(frame: Floats) -> Floats:
    """Squared distances between points of which `frame` holds the inner products."""
    squares = np.diag(frame)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * frame, 0.0)
    np.fill_diagonal(distances, 0.0)
    return distances
