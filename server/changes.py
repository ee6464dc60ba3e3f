"""Changes for the worse in figures that a federation repeats every round: a sudden one, and a slow one.

All that is remembered of a figure is its series, plain data. A round's figure is compared with the median of the last
few that were taken. How far it may fall follows from two things: the chance in the figure itself, of which the caller
knows the standard error, and how far figures were from the median before them in the rounds that a window holds (their
median absolute deviation). The first is known and has a normal tail; the second is estimated from few rounds and has
Student's, so that while little is known of a federation much is allowed. While models improve fast the deviations are
large, and so is what is allowed: the sum of the two.

A slow decline is caught by a cumulative sum of how far figures are below the best that lasted, less what the best of
many medians gains by chance.

Sources: Page, Biometrika 41, 1954 (cumulative sums); Siegmund, Sequential Analysis, 1985 (how often they are wrong);
Rousseeuw, Croux, JASA 1993 (the median absolute deviation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Series = dict[str, Any]
"""What is remembered of a figure with k parts: `first` `(k,)`; the last `values` `(m, k)` that were taken, their
`deviations` `(m, k)` and the `noise` `(k,)` of the last; `best` `(k,)`, the best that lasted, None before there are
enough; and `sum` `(k,)`."""

WINDOW = 12  # rounds by whose deviations noise is judged: more, and what models gained long ago would count as noise
KEPT = 20  # rounds by whose median it is known what lasts
RECENT = 5  # rounds whose median a figure is compared with
SETTLED = 10  # rounds before there is a best that lasted
CONSISTENT = 1.4826  # makes a median absolute deviation a standard deviation, if numbers are normal
CONSISTENT_MEAN = 1.2533  # makes a mean absolute deviation one
OUTER, OUTER_NORMAL = 0.9, 1.645  # a quantile of deviations, and what it is where these are normal with variance 1
INFORMATION = 0.6  # degrees of freedom per deviation: by what was measured, see docs/guard.md
LEARNED = 3.0  # what chance may lose, so many times, is what a model must have gained to have something to lose
SLACK = 1.0  # standard deviations below the best that are no decline
MOST = 3.0  # standard deviations below the best as which one round counts at most: one is no decline
EXCESS = 0.5  # standard deviations by which the best of many medians is better than what lasts, by chance alone
LEAST = 1e-9  # a standard deviation to divide by
FADING = 0.01  # standard deviations by which a best that was is lowered every round


@dataclass(frozen=True, eq=False)
class Figure:
    """What a candidate is worth in one respect: `goodness` `(k,)`, larger being better, of one thing or of k classes.

    `noise` `(k,)` is the standard error that chance alone gives it. A slow decline counts in units of `slow` times the
    standard deviation; 0 for none. Of what was gained since the first round a share of `collapse` may be lost at once
    at most, however noisy rounds are.
    """

    name: str
    goodness: Floats
    noise: Floats
    slow: float = 0.0
    collapse: float = 1.0

    @property
    def tests(self) -> int:
        """How many comparisons are made with it."""
        return len(self.goodness) * (2 if self.slow else 1)


@dataclass(frozen=True)
class Fall:
    """A change for the worse, of the part `part` of a figure: from `usual`, or from the `best`, to `found`."""

    part: int
    usual: float
    found: float
    allowed: float
    slow: bool = False


def fall(figure: Figure, series: Series | None, *, rate: float, tolerance: float) -> Fall | None:
    """The worst change for the worse in a figure, None where nothing is out of the ordinary.

    A single comparison is wrong with the probability `rate`, as far as that can be told beforehand. A loss of up to
    `tolerance` is none.

    >>> steady = None
    >>> for value in [0.90, 0.91, 0.90, 0.89, 0.90, 0.91, 0.90, 0.90, 0.89]:
    ...     figure = Figure("accuracy", np.array([value]), np.array([0.01]))
    ...     steady = followed(figure, steady)
    >>> worse = Figure("accuracy", np.array([0.7]), np.array([0.01]))
    >>> found = fall(worse, steady, rate=0.001, tolerance=0.02)
    >>> found.usual, found.found, round(found.allowed, 2)
    (0.9, 0.7, 0.1)
    >>> fall(figure, steady, rate=0.001, tolerance=0.02) is None
    True
    """
    if series is None or not _fits(figure, series):
        return None
    usual, lost, allowed = _sudden(figure, series, rate, tolerance)
    part = int(np.argmax(lost - allowed))
    if lost[part] > allowed[part]:
        return Fall(part, float(usual[part]), float(figure.goodness[part]), float(allowed[part]))
    if not figure.slow or series["best"] is None:
        return None
    best = np.array(series["best"])
    declined = _declined(figure, series, best)
    part = int(np.argmax(declined))
    if declined[part] <= decline_limit(rate) or best[part] - figure.goodness[part] <= tolerance:
        return None
    return Fall(part, float(best[part]), float(figure.goodness[part]), tolerance, slow=True)


def followed(figure: Figure, series: Series | None) -> Series:
    """The series after a figure was taken; one with other parts than before begins anew."""
    value, noise = figure.goodness.tolist(), figure.noise.tolist()
    if series is None or not _fits(figure, series):
        nothing = {"deviations": [], "best": None, "sum": [0.0] * len(value)}
        return {"first": value, "values": [value], "noise": noise} | nothing
    values = [*series["values"], value][-KEPT:]
    deviations = [*series["deviations"], (figure.goodness - _usual(series)).tolist()][-WINDOW:]
    best, total = series["best"], series["sum"]
    if best is not None:
        total = _declined(figure, series, np.array(best)).tolist()
        best = np.array(best) - FADING * figure.slow * _scale(series)
    if len(values) >= SETTLED:
        lasting = np.median(values, axis=0)
        best = lasting if best is None else np.maximum(best, lasting)
    after: Series = {"first": series["first"], "values": values, "deviations": deviations, "noise": noise}
    return after | {"best": None if best is None else best.tolist(), "sum": total}


def decline_limit(rate: float) -> float:
    """The cumulative sum that is exceeded in a share of `rate` of the rounds while nothing changes (Siegmund).

    >>> round(decline_limit(0.001), 1)
    2.6
    """
    return math.log(2 * SLACK**2 / rate) / (2 * SLACK) - 1.166


def share_noise(share: Floats, count: Sequence[float] | Floats) -> Floats:
    """The standard error of shares of so many examples; shares of all or none have one too (Agresti and Coull).

    >>> share_noise(np.array([0.5, 1.0]), [100, 100]).round(3).tolist()
    [0.049, 0.013]
    """
    n = np.asarray(count, dtype=np.float64) + 4
    p = (np.clip(share, 0, 1) * (n - 4) + 2) / n
    return np.sqrt(p * (1 - p) / n)


def _sudden(figure: Figure, series: Series, rate: float, tolerance: float) -> tuple[Floats, Floats, Floats]:
    """What is usual, how much of it is lost, and how much may be: `(k,)` each."""
    usual = _usual(series)
    known = -float(special.ndtri(rate)) * np.array(series["noise"])
    count = len(series["deviations"])
    spread = np.full(len(usual), np.inf)
    if count:
        spread = -float(special.stdtrit(max(1.0, INFORMATION * count), rate)) * _deviation(series)
    gained = usual - np.array(series["first"])
    learned = (figure.collapse < 1) & (gained > LEARNED * known)
    bound = np.where(learned, figure.collapse * gained, np.inf)
    return usual, usual - figure.goodness, np.maximum(np.minimum(known + spread, np.maximum(bound, known)), tolerance)


def _declined(figure: Figure, series: Series, best: Floats) -> Floats:
    """The cumulative sum `(k,)` after this figure."""
    scale = _scale(series)
    below = np.minimum((best - EXCESS * scale - figure.goodness) / (max(figure.slow, LEAST) * scale), MOST)
    return np.maximum(np.array(series["sum"]) + below - SLACK, 0)


def _usual(series: Series) -> Floats:
    values: Floats = np.array(series["values"][-RECENT:])
    return np.asarray(np.median(values, axis=0))


def _scale(series: Series) -> Floats:
    """The standard deviation `(k,)` of a figure: that which chance gives it, or more where rounds show more.

    A sum divides by it round after round, and a median of twelve would be too small too often: a mean is steadier.
    """
    noise: Floats = np.maximum(series["noise"], LEAST)
    if not series["deviations"]:
        return noise
    return np.maximum(noise, CONSISTENT_MEAN * np.abs(np.array(series["deviations"])).mean(axis=0))


def _deviation(series: Series) -> Floats:
    """What deviations were like `(k,)`, as standard deviations: those of a part, or of all parts if these were larger.

    Of many parts there are numbers enough for a quantile far out, which tells heavy tails from light ones.
    """
    deviations: Floats = np.abs(np.array(series["deviations"]))
    own: Floats = CONSISTENT * np.asarray(np.median(deviations, axis=0))
    others = float(np.quantile(deviations, OUTER)) / OUTER_NORMAL if len(own) > 1 else 0.0
    wider: Floats = np.maximum(own, others)
    return wider


def _fits(figure: Figure, series: Series) -> bool:
    return len(series["first"]) == len(figure.goodness)
