"""Numbers cut into chunks, as they travel: little-endian bytes, their place and their checksum."""

from __future__ import annotations

import zlib
from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .hawthorn_pb2 import Chunk


def chunks_of(numbers: NDArray[Any], size: int) -> Generator[Chunk]:
    """The chunks of numbers `(d,)`, of `size` bytes each but for the last.

    >>> [(chunk.offset, len(chunk.data)) for chunk in chunks_of(np.zeros(5, np.float32), 8)]
    [(0, 8), (8, 8), (16, 4)]
    """
    little = np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<"))
    content: NDArray[np.uint8] = little.view(np.uint8)
    for start in range(0, len(content), size):
        data = content[start : start + size].tobytes()
        yield Chunk(offset=start, data=data, crc32=zlib.crc32(data))
