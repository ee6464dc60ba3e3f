"""A matrix whose columns lie with the workers of a Ray cluster, because it is too large for one machine.

Each worker, an actor, holds some of the columns of every row and runs the kernels of `cpu` on them where they lie.

A worker that dies takes its columns with it. Where they can be had again, a new worker gets them and the call is
repeated; where they cannot, `LostColumnsError` says which. No answer is ever made of some of the columns only.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import ray
from numpy.typing import DTypeLike, NDArray
from ray import exceptions

from . import LostColumnsError, cpu, tasks

Floats = NDArray[np.float64]
Order = NDArray[np.intp]
Block = NDArray[Any]

ALIGNED = 64  # columns are cut at multiples of this where there are enough of them
PIECE = 1 << 24  # bytes that travel at once
UNDER_WAY = 4  # pieces sent to a worker and not confirmed: enough to keep it busy, and all that waits in memory
TRIES = 3  # of a call whose workers die

GONE = (
    exceptions.RayActorError,
    exceptions.ObjectLostError,
    exceptions.OutOfMemoryError,
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
)

log = logging.getLogger(__name__)


class Columns:
    """What runs in a worker: its columns of all rows, and the kernels that answer for them."""

    def __init__(self, first: int, threads: int) -> None:
        self.first = first
        self.data: Block = np.empty((0, 0))
        tasks.threads.pool = ThreadPoolExecutor(threads, thread_name_prefix="hawthorn")  # the cores asked of Ray

    def ready(self) -> int:
        """The process's number, once everything sent before is done."""
        return os.getpid()

    def reserve(self, rows: int, width: int, dtype: str) -> None:
        """Make room."""
        self.data = np.empty((rows, width), dtype)

    def hold(self, block: Block) -> None:
        """Take a block where it lies in the object store."""
        self.data = block

    def write(self, row: int, column: int, piece: Block) -> None:
        """Copy a piece to its place."""
        self.data[row : row + len(piece), column : column + piece.shape[1]] = piece

    def answer(self, kernel: str, rows: int, *arguments: Any) -> Any:
        """What the kernel answers for the first `rows` rows of these columns."""
        return getattr(cpu, kernel)(self.data[:rows], *arguments)

    def layers(self, rows: int, order: Order, scale: Floats, bounds: Order) -> Any:
        """What `cpu.layers` answers for the layers' columns that are here."""
        width = self.data.shape[1]
        return cpu.layers(self.data[:rows], order, scale, np.clip(bounds - self.first, 0, width))

    def beside(self, rows: int, order: Order, scale: Floats, row: Block, factor: float) -> Any:
        """What `cpu.beside` answers for the columns that are here."""
        here = row[self.first : self.first + self.data.shape[1]]
        return cpu.beside(self.data[:rows], order, scale, here, factor)

    def columns(self, rows: int, chosen: Order) -> Floats:
        """Those of the chosen columns that are here."""
        here = (chosen >= self.first) & (chosen < self.first + self.data.shape[1])
        return cpu.columns(self.data[:rows], chosen[here] - self.first)


class _Worker:
    """A worker as its owner sees it: it does one thing after the other, and what it was sent may not have arrived."""

    def __init__(self, first: int, cpus: float) -> None:
        options = {"num_cpus": cpus, "scheduling_strategy": "SPREAD"}  # one machine's memory is not to hold them all
        self.actor: Any = ray.remote(Columns).options(**options).remote(first, max(1, round(cpus)))
        self.sent: deque[Any] = deque()
        self.furnished = False

    def send(self, method: str, *arguments: Any) -> None:
        """Have something done, without waiting for it, once what is under way is little enough."""
        while len(self.sent) >= UNDER_WAY:
            self._confirm()
        self.sent.append(self.ask(method, *arguments))

    def ask(self, method: str, *arguments: Any) -> Any:
        """A reference to what the worker will answer."""
        return getattr(self.actor, method).remote(*arguments)

    def answer(self, reference: Any, timeout: float | None = None) -> Any:
        """What the worker answered, if all it was sent before arrived."""
        while self.sent:
            self._confirm()
        return _got(reference, timeout)

    def _confirm(self) -> None:
        _got(self.sent[0])  # what failed stays, and fails every later call
        self.sent.popleft()


