"""What a run shows at one moment, kept up to date from the audit without reading it all again."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from hawthorn.strategies.reputation import QUARANTINE, Standing

from ..audit import Audit, Census
from ..audit.records import ClientRecord, Entry, Metric, OrderRecord, Round, Run

TAIL = 500  # entries that are kept for pages that were away


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A run at one moment. `initial` are the metrics before the first round; `tail` are the newest entries."""

    run: Run
    rounds: tuple[Round, ...] = ()
    initial: Mapping[str, Metric] = field(default_factory=dict[str, Metric])
    clients: Mapping[str, ClientRecord] = field(default_factory=dict[str, ClientRecord])
    orders: tuple[OrderRecord, ...] = ()
    tail: tuple[Entry, ...] = ()

    @property
    def number(self) -> int:
        """That of the last entry, -1 where there is none."""
        return self.tail[-1].number if self.tail else -1

    @property
    def round(self) -> Round | None:
        """The last round."""
        return self.rounds[-1] if self.rounds else None

    @cached_property
    def metrics(self) -> frozenset[str]:
        """The names of all metrics that were ever measured."""
        return frozenset(name for metrics in (self.initial, *(one.metrics for one in self.rounds)) for name in metrics)

    @property
    def open_orders(self) -> int:
        """How many orders are still to be carried out."""
        return sum(order.result is None for order in self.orders)


class Following:
    """One run, followed; `now` is its newest snapshot, the same one as long as nothing changes.

    Calls from several threads take turns.
    """

    def __init__(self, audit: Audit, run: Run) -> None:
        self.audit = audit
        self.now = Snapshot(run)
        self._lock = threading.Lock()
        self._census = Census(audit, run.id)

    def news(self, run: Run) -> tuple[Entry, ...]:
        """The entries since the last call, after which `now` shows them; `run` is the run as it stands."""
        with self._lock:
            return self._news(run)

    def begin(self, run: Run) -> None:
        """Return once `now` shows what there was when the run began to be followed; no news are lost by it."""
        with self._lock:
            if self.now.number < 0:
                self._news(run)

    def _news(self, run: Run) -> tuple[Entry, ...]:
        before = self.now
        entries = self.audit.entries(run.id, after=before.number)
        orders = self.audit.orders(run.id)
        if not entries and (run, orders) == (before.run, before.orders):
            return entries
        found = replace(before, run=run, orders=orders)
        if entries:
            tail = tuple(replace(entry, detail={}) for entry in entries[-TAIL:])
            found = self._with_rounds(replace(found, tail=(*before.tail, *tail)[-TAIL:]), entries)
            found = replace(found, clients=self._census.clients())
        self.now = found
        return entries

    def _with_rounds(self, found: Snapshot, entries: Sequence[Entry]) -> Snapshot:
        """The snapshot with the rounds, and the metrics of rounds, that these entries tell of."""
        told = [entry.round for entry in entries if entry.kind in ("round", "metrics", "initial")]
        if not told:
            return found
        if min(told) == 0:
            found = replace(found, initial=self.audit.metrics(found.run.id).get(0, {}))
        first = max(min(told), 1)
        kept = tuple(one for one in found.rounds if one.number < first)
        return replace(found, rounds=(*kept, *self.audit.rounds(found.run.id, after=first - 1)))


def standing_of(client: ClientRecord) -> str:
    """How a client stands in a word: held (by an operator), quarantine, probation, or good."""
    if client.held:
        return "held"
    return client.standing.name if client.standing and client.standing.name else "good"


def in_quarantine(client: ClientRecord) -> bool:
    """Whether an operator or the defense keeps a client out."""
    return standing_of(client) in ("held", QUARANTINE)


def evidence_of(client: ClientRecord) -> float:
    """What speaks against a client, 0 where nothing does."""
    return (client.standing or Standing()).evidence
