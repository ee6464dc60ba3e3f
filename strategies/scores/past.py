"""Scores of how an update lies to what the same client sent before."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..contract import Floats, score
from ..evidence import History
from ..geometry import Geometry

UNKNOWN = 1.0  # what everybody has where nobody is known
ROUNDING = 1e-7  # of the largest square: what a sum in float32 may be wrong by
DIGITS = 0.02  # a cosine that may be wrong by more is no evidence


@score(spread=0.1)
def consistency(
    geometry: Geometry,
    f: int,
    history: History,
    *,
    sums: Geometry | None = None,
    clients: tuple[str, ...] | None = None,
    memory: Mapping[str, float] | None = None,
) -> tuple[Floats, dict[str, float] | None]:
    """How little an update agrees with the client's own past: 1 minus its cosine with the sum of the earlier ones.

    Clients without a past, and those whose updates and past are of such unlike length that rounding leaves no digits
    of the cosine, have the median of the others: that says nothing for or against them. Whether a client was there in
    the rounds between is of no account. Sees sleepers when they turn.

    The product of update x and past sum S follows from |S + x|^2 = |S|^2 + 2 <S, x> + |x|^2, of which the lengths of
    the sums are remembered. Keeps one sum of length d per client in the state.

    >>> rows = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0], [-1.0, 0.0]])  # after (1, 0), (0, 1), nothing and (2, 0)
    >>> sums, memory = Geometry.of(rows + [[1, 0], [0, 1], [0, 0], [2, 0]]), {"a": 1.0, "b": 1.0, "d": 2.0}
    >>> consistency(Geometry.of(rows), f=1, sums=sums, clients=tuple("abcd"), memory=memory)
    array([0., 0., 0., 2.])
    """
    if sums is None or clients is None:
        return np.full(geometry.n, UNKNOWN), None
    known = memory or {}
    own, whole = geometry.norms, sums.norms
    past = np.array([known.get(name, 0.0) for name in clients])
    longest = np.maximum(np.maximum(own, past), np.maximum(whole, np.finfo(np.float64).tiny))
    x, before, after = own / longest, past / longest, whole / longest  # so that no square overflows
    lengths = x * before
    judged = lengths > ROUNDING / DIGITS
    products = ((after - before) * (after + before) - x * x) / 2
    apart = 1 - np.clip(np.divide(products, lengths, out=np.zeros(geometry.n), where=judged), -1.0, 1.0)
    usual = float(np.median(apart[judged])) if judged.any() else UNKNOWN
    return np.where(judged, apart, usual), {**known, **dict(zip(clients, whole.tolist(), strict=True))}
