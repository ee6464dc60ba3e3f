"""An evaluation's document arranged as its page shows it: federations, each with its attacks, defenses and cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from .catalog import NONE
from .cell import Result, scenario
from .summary import FEDAVG, Entry, Estimate, Scenario, Standing

ORACLE = "honest clients only"


@dataclass(frozen=True)
class Group:
    """Cells that differ in their seed alone.

    `config` is theirs without the seed, `data` the file of examples. `results` are by key, with the seed; `failed` as
    well, with the reason.
    """

    config: Mapping[str, Any]
    data: str
    results: dict[str, tuple[int, Result]] = field(default_factory=dict[str, tuple[int, Result]])
    failed: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])

    @property
    def attack(self) -> str:
        """The attack as entries name it."""
        return self.config["attack"] or NONE

    @property
    def defense(self) -> str:
        """The defense as entries name it."""
        return ORACLE if self.config["run"] == "oracle" else self.config.get("defense", FEDAVG)

    @property
    def anchor(self) -> str:
        """The key by which the whole group is found."""
        return next(iter(self.results or self.failed))

    @property
    def seeds(self) -> list[int]:
        """The seeds, in order."""
        return sorted(seed for seed, _ in (*self.results.values(), *self.failed.values()))


@dataclass(frozen=True)
class Federation:
    """Everything about one scenario with one number of hostile clients; what happened in peace belongs to it."""

    place: Scenario
    hostile: int
    standings: tuple[Standing, ...]
    entries: Mapping[tuple[str, str], Entry]
    groups: tuple[Group, ...]

    @property
    def figure(self) -> str:
        """The name of the task's figure."""
        return next((entry.figure for entry in self.entries.values()), "accuracy").replace("_", " ")

    @cached_property
    def defenses(self) -> tuple[str, ...]:
        """The defenses, the one that loses least at worst first."""
        ranked = [one.defense for one in self.standings]
        others = [group.defense for group in self.groups if group.defense != ORACLE]
        return tuple(dict.fromkeys([*ranked, *others]))

    @cached_property
    def attacks(self) -> tuple[str, ...]:
        """The attacks, the one that costs defenses most first; last comes none."""
        names = dict.fromkeys(group.attack for group in self.groups if group.defense != ORACLE)
        return tuple(sorted(names, key=lambda attack: (attack == NONE, -self._harm(attack))))

    def _harm(self, attack: str) -> float:
        defended = [defense for defense in self.defenses if defense != FEDAVG] or self.defenses
        found = [entry.gap.mean for defense in defended if (entry := self.entries.get((attack, defense))) and entry.gap]
        return max(found, default=0.0)

    @cached_property
    def failures(self) -> Mapping[tuple[str, str], list[str]]:
        """The keys of the cells without a result, by attack and defense."""
        found: dict[tuple[str, str], list[str]] = {}
        for group in self.groups:
            if group.failed:
                found.setdefault((group.attack, group.defense), []).extend(group.failed)
        return found


def federations(document: Mapping[str, Any]) -> tuple[Federation, ...]:
    """The federations of a document (see `Evaluation.document`), in the order of its cells."""
    entries = [_entry(written) for written in document["entries"]]
    standings = [_standing(written, entries) for written in document["standings"]]
    groups = _groups(document)
    places = dict.fromkeys((scenario(one.config), one.config["hostile"]) for one in groups)
    attacked = {place for place, hostile in places if hostile}
    return tuple(
        _federation(place, hostile, standings, entries, [one for one in groups if scenario(one.config) == place])
        for place, hostile in places
        if hostile or place not in attacked
    )


def short_names(defenses: Iterable[str]) -> dict[str, str]:
    """What each defense is called where there is little room: its steps, and what sets it apart from its like.

    >>> short_names(["nnm | krum; f=2; policy=none", "median; f=2", "median; f=3"])
    {'nnm | krum; f=2; policy=none': 'nnm | krum', 'median; f=2': 'median; f=2', 'median; f=3': 'median; f=3'}
    """
    parts = {text: [part.strip() for part in text.split(";")] for text in defenses}
    like = Counter(steps for steps, *_ in parts.values())
    told = Counter((steps, one) for steps, *options in parts.values() for one in options)
    names: dict[str, str] = {}
    for text, (steps, *options) in parts.items():
        apart = [one for one in options if told[steps, one] < like[steps]]
        names[text] = "undefended" if text == FEDAVG else "; ".join([steps, *apart])
    return names


def _federation(
    place: Scenario, hostile: int, standings: Sequence[Standing], entries: Sequence[Entry], groups: Sequence[Group]
) -> Federation:
    """The federation, with what happened in peace to the defenses that it has: others tolerate other numbers."""
    here = {one.defense for one in groups if one.config["hostile"] == hostile}
    elsewhere = {one.defense for one in groups if one.config["hostile"]} - here

    def belongs(count: int, defense: str) -> bool:
        return count == hostile or (not count and defense not in elsewhere)

    return Federation(
        place=place,
        hostile=hostile,
        standings=tuple(one for one in standings if (one.scenario, one.hostile) == (place, hostile)),
        entries={
            (entry.attack, entry.defense): entry
            for entry in entries
            if entry.scenario == place and belongs(entry.hostile, entry.defense)
        },
        groups=tuple(one for one in groups if belongs(one.config["hostile"], one.defense)),
    )


def _groups(document: Mapping[str, Any]) -> list[Group]:
    """The cells, those that have a result and those that have none, grouped."""
    found: dict[tuple[Any, ...], Group] = {}

    def group(written: Mapping[str, Any]) -> tuple[int, Group]:
        config = {name: value for name, value in written["config"].items() if name != "seed"}
        data = written["data"]
        return written["config"]["seed"], found.setdefault((*config.items(), data), Group(config, data))

    for key, written in document["cells"].items():
        seed, one = group(written)
        one.results[key] = (seed, written["result"])
    for written in document["failed"]:
        seed, one = group(written)
        one.failed[written["key"]] = (seed, written["reason"])
    return list(found.values())


def _entry(written: Mapping[str, Any]) -> Entry:
    values = dict(written)
    for name, value in values.items():
        if isinstance(value, Mapping) and name != "scenario":
            values[name] = Estimate(**cast(dict[str, Any], value))
    values["scenario"] = tuple(written["scenario"].items())
    return Entry(**values)


def _standing(written: Mapping[str, Any], entries: Sequence[Entry]) -> Standing:
    values = dict(written)
    for name in ("worst", "fooled", "peace"):
        values[name] = None if written[name] is None else entries[written[name]]
    values["scenario"] = tuple(written["scenario"].items())
    return Standing(**values)
