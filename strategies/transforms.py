"""Transforms: how rows are tamed before they are combined. Each answers a mixing matrix; none modifies its input."""

import math

import numpy as np

from .contract import Floats, number_between, transform, whole_number
from .errors import OptionError
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
    mixes=False,
)
def clip(geometry: Geometry, f: int = 0, *, radius: float) -> Floats:
    """The rows, shortened to at most `radius`.

    >>> clip(np.array([[3.0, 4.0], [0.3, 0.4]]), radius=1.0)
    array([[0.6, 0.8],
           [0.3, 0.4]])
    """
    longest = number_between("clip", "a positive finite radius", radius, 0, math.inf)
    return np.diag(_shortened(geometry.norms, np.full(geometry.n, longest)))


@transform(exempt={"translation": "lengths are measured from the origin"}, mixes=False)
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


BUCKETS = "which rows share a bucket depends on their order, and that on their content"


@transform(least=any_number, exempt={"columns": BUCKETS, "sign": BUCKETS, "rotation": BUCKETS})
def bucketing(geometry: Geometry, f: int = 0, *, s: int = 2, rng: np.random.Generator | None = None) -> Floats:
    """The means of s rows each, put together at random: ceil(n / s) rows, of which up to f are hostile in turn.

    Averages of unlike honest rows are more alike, at the price of a higher share of hostile ones: the rule that follows
    must bear f of ceil(n / s). The last bucket may hold fewer rows. `rng` draws a permutation of the rows in canonical
    order, so that the order in which clients replied is of no account; by default the same one at every call, and in a
    `Defense` with a state another one in each round, which depends on the number of rounds alone.

    Source: Karimireddy, He, Jaggi, ICLR 2022, https://arxiv.org/abs/2006.09365

    >>> bucketing(np.array([[1.0], [1.0], [1.0], [1.0], [9.0]]), f=1, s=2).shape
    (3, 1)
    >>> bucketing(np.array([[1.0], [2.0], [6.0]]), s=3)
    array([[3.]])
    """
    size = whole_number("bucketing", "s", s)
    if rng is not None and not isinstance(rng, np.random.Generator):  # pyright: ignore[reportUnnecessaryIsInstance] - whoever passes a seed
        raise OptionError(f"bucketing needs rng=numpy.random.default_rng(...), got {rng!r}")
    n = geometry.n
    if size == 1:
        return np.eye(n)
    bucket = np.arange(n) // size
    shuffled = (rng or np.random.default_rng(0)).permutation(n)
    mixing = np.zeros((int(bucket[-1]) + 1, n))
    mixing[bucket, shuffled] = 1 / np.bincount(bucket)[bucket]
    return mixing


def _shortened(norms: Floats, radius: Floats) -> Floats:
    return np.divide(radius, norms, out=np.ones_like(norms), where=norms > radius)
