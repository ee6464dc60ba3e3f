"""The updates of one round as they arrive: written where they stay, and measured while the others are on their way."""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import kernels
from .errors import SettingError, UpdateError
from .kernels import LostColumnsError, stream

if TYPE_CHECKING:
    from .kernels.shards import Shards

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

    With `shards`, their columns lie with so many workers of the Ray cluster that the caller has joined, and only the
    next row is here. A cluster without room raises `SettingError`. Where a worker dies, its part of the rows is lost:
    every use raises `LostColumnsError` until `clear` has put another in its place.

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
        shards: int | None = None,
    ) -> None:
        check_place(memory, spool, shards)
        if np.dtype(dtype).kind != "f":
            raise SettingError(f"updates must be floating point, such as float32, got {np.dtype(dtype)}")
        self.capacity, self.width, self.dtype = capacity, width, np.dtype(dtype)
        here = capacity if shards is None else 1
        try:
            self._matrix = stream.matrix(here, width, dtype, None if memory is None else byte_count(memory), spool)
        except OSError as error:
            enough = math.ceil(capacity * width * self.dtype.itemsize / 1e6)
            raise SettingError(
                f"no room for the updates of {capacity} clients: {error.strerror}; free some, write the directory of a "
                f"larger disk as spool, or a memory of at least '{enough} MB'"
            ) from error
        self._shards = None if shards is None else _empty_shards(capacity, width, self.dtype, shards)
        self.n = 0
        self._group = SPOOLED_GROUP if isinstance(self._matrix, np.memmap) else GROUP
        self._measured = 0
        self._distances = np.zeros((capacity, capacity))
        self._squares = np.zeros(capacity)

    def __repr__(self) -> str:
        return f"<{self.n} of {self.capacity} updates>"

    @property
    def rows(self) -> Any:
        """The rows kept so far, `(n, d)`: an array, or the shards."""
        return self._matrix[: self.n] if self._shards is None else self._shards

    @property
    def next(self) -> NDArray[Any]:
        """The row `(d,)` to write the next update into; raises `UpdateError` where there is no room left."""
        if self.n == self.capacity:
            raise UpdateError(f"there is room for {self.capacity} updates, and all of it is taken")
        return self._matrix[self.n if self._shards is None else 0]

    def keep(self) -> None:
        """Count in what was written into `next`; raises `UpdateError` where there was no room for it."""
        _ = self.next
        if self._shards is None:
            stream.release(self._matrix, 0, self.width)
        else:
            self._shards.write(self.n, self._matrix)
        self.n += 1
        # half a group before the last one, so that little is left to measure once all are there
        if self.n - self._measured >= self._group or self.n == self.capacity - self._group // 2:
            self._grow()

    def clear(self) -> None:
        """Begin another round in the same memory; workers that died are replaced."""
        self.n = self._measured = 0
        if self._shards is not None:
            self._shards.clear()

    def close(self) -> None:
        """Let the workers of the cluster go, if there are some."""
        if self._shards is not None:
            self._shards.close()

    def measured(self) -> tuple[Floats, Floats]:
        """Squared distances `(n, n)` and squared norms `(n,)` of the rows kept so far."""
        if self._measured < self.n:
            self._grow()
        return self._distances[: self.n, : self.n].copy(), self._squares[: self.n].copy()

    def _grow(self) -> None:
        start, stop = self._measured, self.n
        distances, squares = kernels.grow(self.rows, start, stop)
        self._distances[start:stop, :stop] = distances
        self._distances[:stop, start:stop] = distances.T
        self._squares[start:stop] = squares
        self._measured = stop


def check_place(memory: int | str | None, spool: str | None, shards: int | None) -> None:
    """Raise `SettingError` unless this says in one way where rows are to lie."""
    if spool is not None and not (os.path.isdir(spool) and os.access(spool, os.W_OK)):
        raise SettingError(f"spool must be a directory that can be written to, got {spool!r}")
    if shards is None:
        return
    if memory is not None or spool is not None:
        raise SettingError("shards lie in the memory of a cluster's workers: write either shards, or memory and spool")
    if isinstance(shards, bool) or not isinstance(shards, int) or shards < 1:  # pyright: ignore[reportUnnecessaryIsInstance] - whoever passes Shards
        raise SettingError(f"shards must be a number of workers, such as 2, got {shards!r}")


def _empty_shards(capacity: int, width: int, dtype: np.dtype[Any], workers: int) -> Shards:
    """Shards with room for the rows; raises `SettingError`."""
    try:
        from .kernels.shards import Shards
    except ModuleNotFoundError as error:
        raise SettingError("shards need Ray: pip install 'hawthorn[ray]'") from error
    try:
        return Shards.empty(capacity, width, dtype, workers=workers)
    except (LostColumnsError, MemoryError) as error:
        reason = str(error).splitlines()[-1]  # the lines before tell where in the worker
        raise SettingError(
            f"no room for the updates of {capacity} clients: {reason}; write fewer shards, or join a larger cluster"
        ) from error
    except RuntimeError as error:  # there is no cluster
        raise SettingError(str(error)) from error


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
