"""An evaluation: its cells worked off, and everything that they say, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hawthorn.strategies import SettingError
from hawthorn.strategies.kernels.tasks import cores
from rich.console import Console

from .cell import Cell, Result
from .grid import Grid
from .store import Store
from .summary import Entry, Standing, entries, standings
from .terminal import Progressing
from .work import results


@dataclass(frozen=True)
class Evaluation:
    """A grid with the results of its cells by key, and why some have none."""

    grid: Grid
    cells: tuple[Cell, ...]
    results: Mapping[str, Result]
    failed: Mapping[str, str]

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """Every defense under every attack."""
        return entries(self.cells, self.results)

    @cached_property
    def standings(self) -> tuple[Standing, ...]:
        """Every defense, the one that loses least in its worst case first."""
        return standings(self.entries)

    def document(self) -> dict[str, Any]:
        """All of it: numbers, text and None. Standings name their entries by the place in `entries`."""
        places = {id(entry): place for place, entry in enumerate(self.entries)}

        def place(entry: Entry | None) -> int | None:
            return None if entry is None else places[id(entry)]

        return {
            "grid": {name: list(values) for name, values in self.grid.axes.items()},
            "standings": [
                {
                    "scenario": dict(one.scenario),
                    "hostile": one.hostile,
                    "defense": one.defense,
                    "worst": place(one.worst),
                    "fooled": place(one.fooled),
                    "peace": place(one.peace),
                    "detection": dict(one.detection),
                    "seconds": one.seconds,
                }
                for one in self.standings
            ],
            "entries": [asdict(entry) | {"scenario": dict(entry.scenario)} for entry in self.entries],
            "cells": {
                cell.key: {"config": cell.config, "data": cell.settings.data, "result": self.results[cell.key]}
                for cell in self.cells
                if cell.key in self.results
            },
            "failed": [
                {
                    "key": cell.key,
                    "config": cell.config,
                    "data": cell.settings.data,
                    "reason": self.failed[cell.key],
                }
                for cell in self.cells
                if cell.key in self.failed
            ],
        }


def evaluated(grid: Grid, store: Path, *, workers: int, ray: str, aside: Console) -> Evaluation:
    """The evaluation of a grid; progress is told on `aside`."""
    cells = grid.cells()
    return Evaluation(grid, cells, *worked_off(cells, store, workers=workers, ray=ray, aside=aside))


def worked_off(
    cells: Sequence[Cell], store: Path, *, workers: int, ray: str, aside: Console
) -> tuple[dict[str, Result], dict[str, str]]:
    """The results of cells by their keys, and why some have none; every cell is checked before the first one runs.

    `workers` are processes, 0 for as many as there are cores; progress is told on `aside`.
    """
    from .run import federation_of  # torch and Flower are for whoever runs something

    for cell in cells:
        try:
            federation_of(cell)
        except SettingError as error:
            raise SettingError(f"{_place(cell)}: {error}") from error
    for remark in dict.fromkeys(cell.settings.remark for cell in cells if cell.run == "defended"):
        if remark:
            aside.print(remark, style="yellow", highlight=False, markup=False)
    with Store(store) as kept, Progressing(aside, len(cells)) as progress:
        return results(cells, kept, workers=workers or cores(), ray=ray, watch=progress.after)


def _place(cell: Cell) -> str:
    return f"{cell.settings.task}, {cell.settings.attack or 'no attack'}, {cell.run}"
