"""A run as it goes: each round as it is committed, and how every site stands at the end."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hawthorn.strategies.errors import HawthornError

from .app import audit_of
from .folder import Deployment, Place
from .rehearsal import SERVER_APP, Rehearsal

if TYPE_CHECKING:
    from hawthorn.server.audit import Audit, Contribution, Round, Run

PAUSE = 1.0  # seconds between two looks at the audit
ASKED_EVERY = 20.0  # seconds between two questions to Flower, each of which costs a process
METRICS_LATE = 5  # looks that a round is given until its model is evaluated
TOLD = ("accuracy", "loss")  # the metrics that fit a line


@dataclass
class Watched:
    """What was seen of a run since `begun`: how long until its first round, and between the rounds, in seconds."""

    begun: datetime
    first: float = 0.0
    between: list[float] = field(default_factory=list[float])
    status: str = ""
    why: str = ""


def is_over(run: Mapping[str, Any], settings: Mapping[str, object]) -> bool:
    """Whether a run, as `run_summary` has it, needs no more rounds."""
    return run.get("status") == "finished" and run["rounds"] >= settings["rounds"]


def watch(rehearsal: Rehearsal, flower_run: str, watched: Watched) -> Watched:
    """What was seen until the run was over; raises `HawthornError` if the server is gone or the run failed."""
    with opened(rehearsal.deployment, rehearsal.place) as audit:
        assert audit is not None  # `start` makes it
        news = _News(audit, rehearsal)
        before, asked, dead = news.seen, time.monotonic(), set[str]()
        while not watched.status.startswith("finished"):
            time.sleep(PAUSE)
            rehearsal.check_alive(dead)
            moved = news.tell()
            now = time.monotonic()
            asked = now if moved else asked
            # a ServerApp that was killed writes no last word; only Flower knows then
            silent = now - asked > ASKED_EVERY and not rehearsal.processes.helpers(SERVER_APP)
            if news.over or silent:
                watched.status, watched.why = rehearsal.flwr.status(flower_run)
                asked = now
        _time(watched, news.rounds(after=before))
    if watched.status != "finished:completed":
        log = rehearsal.place.logs / "superexec.log"
        raise HawthornError(f"the run ended as {watched.status}: {watched.why or 'see the log'} ({log})")
    return watched


class _News:
    """What a run has committed since it was last looked at; `seen` is the last round that was told."""

    def __init__(self, audit: Audit, rehearsal: Rehearsal) -> None:
        self.audit, self.rehearsal = audit, rehearsal
        self.names = names_of(rehearsal.deployment)
        self.over = False
        self.entry, self.seen, self.late = -1, 0, 0
        run = self.run()
        if run is not None:
            self.entry = audit.head(run.id).number
            self.seen = max((one.number for one in audit.rounds(run.id)), default=0)

    def run(self) -> Run | None:
        """The run, None before it has begun."""
        return self.audit.run_named(self.rehearsal.run_name)

    def rounds(self, after: int) -> Sequence[Round]:
        """The rounds after that one."""
        run = self.run()
        return () if run is None else self.audit.rounds(run.id, after=after)

    def tell(self) -> bool:
        """Tell of the rounds since the last look; whether anything was committed."""
        run = self.run()
        if run is None:
            return False
        entries = self.audit.entries(run.id, after=self.entry)
        self.entry = entries[-1].number if entries else self.entry
        self.over = self.over or any(entry.kind == "end" for entry in entries)
        if entries or self.late:
            self._tell_rounds(run)
        return bool(entries)

    def _tell_rounds(self, run: Run) -> None:
        for one in self.audit.rounds(run.id, after=self.seen):
            if not figures(one) and self.late < METRICS_LATE and not self.over:
                self.late += 1
                return
            self.late, self.seen = 0, one.number
            self.rehearsal.say(told(one, self.audit.contributions(run.id, one.number), self.names))


def _time(watched: Watched, rounds: Sequence[Round]) -> None:
    """Write down how long the rounds took, by the times of their commits."""
    times = [watched.begun, *(datetime.fromisoformat(one.at) for one in rounds)]
    seconds = [round((after - before).total_seconds(), 2) for before, after in pairwise(times)]
    watched.first, watched.between = (seconds[0], seconds[1:]) if seconds else (0.0, [])


def told(one: Round, contributions: Sequence[Contribution], names: Mapping[str, str]) -> str:
    """A round in one line, and a line for each site that it speaks against."""
    rejected = [c for c in contributions if c.admitted and not c.verdict.accepted]
    refused = [c for c in contributions if not c.admitted]
    accepted = len(contributions) - len(rejected) - len(refused)
    metrics = "".join(f", {name} {value:.3f}" for name, value in figures(one).items() if name in TOLD)
    lines = [f"round {one.number}: {accepted} accepted, {len(rejected)} rejected, {len(refused)} refused{metrics}"]
    lines += [f"  {names.get(c.client, c.client)}: {c.verdict.reason}" for c in [*rejected, *refused]]
    lines += [f"  skipped: {one.skipped}"] if one.skipped else []
    return "\n".join(lines)


def figures(one: Round) -> dict[str, float]:
    """The metrics of the model after a round that are numbers."""
    return {name: value for name, value in one.metrics.items() if isinstance(value, float) and "/" not in name}


@contextmanager
def opened(deployment: Deployment, place: Place) -> Generator[Audit | None]:
    """The audit of a place, None where there is none yet."""
    from hawthorn.server.audit import Audit

    where = audit_of(deployment, place)
    if "://" not in where and not Path(where).exists():
        yield None
        return
    with Audit.open(where, create=False) as audit:
        yield audit


def names_of(deployment: Deployment) -> dict[str, str]:
    """The sites' names by identity."""
    return {site.identity: site.name for site in deployment.sites}


def standings(deployment: Deployment, place: Place, name: str) -> list[dict[str, Any]]:
    """How each client stands after the last round of the run of that name, as plain data; none where none was."""
    with opened(deployment, place) as audit:
        run = audit and audit.run_named(name)
        if audit is None or run is None:
            return []
        names = names_of(deployment)
        return [
            {
                "site": names.get(client.identity, client.name or client.identity),
                "identity": client.identity,
                "rounds": client.rounds,
                "accepted": client.accepted,
                "rejected": client.rejected,
                "refused": client.refused,
                "standing": "held by an operator" if client.held else str(client.standing or ""),
                "reason": client.last_reason,
            }
            for client in audit.clients(run.id)
        ]


def run_summary(deployment: Deployment, place: Place, name: str) -> dict[str, Any]:
    """The run of that name in short: its number in the audit, status, rounds so far, last metrics; empty without one.

    `seconds` are those of each round, from the sampling of its clients to the new model.
    """
    with opened(deployment, place) as audit:
        run = audit and audit.run_named(name)
        if audit is None or run is None:
            return {}
        rounds = audit.rounds(run.id)
        return {
            "run": run.id,
            "status": run.status,
            "error": run.error,
            "rounds": rounds[-1].number if rounds else 0,
            "skipped": sum(one.skipped is not None for one in rounds),
            "metrics": figures(rounds[-1]) if rounds else {},
            "seconds": [round(one.seconds, 2) for one in rounds],
        }
