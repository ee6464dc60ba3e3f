"""What was made of the replies of runs, as cells keep it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..evaluation.cell import Result
from .plan import Group
from .rate import Rate


@dataclass(frozen=True)
class Reply:
    """A client's reply in a round of one run; `hostile` says that an attacker sent it, in a round of its attack.

    What hostile clients send while they wait is neither theirs nor an honest client's, and left out. A reply that
    admission refused has no p-value.
    """

    seed: int
    round: int
    client: int
    hostile: bool
    p_value: float | None
    accepted: bool

    @property
    def anomaly(self) -> float:
        """How bad it looked; worse than any that could be scored if it was refused."""
        return 1.0 if self.p_value is None else -self.p_value


def replies(group: Group, results: Mapping[str, Result]) -> list[Reply]:
    """The replies of all runs of a group that have a result."""
    return [
        Reply(cell.settings.seed, int(number), int(client), bool(hostile), p_value, bool(accepted))
        for cell in group.cells
        if cell.key in results
        for number, client, hostile, p_value, accepted in results[cell.key]["verdicts"]
    ]


def by_client(found: Iterable[Reply]) -> dict[tuple[int, int], list[Reply]]:
    """The replies of each client, by seed and number."""
    clients: dict[tuple[int, int], list[Reply]] = {}
    for reply in found:
        clients.setdefault((reply.seed, reply.client), []).append(reply)
    return clients


def rejection_rate(found: Iterable[Reply]) -> Rate | None:
    """The share of the replies that were rejected."""
    return Rate.of((sum(not one.accepted for one in own), len(own)) for own in by_client(found).values())
