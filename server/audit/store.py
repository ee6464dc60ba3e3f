"""The audit database: written one transaction per round, read by `hawthorn audit`."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
from hawthorn.strategies import AuditError, Geometry, Verdict
from hawthorn.strategies.flower import RoundRecord
from sqlalchemy import Connection, Engine, Executable, create_engine, event, insert, inspect, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from . import schema
from .records import Contribution, Metric, Round, Run, Scalar


class Audit:
    """An open audit database; closes with `close()` or at the end of a `with` block."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, where: str | Path, *, create: bool = True) -> Audit:
        """The audit at a database URL, or at the path of an SQLite file, which is made unless `create` is False.

        Raises `AuditError` when it cannot be opened, or is not there and may not be made.
        """
        text = str(where)
        url = text if "://" in text else f"sqlite:///{Path(text).expanduser().absolute()}"
        if not create and url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).is_file():
            raise AuditError(f"no audit database at {text}; a run started with audit={text!r} writes one")
        with _explained(f"cannot open the audit database {text}"):
            engine = create_engine(url)
            if create and engine.dialect.name == "sqlite":
                event.listen(engine, "connect", _make_durable)
            if create:
                _create_tables(engine)
            elif not inspect(engine).has_table("runs"):
                raise AuditError(f"{text} is a database, but not an audit written by hawthorn")
        return cls(engine)

    @property
    def url(self) -> str:
        """Where the audit is, without a password."""
        return self._engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def __enter__(self) -> Audit:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def run(self, settings: Mapping[str, Scalar], *, name: str = "") -> RunAudit:
        """A new run in the database, ready to be an observer of `RobustStrategy`."""
        values = {
            "name": name,
            "settings": dict(settings),
            "version": version("hawthorn"),
            "started": _now(),
            "status": "running",
        }
        with self._transaction() as connection:
            key = connection.execute(insert(schema.runs).values(values)).inserted_primary_key
        assert key is not None
        return RunAudit(self._engine, int(key[0]))

    def runs(self) -> tuple[Run, ...]:
        """Every run, oldest first."""
        return tuple(Run(**row) for row in self._rows(select(schema.runs).order_by(schema.runs.c.id)))

    def find_run(self, run: int) -> Run:
        """One run; raises `AuditError` naming the runs there are."""
        known = {found.id: found for found in self.runs()}
        if run not in known:
            raise AuditError(f"no run {run}; the audit has {_listed(list(known), 'runs')}")
        return known[run]

    def rounds(self, run: int) -> tuple[Round, ...]:
        """The rounds of a run, in order, with the metrics of the model after each."""
        metrics = self.metrics(run)
        table = schema.rounds.c
        columns = (table.round, table.skipped, table.seconds, table.size)
        rows = self._rows(select(*columns).where(table.run == run).order_by(table.round))
        return tuple(
            Round(row["round"], row["skipped"], row["seconds"], row["size"], metrics=metrics.get(row["round"], {}))
            for row in rows
        )

    def metrics(self, run: int) -> dict[int, dict[str, Metric]]:
        """The model's metrics by round (0 is the initial model) and name."""
        by_round: dict[int, dict[str, Metric]] = {}
        table = schema.metrics.c
        for row in self._rows(select(schema.metrics).where(table.run == run).order_by(table.round, table.name)):
            by_round.setdefault(row["round"], {})[row["name"]] = _number(row["value"])
        return by_round

    def contributions(self, run: int, round: int | None = None) -> tuple[Contribution, ...]:
        """What every client sent in a run, or in one of its rounds, and what became of it.

        Admitted replies come first in each round, in the order of the geometry's rows. Raises `AuditError` for a round
        the run does not have.
        """
        table = schema.verdicts.c
        with _explained("cannot read the audit"), self._engine.connect() as connection:
            there = _columns(connection, "verdicts")  # an audit that only is read stays without those it lacks
        columns = (column for column in table if column.name in there)
        query = select(*columns).where(table.run == run).order_by(table.round, table.position)
        if round is not None:
            self._row_of_round(run, round)
            query = query.where(table.round == round)
        return tuple(_contribution(row) for row in self._rows(query))

    def geometry(self, run: int, round: int) -> Geometry | None:
        """The geometry of a round; its rows are the admitted `contributions`. None where no reply was admitted."""
        row = self._row_of_round(run, round)
        if row["gram"] is None:
            return None
        return Geometry(
            squared_distances=schema.unpacked(row["squared_distances"], row["size"]),
            gram=schema.unpacked(row["gram"], row["size"]),
            scale=np.frombuffer(row["scale"], "<f8").copy(),
            rank=np.frombuffer(row["rank"], "<i4").astype(np.intp),
        )

    def _row_of_round(self, run: int, round: int) -> RowMapping:
        table = schema.rounds.c
        rows = self._rows(select(schema.rounds).where(table.run == run, table.round == round))
        if not rows:
            known = [found.number for found in self.rounds(run)]
            raise AuditError(f"run {run} has no round {round}; it has {_listed(known, 'rounds')}")
        return rows[0]

    def _rows(self, query: Executable) -> Sequence[RowMapping]:
        with _explained("cannot read the audit"), self._engine.connect() as connection:
            return connection.execute(query).mappings().all()

    @contextmanager
    def _transaction(self) -> Generator[Connection]:
        with _explained("cannot write the audit"), self._engine.begin() as connection:
            yield connection


