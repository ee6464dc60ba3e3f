"""The record of one run while it runs: its ledger."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from flwr.app import ArrayRecord
from hawthorn.strategies import AuditError
from hawthorn.strategies.flower import Commit, Memory, Order, RoundRecord
from hawthorn.strategies.flower.ledger import Kind
from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError

from ..archive import row_digests, save_updates
from ..checkpoints import load_memory, load_model, save_memory, save_model
from ..files import path_of, thin
from . import schema
from .chain import Rows, entry_digest
from .opening import explained
from .values import Values, metric_values, now, round_values, verdict_values

logger = logging.getLogger(__name__)

PATIENCE = 120.0  # seconds that a database server may be away
PAUSE = 0.5  # seconds between two tries
OVER = "the run was over"  # what became of an order to stop or to pause that came too late

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Keeping:
    """Which files are kept in `folder`: of the `newest` checkpoints, of every `every`th round, and of round 0.

    `updates` of all rounds, of none, or of the last so many are kept; with `half` in half precision.
    """

    folder: Path | None = None
    newest: int = 5
    every: int = 10
    updates: Literal["all", "none"] | int = "none"
    half: bool = False


class RunAudit:
    """One run's part of the audit: a `Ledger` for `RobustStrategy`, or without one an observer of every round.

    As a context manager it marks the run `finished`, or `failed` with the error that ended it. A run that was killed
    stays `running`; the rounds it committed are whole. Every method raises `AuditError` where the database or the disk
    does not do its part; a database server that restarts is waited for.
    """

    def __init__(self, engine: Engine, run: int, number: int, head: str, keeping: Keeping) -> None:
        self._engine = engine
        self.id = run
        self.number: int = number  # of the last entry
        self.head = head  # its digest
        self.keeping = keeping

    @property
    def goes_on(self) -> bool:
        """Whether a round was committed already."""
        return self._last_round() > 0

    # what a run is committed to

    def last(self) -> Commit | None:
        """The last commit of this run, None where there is none to go on from."""
        folder = self.keeping.folder
        if folder is None:
            return None
        table = schema.checkpoints
        query = select(table).where(table.c.run == self.id).order_by(table.c.entry.desc()).limit(1)
        found = self._read(lambda connection: connection.execute(query).mappings().first())
        return None if found is None else commit_of(folder, dict(found))

    def commit(self, commit: Commit) -> None:
        """Write a commit, its checkpoint first, then all the rest in one transaction."""
        what = f"round {commit.round}" if commit.record is not None else "the initial model"
        kind = "initial" if commit.record is None else "round"
        if commit.record is None and (commit.done or commit.round):
            kind, what = "orders", f"orders after round {commit.round}"
        rows: dict[str, list[Values]] = {
            "metrics": [
                *metric_values(commit.round, commit.metrics),
                *metric_values(commit.round, commit.train_metrics, "training/"),
                *metric_values(commit.round, commit.evaluate_metrics, "clients/"),
            ]
        }
        if commit.record is not None:
            rows |= self._round_rows(commit.record, commit.rows)
        if commit.done:
            rows["orders"] = self._done(commit.done)
        if self.keeping.folder is not None:
            rows["checkpoints"] = [self._checkpoint(self.keeping.folder, commit.round, commit.arrays, commit.memory)]
        self._enter(kind, commit.round, {}, rows, f"cannot write {what} of run {self.id}")
        self._thin()

    def orders(self) -> Sequence[Order]:
        """The orders that are still open, oldest first."""
        table = schema.orders
        query = select(table).where(table.c.run == self.id, table.c.entry.is_(None)).order_by(table.c.id)
        rows = self._read(lambda connection: connection.execute(query).mappings().all())
        return [
            Order(
                row["id"],
                cast("Kind", row["kind"]),
                row["client"],
                rounds=row["rounds"],
                run=row["other"],
                round=row["round"],
                by=row["by"],
            )
            for row in rows
        ]

    def after(self, round: int, run: int | None = None) -> Commit:
        """The commit that closed a round of this or another run; raises `AuditError` where it was not kept."""
        number = self.id if run is None else run
        return self._read(lambda connection: commit_after(connection, number, round))

    def standing(self, status: Literal["running", "paused"]) -> None:
        """Note how the run stands."""
        self._set_run({"status": status})

    # a run without a ledger

    def __call__(self, record: RoundRecord) -> None:
        """Commit one round, verdicts, refusals and geometry together."""
        rows = self._round_rows(record, None)
        self._enter("round", record.round, {}, rows, f"cannot write round {record.round} of run {self.id}")

    def evaluated(self, round: int, metrics: Mapping[str, Any]) -> None:
        """Commit the metrics of the model after a round; round 0 is the initial model."""
        if metrics:
            rows = {"metrics": metric_values(round, metrics)}
            self._enter("metrics", round, {}, rows, f"cannot write the metrics of round {round}")

    def __enter__(self) -> RunAudit:
        return self

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        status = "finished" if error is None else "failed"
        told = None if error is None else f"{type(error).__name__}: {error}"
        ending = {"status": status, "error": None if told is None else schema.storable(told)}
        try:
            if error is None:
                self.close_late_orders()
            self._enter("end", self._last_round(), ending, {}, f"cannot close run {self.id}")
        except AuditError:
            if not isinstance(error, AuditError):
                raise
            logger.warning("run %d could not be marked as failed", self.id)  # what it failed of is told
            return
        logger.info("run %d of the audit is %s; its chain ends with %s", self.id, status, self.head)

    # how it is done

    def resumed(self, round: int, detail: Values, place: str) -> None:
        """Commit that the run goes on after a round, with these settings."""
        standing: Values = {"place": place, "status": "running", "finished": None, "error": None}
        self._enter("resume", round, detail, {}, f"cannot go on with run {self.id}", standing)

    def close_late_orders(self) -> None:
        """Commit that the run was over when it was to stop or to pause; all other orders wait until it goes on."""
        done = {order: OVER for order in self.orders() if order.kind in ("stop", "pause")}
        if done:
            rows = {"orders": self._done(done)}
            self._enter("orders", self._last_round(), {}, rows, f"cannot close orders to run {self.id}")

    def _round_rows(self, record: RoundRecord, updates: Any) -> dict[str, list[Values]]:
        values = round_values(record)
        keeping = self.keeping
        if updates is not None and keeping.folder is not None and keeping.updates != "none" and len(updates):
            values["updates"] = save_updates(keeping.folder, updates, half=keeping.half)
        digests = None if updates is None else row_digests(updates)
        return {"rounds": [values], "verdicts": verdict_values(record, digests)}

    def _checkpoint(self, folder: Path, round: int, arrays: ArrayRecord, memory: Memory) -> Values:
        return {"round": round, "model": save_model(folder, arrays), "memory": save_memory(folder, memory)}

    def _done(self, done: Mapping[Order, str]) -> list[Values]:
        """The orders that were carried out as they stand in the database, with what came of them."""
        table = schema.orders
        results = {order.id: schema.storable(result) for order, result in done.items()}
        query = select(table).where(table.c.run == self.id, table.c.id.in_(list(results)))
        rows = self._read(lambda connection: connection.execute(query).mappings().all())
        return [{**row, "result": results[row["id"]]} for row in rows]

    def _enter(
        self, kind: str, round: int, detail: Values, rows: Rows, what: str, standing: Values | None = None
    ) -> None:
        """Add an entry with its rows and with how the run stands now, all of it or nothing."""
        number = self.number + 1
        entry: Values = {
            "run": self.id,
            "number": number,
            "kind": kind,
            "round": round,
            "at": now(),
            "detail": detail,
            "previous": self.head,
        }
        entry["digest"] = entry_digest(entry, rows)
        if kind == "end":
            standing = {"finished": entry["at"], **detail}

        def work(connection: Connection) -> None:
            connection.execute(insert(schema.entries).values(entry))  # the first statement: it decides who writes
            write_rows(connection, self.id, number, rows)
            if standing:
                connection.execute(update(schema.runs).where(schema.runs.c.id == self.id).values(standing))

        with explained(what):
            try:
                self._patiently(work)
            except IntegrityError:
                found = self._digest_of(number)
                if found not in (None, entry["digest"]):
                    raise AuditError(f"{what}: another process goes on with this run") from None
                if found is None:
                    raise
                # else it was committed, and only the answer was lost
        self.number, self.head = number, entry["digest"]

    def _digest_of(self, number: int) -> str | None:
        table = schema.entries.c
        query = select(table.digest).where(table.run == self.id, table.number == number)
        return self._read(lambda connection: connection.execute(query).scalar())

    def _last_round(self) -> int:
        table = schema.entries.c
        query = select(table.round).where(table.run == self.id, table.number == self.number)
        return int(self._read(lambda connection: connection.execute(query).scalar()) or 0)

    def _set_run(self, values: Values) -> None:
        with explained(f"cannot write to run {self.id}"):
            self._patiently(
                lambda connection: connection.execute(
                    update(schema.runs).where(schema.runs.c.id == self.id).values(values)
                )
            )

    def _read(self, work: Callable[[Connection], Answer]) -> Answer:
        with explained("cannot read the audit"):
            return self._patiently(work)

    def _patiently(self, work: Callable[[Connection], Answer]) -> Answer:
        """What `work` answers, in a transaction of its own; tried again while a database server is away."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except (OperationalError, InterfaceError) as error:
                if self._engine.dialect.name == "sqlite" or time.monotonic() >= end:
                    raise
                logger.warning("the audit's database does not answer: %s", error.orig)
                time.sleep(PAUSE)

    def _thin(self) -> None:
        """Delete the files that are not to be kept."""
        keeping, folder = self.keeping, self.keeping.folder
        if folder is None:
            return
        table, rounds = schema.checkpoints.c, schema.rounds.c
        files = select(table.model, table.memory).where(table.run == self.id)
        newest = files.order_by(table.entry.desc()).limit(keeping.newest)
        kept: set[str] = set()
        for query in (newest, files.where(table.round % keeping.every == 0)):
            for row in self._read(lambda connection, query=query: connection.execute(query).all()):
                kept |= set(row)
        updates = select(rounds.updates).where(rounds.run == self.id, rounds.updates.is_not(None))
        updates = updates.order_by(rounds.round.desc())
        if isinstance(keeping.updates, int):
            updates = updates.limit(keeping.updates)
        kept |= set(self._read(lambda connection: connection.execute(updates).scalars().all()))
        thin(folder, kept)


