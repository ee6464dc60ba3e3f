"""Safetensors files: a header in JSON, and the numbers behind it. Read without a library, so that NumPy can map them.

The library's reader for NumPy has no bfloat16, in which many models are saved. The format:
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from hawthorn.strategies.flower.admission import Refused, shown

LONGEST_HEADER = 100_000_000  # bytes, the library's own limit
DTYPES: Mapping[str, str] = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
NAMES = {name: code for code, name in DTYPES.items()}


@dataclass(frozen=True)
class Entry:
    """One array of the file; `begin` counts from where the header ends."""

    dtype: str
    shape: tuple[int, ...]
    begin: int

    @property
    def end(self) -> int:
        """Where its numbers end."""
        return self.begin + math.prod(self.shape) * item_size(self.dtype)


def item_size(dtype: str) -> int:
    """The bytes of one number.

    >>> item_size("bfloat16"), item_size("float64")
    (2, 8)
    """
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def entries(path: Path) -> tuple[int, dict[str, Entry]]:
    """Where the numbers of a file start, and its arrays by name; raises `Refused` for a header that does not fit it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            raise Refused(f"no safetensors header: {length} bytes of it claimed in a file of {size}")
        head = file.read(length)
    try:
        written: Any = json.loads(head, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Refused(f"no readable safetensors header: {shown(str(error))}") from None
    if not isinstance(written, dict):
        raise Refused("no safetensors header: expected arrays by name")
    named = cast("dict[str, Any]", written)
    found = {name: _entry(name, entry) for name, entry in named.items() if name != "__metadata__"}
    reached = 0
    for entry in sorted(found.values(), key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != reached:
            raise Refused(f"arrays must follow each other, but one begins at byte {entry.begin} instead of {reached}")
        reached = entry.end
    if 8 + length + reached != size:
        raise Refused(f"expected {8 + length + reached} bytes, got {size}")
    return 8 + length, found


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is written twice")
    return found


def _entry(name: str, written: Any) -> Entry:
    try:
        dtype = DTYPES.get(written["dtype"])
        shape, offsets = written["shape"], written["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in [*shape, *offsets])
        begin, end = offsets
    except (TypeError, KeyError, ValueError):
        raise Refused(f"array {shown(name)} must have dtype, shape and data_offsets, got {shown(written)}") from None
    if dtype is None:
        raise Refused(f"array {shown(name)} must hold numbers ({', '.join(DTYPES)}), got {shown(written['dtype'])}")
    if not whole or Entry(dtype, tuple(shape), begin).end != end:
        raise Refused(f"array {shown(name)} of shape {shown(shape)} cannot lie at the bytes {shown(offsets)}")
    return Entry(dtype, tuple(shape), begin)


def content(arrays: Mapping[str, tuple[str, np.ndarray[Any, Any]]]) -> bytes:
    """The bytes of a file with these arrays, each given with its dtype's name, bfloat16 as its bits.

    >>> content({"bias": ("float32", np.array([1.0], np.float32))})[8:65]
    b'{"bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    """
    header: dict[str, Any] = {}
    begin = 0
    for name, (dtype, numbers) in arrays.items():
        end = begin + numbers.nbytes
        header[name] = {"dtype": NAMES[dtype], "shape": list(numbers.shape), "data_offsets": [begin, end]}
        begin = end
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)  # so that the numbers are aligned
    bodies = (np.ascontiguousarray(n, n.dtype.newbyteorder("<")).tobytes() for _, n in arrays.values())
    return len(head).to_bytes(8, "little") + head + b"".join(bodies)
