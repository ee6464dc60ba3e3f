"""What of a model the remaining clients' updates account for: the combination of them that is nearest to it.

Replayed updates were computed at models that the removed client had moved, and steered against it; without it they lead
too far. Fitted to the model that came of all, each counts as much as the model bears out, and what only the removed
client put there (a trigger's weights, say) is in no combination of the others' updates.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from hawthorn.strategies import SettingError
from numpy.typing import NDArray

from ..audit import Audit
from .planning import Plan

RIDGE = 0.1  # mean squares of a row: how dear it is to count an update otherwise than the replay does
MOST = 10_000  # updates, whose products fit into memory
ROOM = 1 << 30  # bytes of updates in memory; what needs more lies in a file
COLUMNS = 1 << 16  # looked at together

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fit:
    """A model `(d,)`, how many updates it is combined of, and what share of the way to the fitted model they go.

    `largest` is the greatest change of what one update counts, in parts of the model's move that it was made for.
    """

    row: Floats
    updates: int
    explained: float
    largest: float


def fitted(audit: Audit, plan: Plan, run: int, replayed: Floats, final: Floats) -> Fit:
    """The model `final` `(d,)` as far as it is the `replayed` one plus a combination of accepted updates of `run`.

    Ridge regression of the difference on the updates (Hoerl, Kennard, Technometrics 1970). Raises `SettingError` for
    more updates than can be compared with each other.
    """
    rows = _accepted(audit, plan, run)
    missing = final - replayed
    gram, products = np.zeros((len(rows), len(rows))), np.zeros(len(rows))
    for low in range(0, rows.shape[1], COLUMNS):
        part = rows[:, low : low + COLUMNS].astype(np.float64)
        gram += part @ part.T
        products += part @ missing[low : low + COLUMNS]
    usual = float(np.median(gram.diagonal())) or 1.0
    weights = np.linalg.solve(gram + RIDGE * usual * np.eye(len(rows)), products)
    found = replayed.copy()
    for low in range(0, rows.shape[1], COLUMNS):
        found[low : low + COLUMNS] += weights @ rows[:, low : low + COLUMNS].astype(np.float64)
    whole = float(missing @ missing)
    left = float(((final - found) ** 2).sum())
    return Fit(found, len(rows), 1 - left / whole if whole else 1.0, float(np.abs(weights).max(initial=0.0)))


def _accepted(audit: Audit, plan: Plan, run: int) -> NDArray[Any]:
    """The updates `(n, d)` of all steps that were accepted as they were held again."""
    chosen: list[list[int]] = []
    for number, step in enumerate(plan.steps, plan.start + 1):
        accepted = {one.client for one in audit.contributions(run, number) if one.admitted and one.verdict.accepted}
        admitted = [one.client for one in audit.contributions(step.run, step.round) if one.admitted]
        chosen.append([row for row, client in enumerate(admitted) if client in accepted])
    count = sum(map(len, chosen))
    if not 0 < count <= MOST:
        raise SettingError(
            f"method=fit compares up to {MOST} updates with each other, got {count}: write method=replay"
        )
    matrix: NDArray[Any] | None = None
    filled = 0
    for step, places in zip(plan.steps, chosen, strict=True):
        if not places:
            continue
        rows = audit.updates(step.run, step.round).rows
        if matrix is None:
            matrix = _room(count, rows.shape[1], rows.dtype, str(plan.settings.get("spool", "")))
        for place in places:
            matrix[filled] = rows[place]
            filled += 1
    assert matrix is not None
    return matrix


def _room(n: int, d: int, dtype: np.dtype[Any], spool: str) -> NDArray[Any]:
    """Room for updates `(n, d)`, in a file without a name where there are many."""
    if n * d * dtype.itemsize <= ROOM:
        return np.empty((n, d), dtype)
    with tempfile.TemporaryFile(dir=spool or None) as file:  # the mapping keeps it
        return np.memmap(file, dtype, "w+", shape=(n, d))
