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

RIDGE = 0.1  # squares of a usual row: how dear it is to count an update otherwise than the replay does
MOST = 5_000  # rows, whose products fit into memory
LEAST_COLUMNS = 10  # for each row: as many rows as columns would combine to anything, a backdoor too
ROOM = 1 << 30  # bytes of updates in memory; what needs more lies in a file
COLUMNS = 1 << 16  # looked at together

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fit:
    """A model `(d,)`, how many rows it is combined of, and the share that they explain of what the replay was off.

    A row is what a client sent in one round, or in several where `rounds` is above 1.
    """

    row: Floats
    rows: int
    rounds: int
    explained: float


def fitted(audit: Audit, plan: Plan, run: int, replayed: Floats, final: Floats) -> Fit:
    """The model `final` `(d,)` as far as it is the `replayed` one plus a combination of accepted updates of `run`.

    Ridge regression of the difference on the updates (Hoerl, Kennard, Technometrics 1970).
    """
    accepted = _accepted(audit, plan, run)
    rounds = _rounds_in_a_row(accepted, len(final))
    rows = _rows(audit, plan, accepted, rounds)
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
    whole, left = float(missing @ missing), float(((final - found) ** 2).sum())
    return Fit(found, len(rows), rounds, 1 - left / whole if whole else 1.0)


def _accepted(audit: Audit, plan: Plan, run: int) -> list[list[tuple[int, str]]]:
    """For each step, whose updates were accepted as it was held again, with their places among the retained ones."""
    found: list[list[tuple[int, str]]] = []
    for number, step in enumerate(plan.steps, plan.start + 1):
        accepted = {one.client for one in audit.contributions(run, number) if one.admitted and one.verdict.accepted}
        admitted = [one.client for one in audit.contributions(step.run, step.round) if one.admitted]
        found.append([(place, client) for place, client in enumerate(admitted) if client in accepted])
    return found


def _rounds_in_a_row(accepted: list[list[tuple[int, str]]], d: int) -> int:
    """Of how many rounds a client's updates are added up, so that there are few enough rows beside the columns."""
    most = min(MOST, d // LEAST_COLUMNS)
    rounds = 1
    while rounds < len(accepted) and len(_places(accepted, rounds)) > most:
        rounds += 1
    count = len(_places(accepted, rounds))
    if count > MOST:
        raise SettingError(f"a fit compares at most {MOST} clients with each other, got {count}: write --method replay")
    return rounds


def _places(accepted: list[list[tuple[int, str]]], rounds: int) -> dict[tuple[int, str], int]:
    """The place of each row, by the window of so many rounds that it is of, and the client."""
    there = {(number // rounds, client) for number, one in enumerate(accepted) for _, client in one}
    return {key: place for place, key in enumerate(sorted(there))}


def _rows(audit: Audit, plan: Plan, accepted: list[list[tuple[int, str]]], rounds: int) -> NDArray[Any]:
    """What clients sent in each window, `(n, d)`; in a file without a name where there is much of it."""
    places = _places(accepted, rounds)
    matrix: NDArray[Any] | None = None
    for number, (step, present) in enumerate(zip(plan.steps, accepted, strict=True)):
        if not present:
            continue
        sent = plan.updates(audit, step)
        if matrix is None:
            matrix = _room(len(places), sent.shape[1], sent.dtype, str(plan.settings.get("spool", "")))
        for place, client in present:
            matrix[places[number // rounds, client]] += sent[place]
    assert matrix is not None  # not every round was skipped
    return matrix


def _room(n: int, d: int, dtype: np.dtype[Any], spool: str) -> NDArray[Any]:
    """Zeros `(n, d)`."""
    if n * d * dtype.itemsize <= ROOM:
        return np.zeros((n, d), dtype)
    with tempfile.TemporaryFile(dir=spool or None) as file:  # the mapping keeps it
        return np.memmap(file, dtype, "w+", shape=(n, d))
