"""The checks together: what is looked at, what is dropped, and at what cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from hawthorn.strategies.contract import Call, check_options, nearest
from hawthorn.strategies.errors import SettingError

from ..tasks.examples import Examples, thinned
from .digest import dataset_digest
from .drift import Sketch, drifts
from .neighbors import Neighborhood, duplicates, labels, leaks, near_duplicates, outliers
from .report import Check, Finding, Report
from .spectral import penultimate, triggers

ACTIONS = ("report", "warn", "drop")


@dataclass(frozen=True)
class Vetting:
    """How data are vetted, as a call: `drop`, or `warn(neighbors=5)`.

    `report` and `warn` only tell, `drop` leaves out what is found. `neighbors` have a vote on a label; labels are
    judged where the share `power` of wrong ones would be noticed. `level` is the probability of a false alarm of drift,
    and of outliers where distances are log-normal. Triggers lie so many `deviations` apart from their class. Of more
    than `most` examples a part is looked at, always the same, in which every class has its share.
    """

    action: str = "report"
    neighbors: int = 10
    power: float = 0.8
    level: float = 0.01
    deviations: float = 8.0
    most: int = 5_000

    @classmethod
    def parse(cls, text: str) -> Vetting:
        """The vetting that is written; raises `SettingError`.

        >>> Vetting.parse("drop(neighbors=5)").neighbors
        5
        """
        call = Call.parse(text)
        if call.name not in ACTIONS:
            raise SettingError(f"vetting must be one of {', '.join(ACTIONS)}: {nearest(call.name, ACTIONS)}")
        check_options(call.name, _options, dict(call.options))
        vetting = replace(cls(call.name), **dict(call.options))
        vetting._check()
        return vetting

    def _check(self) -> None:
        for name, least in (("neighbors", 1), ("most", 100)):
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SettingError(f"vetting: {name} must be a whole number of at least {least}, got {value!r}")
        for name, largest in (("power", 1.0), ("level", 1.0), ("deviations", math.inf)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < largest:
                raise SettingError(f"vetting: {name} must be a number above 0, below {largest:g}, got {value!r}")


def _options(
    *, neighbors: int = 10, power: float = 0.8, level: float = 0.01, deviations: float = 8.0, most: int = 5_000
) -> None:
    """What can be written behind an action."""


def vetted(
    data: Examples,
    held_out: Examples | None = None,
    *,
    vetting: Vetting | None = None,
    model: torch.nn.Module | None = None,
    before: Sketch | None = None,
) -> Report:
    """What is wrong with a site's examples, the same for the same data.

    `held_out` are those it judges models by, `model` the one that is about to be trained on, in whose features triggers
    are looked for too, and `before` what is remembered of the data of the round before.
    """
    vetting = vetting or Vetting()
    report = replace(of_data(data, held_out, vetting), drifts=changes(data, before, vetting))
    return with_triggers(report, data, vetting, model)


def of_data(data: Examples, held_out: Examples | None, vetting: Vetting) -> Report:
    """What data alone tell, whatever the model and the round: all checks but that for triggers."""
    looked, places = _looked_at(data, vetting)
    hood = Neighborhood.of(looked.x, vetting.neighbors)
    rng = np.random.default_rng(0)
    judging = held_out if held_out is not None else data[:0]
    found = [
        labels(looked, hood, vetting.neighbors, vetting.power, rng),
        duplicates(looked, hood),
        near_duplicates(looked, hood),
        leaks(looked, judging, hood),
        outliers(looked, hood, vetting.neighbors, vetting.level),
    ]
    checks = tuple(check for check, _ in found)
    findings = tuple(replace(one, example=int(places[one.example])) for _, many in found for one in many)
    counts = tuple(int(count) for count in np.bincount(data.y, minlength=data.classes))
    return Report(vetting.action, len(data), dataset_digest(data), counts, checks, findings)


def changes(data: Examples, before: Sketch | None, vetting: Vetting) -> tuple[Any, ...]:
    """How the data differ from those of the round before, as far as anything is remembered of these."""
    return () if before is None else drifts(before, Sketch.of(data), vetting.level)


def with_triggers(report: Report, data: Examples, vetting: Vetting, model: torch.nn.Module | None) -> Report:
    """The report with triggers looked for, in the model's features too, and with what is to be dropped."""
    looked, places = _looked_at(data, vetting)
    features = None if model is None else penultimate(model, looked.x)
    check, found = triggers(looked, vetting.deviations, features)
    findings = (*report.findings, *(replace(one, example=int(places[one.example])) for one in found))
    told: tuple[Check, ...] = (*report.checks, check)
    whole = replace(report, checks=told, findings=findings)
    if vetting.action != "drop":
        return whole
    dropped, spared = _dropped(findings, data)
    return replace(whole, dropped=dropped, spared=spared)


def kept(data: Examples, report: Report) -> Examples:
    """The examples that the report does not drop."""
    return (
        data[np.setdiff1d(np.arange(len(data)), np.array(report.dropped, dtype=np.int64))] if report.dropped else data
    )


def _looked_at(data: Examples, vetting: Vetting) -> tuple[Examples, np.ndarray[Any, Any]]:
    places = thinned(data, vetting.most) if len(data) > vetting.most else np.arange(len(data))
    return data[places], places


def _dropped(findings: Sequence[Finding], data: Examples) -> tuple[tuple[int, ...], dict[int, int]]:
    """The places of what is dropped, and the classes that are spared: those that would lose more than half.

    Copies go in any case, since one of each stays.
    """
    copies = {one.example for one in findings if one.drop and one.reason.startswith("a copy of")}
    doubted = {one.example for one in findings if one.drop} - copies
    spared: dict[int, int] = {}
    for label in sorted({int(data.y[i]) for i in doubted}):
        members = {i for i in doubted if data.y[i] == label}
        distinct = int(np.sum(data.y == label)) - sum(data.y[i] == label for i in copies)
        if 2 * len(members) > distinct:
            spared[label] = len(members)
            doubted -= members
    return tuple(sorted(copies | doubted)), spared