def write_rows(connection: Connection, run: int, entry: int, rows: Rows) -> None:
    """Insert the rows of an entry, and close the orders that were carried out."""
    for name in ("rounds", "verdicts", "metrics", "checkpoints"):
        if rows.get(name):
            own = {"run": run, "entry": entry} if name != "verdicts" else {"run": run}
            connection.execute(insert(schema.metadata.tables[name]), [{**row, **own} for row in rows[name]])
    table = schema.orders
    for row in rows.get("orders", ()):
        change = update(table).where(table.c.id == row["id"]).values(entry=entry, result=row["result"])
        connection.execute(change)


def folder_to_go_on(connection: Connection, run: int, places: Sequence[Path]) -> Path:
    """The first of these folders that holds the last checkpoint of a run; raises `AuditError` where none does.

    A run that has no checkpoint yet goes on in the first that is there, or else in the last.
    """
    table = schema.checkpoints
    query = select(table).where(table.c.run == run).order_by(table.c.entry.desc())
    rows = connection.execute(query).mappings().all()
    if not rows:
        return next((folder for folder in places if folder.is_dir()), places[-1])
    held = ((row, folder) for row in rows for folder in places if _holds(folder, row))
    row, folder = next(held, (None, None))
    if row is rows[0] and folder is not None:
        return folder
    told = (
        f"run {run} cannot go on: its last checkpoint, after round {rows[0]['round']}, is not in "
        f"{' and not in '.join(map(str, places))}: put the folder back as it was after the database was copied, or "
        "write checkpoints='...' for the one that it is in now"
    )
    if row is not None and folder == places[0]:
        told += (
            f"; or have a run of another name go back to round {row['round']}, the last whose files are there: "
            f"hawthorn clients roll-back {row['round']} --from-run {run}"
        )
    raise AuditError(told)


