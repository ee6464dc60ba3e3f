"""The rounds that led to a run's model: not those that were rolled back, and through models of other runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hawthorn.strategies import AuditError

from ..audit import Audit, OrderRecord, Run

SOURCE, START, LAST, WITHOUT = "rewind.run", "rewind.start", "rewind.last", "rewind.without"  # keys of a run's settings


@dataclass(frozen=True)
class Step:
    """One move of the model: `run` and `round` say whose updates it was made of, `without` which clients were left out.

    `kept` is the run and the round after which the model that it led to was committed.
    """

    run: int
    round: int
    kept: tuple[int, int]
    without: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Lineage:
    """The steps from the initial model of the run `root` on; rounds that left the model where it was are no steps."""

    root: int
    steps: Sequence[Step]

    def before(self, place: int) -> tuple[int, int]:
        """The run and the round after which the model was committed that a step, by its place, began from."""
        return self.steps[place - 1].kept if place else (self.root, 0)


def lineage(audit: Audit, run: int, last: int | None = None) -> Lineage:
    """What led to the model after the round `last` of a run, by default the newest one; raises `AuditError`.

    The rounds of a run that was rebuilt are those of the run it was rebuilt from, less the clients left out. A round
    without a client that moved the model all the same, as a fit does, belongs to the step before.
    """
    entries = audit.entries(run)  # first, as a run may go on meanwhile
    rounds = {one.number: one for one in audit.rounds(run)}
    taken = _taken(audit.orders(run))
    found, again, start = _begun(audit, audit.find_run(run))
    after = {start: (found, start)}  # by round: the lineage that it is in, and how much of that was there after it
    for entry in entries:
        if entry.kind == "round" and rounds[entry.round].skipped is None:
            step = Step(run, entry.round, (run, entry.round))
            if entry.round - start <= len(again):
                step = replace(again[entry.round - start - 1], kept=step.kept)
            found = _after(found, step, moved_by_nobody=rounds[entry.round].size == 0)
        if entry.kind == "round":
            after[entry.round] = found, len(found.steps)
            if entry.round == last:
                break
        for order in taken.get(entry.number, ()):
            found = _rolled_back(audit, order, after)
    return Lineage(found.root, tuple(found.steps))


def source_of(settings: Mapping[str, Any]) -> tuple[int, int, int, frozenset[str]] | None:
    """Of a run that was rebuilt: from which run, after how many steps, up to which round, and without whom."""
    if SOURCE not in settings:
        return None
    without = frozenset(str(settings[WITHOUT]).split(","))
    return int(settings[SOURCE]), int(settings[START]), int(settings[LAST]), without


def _begun(audit: Audit, run: Run) -> tuple[Lineage, Sequence[Step], int]:
    """What a run began with, the steps that it holds again, and the number of its first commit."""
    source = source_of(run.settings)
    if source is None:
        return Lineage(run.id, ()), (), 0
    number, start, last, without = source
    if number >= run.id:
        raise AuditError(f"run {run.id} says that it was rebuilt from run {number}, which is not older")
    before = lineage(audit, number, last)
    again = [replace(step, without=step.without | without) for step in before.steps[start:]]
    return Lineage(before.root, tuple(before.steps[:start])), again, start


def _after(found: Lineage, step: Step, *, moved_by_nobody: bool) -> Lineage:
    """The lineage with one more step."""
    steps = found.steps
    if moved_by_nobody and steps:
        return Lineage(found.root, [*steps[:-1], replace(steps[-1], kept=step.kept)])
    if not isinstance(steps, list):
        return Lineage(found.root, [*steps, step])
    steps.append(step)  # whoever came to it before knows how many there were
    return found


def _taken(orders: Sequence[OrderRecord]) -> dict[int, list[OrderRecord]]:
    """The roll backs that were carried out, by the number of the entry that tells of them."""
    found: dict[int, list[OrderRecord]] = {}
    for order in orders:
        if order.kind == "roll_back" and order.result == "" and order.entry is not None:
            found.setdefault(order.entry, []).append(order)
    return found


def _rolled_back(audit: Audit, order: OrderRecord, after: Mapping[int, tuple[Lineage, int]]) -> Lineage:
    assert order.round is not None
    if order.other not in (None, order.run):
        return lineage(audit, order.other, order.round)
    found, length = after[order.round]
    return Lineage(found.root, tuple(found.steps[:length]))
