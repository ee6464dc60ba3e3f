"""What is run to calibrate a defense: honest federations, and the same ones attacked, each over its seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hawthorn.server.settings import Settings
from hawthorn.strategies import SettingError
from hawthorn.strategies.contract import attackers

from ..evaluation.catalog import NONE
from ..evaluation.cell import Cell
from ..evaluation.grid import recipes
from .scenario import Scenario


@dataclass(frozen=True)
class Group:
    """Runs of one federation that differ in their seed alone; `attack` is empty where nobody attacks."""

    task: str
    scenario: Scenario
    attack: str
    cells: tuple[Cell, ...]

    @property
    def settings(self) -> Settings:
        """The settings, with the first seed."""
        return self.cells[0].settings


@dataclass(frozen=True)
class Plan:
    """All that is run.

    `values` are settings of every federation by name, the defense among them. False alarms are measured in the
    `scenarios`. In the `attacked` ones every one of `attacks` is tried by `hostile` clients, a count or a share, on the
    first `attack_seeds` of the `seeds`.
    """

    values: Mapping[str, Any]
    tasks: tuple[str, ...]
    scenarios: tuple[Scenario, ...]
    attacked: tuple[Scenario, ...]
    attacks: tuple[str, ...]
    hostile: str
    seeds: int
    attack_seeds: int

    @cached_property
    def honest(self) -> tuple[Group, ...]:
        """The federations in which nobody attacks."""
        places = dict.fromkeys(one.text for one in (*self.scenarios, *(self.attacked if self.hostile_ones else ())))
        return tuple(self._group(task, Scenario.parse(text), "", self.seeds) for task in self.tasks for text in places)

    @cached_property
    def hostile_ones(self) -> tuple[Group, ...]:
        """The attacked federations; raises `SettingError` for an attack without anybody hostile."""
        named = [attack for attack in self.attacks if attack != NONE]
        found: list[Group] = []
        for task in self.tasks if named else ():
            for scenario in self.attacked:
                written = self._written(task, scenario)
                clients = Settings.parse(written).clients
                if not attackers(self.hostile, clients):
                    raise SettingError("attacks need hostile clients: write --hostile 1 or more, or --attacks none")
                written |= {"hostile": self.hostile}
                tried = dict.fromkeys(recipe for attack in named for recipe in recipes(attack, written))
                found += [self._group(task, scenario, attack, self.attack_seeds) for attack in tried]
        return tuple(found)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every run once."""
        found = (cell for group in (*self.honest, *self.hostile_ones) for cell in group.cells)
        return tuple({cell.key: cell for cell in found}.values())

    def _group(self, task: str, scenario: Scenario, attack: str, seeds: int) -> Group:
        written = self._written(task, scenario)
        if attack:
            written |= {"hostile": self.hostile, "attack": attack}
        try:
            chosen = [Settings.parse(written | {"seed": seed}) for seed in range(1, seeds + 1)]
        except SettingError as error:
            raise SettingError(f"{task}, {scenario.text}: {error}") from error
        return Group(task, scenario, attack, tuple(Cell("defended", settings) for settings in chosen))

    def _written(self, task: str, scenario: Scenario) -> dict[str, Any]:
        """The settings of a federation that has neither attack nor seed yet; only its last model is evaluated."""
        written = {**self.values, "task": task, **scenario.settings}
        return written | {"evaluate-every": written["rounds"]}
