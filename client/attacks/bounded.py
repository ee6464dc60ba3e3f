"""Colluding attacks that go as far as they can while no distance betrays them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hawthorn.strategies.contract import attack, nearest
from hawthorn.strategies.errors import SettingError

Updates = npt.NDArray[np.float64]
DIRECTIONS = ("unit", "std", "sign", "own")


@attack
def min_max(honest: Updates, f: int, *, direction: str = "unit", own: Updates | None = None) -> Updates:
    """f times the honest mean plus gamma times a direction; the largest gamma that stays within the honest diameter.

    That is: no distance from it to an honest row is larger than the largest between two of these. `direction` "unit" is
    the mean turned around and of length 1, "std" minus the standard deviation and "sign" minus the sign of the mean,
    per coordinate; "own" points from the honest mean to that of the colluders' own updates, so that
    `"backdoor + min_max(direction='own')"` is a backdoor within the honest diameter. gamma is solved for, where the
    paper searches; what is answered is feasible, also after rounding.

    Shejwalkar, Houmansadr, "Manipulating the Byzantine", NDSS 2021, https://doi.org/10.14722/ndss.2021.24498

    >>> min_max(np.array([[1.0], [3.0], [4.0]]), 1).round(6)
    array([[1.]])
    """
    return np.tile(_farthest(honest, _direction(direction, honest, own), of_sum=False), (f, 1))


@attack
def min_sum(honest: Updates, f: int, *, direction: str = "unit", own: Updates | None = None) -> Updates:
    """As `min_max`, but the sum of squared distances stays within the largest such sum of an honest row.

    Shejwalkar, Houmansadr, "Manipulating the Byzantine", NDSS 2021, https://doi.org/10.14722/ndss.2021.24498

    >>> min_sum(np.array([[1.0], [3.0], [5.0]]), 1).round(6)
    array([[1.]])
    """
    return np.tile(_farthest(honest, _direction(direction, honest, own), of_sum=True), (f, 1))


def _direction(name: str, honest: Updates, own: Updates | None) -> npt.NDArray[np.float64]:
    mean = honest.mean(axis=0)
    if name not in DIRECTIONS:
        raise SettingError(f"no direction named {name!r}; {nearest(str(name), DIRECTIONS)}")
    if name == "own":
        if own is None:
            raise SettingError(
                "direction='own' needs the colluders' own updates: pass own=, or write another direction"
            )
        return own.mean(axis=0) - mean
    if name == "std":
        return -honest.std(axis=0)
    if name == "sign":
        return -np.sign(mean)
    length = float(np.linalg.norm(mean))
    return -mean / length if length else mean


def _farthest(honest: Updates, direction: npt.NDArray[np.float64], *, of_sum: bool) -> npt.NDArray[np.float64]:
    """The point farthest from the honest mean along the direction that is feasible, `(d,)`."""
    mean = honest.mean(axis=0)

    def spread(row: npt.NDArray[np.float64]) -> float:
        squared = ((honest - row) ** 2).sum(axis=1)
        return float(squared.sum() if of_sum else squared.max())

    limit = max(spread(row) for row in honest)
    steepness = float(direction @ direction)
    if not steepness:
        return mean
    # |mean + gamma p - x|^2 <= limit is quadratic in gamma; in the sum, the terms linear in gamma cancel
    starts = ((honest - mean) ** 2).sum(axis=1)
    if of_sum:
        gamma = float(np.sqrt(max(limit - float(starts.sum()), 0.0) / (len(honest) * steepness)))
    else:
        slopes = (mean - honest) @ direction
        gamma = float(((np.sqrt(slopes**2 + steepness * np.maximum(limit - starts, 0)) - slopes) / steepness).min())
    for shortened in (0.0, 1e-15, 1e-13, 1e-10, 1e-7, 1e-4):
        row = mean + gamma * (1 - shortened) * direction
        if spread(row) <= limit:
            return row
    return mean
