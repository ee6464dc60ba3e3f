"""`hawthorn benchmark speed`: what rules and pipelines cost, in reads: multiples of the time to read the updates once.

Everything is timed in one process, in turns, and the medians are compared: a machine that slows down slows all alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median as middle
from typing import Any

import numpy as np
from hawthorn.strategies import Defense
from hawthorn.strategies.contract import RULES
from hawthorn.strategies.kernels.cpu import chunk_of, threads
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

VALUES = 32_000_000  # 128 MB of float32: many times any cache
CLIENTS = (10, 20, 50)
TURNS = 5

Updates = NDArray[np.float32]


def measured() -> dict[str, Any]:
    """For each number of clients, the seconds of one read and what everything else took in reads."""
    return {"values": VALUES, "turns": TURNS, "rounds": [_round(n) for n in CLIENTS]}


def _round(n: int) -> dict[str, Any]:
    updates = np.random.default_rng(n).standard_normal((n, VALUES // n), dtype=np.float32)
    f = n // 5
    work: dict[str, Callable[[Updates], object]] = {"read once": _read}
    for name in ("median", "trimmed_mean", "krum", "multi_krum", "geometric_median"):
        work[name] = lambda rows, rule=RULES[name]: rule(rows, f=f)
    for policy in ("none", "fdr"):
        defense = Defense.parse("arc | nnm | trimmed_mean", f=f, policy=policy)
        work[f"defense: arc | nnm | trimmed_mean, {policy}"] = defense
    work["NumPy: np.sort, mean of the middle"] = lambda rows: np.sort(rows, axis=0)[f : n - f].mean(axis=0)
    work["NumPy: np.median"] = lambda rows: np.median(rows, axis=0)
    work["NumPy: distances from rows @ rows.T"] = _distances
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for run in work.values():
        run(updates[:, :4096])  # compiled, or loaded from the cache, before the clock runs
    for _ in range(TURNS):
        for name, run in work.items():
            started = time.perf_counter()
            run(updates)
            seconds[name].append(time.perf_counter() - started)
    once = middle(seconds["read once"])
    return {"n": n, "d": VALUES // n, "f": f, "read": once, "reads": {k: middle(v) / once for k, v in seconds.items()}}


def _read(rows: Updates) -> None:
    """Read every value once, on all cores, as the kernels do."""
    for _ in threads.each(lambda start, stop: rows[:, start:stop].max(), rows.shape[1], chunk_of(len(rows))):
        pass


def _distances(rows: Updates) -> NDArray[np.floating]:
    """The usual one-liner; fast, and wrong for rows that share a large common part."""
    products = rows @ rows.T
    squares = np.diag(products)
    return squares[:, None] + squares[None, :] - 2 * products


def show(figures: dict[str, Any], console: Console) -> None:
    """The figures as a table."""
    rounds = figures["rounds"]
    table = Table(title=f"Time in reads of {VALUES * 4 / 1e6:.0f} MB of float32 updates (median of {figures['turns']})")
    table.add_column("")
    for found in rounds:
        table.add_column(f"n={found['n']}, f={found['f']}", justify="right")
    table.add_row("one read, milliseconds", *(f"{found['read'] * 1000:.1f}" for found in rounds), end_section=True)
    for name in rounds[0]["reads"]:
        if name != "read once":
            table.add_row(name, *(f"{found['reads'][name]:.1f}" for found in rounds))
    console.print(table)
