"""What the cells of an evaluation say together: means over seeds with their confidence, and the worst case first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy import special

from .catalog import NONE
from .cell import Cell, Result, scenario, wish

CONFIDENCE = 0.95
FEDAVG = "fedavg"  # the name of the undefended run among the defenses

Scenario = tuple[tuple[str, Any], ...]
Pair = tuple[Result, Result | None]
"""A run's result, and that of the honest clients alone with the same seed."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds; `half` is half the width of its 95 % confidence interval (Student's t), None for one seed.

    >>> Estimate.of([0.9, 0.8, 0.85])
    Estimate(mean=0.85, half=0.124207, seeds=3)
    """

    mean: float
    half: float | None
    seeds: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Estimate | None:
        """The estimate from one value per seed; None where there is none."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        half = None
        if len(known) > 1:
            quantile = float(special.stdtrit(len(known) - 1, (1 + CONFIDENCE) / 2))
            half = round(quantile * stdev(known) / len(known) ** 0.5, 6)
        return cls(round(fmean(known), 6), half, len(known))


@dataclass(frozen=True)
class Entry:
    """One defense under one attack in one federation, over its seeds.

    `final` is the task's figure (`figure` names it), the mean of the last rounds. `gap` is how much of it is lost to
    the honest clients alone, seed by seed, and `excess` how much more often than there the attack gets its wish; both
    None where there is nothing to compare. `keys` are the cells behind it all, `oracles` those of the honest clients.
    """

    scenario: Scenario
    hostile: int
    attack: str
    defense: str
    figure: str
    final: Estimate | None
    oracle: Estimate | None
    gap: Estimate | None
    success: Estimate | None
    excess: Estimate | None
    worst_class_recall: Estimate | None
    auroc: Estimate | None
    recall: Estimate | None
    false_alarm_rate: Estimate | None
    worst_false_alarm_rate: Estimate | None
    seconds: Estimate | None
    defense_seconds: Estimate | None
    skipped: int
    stopped: int
    keys: tuple[str, ...]
    oracles: tuple[str, ...]


@dataclass(frozen=True)
class Standing:
    """A defense over all attacks of one federation, worst case first.

    `worst` is the attack under which it loses most, `fooled` the one that gets its wish most often, `peace` the round
    without an attack. `detection` are means over the attacks: AUROC, recall (true positives), false alarms.
    """

    scenario: Scenario
    hostile: int
    defense: str
    worst: Entry | None
    fooled: Entry | None
    peace: Entry | None
    detection: Mapping[str, float | None]
    seconds: float | None


def entries(cells: Iterable[Cell], results: Mapping[str, Result]) -> tuple[Entry, ...]:
    """Every defense under every attack, in the order of the cells; cells without a result are left out."""
    reached = [cell for cell in cells if cell.key in results]
    oracles = {
        (scenario(cell.config), cell.config["hostile"], cell.config["seed"], cell.config["attack"]): cell.key
        for cell in reached
        if cell.run == "oracle"
    }
    groups: dict[tuple[Scenario, int, str, str], list[tuple[str, str | None]]] = defaultdict(list)
    for cell in reached:
        if cell.run == "oracle":
            continue
        place, hostile, attack = scenario(cell.config), cell.config["hostile"], cell.config["attack"]
        oracle = oracles.get((place, hostile, cell.config["seed"], wish(attack)))
        groups[place, hostile, attack or NONE, cell.config.get("defense", FEDAVG)].append((cell.key, oracle))
    return tuple(_entry(group, found, results) for group, found in groups.items())


def standings(found: Sequence[Entry]) -> tuple[Standing, ...]:
    """Every defense of every federation with hostile clients, the one that loses least in its worst case first."""
    groups: dict[tuple[Scenario, int, str], list[Entry]] = defaultdict(list)
    for entry in found:
        if entry.hostile:
            groups[entry.scenario, entry.hostile, entry.defense].append(entry)
    peace = {(entry.scenario, entry.defense): entry for entry in found if not entry.hostile}
    ranked = [
        Standing(
            scenario=place,
            hostile=hostile,
            defense=defense,
            worst=_most(attacked, lambda entry: entry.gap),
            fooled=_most(attacked, lambda entry: entry.excess),
            peace=peace.get((place, defense)),
            detection={
                name: _mean([getattr(entry, name) for entry in attacked])
                for name in ("auroc", "recall", "false_alarm_rate")
            },
            seconds=_mean([entry.seconds for entry in attacked]),
        )
        for (place, hostile, defense), attacked in groups.items()
    ]
    order = list(dict.fromkeys((standing.scenario, standing.hostile) for standing in ranked))
    return tuple(sorted(ranked, key=lambda one: (order.index((one.scenario, one.hostile)), _lost(one))))


def _entry(
    group: tuple[Scenario, int, str, str], found: Sequence[tuple[str, str | None]], results: Mapping[str, Result]
) -> Entry:
    place, hostile, attack, defense = group
    pairs: list[Pair] = [(results[key], results[oracle] if oracle else None) for key, oracle in found]
    figure: str = pairs[0][0]["figure"]
    runs = [run for run, _ in pairs]

    def over(name: str) -> Estimate | None:
        return Estimate.of(_reached(run, name) for run in runs)

    def detected(name: str) -> Estimate | None:
        return Estimate.of(run["detection"].get(name) for run in runs)

    return Entry(
        scenario=place,
        hostile=hostile,
        attack=attack,
        defense=defense,
        figure=figure,
        final=over(figure),
        oracle=Estimate.of(_reached(oracle, figure) for _, oracle in pairs if oracle),
        gap=Estimate.of(difference(oracle, run, figure) for run, oracle in pairs),
        success=over("attack_success"),
        excess=Estimate.of(difference(run, oracle, "attack_success") for run, oracle in pairs),
        worst_class_recall=over("worst_class_recall"),
        auroc=detected("auroc"),
        recall=detected("recall"),
        false_alarm_rate=detected("false_alarm_rate"),
        worst_false_alarm_rate=detected("worst_false_alarm_rate"),
        seconds=Estimate.of(run["seconds_per_round"] for run in runs),
        defense_seconds=Estimate.of(run["defense_seconds_per_round"] for run in runs),
        skipped=sum(run["skipped"] for run in runs),
        stopped=sum(run["stopped"] is not None for run in runs),
        keys=tuple(key for key, _ in found),
        oracles=tuple(oracle for _, oracle in found if oracle),
    )


def _reached(run: Result, name: str) -> float | None:
    """A figure at the end of a run; nothing is left of a run that was stopped, which an attack may well wish for."""
    value = run["final"].get(name)
    return 0.0 if run["stopped"] and name != "attack_success" else value


def difference(one: Result | None, other: Result | None, name: str) -> float | None:
    """How far one run is ahead of another."""
    if one is None or other is None:
        return None
    ahead, behind = _reached(one, name), _reached(other, name)
    return None if ahead is None or behind is None else ahead - behind


def _most(found: Iterable[Entry], estimate: Callable[[Entry], Estimate | None]) -> Entry | None:
    known = [(value.mean, entry) for entry in found if (value := estimate(entry)) is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def _mean(found: Iterable[Estimate | None]) -> float | None:
    known = [estimate.mean for estimate in found if estimate is not None]
    return fmean(known) if known else None


def _lost(standing: Standing) -> float:
    return standing.worst.gap.mean if standing.worst and standing.worst.gap else float("inf")
