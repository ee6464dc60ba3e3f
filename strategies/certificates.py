"""What is proven of a defense: how many hostile rows its parts bear, and how far those can move its update.

A defense is (f, kappa)-robust if for every set S of n - f of its n rows |F - mean_S|^2 is at most kappa times the mean
over S of |x_i - mean_S|^2, whatever the other f rows are. The smaller kappa, the better; none is below f / (n - 2f).
Coefficients are of transforms and rule, without scores and policy, and without what a state remembers.

Source: Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, AISTATS 2023, https://arxiv.org/abs/2302.01772
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from .contract import RULES, TRANSFORMS, Call, Rule, Transform
from .defense import Defense
from .errors import ToleranceError
from .geometry import Geometry
from .rules import subsets

Coefficient = Callable[[int, int], float]
"""The numbers of rows n and of hostile ones f -> kappa, infinite where nothing is proven."""


def least_kappa(n: int, f: int) -> float:
    """The coefficient that no rule of n rows, f of them hostile, can be better than.

    >>> least_kappa(10, 2), least_kappa(5, 2)
    (0.3333333333333333, 2.0)
    """
    return f / (n - 2 * f)


def trimmed_kappa(n: int, f: int) -> float:
    """The trimmed mean's coefficient."""
    return 6 * least_kappa(n, f) * (1 + least_kappa(n, f))


def median_kappa(n: int, f: int) -> float:
    """The coefficient of the median in each coordinate and of the geometric median."""
    return 4 * (1 + least_kappa(n, f)) ** 2


def krum_kappa(n: int, f: int) -> float:
    """The coefficient of one row, or the mean of up to n - f rows, selected by n - f - 2 neighbors.

    The published 6 (1 + f / (n - 2f)) is for n - f - 1 neighbors. Proof: a selected row's score counts at least
    n - 2f - 1 rows of S, itself among them if it is one, so that its squared distance to mean_S is at most
    2 / (n - 2f - 1) times its score plus the sum over S of |x_i - mean_S|^2. Selected scores are on average no more
    than those of S, and these are at most 2 (n - f) times the variance.

    >>> krum_kappa(10, 2)
    9.6
    """
    return 6 * (n - f) / (n - 2 * f - 1)


def near_median_kappa(n: int, f: int) -> float:
    """The coefficient of the mean of the n - f values of each coordinate nearest its median m.

    Proof, in each coordinate: the values kept differ from S by at most f, each of which is no farther from m than one
    of S whose place it took. So the answer is at most 2 / (n - f) times the sum of the distances to m of at most f
    values of S away from mean_S; that sum is at most sqrt(f (n - f)) standard deviations and f times |m - mean_S|,
    which the median's coefficient bounds. A mean of two windows, where values tie, is no farther than either.

    >>> round(near_median_kappa(10, 2), 9)
    5.444444444
    """
    share = f / (n - f)
    return 4 * share * (1 + math.sqrt(share * median_kappa(n, f))) ** 2


def bulyan_kappa(n: int, f: int) -> float:
    """The coefficient of the mean of n - 4f values nearest the median m, of any n - 2f rows.

    Proof, in each coordinate: half of the rows selected are on the far side of m as seen from mean_S, and at most f of
    these are not of S; so (n - 4f) / 2 rows of S are no nearer to mean_S than m, whose square distance is then at most
    2 (n - f) / (n - 4f) variances. At least n - 3f rows selected are of S. The values kept are on average no farther
    from m than the n - 4f of these nearest to m, so in the mean square no farther than all of these, n - f of n - 3f
    times as far at most as all of S. Of the selection nothing is used but the number of its rows.

    >>> round(bulyan_kappa(7, 1), 3)
    22.454
    """
    median = 2 * (n - f) / (n - 4 * f)
    return (math.sqrt((n - f) / (n - 3 * f) * (1 + median)) + math.sqrt(median)) ** 2


def mda_kappa(n: int, f: int) -> float:
    """The coefficient of the subset of n - f rows of least diameter, or of at most twice that for many hostile rows.

    Proof: kept rows T and S share a set I of m = n - f - k rows, k at most f, and mean_T - mean_S is k / (n - f) times
    the difference of the means of their other k rows. That of T's is no farther from mean_I than the diameter of T, so
    of S, whose square is at most 2 (n - f) variances; that of S's by at most (n - f) / sqrt(m k) standard deviations,
    as the variance of S is at least that between its two parts.

    >>> round(mda_kappa(10, 2), 3)
    2.488
    """
    times = 1 if f <= subsets.FEW else 2
    return (times * f * math.sqrt(2 / (n - f)) + math.sqrt(f / (n - 2 * f))) ** 2


