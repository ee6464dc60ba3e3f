"""Rules that answer a center of all rows."""

import math

import numpy as np

from ..contract import Floats, number_between, rule, whole_number
from ..geometry import Geometry
from ..kernels import WeightedMiddle
from ..kernels import middle as weighted_middle
from ..robust import middle, shortened
from ..weights import heaviest

SMOOTHING = 1e-9  # of the typical distance: how near a row may come before its pull stops growing
STEPS = 2000
MOVEMENT = 1e-10  # of the typical distance: a step shorter than this ends the iteration


@rule(exempt={"survival": "one row can move it anywhere", "size": "one row can move it anywhere"})
def mean(geometry: Geometry, f: int = 0, *, weights: Floats | None = None) -> Floats:
    """The plain mean: no robustness, the yardstick. Example counts claimed by clients are not weights, unless given.

    >>> mean(np.array([[1.0, 2.0], [3.0, 6.0]]))
    array([2., 4.])
    >>> mean(np.array([[1.0, 2.0], [3.0, 6.0]]), weights=[3, 1])
    array([1.5, 3. ])
    """
    return np.full(geometry.n, 1 / geometry.n) if weights is None else weights / math.fsum(weights)


@rule(
    exempt={
        "translation": "lengths are measured from the origin",
        "survival": "a row moves it by up to its share of twice the median length, however alike the others are",
    }
)
def shortened_mean(geometry: Geometry, f: int = 0, *, times: float = 2.0, weights: Floats | None = None) -> Floats:
    """The mean of the rows, of which none counts as more than `times` as long as the median row.

    For defenses whose scores do the judging: as good as the mean where nobody attacks, since honest rows hardly ever
    are so long, and whatever f rows escape the scores move it by at most f / n of `times` the median length each round.
    With a majority of honest rows that median is no longer than the longest honest row. With clients' `weights` both
    are weighted; it bears f hostile clients if the f heaviest hold less than half of the weight.

    Source of the idea, with a bound that is set by hand: Sun, Kairouz, Suresh, McMahan 2019,
    https://arxiv.org/abs/1911.07963

    >>> shortened_mean(np.array([[1.0], [-2.0], [3.0], [99.0]]), times=2).round(9)
    array([1.75])
    """
    factor = number_between("shortened_mean", "a positive finite number of times", times, 0, math.inf)
    norms, share = geometry.norms, np.full(geometry.n, 1 / geometry.n)
    usual = middle(norms)
    if weights is not None:
        heaviest("shortened_mean", weights, f)
        share = weights / math.fsum(weights)
        half = WeightedMiddle(tuple(weights.tolist()), math.fsum(weights) / 2)
        usual = float(weighted_middle(norms[:, None], half)[0])
    with np.errstate(over="ignore"):  # infinitely long is no bound
        return share * shortened(norms, factor * usual)


@rule()
def geometric_median(geometry: Geometry, f: int = 0, *, weights: Floats | None = None) -> Floats:
    """The point with the least sum of distances to the rows, by smoothed Weiszfeld iterations.

    The iterations run on the geometry alone, seen from the medoid, and start at the mean of the half nearest to it: a
    point that turns and shifts with the rows, and far from any huge row, so that no digits are lost to one.

    With clients' `weights`, the least sum of distances times weights. It bears f hostile clients if the f heaviest hold
    less than half of the weight.

    Source: Pillutla, Kakade, Harchaoui, IEEE TSP 2022, https://arxiv.org/abs/1912.13445

    >>> geometric_median(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.5]])).round(9)
    array([0.5, 0.5])
    """
    n = geometry.n
    frame = geometry.frame[:n, :n]
    squares = np.diag(frame)  # squared distances to the medoid
    nearest = np.argsort(squares, kind="stable")
    if weights is None:
        own, half = np.ones(n), nearest[: n // 2 + 1]
        typical = float(np.sqrt(np.median(squares)))
    else:
        heaviest("geometric_median", weights, f)
        own, half = weights, nearest[: _past_half(weights[nearest])]
        typical = float(np.sqrt(squares[half[-1]]))
    place = np.zeros(n)
    place[half] = own[half] / own[half].sum()
    if typical == 0.0:  # at least half of the weight is with the medoid itself
        return place
    for _ in range(STEPS):
        towards = frame @ place
        distances = np.sqrt(np.maximum(squares - 2 * towards + place @ towards, 0.0))
        pulls = own / np.maximum(distances, SMOOTHING * typical)
        step = pulls / pulls.sum() - place
        place = place + step
        if step @ frame @ step <= (MOVEMENT * typical) ** 2:
            break
    return place * geometry.shortening


def _past_half(weights: Floats) -> int:
    """How many weights, from the first on, are more than half of all."""
    return min(int(np.searchsorted(np.cumsum(weights), math.fsum(weights) / 2, side="right")) + 1, len(weights))


@rule()
def centered_clipping(
    geometry: Geometry, f: int = 0, *, tau: float | None = None, iterations: int = 5, center: Geometry | None = None
) -> Floats:
    """The center after a few steps, each by the mean of the rows' differences from it, shortened to at most tau.

    Steps start at `center` `(d,)`, the update of the round before, which a `Defense` keeps in its state; without one,
    at the geometric median, which turns and shifts with the rows. Without `tau`, it is the median distance of the rows
    from the center, in each step anew: more than half of the rows being honest, hostile ones cannot make it larger than
    the farthest honest distance. All steps are algebra on the geometry, the center being one more row of it; a row of
    any size is seen through what is left of it, tau in its direction, which costs the others no digits.

    Source: Karimireddy, He, Jaggi, ICML 2021, https://arxiv.org/abs/2012.10333

    >>> centered_clipping(np.array([[1.0], [2.0], [9.0]]), tau=1.0, iterations=1, center=np.array([0.0]))
    array([1.])
    """
    radius = None if tau is None else number_between("centered_clipping", "a positive finite tau", tau, 0, math.inf)
    seen, n = geometry if center is None else center, geometry.n
    frame = seen.frame[: seen.n, : seen.n]
    squares = np.diag(frame)
    place = np.zeros(seen.n)  # the center as a mixture of the rows as held and, last, of where it started
    if center is None:
        place = geometric_median.function(geometry) / geometry.shortening
    else:
        place[n] = 1.0
    for _ in range(whole_number("centered_clipping", "iterations", iterations)):
        towards = frame @ place
        distances = np.sqrt(np.maximum(squares - 2 * towards + place @ towards, 0.0))[:n]
        reach = float(np.median(distances) if radius is None else radius * seen.scale.max())
        kept = np.divide(reach, distances, out=np.ones(n), where=distances > reach)
        place *= 1 - kept.mean()
        place[:n] += kept / n
    return place * seen.shortening
