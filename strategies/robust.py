"""Small robust statistics that several rules share: deviations from a median, and rows shortened to a median length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NORMAL = 1.4826  # a normal distribution's standard deviation, in median absolute deviations


def middle(values: Floats) -> float:
    """The median of values `(n,)`; of the largest floats too, whose sum overflows, and of the least, without a half.

    >>> middle(np.array([1e308, 1.5e308, 0.0, 1.7e308]))
    1.25e+308
    """
    ordered = np.sort(values)
    low, high = float(ordered[(len(ordered) - 1) // 2]), float(ordered[len(ordered) // 2])
    return (low + high) / 2 if max(-low, high) < 1.0 else low / 2 + high / 2


def from_median(values: Floats) -> Floats:
    """How far values `(n,)` lie from their median, in robust standard deviations: never the standard deviation itself.

    That one grows with the very value that is to be seen, and one huge value hides all others. Where half of the values
    are the same, all others are infinitely far.

    >>> from_median(np.array([1.0, 2.0, 3.0, 4.0, 1e9])).round(2)[:4]
    array([1.35, 0.67, 0.  , 0.67])
    """
    away = np.abs(values - middle(values))
    usual = NORMAL * middle(away)
    with np.errstate(over="ignore"):
        return np.divide(away, usual, out=np.where(away > 0, np.inf, 0.0), where=usual > 0)


def near_median(values: Floats, most: float) -> NDArray[np.bool_]:
    """Which values `(n,)` lie within `most` robust standard deviations of their median: at least the nearest ones.

    >>> near_median(np.array([1.0, 2.0, 3.0, 1e9]), most=2.0)
    array([ True,  True,  True, False])
    """
    away = from_median(values)
    return away <= max(most, float(away.min(initial=np.inf)))


def shortened(norms: Floats, radius: float) -> Floats:
    """What rows of these lengths `(n,)` are multiplied by to be at most `radius` long.

    >>> shortened(np.array([0.0, 1.0, 4.0]), 2.0)
    array([1. , 1. , 0.5])
    """
    return np.divide(radius, norms, out=np.ones_like(norms), where=norms > radius)
