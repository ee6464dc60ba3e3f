"""Transforms: how rows are tamed before they are combined. Each answers a mixing matrix; none modifies its input."""

import math

import numpy as np

from .contract import Floats, number_between, transform
from .geometry import Geometry


def any_number(f: int) -> int:
    """The fewest rows of a transform that tolerates anything."""
    return 1


@transform(
    least=any_number,
    exempt={
        "translation": "lengths are measured from the origin",
        "scale": "the radius is a length",
    },
)
def clip(geometry: Geometry, f: int = 0, *, radius: float) -> Floats:
    """The rows, shortened to at most `radius`.

    >>> clip(np.array([[3.0, 4.0], [0.3, 0.4]]), radius=1.0)
    array([[0.6, 0.8],
           [0.3, 0.4]])
    """
    longest = number_between("clip", "a positive finite radius", radius, 0, math.inf)
    return np.diag(_shortened(geometry.norms, np.full(geometry.n, longest)))


@transform(exempt={"translation": "lengths are measured from the origin"})
def arc(geometry: Geometry, f: int) -> Floats:
    """The rows, the k = floor(2 (f/n) (n-f)) longest of them shortened to the length of the next longest one.

    Source: Allouah, Guerraoui, Gupta, Jellouli, Rizk, Stephan, ICLR 2025, https://arxiv.org/abs/2405.14432

    >>> arc(np.array([[1.0], [2.0], [3.0], [4.0], [1e9]]), f=1)
    array([[1.],
           [2.],
           [3.],
           [4.],
           [4.]])
    """
    n, norms = geometry.n, geometry.norms
    longest = 2 * f * (n - f) // n
    radius = np.sort(norms)[n - longest - 1]
    return np.diag(_shortened(norms, np.full(n, radius)))


@transform()
def nnm(geometry: Geometry, f: int) -> Floats:
    """The mean of the n - f rows nearest each row, itself included.

    Source: Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, AISTATS 2023, https://arxiv.org/abs/2302.01772

    >>> nnm(np.array([[0.0], [1.0], [2.0], [1e9]]), f=1)[:3]
    array([[1.],
           [1.],
           [1.]])
    """
    n = geometry.n
    distances = geometry.squared_distances.copy()
    np.fill_diagonal(distances, -1.0)  # a row is nearest to itself, also beside a duplicate
    nearest = np.argsort(distances, axis=1, kind="stable")[:, : n - f]
    mixing = np.zeros((n, n))
    np.put_along_axis(mixing, nearest, 1 / (n - f), axis=1)
    return mixing


def _shortened(norms: Floats, radius: Floats) -> Floats:
    return np.divide(radius, norms, out=np.ones_like(norms), where=norms > radius)
