"""Rules that weigh rows by how far they are from what each column says."""

import math

import numpy as np

from ..columns import Columns
from ..contract import Floats, number_between, rule
from ..errors import SettingError
from ..geometry import Geometry

AXES = "each coordinate has a middle of its own"
PAIRS = 1 << 20  # so many pairs of values at a time


@rule(exempt={"rotation": AXES})
def aksel(geometry: Geometry, f: int = 0, *, columns: Columns | None = None) -> Floats:
    """The mean of the (n + 1) // 2 rows nearest to the median of each coordinate.

    Costs one read of the matrix more than other rules of the geometry, which does not know that median.

    Source: Boussetta, El Mhamdi, Guerraoui, Maurer, Rouault, OPODIS 2020,
    https://doi.org/10.4230/LIPIcs.OPODIS.2020.8

    >>> aksel(np.array([[0.0], [2.0], [3.0], [4.0], [90.0]]), f=1)
    array([3.])
    """
    if columns is None:
        raise SettingError("aksel looks at the columns of the rows: write columns=Columns.of(updates)")
    n, largest = geometry.n, np.finfo(np.float64).max
    away, scale = np.zeros(n), geometry.scale.max()
    with np.errstate(over="ignore"):  # infinitely far is far
        for _, _, tile in columns.tiles():
            held = np.clip(tile * scale, -largest, largest)
            ranked = np.sort(held, axis=0)
            middle = ranked[(n - 1) // 2] / 2 + ranked[n // 2] / 2
            away += ((held - middle) ** 2).sum(axis=1)
    weights = np.zeros(n)
    weights[np.argsort(away, kind="stable")[: (n + 1) // 2]] = 1 / ((n + 1) // 2)
    return weights


def half_of_the_others(f: int) -> int:
    """The fewest rows that leave an honest row a majority of honest ones among the others."""
    return 2 * f + 2 if f else 1


@rule(
    least=half_of_the_others,
    exempt={"rotation": AXES, "survival": "a line through sorted values follows hostile ones beyond the honest ones"},
)
def residual_reweighting(columns: Columns, f: int = 0, *, tuning: float = 2.0, least: float = 0.1) -> Floats:
    """The mean of the rows, each weighed by how near its values are to a line through each column's sorted values.

    The line is the repeated median of the slopes between values and their ranks, through the median. A value whose
    residual is e robust standard deviations, with leverage h, has the confidence min(1, z sqrt(1 - h) / e), z being
    `tuning` times sqrt(2 / n); one of less than `least` is replaced by what the line says. A row weighs the sum of its
    confidences, each times their standard deviation in its column. Columns are read twice, and each costs n^2 log n:
    for 20 rows of a million values about 20 seconds.

    Source: Fu, Xie, Li, Chen 2019, https://arxiv.org/abs/1912.11464

    >>> residual_reweighting(np.array([[1.0], [2.0], [3.0], [4.0], [90.0]]), f=1).round(1)
    array([2.5])
    """
    z = number_between("residual_reweighting", "a positive finite tuning", tuning, 0, math.inf) * math.sqrt(
        2 / columns.n
    )
    bound = number_between("residual_reweighting", "a least from 0 to 1", least, -1e-300, 1)
    step = max(PAIRS // columns.n**2, 1)
    weights = np.zeros(columns.n)
    for _, _, tile in columns.tiles(step):
        confidence, _ = _fitted(tile, z)
        weights += (confidence * confidence.std(axis=0)).sum(axis=1)
    weights = weights / weights.sum() if weights.any() else np.full(columns.n, 1 / columns.n)
    found = np.empty(columns.d)
    for start, stop, tile in columns.tiles(step):
        confidence, line = _fitted(tile, z)
        found[start:stop] = weights @ np.where(confidence < bound, line, tile)
    return found


def _fitted(tile: Floats, z: float) -> tuple[Floats, Floats]:
    """How much each of the values `(n, w)` is to be trusted, and what the lines through their columns say instead."""
    n = len(tile)
    if n < 3:  # a line meets both
        return np.ones_like(tile), tile
    size = np.frexp(np.abs(tile).max(axis=0))[1]  # differences of values as large as floats can be would overflow
    order = np.argsort(tile, axis=0, kind="stable")
    values = np.ldexp(np.take_along_axis(tile, order, axis=0), -size)
    middle = np.median(values, axis=0)
    values -= middle  # beside a common part a line would be met by rounding alone
    places = np.arange(n) - (n - 1) / 2
    others = ~np.eye(n, dtype=bool)
    slopes = (values[:, None] - values[None, :])[others] / (places[:, None] - places[None, :])[others][:, None]
    slope = np.median(np.median(slopes.reshape(n, n - 1, -1), axis=1), axis=0)
    line = slope * places[:, None]
    residuals = np.abs(values - line)
    residuals[residuals < 1e-9 * np.abs(slope)] = 0.0  # on the line but for rounding
    usual = np.median(residuals, axis=0) * 1.48 * (n + 4) / (n - 1)
    leverage = 1 / n + places**2 / (places**2).sum()
    allowed = z * np.sqrt(1 - leverage)[:, None] * usual
    trusted = np.divide(allowed, residuals, out=np.ones_like(values), where=residuals > allowed)
    confidence, said = np.empty_like(tile), np.empty_like(tile)
    np.put_along_axis(confidence, order, trusted, axis=0)
    np.put_along_axis(said, order, np.ldexp(line + middle, size), axis=0)
    return confidence, said
