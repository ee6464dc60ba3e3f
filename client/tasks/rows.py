"""Rows of numbers on a common scale, without gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .examples import Floats

FARTHEST = 10.0  # standard deviations: a single wild value must not throw plain gradient descent off


def standardized(x_train: npt.NDArray[Any], x_test: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Both matrices in standard deviations from the mean of the *training* columns, gaps (NaN) at that mean.

    A federation has to agree on one scale before it starts, or its clients learn different models: a client's own mean
    and deviation would hide the very label skew that sets it apart. The training columns stand for such an agreed
    reference; the test examples are put on the same scale and lend nothing to it. A gap is filled with the reference
    mean, 0, which takes no other example. Values are held within ten deviations; a constant column becomes 0.

    >>> standardized(np.array([[1.0], [3.0], [np.nan]]), np.array([[4.0]]))[0].ravel()
    array([-1.,  1.,  0.], dtype=float32)
    """
    reference = x_train.astype(np.float64)
    known = np.isfinite(reference)
    count = np.maximum(known.sum(axis=0), 1)
    center = np.where(known, reference, 0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, reference - center, 0) ** 2).sum(axis=0) / count)
    spread = np.where(spread > 0, spread, 1.0)

    def scaled(x: npt.NDArray[Any]) -> Floats:
        return np.clip(np.nan_to_num((x - center) / spread, nan=0.0), -FARTHEST, FARTHEST).astype(np.float32)

    return scaled(x_train), scaled(x_test)
