"""What a search has found: the worst attack with its confirmed figures, and all that was tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ..evaluation.catalog import NONE
from ..evaluation.summary import FEDAVG, Entry, Estimate
from ..evaluation.terminal import told as points
from .goal import Goal
from .space import Candidate
from .spec import command, grid_values
from .trials import Trial


@dataclass(frozen=True)
class Findings:
    """What a search has found.

    `trials` are all attacks tried, on the seeds of the search; `runoff` the finalists, on more. `known` is the known
    attack that does most harm in the runoff, `found` the new one, None without any, and `worst` the worse of these.
    `entries` hold their confirmed figures, defended and not, and those in peace; `added` is how much more harm `found`
    does than `known`, seed by seed. `left_out` says what was not searched and why, `failed` the same of cells.
    """

    goal: Goal
    defense: str
    trials: tuple[Trial, ...]
    runoff: tuple[Trial, ...]
    known: Candidate
    found: Candidate | None
    worst: Candidate
    entries: tuple[Entry, ...]
    added: Estimate | None
    left_out: Mapping[str, str]
    failed: Mapping[str, str]

    def entry(self, candidate: Candidate | None, *, defended: bool = True) -> Entry | None:
        """The confirmed figures of an attack, or with None those in peace."""
        place = (candidate.hostile, candidate.attack) if candidate else (0, NONE)
        for entry in self.entries:
            if (entry.hostile, entry.attack) == place and (entry.defense != FEDAVG) == defended:
                return entry
        return None

    @cached_property
    def families(self) -> tuple[tuple[Trial, int], ...]:
        """The trial of each family that did most harm, most harm first, and how many of the family were tried."""
        count = dict.fromkeys((trial.candidate.family for trial in self.trials), 0)
        for trial in self.trials:
            count[trial.candidate.family] += 1
        return tuple((trial, count[trial.candidate.family]) for trial in worst_of_families(self.trials, self.goal))

    @property
    def headline(self) -> str:
        """One line on the worst attack."""
        entry = self.entry(self.worst)
        share = f"{self.worst.hostile} of {self.goal.settings.clients} clients"
        told = f"The worst attack by {share} that hawthorn redteam found against {self.defense}"
        if entry is None or entry.gap is None:
            return told
        cost = f"costs {points(entry.gap)} points of {entry.figure.replace('_', ' ')}"
        if self.goal.wish and entry.excess is not None:
            cost = f"gets its wish {points(entry.excess)} points more often than honest clients alone, and {cost}"
        return f"{told}: it {cost}, on {entry.gap.seeds} fresh seeds."

    def document(self) -> dict[str, Any]:
        """All of it: numbers, text and None."""
        goal = self.goal
        values = grid_values(goal, self.worst)
        return {
            "federation": {name: values[name] for name in values if name not in {"hostile", "attacks", "seeds"}},
            "defense": self.defense,
            "objective": "wish" if goal.wish else "damage",
            "wish": goal.wish or None,
            "budget": {"trials": goal.trials, "minutes": goal.minutes or None, "batch": goal.batch},
            "seeds": {
                "search": list(goal.searching),
                "runoff": list(goal.deciding),
                "confirmation": list(goal.confirming),
            },
            "worst": self._told(self.worst) | {"grid": values, "command": command(goal, self.worst)},
            "known": self._told(self.known),
            "found": self._told(self.found) if self.found else None,
            "added": asdict(self.added) if self.added else None,
            "peace": _plain(self.entry(None)),
            "families": [_tried(trial) | {"tried": count} for trial, count in self.families],
            "runoff": [_tried(trial) for trial in self.runoff],
            "trials": [_tried(trial) for trial in self.trials],
            "left_out": dict(self.left_out),
            "failed": dict(self.failed),
        }

    def _told(self, candidate: Candidate) -> dict[str, Any]:
        return {
            **asdict(candidate),
            "family": candidate.family,
            "defended": _plain(self.entry(candidate)),
            "undefended": _plain(self.entry(candidate, defended=False)),
        }


def harm(trial: Trial, goal: Goal) -> float:
    """What the search wants much of; minus infinity where it could not be measured."""
    found = trial.harm(wishing=bool(goal.wish))
    return float("-inf") if found is None else found


def worst_of_families(trials: Iterable[Trial], goal: Goal) -> list[Trial]:
    """The trial of each family that did most harm, most harm first; of equals the one that was tried first."""
    found: dict[str, Trial] = {}
    for trial in trials:
        best = found.get(trial.candidate.family)
        if best is None or harm(trial, goal) > harm(best, goal):
            found[trial.candidate.family] = trial
    return sorted(found.values(), key=lambda trial: -harm(trial, goal))


def _plain(entry: Entry | None) -> dict[str, Any] | None:
    return None if entry is None else asdict(entry) | {"scenario": dict(entry.scenario)}


def _tried(trial: Trial) -> dict[str, Any]:
    figures = {name: getattr(trial, name) for name in ("damage", "excess", "recall", "auroc", "false_alarm_rate")}
    return {
        **asdict(trial.candidate),
        "family": trial.candidate.family,
        "known": trial.known,
        **{name: asdict(estimate) if estimate else None for name, estimate in figures.items()},
    }
