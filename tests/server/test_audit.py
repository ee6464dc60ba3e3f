import math
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audit_rounds import SETTINGS, record_of, strange_record
from hawthorn.server.audit import Audit
from hawthorn.server.audit.schema import packed, unpacked
from hawthorn.strategies import AuditError
from sqlalchemy import create_engine, text


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


def test_a_round_comes_back_as_it_was(database: Path):
    record = record_of(1)
    with Audit.open(database) as audit, audit.run(SETTINGS, name="a run") as run:
        run(record)
    with Audit.open(database, create=False) as audit:
        (found,) = audit.runs()
        assert (found.name, found.settings, found.status, found.error) == ("a run", SETTINGS, "finished", None)
        assert found.finished is not None
        assert found.started <= found.finished
        (round,) = audit.rounds(found.id)
        assert (round.number, round.skipped, round.seconds, round.size) == (1, None, 0.25, 6)
        *admitted, refused = audit.contributions(found.id)
        assert {int(one.client): one.verdict for one in admitted} == record.verdicts
        assert [one.client for one in admitted] == [str(node) for node in record.verdicts]
        assert (refused.client, refused.admitted, refused.verdict.accepted) == ("99", False, False)
        assert refused.verdict.reason == record.refused[99]
        geometry = audit.geometry(found.id, 1)
        assert geometry is not None
        assert record.geometry is not None
        for name in ("squared_distances", "gram", "scale", "rank", "norms", "cosines"):
            np.testing.assert_array_equal(getattr(geometry, name), getattr(record.geometry, name))


def test_numbers_without_a_name_in_json_come_back(database: Path):
    record = strange_record(2)
    with Audit.open(database) as audit, audit.run(SETTINGS) as run:
        run(record)
        run.evaluated(2, {"loss": math.nan, "recalls": [0.5, math.inf]})
        admitted, refused = audit.contributions(run.id)
        assert admitted.client == refused.client == "7"
        assert admitted.verdict.scores == record.verdicts[7].scores
        assert admitted.verdict.standing == record.verdicts[7].standing != ""
        assert math.isnan(admitted.verdict.p_value)
        assert audit.geometry(run.id, 2) is None
        (round,) = audit.rounds(run.id)
        assert round.skipped == "every client was rejected"
        assert math.isnan(round.metrics["loss"])  # pyright: ignore[reportArgumentType]
        assert round.metrics["recalls"] == [0.5, math.inf]


def test_metrics_of_the_initial_model_have_no_round(database: Path):
    with Audit.open(database) as audit, audit.run(SETTINGS) as run:
        run.evaluated(0, {"accuracy": 0.1})
        run.evaluated(0, {})
        assert audit.metrics(run.id) == {0: {"accuracy": 0.1}}
        assert audit.rounds(run.id) == ()


def test_a_run_that_fails_says_why(database: Path):
    with Audit.open(database) as audit:
        with pytest.raises(RuntimeError), audit.run(SETTINGS):
            raise RuntimeError("the power went")
        (found,) = audit.runs()
        assert (found.status, found.error) == ("failed", "RuntimeError: the power went")


def test_a_round_is_written_whole_or_not_at_all(database: Path):
    good = record_of(1)
    nameless = replace(good.verdicts[1], reason=None)  # refused by the database, after the round's own row is written
    with Audit.open(database) as audit, audit.run(SETTINGS) as run:
        with pytest.raises(AuditError, match="cannot write round 1 of run 1"):
            run(replace(good, verdicts=good.verdicts | {1: nameless}))
        assert audit.rounds(run.id) == ()
        assert audit.contributions(run.id) == ()
        run(good)
        assert len(audit.contributions(run.id)) == 7


def test_a_round_is_written_once(database: Path):
    with Audit.open(database) as audit, audit.run(SETTINGS) as run:
        run(record_of(1))
        with pytest.raises(AuditError, match="cannot write round 1 of run 1: it is there already"):
            run(record_of(1, clients=5))
        assert len(audit.contributions(run.id, 1)) == 7


