"""What all files of an inspection must hold: names, shapes and kinds of numbers, and where they lie in a row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hawthorn.strategies import SettingError
from hawthorn.strategies.flower.admission import Refused, shown
from hawthorn.strategies.kernels.difference import difference, finite
from numpy.typing import NDArray

from .reading import FLOATS, Array, Stored, arrays_in, unreadable

Signature = Mapping[str, tuple[str, tuple[int, ...]]]
"""The dtype and the shape of each array of a file."""


@dataclass(frozen=True)
class Place:
    """One array of the layout, in `columns` of a row, or beside the rows (None) if it holds whole numbers."""

    dtype: str
    shape: tuple[int, ...]
    columns: slice | None

    @property
    def kind(self) -> str:
        """What another file's array must hold: any floating-point numbers, or whole numbers of the same dtype."""
        return _kind(self.dtype)


@dataclass(frozen=True)
class Layout:
    """The places of the arrays by name, and how long a row is.

    >>> layout = Layout.of({"weight": ("float32", (2, 3)), "steps": ("int64", ())})
    >>> layout.width, layout.fault({"weight": ("float16", (3, 2)), "steps": ("int64", ())})
    (6, "array 'weight' must have shape (2, 3), got (3, 2)")
    """

    places: Mapping[str, Place]
    width: int

    @classmethod
    def of(cls, signature: Signature) -> Layout:
        """The layout of a file's arrays in their order; raises `Refused` where there is nothing to make a row of."""
        places: dict[str, Place] = {}
        width = 0
        for name, (dtype, shape) in signature.items():
            columns = slice(width, width + math.prod(shape)) if dtype in FLOATS else None
            width = columns.stop if columns else width
            places[name] = Place(dtype, shape, columns)
        if width == 0:
            raise Refused("it holds no floating-point numbers")
        return cls(places, width)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of rows: float32, or float64 where some array has it."""
        return np.dtype(np.float64 if any(place.dtype == "float64" for place in self.places.values()) else np.float32)

    @property
    def bounds(self) -> list[int]:
        """Where the arrays in a row begin and, last, where the last one ends; those that are empty are no layers."""
        ends = {place.columns.stop for place in self.places.values() if place.columns is not None}
        return [0, *sorted(ends - {0})]

    def fault(self, found: Signature) -> str | None:
        """Why a file does not have this layout, None if it does."""
        lacking, unexpected = self.places.keys() - found.keys(), found.keys() - self.places.keys()
        if lacking or unexpected:
            told = (("lacks", lacking), ("has unexpected", unexpected))
            named = [f"{fault} {', '.join(map(shown, sorted(names)[:3]))}" for fault, names in told if names]
            return f"it {' and '.join(named)}"
        for name, place in self.places.items():
            dtype, shape = found[name]
            if shape != place.shape:
                return f"array {shown(name)} must have shape {place.shape}, got {shown(shape)}"
            if _kind(dtype) != place.kind:
                return f"array {shown(name)} must hold {place.kind}, got {dtype}"
        return None

    def write(self, arrays: Mapping[str, Stored], sent: Array | None, row: Array) -> None:
        """Write a file's numbers, less those of the model sent, to `row` `(d,)`; raises `Refused`."""
        fault = self.fault(signature(arrays))
        if fault:
            raise Refused(fault)
        for name, place in self.places.items():
            if place.columns is not None:
                numbers, out = arrays[name].read(), row[place.columns].reshape(place.shape)
                if not written(numbers, None if sent is None else sent[place.columns].reshape(place.shape), out):
                    raise Refused(f"array {shown(name)}: {_not_finite(numbers, out.dtype)}")


@dataclass(frozen=True, eq=False)
class Sent:
    """A model as it was sent: its layout, its numbers as a row `(d,)`, and its whole numbers beside it."""

    layout: Layout
    row: Array
    integers: Mapping[str, Array]

    @classmethod
    def read(cls, path: Path, option: str = "--model") -> Sent:
        """The model in a file; raises `SettingError`."""
        if not path.is_file():
            raise SettingError(f"{option} must be a file, got {str(path)!r}")
        try:
            arrays = arrays_in(path)
            layout = Layout.of(signature(arrays))
            row = np.empty(layout.width, layout.dtype)
            layout.write(arrays, None, row)
            integers = {name: arrays[name].read() for name, place in layout.places.items() if place.columns is None}
        except Refused as refusal:
            raise SettingError(f"{option} {str(path)!r}: {refusal}") from None
        except Exception as error:
            raise SettingError(f"{option} {str(path)!r}: {unreadable(error)}") from None
        return cls(layout, row, integers)


def signature(arrays: Mapping[str, Stored]) -> Signature:
    """The signature of a file's arrays."""
    return {name: (array.dtype, array.shape) for name, array in arrays.items()}


def agreed(found: Sequence[Signature]) -> Layout:
    """The layout that most files have; raises `SettingError` where as many have another one.

    A single file of other shapes, which may come first and may be an attacker's, has no say in it.
    """
    shapes = Counter(frozenset((name, _kind(dtype), shape) for name, (dtype, shape) in one.items()) for one in found)
    (shape, count), *others = shapes.most_common(2)
    if others and others[0][1] == count:
        raise SettingError(
            f"the files do not agree: {count} hold arrays of one layout and {count} of another; write --model FILE "
            "with the model that was sent, or name the files of one layout alone"
        )
    # of those, the dtypes that most have
    exact = Counter(
        tuple((name, *kind) for name, kind in one.items())
        for one in found
        if frozenset((name, _kind(dtype), shape) for name, (dtype, shape) in one.items()) == shape
    )
    return Layout.of({name: (dtype, size) for name, dtype, size in exact.most_common(1)[0][0]})


def _kind(dtype: str) -> str:
    return "floating-point numbers" if dtype in FLOATS else dtype


def written(numbers: Array, sent: NDArray[Any] | None, out: NDArray[Any]) -> bool:
    """Write the numbers, less those sent, to `out`, all of one shape; whether all of it is finite."""
    if sent is not None:
        return difference(numbers, sent, out)
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is told
        out[...] = numbers
    return finite(out)


def _not_finite(numbers: Array, dtype: np.dtype[Any]) -> str:
    if finite(numbers):
        return f"the numbers must fit {dtype}"
    return "the numbers must be finite, got NaN or infinity"
