"""A calibration: all runs of a plan, and what they say of a defense's verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from ..evaluation.cell import Result
from ..evaluation.evaluation import worked_off
from .alarms import Alarms, alarms
from .catching import WINDOW, Catch, catch
from .plan import Plan


@dataclass(frozen=True)
class Calibration:
    """A plan with the results of its cells by key, and why some have none."""

    plan: Plan
    results: Mapping[str, Result]
    failed: Mapping[str, str]

    @cached_property
    def alarms(self) -> tuple[Alarms, ...]:
        """The false alarms of every honest federation."""
        return tuple(found for group in self.plan.honest if (found := alarms(group, self.results)))

    @cached_property
    def catches(self) -> tuple[Catch, ...]:
        """What became of every attack."""
        peace = {(group.task, group.scenario.text): group for group in self.plan.honest}
        return tuple(
            found
            for group in self.plan.hostile_ones
            if (found := catch(group, peace[group.task, group.scenario.text], self.results))
        )

    @property
    def exceeding(self) -> tuple[Alarms, ...]:
        """The honest federations in which verdicts are wrong more often than stated."""
        return tuple(one for one in self.alarms if one.exceeds)

    def document(self) -> dict[str, Any]:
        """All of it: numbers, text and None."""
        return {
            "settings": {
                **self.plan.values,
                "tasks": list(self.plan.tasks),
                "seeds": self.plan.seeds,
                "attack-seeds": self.plan.attack_seeds,
                "window": WINDOW,
            },
            "holds": not self.exceeding,
            "honest": [one.document() for one in self.alarms],
            "attacked": [one.document() for one in self.catches],
            "failed": [
                {"key": cell.key, "config": cell.config, "reason": self.failed[cell.key]}
                for cell in self.plan.cells
                if cell.key in self.failed
            ],
        }


def calibrated(plan: Plan, store: Path, *, workers: int, aside: Console) -> Calibration:
    """The calibration of a plan; progress is told on `aside`."""
    return Calibration(plan, *worked_off(plan.cells, store, workers=workers, ray="", aside=aside))