def test_runs_in_one_database_do_not_disturb_each_other(database: Path):
    numbers = range(1, 16)

    def write() -> None:
        with Audit.open(database) as audit, audit.run(SETTINGS) as run:
            for number in numbers:
                run(record_of(number))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Audit.open(database, create=False) as audit:
        assert [run.status for run in audit.runs()] == ["finished"] * 4
        for run in audit.runs():
            assert [round.number for round in audit.rounds(run.id)] == list(numbers)
            assert len(audit.contributions(run.id)) == 7 * len(numbers)


def test_committed_rounds_survive_kill_9(database: Path):
    program = [sys.executable, str(Path(__file__).with_name("audit_rounds.py")), str(database)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        committed = [int(writer.stdout.readline()) for _ in range(20)]
        os.kill(writer.pid, signal.SIGKILL)
        # what it managed to say before it died
        committed += [int(line) for line in writer.stdout.read().splitlines()]
    with Audit.open(database, create=False) as audit:
        (run,) = audit.runs()
        assert run.status == "running"
        rounds = audit.rounds(run.id)
        # the last one may have been committed, but not said
        assert [round.number for round in rounds][: len(committed)] == committed
        assert len(rounds) <= len(committed) + 1
        for round in rounds:
            assert len(audit.contributions(run.id, round.number)) == 41
            geometry = audit.geometry(run.id, round.number)
            assert geometry is not None
            np.testing.assert_array_equal(geometry.gram, record_of(round.number, clients=40).geometry.gram)
    with Audit.open(database) as audit, audit.run(SETTINGS) as run:  # and the next run is written as ever
        run(record_of(1))


def test_sqlite_writes_ahead_and_syncs_at_every_commit(database: Path):
    with Audit.open(database) as audit, audit._engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2


def test_an_audit_is_opened_by_url_too(database: Path):
    with Audit.open(f"sqlite:///{database}") as audit:
        assert audit.runs() == ()
    assert database.is_file()


def test_reading_makes_no_database(database: Path):
    with pytest.raises(AuditError, match="no audit database at"):
        Audit.open(database, create=False)
    assert not database.exists()


def test_what_is_no_audit_is_said_to_be_none(tmp_path: Path):
    noise = tmp_path / "noise.db"
    noise.write_bytes(b"not a database, whatever its name says " * 100)
    with pytest.raises(AuditError, match="file is not a database"):
        Audit.open(noise, create=False)
    other = tmp_path / "other.db"
    engine = create_engine(f"sqlite:///{other}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE cats (name TEXT)"))
    engine.dispose()
    with pytest.raises(AuditError, match="not an audit"):
        Audit.open(other, create=False)


@pytest.mark.parametrize("where", ["nowhere/at/all/audit.db", "nosuchdatabase://host/audit"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AuditError, match=f"cannot open the audit database {where}"):
        Audit.open(where)


def test_unknown_runs_and_rounds_are_answered_with_those_there_are(database: Path):
    with Audit.open(database) as audit:
        with pytest.raises(AuditError, match="no run 7; the audit has no runs"):
            audit.find_run(7)
        with audit.run(SETTINGS) as run:
            run(record_of(1))
            run(record_of(2))
        with pytest.raises(AuditError, match="no run 7; the audit has runs 1"):
            audit.find_run(7)
        for read in (audit.contributions, audit.geometry):
            with pytest.raises(AuditError, match="run 1 has no round 5; it has rounds 1, 2"):
                read(1, 5)


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_symmetric_matrices_are_packed_exactly(n: int):
    matrix = np.random.default_rng(n).normal(size=(n, n))
    matrix += matrix.T
    assert len(packed(matrix)) == 8 * n * (n + 1) // 2
    np.testing.assert_array_equal(unpacked(packed(matrix), n), matrix)
