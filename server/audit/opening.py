"""Opening the audit's database: where it is, how it keeps what it was given, and its tables brought up to date."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hawthorn.strategies import AuditError
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

NEWEST = "0003"  # the last step in `migrations/versions`
ONE_BY_ONE = threading.Lock()  # Alembic knows one migration at a time
LOCK = 0x48415754  # the advisory lock under which PostgreSQL's tables are changed


def opened_engine(where: str, *, create: bool) -> Engine:
    """The database at a URL or at the path of an SQLite file, its tables as this version wants them.

    Raises `AuditError` when it cannot be opened, or is not there and `create` is False.
    """
    url = url_of(where)
    if not create and url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).is_file():
        raise AuditError(f"no audit database at {where}; a run started with audit={where!r} writes one")
    with explained(f"cannot open the audit database {shown_url(where)}"):
        engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _make_durable if create else _make_patient)
        revision = _revision(engine)
        if revision == NEWEST:
            return engine
        if revision > NEWEST:
            raise AuditError(f"{shown_url(where)} was written by a newer hawthorn: update this one")
        if not create and not inspect(engine).has_table("runs"):
            raise AuditError(f"{shown_url(where)} is a database, but not an audit written by hawthorn")
        _migrate(engine)
    return engine


def url_of(where: str) -> str:
    """The URL that SQLAlchemy opens: PostgreSQL through psycopg, and a path as an SQLite file.

    >>> url_of("postgresql://me@host/audit")
    'postgresql+psycopg://me@host/audit'
    """
    if "://" not in where:
        return f"sqlite:///{Path(where).expanduser().absolute()}"
    scheme, rest = where.split("://", 1)
    return f"postgresql+psycopg://{rest}" if scheme in ("postgres", "postgresql") else where


def shown_url(where: str) -> str:
    """The path or URL without a password."""
    before, at, after = where.rpartition("@")
    if not at or ":" not in before.partition("://")[2]:
        return where
    return f"{before.rpartition(':')[0]}:***@{after}"


@contextmanager
def explained(what: str) -> Generator[None]:
    """Turn a database error into an `AuditError` that says what could not be done."""
    try:
        yield
    except IntegrityError as error:
        raise AuditError(f"{what}: it is there already, or its run is not ({error.orig})") from error
    except ModuleNotFoundError as error:
        raise AuditError(f"{what}: {error}; PostgreSQL needs hawthorn[postgres]") from error
    except (SQLAlchemyError, ArgumentError) as error:
        reason = getattr(error, "orig", None) or error
        raise AuditError(f"{what}: {reason}") from error


def _revision(engine: Engine) -> str:
    """The last step that the database has taken, empty if none."""
    if not inspect(engine).has_table("alembic_version"):
        return ""
    with engine.connect() as connection:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or ""


def _migrate(engine: Engine) -> None:
    """Take the steps that are missing, all or none of them, while nobody else does."""
    from alembic import command
    from alembic.config import Config

    with ONE_BY_ONE, engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # runs that start together must not both see no tables
        elif engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        config = Config()
        folder = str(Path(__file__).with_name("migrations"))
        config.set_main_option("script_location", folder.replace("%", "%%"))
        config.attributes["connection"] = connection
        tables = inspect(connection).get_table_names()
        if "runs" in tables and "alembic_version" not in tables:
            _add_standing(connection)
            command.stamp(config, "0001")
        command.upgrade(config, NEWEST)
        connection.commit()


def _add_standing(connection: Connection) -> None:
    """Add the column that the first audits lack, which knew no standing of clients."""
    if "standing" not in {column["name"] for column in inspect(connection).get_columns("verdicts")}:
        connection.exec_driver_sql("ALTER TABLE verdicts ADD COLUMN standing TEXT DEFAULT '' NOT NULL")


def _make_durable(connection: Any, _: object) -> None:
    """Have SQLite write ahead and sync at every commit, so that what was committed survives a crash and a power cut."""
    _run(connection, "busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")


def _make_patient(connection: Any, _: object) -> None:
    """Have SQLite wait for the run that writes."""
    _run(connection, "busy_timeout=30000", "synchronous=FULL", "foreign_keys=ON")


def _run(connection: Any, *pragmas: str) -> None:
    cursor = connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
