"""Who is caught under attack: how many, how well p-values tell, and how soon."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from ..detection import auroc
from ..evaluation.cell import Result
from .plan import Group
from .rate import Rate
from .replies import Reply, by_client, rejection_rate, replies

FALSE_ALARMS = (0.01, 0.05)  # shares of honest replies that may look as bad as a hostile one that counts as caught
WINDOW = 5  # rounds over which a share of rejected replies is taken
CAUGHT = (0.8, 0.95)
TENTH = 10


@dataclass(frozen=True)
class Catch:
    """Verdicts and p-values under one attack, all seeds together.

    `rejected` is the share of hostile replies that the policy rejects, `false_alarms` that of honest ones beside them.
    `auroc` is the chance that a hostile reply has the smaller p-value of two, ties counted half. `beside` is the share
    of hostile replies whose p-value is below those of all but a share (`FALSE_ALARMS`) of the honest replies of the
    same runs, and `peaceful` the same for the honest replies of the same federation without an attack.

    Only rounds with hostile replies are counted, from 1. `first` are the rounds in which the hostile clients were first
    rejected, None for never. `until` is the round from which on the given share of the hostile replies of `WINDOW`
    rounds is rejected, None if there is none; and `tenth` that share for the window that ends with the tenth round.
    """

    group: Group
    rejected: Rate
    false_alarms: Rate | None
    auroc: float | None
    beside: Mapping[float, float | None]
    peaceful: Mapping[float, float | None]
    first: tuple[int | None, ...]
    until: Mapping[float, int | None]
    tenth: float | None
    skipped: int

    @property
    def never(self) -> int:
        """How many hostile clients were never rejected."""
        return sum(one is None for one in self.first)

    @property
    def median_first(self) -> int | None:
        """The round by which half of the hostile clients had been rejected once; None if fewer ever were."""
        middle = median(math.inf if one is None else one for one in self.first)
        return None if middle == math.inf else math.ceil(middle)

    def document(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "task": self.group.task,
            "scenario": self.group.scenario.text,
            "attack": self.group.attack,
            "hostile": self.group.settings.hostile,
            "defense": str(self.group.settings.recipe),
            "rejected": asdict(self.rejected),
            "false_alarms": None if self.false_alarms is None else asdict(self.false_alarms),
            "auroc": self.auroc,
            "caught_at": [
                {"false_alarms": rate, "same_run": self.beside[rate], "no_attack": self.peaceful[rate]}
                for rate in FALSE_ALARMS
            ],
            "first_rejected": list(self.first),
            "median_first_rejected": self.median_first,
            "never_rejected": self.never,
            "rounds_until": [{"share": share, "round": found} for share, found in self.until.items()],
            "rejected_by_tenth_round": self.tenth,
            "skipped": self.skipped,
            "cells": [cell.key for cell in self.group.cells],
        }


def catch(group: Group, peace: Group, results: Mapping[str, Result]) -> Catch | None:
    """What becomes of an attack, beside the same federation in `peace`; None if no run has a hostile reply."""
    found = replies(group, results)
    hostile, honest = [one for one in found if one.hostile], [one for one in found if not one.hostile]
    rejected = rejection_rate(hostile)
    if rejected is None:
        return None
    anomaly = np.array([one.anomaly for one in found])
    area = auroc(anomaly, np.array([one.hostile for one in found]))
    rounds = attack_rounds(hostile)
    return Catch(
        group=group,
        rejected=rejected,
        false_alarms=rejection_rate(honest),
        auroc=None if area is None else round(area, 6),
        beside={rate: caught_at(hostile, honest, rate) for rate in FALSE_ALARMS},
        peaceful={rate: caught_at(hostile, replies(peace, results), rate) for rate in FALSE_ALARMS},
        first=tuple(
            next((place for place, one in zip(rounds[key], own, strict=True) if not one.accepted), None)
            for key, own in sorted(by_client(hostile).items())
        ),
        until={share: until(hostile, share) for share in CAUGHT},
        tenth=windows(hostile).get(TENTH - WINDOW + 1),
        skipped=sum(results[cell.key]["skipped"] for cell in group.cells if cell.key in results),
    )


def caught_at(hostile: Sequence[Reply], honest: Sequence[Reply], rate: float) -> float | None:
    """The share of hostile replies that look worse than all but a share `rate` of the honest ones; ties are not worse.

    None without replies of both kinds.
    """
    if not hostile or not honest:
        return None
    worst_first = sorted((one.anomaly for one in honest), reverse=True)
    bound = worst_first[math.floor(rate * len(honest) + 1e-9)]  # 0.05 of 20 is one, whatever floats say
    return round(sum(one.anomaly > bound for one in hostile) / len(hostile), 6)


def attack_rounds(hostile: Sequence[Reply]) -> dict[tuple[int, int], list[int]]:
    """Of each client, by seed and number, the rounds of its replies, counted from 1 over those with hostile replies."""
    counted: dict[int, dict[int, int]] = {}
    for seed in {one.seed for one in hostile}:
        numbers = sorted({one.round for one in hostile if one.seed == seed})
        counted[seed] = {number: place for place, number in enumerate(numbers, 1)}
    return {key: [counted[one.seed][one.round] for one in own] for key, own in by_client(hostile).items()}


def windows(hostile: Sequence[Reply]) -> dict[int, float]:
    """The share of hostile replies that are rejected in `WINDOW` rounds, by the first of them; all rounds if fewer."""
    rounds = attack_rounds(hostile)
    counts: dict[int, list[bool]] = {}
    for key, own in by_client(hostile).items():
        for place, one in zip(rounds[key], own, strict=True):
            counts.setdefault(place, []).append(not one.accepted)
    last = max(counts)
    found: dict[int, float] = {}
    for start in range(1, max(1, last - WINDOW + 1) + 1):
        seen = [caught for place in range(start, start + WINDOW) for caught in counts.get(place, ())]
        found[start] = sum(seen) / len(seen)
    return found


def until(hostile: Sequence[Reply], share: float) -> int | None:
    """The first round of attack from which on a share of the hostile replies of a window is rejected; None if never."""
    return next((start for start, caught in windows(hostile).items() if caught >= share), None)
