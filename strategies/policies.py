"""Policies: whom to accept, given the scores. None rejects more than the f clients that are thought to be hostile."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .contract import Decision, Floats, History, policy
from .errors import SettingError

MAD_TO_SIGMA = 1.4826  # what makes the median absolute deviation of normal values their standard deviation
LEAST_SPREAD = 0.05  # deviations are never counted in smaller units: honest clients may agree almost exactly
TAIL = 3.0  # degrees of freedom: honest updates have heavier tails than normal ones, and few clients give a rough scale


def deviations(values: Floats) -> Floats:
    """How far each value lies above the median, in robust standard deviations `(n,)`.

    >>> deviations(np.array([1.0, 2.0, 3.0, 4.0, 100.0])).round(2).tolist()
    [-1.35, -0.67, 0.0, 0.67, 65.43]
    """
    away = values - np.median(values)
    return away / max(MAD_TO_SIGMA * float(np.median(np.abs(away))), LEAST_SPREAD)


def p_values(scores: Mapping[str, Floats], n: int) -> Floats:
    """How likely an honest client would be at least as anomalous, one p-value per client `(n,)`.

    Each score's deviation is read off a Student t distribution, and the least p-value of a client is multiplied by the
    number of scores, which is valid however the scores depend on each other (Bonferroni).
    """
    if not scores:
        return np.ones(n)
    tails = np.array([special.stdtr(TAIL, -deviations(values)) for values in scores.values()])
    return np.minimum(1.0, tails.min(axis=0) * len(scores))


def _decision(scores: Mapping[str, Floats], rejected: NDArray[np.bool_], p: Floats) -> Decision:
    """A decision whose reasons name the score that sticks out most."""
    above = {name: deviations(values) for name, values in scores.items()}
    reasons = [""] * len(p)
    for client in np.flatnonzero(rejected):
        worst = max(above, key=lambda name: above[name][client])
        reasons[client] = (
            f"{worst} is {above[worst][client]:.3g} robust deviations above the median (p = {p[client]:.2g})"
        )
    return Decision(~rejected, p, tuple(reasons))


def _most_anomalous(candidates: NDArray[np.bool_], p: Floats, f: int) -> NDArray[np.bool_]:
    """At most f of the candidates: at most f clients are hostile, so rejecting more would punish honest ones."""
    ranked = np.argsort(np.where(candidates, p, np.inf), kind="stable")[:f]
    chosen = np.zeros(len(p), bool)
    chosen[ranked] = candidates[ranked]
    return chosen


def _clients(scores: Mapping[str, Floats]) -> int:
    return len(next(iter(scores.values())))


@policy
def none(scores: Mapping[str, Floats], f: int, history: History) -> Decision:
    """Everybody is accepted; scores and p-values are reported."""
    p = p_values(scores, _clients(scores))
    return _decision(scores, np.zeros(len(p), bool), p)


@policy
def fdr(scores: Mapping[str, Floats], f: int, history: History, *, q: float = 0.05) -> Decision:
    """Rejections of which, on average, at most a share q is false, and at most f of them.

    Source: Benjamini, Hochberg, J. R. Stat. Soc. B 57(1), 1995.

    >>> fdr({"length": np.array([0.1, 0.2, 0.3, 0.2, 90.0])}, 1).accepted.tolist()
    [True, True, True, True, False]
    """
    if not 0 < q < 1:
        raise SettingError(f"fdr needs a rate q between 0 and 1, got {q!r}")
    p = p_values(scores, _clients(scores))
    n = len(p)
    below = np.flatnonzero(np.sort(p) <= q * np.arange(1, n + 1) / n)
    cut = np.sort(p)[below[-1]] if len(below) else -1.0
    return _decision(scores, _most_anomalous(p <= cut, p, f), p)


@policy
def threshold(scores: Mapping[str, Floats], f: int, history: History, *, z: float = 6.0) -> Decision:
    """Rejections of whoever has a score more than z robust deviations above the median, at most f of them.

    >>> threshold({"length": np.array([0.1, 0.2, 0.3, 0.2, 90.0])}, 1).accepted.tolist()
    [True, True, True, True, False]
    """
    if not z > 0:
        raise SettingError(f"threshold needs a positive z, got {z!r}")
    p = p_values(scores, _clients(scores))
    above = np.array([deviations(values) for values in scores.values()]).max(axis=0)
    return _decision(scores, _most_anomalous(above > z, p, f), p)
