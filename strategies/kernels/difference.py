"""A client's numbers less the model's, in one pass: what admission does to each reply."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import jit

Numbers = NDArray[Any]


def difference(values: Numbers, base: Numbers, out: Numbers) -> bool:
    """Write `values - base` into `out`, all of one shape, rounded to its dtype; whether all of it is finite.

    >>> out = np.empty(2, np.float32)
    >>> difference(np.array([3.0, 5.0], np.float32), np.array([1.0, 2.0], np.float32), out), out.tolist()
    (True, [2.0, 3.0])
    """
    alike = values.dtype == base.dtype == out.dtype and values.shape == base.shape == out.shape
    if alike and out.dtype.name in {"float32", "float64"} and all(map(_plain, (values, base, out))):
        return bool(_difference(values.reshape(-1), base.reshape(-1), np.asarray(out).reshape(-1)))
    with np.errstate(all="ignore"):  # an overflow becomes infinite, and is told
        np.subtract(values, base, out=out, dtype=out.dtype, casting="same_kind")
    return finite(out)


def finite(values: Numbers) -> bool:
    """Whether every number is finite, found without a temporary array (NaN is its own minimum)."""
    return values.size == 0 or (math.isfinite(values.min()) and math.isfinite(values.max()))


def _plain(values: Numbers) -> bool:
    """Whether the numbers lie one after the other where a processor likes them, as all but forged replies have them."""
    return values.flags.c_contiguous and values.flags.aligned


@jit
def _difference(values: Numbers, base: Numbers, out: Numbers) -> bool:
    wrong = False
    for c in range(len(out)):
        found = values[c] - base[c]
        out[c] = found
        wrong |= not (abs(found) < np.inf)
    return not wrong
