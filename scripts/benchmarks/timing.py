"""The two measurements of every benchmark: time, taken in turns, and peak memory, taken apart from it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median as middle
from typing import Any

import numba
import numpy as np
from hawthorn.strategies.kernels.tasks import cores
from numpy.typing import NDArray

Job = Callable[[], object]

LEAST_RUNS = 2  # of a subject that has used up its seconds
OWN = Path("/proc/self")

jit: Any = numba.njit(cache=True, nogil=True)


@dataclass(frozen=True)
class Work:
    """A subject of a benchmark: `ready()` prepares one run, off the clock, and answers the job that is timed.

    `ours` tells whether it is this package's own: others are there to compare with, and may fail.
    """

    name: str
    group: str
    ready: Callable[[], Job]
    ours: bool = False


class Reader:
    """The fastest read of a float32 matrix found here: one compiled loop per core, each over one contiguous piece.

    The loop folds the values' bits with `|`, which costs nothing beside the memory; sums and maxima took as long. It is
    the unit of all other times: nothing that looks at every value can take less than one read.
    """

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self.pieces = np.array_split(rows.reshape(-1).view(np.uint32), cores())
        self.pool = ThreadPoolExecutor(cores())

    def __call__(self) -> int:
        """The bits that are set anywhere in the matrix."""
        return max(int(found) for found in self.pool.map(_bits, self.pieces))


@jit
def _bits(values: NDArray[np.uint32]) -> np.uint32:
    found = np.uint32(0)
    for place in range(len(values)):
        found |= values[place]
    return found


class Copier:
    """A copy of a matrix into another one that exists already, `np.copyto` by one thread per core: memcpy."""

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self.rows = rows
        self.copy: NDArray[np.float32] | None = None
        self.pool = ThreadPoolExecutor(cores())

    def __call__(self) -> None:
        """Copy once; the other matrix is made by the first call, which is a trial."""
        if self.copy is None:
            self.copy = np.zeros_like(self.rows)
        pieces = (np.array_split(matrix.reshape(-1), cores()) for matrix in (self.copy, self.rows))
        for _ in self.pool.map(np.copyto, *pieces):
            pass


def clocked(job: Job) -> float:
    """The seconds one run of the job takes."""
    started = time.perf_counter()
    answer = job()
    seconds = time.perf_counter() - started
    del answer  # freed off the clock
    return seconds


def in_turns(
    works: Sequence[Work], repeats: int, seconds: float, tell: Callable[[str], None] = lambda _: None
) -> dict[str, list[float]]:
    """The seconds of each run, by subject: in each turn every subject runs once, and each turn starts with another one.

    A machine that slows down slows all alike. A subject whose runs have taken more than `seconds` in all is left out of
    later turns, after two runs at the earliest, so that a slow one does not hold up the others.
    """
    taken: dict[str, list[float]] = {work.name: [] for work in works}
    for turn in range(repeats):
        first = turn * len(works) // repeats
        for work in [*works[first:], *works[:first]]:
            spent = taken[work.name]
            if len(spent) >= LEAST_RUNS and sum(spent) > seconds:
                continue
            tell(f"turn {turn + 1} of {repeats}: {work.name}")
            spent.append(clocked(work.ready()))
    return taken


def figures(seconds: Sequence[float], once: Sequence[float]) -> dict[str, Any]:
    """What becomes of the runs: best and median seconds, and reads: multiples of the time of one read in the same run.

    `reads` is the median of the ratios within each turn, `noise` the relative standard error of that median, and
    `reads_best` best over best.

    >>> figures([0.6, 0.3, 0.5], [0.2, 0.1, 0.1])["reads"]
    3.0
    """
    ratios = [own / read for own, read in zip(seconds, once, strict=False)]
    center = middle(ratios)
    spread = 1.4826 * middle([abs(ratio - center) for ratio in ratios])
    return {
        "runs": len(seconds),
        "best": min(seconds),
        "median": middle(seconds),
        "reads": round(center, 4),
        "reads_best": round(min(seconds) / min(once), 4),
        "noise": round(1.2533 * spread / math.sqrt(len(ratios)) / center, 4),
    }


def peak_memory(job: Job) -> int | None:
    """The most bytes that were resident at a time during the job, beyond those resident before; None where unknown.

    Linux keeps a high-water mark for each process and lets the process reset it; elsewhere nothing is as exact.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what is free but not given back would hide what the job takes
    try:
        (OWN / "clear_refs").write_text("5")
    except OSError:
        return None
    before = _resident("VmRSS")
    answer = job()
    peak = _resident("VmHWM")
    del answer
    return max(peak - before, 0)


def _resident(name: str) -> int:
    lines = (OWN / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def free_memory() -> int:
    """The bytes of memory that are free, at least."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