def _got(reference: Any, timeout: float | None = None) -> Any:
    """The object itself; what a worker died of before it could begin is raised as what it is."""
    try:
        return ray.get(reference, timeout=timeout)
    except exceptions.RayTaskError as error:
        if isinstance(error.cause, GONE):
            raise error.cause from error
        raise


class Shards:
    """An `(n, d)` matrix whose columns lie with the workers of a Ray cluster; rules and defenses take it as updates.

    Made by `of` from a matrix, by `of_parts` from blocks in the object store, or `empty`, to be written row by row.
    Each worker asks the cluster for `cpus` and runs as many threads; none started within `patience` seconds raises
    `LostColumnsError`. Workers live until `close`, the end of a `with`, or until nobody holds the shards any more.
    Calls from several threads take turns.
    """

    def __init__(
        self, capacity: int, cuts: Sequence[int], dtype: DTypeLike, sources: Sequence[Any], cpus: float, patience: float
    ) -> None:
        self.capacity, self.cuts, self.dtype = capacity, tuple(cuts), np.dtype(dtype)
        self._sources, self._cpus, self._patience = tuple(sources), cpus, patience
        self._streamed = self._sources[0] is None
        self._rows = 0 if self._streamed else capacity
        self._workers: list[_Worker | None] = [None] * len(self._sources)
        self._lock = threading.Lock()
        self._closed = False
        try:
            self._call("ready")
        except BaseException:
            self.close()
            raise

    @classmethod
    def of(cls, updates: Block, *, workers: int = 2, cpus: float = 1.0, patience: float = 60.0) -> Shards:
        """Shards of a matrix, in memory or mapped from a file; a lost worker's columns are read from it again.

        So it is kept, and must not change while the shards are in use.
        """
        matrix = np.asarray(updates)
        if matrix.ndim != 2 or matrix.dtype.kind != "f":
            raise ValueError(f"shards are of an (n, d) matrix of floats, got {matrix.dtype} of shape {matrix.shape}")
        cuts = cut(matrix.shape[1], workers)
        blocks = [matrix[:, first:last] for first, last in itertools.pairwise(cuts)]
        return cls(len(matrix), cuts, matrix.dtype, blocks, cpus, patience)

    @classmethod
    def of_parts(cls, parts: Sequence[Any], *, cpus: float = 1.0, patience: float = 60.0) -> Shards:
        """Shards of blocks `(n, d_k)`, given as references to objects of the cluster: a worker each, left to right.

        They do not pass through this process, and a worker on the machine where its block is reads it in place.
        """
        _refuse_without_cluster()

        def description(block: Any) -> tuple[tuple[int, ...], str]:  # in here, it travels without all of this package
            return np.shape(block), str(getattr(block, "dtype", type(block).__name__))

        described: Any = ray.remote(num_cpus=0)(description)
        kinds: list[tuple[tuple[int, ...], str]] = ray.get([described.remote(part) for part in parts])
        alike = {(len(shape) == 2 and shape[0], dtype) for shape, dtype in kinds}
        if len(alike) != 1 or not all(len(shape) == 2 and "float" in dtype for shape, dtype in kinds):
            raise ValueError(f"parts must be (n, d_k) arrays of floats, of one n and dtype, got {kinds}")
        (rows, _), dtype = kinds[0]
        cuts = np.cumsum([0, *(shape[1] for shape, _ in kinds)]).tolist()
        return cls(rows, cuts, dtype, parts, cpus, patience)

    @classmethod
    def empty(
        cls,
        capacity: int,
        width: int,
        dtype: DTypeLike = np.float32,
        *,
        workers: int = 2,
        cpus: float = 1.0,
        patience: float = 60.0,
    ) -> Shards:
        """Shards with room for `capacity` rows of `width` columns, and none yet: see `write`."""
        cuts = cut(width, workers)
        return cls(capacity, cuts, dtype, [None] * (len(cuts) - 1), cpus, patience)

    def __repr__(self) -> str:
        n, d = self.shape
        return f"<shards of {n} x {d} {self.dtype} with {len(self._workers)} workers>"

    def __enter__(self) -> Shards:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def shape(self) -> tuple[int, int]:
        """The rows there are, and their columns."""
        return self._rows, self.cuts[-1]

    def write(self, row: int, values: Block) -> None:
        """Send one row, the next one or one to be replaced; or several from there on, `(k, d)`.

        Returns once they are on their way, and waits before that while too much is: the caller may use its buffer
        again. Raises `LostColumnsError` when a worker died: nobody has its part of the earlier rows any more.
        """
        block = np.atleast_2d(np.asarray(values, self.dtype))
        last = row + len(block)
        if not self._streamed:
            raise ValueError("only shards made empty are written to")
        if not 0 <= row <= self._rows or last > self.capacity:
            raise ValueError(f"rows {row} to {last} do not follow {self._rows} rows with room for {self.capacity}")
        if block.shape[1:] != (self.cuts[-1],):
            raise ValueError(f"a row has {self.cuts[-1]} columns, got shape {np.shape(values)}")
        with self._lock:
            self._refuse_unusable()
            for k in range(len(self._workers)):
                with self._noticing_death(k, tries_left=0):
                    self._send(k, row, block[:, self.cuts[k] : self.cuts[k + 1]])
            self._rows = max(self._rows, last)  # not before: what did not go out as a whole does not count

    def clear(self) -> None:
        """Start again with no rows, in the same memory; workers that died are replaced."""
        if not self._streamed:
            raise ValueError("only shards made empty are cleared")
        self._rows = 0
        self._call("ready")

    def close(self) -> None:
        """Let the workers go."""
        self._closed = True
        for worker in self._workers:
            _kill(worker)

    def each(self, kernel: str, *arguments: Any) -> list[Any]:
        """What `cpu`'s kernel of this name answers for each worker's columns, in their order."""
        return self._call("answer", kernel, self._rows, *arguments)

    def layers(self, order: Order, scale: Floats, bounds: Order) -> list[Any]:
        """What `cpu`'s kernel answers for each worker's part of the layers, in the order of their columns."""
        return self._call("layers", self._rows, order, scale, bounds)

    def beside(self, order: Order, scale: Floats, row: Block, factor: float) -> list[Any]:
        """What `cpu.beside` answers for each worker's columns, in their order."""
        return self._call("beside", self._rows, order, scale, row, factor)

    def chosen(self, columns: Order) -> Floats:
        """The chosen columns `(n, k)` in float64."""
        found = np.empty((self._rows, len(columns)))
        for k, part in enumerate(self._call("columns", self._rows, columns)):
            found[:, (columns >= self.cuts[k]) & (columns < self.cuts[k + 1])] = part
        return found

    def _call(self, method: str, *arguments: Any) -> list[Any]:
        """What each worker answers; those that died are replaced where that is possible, and asked again."""
        with self._lock:
            self._refuse_unusable()
            answers: dict[int, Any] = {}
            for tries_left in reversed(range(TRIES)):
                missing = [k for k in range(len(self._workers)) if k not in answers]
                for k in missing:  # all start at once
                    self._workers[k] = self._workers[k] or _Worker(self.cuts[k], self._cpus)
                asked: dict[int, Any] = {}
                for k in missing:
                    with self._noticing_death(k, tries_left):
                        asked[k] = self._furnished(k).ask(method, *arguments)
                for k, reference in asked.items():
                    with self._noticing_death(k, tries_left):
                        answers[k] = self._furnished(k).answer(reference)
                if len(answers) == len(self._workers):
                    break
            return [answers[k] for k in range(len(self._workers))]

    def _furnished(self, k: int) -> _Worker:
        """The worker with its columns, or at least with all of them on their way."""
        worker = self._workers[k]
        assert worker is not None
        if worker.furnished:
            return worker
        try:
            worker.answer(worker.ask("ready"), self._patience)
        except exceptions.GetTimeoutError:
            _kill(worker)
            self._workers[k] = None
            free, there = ray.available_resources().get("CPU", 0.0), ray.cluster_resources().get("CPU", 0.0)
            raise LostColumnsError(
                f"{self._columns(k)} have no worker: none started within {self._patience:g} s; each asks for "
                f"{self._cpus:g} CPUs, and {free:g} of the cluster's {there:g} are free"
            ) from None
        source = self._sources[k]
        if isinstance(source, ray.ObjectRef):
            worker.send("hold", source)
        else:
            worker.send("reserve", self.capacity, self.cuts[k + 1] - self.cuts[k], self.dtype.str)
        if isinstance(source, np.ndarray):
            self._send(k, 0, cast("Block", source))
        worker.furnished = True
        return worker

    def _send(self, k: int, row: int, block: Block) -> None:
        """Have a worker write a block of its columns, piece by piece, so that little of it is under way."""
        worker = self._workers[k]
        assert worker is not None
        rows, width = block.shape
        wide = max(min(width, PIECE // block.itemsize), 1)
        tall = max(PIECE // (wide * block.itemsize), 1)
        for top in range(0, rows, tall):
            for left in range(0, width, wide):
                piece = np.ascontiguousarray(block[top : top + tall, left : left + wide])
                worker.send("write", row + top, left, piece)

    @contextlib.contextmanager
    def _noticing_death(self, k: int, tries_left: int) -> Generator[None]:
        try:
            yield
        except GONE as error:
            _kill(self._workers[k])  # it may only be out of reach, and shall not come back
            what, reason = self._columns(k), str(error).partition("\n")[0]
            if self._streamed and (self._rows or not tries_left):
                # the dead worker keeps its place until `clear`, so that nobody answers in its stead
                again = "clear the shards and send their rows again"
                raise LostColumnsError(
                    f"{what} died with their worker, and came as a stream: {again} ({reason})"
                ) from error
            self._workers[k] = None
            if not tries_left:
                raise LostColumnsError(f"{what} were lost {TRIES} times in turn ({reason})") from error
            log.warning("%s were lost, and go to a new worker: %s", what, reason)

    def _columns(self, k: int) -> str:
        return f"columns {self.cuts[k]} to {self.cuts[k + 1]}"

    def _refuse_unusable(self) -> None:
        if self._closed:
            raise ValueError("these shards are closed")
        _refuse_without_cluster()


def _refuse_without_cluster() -> None:
    """Raise where Ray would start a cluster of its own accord at the next call."""
    if not ray.is_initialized():
        raise RuntimeError(
            "shards need a Ray cluster: call ray.init() to start one here, or ray.init(address='auto') to join one"
        )


def _kill(worker: _Worker | None) -> None:
    if worker is not None and ray.is_initialized():
        ray.kill(worker.actor)


def cut(width: int, workers: int) -> list[int]:
    """Where `width` columns are cut to lie with at most so many workers: at multiples of 64 where there are enough.

    >>> cut(1000, 2), cut(23, 2), cut(1, 2), cut(0, 2)
    ([0, 512, 1000], [0, 11, 23], [0, 1], [0, 0])
    """
    if workers < 1:
        raise ValueError(f"shards need at least one worker, got {workers}")
    step = next(step for step in (tasks.CHUNK, ALIGNED, 1) if width >= step * workers or step == 1)
    steps = -(-width // step)
    parts = max(min(workers, steps), 1)
    return [min(steps * k // parts * step, width) for k in range(parts + 1)]