def tightest_kappa(n: int, f: int) -> float:
    """The coefficient of weights of at most 1 / (n - f) whose top eigenvalue is no worse than a neighborhood's.

    Proof: weights w and those of S share all but a part of at most f / (n - f). Along any direction, the means of what
    each has for itself are apart from that of what is shared by what top eigenvalues allow between two parts, as for
    `mda_kappa`: |mean_w - mean_S| is at most sqrt(f / (n - 2f)) times the sum of the square roots of both top
    eigenvalues. That of S is at most its variance. That of the n - f rows nearest to a row is at most the mean of their
    squared distances to it; on average over the rows of S that is two variances at most, so for the least at most two.

    >>> round(tightest_kappa(10, 2), 3)
    1.943
    """
    return (1 + math.sqrt(2)) ** 2 * least_kappa(n, f)


def smea_kappa(n: int, f: int) -> float:
    """The coefficient of the n - f rows of least top eigenvalue, or of no worse than the tightest neighborhood.

    Proof: as for `tightest_kappa`, where the top eigenvalue of the rows kept is at most that of S.

    >>> round(smea_kappa(10, 2), 3)
    1.333
    """
    exact = math.comb(n, f) <= subsets.SUBSETS
    return 4 * least_kappa(n, f) if exact else tightest_kappa(n, f)


def caf_kappa(n: int, f: int) -> float:
    """The coefficient of the filter that stops at n - 2f rows; infinite, for nothing is proven, from n = 3f down.

    Proof: while the top eigenvalue exceeds 2 (n - f) / (n - 2f) times that of S, rows of S have less than half of the
    sum of weighted squares along its direction, and so lose less weight than the f others, who have no more than f to
    lose: before 2f are lost, it is met. The mean of least top eigenvalue has n - 2f at least, of which rows of S hold
    n - 3f at least; so its weights share all but 2f / (n - f) with those of S, and the rest is as for `tightest_kappa`.

    >>> round(caf_kappa(10, 2), 3), caf_kappa(6, 2)
    (6.933, inf)
    """
    if n <= 3 * f:
        return math.inf
    return 2 * f / (n - 3 * f) * (1 + math.sqrt(2 * (n - f) / (n - 2 * f))) ** 2


def aksel_kappa(n: int, f: int) -> float:
    """The coefficient of the mean of the k = (n + 1) // 2 rows nearest to the median m of each coordinate.

    Proof: k is at most n - f, so the rows kept are on average no farther from m, in the square, than k of S, and so
    than (n - f) / k times the mean over S, which is the variance and the square of how far m is from mean_S.

    >>> round(aksel_kappa(10, 2), 3)
    39.302
    """
    k = (n + 1) // 2
    median = median_kappa(n, f)
    return (math.sqrt((n - f) / k * (1 + median)) + math.sqrt(median)) ** 2


PROVEN: Mapping[str, Coefficient] = {
    "aksel": aksel_kappa,
    "mda": mda_kappa,
    "smea": smea_kappa,
    "no_regret": tightest_kappa,
    "caf": caf_kappa,
    "mean_around_median": near_median_kappa,
    "bulyan": bulyan_kappa,
    "trimmed_mean": trimmed_kappa,
    "median": median_kappa,
    "geometric_median": median_kappa,
    "krum": krum_kappa,
    "multi_krum": krum_kappa,
}


def after_nnm(n: int, f: int, kappa: float) -> float:
    """The coefficient of nearest neighbor mixing before a rule of coefficient `kappa`."""
    return 8 * f / (n - f) * (1 + kappa)


def after_arc(n: int, f: int, kappa: float) -> float:
    """The coefficient of adaptive clipping before a rule of coefficient `kappa`.

    Proof: clipping draws no two rows apart, so the rule stays within kappa variances of the clipped mean. Of S, at most
    the k = floor(2 (f/n) (n-f)) longest rows are shortened, by no more than their distance to each of the other rows of
    S, n - f - k at least; the variance is made of these distances, and so the square of what moves the mean is at most
    k / (n - f - k) of it.

    Source of the method: Allouah et al., ICLR 2025, https://arxiv.org/abs/2405.14432; the bound is derived here.
    """
    k = 2 * f * (n - f) // n
    return (math.sqrt(kappa) + math.sqrt(k / (n - f - k))) ** 2