class RunAudit:
    """The record of one run while it runs: called with every `RoundRecord`, closed with the run's end.

    As a context manager it marks the run `finished`, or `failed` with the error that ended it. A run that was killed
    stays `running`; the rounds it committed are whole.
    """

    def __init__(self, engine: Engine, run: int) -> None:
        self._engine = engine
        self.id = run

    def __call__(self, record: RoundRecord) -> None:
        """Commit one round, verdicts, refusals and geometry together. Raises `AuditError` when that fails."""
        with _explained(f"cannot write round {record.round} of run {self.id}"), self._engine.begin() as connection:
            connection.execute(insert(schema.rounds).values(_round_values(self.id, record)))
            if rows := _verdict_values(self.id, record):
                connection.execute(insert(schema.verdicts), rows)

    def evaluated(self, round: int, metrics: Mapping[str, float | Sequence[float]]) -> None:
        """Commit the metrics of the model after a round; round 0 is the initial model."""
        key = {"run": self.id, "round": round}
        rows = [{**key, "name": name, "value": _plain(value)} for name, value in metrics.items()]
        if not rows:
            return
        with _explained(f"cannot write the metrics of round {round}"), self._engine.begin() as connection:
            connection.execute(insert(schema.metrics), rows)

    def __enter__(self) -> RunAudit:
        return self

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        ending = {
            "finished": _now(),
            "status": "finished" if error is None else "failed",
            "error": None if error is None else f"{type(error).__name__}: {error}",
        }
        with _explained(f"cannot close run {self.id}"), self._engine.begin() as connection:
            connection.execute(update(schema.runs).where(schema.runs.c.id == self.id).values(ending))


def _make_durable(connection: Any, _: object) -> None:
    """Have SQLite write ahead and sync at every commit, so that what was committed survives a crash and a power cut."""
    cursor = connection.cursor()
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _create_tables(engine: Engine) -> None:
    """Make the tables that are not there yet, and the column that audits lack that know no standing of clients."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # runs that start together must not both see no tables
        schema.metadata.create_all(connection)
        if "standing" not in _columns(connection, "verdicts"):
            connection.exec_driver_sql("ALTER TABLE verdicts ADD COLUMN standing TEXT DEFAULT '' NOT NULL")
        connection.commit()


def _columns(connection: Connection, table: str) -> set[str]:
    return {column["name"] for column in inspect(connection).get_columns(table)}


@contextmanager
def _explained(what: str) -> Generator[None]:
    """Turn a database error into an `AuditError` that says what could not be done."""
    try:
        yield
    except IntegrityError as error:
        raise AuditError(f"{what}: it is there already, or its run is not ({error.orig})") from error
    except (SQLAlchemyError, ArgumentError, ModuleNotFoundError) as error:
        reason = getattr(error, "orig", None) or error
        raise AuditError(f"{what}: {reason}") from error


def _round_values(run: int, record: RoundRecord) -> dict[str, object]:
    values: dict[str, object] = {
        "run": run,
        "round": record.round,
        "skipped": record.skipped,
        "seconds": record.seconds,
        "size": len(record.verdicts),
    }
    if record.geometry is not None:
        values |= {
            "size": record.geometry.n,
            "squared_distances": schema.packed(record.geometry.squared_distances),
            "gram": schema.packed(record.geometry.gram),
            "scale": record.geometry.scale.astype("<f8").tobytes(),
            "rank": record.geometry.rank.astype("<i4").tobytes(),
        }
    return values


def _verdict_values(run: int, record: RoundRecord) -> list[dict[str, object]]:
    admitted = [(client, True, verdict) for client, verdict in record.verdicts.items()]
    refused = [(client, False, Verdict(False, 0.0, math.nan, {}, reason)) for client, reason in record.refused.items()]
    return [
        {
            "run": run,
            "round": record.round,
            "position": position,
            "client": str(client),
            "admitted": is_admitted,
            "accepted": bool(verdict.accepted),
            "weight": float(verdict.weight),
            "p_value": None if math.isnan(verdict.p_value) else float(verdict.p_value),
            "scores": schema.plain_numbers(verdict.scores),
            "reason": verdict.reason,
            "standing": verdict.standing,
        }
        for position, (client, is_admitted, verdict) in enumerate(admitted + refused)
    ]


def _contribution(row: RowMapping) -> Contribution:
    scores = {name: float(value) for name, value in row["scores"].items()}
    p_value = math.nan if row["p_value"] is None else row["p_value"]
    verdict = Verdict(row["accepted"], row["weight"], p_value, scores, row["reason"], row.get("standing", ""))
    return Contribution(row["round"], row["client"], row["admitted"], verdict)


def _plain(value: float | Sequence[float]) -> object:
    return [schema.plain(item) for item in value] if isinstance(value, Sequence) else schema.plain(value)


def _number(value: Any) -> Metric:
    return [float(item) for item in cast("list[float | str]", value)] if isinstance(value, list) else float(value)


def _listed(numbers: list[int], plural: str) -> str:
    return f"{plural} {', '.join(map(str, numbers))}" if numbers else f"no {plural}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
