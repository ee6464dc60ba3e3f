"""What a run shows at one moment, kept up to date from the audit without reading it all again."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hawthorn.strategies.reputation import QUARANTINE, Standing

from ..audit import Audit
from ..audit.records import ClientRecord, Contribution, Entry, Metric, OrderRecord, Round, Run, held_by

TAIL = 500  # entries that are kept for pages that were away
CATCH_UP = 20  # rounds at once above which the clients are counted by the database


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
        self._ordered: dict[int, int] = {}  # the last round that was over, by the entries that tell of orders

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
        found = replace(before, run=run, orders=self.audit.orders(run.id))
        if entries:
            tail = tuple(replace(entry, detail={}) for entry in entries[-TAIL:])
            found = self._with_rounds(replace(found, tail=(*before.tail, *tail)[-TAIL:]), entries)
            self._ordered |= {entry.number: entry.round for entry in entries if entry.kind == "orders"}
            found = replace(found, clients=self._clients(before, found))
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

    def _clients(self, before: Snapshot, found: Snapshot) -> Mapping[str, ClientRecord]:
        """The clients after the rounds that are new, counted on from those before where that is less work."""
        run, known = found.run.id, before.round.number if before.round else 0
        fresh = [one.number for one in found.rounds if one.number > known]
        if len(fresh) > CATCH_UP:
            clients = {client.identity: client for client in self.audit.clients(run)}
        else:
            clients = dict(before.clients)
            for number in fresh:
                for one in self.audit.contributions(run, number):
                    clients[one.client] = counted_on(clients.get(one.client), one)
        if fresh:
            standings = self.audit.standings(run)
            clients = {name: replace(client, standing=standings.get(name)) for name, client in clients.items()}
        held = held_by(found.orders, self._ordered, found.round.number if found.round else 0)
        return {name: replace(client, held=name in held) for name, client in clients.items()}


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
