"""Hostile rows to try against a defense, given the honest ones: every known kind, and small changes of those."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROWS = 20  # honest rows that are copied, or toward which hostile ones lie
FACTORS = (0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 100.0, 1e4, 1e8)


def spread(rows: Floats) -> float:
    """The root of the mean squared distance of the rows from their mean."""
    return float(np.sqrt(((rows - rows.mean(axis=0)) ** 2).sum(axis=1).mean()))


def attacks(honest: Floats, f: int, rng: np.random.Generator) -> Iterator[tuple[str, str, Floats]]:
    """Hostile rows `(f, k)` with their kind and what was done: copies, and rows along telling directions."""
    h, middle = len(honest), honest.mean(axis=0)
    for row in rng.permutation(h)[:ROWS].tolist():
        yield "copies", f"copies of honest row {row}", np.tile(honest[row], (f, 1))
    yield "copies", "copies of several honest rows", honest[np.resize(rng.permutation(h), f)]
    fan = np.linspace(1.0, 2.0, f)[:, None]
    mirrored = np.resize([1.0, -1.0], f)[:, None]
    for name, direction in _directions(honest, rng):
        for factor, sign in itertools.product(FACTORS, (1.0, -1.0)):
            step = sign * factor * direction
            told = f"{sign * factor:g} spreads along {name}"
            yield name, told, np.tile(middle + step, (f, 1))
            if f > 1:
                yield name, f"{told}, fanned out", middle + fan * step
                if sign > 0:
                    yield name, f"{told}, to both sides", middle + mirrored * step


def _directions(honest: Floats, rng: np.random.Generator) -> Iterator[tuple[str, Floats]]:
    """Directions `(k,)` as long as the honest rows' spread."""
    h, k = honest.shape
    middle, size = honest.mean(axis=0), spread(honest)
    away = honest - middle
    _, _, principal = np.linalg.svd(away, full_matrices=False)
    found: dict[str, Floats] = {
        "the mean (ipm)": middle,
        "the deviations of the columns (alie)": away.std(axis=0),
        "the signs of the mean": np.sign(middle),
        "a random direction": rng.standard_normal(k),
        "the last column": np.eye(k)[-1],  # leaves the honest rows' space, where columns were turned
    }
    found |= {f"principal direction {place}": row for place, row in enumerate(principal[: min(3, h - 1)], start=1)}
    found |= {f"honest row {row}": away[row] for row in rng.permutation(h)[:ROWS].tolist()}
    for name, direction in found.items():
        length = float(np.linalg.norm(direction))
        if length > 0:
            yield name, direction * (size / length)


def changed(hostile: Floats, honest: Floats, reach: float, rng: np.random.Generator) -> Floats:
    """Hostile rows `(f, k)` near those given: all of them shifted, one shifted, stretched, or put on another."""
    hostile, middle = hostile.copy(), honest.mean(axis=0)
    away = honest - middle
    f, k = len(hostile), len(middle)
    shares: Floats = rng.standard_normal((len(away), 1)) / math.sqrt(len(away))
    step: Floats = reach * (shares * away).sum(axis=0)
    if rng.random() < 0.2:  # also to where honest rows have nothing
        anywhere: Floats = rng.standard_normal(k)
        step = step + reach * float(np.linalg.norm(step)) / math.sqrt(k) * anywhere
    way = int(rng.integers(4 if f > 1 else 2))
    if way == 0:
        return hostile + step
    if way == 1:
        return middle + math.exp(0.5 * reach * rng.normal()) * (hostile - middle)
    row = int(rng.integers(f))
    rows = np.vstack([hostile, honest])
    hostile[row] = hostile[row] + step if way == 2 else rows[int(rng.integers(len(rows)))]
    return hostile
