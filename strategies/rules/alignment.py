"""Rules that look at the signs of the rows' values: whose agree with most, as a whole or where they are largest."""

from __future__ import annotations

import itertools
import math
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..columns import Columns
from ..contract import Floats, number_between, rule
from ..geometry import Geometry
from ..robust import middle, near_median, shortened
from .center import geometric_median

Kept = NDArray[np.bool_]

SIGNS = "signs and lengths are seen from the origin"
SURVIVAL = "rows that agree with most in sign and length may be any"
SHORTEST, LONGEST = 0.1, 3.0  # of the median length
STEPS = 300
ROUNDING = 1e-6  # of shares, which leaves nobody out of a cluster


@rule(exempt={"translation": SIGNS, "rotation": "signs change when rows turn", "survival": SURVIVAL})
def signguard(geometry: Geometry, f: int = 0, *, columns: Columns | None = None) -> Floats:
    """The mean of the rows of usual length and usual signs, shortened to the median length.

    Usual is a length from 0.1 to 3 times the median one, and shares of positive, zero and negative values that lie in
    the largest cluster by mean shift. Where no row is usual in both, those of usual length are taken: there are some
    always. The paper counts the signs in a tenth of the columns at random; here all columns are counted, which costs no
    more and leaves nothing to chance. Its code divides each share by the largest one, which one row decides; not here.

    Source: Xu, Huang, Song, Lan, ICDCS 2022, https://arxiv.org/abs/2109.05872

    >>> signguard(np.array([[1.0, 2.0, -2.0], [2.0, 1.0, -2.0], [2.0, 2.0, -1.0], [-2.0, -2.0, 1.0]]), f=1).round(2)
    array([ 1.67,  1.67, -1.67])
    """
    columns = cast("Columns", columns)
    norms = geometry.norms
    usual = middle(norms)
    kept = (norms >= SHORTEST * usual) & (norms <= LONGEST * usual)
    signs = columns.signs / max(columns.d, 1)
    alike = kept & largest_cluster(np.column_stack([signs, 1 - signs.sum(axis=1)]))
    chosen = alike if alike.any() else kept
    return np.where(chosen, shortened(norms, usual), 0.0) / chosen.sum()


