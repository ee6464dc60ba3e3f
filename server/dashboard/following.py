"""What a run shows at one moment, kept up to date from the audit without reading it all again."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hawthorn.strategies.reputation import QUARANTINE, Standing

from ..audit import Audit
from ..audit.records import ClientRecord, Contribution, Entry, Metric, OrderRecord, Round, Run

TAIL = 500  # entries that are kept for pages that were away
CATCH_UP = 20  # rounds at once above which the clients are counted by the database
PATIENCE = 20.0  # how many times as long as it takes passes before all is counted again


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

    @property
    def open_orders(self) -> int:
        """How many orders are still to be carried out."""
        return sum(order.result is None for order in self.orders)


class Following:
    """One run, followed; `now` is its newest snapshot. Calls from several threads take turns."""

    def __init__(self, audit: Audit, run: Run) -> None:
        self.audit = audit
        self.now = Snapshot(run)
        self._lock = threading.Lock()
        self._counted_at, self._counting = 0.0, 0.0  # seconds: when all was counted, and what it took
        self._inexact = True

    def news(self, run: Run) -> tuple[Entry, ...]:
        """The entries since the last call, after which `now` shows them; `run` is the run as it stands."""
        with self._lock:
            before = self.now
            entries = self.audit.entries(run.id, after=before.number)
            found = replace(before, run=run, orders=self.audit.orders(run.id))
            if entries:
                tail = tuple(replace(entry, detail={}) for entry in entries[-TAIL:])
                found = replace(found, tail=(*before.tail, *tail)[-TAIL:])
                found = self._with_rounds(found, entries)
            elif self._inexact and self._may_count():
                found = replace(found, clients=self._counted(run.id))
            self.now = found
            return entries

    def _with_rounds(self, found: Snapshot, entries: Sequence[Entry]) -> Snapshot:
        """The snapshot with what these entries changed in rounds and clients."""
        run = found.run.id
        told = [entry.round for entry in entries if entry.kind in ("round", "metrics", "initial")]
        if told and (min(told) == 0 or not found.rounds):
            found = replace(found, initial=self.audit.metrics(run).get(0, {}))
        known = found.round.number if found.round else 0
        if told:
            first = min(max(min(told), 1), known + 1)
            kept = tuple(one for one in found.rounds if one.number < first)
            found = replace(found, rounds=(*kept, *self.audit.rounds(run, after=first - 1)))
        fresh = [one.number for one in found.rounds if one.number > known]
        return replace(found, clients=self._clients(found, fresh, entries))

    def _clients(self, found: Snapshot, fresh: Sequence[int], entries: Sequence[Entry]) -> Mapping[str, ClientRecord]:
        """The clients after these fresh rounds, counted on from those before where that is less work."""
        run = found.run.id
        ordered = any(entry.kind == "orders" for entry in entries)
        held = any(client.held for client in found.clients.values())  # which may have ended
        self._inexact = self._inexact or ordered or held
        if len(fresh) > CATCH_UP or (self._inexact and self._may_count()):
            return self._counted(run)
        clients = dict(found.clients)
        for number in fresh:
            for one in self.audit.contributions(run, number):
                clients[one.client] = counted_on(clients.get(one.client), one)
        standings = self.audit.standings(run) if fresh else {}
        return {
            name: replace(client, standing=standings.get(name)) if fresh else client for name, client in clients.items()
        }

    def _may_count(self) -> bool:
        return time.monotonic() - self._counted_at >= PATIENCE * self._counting

    def _counted(self, run: int) -> Mapping[str, ClientRecord]:
        start = time.monotonic()
        clients = {client.identity: client for client in self.audit.clients(run)}
        self._counted_at = time.monotonic()
        self._counting, self._inexact = self._counted_at - start, False
        return clients


def counted_on(client: ClientRecord | None, one: Contribution) -> ClientRecord:
    """A client after one more of its replies."""
    before = client or ClientRecord(one.client, one.name, one.node, 0, 0, 0, 0, 0, "", None, held=False)
    return replace(
        before,
        name=one.name,
        node=one.node,
        rounds=before.rounds + (one.round != before.last_round),
        accepted=before.accepted + one.verdict.accepted,
        rejected=before.rejected + (one.admitted and not one.verdict.accepted),
        refused=before.refused + (not one.admitted),
        last_round=one.round,
        last_reason=one.verdict.reason,
    )


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
