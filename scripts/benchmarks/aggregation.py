"""`hawthorn benchmark aggregation`: a round through the service, beside the defense of the same rows here."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from hawthorn.server.certificates import Authority
from hawthorn.server.control import hawthorn_pb2 as pb
from hawthorn.server.control.remote import RemoteDefense, Service, channel
from hawthorn.strategies import Defense
from hawthorn.strategies.errors import HawthornError
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .history import stamp

CLIENTS, VALUES, ROUNDS = (10, 100), (100_000_000,), 3
DEFENSE = "shortened_mean"

Rows = NDArray[np.float32]


def measured(
    *, clients: Sequence[int] = CLIENTS, values: Sequence[int] = VALUES, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """For each size, the best seconds of a round over TLS, of its ways there and back, and the server's memory."""
    sizes: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="hawthorn-aggregation-") as folder:
        authority = Authority.made(Path(folder, "certificates"))
        authority.server("server", ["127.0.0.1"])
        authority.client("caller", "aggregation")
        for n in clients:
            for count in values:
                tell(f"{n} clients of {count // n} parameters")
                sizes.append(_size(n, count // n, authority.folder))
    settings = {"clients": list(clients), "values": list(values), "defense": DEFENSE}
    return {"subject": "aggregation", **stamp(), "settings": settings, "sizes": sizes}


def _size(n: int, d: int, certificates: Path) -> dict[str, Any]:
    rows = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
    names = [str(place) for place in range(n)]
    defense = Defense(DEFENSE)
    defense(rows, clients=names)  # loads what is compiled
    cpu = time.process_time()
    here = [_seconds(lambda: defense(rows, clients=names)) for _ in range(ROUNDS)]
    cpu = (time.process_time() - cpu) / ROUNDS
    once = [_seconds(lambda: rows.sum(axis=1)) for _ in range(ROUNDS)]
    with (
        served(certificates) as (process, address),
        channel(address, certificates, "caller") as opened,
    ):
        before = memory(process.pid, "VmRSS")
        remote = RemoteDefense(opened, "s", defense=DEFENSE, dimension=d, numbers=pb.FLOAT32, clients=n)
        spent, own = processor_seconds(process.pid), time.process_time()
        there = [_seconds(lambda: remote.round(zip(names, rows, strict=True))) for _ in range(ROUNDS)]
        own, spent = time.process_time() - own, processor_seconds(process.pid) - spent
        again = [_seconds(lambda: _repeated(remote)) for _ in range(ROUNDS)]
        after = memory(process.pid, "VmHWM")
    return {
        "n": n,
        "d": d,
        "bytes": rows.nbytes,
        "read_once": min(once),
        "defense": min(here),
        "round": min(there),
        "answer": min(again),
        "caller_cpu": own / ROUNDS,
        "server_cpu": spent / ROUNDS,
        "defense_cpu": cpu,
        "memory_before": before,
        "memory_peak": after,
    }


def _repeated(remote: RemoteDefense) -> None:
    """The answer of the round held last, once more: its way back alone."""
    begin = pb.RoundRequest(begin=pb.Begin(session=remote.session, round=remote.rounds))
    for _ in Service(remote.service.channel, "Aggregation").stream("Round", [begin]):
        pass


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextmanager
def served(certificates: Path) -> Generator[tuple[subprocess.Popen[str], str]]:
    """`hawthorn control` in a process of its own, and where it listens."""
    command = [sys.executable, "-P", "-m", "hawthorn.scripts.main", "control", "--certificates", str(certificates)]
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", "--json"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            if not told:
                raise HawthornError("hawthorn control did not start; what it says is above")
            yield process, json.loads(told)["listen"]
        finally:
            process.terminate()


def memory(process: int, which: str) -> int | None:
    """The bytes of a process in memory, now (`VmRSS`) or at most (`VmHWM`); None where the system does not tell."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(which)), None)


def processor_seconds(process: int) -> float:
    """The seconds that processors have worked for a process; NaN where the system does not tell."""
    try:
        told = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return math.nan
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def show(found: dict[str, Any], console: Console) -> None:
    """One line per size."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in (
        "clients",
        "parameters",
        "MB",
        "round s",
        "MB/s",
        "defense here s",
        "answer s",
        "CPU s caller, server, defense here",
        "read once s",
        "server MB",
    ):
        table.add_column(column, justify="right")
    for size in found["sizes"]:
        peak, before = size["memory_peak"], size["memory_before"]
        table.add_row(
            str(size["n"]),
            str(size["d"]),
            f"{size['bytes'] / 1e6:.0f}",
            f"{size['round']:.2f}",
            f"{size['bytes'] / size['round'] / 1e6:.0f}",
            f"{size['defense']:.2f}",
            f"{size['answer']:.3f}",
            " ".join(f"{size[name]:.2f}" for name in ("caller_cpu", "server_cpu", "defense_cpu")),
            f"{size['read_once']:.3f}",
            "" if peak is None else f"{before / 1e6:.0f} to {peak / 1e6:.0f}",
        )
    console.print(table)
    console.print(
        f"Best of {ROUNDS} rounds of {DEFENSE} over TLS, server and caller on this machine: the updates there, the "
        "defense, verdicts and aggregate back. answer: the way back alone. CPU: seconds that processors worked in a "
        "round. server: its memory before and at most.",
        style="dim",
    )
