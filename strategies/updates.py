"""The updates of one round as they arrive: written where they stay, and measured while the others are on their way."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import kernels
from .errors import SettingError, UpdateError
from .kernels import stream

Floats = NDArray[np.float64]

GROUP = 10  # rows measured at a time: one pass over the earlier rows serves them all, two blocks of five at a time
SPOOLED_GROUP = 40  # the same where that pass may have to read a disk

UNITS = {
    "": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate(("", "k", "m", "g", "t"))},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate(("", "k", "m", "g", "t")) if prefix},
}


class Updates:
    """Room for the `(n, d)` updates of a round, n up to `capacity`, which `Defense` takes in the place of a matrix.

    Write a row into `next`, then `keep` it: squared distances and norms grow with the rows, so that after the last one
    only its own remain to be measured. The outcome is that of the same rows as a matrix, to the last bit. `clear`
    begins another round in the same memory. Above `memory`, in bytes or text such as "1 GB", the rows lie in a mapped
    file in the directory `spool` that is gone with the process; a disk without room for it raises `SettingError`.

    >>> updates = Updates(capacity=3, width=2)
    >>> for row in ([3.0, 4.0], [0.0, 0.0]):
    ...     updates.next[:] = row
    ...     updates.keep()
    >>> updates.rows.tolist(), updates.measured()[0].tolist()
    ([[3.0, 4.0], [0.0, 0.0]], [[0.0, 25.0], [25.0, 0.0]])
    """

    def __init__(
        self,
        capacity: int,
        width: int,
        dtype: DTypeLike = np.float32,
        *,
        memory: int | str | None = None,
        spool: str | None = None,
    ) -> None:
        budget = None if memory is None else byte_count(memory)
        try:
            self._matrix = stream.matrix(capacity, width, dtype, budget, spool)
        except OSError as error:
            enough = math.ceil(capacity * width * np.dtype(dtype).itemsize / 1e6)
            raise SettingError(
                f"no room for the updates of {capacity} clients: {error.strerror}; free some, write the directory of a "
                f"larger disk as spool, or a memory of at least '{enough} MB'"
            ) from error
        self.n = 0
        self._group = SPOOLED_GROUP if isinstance(self._matrix, np.memmap) else GROUP
        self._measured = 0
        self._distances = np.zeros((capacity, capacity))
        self._squares = np.zeros(capacity)

    def __repr__(self) -> str:
        return f"<{self.n} of {self.capacity} updates>"

    @property
    def capacity(self) -> int:
        """How many rows there is room for."""
        return len(self._matrix)

    @property
    def width(self) -> int:
        """The length of a row."""
        return self._matrix.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the rows."""
        return self._matrix.dtype

    @property
    def rows(self) -> NDArray[Any]:
        """The rows kept so far, `(n, d)`."""
        return self._matrix[: self.n]

    @property
    def next(self) -> NDArray[Any]:
        """The row `(d,)` to write the next update into; raises `UpdateError` where there is no room left."""
        if self.n == self.capacity:
            raise UpdateError(f"there is room for {self.capacity} updates, and all of it is taken")
        return self._matrix[self.n]

    def keep(self) -> None:
        """Count in what was written into `next`."""
        self.n += 1
        stream.release(self._matrix, 0, self.width)
        # half a group before the last one, so that little is left to measure once all are there
        if self.n - self._measured >= self._group or self.n == self.capacity - self._group // 2:
            self._grow()

    def clear(self) -> None:
        """Begin another round in the same memory."""
        self.n = self._measured = 0

    def measured(self) -> tuple[Floats, Floats]:
        """Squared distances `(n, n)` and squared norms `(n,)` of the rows kept so far."""
        if self._measured < self.n:
            self._grow()
        return self._distances[: self.n, : self.n].copy(), self._squares[: self.n].copy()

    def _grow(self) -> None:
        start, stop = self._measured, self.n
        distances, squares = kernels.grow(self._matrix, start, stop)
        self._distances[start:stop, :stop] = distances
        self._distances[:stop, start:stop] = distances.T
        self._squares[start:stop] = squares
        self._measured = stop


def byte_count(written: int | str) -> int:
    """A size in bytes, written as such or as text with a unit; raises `SettingError`.

    >>> byte_count(100), byte_count("1.5 GB"), byte_count("512 MiB")
    (100, 1500000000, 536870912)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(written))
    unit = UNITS.get(found[2].lower()) if found else None
    if isinstance(written, bool) or found is None or unit is None:
        raise SettingError(f"memory must be a size such as '1 GB' or '512 MiB', got {written!r}")
    return int(float(found[1]) * unit)
