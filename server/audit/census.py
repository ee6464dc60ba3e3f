"""The clients of a run, counted on from round to round: to count them anew takes longer the longer a run goes on."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

from .records import ClientRecord, Contribution
from .store import Audit

CATCH_UP = 20  # rounds above which the database counts all of them


class Census:
    """The clients of one run, as `Audit.clients` tells of them. Calls from several threads take turns."""

    def __init__(self, audit: Audit, run: int) -> None:
        self.audit, self.run = audit, run
        self._round = 0  # the last that is counted
        self._known: dict[str, ClientRecord] = {}
        self._lock = threading.Lock()

    def clients(self) -> Mapping[str, ClientRecord]:
        """Everybody by identity, after the run's newest round."""
        with self._lock:
            newest = self.audit.last_round(self.run)
            if newest > self._round:
                self._count(newest)
                standings = self.audit.standings(self.run)
                self._known = {name: replace(one, standing=standings.get(name)) for name, one in self._known.items()}
            held = self.audit.held(self.run)
            self._known = {name: replace(one, held=name in held) for name, one in self._known.items()}
            return dict(self._known)

    def _count(self, newest: int) -> None:
        if newest - self._round > CATCH_UP:
            self._known = {one.identity: one for one in self.audit.clients(self.run)}
        else:
            for one in self.audit.contributions(self.run, after=self._round):
                self._known[one.client] = counted_on(self._known.get(one.client), one)
        # rounds that were committed meanwhile are counted, too
        self._round = max(newest, *(one.last_round for one in self._known.values()), 0)


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
