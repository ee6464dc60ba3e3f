"""What a rewind needs, looked up before anything is written: who, from where on, and that all of it is there."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hawthorn.strategies import AuditError, Defense, SettingError
from hawthorn.strategies.certificates import most_tolerated, tolerates
from hawthorn.strategies.contract import hostile_count, nearest
from hawthorn.strategies.flower import Commit
from numpy.typing import NDArray

from ..audit import Audit, Run
from ..files import made_folder
from .lineage import Lineage, Step, lineage


@dataclass(frozen=True, eq=False)
class Plan:
    """What is to be held again: `steps`, from the model in `begin` on, without the clients `without`.

    `start` is the number of steps before. `last` is the run's last round, `final` its model then; `defense` judged it.
    `folder` has the updates in place of the runs' own folders, where these are not to be relied on (`held_fast`).
    """

    run: Run
    settings: Mapping[str, Any]
    without: tuple[str, ...]
    steps: Sequence[Step]
    start: int
    last: int
    begin: Commit
    final: Commit
    defense: Defense
    seconds: float
    folder: Path | None = None

    def updates(self, audit: Audit, step: Step) -> NDArray[Any]:
        """The retained updates `(n, d)` of a step's admitted clients; raises `AuditError` where they are gone."""
        return audit.updates(step.run, step.round, self.folder).rows


@contextmanager
def held_fast(plan: Plan, audit: Audit, folder: Path) -> Generator[Plan]:
    """The plan with its updates in a temporary folder inside `folder`: a run that goes on deletes its oldest ones.

    Raises `AuditError` where some are gone already.
    """
    with tempfile.TemporaryDirectory(prefix="rewind-", dir=made_folder(folder)) as own:
        for step in plan.steps:
            audit.link_updates(step.run, step.round, Path(own))
        yield replace(plan, folder=Path(own))


def plan(
    audit: Audit, run: Run, without: Sequence[str], *, first: int | None = None, tolerated: int | float | None = None
) -> Plan:
    """The plan of rebuilding a run's model without clients, given by identity.

    It begins from the newest checkpoint before any of them took part, or before the round `first`. Raises `AuditError`
    where updates or checkpoints that it needs were not kept, and `SettingError` where there is nothing to take back.
    """
    if not without:
        raise SettingError("name the client to leave out: write --without CLIENT")
    last = max((one.number for one in audit.rounds(run.id)), default=0)
    line = lineage(audit, run.id, last)
    place = _first(audit, line, without, first, run)
    start, begin = _beginning(audit, line, place)
    steps = line.steps[start:]
    _check_retained(audit, steps, line.steps[place], run)
    defense = _defense(audit, run, line.steps[-1])
    if tolerated is not None:
        defense = Defense.parse(_without_f(str(defense)), f=tolerated)
    _check_borne(audit, steps, without, defense)
    settings = _settings(audit, run)
    if "inner" not in settings:
        raise AuditError(f"the settings of run {run.id} do not say which strategy was wrapped")
    return Plan(
        run=run,
        settings=settings,
        without=tuple(without),
        steps=steps,
        start=start,
        last=last,
        begin=begin,
        final=audit.commit_after(run.id, last),
        defense=defense,
        seconds=_seconds(audit, steps),
    )


def client_named(audit: Audit, run: Run, text: str) -> str:
    """The identity of the client that is meant by its identity, name or node; raises `SettingError`."""
    clients = audit.clients(run.id)
    for meant in ("identity", "name", "node"):
        found = [one.identity for one in clients if getattr(one, meant) == text]
        if len(found) > 1:
            raise SettingError(f"{text!r} is the {meant} of several clients: write one of {', '.join(found)}")
        if found:
            return found[0]
    known = [name for one in clients for name in (one.identity, one.name) if name]
    if not known:
        raise SettingError(f"no client {text!r}: run {run.id} has seen nobody")
    raise SettingError(f"run {run.id} has seen no client {text!r}; {nearest(text, known)}")


