"""A run as it goes: each round as it is committed, and how every site stands at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hawthorn.strategies.errors import HawthornError

from .folder import Deployment, Place
from .rehearsal import SERVER_APP, Rehearsal

if TYPE_CHECKING:
    from hawthorn.server.audit import Audit, Contribution, Round, Run

PAUSE = 0.5  # seconds between two looks at the audit
ASKED_EVERY = 20.0  # seconds between two questions to Flower, each of which costs a process
QUARANTINE = "in quarantine"


@dataclass
class Watched:
    """What has been seen of a run: the seconds to its first round and between the rounds, as they were committed."""

    run: str
    first: float = 0.0
    between: list[float] = field(default_factory=list[float])
    status: str = ""
    why: str = ""


def watch(rehearsal: Rehearsal, flower_run: str) -> Watched:
    """What was seen until the run was over; raises `HawthornError` if the server is gone or the run failed."""
    watched = Watched(flower_run)
    begun = last = asked = time.monotonic()
    seen, dead, done = _last_round(rehearsal), set[str](), False
    while not done:
        time.sleep(PAUSE)
        rehearsal.check_alive(dead)
        now = time.monotonic()
        if now - asked > ASKED_EVERY and not rehearsal.processes.helpers(SERVER_APP):
            watched.status, watched.why = rehearsal.flwr.status(flower_run)
            asked, done = now, watched.status.startswith("finished")
        for one, told in _news(rehearsal, seen):
            rehearsal.say(told)
            if seen == one.number - 1 and not watched.first:
                watched.first = round(now - begun, 2)
            else:
                watched.between.append(round(now - last, 2))
            last, seen, asked = now, one.number, now
        done = done or _is_over(rehearsal, seen)
    if not watched.status:
        watched.status, watched.why = _final(rehearsal, flower_run)
    if watched.status != "finished:completed":
        log = rehearsal.place.logs / "superexec.log"
        raise HawthornError(f"the run ended as {watched.status}: {watched.why or 'see the log'} ({log})")
    return watched


def _final(rehearsal: Rehearsal, run: str) -> tuple[str, str]:
    """Flower's word on a run that has committed its last round, as soon as it has one."""
    while not (found := rehearsal.flwr.status(run))[0].startswith("finished"):
        time.sleep(PAUSE)
    return found


def _is_over(rehearsal: Rehearsal, seen: int) -> bool:
    """Whether the audit has the run as over; a run that failed is Flower's to tell."""
    if seen < int(rehearsal.settings["rounds"]):
        return False
    with opened(rehearsal.place) as audit:
        run = named(audit, rehearsal.deployment.name)
        return run is not None and run.status == "finished"


def _last_round(rehearsal: Rehearsal) -> int:
    """The number of the last round of the run that is there already."""
    if not rehearsal.place.audit.exists():
        return 0
    with opened(rehearsal.place) as audit:
        run = named(audit, rehearsal.deployment.name)
        return 0 if run is None else max((one.number for one in audit.rounds(run.id)), default=0)


def _news(rehearsal: Rehearsal, after: int) -> list[tuple[Round, str]]:
    """The rounds after that one, and what is told of each."""
    if not rehearsal.place.audit.exists():
        return []
    with opened(rehearsal.place) as audit:
        run = named(audit, rehearsal.deployment.name)
        if run is None:
            return []
        names = names_of(rehearsal.deployment)
        return [
            (one, told(one, audit.contributions(run.id, one.number), names))
            for one in audit.rounds(run.id, after=after)
        ]


def told(one: Round, contributions: Sequence[Contribution], names: Mapping[str, str]) -> str:
    """A round in one line, and a line for each site that it speaks against."""
    rejected = [c for c in contributions if c.admitted and not c.verdict.accepted]
    refused = [c for c in contributions if not c.admitted]
    accepted = len(contributions) - len(rejected) - len(refused)
    metrics = "".join(f", {name} {value:.3f}" for name, value in figures(one).items())
    lines = [f"round {one.number}: {accepted} accepted, {len(rejected)} rejected, {len(refused)} refused{metrics}"]
    lines += [f"  {names.get(c.client, c.client)}: {c.verdict.reason}" for c in [*rejected, *refused]]
    lines += [f"  skipped: {one.skipped}"] if one.skipped else []
    return "\n".join(lines)


def figures(one: Round) -> dict[str, float]:
    """The metrics of the model after a round that are numbers."""
    return {name: value for name, value in one.metrics.items() if isinstance(value, float) and "/" not in name}


def opened(place: Place) -> Audit:
    """The audit of a place; raises `AuditError` where there is none."""
    from hawthorn.server.audit import Audit

    return Audit.open(str(place.audit), create=False)


def named(audit: Audit, name: str) -> Run | None:
    """The run of that name, None where there is none."""
    return audit.run_named(name)


def names_of(deployment: Deployment) -> dict[str, str]:
    """The sites' names by identity."""
    return {site.identity: site.name for site in deployment.sites}


def standings(deployment: Deployment, place: Place) -> list[dict[str, Any]]:
    """How each client stands after the last round of the run, as plain data; none where nothing was run."""
    if not place.audit.exists():
        return []
    with opened(place) as audit:
        run = named(audit, deployment.name)
        if run is None:
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


def run_summary(deployment: Deployment, place: Place) -> dict[str, Any]:
    """The run in short: its number in the audit, status, rounds so far and the last metrics; empty where none was."""
    if not place.audit.exists():
        return {}
    with opened(place) as audit:
        run = named(audit, deployment.name)
        if run is None:
            return {}
        rounds = audit.rounds(run.id)
        last = rounds[-1] if rounds else None
        return {
            "run": run.id,
            "status": run.status,
            "error": run.error,
            "rounds": last.number if last else 0,
            "of": run.settings.get("rounds"),
            "skipped": sum(one.skipped is not None for one in rounds),
            "metrics": figures(last) if last else {},
        }
