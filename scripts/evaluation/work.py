"""Cells worked off: in processes of this machine, or as tasks of a Ray cluster; results are committed one by one."""

from __future__ import annotations

import multiprocessing
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
    cells: Sequence[Cell], store: Store, *, workers: int, ray: str = "", watch: Callable[[Done | None], None]
) -> tuple[dict[str, Result], dict[str, str]]:
    """The results of all cells by their keys, and why some have none.

    What the store holds is not run again. `watch` is called with None for each of these, and with each cell that ends.
    `ray` is the address of a cluster, "local" for one of its own; empty for `workers` processes.
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


def _in_processes(cells: Sequence[Cell], workers: int) -> Iterator[Done]:
    if workers == 1:
        for cell in cells:
            yield cell, *worked(cell)
        return
    tries = dict.fromkeys((cell.key for cell in cells), TRIES)
    waiting = list(cells)
    while waiting:
        # spawned, because threads of numerical libraries do not survive a fork
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_alone) as pool:
            running: dict[Future[tuple[Result | str, float]], Cell] = {}
            broken = False
            while (waiting and not broken) or running:
                while waiting and not broken and len(running) <= workers:  # few, so that a broken pool loses few
                    cell = waiting.pop(0)
                    running[pool.submit(worked, cell)] = cell
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


def _alone() -> None:
    """Prepare a worker: one core is its share."""
    import numba
    import torch

    torch.set_num_threads(1)
    numba.set_num_threads(1)


def _on_ray(cells: Sequence[Cell], address: str) -> Iterator[Done]:
    try:
        import ray
    except ImportError as error:
        raise SettingError("--ray needs Ray: pip install 'hawthorn[ray]'") from error
    library: Any = ray
    own = not library.is_initialized()
    if own:
        library.init(address=None if address == "local" else address, include_dashboard=False, log_to_driver=False)
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
