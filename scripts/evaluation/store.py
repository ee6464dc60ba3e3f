"""The results that were reached already, in an SQLite file: a cell once committed is never run again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from hawthorn.strategies import HawthornError

from .cell import Cell, Result

TABLE = """
CREATE TABLE IF NOT EXISTS cells (
    key TEXT PRIMARY KEY,   -- digest of configuration, data and code
    config TEXT NOT NULL,   -- the settings that count, as JSON
    result TEXT NOT NULL,   -- what was measured, as JSON
    seconds REAL NOT NULL,  -- how long it took
    finished TEXT NOT NULL  -- when, in UTC
)
"""


class Store:
    """An open file of results; each is on disk by the time `add` returns, and survives what happens then.

    Several evaluations may share one file at a time. Raises `HawthornError` where it cannot be opened or written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        try:
            self._connection = sqlite3.connect(self.path, timeout=60)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(TABLE)
            self._connection.commit()
        except sqlite3.Error as error:
            raise HawthornError(f"{self.path} cannot keep results: {error}; write --store FILE.db elsewhere") from error

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def add(self, cell: Cell, result: Result, seconds: float) -> None:
        """Keep a cell's result; the first one stays where somebody else was faster."""
        row = (cell.key, json.dumps(cell.config), json.dumps(result, allow_nan=False), seconds, _now())
        try:
            with self._connection:
                self._connection.execute("INSERT OR IGNORE INTO cells VALUES (?, ?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            raise HawthornError(f"{self.path} cannot keep a result: {error}") from error

    def found(self, cells: Iterable[Cell]) -> dict[str, Result]:
        """The results that are there, by the cells' keys."""
        results: dict[str, Result] = {}
        for cell in cells:
            row = self._connection.execute("SELECT result FROM cells WHERE key = ?", (cell.key,)).fetchone()
            if row:
                results[cell.key] = json.loads(row[0])
        return results


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