def _holds(folder: Path, row: RowMapping) -> bool:
    return all(path_of(folder, kind, row[kind]).is_file() for kind in ("model", "memory"))


def commit_after(connection: Connection, run: int, round: int) -> Commit:
    """The commit that closed a round of a run; raises `AuditError` where it is not there or was not kept."""
    checkpoints, entries, runs = schema.checkpoints, schema.entries, schema.runs
    query = (
        select(checkpoints, runs.c.place)
        .join(entries, (entries.c.run == checkpoints.c.run) & (entries.c.number == checkpoints.c.entry))
        .join(runs, runs.c.id == checkpoints.c.run)
        .where(checkpoints.c.run == run, checkpoints.c.round == round, entries.c.kind.in_(["initial", "round"]))
    )
    found = connection.execute(query).mappings().first()
    if found is None or not found["place"]:
        raise AuditError(f"run {run} has no checkpoint after round {round}")
    try:
        return commit_of(Path(found["place"]), dict(found))
    except AuditError as error:
        raise AuditError(f"the checkpoint of run {run} after round {round} was not kept: {error}") from error


def commit_before(connection: Connection, run: int, round: int) -> Commit:
    """The last commit before that of a round, which began from it; raises `AuditError` as `commit_after` does."""
    checkpoints, rounds, runs = schema.checkpoints, schema.rounds, schema.runs
    entry = select(rounds.c.entry).where(rounds.c.run == run, rounds.c.round == round).scalar_subquery()
    query = (
        select(checkpoints, runs.c.place)
        .join(runs, runs.c.id == checkpoints.c.run)
        .where(checkpoints.c.run == run, checkpoints.c.entry < entry)
        .order_by(checkpoints.c.entry.desc())
    )
    found = connection.execute(query).mappings().first()
    if found is None or not found["place"]:
        raise AuditError(f"run {run} has no checkpoint before round {round}")
    try:
        return commit_of(Path(found["place"]), dict(found))
    except AuditError as error:
        raise AuditError(f"the checkpoint of run {run} before round {round} was not kept: {error}") from error


def commit_of(folder: Path, row: Mapping[str, Any]) -> Commit:
    """The commit that a row of the checkpoints' table stands for."""
    return Commit(row["round"], load_model(folder, row["model"]), load_memory(folder, row["memory"]))
