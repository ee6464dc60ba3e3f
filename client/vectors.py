"""A model's floating-point parameters as one row, and back: what attacks on updates are made of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord

Floats = npt.NDArray[np.float64]


def vector(arrays: ArrayRecord) -> Floats:
    """All floating-point parameters of a model in one row, `(d,)`.

    >>> vector(ArrayRecord({"w": Array(np.ones((1, 2), np.float32)), "count": Array(np.array([4]))}))
    array([1., 1.])
    """
    parameters = [array.numpy() for array in arrays.values()]
    return np.concatenate([p.ravel().astype(np.float64) for p in parameters if np.issubdtype(p.dtype, np.floating)])


def moved(arrays: ArrayRecord, update: Floats) -> ArrayRecord:
    """The model `arrays` with `update`, `(d,)`, added to its floating-point parameters, each in its own dtype."""
    result, start = ArrayRecord(), 0
    for key, array in arrays.items():
        parameter = array.numpy()
        if np.issubdtype(parameter.dtype, np.floating):
            step = update[start : start + parameter.size].reshape(parameter.shape)
            # A lie too long for the dtype becomes infinite, which is what such a client would send.
            with np.errstate(over="ignore"):
                parameter = np.asarray((parameter + step).astype(parameter.dtype))
            start += parameter.size
        result[key] = Array(parameter)
    return result
