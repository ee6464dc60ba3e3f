"""What clients report beside their updates: metrics that the federation averages, though any of them may lie."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from flwr.app import Message, MetricRecord, RecordDict

from .admission import Claims, Refused, Roll, claimed_examples, metrics_of, number, shown

logger = logging.getLogger(__name__)

LARGEST_SHARE = 4  # times the median claim
FLAGS = frozenset({"norm_bit"})  # Flower's adaptive clipping reads this one as a truth value, of which 0.3 is none


def capped(claims: Sequence[float | None], most: float | None = None) -> list[float]:
    """A weight for each claimed number of examples, none above `most`, by default four times the median claim.

    Who claims nothing weighs as much as the median of those who do, or 1 where nobody does.

    >>> capped([100, 120, None, 1e12])
    [100.0, 120.0, 120.0, 480.0]
    """
    told = [claim for claim in claims if claim is not None]
    usual = float(np.median(told)) if told else 1.0
    limit = LARGEST_SHARE * usual if most is None else most
    return [min(usual if claim is None else float(claim), limit) for claim in claims]


def shapes(reports: Sequence[Claims]) -> dict[str, int]:
    """The metrics that more than half of the reports have, each with its length: -1 for a single number.

    >>> shapes([{"loss": 0.5, "recall": [0.9, 0.8]}, {"loss": 0.4, "recall": [0.7, 0.9]}, {"loss": 1, "x": 0}])
    {'loss': -1, 'recall': 2}
    """
    votes = Counter((name, _length(value)) for report in reports for name, value in report.items())
    majority = sum(1 for report in reports if report) // 2 + 1
    return {name: length for (name, length), count in sorted(votes.items()) if count >= majority}


def merged(reports: Sequence[Claims], weights: Sequence[float], counted_by: str) -> MetricRecord:
    """The weighted mean of the reports, without what is not finite; under `counted_by` the sum of the weights.

    >>> merged([{"loss": 1.0}, {"loss": 3.0}, {"loss": float("nan")}], [1, 1, 1], "num-examples")
    {'loss': 2.0, 'num-examples': 3}
    """
    record = MetricRecord()
    for name, length in shapes(reports).items():
        values = [
            (found, weight)
            for report, weight in zip(reports, weights, strict=True)
            if name in report and (found := _numbers(report[name], length)) is not None
        ]
        if name == counted_by or not values:
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.average(np.array([v for v, _ in values]), axis=0, weights=[w for _, w in values])
        if np.isfinite(mean).all():
            mean = mean.round() if name in FLAGS else mean
            record[name] = mean.tolist() if length >= 0 else float(mean[0])
    record[counted_by] = _whole(sum(weights))
    return record


def well_formed(
    replies: Iterable[Message], asked: Sequence[Message], distrusted: Set[int], counted_by: str, most: float | None
) -> tuple[list[Message], dict[int, MetricRecord]]:
    """The evaluation replies that can be averaged, reduced to the metrics they share, with capped counts; and what each
    node told that may be listened to, whether it can be averaged or not.

    Left out is a reply that is an error, a stranger's or a distrusted client's, or lacks a metric that most clients
    report, or has one that is not finite. Where nobody claims a count, every client counts as one example.
    """
    roll = Roll(asked)
    names: Counter[str] = Counter()
    reports: list[tuple[int, Claims, float | None]] = []
    for reply in replies:
        try:
            node = roll.sender(reply)
            if node in distrusted:
                continue  # logged when its update was refused or rejected
            name, claims = metrics_of(reply)
            reports.append((node, claims, claimed_examples(claims, counted_by)))
            names[name] += 1
        except Refused as refusal:
            roll.refuse(reply, str(refusal))
        except Exception as error:  # whatever a client can make go wrong is its own loss
            roll.refuse(reply, f"the reply cannot be read: {type(error).__name__}: {shown(str(error))}")
    reports.sort(key=lambda report: report[0])  # sums must not depend on who was first
    expected = shapes([claims for _, claims, _ in reports])
    weights = capped([examples for _, _, examples in reports], most)
    clean: list[Message] = []
    for (node, claims, _), weight in zip(reports, weights, strict=True):
        fault = _fault(claims, expected)
        if fault:
            logger.warning("evaluation of node %d left out: %s", node, fault)
            continue
        record = MetricRecord({name: claims[name] for name in expected} | {counted_by: _whole(weight)})
        clean.append(Message(RecordDict({names.most_common(1)[0][0]: record}), reply_to=roll.by_node[node]))
    return clean, {node: MetricRecord(claims) for node, claims, _ in reports}


def _fault(report: Claims, expected: Mapping[str, int]) -> str | None:
    """What is wrong with a report that should have the expected metrics, None if nothing is."""
    for name, length in expected.items():
        if name not in report:
            return f"the metric {name!r} is missing"
        if _numbers(report[name], length) is None:
            kind = "a finite number" if length < 0 else f"{length} finite numbers"
            return f"the metric {name!r} must be {kind}, got {shown(report[name])}"
    return None


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else -1  # pyright: ignore[reportUnknownArgumentType]


def _numbers(value: Any, length: int) -> list[float] | None:
    """The value as a list of finite numbers, or None unless it is `length` of them (-1: a single one)."""
    if _length(value) != length:
        return None
    numbers = [number(one) for one in (value if length >= 0 else [value])]
    return None if None in numbers else [one for one in numbers if one is not None]


def _whole(value: float) -> int | float:
    return int(value) if float(value).is_integer() else value
