"""The geometry of one round: everything a geometric rule, transform or score may know about the rows."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import kernels
from .rows import Rows

Floats = NDArray[np.float64]
Order = NDArray[np.intp]

LONGEST = 1e140  # a row whose squares would overflow float64 is held at this size


@dataclass(frozen=True, eq=False)
class Geometry:
    """Squared distances and inner products of `n` rows, from one read of the matrix.

    `squared_distances` and `gram` are `(n, n)`, both measured, because neither gives the other: beside a common offset
    the Gram matrix has no digits left for distances, and beside one huge row distances have none left for products.
    A row too long for its squares to fit float64 is held shortened by the factor `scale`, `(n,)`, which is 1 for any
    other row; both matrices are of the rows as held, `norms` are of the rows as they came. `rank[i]` is the place of
    row `i` in canonical order.
    """

    squared_distances: Floats
    gram: Floats
    scale: Floats
    rank: Order

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
        distances, squares = kernels.gram(rows.data, rows.order, scale)
        if not (np.isfinite(distances).all() and np.isfinite(squares).all()) or squares.max(initial=0) > LONGEST**2:
            rows.refuse_non_finite()
            scale = np.minimum(
                1.0, LONGEST / rows.data.shape[1] / np.maximum(kernels.largest(rows.data)[rows.order], 1.0)
            )
            distances, squares = kernels.gram(rows.data, rows.order, scale)
        gram = (squares[:, None] + squares[None, :] - distances) / 2
        np.fill_diagonal(gram, squares)
        usual = np.median(squares)
        unusual = np.flatnonzero((squares > 1e6 * usual) | (squares < 1e-6 * usual))
        if len(unusual):
            gram[unusual] = kernels.products(rows.data, rows.order, scale, unusual)
            gram[:, unusual] = gram[unusual].T
        return cls(distances, gram, scale, np.arange(n))

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
    def cosines(self) -> Floats:
        """The cosines `(n, n)` between rows; 0 with a row of length 0."""
        lengths = np.sqrt(np.diag(self.gram))
        inverse = np.divide(1.0, lengths, out=np.zeros(self.n), where=lengths > 0)
        cosines = np.clip(self.gram * inverse[:, None] * inverse[None, :], -1.0, 1.0)
        np.fill_diagonal(cosines, lengths > 0)
        return cosines

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
        held = mixing / self.scale
        # a mixed row is as long as its longest part, or shorter: hold it where its squares fit
        bound = np.abs(held) @ np.sqrt(np.diag(self.gram))
        scale = np.minimum(1.0, LONGEST / np.maximum(bound, 1.0))
        points = np.zeros((m + 1, self.n + 1))
        points[:m, :-1] = held * scale[:, None]
        points[:, -1] = 1 - points[:, :-1].sum(axis=1)  # the rest is at the origin, so that every row's parts sum to 1
        frame = points @ self.frame @ points.T
        frame = (frame + frame.T) / 2
        squares = np.diag(frame)
        distances = np.maximum(squares[:, None] + squares[None, :] - 2 * frame, 0.0)
        np.fill_diagonal(distances, 0.0)
        gram = frame[:m, :m] - frame[:m, [m]] - frame[[m], :m] + frame[m, m]
        np.fill_diagonal(gram, distances[:m, m])
        return Geometry(distances[:m, :m], gram, scale, np.arange(m))

    def centered(self, weights: Floats) -> Floats:
        """The Gram matrix `(n, n)` of the held rows seen from their mean weighted by `weights`, `(n,)` with sum 1."""
        n = self.n
        away = np.eye(n) - (weights / self.scale)[None, :]
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
