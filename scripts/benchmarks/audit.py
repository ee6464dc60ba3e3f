"""`hawthorn benchmark audit`: what a commit and a question cost after so many rounds.

The rounds are copies of one that a defense judged, put into the database as a run would have left them: to hold
20,000 rounds one by one would take an hour. What is measured is as in a run: commits of a `Ledger` with checkpoints,
and questions of the Operator service.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from hawthorn.server.audit import Audit
from hawthorn.server.control import hawthorn_pb2 as pb
from hawthorn.server.control.limits import Limits
from hawthorn.server.control.operating import Operator
from hawthorn.strategies import Defense, RoundRecord
from hawthorn.strategies.flower import Commit, Memory
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection

from .history import stamp

ROUNDS = (1_000, 20_000)
D = 10_000
NOBODY: Any = None  # the call that a question comes with, which no answer needs
ASKED: Mapping[str, Callable[[Operator, int], object]] = {
    "Status": lambda operator, _: operator.status(pb.StatusRequest(), NOBODY),
    "Rounds, the newest page": lambda operator, last: operator.rounds(pb.RoundsRequest(after=last - 100), NOBODY),
    "Clients": lambda operator, _: operator.clients(pb.ClientsRequest(), NOBODY),
    "History, a page": lambda operator, last: operator.history(pb.HistoryRequest(client="3", after=last // 2), NOBODY),
}
FIRST = "Status of a service that has just started"


def measured(
    *, clients: tuple[int, ...] = (50,), repeats: int = 5, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """The median seconds of each thing after each number of rounds, with so many clients."""
    (n,) = clients[:1]
    sizes = [_after(rounds, n, repeats, tell) for rounds in ROUNDS]
    return {"subject": "audit", **stamp(), "settings": {"clients": n, "repeats": repeats}, "sizes": sizes}


def _after(rounds: int, n: int, repeats: int, tell: Callable[[str], None]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="hawthorn-audit-") as folder:
        tell(f"{rounds} rounds of {n} clients: writing them")
        database = Path(folder, "audit.db")
        _write(database, rounds, n)
        seconds: dict[str, list[float]] = {}
        with Audit.open(database) as audit:
            ledger = audit.run({}, name="long", resume=True)
            model = ArrayRecord({"w": Array(np.zeros(D, np.float32))})
            operator = Operator(audit, Limits())
            operator.status(pb.StatusRequest(), NOBODY)
            for turn in range(repeats):
                tell(f"{rounds} rounds of {n} clients: turn {turn + 1} of {repeats}")
                started = Operator(audit, Limits())
                _time(seconds, FIRST, lambda started=started: started.status(pb.StatusRequest(), NOBODY))
                number = rounds + turn + 1
                commit = Commit(number, model, Memory(), record=_record(number, n))
                _time(seconds, "commit", lambda commit=commit: ledger.commit(commit))
                for name, ask in ASKED.items():
                    _time(seconds, name, lambda ask=ask, number=number: ask(operator, number))
        size = database.stat().st_size
    return {"rounds": rounds, "bytes": size, "seconds": {name: median(taken) for name, taken in seconds.items()}}


def _time(seconds: dict[str, list[float]], name: str, work: Callable[[], object]) -> None:
    start = time.perf_counter()
    work()
    seconds.setdefault(name, []).append(time.perf_counter() - start)


def _record(number: int, n: int) -> RoundRecord:
    """A round that the standard defense judged."""
    rows = np.random.default_rng(number).normal(size=(n, 20)).astype(np.float32)
    outcome = Defense(f=0.2)(rows, clients=tuple(map(str, range(n))))
    verdicts = dict(zip(range(n), outcome.verdicts, strict=True))
    return RoundRecord(number, verdicts, {}, None, outcome.geometry, 1.0, evidence=outcome.evidence)


def _write(database: Path, rounds: int, n: int) -> None:
    """A run of so many rounds that can go on; its chain is no chain, which nothing here looks at."""
    with Audit.open(database) as audit:
        ledger = audit.run({}, name="long", checkpoints=database.parent)
        model = ArrayRecord({"w": Array(np.zeros(D, np.float32))})
        ledger.commit(Commit(1, model, Memory(), record=_record(1, n)))
        ledger.evaluated(1, {"accuracy": 0.5})
        with audit.begin() as connection:
            numbers = f"(WITH RECURSIVE n(k) AS (VALUES (1) UNION ALL SELECT k + 1 FROM n WHERE k < {rounds - 1}) "
            numbers += "SELECT k FROM n)"
            later = {"round": "t.round + k", "entry": "t.entry + k + 1", "number": "t.number + k + 1"}
            _copy(connection, "rounds", numbers, later)
            _copy(connection, "verdicts", numbers, later)
            _copy(connection, "metrics", numbers, later)
            _copy(connection, "checkpoints", numbers, later | {"memory": "hex(randomblob(32))"})
            entries = later | {"digest": "hex(randomblob(32))"}
            _copy(connection, "entries", numbers, entries, where="t.kind = 'round'")


def _copy(connection: Connection, table: str, numbers: str, later: Mapping[str, str], where: str = "1") -> None:
    """Repeat the rows of a table, with `k` added where a number tells of the round."""
    columns = [row[1] for row in connection.exec_driver_sql(f"PRAGMA table_info({table})")]
    names = ", ".join(f'"{name}"' for name in columns)
    chosen = ", ".join(later.get(name, f't."{name}"') for name in columns)
    connection.exec_driver_sql(f"INSERT INTO {table} ({names}) SELECT {chosen} FROM {table} t, {numbers} WHERE {where}")


def show(found: dict[str, Any], console: Console) -> None:
    """What each thing took after few rounds and after many, and the ratio."""
    few, *_, many = found["sizes"]
    table = Table(box=SIMPLE_HEAD, title=f"{found['settings']['clients']} clients, milliseconds, SQLite")
    for name in ("", *(f"after {one['rounds']:,} rounds" for one in found["sizes"]), "ratio"):
        table.add_column(name, justify="right" if name else "left")
    for name in few["seconds"]:
        taken = [one["seconds"][name] for one in found["sizes"]]
        table.add_row(name, *(f"{1e3 * one:,.1f}" for one in taken), f"{taken[-1] / taken[0]:.1f}")
    console.print(table)
    console.print(f"The database has {many['bytes'] / many['rounds'] / 1024:.1f} KiB a round.")
