"""The audit database: written one transaction per commit, read by `hawthorn audit` and whoever watches a run."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from hawthorn.strategies import AuditError, Geometry, Verdict
from hawthorn.strategies.flower import Commit
from hawthorn.strategies.flower.ledger import Kind
from hawthorn.strategies.reputation import Standing
from sqlalchemy import Connection, Engine, Executable, case, func, insert, select, update
from sqlalchemy.engine import RowMapping

from ..archive import load_updates
from ..files import linked, made_folder, path_of
from . import schema
from .chain import START, entry_digest, faults
from .opening import explained, opened_engine
from .records import ClientRecord, Contribution, Entry, Metric, OrderRecord, Retained, Round, Run, Scalar, held_by
from .values import Values, now
from .writing import Keeping, RunAudit, commit_after, commit_before, folder_to_go_on

AT_ONCE = 400  # rounds that one query asks for
LISTED = 10  # of what there is instead of what was asked for
COUNTED = ("accepted", "rejected", "refused")


class Audit:
    """An open audit database; closes with `close()` or at the end of a `with` block."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, where: str | Path, *, create: bool = True) -> Audit:
        """The audit at a database URL, or at the path of an SQLite file, which is made unless `create` is False.

        Raises `AuditError` when it cannot be opened, or is not there and may not be made.
        """
        return cls(opened_engine(str(where), create=create))

    @property
    def url(self) -> str:
        """Where the audit is, without a password."""
        return self._engine.url.render_as_string(hide_password=True)

    def begin(self) -> AbstractContextManager[Connection]:
        """A transaction of the database itself, for tools that know its tables."""
        return self._engine.begin()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def __enter__(self) -> Audit:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def run(
        self,
        settings: Mapping[str, Scalar],
        *,
        name: str = "",
        resume: bool = False,
        checkpoints: str | Path | None = None,
        newest: int = 5,
        every: int = 10,
        updates: Literal["all", "none"] | int = "none",
        half: bool = False,
    ) -> RunAudit:
        """A run in the database, a new one or with `resume` the last of that name: a `Ledger` for `RobustStrategy`.

        With a folder for `checkpoints` it can go on after a crash: those of the `newest` commits, of every `every`th
        round and of round 0 are kept there, and of the clients' `updates` those of all rounds, of none or of the last
        so many, with `half` in half precision.
        """
        found = self.run_named(name) if resume else None
        keeping = Keeping(None, newest, every, updates, half)
        if found is not None:
            return self._resumed(found, settings, keeping, checkpoints)
        started = now()
        fixed = {
            "name": schema.storable(name),
            "settings": dict(settings),
            "version": version("hawthorn"),
            "started": started,
        }
        token = secrets.token_hex(4)  # two databases may share a folder
        with explained("cannot write the audit"), self._engine.begin() as connection:
            key = connection.execute(insert(schema.runs).values(**fixed, status="running")).inserted_primary_key
            assert key is not None
            run = int(key[0])
            if checkpoints is not None:
                folder = made_folder(Path(checkpoints).expanduser().absolute() / f"run-{run}-{token}")
                keeping = replace(keeping, folder=folder)
                connection.execute(update(schema.runs).where(schema.runs.c.id == run).values(place=str(folder)))
            entry: Values = {"run": run, "number": 0, "kind": "start", "round": 0, "at": started}
            entry |= {"detail": fixed, "previous": START}
            entry["digest"] = entry_digest(entry, {})
            connection.execute(insert(schema.entries).values(entry))
        return RunAudit(self._engine, run, 0, entry["digest"], keeping)

    def _resumed(
        self, run: Run, settings: Mapping[str, Scalar], keeping: Keeping, checkpoints: str | Path | None
    ) -> RunAudit:
        """A run that goes on; raises `AuditError` for one that cannot."""
        if run.place is None:
            raise AuditError(f"run {run.id}, {run.name!r}, cannot go on: it was started without checkpoints")
        places = [Path(run.place)]
        if checkpoints is not None:  # it may have been moved
            places.append(Path(checkpoints).expanduser().absolute() / places[0].name)
        with explained("cannot read the audit"), self._engine.connect() as connection:
            folder = folder_to_go_on(connection, run.id, list(dict.fromkeys(places)))
        keeping = replace(keeping, folder=made_folder(folder))
        last = self.head(run.id)
        audit = RunAudit(self._engine, run.id, last.number, last.digest, keeping)
        detail = {"settings": dict(settings), "version": version("hawthorn")}
        audit.resumed(last.round, detail, str(folder))
        if run.status == "finished":
            audit.close_late_orders()
        return audit

    # reading

    def runs(self) -> tuple[Run, ...]:
        """Every run, oldest first."""
        return tuple(Run(**row) for row in self._rows(select(schema.runs).order_by(schema.runs.c.id)))

    def find_run(self, run: int) -> Run:
        """One run; raises `AuditError` naming the runs there are."""
        known = {found.id: found for found in self.runs()}
        if run not in known:
            raise AuditError(f"no run {run}; the audit has {_listed(list(known), 'runs')}")
        return known[run]

    def run_named(self, name: str) -> Run | None:
        """The newest run of a name, None without one."""
        return next((run for run in reversed(self.runs()) if run.name == name), None)

    def newest(self) -> Run:
        """The newest run; raises `AuditError` where there is none."""
        runs = self.runs()
        if not runs:
            raise AuditError("the audit has no runs yet")
        return runs[-1]

    def rounds(self, run: int, after: int = 0, *, most: int | None = None) -> tuple[Round, ...]:
        """The rounds of a run after one of them, in order, with the metrics of the model after each; `most` so many."""
        table, verdicts, entries = schema.rounds.c, schema.verdicts.c, schema.entries.c
        columns = (table.round, table.skipped, table.seconds, table.size, table.rolled_back, entries.at)
        committed = schema.rounds.outerjoin(
            schema.entries, (entries.run == table.run) & (entries.number == table.entry)
        )
        chosen = select(*columns).select_from(committed).where(table.run == run, table.round > after)
        rows = self._rows(chosen.order_by(table.round).limit(most))
        if not rows:
            return ()
        last = rows[-1]["round"]
        metrics = self.metrics(run, after, upto=last)
        counted = (
            select(verdicts.round, *_counts())
            .where(verdicts.run == run, verdicts.round > after, verdicts.round <= last)
            .group_by(verdicts.round)
        )
        counts = {row["round"]: (row["accepted"], row["rejected"], row["refused"]) for row in self._rows(counted)}
        return tuple(
            Round(
                row["round"],
                row["skipped"],
                row["seconds"],
                row["size"],
                metrics=metrics.get(row["round"], {}),
                at=row["at"] or "",
                rolled_back=row["rolled_back"],
                **dict(zip(COUNTED, map(int, counts.get(row["round"], (0, 0, 0))), strict=True)),
            )
            for row in rows
        )

    def last_round(self, run: int) -> int:
        """The number of a run's newest round, 0 before there is one."""
        table = schema.rounds.c
        return self._rows(select(func.max(table.round).label("last")).where(table.run == run))[0]["last"] or 0

    def metrics(self, run: int, after: int = -1, *, upto: int | None = None) -> dict[int, dict[str, Metric]]:
        """The model's metrics by round (0 is the initial model) and name, of the rounds after one `upto` another."""
        by_round: dict[int, dict[str, Metric]] = {}
        table = schema.metrics.c
        query = select(schema.metrics).where(table.run == run, table.round > after)
        if upto is not None:
            query = query.where(table.round <= upto)
        for row in self._rows(query.order_by(table.round, table.name)):
            by_round.setdefault(row["round"], {})[row["name"]] = _number(row["value"])
        return by_round

    def contributions(
        self,
        run: int,
        round: int | None = None,
        client: str | None = None,
        *,
        after: int = 0,
        before: int | None = None,
        most: int | None = None,
        newest: int | None = None,
    ) -> tuple[Contribution, ...]:
        """What every client, or one, sent in a run, or in one of its rounds, and what became of it.

        Of the rounds `after` one and `before` another, the first so many (`most`) or the last (`newest`). Admitted
        replies come first in each round, in the order of the geometry's rows. Raises `AuditError` for a round that the
        run does not have.
        """
        table = schema.verdicts.c
        query = select(schema.verdicts).where(table.run == run, table.round > after)
        if round is not None:
            self._row_of_round(run, round)
            query = query.where(table.round == round)
        if client is not None:
            query = query.where(table.client == client)
        if before is not None:
            query = query.where(table.round < before)
        if newest is not None:
            rows = self._rows(query.order_by(table.round.desc(), table.position.desc()).limit(newest))[::-1]
        else:
            rows = self._rows(query.order_by(table.round, table.position).limit(most))
        return tuple(map(_contribution, rows))

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

    def evidence(self, run: int, round: int) -> Mapping[str, Any] | None:
        """What the verdicts of a round can be derived from again, beside its geometry; None where none was stored."""
        return self._row_of_round(run, round)["evidence"]

    def standings(self, run: int) -> dict[str, Standing]:
        """How every client stands, by identity, that anything spoke against after the run's last round."""
        table = schema.rounds.c
        query = select(table.standings).where(table.run == run).order_by(table.round.desc()).limit(1)
        rows = self._rows(query)
        found: dict[str, dict[str, Any]] = (rows[0]["standings"] if rows else None) or {}
        return {name: Standing(**{key: _float(item) for key, item in one.items()}) for name, one in found.items()}

    def clients(self, run: int) -> tuple[ClientRecord, ...]:
        """Every client that a run has seen, numbers before names."""
        table = schema.verdicts.c
        columns = (
            table.client,
            func.count(table.round.distinct()).label("rounds"),
            func.max(table.round).label("last"),
        )
        rows = self._rows(select(*columns, *_counts()).where(table.run == run).group_by(table.client))
        newest = select(table.client, table.name, table.node, table.reason).where(table.run == run)
        latest, said = sorted({row["last"] for row in rows}), dict[str, RowMapping]()
        for start in range(0, len(latest), AT_ONCE):
            chosen = newest.where(table.round.in_(latest[start : start + AT_ONCE]))
            said |= {row["client"]: row for row in self._rows(chosen.order_by(table.round, table.position))}
        standings, held = self.standings(run), self.held(run)
        clients = [
            ClientRecord(
                identity=row["client"],
                name=said[row["client"]]["name"] or "",
                node=said[row["client"]]["node"] or "",
                rounds=row["rounds"],
                accepted=int(row["accepted"]),
                rejected=int(row["rejected"]),
                refused=int(row["refused"]),
                last_round=row["last"],
                last_reason=said[row["client"]]["reason"],
                standing=standings.get(row["client"]),
                held=row["client"] in held,
            )
            for row in rows
        ]
        return tuple(sorted(clients, key=lambda one: (not one.identity.isdecimal(), len(one.identity), one.identity)))

    def held(self, run: int) -> set[str]:
        """Whom an operator keeps in quarantine, by identity."""
        entries = schema.entries.c
        told = self._rows(select(entries.number, entries.round).where(entries.run == run, entries.kind == "orders"))
        return held_by(self.orders(run), {row["number"]: row["round"] for row in told}, self.last_round(run))

    # orders

    def order(
        self,
        run: int,
        kind: Kind,
        client: str = "",
        *,
        rounds: int | None = None,
        other: int | None = None,
        round: int | None = None,
        by: str = "",
    ) -> int:
        """The number of a new order, which the run carries out between two rounds (see `Order`).

        Raises `AuditError` for a run or a client that is not there, and for a roll back to a round without checkpoint.
        """
        self.find_run(run)
        if kind in ("quarantine", "release"):
            if not self.contributions(run, client=client, most=1):
                known = [one.identity for one in self.clients(run)]
                raise AuditError(f"run {run} has seen no client {client!r}; it has seen {_listed(known, 'clients')}")
            if rounds is not None and rounds < 1:
                raise AuditError(f"a quarantine lasts at least one round, got rounds={rounds}")
        if kind == "roll_back":
            if round is None:
                raise AuditError("a roll back needs the round to go back to")
            self.commit_after(run if other is None else other, round)
        values = {"run": run, "kind": kind, "client": client, "rounds": rounds, "other": other, "round": round}
        values |= {"by": schema.storable(by), "at": now()}
        with explained("cannot write the order"), self._engine.begin() as connection:
            key = connection.execute(insert(schema.orders).values(values)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def orders(self, run: int) -> tuple[OrderRecord, ...]:
        """Every order for a run, oldest first."""
        table = schema.orders
        return tuple(
            OrderRecord(**row) for row in self._rows(select(table).where(table.c.run == run).order_by(table.c.id))
        )

    # the chain, and what it holds

    def entries(self, run: int, after: int = -1, *, most: int | None = None) -> tuple[Entry, ...]:
        """The commits of a run after one of them, oldest first; `most` so many."""
        table = schema.entries
        query = select(table).where(table.c.run == run, table.c.number > after).order_by(table.c.number)
        return tuple(Entry(**row) for row in self._rows(query.limit(most)))

    def head(self, run: int) -> Entry:
        """The last commit of a run; raises `AuditError` for one that has none."""
        table = schema.entries
        rows = self._rows(select(table).where(table.c.run == run).order_by(table.c.number.desc()).limit(1))
        if not rows:
            raise AuditError(f"run {run} has no chain of entries: it was written by an older hawthorn, or is not there")
        return Entry(**rows[0])

    def verify(self, run: int, head: str | None = None) -> tuple[str, ...]:
        """What is wrong with a run's chain, a line each; `head` is a digest that was noted down and must be in it."""
        self.find_run(run)
        with explained("cannot read the audit"), self._engine.connect() as connection:
            if connection.dialect.name == "sqlite":  # one view of all tables, whatever a run commits meanwhile
                connection.exec_driver_sql("BEGIN")
            else:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            row = connection.execute(select(schema.runs).where(schema.runs.c.id == run)).mappings().one()
            return tuple(faults(connection, row, head))

    def commit_after(self, run: int, round: int) -> Commit:
        """The model and all that is remembered after a round; raises `AuditError` where that was not kept."""
        with explained("cannot read the audit"), self._engine.connect() as connection:
            return commit_after(connection, run, round)

    def commit_before(self, run: int, round: int) -> Commit:
        """What a round began from, orders included that were carried out before it; raises `AuditError` likewise."""
        with explained("cannot read the audit"), self._engine.connect() as connection:
            return commit_before(connection, run, round)

    def updates(self, run: int, round: int, folder: Path | None = None) -> Retained:
        """The updates of a round's admitted clients; raises `AuditError` where they were not kept.

        The files are in the run's folder, or in another one where `link_updates` has put them.
        """
        place, digest = self._updates_file(run, round)
        rows, half = load_updates(folder or place, digest)
        clients = tuple(one.client for one in self.contributions(run, round) if one.admitted)
        return Retained(clients, rows, half)

    def link_updates(self, run: int, round: int, folder: Path) -> None:
        """Have the file of a round's updates in a folder too, whatever the run deletes later."""
        place, digest = self._updates_file(run, round)
        linked(place, "updates", digest, folder)

    def retained_rounds(self, run: int) -> tuple[int, ...]:
        """The rounds whose updates were kept and are still there."""
        table, place = schema.rounds.c, self.find_run(run).place
        query = select(table.round, table.updates).where(table.run == run, table.updates.is_not(None))
        rows = self._rows(query.order_by(table.round)) if place else ()
        return tuple(row["round"] for row in rows if path_of(Path(place or ""), "updates", row["updates"]).is_file())

    def _updates_file(self, run: int, round: int) -> tuple[Path, str]:
        """The folder and the digest of a round's updates; raises `AuditError` where they were not kept."""
        row, place = self._row_of_round(run, round), self.find_run(run).place
        if not row["updates"] or not place:
            raise AuditError(f"the updates of round {round} were not kept: run with updates=all, or a number of rounds")
        return Path(place), row["updates"]

    def _row_of_round(self, run: int, round: int) -> RowMapping:
        table = schema.rounds.c
        rows = self._rows(select(schema.rounds).where(table.run == run, table.round == round))
        if not rows:
            known = self._rows(select(table.round).where(table.run == run).order_by(table.round))
            numbers = [row["round"] for row in known]
            raise AuditError(f"run {run} has no round {round}; it has {_listed(numbers, 'rounds')}")
        return rows[0]

    def _rows(self, query: Executable) -> Sequence[RowMapping]:
        with explained("cannot read the audit"), self._engine.connect() as connection:
            return connection.execute(query).mappings().all()


def _counts() -> tuple[Any, Any, Any]:
    table = schema.verdicts.c
    accepted = func.sum(case((table.accepted, 1), else_=0)).label("accepted")
    rejected = func.sum(case((table.admitted & ~table.accepted, 1), else_=0)).label("rejected")
    return accepted, rejected, func.sum(case((table.admitted, 0), else_=1)).label("refused")


def _contribution(row: RowMapping) -> Contribution:
    scores = {name: float(value) for name, value in row["scores"].items()}
    p_value = math.nan if row["p_value"] is None else row["p_value"]
    verdict = Verdict(row["accepted"], row["weight"], p_value, scores, row["reason"], row["standing"])
    return Contribution(
        row["round"],
        row["client"],
        row["admitted"],
        verdict,
        node=row["node"] or row["client"],
        name=row["name"] or "",
        update_digest=row["digest"] or "",
        manifest=row["manifest"],
    )


def _number(value: Any) -> Metric:
    return [float(item) for item in cast("list[float | str]", value)] if isinstance(value, list) else float(value)


def _float(value: Any) -> Any:
    return float(value) if value in ("inf", "-inf", "nan") else value


def _listed(known: Sequence[int | str], plural: str) -> str:
    """What there is, of very many the first and the last."""
    if not known:
        return f"no {plural}"
    shown = [*known[:LISTED], "...", known[-1]] if len(known) > LISTED + 2 else known
    return f"{plural} {', '.join(map(str, shown))}"
