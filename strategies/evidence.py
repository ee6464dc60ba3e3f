"""Evidence: what a score says of a client beside the others, and beside what it said of the client before."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Floats = NDArray[np.float64]

DECAY = 0.95  # what a past round counts beside the one after it: about twenty rounds are remembered
ALONE = 1 / 3  # what one round's deviation counts on its own, however long and good the past: no credit for a last blow
MOST = 30.0  # one round's deviation counts for no more, so that one accident is forgotten in time
LEAST = -1.0  # and for no less, so that a good past is no licence for later


@functools.lru_cache(maxsize=256)
def _kept_normal(share: float) -> tuple[float, float]:
    """Median and median absolute deviation of a standard normal whose largest `share` was cut off."""
    kept = 1 - share
    middle = float(special.ndtri(kept / 2))

    def too_wide(width: float) -> float:
        return float(min(special.ndtr(middle + width), kept) - special.ndtr(middle - width)) - kept / 2

    return middle, cast("float", optimize.brentq(too_wide, 0.0, 10.0))


def deviations(values: Floats, f: int, spread: float) -> Floats:
    """How far each value lies above what is usual, `(n,)`, in robust standard deviations of at least `spread`.

    Usual is what the n - f least values say: the f largest may be hostile, and would widen a scale taken from all.
    Median and median absolute deviation of those n - f are corrected for the cut, as if honest values were normal.

    >>> deviations(np.array([1.0, 2.0, 3.0, 4.0, 100.0]), f=1, spread=0.1).round(1).tolist()
    [-1.1, -0.5, 0.0, 0.6, 52.5]
    """
    n = len(values)
    f = min(
        f, (n - 1) // 2
    )  # where fewer clients came than the recipe was made for, a majority still says what is usual
    middle, width = _kept_normal(f / n)
    kept = np.sort(values)[: n - f]
    scale = max(float(np.median(np.abs(kept - np.median(kept)))) / width, spread)
    return (values - np.median(kept)) / scale + middle


@dataclass(frozen=True, eq=False)
class History:
    """What is remembered of a round's clients, in the order of its rows: all zero for clients never seen before.

    `weight` `(n,)` is how many past rounds count, the older the less; `evidence` holds each score's deviations `(n,)`
    averaged over them.
    """

    weight: Floats
    evidence: Mapping[str, Floats]

    @classmethod
    def recalled(cls, state: Mapping[str, Any] | None, clients: Sequence[str] | None, n: int) -> History:
        """The history of `clients` in a `state`; of `n` strangers without either."""
        if state is None or clients is None:
            return cls(np.zeros(n), {})
        records: list[Mapping[str, Any]] = [state["clients"].get(name, {}) for name in clients]
        names = {name for record in records for name in record.get("evidence", {})}
        evidence = {name: np.array([record.get("evidence", {}).get(name, 0.0) for record in records]) for name in names}
        return cls(np.array([float(record.get("weight", 0.0)) for record in records]), evidence)

    def take(self, rows: NDArray[np.intp]) -> History:
        """The history of some of the clients, in the order given."""
        return History(self.weight[rows], {name: values[rows] for name, values in self.evidence.items()})

    def with_round(self, found: Mapping[str, Floats]) -> dict[str, Floats]:
        """What to remember: each score's deviations `(n,)` averaged with those of the past."""
        return {
            name: (self.weight * self.evidence.get(name, 0.0) + np.clip(values, LEAST, MOST)) / (self.weight + 1)
            for name, values in found.items()
        }


def evidence(averaged: Mapping[str, Floats], found: Mapping[str, Floats]) -> dict[str, Floats]:
    """What speaks for or against each client, by score: its deviations on average, or a good part of this round's.

    A score that is not `averaged` here looks at the past rounds itself.
    """
    return {
        name: np.maximum(averaged[name], values * ALONE) if name in averaged else np.minimum(values, MOST)
        for name, values in found.items()
    }


def remembered(
    state: Mapping[str, Any] | None,
    clients: Sequence[str],
    history: History,
    averaged: Mapping[str, Floats],
    accepted: NDArray[np.bool_],
) -> dict[str, Any]:
    """The state after a round: of each client how often seen and rejected, when last, and the evidence."""
    state = state or {"rounds": 0, "clients": {}}
    records = dict(state["clients"])
    for row, name in enumerate(clients):
        past = records.get(name, {"seen": 0, "rejected": 0})
        records[name] = {
            "seen": past["seen"] + 1,
            "rejected": past["rejected"] + int(not accepted[row]),
            "round": state["rounds"] + 1,
            "weight": DECAY * (float(history.weight[row]) + 1),
            "evidence": {score: float(values[row]) for score, values in averaged.items()},
        }
    return {"rounds": state["rounds"] + 1, "clients": records}
