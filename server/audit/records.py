"""What the audit answers: runs, rounds and contributions as plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hawthorn.strategies import Verdict
from hawthorn.strategies.reputation import Standing
from numpy.typing import NDArray

Scalar = bool | int | float | str
Metric = float | list[float]


@dataclass(frozen=True)
class Run:
    """One run of a federation: who started it with what, and how it ended.

    `status` is running (which a run that was killed stays until it goes on), paused, finished or failed. `place` is
    the folder of its checkpoints and updates.
    """

    id: int
    name: str
    settings: Mapping[str, Scalar]
    version: str
    started: str
    finished: str | None
    status: str
    error: str | None
    place: str | None = None


@dataclass(frozen=True)
class Round:
    """One round: `size` admitted replies, what became of them, and why the model stayed where it did (`skipped`).

    Metrics with a slash in their name are the clients': `clients/accuracy`, as evaluated, and `training/loss`.
    """

    number: int
    skipped: str | None
    seconds: float
    size: int
    metrics: Mapping[str, Metric]
    at: str = ""
    rolled_back: str | None = None
    accepted: int = 0
    rejected: int = 0
    refused: int = 0


@dataclass(frozen=True)
class Contribution:
    """What one client sent in one round, and what became of it; `admitted` is False for a refused reply.

    `client` is its identity. `update_digest` is the SHA-256 of its update's bytes, empty where there was none at hand.
    """

    round: int
    client: str
    admitted: bool
    verdict: Verdict
    node: str = ""
    name: str = ""
    update_digest: str = ""
    manifest: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ClientRecord:
    """What a run has seen of one client. `held` says that an operator keeps it in quarantine."""

    identity: str
    name: str
    node: str
    rounds: int
    accepted: int
    rejected: int
    refused: int
    last_round: int
    last_reason: str
    standing: Standing | None
    held: bool


@dataclass(frozen=True)
class OrderRecord:
    """An operator's order; `result` is None as long as it is open, empty when it was carried out, else why it was not.

    `round` and `other` say which round, of which run, a roll back goes back to. `entry` is the number of the commit
    that tells of it.
    """

    id: int
    run: int
    kind: str
    client: str
    rounds: int | None
    other: int | None
    round: int | None
    by: str
    at: str
    result: str | None
    entry: int | None = None


@dataclass(frozen=True)
class Entry:
    """One commit of a run: the digest is that of the entry before and of all that was committed with this one."""

    run: int
    number: int
    kind: str
    round: int
    at: str
    detail: Mapping[str, Any]
    previous: str
    digest: str


@dataclass(frozen=True, eq=False)
class Retained:
    """The updates `(n, d)` of a round's admitted clients, by identity; `half` says that they were kept in float16."""

    clients: tuple[str, ...]
    rows: NDArray[Any]
    half: bool


def held_by(orders: Sequence[OrderRecord], ordered: Mapping[int, int], over: int) -> set[str]:
    """Whom an operator's orders keep in quarantine after the round `over`, where `ordered` tells when they came."""
    held: set[str] = set()
    for order in orders:
        if order.result != "" or order.kind not in ("quarantine", "release"):
            continue
        lasts = order.rounds is None or over < ordered.get(order.entry or 0, 0) + order.rounds
        (held.add if order.kind == "quarantine" and lasts else held.discard)(order.client)
    return held
