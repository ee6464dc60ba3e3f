"""A cell run, and what is kept of it."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean

from hawthorn.strategies import SettingError

from ..detection import Detection, detection
from ..engine import on_engine
from ..federation import Federation, Run
from ..fleet_engine import run_on_fleet
from ..results import Contribution, contributions, final
from .cell import Cell, Result


def federation_of(cell: Cell) -> Federation:
    """The federation of a cell; raises `SettingError` where it cannot be run."""
    return Federation.of(cell.settings, cell.settings.recipe)


def result(cell: Cell) -> Result:
    """What the run of a cell shows: figures over rounds and at the end, detection, seconds; numbers and text only."""
    federation = federation_of(cell)
    run = ran(federation, _name(cell))
    names = run.figures[0] if run.figures else ()
    rounds: dict[str, list[float | None]] = {name: [figures[name] for figures in run.figures] for name in names}
    rounds["attack_success"] = run.attack_success
    return {
        "figure": federation.task.figure,
        "rounds": {name: [_short(value) for value in values] for name, values in rounds.items()},
        "final": {name: final(values) for name, values in rounds.items()},
        "detection": _detection(federation, run),
        "rejected": _rejected(federation, run),
        "verdicts": _verdicts(federation, run),
        "seconds_per_round": run.seconds / max(1, run.rounds),
        "defense_seconds_per_round": fmean(record.seconds for record in run.records) if run.records else None,
        "activation_density": run.activation_density,
        "skipped": sum(record.skipped is not None for record in run.records),
        "stopped": run.stopped,
    }


def ran(federation: Federation, name: str) -> Run:
    """One run: on the fleet, or where the attack is on the messages, on a grid that has some."""
    forged = federation.recipe is not None and federation.recipe.forges and name in {"undefended", "defended"}
    if not forged:
        return run_on_fleet(federation, name)
    if federation.task.learner == "forest":
        raise SettingError(f"{federation.recipe} needs messages, and trees are not sent in any")
    return on_engine("in-process", federation.settings.clients, lambda grid: federation.run(name, grid, lambda _: None))


def _name(cell: Cell) -> str:
    if cell.run != "defended" and not cell.settings.hostile:
        return "no_attack"
    return cell.run


def _attacking(federation: Federation, run: Run) -> list[Contribution]:
    """The replies that count for detection: those of attackers only in rounds in which they attack."""
    active = {
        record.round: federation.recipe is not None and federation.recipe.active(record.round) for record in run.records
    }
    return [one for one in contributions(run, federation.hostile) if not one.hostile or active[one.round]]


def _detection(federation: Federation, run: Run) -> dict[str, float | None]:
    """How well verdicts agree with the truth; empty for runs without verdicts."""
    if not run.records:
        return {}
    replies = _attacking(federation, run)
    found: Detection = detection(
        hostile=[reply.hostile for reply in replies],
        rejected=[not reply.accepted for reply in replies],
        anomaly=[reply.anomaly for reply in replies],
    )
    alarms: dict[str, list[bool]] = defaultdict(list)
    for reply in replies:
        if not reply.hostile:
            alarms[reply.client].append(not reply.accepted)
    return {
        "precision": found.precision,
        "recall": found.recall,
        "false_alarm_rate": found.false_alarm_rate,
        "worst_false_alarm_rate": max((fmean(rejected) for rejected in alarms.values()), default=None),
        "auroc": found.auroc,
    }


def _rejected(federation: Federation, run: Run) -> list[list[int]]:
    """Each client's number, whether it is hostile, and in how many of its rounds it was rejected."""
    found: dict[int, list[int]] = {}
    for reply in contributions(run, federation.hostile):
        client = found.setdefault(int(reply.client), [int(reply.client), int(reply.hostile), 0, 0])
        client[2] += int(not reply.accepted)
        client[3] += 1
    return [found[client] for client in sorted(found)]


def _verdicts(federation: Federation, run: Run) -> list[list[float | None]]:
    """Each reply that counts: round, client, whether it is an attacker's, its p-value, whether it was accepted.

    A reply that admission refused has no p-value.
    """
    return [
        [
            reply.round,
            int(reply.client),
            int(reply.hostile),
            None if reply.p_value is None else float(f"{reply.p_value:.6g}"),
            int(reply.accepted),
        ]
        for reply in _attacking(federation, run)
    ]


def _short(value: float | None) -> float | None:
    """Six digits are enough to draw, and to compare."""
    return None if value is None else round(value, 6)
