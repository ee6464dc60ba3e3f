"""The layout of the model that was sent. It is law: what comes back into the model has its names, shapes and dtypes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from ..errors import SettingError, UpdateError
from ..kernels.difference import finite
from .arrays import serialized, viewed

FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True)
class Place:
    """Where one array of the model lies: in `columns` of a row, or beside the rows (None) if it holds integers."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    columns: slice | None


@dataclass(frozen=True, eq=False)
class Model:
    """The model as sent: its arrays' places by name, its numbers as one row `(d,)`, and its integer arrays beside it.

    Rows are float32 unless the model has float64 arrays.
    """

    record: ArrayRecord
    places: Mapping[str, Place]
    row: NDArray[Any]
    integers: Mapping[str, NDArray[Any]]

    @classmethod
    def sent(cls, record: ArrayRecord) -> Model:
        """The model in `record`; raises `SettingError` for one that cannot be aggregated.

        >>> model = Model.sent(ArrayRecord([np.ones((2, 3), np.float32), np.array(7)]))
        >>> model.row.shape, model.integers
        ((6,), {'1': array(7)})
        """
        arrays = {name: viewed(array) for name, array in record.items()}
        places: dict[str, Place] = {}
        width = 0
        for name, array in arrays.items():
            columns = None
            if array.dtype in FLOATS:
                columns = slice(width, width + array.size)
                width += array.size
            elif array.dtype.kind not in "iub":
                raise SettingError(f"the model's arrays must hold numbers, but {name!r} has dtype {array.dtype}")
            places[name] = Place(array.dtype, array.shape, columns)
        if width == 0:
            raise SettingError(
                "the model must have floating-point arrays, but has none: tree ensembles cannot be aggregated robustly"
            )
        double = any(place.dtype == np.float64 for place in places.values())
        row = np.empty(width, np.float64 if double else np.float32)
        for name, place in places.items():
            if place.columns is not None:
                row[place.columns] = arrays[name].ravel()
                if not finite(arrays[name]):
                    raise SettingError(f"the model must be finite, but {name!r} holds NaN or infinity")
        integers = {name: arrays[name] for name, place in places.items() if place.columns is None}
        return cls(record, places, row, integers)

    @property
    def bounds(self) -> list[int]:
        """Where the arrays begin in a row and, last, where the last one ends: the layers of an update.

        >>> Model.sent(ArrayRecord([np.ones((2, 3), np.float32), np.array(7), np.ones(3, np.float32)])).bounds
        [0, 6, 9]
        """
        return [0, *(place.columns.stop for place in self.places.values() if place.columns is not None)]

    def moved(self, update: NDArray[Any]) -> ArrayRecord:
        """The model after an update `(d,)`; its integer arrays are as sent, but in float64: optimizers scale in place.

        Raises `UpdateError` if the sum does not fit the model's dtypes.
        """
        arrays: dict[str, Array] = {}
        for name, place in self.places.items():
            if place.columns is None:
                arrays[name] = serialized(self.integers[name].astype(np.float64))
                continue
            with np.errstate(over="ignore"):  # told by _fitting
                numbers = self.row[place.columns] + update[place.columns]
            arrays[name] = serialized(_fitting(name, place, numbers.reshape(place.shape)))
        return ArrayRecord(arrays)

    def update(self, arrays: Mapping[str, Array]) -> NDArray[Any]:
        """What a model in this layout differs by from the one sent, `(d,)`; raises `UpdateError` as `lawful` does.

        >>> model = Model.sent(ArrayRecord([np.ones((1, 2), np.float32), np.array(7)]))
        >>> model.update(ArrayRecord([np.array([[1.0, 3.0]], np.float32), np.array(8)]))
        array([0., 2.], dtype=float32)
        """
        numbers = {name: viewed(array) for name, array in self.lawful(arrays).items()}
        update = np.empty_like(self.row)
        for name, place in self.places.items():
            if place.columns is not None:
                np.subtract(numbers[name].ravel(), self.row[place.columns], out=update[place.columns])
        return update

    def lawful(self, arrays: Mapping[str, Array]) -> ArrayRecord:
        """A record of `arrays` in this model's order, shapes and dtypes; an array that has them already is kept.

        Raises `UpdateError` for arrays that are missing, have another shape, or hold a number that is not finite.
        """
        if arrays.keys() != self.places.keys():
            raise UpdateError(f"expected the arrays {sorted(self.places)}, got {sorted(arrays)}")
        lawful: dict[str, Array] = {}
        for name, place in self.places.items():
            array = arrays[name]
            numbers = viewed(array)
            fitting = _fitting(name, place, numbers)
            kept = fitting is numbers and array.dtype == str(place.dtype) and array.shape == place.shape
            lawful[name] = array if kept else serialized(fitting)
        return ArrayRecord(lawful)


def _fitting(name: str, place: Place, numbers: NDArray[Any]) -> NDArray[Any]:
    """The numbers as the place's dtype, themselves if they have it; raises `UpdateError` for what does not fit."""
    if numbers.shape != place.shape:
        raise UpdateError(f"expected array {name!r} of shape {place.shape}, got {numbers.shape}")
    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit becomes infinite, and is told below
        numbers = numbers.astype(place.dtype, copy=False)
    if not finite(numbers):
        raise UpdateError(f"array {name!r} holds NaN, infinity or numbers that {place.dtype} cannot hold")
    return numbers


def middle(stacked: NDArray[Any]) -> NDArray[Any]:
    """The median over the first axis of integers, in their dtype; of two middle values the mean, rounded down.

    >>> middle(np.array([[1, 9], [4, 7], [2, 8], [100, 8]])).tolist()
    [3, 8]
    """
    ordered = np.sort(stacked, axis=0)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    if stacked.dtype == np.bool_:
        return low & high
    return low // 2 + high // 2 + (low % 2 + high % 2) // 2  # never more than high, so it cannot overflow
