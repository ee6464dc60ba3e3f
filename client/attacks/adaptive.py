"""Colluding attacks that know the defense and try what it makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hawthorn.strategies.contract import attack, nearest, number_between, whole_number
from hawthorn.strategies.errors import SettingError

from .knowledge import Answer, answering

Updates = npt.NDArray[np.float64]
Row = npt.NDArray[np.float64]
FAMILIES = ("ipm", "alie", "unseen")
LEAST = 0.05  # the smallest factor tried
GOLDEN = (5**0.5 - 1) / 2


@attack
def optimized(
    honest: Updates,
    f: int,
    *,
    family: str = "alie",
    most: float = 10.0,
    steps: int = 24,
    defense: Any = None,
    own: Updates | None = None,
    trusted: Row | None = None,
) -> Updates:
    """f times the honest mean plus the factor times a direction, the factor that takes the defense's answer farthest.

    `family` "ipm" goes along the honest mean (a factor of -1 - epsilon is ipm(epsilon)), "alie" along the standard
    deviations (a factor of -z is alie(z)), "unseen" along what the honest mean has besides the direction of `trusted`,
    the server's own update, so that whoever compares with that one sees no difference; where there is none, the mean of
    what the hostile trained themselves (`own`) stands for it. `defense`, a `Defense` or a function from updates
    `(n, d)` to `(d,)`, sees the honest rows first; what counts is the distance from its answer to the honest mean, and
    an answer of None leaves the model, so it counts as zeros. Both signs are tried, from 0.05 to `most`, at half of the
    `steps`; the other half closes in on the best by golden sections.

    Allouah et al., AISTATS 2023, https://arxiv.org/abs/2302.01772 (a line search for ALIE and for the inner product)

    >>> optimized(np.array([[0.0], [2.0]]), 1, defense=lambda rows: rows.mean(axis=0), most=3.0).round(6)
    array([[-2.]])
    """
    if family not in FAMILIES:
        raise SettingError(f"no family named {family!r}; {nearest(str(family), FAMILIES)}")
    if defense is None:
        raise SettingError(
            "optimized needs the defense it is to fool: pass defense=, a Defense or a function of updates"
        )
    most = number_between("optimized", f"most above {LEAST}", most, LEAST, np.inf)
    mean = honest.mean(axis=0)
    direction = honest.std(axis=0) if family == "alie" else mean
    if family == "unseen":
        direction = _besides(
            mean, trusted if trusted is not None else own.mean(axis=0) if own is not None else honest[0]
        )
    if f == 0 or not direction.any():
        return np.tile(mean, (f, 1))

    answer = answering(defense)

    def damage(factor: float) -> float:
        return _damage(answer, honest, mean, np.tile(mean + factor * direction, (f, 1)))

    return np.tile(mean + _best(damage, most, whole_number("optimized", "steps", steps)) * direction, (f, 1))


def _besides(row: Row, seen: Row) -> Row:
    """What a row has at a right angle to another.

    >>> _besides(np.array([3.0, 4.0]), np.array([0.0, 2.0]))
    array([3., 0.])
    """
    square = float(seen @ seen)
    return row - (row @ seen / square) * seen if square > 0 else row


def _damage(answer: Answer, honest: Updates, mean: Row, lies: Updates) -> float:
    """How far from the honest mean the answer ends; an answer that is not finite is the farthest there is."""
    found = answer(np.concatenate([honest, lies]))
    reached = np.zeros(len(mean)) if found is None else np.asarray(found, dtype=np.float64)
    distance = float(np.linalg.norm(reached - mean))
    return distance if np.isfinite(distance) else np.inf


def _best(damage: Any, most: float, steps: int) -> float:
    """The factor of most damage: a grid of both signs, then golden sections about its best point."""
    grid = np.geomspace(LEAST, most, max(2, steps // 4))
    found = {float(factor): damage(float(factor)) for factor in (*-grid, *grid)}
    best = max(found, key=found.__getitem__)
    ratio = float(grid[1] / grid[0])
    low, high = abs(best) / ratio, min(abs(best) * ratio, most)
    sign = np.sign(best)
    for _ in range(max(0, steps - len(found)) // 2):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        for factor in (sign * left, sign * right):
            found[float(factor)] = damage(float(factor))
        low, high = (low, right) if found[float(sign * left)] >= found[float(sign * right)] else (left, high)
    return max(found, key=found.__getitem__)
