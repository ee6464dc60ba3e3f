"""The tables of the audit database, and how arrays and floats are put into them.

A change of the tables needs a migration in `migrations/versions`; a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

Floats = NDArray[np.float64]

metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("version", String(64), nullable=False),
    Column("started", String(32), nullable=False),  # ISO 8601, UTC
    Column("finished", String(32)),
    Column("status", String(16), nullable=False),  # running, paused, finished, failed
    Column("error", Text),
    Column("place", Text),  # the folder of its checkpoints and updates; null without any
)

# One per commit: what the rows of the other tables with the same run and entry are held together by.
entries = Table(
    "entries",
    metadata,
    Column("run", Integer, ForeignKey("runs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),  # start, initial, round, orders, metrics, resume, end
    Column("round", Integer, nullable=False),  # the last round that was over
    Column("at", String(32), nullable=False),
    Column("detail", JSON, nullable=False),  # what has no table of its own
    Column("previous", String(64), nullable=False),  # the digest of the entry before
    Column("digest", String(64), nullable=False),
)

rounds = Table(
    "rounds",
    metadata,
    Column("run", Integer, ForeignKey("runs.id"), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("skipped", Text),  # why the model stayed as it was; null where it moved
    Column("seconds", Float, nullable=False),
    Column("size", Integer, nullable=False),  # n, the number of admitted rows
    Column("squared_distances", LargeBinary),
    Column("gram", LargeBinary),
    Column("scale", LargeBinary),
    Column("rank", LargeBinary),
    Column("entry", Integer),  # null in what was written before there were entries
    Column("rolled_back", Text),
    Column("quarantined", JSON),  # who is in quarantine in the round after, by identity
    Column("standings", JSON),  # of everybody whom something speaks against
    Column("evidence", JSON),
    Column("updates", String(64)),  # the digest of the file with the updates; null where they were not kept
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("run", Integer, primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),  # the row of the geometry; refused replies follow the admitted ones
    # text, because Flower's node ids do not fit a signed 64-bit integer
    Column("client", String(64), nullable=False),  # the identity
    Column("admitted", Boolean, nullable=False),
    Column("accepted", Boolean, nullable=False),
    Column("weight", Float, nullable=False),
    Column("p_value", Float),
    Column("scores", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    Column("standing", Text, nullable=False, server_default=""),  # in quarantine or on probation; empty for neither
    Column("node", String(64)),
    Column("name", Text),
    Column("digest", String(64)),  # of the update's bytes, as admitted
    Column("manifest", JSON),
    ForeignKeyConstraint(["run", "round"], ["rounds.run", "rounds.round"]),
    # clients are counted from the index alone
    Index("ix_verdicts_by_client", "run", "client", "round", "admitted", "accepted"),
)

metrics = Table(
    "metrics",
    metadata,
    Column("run", Integer, ForeignKey("runs.id"), primary_key=True),
    Column("round", Integer, primary_key=True),  # 0: the initial model
    Column("name", String(128), primary_key=True),
    Column("value", JSON, nullable=False),  # a number or a list of numbers
    Column("entry", Integer),
)

orders = Table(
    "orders",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run", Integer, ForeignKey("runs.id"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("client", Text, nullable=False),
    Column("rounds", Integer),
    Column("other", Integer),  # the run that a roll back takes its model from; null for the same one
    Column("round", Integer),
    Column("by", Text, nullable=False),
    Column("at", String(32), nullable=False),
    Column("entry", Integer),  # null as long as it is not carried out
    Column("result", Text),  # empty for success, otherwise why not
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("run", Integer, ForeignKey("runs.id"), primary_key=True),
    Column("entry", Integer, primary_key=True),
    Column("round", Integer, nullable=False),
    Column("model", String(64), nullable=False),  # digests, by which the files are named
    Column("memory", String(64), nullable=False),
)


def plain(value: float) -> float | str:
    """The number itself, or its name where JSON has no number for it.

    >>> plain(0.5), plain(float("-inf"))
    (0.5, '-inf')
    """
    value = float(value)
    return value if math.isfinite(value) else str(value)


def plain_numbers(values: Mapping[str, float]) -> dict[str, float | str]:
    """Numbers by name, as JSON can hold them; `float` of each gives the number back."""
    return {name: plain(value) for name, value in values.items()}


def plain_data(value: Any) -> Any:
    """Data of any depth as JSON can hold it: lists for tuples, text that a database takes, `plain` numbers.

    >>> plain_data({"a": (1, float("nan")), "b": "nul: \\0"})
    {'a': [1, 'nan'], 'b': 'nul: \\\\x00'}
    """
    if isinstance(value, Mapping):
        return {storable(str(name)): plain_data(item) for name, item in cast("Mapping[object, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [plain_data(item) for item in cast("list[Any]", value)]
    if isinstance(value, np.generic):
        value = cast("Any", value).item()
    if isinstance(value, float):
        return plain(value)
    return storable(value) if isinstance(value, str) else value


def storable(text: str) -> str:
    """The text with escapes for what PostgreSQL cannot hold: the character NUL and halves of surrogate pairs."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def packed(matrix: Floats) -> bytes:
    """The upper triangle, diagonal included, of a symmetric matrix `(n, n)`, as little-endian float64.

    >>> unpacked(packed(np.array([[1.0, 2.0], [2.0, 5.0]])), 2).tolist()
    [[1.0, 2.0], [2.0, 5.0]]
    """
    return matrix[np.triu_indices(len(matrix))].astype("<f8").tobytes()


def unpacked(data: bytes, n: int) -> Floats:
    """The symmetric matrix `(n, n)` whose upper triangle was packed."""
    matrix = np.zeros((n, n))
    upper = np.triu_indices(n)
    matrix[upper] = np.frombuffer(data, "<f8")
    matrix.T[upper] = matrix[upper]
    return matrix
