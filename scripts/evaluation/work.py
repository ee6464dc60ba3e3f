"""Cells worked off: in processes of this machine, or as tasks of a Ray cluster; results are committed one by one."""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from hawthorn.strategies import SettingError

from .cell import Cell, Result
from .store import Store

Done = tuple[Cell, Result | str, float]
"""A cell with its result, or with the reason why there is none, and the seconds that it took."""

TRIES = 2  # a cell whose worker died with it gets another one: the machine may have been short of memory for a moment


def results(
    cells: Sequence[Cell],
    store: Store,
    *,
    workers: int | Processes,
    ray: str = "",
    watch: Callable[[Done | None], None],
) -> tuple[dict[str, Result], dict[str, str]]:
    """The results of all cells by their keys, and why some have none.

    What the store holds is not run again. `watch` is called with None for each of these, and with each cell that ends.
    `ray` is the address of a cluster, "local" for one of its own; empty for `workers` processes, or for some that are
    kept for the next cells.
    """
    reached = store.found(cells)
    failed: dict[str, str] = {}
    for _ in reached:
        watch(None)
    missing = list({cell.key: cell for cell in cells if cell.key not in reached}.values())
    missing.sort(
        key=lambda cell: -cell.settings.rounds * cell.settings.clients
    )  # the long ones first: fewer idle hands
    for done in _on_ray(missing, ray) if ray else _in_processes(missing, workers):
        cell, result, seconds = done
        if isinstance(result, str):
            failed[cell.key] = result
        else:
            store.add(cell, result, seconds)
            reached[cell.key] = result
        watch(done)
    return reached, failed


def worked(cell: Cell) -> tuple[Result | str, float]:
    """A cell's result, or the reason why there is none, and the seconds that it took."""
    from .run import result  # torch and Flower are for whoever runs something

    start = time.perf_counter()
    try:
        return result(cell), time.perf_counter() - start
    except Exception as error:  # one cell's failure is not the others'
        return f"{type(error).__name__}: {error}", time.perf_counter() - start


class Processes:
    """Worker processes of this machine: started when there is work, and kept for more of it until the `with` ends."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def done(self, cells: Sequence[Cell]) -> Iterator[Done]:
        """The cells as they end; one worker alone is this process."""
        if self._count == 1:
            for cell in cells:
                yield cell, *worked(cell)
            return
        tries = dict.fromkeys((cell.key for cell in cells), TRIES)
        waiting = list(cells)
        while waiting:
            pool = self._started()
            running: dict[Future[tuple[Result | str, float]], Cell] = {}
            broken = False
            while (waiting and not broken) or running:
                while waiting and not broken and len(running) <= self._count:  # few, so that a broken pool loses few
                    try:
                        running[pool.submit(worked, waiting[0])] = waiting[0]
                    except BrokenProcessPool:  # a worker died while there was no work
                        broken = True
                    else:
                        del waiting[0]
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    cell = running.pop(future)
                    try:
                        yield cell, *future.result()
                    except BrokenProcessPool:
                        broken = True
                        tries[cell.key] -= 1
                        if tries[cell.key]:
                            waiting.append(cell)
                        else:
                            yield cell, "the worker died twice, perhaps for want of memory", 0.0
            if broken:
                self._end()

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # spawned, because threads of numerical libraries do not survive a fork
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._count, context, initializer=_alone)
        return self._pool

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _in_processes(cells: Sequence[Cell], workers: int | Processes) -> Iterator[Done]:
    if isinstance(workers, Processes):
        yield from workers.done(cells)
        return
    with Processes(workers) as own:
        yield from own.done(cells)


def _alone() -> None:
    """Prepare a worker: one core is its share."""
    import numba
    import torch

    torch.set_num_threads(1)
    numba.set_num_threads(1)


def _reach(address: str) -> None:
    """Raises ConnectionError if nobody listens at host:port or ray://host:port: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise ConnectionError(str(error)) from error


def _on_ray(cells: Sequence[Cell], address: str) -> Iterator[Done]:
    try:
        import ray
    except ImportError as error:
        raise SettingError("--ray needs Ray: pip install 'hawthorn[ray]'") from error
    library: Any = ray
    own = not library.is_initialized()
    if own:
        try:
            if address != "local":
                address = os.environ.get("RAY_ADDRESS") or address  # goes before any other with Ray
                _reach(address)
            library.init(address=address, include_dashboard=False, log_to_driver=False)
        except (ConnectionError, ValueError) as error:  # the latter where no address can be read
            raise SettingError(
                f"no Ray cluster at {address!r}: start one and write its host:port, or write --ray local"
            ) from error
    try:
        task = library.remote(num_cpus=1, max_retries=TRIES - 1)(worked)
        running = {task.remote(cell): cell for cell in cells}
        while running:
            (ended, *_), _ = library.wait(list(running))
            cell = running.pop(ended)
            try:
                yield cell, *library.get(ended)
            except library.exceptions.RayError as error:
                yield cell, f"{type(error).__name__}: {error}", 0.0
    finally:
        if own:
            library.shutdown()
