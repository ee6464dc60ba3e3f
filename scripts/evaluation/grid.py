"""A grid of cells: every combination of tasks, federations, attacks, defenses and seeds."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hawthorn.server.settings import TABLE, Settings
from hawthorn.strategies import SettingError
from hawthorn.strategies.contract import attackers, nearest

from .catalog import ALL, CATALOG, NONE, QUICK, STORY
from .cell import COUNTED, Cell

# What a grid may vary, by its name in a file: the settings that count, attacks, defenses and seeds in the plural.
PLURALS = {"attack": "attacks", "defense": "defenses", "seed": "seeds"}
AXES = (*(name for name in (*COUNTED, "data") if name not in PLURALS), *PLURALS.values())

Values = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Grid:
    """The axes of an evaluation, by the names of settings, each with the values it takes.

    Every federation also runs without an attack, undefended, and with its honest clients alone, because that is what
    figures are compared with. `tolerated` left out is as many clients as are hostile.

    >>> grid = Grid.parse({"attacks": "sign_flip; gaussian", "defenses": ["median", "krum"], "seeds": 2, "hostile": 2})
    >>> len(grid.cells())
    22
    """

    axes: Values

    @classmethod
    def read(cls, path: Path, chosen: Mapping[str, Any] | None = None) -> Grid:
        """The grid in a TOML file, `chosen` values in the place of its own; raises `SettingError`."""
        try:
            written = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(f"{path} cannot be read: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise SettingError(f"{path} is no TOML: {error}") from error
        return cls.parse(written | dict(chosen or {}))

    @classmethod
    def parse(cls, written: Mapping[str, Any]) -> Grid:
        """The grid of these values by name, each one value or several; raises `SettingError` for an unknown name."""
        axes: dict[str, tuple[Any, ...]] = {}
        for name, value in written.items():
            if name not in AXES:
                raise SettingError(f"a grid has no {name!r}; {nearest(name, AXES)}")
            axes[name] = tuple(cast("Sequence[Any]", value)) if isinstance(value, list | tuple) else (value,)
            if not axes[name]:
                raise SettingError(f"{name} must have at least one value")
        if len(axes.get("data", ())) > 1:
            raise SettingError("data must be one folder with the tasks' files, or one file, for a whole grid")
        axes["attacks"] = attacks_in(axes.get("attacks", QUICK))
        axes["seeds"] = _seeds(written.get("seeds", 1))
        axes.setdefault("defenses", (str(TABLE["defense"].default),))
        axes.setdefault("hostile", (3,))
        return cls(axes)

    def cells(self) -> tuple[Cell, ...]:
        """Every cell once; raises `SettingError` for a combination that cannot be run."""
        names = [name for name in self.axes if name not in PLURALS.values()]
        cells: dict[str, Cell] = {}
        for values in itertools.product(*(self.axes[name] for name in names)):
            written = dict(zip(names, values, strict=True))
            written.setdefault("tolerated", str(written["hostile"]))
            for seed in self.axes["seeds"]:
                for cell in self._of_federation(written | {"seed": seed}):
                    cells.setdefault(cell.key, cell)
        return tuple(cells.values())

    def _of_federation(self, written: Mapping[str, Any]) -> list[Cell]:
        """The cells of one federation and seed."""
        peace = dict(written) | {"hostile": 0, "attack": ""}
        named = [attack for attack in self.axes["attacks"] if attack != NONE]
        clients = Settings.parse(peace | {"tolerated": "0"}).clients  # which says what else is wrong
        if named and not attackers(written["hostile"], clients):
            raise SettingError("attacks need at least one hostile client: write hostile=1 or more, or attacks='none'")
        tried = dict.fromkeys(recipe for attack in named for recipe in recipes(attack, written))
        attacked = [dict(written) | {"attack": recipe} for recipe in tried]
        cells: list[Cell] = []
        for scene in [peace, *attacked]:
            settings = Settings.parse(scene)
            cells += [Cell("oracle", settings), Cell("undefended", settings)]
            cells += [
                Cell("defended", Settings.parse(scene | {"defense": defense})) for defense in self.axes["defenses"]
            ]
        return cells


def attacks_in(written: Sequence[Any]) -> tuple[str, ...]:
    """The recipes one by one, also those written with semicolons between them."""
    found: list[str] = []
    for text in written:
        if not isinstance(text, str):
            raise SettingError(f"attacks must be recipes such as 'sign_flip', got {text!r}")
        found += [part.strip() for part in text.split(";") if part.strip()]
    if not found:
        raise SettingError("write at least one attack, or 'none' for the row without one alone")
    return tuple(dict.fromkeys(found))


def _seeds(written: Any) -> tuple[int, ...]:
    """The seeds: those of a list, or as many as one number says, from 1 on."""
    several = isinstance(written, list | tuple)
    found = cast(list[Any], written) if several else [written]
    if not all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in found):
        raise SettingError(f"seeds must be a number of them or a list of whole numbers, got {written!r}")
    if several:
        return tuple(dict.fromkeys(found))
    if not written:
        raise SettingError("seeds must be at least 1, got 0; write a list for seeds of your own")
    return tuple(range(1, written + 1))


def recipes(attack: str, written: Mapping[str, Any]) -> list[str]:
    """The recipes that a name stands for: "story" for the task's own, "all" for those that the task can be put to."""
    if attack not in {ALL, STORY}:
        return [attack]
    from hawthorn.client.attacks import Recipe
    from hawthorn.client.tasks import find_task  # loads the data: only for whoever asks

    from ..federation import check_attack

    settings = Settings.parse({**written, "attack": CATALOG[0]})
    task = find_task(settings.task, settings.data or None)
    if attack == STORY:
        return [task.story]

    def fits(recipe: str) -> bool:
        try:
            check_attack(Recipe.parse(recipe), task, settings)
        except SettingError:
            return False
        return True

    return [recipe for recipe in CATALOG if fits(recipe)]
