"""The audit in a PostgreSQL server, which the tests start themselves: as root under another user, on a socket."""

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from audit_rounds import SETTINGS, record_of, strange_record
from hawthorn.server.audit import Audit
from hawthorn.server.audit.opening import url_of
from hawthorn.server.audit.schema import metadata
from hawthorn.strategies import AuditError
from ledger_rounds import ROUNDS, run, started
from sqlalchemy import create_engine, text

USER = "postgres"


def program(name: str) -> str | None:
    """Where a program of PostgreSQL is; Debian keeps them out of the path."""
    found = shutil.which(name)
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return found or (str(beside[0]) if beside else None)


pytestmark = pytest.mark.skipif(not program("initdb"), reason="no PostgreSQL: apt-get install postgresql")


class Server:
    """A PostgreSQL server of the tests' own, without a port: it listens on a socket in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        # PostgreSQL does not run as root
        self.as_user = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"] if os.geteuid() == 0 else []
        if self.as_user:
            shutil.chown(folder, USER, USER)
        made = [*self.as_user, program("initdb"), "-D", str(folder / "data"), "-U", USER, "--auth=trust", "-N"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd="/")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@/postgres?host={self.folder}"

    def start(self) -> None:
        options = ["-k", str(self.folder), "-c", "listen_addresses=", "-c", "max_connections=20"]
        command = [*self.as_user, program("postgres"), "-D", str(self.folder / "data"), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        engine = create_engine(url_of(self.url))
        while True:
            assert self.process.poll() is None, "PostgreSQL ended at once"
            try:
                with engine.connect() as connection:
                    connection.execute(text("SELECT 1"))
                break
            except Exception:
                time.sleep(0.1)
        engine.dispose()

    def end(self, how: int) -> None:
        if self.process is None:
            return
        children = subprocess.run(
            ["pgrep", "-P", str(self.process.pid)], stdout=subprocess.PIPE, text=True, check=False
        ).stdout.split()
        self.process.send_signal(how)
        if how == signal.SIGKILL:  # as a machine that loses its power: all of its processes at once
            for child in children:
                try:
                    os.kill(int(child), how)
                except ProcessLookupError:
                    continue
        self.process.wait()
        self.process = None
        if how == signal.SIGKILL:
            (self.folder / "data/postmaster.pid").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def server():
    folder = Path(tempfile.mkdtemp(prefix="hawthorn-pg-"))  # a socket's path has to be short
    started_server = Server(folder)
    yield started_server
    started_server.end(signal.SIGINT)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def url(server: Server):
    """The URL of an empty database."""
    engine = create_engine(url_of(server.url), isolation_level="AUTOCOMMIT")
    name = f"audit_{time.monotonic_ns()}"
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"postgresql://{USER}@/{name}?host={server.folder}"


def test_the_steps_lead_to_the_tables_as_they_are_declared(url: str):
    Audit.open(url).close()
    engine = create_engine(url_of(url))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_rounds_come_back_as_they_were(url: str):
    record = record_of(1)
    with Audit.open(url) as audit, audit.run(SETTINGS, name="a run") as ledger:
        ledger(record)
        ledger(strange_record(2))
        ledger.evaluated(2, {"loss": float("nan"), "recalls": [0.5, float("inf")]})
    with Audit.open(url, create=False) as audit:
        *admitted, refused = audit.contributions(1, 1)
        assert {int(one.client): one.verdict for one in admitted} == record.verdicts
        assert refused.verdict.reason == record.refused[99]
        geometry = audit.geometry(1, 1)
        assert geometry is not None
        assert record.geometry is not None
        np.testing.assert_array_equal(geometry.gram, record.geometry.gram)
        assert audit.verify(1) == ()


def test_what_postgresql_cannot_hold_is_written_out(url: str):
    record = strange_record(1)
    record.refused[8] = "nul \0 and half a pair \ud800"
    with Audit.open(url) as audit, audit.run({**SETTINGS, "nul": "\0"}, name="\0") as ledger:
        ledger(record)
        assert "nul \\x00 and half a pair \\ud800" in {one.verdict.reason for one in audit.contributions(1)}
        assert audit.verify(1) == ()


def test_every_change_is_found(url: str):
    with Audit.open(url) as audit:
        with audit.run(SETTINGS) as ledger:
            ledger(record_of(1))
        assert audit.verify(1) == ()
        engine = create_engine(url_of(url))
        with engine.begin() as connection:
            connection.execute(text("UPDATE verdicts SET weight = weight / 2 WHERE position = 1"))
        engine.dispose()
        (fault,) = audit.verify(1)
        assert "is not what was committed" in fault


def test_a_run_goes_on_where_it_was_as_in_sqlite(url: str, tmp_path: Path):
    with Audit.open(tmp_path / "audit.db") as whole, run(whole, tmp_path / "whole") as ledger:
        started(ledger)
    with Audit.open(url) as audit:
        with run(audit, tmp_path / "files") as ledger:
            started(ledger, 3)
        audit.order(1, "quarantine", "103", rounds=1, by="Ada")
        random.seed(0)
        with run(audit, tmp_path / "files") as ledger:
            started(ledger)
        assert [one.number for one in audit.rounds(1)] == list(range(1, ROUNDS + 1))
        assert [order.result for order in audit.orders(1)] == [""]
        assert audit.verify(1) == ()


def test_runs_that_start_together_do_not_disturb_each_other(url: str):
    from concurrent.futures import ThreadPoolExecutor

    def write(_: int) -> None:
        with Audit.open(url) as audit, audit.run(SETTINGS) as ledger:
            for number in range(1, 6):
                ledger(record_of(number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with Audit.open(url, create=False) as audit:
        assert [found.status for found in audit.runs()] == ["finished"] * 4
        assert [audit.verify(found.id) for found in audit.runs()] == [()] * 4


def test_a_database_server_that_is_killed_and_comes_back_costs_nothing(server: Server, url: str, tmp_path: Path):
    import threading

    with Audit.open(url) as audit:
        ledger = run(audit, tmp_path / "files")
        died = threading.Event()

        def worth(round, arrays):
            if round == 3:
                server.end(signal.SIGKILL)
                died.set()
                threading.Timer(2.0, server.start).start()

        with ledger:
            started(ledger, evaluate=worth)
        assert died.is_set()
        assert [one.number for one in audit.rounds(1)] == list(range(1, ROUNDS + 1))
        assert audit.verify(1) == ()


def test_a_server_that_is_not_there_is_said_so(tmp_path: Path):
    with pytest.raises(AuditError, match=r"cannot open the audit database postgresql://me:\*\*\*@/audit"):
        Audit.open(f"postgresql://me:secret@/audit?host={tmp_path}")
