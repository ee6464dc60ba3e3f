"""Scores of the company a client keeps: whom its updates agree with over the rounds, and whose they resemble."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..contract import Floats, score
from ..evidence import History
from ..geometry import Geometry
from ..pairs import averaged
from ..rules.center import geometric_median

LEAST = 0.02  # what a round counts at least, in which honest clients hardly agree themselves
CLOSEST = 0.995  # cosines above are one and the same: copies
NOTHING = 1e-10  # of a row's square: less is left of rows that agree to rounding


@score(spread=0.05)
def agreement(
    geometry: Geometry,
    f: int,
    history: History,
    *,
    clients: tuple[str, ...] | None = None,
    memory: Mapping[str, Any] | None = None,
) -> tuple[Floats, dict[str, Any] | None]:
    """How little a client's updates agree with the other clients': 1 minus the cosine, 0 to 2.

    Cosines of each pair are averaged over the rounds; of a client's averages the f least and the f largest are left
    out, so that up to f colluders neither vouch for each other nor accuse anybody. A round counts by how far clients
    agree in it: late in training hardly anybody does, and that says nothing of anybody. Averages see label flippers and
    sign flippers among clients with unlike data, whom no single round tells from the others.

    >>> rows = np.array([[1.0, 0.1], [1.0, -0.1], [1.0, 0.0], [1.0, 0.2], [-1.0, 0.0]])
    >>> agreement(Geometry.of(rows), f=1).round(1)
    array([0., 0., 0., 0., 2.])
    """
    cosines = geometry.cosines
    weight = max(float(np.median(_middle(cosines, f))), LEAST)
    over_rounds, after = averaged(cosines, weight, clients, memory)
    return 1 - _middle(over_rounds, f), after


@score(spread=0.15)
def similarity(
    geometry: Geometry,
    f: int,
    history: History,
    *,
    clients: tuple[str, ...] | None = None,
    memory: Mapping[str, Any] | None = None,
) -> tuple[Floats, dict[str, Any] | None]:
    """How much a client's updates resemble one other client's, beyond what all have in common: `atanh` of the cosine.

    Rows are taken at unit length and seen from their geometric median; cosines of each pair are averaged over the
    rounds. Two honest clients are alike as far as their data is; sybils, colluders and those who copy another client's
    updates are more alike than that, and still so with noise of their own, which other pairs have too. Of two copies,
    both are alike.

    Source of the idea: Fung, Yoon, Beschastnikh, RAID 2020, https://arxiv.org/abs/1808.04866, which compares whole
    updates: among honest clients with like data those are alike too.

    >>> rows = np.vstack([np.eye(6), np.eye(6)[5]]) + 1.0  # the last two are one
    >>> similarity(Geometry.of(rows), f=1).round(1)
    array([0., 0., 0., 0., 0., 3., 3.])
    """
    n = geometry.n
    if n < 3:
        return np.zeros(n), None if memory is None else dict(memory)  # two say nothing of who is alike
    unit = geometry.unit()
    seen = unit.centered(geometric_median.function(unit))
    lengths = np.sqrt(np.diag(seen))
    inverse = np.divide(1.0, lengths, out=np.zeros(n), where=lengths > np.sqrt(NOTHING))
    over_rounds, after = averaged(seen * inverse[:, None] * inverse[None, :], 1.0, clients, memory)
    others = over_rounds - 3.0 * np.eye(n)
    return np.arctanh(np.clip(others.max(axis=1), 0.0, CLOSEST)), after


def _middle(cosines: Floats, f: int) -> Floats:
    """The mean of each row of `(n, n)` without its diagonal and its f least and f largest values."""
    n = len(cosines)
    if n == 1:
        return np.ones(1)
    others = np.sort(cosines[~np.eye(n, dtype=bool)].reshape(n, n - 1), axis=1)
    cut = min(f, (n - 2) // 2)
    return others[:, cut : n - 1 - cut].mean(axis=1)
