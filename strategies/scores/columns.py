"""Scores of what only a look at the columns shows: the signs of a row's values, and its layers one by one."""

from __future__ import annotations

import math

import numpy as np

from ..columns import Columns
from ..contract import Floats, score
from ..errors import SettingError
from ..evidence import History
from ..geometry import Geometry
from .size import distance

CHANCE = 0.5  # what a row has that the others' signs say nothing of
SPREAD = 0.03  # how far apart honest clients' shares are where columns are many


def _given(name: str, columns: Columns | None) -> Columns:
    """The columns themselves; raises `SettingError` where there are none."""
    if columns is None:
        raise SettingError(f"{name} looks at the columns of the rows: write columns=Columns.of(updates)")
    return columns


@score(spread=SPREAD)
def signs(geometry: Geometry, f: int, history: History, *, columns: Columns | None = None) -> Floats:
    """How often a row's sign is not the one that most other rows have in that column: a share, 0 to 1.

    Columns in which the row is zero, or in which the other rows' signs are in balance, do not count; a row for which
    none counts has 1/2. Lengths are of no account, nor are a few large values: sees flipped signs, also of part of the
    model, and noise.

    A share of few columns says little: of `d` it is off by 1 / (2 sqrt(d)) by chance alone. Where that is more than
    the spread, which is below 278 columns, the share is drawn towards 1/2 until it is the spread.

    Source of the idea: Xu, Huang, Song, Lan, ICDCS 2022, https://arxiv.org/abs/2109.05872 (SignGuard), which counts
    signs without a look at where they are.

    >>> rows = np.array([[3.0, 1.0, 1.0, -1.0], [2.0, 1.0, 2.0, -1.0], [1.0, 4.0, 1.0, -7.0], [2.0, 1.0, -1.0, 1.0]])
    >>> signs(Geometry.of(rows), f=1, columns=Columns.of(rows))
    array([0.44, 0.44, 0.44, 0.5 ])
    >>> signs(Geometry.of(rows), f=1, columns=Columns.of(np.tile(rows, 100)))
    array([0. , 0. , 0. , 0.5])
    """
    found = _given("signs", columns)
    against, counted = found.sign_votes.T
    shares = np.divide(against, counted, out=np.full(found.n, CHANCE), where=counted > 0)
    return CHANCE + (shares - CHANCE) * min(1.0, SPREAD / CHANCE * math.sqrt(found.d))


@score(spread=0.2)
def layers(geometry: Geometry, f: int, history: History, *, columns: Columns | None = None) -> Floats:
    """How far a row stands apart in the layer where it does most: the largest over the layers of the `distance` there.

    That is the logarithm of the root mean square distance to the n - f - 2 nearest other rows, over the median row's.
    Layers in which no row differs from another do not count. Sees attacks on one layer of a large model, such as a
    backdoor in the last one, which the distance of whole rows hides among all other values.

    >>> rows = np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0], [3.0, 0.0], [1.5, 50.0]])
    >>> layers(Geometry.of(rows), f=1, columns=Columns.of(rows, bounds=[0, 1, 2])).round(1)
    array([0.5, 0. , 0. , 0.5, 3.4])
    """
    found = _given("layers", columns)
    n = found.n
    apart = [
        distance.function(Geometry(between, np.zeros((n, n)), np.ones(n), np.arange(n)), f, history)
        for between in found.layers.squared_distances
        if between.any()
    ]
    return np.max(apart, axis=0) if apart else np.zeros(n)
