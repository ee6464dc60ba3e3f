"""`hawthorn benchmark start`: what the first use costs, before and after the compiled code is in the cache."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from statistics import median as middle
from typing import Any

from hawthorn.strategies.errors import HawthornError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .history import stamp

CLIENTS = (10, 50)
USES = ("median", "krum", "geometric_median", "arc | nnm | trimmed_mean")
IMPORT, FIRST, ALL = "import hawthorn.strategies", "first use: ", "first use of all"

# What a new process does: nothing else must have been imported or compiled before it.
PROGRAM = """
import json, sys, time
n, uses = int(sys.argv[1]), sys.argv[2:]
started = time.perf_counter()
import numpy as np
from hawthorn.strategies import Defense
from hawthorn.strategies.contract import RULES
seconds = {"": time.perf_counter() - started}
rows = np.random.default_rng(0).standard_normal((n, 20_000), dtype=np.float32)
for use in uses:
    started = time.perf_counter()
    RULES[use](rows, f=n // 5) if use in RULES else Defense.parse(use, f=n // 5)(rows)
    seconds[use] = time.perf_counter() - started
print(json.dumps(seconds))
"""


def measured(
    *, clients: Sequence[int] = CLIENTS, repeats: int = 3, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """For each number of clients, the seconds of importing and of each first use: cold, and with a warm cache."""
    sizes = [_size(n, repeats, tell) for n in clients]
    return {"subject": "start", **stamp(), "settings": {"clients": list(clients), "repeats": repeats}, "sizes": sizes}


def _size(n: int, repeats: int, tell: Callable[[str], None]) -> dict[str, Any]:
    taken: dict[str, list[float]] = {}
    for turn in range(repeats):
        with tempfile.TemporaryDirectory(prefix="hawthorn-start-") as cache:
            for state in ("cold", "warm"):  # the second process finds what the first one compiled
                tell(f"n={n}, turn {turn + 1} of {repeats}: {state}")
                for name, seconds in _seconds(n, cache).items():
                    taken.setdefault(f"{state}, {name}", []).append(seconds)
    return {"n": n, "work": {name: _figures(name, seconds) for name, seconds in taken.items()}, "left_out": {}}


def _seconds(n: int, cache: str) -> dict[str, float]:
    """What a new process took for its import, for each first use in turn, and for all of them."""
    # one thread of BLAS's own or many, it is not ours; and `-P`: a folder named hawthorn here would be imported instead
    command = [sys.executable, "-P", "-c", PROGRAM, str(n), *USES]
    done = subprocess.run(command, env=os.environ | {"NUMBA_CACHE_DIR": cache}, capture_output=True, text=True)
    if done.returncode:
        raise HawthornError(f"a new process failed: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(done.stdout)
    imported = found.pop("")
    return {IMPORT: imported, **{FIRST + use: took for use, took in found.items()}, ALL: sum(found.values())}


def _figures(name: str, seconds: Sequence[float]) -> dict[str, Any]:
    center = middle(seconds)
    spread = 1.4826 * middle([abs(value - center) for value in seconds])
    return {
        "group": name.split(",")[0],
        "ours": True,
        "runs": len(seconds),
        "best": min(seconds),
        "median": center,
        "noise": round(1.2533 * spread / math.sqrt(len(seconds)) / center, 4),
    }


def show(found: dict[str, Any], console: Console) -> None:
    """Cold and warm beside each other, for each number of clients."""
    sizes = found["sizes"]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("seconds in a new process")
    for size in sizes:
        for state in ("cold", "warm"):
            table.add_column(f"n={size['n']}\n{state}", justify="right")
    for name in (IMPORT, *(FIRST + use for use in USES), ALL):
        cells = (f"{size['work'][f'{state}, {name}']['median']:.2f}" for size in sizes for state in ("cold", "warm"))
        table.add_row(name, *cells)
    console.print(table)
    console.print(
        f"Medians of {found['settings']['repeats']} runs. cold: the compiler's cache is empty; warm: a process before "
        "it has filled it. First uses come in this order, each with what the ones before have left to compile.",
        style="dim",
    )
