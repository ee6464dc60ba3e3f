"""The chain of a run's entries: each digest is of the one before and of everything that was committed with it.

Whoever changes, adds or takes away anything that was committed breaks the chain at that place, and `faults` says where.
Whoever can write to the database can make the whole chain anew, or cut off its end: against that, note down a digest
somewhere else (`hawthorn audit verify` prints it) and have it looked for later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hawthorn.strategies import AuditError
from sqlalchemy import Connection, Table, select
from sqlalchemy.engine import RowMapping

from ..files import contents, path_of
from . import schema

START = "0" * 64  # what stands in the place of a digest before the first entry
ORDER: dict[str, tuple[str, ...]] = {
    "rounds": ("round",),
    "verdicts": ("position",),
    "metrics": ("round", "name"),
    "orders": ("id",),
    "checkpoints": ("round",),
}
OWN = frozenset({"run", "entry"})  # of every row the same as of its entry

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def entry_digest(entry: Mapping[str, Any], rows: Rows) -> str:
    """The digest of an entry, of its own columns and of the rows of each table that were committed with it.

    Columns without a value are left out, so that one that is added later changes nothing.
    """
    document = {name: value for name, value in entry.items() if name != "digest"}
    tables = {
        name: [
            {
                column: _digested(name, column, value)
                for column, value in row.items()
                if value is not None and column not in OWN
            }
            for row in sorted(rows[name], key=lambda row: [row[column] for column in ORDER[name]])
        ]
        for name in ORDER
        if rows.get(name)
    }
    text = json.dumps(document | {"rows": tables}, sort_keys=True, separators=(",", ":"), default=_digest_of_bytes)
    return hashlib.sha256(text.encode()).hexdigest()


def _digested(table: str, column: str, value: Any) -> Any:
    """What a value is to a digest: a metric in 15 digits, since SQLite makes 1 of the JSON text 1.0, and may round.

    >>> _digested("metrics", "value", 1), _digested("metrics", "value", 1.0), _digested("verdicts", "weight", 0.1)
    ('1', '1', 0.1)
    """
    if (table, column) == ("metrics", "value") and isinstance(value, int | float):
        return f"{float(value) + 0.0:.15g}"  # and no minus before 0
    return value


def faults(connection: Connection, run: RowMapping, head: str | None) -> Generator[str]:
    """What is wrong with a run's entries and all that belongs to them, a line each."""
    entries = _all(connection, schema.entries, run["id"], "number")
    if not entries:
        yield f"run {run['id']} has no chain: it was written by an older hawthorn"
        return
    previous, digests = START, {entry["digest"] for entry in entries}
    for number, entry in enumerate(entries):
        name = f"entry {entry['number']} ({entry['kind']}, round {entry['round']}, {entry['at']})"
        if entry["number"] != number:
            yield f"entry {number} is missing: after entry {number - 1} comes {name}"
            return
        if entry["previous"] != previous:
            yield f"{name} does not follow the entry before it"
        if entry_digest(dict(entry), _committed_with(connection, entry)) != entry["digest"]:
            yield f"{name} is not what was committed: it, or a row that belongs to it, was changed, added or removed"
        previous = entry["digest"]
    yield from _stray(connection, run["id"], len(entries))
    yield from _state(run, entries)
    yield from _files(connection, run)
    if head is not None and head not in digests:
        yield f"no entry has the digest {head}: the chain was made anew, or its end was cut off"


def _committed_with(connection: Connection, entry: RowMapping) -> Rows:
    run, number = entry["run"], entry["number"]
    rows: dict[str, list[dict[str, Any]]] = {}
    for name in ORDER:
        table = schema.metadata.tables[name]
        if "entry" in table.c:
            found = select(table).where(table.c.run == run, table.c.entry == number)
            rows[name] = [dict(row) for row in connection.execute(found).mappings()]
    verdicts = schema.verdicts
    for row in rows["rounds"]:
        found = select(verdicts).where(verdicts.c.run == run, verdicts.c.round == row["round"])
        rows.setdefault("verdicts", []).extend(dict(verdict) for verdict in connection.execute(found).mappings())
    return rows


def _stray(connection: Connection, run: int, entries: int) -> Generator[str]:
    """Rows that belong to no entry."""
    for name in ("rounds", "metrics", "checkpoints"):
        table = schema.metadata.tables[name]
        query = select(table.c.round).where(table.c.run == run)
        query = query.where(table.c.entry.is_(None) | (table.c.entry >= entries) | (table.c.entry < 0))
        for round in sorted(set(connection.execute(query).scalars())):
            yield f"the {name} of round {round} belong to no entry: they were added, or entries were removed"
    orders = schema.orders.c
    query = select(orders.id).where(orders.run == run).order_by(orders.id)
    unmade = orders.entry.is_(None) & orders.result.is_not(None)
    query = query.where(unmade | (orders.entry >= entries) | (orders.entry < 0))
    for order in connection.execute(query).scalars():
        yield f"order {order} was carried out by no entry: it was added, or entries were removed"
    rounds, verdicts = schema.rounds.c, schema.verdicts.c
    known = select(rounds.round).where(rounds.run == run)
    query = select(verdicts.round).where(verdicts.run == run, verdicts.round.not_in(known)).distinct()
    for round in sorted(connection.execute(query).scalars()):
        yield f"verdicts of round {round}, which is not there"


def _state(run: RowMapping, entries: Sequence[RowMapping]) -> Generator[str]:
    """What the run's own row says otherwise than its entries."""
    start = entries[0]["detail"]
    for name in ("name", "settings", "version", "started"):
        if run[name] != start.get(name):
            yield f"the {name} of run {run['id']} was changed"
    last = entries[-1]
    ended = last["detail"].get("status") if last["kind"] == "end" else None
    if ended is not None and (run["status"], run["error"]) != (ended, last["detail"].get("error")):
        yield f"run {run['id']} is {run['status']}, but its last entry says {ended}"
    if run["finished"] != (None if ended is None else last["at"]):
        yield f"when run {run['id']} was finished was changed"
    if ended is None and run["status"] not in ("running", "paused"):
        yield f"run {run['id']} is {run['status']}, but no entry says so"


def _files(connection: Connection, run: RowMapping) -> Generator[str]:
    """Files of checkpoints and updates that are still there, but are not what was written."""
    if not run["place"]:
        return
    folder = Path(run["place"])
    wanted: set[tuple[str, str]] = set()
    for row in _all(connection, schema.checkpoints, run["id"], "entry"):
        wanted |= {("model", row["model"]), ("memory", row["memory"])}
    updates = select(schema.rounds.c.updates).where(schema.rounds.c.run == run["id"])
    wanted |= {("updates", digest) for digest in connection.execute(updates).scalars() if digest}
    for kind, digest in sorted(wanted):
        if path_of(folder, kind, digest).is_file():
            try:
                contents(folder, kind, digest)
            except AuditError as error:
                yield str(error)


def _all(connection: Connection, table: Table, run: int, order: str) -> Sequence[RowMapping]:
    query = select(table).where(table.c.run == run).order_by(table.c[order])
    return connection.execute(query).mappings().all()


def _digest_of_bytes(value: object) -> str:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    raise TypeError(f"no digest of {type(value).__name__}")
