"""Weights of clients: how much each row counts, as examples that it was made from, or as an operator decides."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ToleranceError, UpdateError
from .kernels.order import ROUNDING

Floats = NDArray[np.float64]


def client_weights(weights: Any, n: int) -> Floats | None:
    """The weights `(n,)` of n rows in float64, the largest from 1/2 to 1, or None where all weigh the same.

    A power of two takes them there, so that whole numbers stay in proportion to the last bit and no sum overflows.
    Raises `UpdateError` unless they are n finite positive numbers.

    >>> client_weights([1, 2, 8], 3), client_weights([5, 5, 5], 3)
    (array([0.0625, 0.125 , 0.5   ]), None)
    """
    try:
        found = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError):
        raise UpdateError(f"weights must be {n} finite positive numbers, got {weights!r}") from None
    if found.shape != (n,):
        raise UpdateError(f"weights must be one number for each of {n} rows, got shape {found.shape}")
    wrong = np.flatnonzero(~(np.isfinite(found) & (found > 0)))
    if len(wrong):
        raise UpdateError(f"weights must be finite and positive, but rows {', '.join(map(str, wrong))} have others")
    if (found == found[0]).all():
        return None
    return np.ldexp(found, -math.frexp(float(found.max()))[1])


def heaviest(name: str, weights: Floats, f: int) -> float:
    """The weight of the f heaviest rows, which a rule must bear; raises `ToleranceError` unless it is less than half.

    >>> heaviest("median", np.array([1.0, 2.0, 3.0, 4.0, 5.0]), 1)
    5.0
    """
    total, held = math.fsum(weights), math.fsum(np.sort(weights)[len(weights) - f :])
    if f and 2 * held >= total * (1 - ROUNDING):
        raise ToleranceError(
            f"{name} with weights tolerates hostile clients of less than half of the weight, but f={f} of "
            f"{len(weights)} may hold {held / total:.0%} of it"
        )
    return held
