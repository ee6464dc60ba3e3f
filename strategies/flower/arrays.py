"""Flower's arrays seen and made without needless copies: an `Array` holds the bytes of an npy file."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from flwr.app import Array
from numpy.lib import format as npy
from numpy.typing import NDArray

LONGEST_HEADER = 4096  # numpy writes 128 bytes
NPY = "numpy.ndarray"  # what Flower calls this serialization


def header(data: bytes) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """The dtype, shape, Fortran order and start of an array's numbers, read from the head of its npy bytes.

    Raises `ValueError` for what cannot be read.
    """
    head = io.BytesIO(data[:LONGEST_HEADER])
    try:
        version = npy.read_magic(head)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        shape, fortran, dtype = read(head) if read else ((), False, None)
    except Exception as error:  # the header is a Python literal: it can fail to parse in many ways
        raise ValueError(f"{type(error).__name__}: {error}") from None
    if dtype is None:
        raise ValueError(f"npy version {version} is not read here")
    return dtype, shape, fortran, head.tell()


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
