"""Flower's arrays seen and made without needless copies: an `Array` holds the bytes of an npy file."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import numpy as np
from flwr.app import Array
from numpy.lib import format as npy
from numpy.typing import NDArray

LONGEST_HEADER = 4096  # numpy writes 128 bytes
PREFIXES = {(1, 0): 2, (2, 0): 4}  # bytes of the header's length, by version
ITEM = re.compile(  # possessive: no text makes it look twice
    r"""\s*+['"](?:descr['"]\s*+:\s*+['"](?P<descr>[<>|=]?[a-zA-Z]\d{0,9})['"]"""
    r"""|fortran_order['"]\s*+:\s*+(?P<order>True|False)"""
    r"""|shape['"]\s*+:\s*+\((?P<shape>[\d\s,]*+)\))\s*+"""
)
NPY = "numpy.ndarray"  # what Flower calls this serialization


def header(data: bytes) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """The dtype, shape, Fortran order and start of an array's numbers, read from the head of its npy bytes.

    Read is what arrays of numbers have, a dictionary of the three. NumPy gives the text to Python's own parser, which
    a hostile one can overflow the stack of a thread with. Raises `ValueError` for what cannot be read.

    >>> header(serialized(np.ones((2, 3), np.float32)).data)
    (dtype('float32'), (2, 3), False, 128)
    """
    try:
        version = npy.read_magic(io.BytesIO(data[: npy.MAGIC_LEN]))
    except ValueError as error:
        raise ValueError(f"no npy file: {error}") from None
    prefix = PREFIXES.get(version)
    if prefix is None:
        raise ValueError(f"npy version {version} is not read here")
    start = npy.MAGIC_LEN + prefix
    stop = start + int.from_bytes(data[npy.MAGIC_LEN : start], "little")
    if not start < stop <= min(len(data), LONGEST_HEADER):
        raise ValueError(f"a header of {stop - start} bytes in {len(data)}, of which {LONGEST_HEADER} are read")
    found = _read(data[start:stop].decode("latin-1"))
    try:
        shape = tuple(int(length) for length in found["shape"].split(",") if length.strip())
        return np.dtype(found["descr"]), shape, found["order"] == "True", stop
    except Exception as error:  # which text NumPy takes for a dtype is NumPy's business
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _read(text: str) -> dict[str, str]:
    """What a header says of `descr`, `order` and `shape`; raises `ValueError` unless it says just that."""
    inside = text.strip()
    if not (inside.startswith("{") and inside.endswith("}")):
        raise ValueError("the header is not a dictionary")
    inside, found, place = inside[1:-1].rstrip().removesuffix(","), dict[str, str](), 0
    while item := ITEM.match(inside, place):
        found |= {name: value for name, value in item.groupdict().items() if value is not None}
        place = item.end() + 1  # behind the comma
        if inside[item.end() : place] != ",":
            break
    if len(found) != 3 or place <= len(inside):
        raise ValueError(f"expected descr, fortran_order and shape of plain numbers, got {text[:200]!r}")
    return found


def view(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], fortran: bool, start: int) -> NDArray[Any]:
    """The numbers in npy bytes as a read-only view of them, by what `header` says."""
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    numbers: NDArray[Any] = np.frombuffer(data, dtype, math.prod(shape), start)
    return numbers.reshape(shape, order="F" if fortran else "C")


def viewed(array: Array) -> NDArray[Any]:
    """The numbers of an array of our own, where they lie; what is no plain npy file is decoded by Flower.

    >>> viewed(Array(np.array([1.5, 2.5]))).tolist()
    [1.5, 2.5]
    """
    try:
        return view(array.data, *header(array.data))
    except ValueError:
        return array.numpy()


def serialized(numbers: NDArray[Any]) -> Array:
    """The same `Array` that Flower makes of the numbers, copied once instead of three times.

    >>> serialized(np.array([1.5, 2.5])) == Array(np.array([1.5, 2.5]))
    True
    """
    if not numbers.flags.c_contiguous:
        return Array(numbers)
    head = io.BytesIO()
    npy.write_array_header_1_0(head, npy.header_data_from_array_1_0(numbers))
    data = b"".join((head.getvalue(), numbers.reshape(-1).view(np.uint8).data))
    return Array(str(numbers.dtype), tuple(numbers.shape), NPY, data)
