"""Policies: whom to accept, given the evidence. None rejects more than the f clients that are thought to be hostile.

`most` bounds rejections further, for rules that need more rows than f rejections would leave them.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .contract import Decision, Floats, number_between, policy, whole_number
from .evidence import History, deviations

SPREAD = 1.5  # the summed evidence of honest clients varies by so much, in its own units, whatever the round
TAIL = 4.0  # degrees of freedom: honest evidence has heavier tails than normal values, and few clients a rough scale


def strength(scores: Mapping[str, Floats], f: int) -> Floats:
    """How far the clients' evidence, over all scores, lies above what is usual, `(n,)`, in robust deviations.

    Only what speaks against a client counts: an attack that hides from one score is not excused by it. The Euclidean
    norm of that is compared across clients once more, so that scores that say the same thing twice, or one that is
    noisy in this federation, are taken for what they are.
    """
    against = np.sqrt(sum(np.square(np.maximum(values, 0.0)) for values in scores.values()))
    return deviations(np.asarray(against, dtype=np.float64), f, SPREAD)


def p_values(strengths: Floats) -> Floats:
    """How likely an honest client would have at least so much evidence against it, `(n,)`: Student's t tail."""
    return np.asarray(special.stdtr(TAIL, -strengths), dtype=np.float64)


def _decision(scores: Mapping[str, Floats], candidates: NDArray[np.bool_], strengths: Floats, most: int) -> Decision:
    """The strongest candidates rejected, `most` of them and no more."""
    p = p_values(strengths)
    strongest = np.argsort(-strengths, kind="stable")[:most]
    rejected = np.zeros(len(p), bool)
    rejected[strongest] = candidates[strongest]
    reasons = [""] * len(p)
    for client in np.flatnonzero(rejected):
        told = sorted(((float(values[client]), name) for name, values in scores.items()), reverse=True)
        against = " and ".join(f"{name} by {value:.1f}" for value, name in told[:2] if value > 1 or value == told[0][0])
        reasons[client] = f"{against} robust deviations above the others over the last rounds (p = {p[client]:.2g})"
    return Decision(~rejected, p, tuple(reasons))


def _bound(name: str, f: int, most: int | None) -> int:
    """How many may be rejected: at most f clients are hostile, so more would be honest ones."""
    return f if most is None else min(f, whole_number(name, "most", most))


@policy
def none(scores: Mapping[str, Floats], f: int, history: History) -> Decision:
    """Everybody is accepted; scores and p-values are reported."""
    strengths = strength(scores, f)
    return _decision(scores, np.zeros(len(strengths), bool), strengths, 0)


@policy
def alarm(
    scores: Mapping[str, Floats], f: int, history: History, *, rate: float = 0.05, most: int | None = None
) -> Decision:
    """Rejections of clients whose p-value is at most `rate`, and of at most f: an honest one is so rarely rejected.

    >>> alarm({"length": np.array([0.1, 0.2, 0.3, 0.2, 90.0])}, 1).accepted.tolist()
    [True, True, True, True, False]
    """
    bound = number_between("alarm", "a rate between 0 and 1", rate, 0, 1)
    strengths = strength(scores, f)
    return _decision(scores, p_values(strengths) <= bound, strengths, _bound("alarm", f, most))


@policy
def fdr(
    scores: Mapping[str, Floats], f: int, history: History, *, q: float = 0.05, most: int | None = None
) -> Decision:
    """Rejections of which, on average, at most a share q is false, and at most f of them.

    Source: Benjamini, Hochberg, J. R. Stat. Soc. B 57(1), 1995.

    >>> fdr({"length": np.array([0.1, 0.2, 0.3, 0.2, 90.0])}, 1).accepted.tolist()
    [True, True, True, True, False]
    """
    rate = number_between("fdr", "a rate q between 0 and 1", q, 0, 1)
    strengths = strength(scores, f)
    p = p_values(strengths)
    n = len(p)
    below = np.flatnonzero(np.sort(p) <= rate * np.arange(1, n + 1) / n)
    cut = np.sort(p)[below[-1]] if len(below) else -1.0
    return _decision(scores, p <= cut, strengths, _bound("fdr", f, most))


@policy
def threshold(
    scores: Mapping[str, Floats], f: int, history: History, *, z: float = 4.0, most: int | None = None
) -> Decision:
    """Rejections of whoever lies more than z robust deviations above the others, at most f of them.

    >>> threshold({"length": np.array([0.1, 0.2, 0.3, 0.2, 90.0])}, 1).accepted.tolist()
    [True, True, True, True, False]
    """
    least = number_between("threshold", "a positive finite z", z, 0, math.inf)
    strengths = strength(scores, f)
    return _decision(scores, strengths > least, strengths, _bound("threshold", f, most))