def after_bucketing(n: int, f: int, kappa: float, s: int = 2) -> float:
    """The coefficient of means of s rows, of which all but f are of S alone, before a rule of coefficient `kappa`.

    Proof: those means weigh some rows of S by w and others by nothing. By Cauchy and Schwarz the square of how far
    their mean is from that of S is at most (n - f) |w - 1 / (n - f)|^2 variances; their own variance is at most
    (n - f) max(w) of them. The worse of two cases counts: that the last and smaller bucket is among them, or is not.

    >>> after_bucketing(10, 0, 4.0, s=5)
    4.0
    """
    sizes = np.full(-(-n // s), s)
    sizes[-1] -= len(sizes) * s - n
    honest, kept = n - f, len(sizes) - f
    cases: list[float] = []
    for chosen in {tuple(sizes[:kept].tolist()), tuple(sizes[len(sizes) - kept :].tolist())}:
        w = np.zeros(honest)
        w[: sum(chosen)] = np.repeat([1 / (kept * size) for size in chosen], chosen)
        away = honest * float(((w - 1 / honest) ** 2).sum())
        cases.append((math.sqrt(kappa * honest * float(w.max())) + math.sqrt(away)) ** 2)
    return max(cases)


COMPOSED: Mapping[str, Callable[..., float]] = {"nnm": after_nnm, "arc": after_arc, "bucketing": after_bucketing}


@dataclass(frozen=True)
class PartTolerance:
    """How many rows reach a part of a defense, how many it needs to bear f, and the most f that so many rows bear.

    `limit` is None where they bear none, not even f = 0.
    """

    part: str
    rows: int
    needs: int
    limit: int | None


def part_tolerances(defense: Defense, n: int, f: int) -> tuple[PartTolerance, ...]:
    """What the parts of a defense demand of n rows, in their order.

    >>> for part in part_tolerances(Defense.parse("nnm | bucketing(s=2) | krum"), 14, 2):
    ...     print(part.part, part.rows, part.needs, part.limit)
    nnm 14 5 6
    bucketing(s=2) 14 1 13
    krum 7 7 2
    """
    found: list[PartTolerance] = []
    for text in defense.before:
        call = Call.parse(text)
        found.append(_part_tolerance(text, TRANSFORMS[call.name], n, f))
        n = _rows_after(call, n, f)
    rule = RULES[Call.parse(defense.rule).name]
    return (*found, _part_tolerance(defense.rule, rule, n, f))


def _part_tolerance(text: str, part: Rule | Transform, n: int, f: int) -> PartTolerance:
    limit = max((g for g in range(n) if n >= part.least(g)), default=None)
    return PartTolerance(text, n, part.least(f), limit)


def most_tolerated(defense: Defense, n: int) -> int:
    """The largest f for which all parts of a defense have enough rows of n; 0 where it may bear nobody.

    >>> most_tolerated(Defense.parse("bucketing(s=2) | trimmed_mean"), 10), most_tolerated(Defense("krum"), 10)
    (2, 3)
    """
    return max((f for f in range(n) if tolerates(defense, n, f)), default=0)


def tolerates(defense: Defense, n: int, f: int) -> bool:
    """Whether a defense makes an update of n rows, f of which may be hostile."""
    quiet = replace(defense, f=f, scores=(), policy="none")
    own = np.ones(n) if "trusted" in quiet.asked else None  # how many are borne does not depend on what it is
    return quiet(np.eye(n), trusted=own).skipped is None


def proven_kappa(defense: Defense, n: int, f: int) -> float | None:
    """The proven coefficient of a defense without its policy; None where no proof is known here.

    Raises `ToleranceError` where the defense does not bear f of n.

    >>> proven_kappa(Defense.parse("nnm | trimmed_mean"), 10, 2)
    7.333333333333333
    >>> proven_kappa(Defense.parse("clip(radius=1.0) | trimmed_mean"), 10, 2) is None
    True
    """
    if not tolerates(defense, n, f):
        raise ToleranceError(f"{' | '.join((*defense.before, defense.rule))} does not bear f={f} of {n} rows")
    return _composed([Call.parse(text) for text in defense.before], Call.parse(defense.rule), n, f)


def _composed(before: list[Call], rule: Call, n: int, f: int) -> float | None:
    if not before:
        kappa = PROVEN[rule.name](n, f) if rule.name in PROVEN else math.inf
        return kappa if math.isfinite(kappa) else None
    first, *others = before
    kappa = _composed(others, rule, _rows_after(first, n, f), f)
    if kappa is None or first.name not in COMPOSED:
        return None
    return COMPOSED[first.name](n, f, kappa, **dict(first.options))


def _rows_after(call: Call, n: int, f: int) -> int:
    """How many rows a transform makes of n."""
    alike = Geometry(np.zeros((n, n)), np.zeros((n, n)), np.ones(n), np.arange(n))
    return len(TRANSFORMS[call.name].function(alike, f, **dict(call.options)))