def largest_cluster(points: Floats) -> Kept:
    """Which points `(n, k)` lie in the largest cluster that mean shift finds; at least one.

    The kernel is flat; its radius is the mean distance of a point to the nearest half of the points, itself counted.
    Every point climbs to where the mean of the points within reach moves no more; peaks within reach of a higher one
    are that one. A point beyond the reach of its nearest peak is in no cluster.

    >>> largest_cluster(np.array([[0.0], [0.1], [0.2], [5.0], [5.1]]))
    array([ True,  True,  True, False, False])
    """
    n = len(points)
    between = _distances(points, points)
    reach = float(np.sort(between, axis=1)[:, max(n // 2, 1) - 1].mean()) + ROUNDING
    peaks = points.copy()
    for _ in range(STEPS):
        near = (_distances(peaks, points) <= reach).astype(np.float64)
        moved = near @ points / near.sum(axis=1, keepdims=True)
        done = np.abs(moved - peaks).max(initial=0.0) <= 1e-3 * reach
        peaks = moved
        if done:
            break
    heights = (_distances(peaks, points) <= reach).sum(axis=1)
    tops: list[int] = []
    for place in np.lexsort((*peaks.T, -heights)).tolist():
        if not tops or _distances(peaks[[place]], peaks[tops]).min() > reach:
            tops.append(place)
    away = _distances(points, peaks[tops])
    cluster = np.where(away.min(axis=1) <= reach, away.argmin(axis=1), -1)
    sizes = np.bincount(cluster[cluster >= 0], minlength=len(tops))
    return cluster == sizes.argmax()


def _distances(points: Floats, others: Floats) -> Floats:
    return np.sqrt(((points[:, None] - others[None]) ** 2).sum(axis=2))


@rule(
    exempt={
        "translation": SIGNS,
        "rotation": "signs and largest values change when rows turn",
        "agreement": "small values become zero",
        "survival": SURVIVAL,
    }
)
def lasa(
    columns: Columns, f: int = 0, *, sparsity: float = 0.3, magnitude: float = 2.0, direction: float = 2.0
) -> Floats:
    """In each layer, the mean of the rows that are usual there in length and in signs; of each row, its large values.

    Rows are first shortened to the median length, and of each the share `sparsity` of least absolute values becomes
    zero. What a layer's length is then, and which share of its values that are not zero is positive, is to be within
    `magnitude` and `direction` robust standard deviations of the median for a row to be kept in that layer. Where none
    is usual in both, those of usual length are taken: there are some always, and where the authors' code takes all
    rows, the hostile ones would be among them.

    The paper's deviations are standard ones, and its bounds 1; median absolute deviations do not grow with the outlier,
    so that the same bounds would leave out half of the honest rows. Layers are those of `bounds`, one without them.

    Source: Xu, Zhang, Hu, WACV 2025, https://arxiv.org/abs/2409.01435

    >>> lasa(np.array([[1.0, 2.0], [2.0, 1.0], [1.5, 1.5], [-2.0, 1.0]]), f=1, bounds=(0, 1, 2)).round(2)
    array([1.75, 1.17])
    """
    share = number_between("lasa", "a sparsity from 0 to 1", sparsity, -1e-300, 1)
    most = [_bound("lasa", name, value) for name, value in (("magnitude", magnitude), ("direction", direction))]
    least = columns.thresholds(max(columns.d - math.floor(share * columns.d + 1e-9), 1))
    lengths, pure, norms = _layers_of_large_values(columns, least)
    weights = np.zeros_like(lengths)  # (L, n)
    held = shortened(norms, middle(norms))
    for layer in range(len(lengths)):
        long = near_median(lengths[layer] * held, most[0])
        both = long & near_median(pure[layer], most[1])
        kept = both if both.any() else long
        weights[layer] = np.where(kept, held, 0.0) / kept.sum()
    found = np.empty(columns.d)
    for start, stop, tile in columns.tiles():
        large = np.where(np.abs(tile) >= least[:, None], tile, 0.0)
        for layer, low, high in _pieces(columns, start, stop):
            found[start + low : start + high] = weights[layer] @ large[:, low:high]
    return found


def _layers_of_large_values(columns: Columns, least: Floats) -> tuple[Floats, Floats, Floats]:
    """Of each layer the rows' lengths `(L, n)` and shares of positive values, of values of at least `least` alone.

    And the lengths `(n,)` of whole rows, with all their values; where rows are astronomic, in units of their scale.
    """
    count = len(columns.bounds) - 1
    squares, signs = np.zeros((count, columns.n)), np.zeros((2, count, columns.n))
    whole = np.zeros(columns.n)
    scale = columns.scale[:, None]
    for start, stop, tile in columns.tiles():
        large = np.where(np.abs(tile) >= least[:, None], tile, 0.0)
        whole += ((tile * scale) ** 2).sum(axis=1)
        for layer, low, high in _pieces(columns, start, stop):
            part = large[:, low:high]
            squares[layer] += ((part * scale) ** 2).sum(axis=1)
            signs[:, layer] += (part > 0).sum(axis=1), (part < 0).sum(axis=1)
    seen = signs.sum(axis=0)
    pure = np.divide(signs[0], seen, out=np.full_like(seen, 0.5), where=seen > 0)
    return np.sqrt(squares) / columns.shortening, pure, np.sqrt(whole) / columns.shortening


def _pieces(columns: Columns, start: int, stop: int) -> list[tuple[int, int, int]]:
    """The layers that lie in the columns from `start` to `stop`, and from where to where, counted from `start`."""
    cut = np.clip(columns.bounds, start, stop) - start
    return [(layer, low, high) for layer, (low, high) in enumerate(itertools.pairwise(cut.tolist())) if low < high]


@rule(exempt={"translation": SIGNS, "rotation": "signs and largest values change when rows turn", "survival": SURVIVAL})
def alignins(
    geometry: Geometry,
    f: int = 0,
    *,
    sparsity: float = 0.3,
    direction: float = 2.0,
    signs: float = 2.0,
    columns: Columns | None = None,
    model: Geometry | None = None,
) -> Floats:
    """The mean of the rows whose alignment with the model and with the others' signs is usual, shortened.

    The first is the cosine to the `model` `(d,)` that was sent, which a `Defense` is told by its caller; without one,
    to the rows' geometric median. The second is the share of a row's largest values, `sparsity` of them, whose sign is
    the one that most rows have there. Rows within `direction` and `signs` robust standard deviations of the median in
    these are kept, and shortened to their median length. Where no row is usual in both, the update is zero.

    The paper's deviations are standard ones, and its bounds 1: see `lasa`.

    Source: Xu, Zhang, Hu, CVPR 2025, https://arxiv.org/abs/2503.07978

    >>> rows = np.array([[1.0, 2.0], [2.0, 1.0], [1.5, 1.5], [-2.0, 1.0]])
    >>> alignins(rows, f=1, model=np.array([1.0, 1.0])).round(2)
    array([1.5, 1.5])
    """
    columns, n = cast("Columns", columns), geometry.n
    share = number_between("alignins", "a sparsity from 0 to 1", sparsity, 0, 1 + 1e-12)
    most = [_bound("alignins", name, value) for name, value in (("direction", direction), ("signs", signs))]
    towards = model.cosines[:n, n] if model is not None else cosines_to_the_median(geometry)
    agreeing = sign_agreement(columns, max(math.floor(share * columns.d + 1e-9), 1))
    kept = near_median(towards, most[0]) & near_median(agreeing, most[1])
    if not kept.any():
        return np.zeros(n)
    return np.where(kept, shortened(geometry.norms, middle(geometry.norms[kept])), 0.0) / kept.sum()


def cosines_to_the_median(geometry: Geometry) -> Floats:
    """The cosines `(n,)` of the rows to their geometric median; 0 with a length of 0."""
    center = geometric_median.function(geometry) / geometry.shortening
    along = geometry.gram @ center
    lengths = np.sqrt(np.diag(geometry.gram)) * math.sqrt(max(float(center @ along), 0.0))
    return np.divide(along, lengths, out=np.zeros(geometry.n), where=lengths > 0).clip(-1.0, 1.0)


def sign_agreement(columns: Columns, k: int) -> Floats:
    """The share `(n,)` of each row's k largest absolute values, and those as large, whose sign most rows have there.

    >>> sign_agreement(Columns.of(np.array([[1.0, 2.0], [2.0, 1.0], [-3.0, 1.0]])), k=1)  # by content, -3 comes first
    array([0., 1., 1.])
    """
    least = columns.thresholds(k)
    agreeing, counted = np.zeros(columns.n), np.zeros(columns.n)
    for _, _, tile in columns.tiles():
        values = np.sign(tile)
        large = np.abs(tile) >= least[:, None]
        agreeing += (large & (values == np.sign(values.sum(axis=0)))).sum(axis=1)
        counted += large.sum(axis=1)
    return agreeing / np.maximum(counted, 1)


def _bound(name: str, option: str, value: object) -> float:
    """An option that is a number of robust standard deviations."""
    return number_between(name, f"a positive finite {option}", value, 0, math.inf)
