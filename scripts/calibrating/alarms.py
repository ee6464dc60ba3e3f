"""False alarms of honest federations: how often, whom they hit most, and whether p-values are what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hawthorn.strategies.contract import POLICIES, Call, options_of

from ..evaluation.cell import Result
from .plan import Group
from .rate import Rate
from .replies import Reply, by_client, rejection_rate, replies

RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
CURVE = tuple(round(0.005 * step, 3) for step in range(1, 51))  # what is drawn: every half per cent up to a quarter
STATING = ("rate", "q", "alpha", "level")  # what policies call the rate that they keep to


@dataclass(frozen=True)
class Client:
    """An honest client of one run: how many of its replies were rejected."""

    seed: int
    client: int
    rejected: int
    replies: int

    @property
    def rate(self) -> float:
        """The share of its replies that were rejected."""
        return self.rejected / self.replies


@dataclass(frozen=True)
class Alarms:
    """The false alarms of one honest federation over its seeds.

    `stated` is the rate that the policy promises to keep to, None where it promises none. `reliability` is the share of
    p-values at or below each of `RATES`, `curve` that of `CURVE`. `skipped` of `rounds` were skipped.
    """

    group: Group
    stated: float | None
    rate: Rate
    clients: tuple[Client, ...]
    rounds: int
    skipped: int
    reliability: Mapping[float, Rate]
    curve: tuple[float, ...]

    @property
    def exceeds(self) -> bool:
        """Whether verdicts are wrong more often than stated, beyond what chance explains."""
        return self.stated is not None and self.rate.low > self.stated

    @property
    def worst(self) -> Client:
        """The client that is rejected most often."""
        return max(self.clients, key=lambda one: (one.rate, one.replies))

    @property
    def above(self) -> int | None:
        """How many clients are rejected more often than stated."""
        return None if self.stated is None else sum(one.rate > self.stated for one in self.clients)

    def document(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "task": self.group.task,
            "scenario": self.group.scenario.text,
            "settings": dict(self.group.scenario.settings),
            "defense": str(self.group.settings.recipe),
            "stated": self.stated,
            **asdict(self.rate),
            "exceeds": self.exceeds,
            "worst_client": asdict(self.worst) | {"share": round(self.worst.rate, 6)},
            "clients_above_stated": self.above,
            "rejected_by_client": [[one.seed, one.client, one.rejected, one.replies] for one in self.clients],
            "rounds": self.rounds,
            "skipped": self.skipped,
            "reliability": [{"rate": rate, **asdict(found)} for rate, found in self.reliability.items()],
            "curve": [list(CURVE), list(self.curve)],
            "cells": [cell.key for cell in self.group.cells],
        }


def alarms(group: Group, results: Mapping[str, Result]) -> Alarms | None:
    """The false alarms of an honest federation; None if none of its runs has a result with a reply in it."""
    found = replies(group, results)
    rate = rejection_rate(found)
    if rate is None:
        return None
    reached = [cell for cell in group.cells if cell.key in results]
    return Alarms(
        group=group,
        stated=stated_rate(group.settings.recipe.policy),
        rate=rate,
        clients=tuple(
            Client(seed, client, sum(not one.accepted for one in own), len(own))
            for (seed, client), own in sorted(by_client(found).items())
        ),
        rounds=sum(cell.settings.rounds for cell in reached),
        skipped=sum(results[cell.key]["skipped"] for cell in reached),
        reliability={rate: known for rate in RATES if (known := at_or_below(found, rate))},
        curve=shares(found, CURVE),
    )


def at_or_below(found: Sequence[Reply], rate: float) -> Rate | None:
    """The share of replies whose p-value is at most `rate`, of those that have one."""
    clients = by_client(one for one in found if one.p_value is not None)
    return Rate.of((sum((one.p_value or 0.0) <= rate for one in own), len(own)) for own in clients.values())


def shares(found: Sequence[Reply], rates: Sequence[float]) -> tuple[float, ...]:
    """The share of p-values at or below each rate."""
    known = [one.p_value for one in found if one.p_value is not None]
    return tuple(round(sum(value <= rate for value in known) / max(1, len(known)), 6) for rate in rates)


def stated_rate(policy: str) -> float | None:
    """The rate of false alarms, or of false discoveries, that a policy promises to keep to; None if it promises none.

    Where nobody attacks every discovery is false, so a bound on their rate is one on that of rounds with any.

    >>> stated_rate("fdr(q=0.1)"), stated_rate("fdr"), stated_rate("none")
    (0.1, 0.05, None)
    """
    call = Call.parse(policy)
    options = options_of(POLICIES[call.name].function) | dict(call.options)
    written = (options.get(name) for name in STATING)
    return next((float(rate) for rate in written if isinstance(rate, int | float)), None)
