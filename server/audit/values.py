"""What a commit is as rows of the database's tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
from hawthorn.strategies import Verdict
from hawthorn.strategies.flower import RoundRecord
from hawthorn.strategies.flower.record import Client

from .schema import packed, plain, plain_data, plain_numbers, storable

LONGEST_NAME = 100  # of a client's metric
MOST_METRICS = 64  # of clients in a round

Values = dict[str, Any]


def now() -> str:
    """The time in UTC, as ISO 8601 to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def round_values(record: RoundRecord) -> Values:
    """A round's own row."""
    names = {node: client.identity for node, client in record.clients.items()}
    quarantined = {names.get(node, str(node)): asdict(one) for node, one in record.quarantined.items()}
    standings = {name: asdict(one) for name, one in record.standings.items()}
    values: Values = {
        "round": record.round,
        "skipped": None if record.skipped is None else storable(record.skipped),
        "seconds": float(record.seconds),
        "size": len(record.verdicts),
        "rolled_back": None if record.rolled_back is None else storable(record.rolled_back),
        "quarantined": plain_data(quarantined),
        "standings": plain_data(standings),
    }
    if record.evidence is not None:
        values["evidence"] = plain_data(record.evidence)
    if record.geometry is not None:
        values |= {
            "size": record.geometry.n,
            "squared_distances": packed(record.geometry.squared_distances),
            "gram": packed(record.geometry.gram),
            "scale": record.geometry.scale.astype("<f8").tobytes(),
            "rank": record.geometry.rank.astype("<i4").tobytes(),
        }
    return values


def verdict_values(record: RoundRecord, digests: Sequence[str] | None) -> list[Values]:
    """A row for each reply: the admitted ones in the geometry's order, then those that were refused."""
    admitted = [(node, True, verdict) for node, verdict in record.verdicts.items()]
    refused = [(node, False, Verdict(False, 0.0, math.nan, {}, reason)) for node, reason in record.refused.items()]
    found: list[Values] = []
    for position, (node, is_admitted, verdict) in enumerate(admitted + refused):
        client = record.clients.get(node, Client(str(node)))
        manifest = record.manifests.get(node) if is_admitted else None
        found.append(
            {
                "round": record.round,
                "position": position,
                "client": client.identity,
                "admitted": is_admitted,
                "accepted": bool(verdict.accepted),
                "weight": float(verdict.weight),
                "p_value": None if math.isnan(verdict.p_value) else float(verdict.p_value),
                "scores": plain_numbers(verdict.scores),
                "reason": _storable_or_none(verdict.reason),
                "standing": verdict.standing,
                "node": str(node),
                "name": storable(client.name),
                "digest": digests[position] if digests and is_admitted else None,
                "manifest": None if manifest is None else plain_data(manifest),
            }
        )
    return found


def metric_values(round: int, metrics: Mapping[str, Any] | None, prefix: str = "") -> list[Values]:
    """A row for each metric; those with a prefix are clients', who may not fill the database with them."""
    named = sorted((prefix + storable(name), value) for name, value in (metrics or {}).items())
    if prefix:
        named = [(name, value) for name, value in named if len(name) <= LONGEST_NAME][:MOST_METRICS]
    return [{"round": round, "name": name, "value": _plain(value)} for name, value in named]


def _plain(value: float | Sequence[float] | np.ndarray[Any, Any]) -> object:
    return [plain(item) for item in value] if isinstance(value, Sequence | np.ndarray) else plain(value)


def _storable_or_none(text: str | None) -> str | None:
    return None if text is None else storable(text)
