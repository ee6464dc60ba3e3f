"""What a guard watches: figures in the metrics of a model, or in what clients report of it, and words for a fall."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from flwr.app import MetricRecord

from .changes import CONSISTENT, Fall, Figure, Floats, share_noise

ACCURACY, LOSS, DENSITY = "accuracy", "loss", "activation-density"
RECALLS, COUNTS, EXAMPLES = "class-recalls", "class-examples", "num-examples"
CLIENTS = "clients' "  # what the names of figures that clients report begin with

LOSS_NOISE = 0.05  # the standard error of a loss's logarithm: a twentieth of the loss
LEAST_LOSS = 1e-3  # below it losses tell nothing apart
DENSITY_NOISE = 0.01  # of a density, which is exact: how far training alone moves it in a round
DENSITY_GROWTH = 10.0  # times that noise by which it may grow in the long run: models fill up as they learn
MEDIAN_NOISE = 1.2533  # the standard error of a median, in that of a mean


@dataclass(frozen=True)
class Kind:
    """How a metric is spoken of; of those that `fall` when a model becomes worse more is better."""

    words: str
    falls: bool = True
    logarithm: bool = False

    def goodness(self, values: Sequence[float] | Floats) -> Floats:
        """The values `(k,)` as figures that are the better the larger."""
        found = np.asarray(values, dtype=np.float64)
        found = np.log(np.maximum(found, LEAST_LOSS)) if self.logarithm else found
        return found if self.falls else -found

    def shown(self, goodness: float) -> str:
        """A figure as it was in the metrics."""
        value = goodness if self.falls else -goodness
        return f"{math.exp(value) if self.logarithm else value:.3g}"


def kind(name: str) -> Kind:
    """The kind of a metric; one that is not known is the better the larger it is."""
    return KINDS.get(name, Kind(f"the {name}"))


KINDS = {
    LOSS: Kind("the loss", falls=False, logarithm=True),
    RECALLS: Kind("the recall of class {part}"),
    DENSITY: Kind("the share of activations other than zero", falls=False),
}


def told(name: str, fall: Fall) -> str:
    """What a fall is in words.

    >>> told("class-recalls", Fall(part=3, usual=0.94, found=0.1, allowed=0.2))
    'the recall of class 3 fell from 0.94 to 0.1, where the rounds before allow 0.74'
    """
    metric = kind(name.removeprefix(CLIENTS))
    subject = metric.words.format(part=fall.part) + (" on the clients' examples" if name.startswith(CLIENTS) else "")
    usual, found = metric.shown(fall.usual), metric.shown(fall.found)
    if fall.slow:
        return f"{subject} {'fell' if metric.falls else 'rose'} over several rounds from {usual} to {found}"
    bound = metric.shown(fall.usual - fall.allowed)
    verb = "fell" if metric.falls else "rose"
    return f"{subject} {verb} from {usual} to {found}, where the rounds before allow {bound}"


def not_finite(metrics: MetricRecord, overall: str) -> str | None:
    """Which watched metric holds NaN or infinity, in words; None if none does. A class without examples has no recall.

    >>> not_finite(MetricRecord({"loss": float("nan")}), "accuracy")
    'the loss is nan'
    """
    counts = _numbers(metrics, COUNTS)
    for name in (LOSS, overall, DENSITY, RECALLS):
        for part, value in enumerate(_numbers(metrics, name)):
            absent = name == RECALLS and part < len(counts) and counts[part] == 0
            if not absent and not math.isfinite(value):
                return f"{kind(name).words.format(part=part)} is {value}"
    return None


def lost(reports: Mapping[str, MetricRecord], *, least: int) -> str | None:
    """Which metric is NaN or infinite at more than half of the clients, in words; None if none is.

    >>> lost({"a": MetricRecord({"loss": float("nan")}), "b": MetricRecord({"loss": float("inf")})}, least=2)
    'the loss is not finite at 2 of 2 clients'
    """
    for name in (LOSS, ACCURACY):
        broken = sum(not math.isfinite(value) for value in _votes(reports, name))
        if len(reports) >= least and 2 * broken > len(reports):
            return f"{kind(name).words} is not finite at {broken} of {len(reports)} clients"
    return None


def figures(metrics: MetricRecord, *, overall: str, examples: int, collapse: float) -> list[Figure]:
    """What the metrics of a model on a holdout let a guard watch: the metric `overall` or, where it is not there, the
    loss; the recall of each class; the density of activations.

    `examples` is the size of the holdout, 0 where the metrics may tell it (`class-examples`, `num-examples`).
    """
    found: list[Figure] = []
    counts = _numbers(metrics, COUNTS)
    total = examples or sum(counts) or next(iter(_numbers(metrics, EXAMPLES)), 0)
    name = overall if overall in metrics else LOSS
    values = kind(name).goodness(_numbers(metrics, name)[:1])
    if len(values):
        found.append(Figure(name, values, _noise(name, values, [total]), slow=1.0, collapse=collapse))
    recalls = np.array(_numbers(metrics, RECALLS))
    if len(recalls) and len(counts) == len(recalls):
        # a class without examples has no recall to lose
        found.append(Figure(RECALLS, np.where(np.array(counts) > 0, recalls, 0), _noise(RECALLS, recalls, counts)))
    density = kind(DENSITY).goodness(_numbers(metrics, DENSITY)[:1])
    if len(density):
        found.append(Figure(DENSITY, density, np.array([DENSITY_NOISE]), slow=DENSITY_GROWTH))
    return found


def reported(reports: Mapping[str, MetricRecord], *, least: int, collapse: float) -> list[Figure]:
    """What the clients' reports of a model let a guard watch: the median of the accuracy, or else of the loss.

    It is watched by the first of the two that more than half of the reports have, so that a few cannot change which.
    One client, one vote: the counts that they claim weigh nothing. Fewer than `least` clients tell nothing.

    >>> reports = {str(k): MetricRecord({"accuracy": share}) for k, share in enumerate([0.9, 0.8, 0.0])}
    >>> reported(reports, least=3, collapse=1.0)[0].goodness
    array([0.8])
    """
    for name in (ACCURACY, LOSS):
        told = _votes(reports, name)
        values = [value for value in told if math.isfinite(value)]
        if 2 * len(told) > len(reports) and len(values) >= least:
            goodness = kind(name).goodness(values)
            middle = np.median(goodness)
            spread = CONSISTENT * np.median(np.abs(goodness - middle))
            noise = np.array([MEDIAN_NOISE * spread / math.sqrt(len(values))])
            return [Figure(CLIENTS + name, np.array([middle]), noise, slow=1.0, collapse=collapse)]
    return []


def _noise(name: str, values: Floats, counts: Sequence[float]) -> Floats:
    """The standard errors `(k,)` that the size of a holdout gives figures; 0 where that is not known."""
    if name == LOSS:
        return np.array([LOSS_NOISE])
    known = np.array(counts, dtype=np.float64)
    return np.where(known > 0, share_noise(values, known), 0.0)


def _votes(reports: Mapping[str, MetricRecord], name: str) -> list[float]:
    """What a metric is in the reports that have it."""
    return [value for report in reports.values() for value in _numbers(report, name)[:1]]


def _numbers(metrics: MetricRecord, name: str) -> list[float]:
    value: Any = metrics.get(name)
    if isinstance(value, list):
        return [float(one) for one in cast("list[Any]", value)]
    return [float(value)] if isinstance(value, int | float) else []
