"""The tables of the audit database, and how arrays and floats are put into them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
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
    Column("status", String(16), nullable=False),  # running, finished, failed
    Column("error", Text),
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
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("run", Integer, primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),  # the row of the geometry; refused replies follow the admitted ones
    # text, because Flower's node ids do not fit a signed 64-bit integer
    Column("client", String(64), nullable=False, index=True),
    Column("admitted", Boolean, nullable=False),
    Column("accepted", Boolean, nullable=False),
    Column("weight", Float, nullable=False),
    Column("p_value", Float),
    Column("scores", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    Column("standing", Text, nullable=False, server_default=""),  # in quarantine or on probation; empty for neither
    ForeignKeyConstraint(["run", "round"], ["rounds.run", "rounds.round"]),
)

metrics = Table(
    "metrics",
    metadata,
    Column("run", Integer, ForeignKey("runs.id"), primary_key=True),
    Column("round", Integer, primary_key=True),  # 0: the initial model
    Column("name", String(128), primary_key=True),
    Column("value", JSON, nullable=False),  # a number or a list of numbers
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