def _first(audit: Audit, line: Lineage, without: Sequence[str], first: int | None, run: Run) -> int:
    """The place of the first step that is to be another one."""
    rounds = {
        (number, one.round, client)
        for number in {step.run for step in line.steps}
        for client in without
        for one in audit.contributions(number, client=client)
        if one.admitted
    }
    there = [
        place
        for place, step in enumerate(line.steps)
        if any((step.run, step.round, client) in rounds and client not in step.without for client in without)
    ]
    if not there:
        raise SettingError(
            f"nothing to take back: no update of {', '.join(without)} is in a round that led to the model of run "
            f"{run.id}"
        )
    if first is None:
        return there[0]
    later = [place for place, step in enumerate(line.steps) if step.kept[1] >= first]
    if first < 1 or not later or later[0] > there[-1]:
        raise SettingError(
            f"--from must be a round up to {line.steps[there[-1]].kept[1]}, the last one with an update of "
            f"{', '.join(without)}; got {first}"
        )
    return later[0]


def _beginning(audit: Audit, line: Lineage, place: int) -> tuple[int, Commit]:
    """The newest commit at or before a step that was kept, with the number of steps that led to it."""
    for start in range(place, -1, -1):
        try:
            return start, audit.commit_after(*line.before(start))
        except AuditError:
            continue
    raise AuditError(
        f"no checkpoint before round {line.steps[place].kept[1]} was kept, not even that of the initial model"
    )


def _check_retained(audit: Audit, steps: Sequence[Step], changed: Step, run: Run) -> None:
    there = {number: frozenset(audit.retained_rounds(number)) for number in {step.run for step in steps}}
    missing = [step for step in steps if step.round not in there[step.run]]
    if not missing:
        return
    rounds = sorted(there.get(run.id, ()))
    message = f"the updates of round {_spans([step.kept[1] for step in missing])} were not kept: "
    if not rounds:
        raise AuditError(message + "run with updates=all, or a number of rounds such as updates=50")
    advice = f"--from {rounds[0]} rebuilds from there, with what came of the rounds before" if rounds else ""
    if missing[-1].round >= rounds[0] or changed.kept[1] >= rounds[0]:
        advice = "a newer checkpoint would be needed (checkpoints-every)"
    raise AuditError(f"{message}there are those of round {_spans(rounds)}; {advice}; updates=all keeps all")


def _spans(numbers: Sequence[int]) -> str:
    """Ascending numbers in words, those in a row as a span.

    >>> _spans([1, 2, 3, 7])
    '1 to 3, 7'
    """
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(low) if low == high else f"{low} to {high}" for low, high in spans)


def _defense(audit: Audit, run: Run, step: Step) -> Defense:
    """The defense as it judged a step."""
    evidence = audit.evidence(step.run, step.round)
    if evidence is None:
        raise AuditError(f"round {step.round} of run {run.id} does not say which defense judged it")
    return Defense.parse(evidence["defense"])


def _check_borne(audit: Audit, steps: Sequence[Step], without: Sequence[str], defense: Defense) -> None:
    """Raise `SettingError` where no round has enough updates left for the defense."""
    most = 0
    for step in steps:
        left_out = step.without.union(without)
        admitted = [one.client for one in audit.contributions(step.run, step.round) if one.admitted]
        n = sum(client not in left_out for client in admitted)
        if n and tolerates(defense, n, hostile_count(defense.f, n)):
            return
        most = max(most, n)
    if not most:
        raise SettingError("nobody is left: there are no updates of other clients in these rounds")
    borne = most_tolerated(defense, most)
    raise SettingError(
        f"{str(defense)!r} cannot work with the {most} updates that are left in a round: write --tolerated {borne}"
    )


def _without_f(recipe: str) -> str:
    return ";".join(part for part in recipe.split(";") if part.partition("=")[0].strip() != "f")


def _settings(audit: Audit, run: Run) -> Mapping[str, Any]:
    """The settings that the run went on with last."""
    resumed = [entry.detail for entry in audit.entries(run.id) if entry.kind == "resume"]
    return resumed[-1].get("settings", run.settings) if resumed else run.settings


def _seconds(audit: Audit, steps: Sequence[Step]) -> float:
    """How long the rounds took when they were held."""
    taken = {number: {one.number: one.seconds for one in audit.rounds(number)} for number in {s.run for s in steps}}
    return sum(taken[step.run].get(step.round, 0.0) for step in steps)
