"""A matrix too large for memory: the same array in a file, mapped into memory, that no process leaves behind.

The file has no name (`O_TMPFILE`, or a name that is taken away before anything is written), so that the system frees
it with the process, even after `kill -9`. Its space is allocated when it is made: a disk that is full says so then.
(NFS only pretends to unlink a file that is open: choose a local directory.)
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

RESIDENT = 1 << 26  # bytes of a mapped matrix read before its pages are let go


def matrix(
    rows: int, width: int, dtype: DTypeLike, memory: int | None = None, directory: str | None = None
) -> NDArray[Any]:
    """A matrix `(rows, width)` to be written: in memory up to `memory` bytes (None: always), else mapped from a file.

    The file lies in `directory`, by default `temporary_directory()`. Raises `OSError` where that has not enough room.

    >>> type(matrix(2, 3, np.float32)).__name__, type(matrix(2, 3, np.float32, memory=20)).__name__
    ('ndarray', 'memmap')
    """
    size = rows * width * np.dtype(dtype).itemsize
    if memory is None or size <= memory:
        return np.empty((rows, width), dtype)
    directory = directory or temporary_directory()
    with tempfile.TemporaryFile(dir=directory) as file:  # the mapping keeps it open
        _allocate(file.fileno(), size, directory)
        return np.memmap(file, dtype, "r+", shape=(rows, width))


def temporary_directory() -> str:
    """Where large temporary files go: `$TMPDIR`, or /var/tmp, because /tmp is memory on many systems."""
    large = "/var/tmp"
    usable = "TMPDIR" not in os.environ and os.path.isdir(large) and os.access(large, os.W_OK)
    return large if usable else tempfile.gettempdir()


def _allocate(file: int, size: int, directory: str) -> None:
    """Give the file `size` bytes that are there whatever else is written; raises `OSError` saying how much is free."""
    volume = os.statvfs(directory)
    free = volume.f_bavail * volume.f_frsize
    told = f"{directory} has {free / 1e9:.1f} GB free, and {size / 1e9:.1f} GB are needed"
    if size > free:
        raise OSError(errno.ENOSPC, told)
    if not hasattr(os, "posix_fallocate"):  # macOS: taken from the disk page by page
        os.truncate(file, size)
        return
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: {told}") from error


def release(data: NDArray[Any], start: int, stop: int) -> None:
    """Let go of pages after the columns `start` to `stop` were read or written, if `data` is a mapped file.

    Pages of a mapped file count as memory of the process until they are let go; what was written to them stays in the
    file. Called after each span of columns in turn, this lets go of everything whenever `RESIDENT` more bytes were
    read, and at the end: one system call, and cheaper than one per span, because systems map more than they are asked
    for, on Linux up to 2 MiB per row. Ordinary arrays are left alone, and so are copy-on-write mappings, which would
    lose what was written.
    """
    mapping = _shared_mapping(data)
    if mapping is None:
        return
    step = max(RESIDENT // max(len(data) * data.itemsize, 1), 1)
    if start // step != stop // step or stop >= data.shape[1]:
        mapping.madvise(mmap.MADV_DONTNEED)


def _shared_mapping(data: NDArray[Any]) -> mmap.mmap | None:
    """The mapped file whose own pages the array shows, None where there is none or nobody knows."""
    shared = False
    base: Any = data
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            shared = base.mode in {"r", "r+", "w+"}
        base = base.base
    return base if shared and isinstance(base, mmap.mmap) else None
