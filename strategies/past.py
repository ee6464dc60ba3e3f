"""What a state keeps of length d, for the parts that ask for it: clients' sums and last updates, and the model's moves.

It costs memory: each is an array `(d,)` per client ever seen, in the rows' dtype but no shorter than float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import kernels
from .errors import UpdateError
from .geometry import Geometry
from .rows import Rows, saved

Floats = NDArray[np.float64]
Vector = NDArray[Any]

MOVES = 11  # of the model's last moves that are kept: ten changes between them


@dataclass(frozen=True, eq=False)
class Past:
    """What the clients sent last, and how the model moved since, as inner products with what they send now.

    `geometry` is of `2n + k` rows: the n present ones, what each client sent last (zeros for a stranger), and the
    last k moves of the model, the newest one first. `ages` `(n,)` are how many of these moves the model made since it
    was sent: 1 for a client that took part in the round before, -1 for a stranger.
    """

    geometry: Geometry
    ages: NDArray[np.int64]

    @property
    def n(self) -> int:
        """The number of present rows."""
        return len(self.ages)

    def take(self, kept: NDArray[Any]) -> Past:
        """The past of some of the clients, in the order given."""
        chosen = np.arange(self.n)[kept]
        rest = np.arange(2 * self.n, self.geometry.n)
        return Past(self.geometry.take(np.concatenate([chosen, self.n + chosen, rest])), self.ages[chosen])

    @classmethod
    def of(cls, rows: Rows, last: Sequence[Vector | None], moves: Sequence[Vector], ages: Sequence[int]) -> Past:
        """The past of rows in canonical order: what their clients sent last, None for strangers, and the moves."""
        zeros = np.zeros(int(rows.data.shape[1]), _dtype(rows))
        present = [row_of(rows, place) for place in range(len(rows.order))]
        before = [zeros if row is None else row for row in last]
        return cls(geometry_of([*present, *before, *moves]), np.array(ages, np.int64))


def geometry_of(vectors: Sequence[Vector]) -> Geometry:
    """The geometry of vectors of one length, in the order given; raises `UpdateError`."""
    shapes = {vector.shape for vector in vectors}
    if len(shapes) > 1:
        raise UpdateError(f"the state remembers updates of another length: {sorted(shapes)}")
    matrix = np.stack(vectors)
    return Geometry.measured(Rows(matrix, np.arange(len(matrix)), lambda answer: answer))


def row_of(rows: Rows, place: int) -> Vector:
    """One row `(d,)` in canonical order, an array of its own."""
    row = saved(rows.like(kernels.combine(rows.data, rows.order[[place]], np.ones(1))))
    return row.astype(_dtype(rows), copy=False)


def _dtype(rows: Rows) -> Any:
    return np.float64 if str(rows.data.dtype).endswith("float64") else np.float32


def summed(rows: Rows, names: Sequence[str], state: Mapping[str, Any] | None) -> list[Vector]:
    """Each client's updates added up over all rounds, this one included, in canonical order.

    A sum that its dtype cannot hold stays at the largest number that it can.
    """
    before: Mapping[str, Any] = (state or {}).get("sums", {})
    found: list[Vector] = []
    for place, name in enumerate(names):
        total = row_of(rows, place)
        if name in before:
            earlier = np.asarray(before[name], total.dtype)
            if earlier.shape != total.shape:
                raise UpdateError(f"the state remembers updates of {len(earlier)} numbers, got {len(total)}")
            with np.errstate(over="ignore"):
                total = total + earlier
            largest = np.finfo(total.dtype).max
            total = np.clip(total, -largest, largest)
        found.append(total)
    return found


def recalled(rows: Rows, names: Sequence[str], state: Mapping[str, Any] | None) -> Past | None:
    """The past of a round's clients, in canonical order; None before there is one."""
    state = state or {}
    moves: Mapping[str, Any] = state.get("moves", {"count": 0, "updates": []})
    last: Mapping[str, Any] = state.get("last", {})
    if not moves["updates"]:
        return None
    dtype = _dtype(rows)
    records = [last.get(name) for name in names]
    return Past.of(
        rows,
        [None if record is None else np.asarray(record["update"], dtype) for record in records],
        [np.asarray(move, dtype) for move in moves["updates"]],
        [-1 if record is None else moves["count"] - record["moves"] for record in records],
    )


def after_moving(rows: Rows, names: Sequence[str], state: Mapping[str, Any] | None, update: Any) -> dict[str, Any]:
    """What the state keeps for `recalled` to find: `update` is the model's move in this round, None for none."""
    state = state or {}
    moves: Mapping[str, Any] = state.get("moves", {"count": 0, "updates": []})
    here = {name: {"moves": moves["count"], "update": row_of(rows, place)} for place, name in enumerate(names)}
    move = None if update is None else saved(update)
    if move is not None and np.isfinite(move).all():
        kept = [move.astype(_dtype(rows), copy=False), *moves["updates"]][:MOVES]
        moves = {"count": moves["count"] + 1, "updates": kept}
    return {"last": {**state.get("last", {}), **here}, "moves": dict(moves)}
