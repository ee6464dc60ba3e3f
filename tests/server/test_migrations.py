"""Audits that older versions wrote, and that the steps lead to the tables as they are declared."""

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from audit_rounds import SETTINGS, record_of
from hawthorn.server.audit import Audit
from hawthorn.server.audit.opening import NEWEST
from hawthorn.server.audit.schema import metadata
from hawthorn.strategies import AuditError
from sqlalchemy import create_engine

FIRST = """
CREATE TABLE runs (id INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, settings JSON NOT NULL,
    version VARCHAR(64) NOT NULL, started VARCHAR(32) NOT NULL, finished VARCHAR(32), status VARCHAR(16) NOT NULL,
    error TEXT);
CREATE TABLE rounds (run INTEGER NOT NULL REFERENCES runs (id), round INTEGER NOT NULL, skipped TEXT,
    seconds FLOAT NOT NULL, size INTEGER NOT NULL, squared_distances BLOB, gram BLOB, scale BLOB, rank BLOB,
    PRIMARY KEY (run, round));
CREATE TABLE verdicts (run INTEGER NOT NULL, round INTEGER NOT NULL, position INTEGER NOT NULL,
    client VARCHAR(64) NOT NULL, admitted BOOLEAN NOT NULL, accepted BOOLEAN NOT NULL, weight FLOAT NOT NULL,
    p_value FLOAT, scores JSON NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (run, round, position),
    FOREIGN KEY (run, round) REFERENCES rounds (run, round));
CREATE INDEX ix_verdicts_client ON verdicts (client);
CREATE TABLE metrics (run INTEGER NOT NULL REFERENCES runs (id), round INTEGER NOT NULL, name VARCHAR(128) NOT NULL,
    value JSON NOT NULL, PRIMARY KEY (run, round, name));
INSERT INTO runs VALUES (1, 'an old run', '{"task": "digits"}', '0.0.1', '2026-01-01T00:00:00.000+00:00', NULL,
    'running', NULL);
INSERT INTO rounds VALUES (1, 1, 'every client was rejected', 0.5, 1, NULL, NULL, NULL, NULL);
INSERT INTO verdicts VALUES (1, 1, 0, '7', 1, 0, 0.0, 0.001, '{"distance": 9.0}', 'far away');
INSERT INTO metrics VALUES (1, 1, 'accuracy', '0.25');
"""
STANDING = "ALTER TABLE verdicts ADD COLUMN standing TEXT DEFAULT '' NOT NULL"


@pytest.mark.parametrize("standing", [False, True], ids=["the first version", "with standings"])
@pytest.mark.parametrize("create", [False, True], ids=["read", "written on"])
def test_what_an_older_version_wrote_is_read_and_written_on(tmp_path: Path, standing: bool, create: bool):
    database = tmp_path / "audit.db"
    with sqlite3.connect(database) as connection:
        connection.executescript(FIRST + (STANDING if standing else ""))
    with Audit.open(database, create=create) as audit:
        (run,) = audit.runs()
        assert (run.name, run.place) == ("an old run", None)
        (round,) = audit.rounds(1)
        assert (round.metrics, round.rejected, round.at) == ({"accuracy": 0.25}, 1, "")
        (one,) = audit.contributions(1)
        assert (one.client, one.node, one.verdict.standing, one.verdict.reason) == ("7", "7", "", "far away")
        assert audit.verify(1) == ("run 1 has no chain: it was written by an older hawthorn",)
        with pytest.raises(AuditError, match="older hawthorn"):
            audit.head(1)
        with audit.run(SETTINGS) as new:
            new(record_of(1))
        assert audit.verify(new.id) == ()


def test_the_steps_lead_to_the_tables_as_they_are_declared(tmp_path: Path):
    Audit.open(tmp_path / "audit.db").close()
    with create_engine(f"sqlite:///{tmp_path / 'audit.db'}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    folder = Path(__file__).parent.parent.parent / "server/audit/migrations"
    assert ScriptDirectory(str(folder)).get_current_head() == NEWEST


def test_a_newer_audit_is_not_touched(tmp_path: Path):
    database = tmp_path / "audit.db"
    Audit.open(database).close()
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(AuditError, match="written by a newer hawthorn"):
        Audit.open(database)


def test_another_database_is_not_touched(tmp_path: Path):
    database = tmp_path / "other.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE things (id INTEGER)")
    with pytest.raises(AuditError, match="not an audit written by hawthorn"):
        Audit.open(database, create=False)
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("things",)]
