"""What the audit answers: runs, rounds and contributions as plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hawthorn.strategies import Verdict

Scalar = bool | int | float | str
Metric = float | list[float]


@dataclass(frozen=True)
class Run:
    """One run of a federation: who started it with what, and how it ended."""

    id: int
    name: str
    settings: Mapping[str, Scalar]
    version: str
    started: str
    finished: str | None
    status: str
    error: str | None


@dataclass(frozen=True)
class Round:
    """One round: `size` admitted replies, and why the model stayed where it did (`skipped`)."""

    number: int
    skipped: str | None
    seconds: float
    size: int
    metrics: Mapping[str, Metric]


@dataclass(frozen=True)
class Contribution:
    """What one client sent in one round, and what became of it; `admitted` is False for a refused reply."""

    round: int
    client: str
    admitted: bool
    verdict: Verdict
