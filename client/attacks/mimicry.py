"""A colluding attack that sends nothing but what an honest client sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from hawthorn.strategies.contract import attack, whole_number

Updates = npt.NDArray[np.float64]


@attack
def mimic(
    honest: Updates,
    f: int,
    *,
    warmup: int = 10,
    others: tuple[int, ...] = (),
    state: Mapping[str, Any] | None = None,
) -> Any:
    """f copies of one honest client's update: the one farthest along the direction in which the honest differ most.

    No row is out of the ordinary, but one client's data gets f more votes, always the same one's. The direction is
    learned over the first `warmup` rounds by Oja's rule, about a running mean; who lies farthest along it, by the mean
    of its projections so far, either way, is copied, and after the warmup nothing is learned any more. Where that one
    is not at hand, the farthest of those at hand. The paper starts from a random direction and ranks clients by the
    last round alone; here the first direction is the leading one of the first round. `others` are the honest clients'
    numbers, by which they are known again under partial participation; without, the rows' places.

    Karimireddy, He, Jaggi, "Byzantine-robust learning on heterogeneous datasets via bucketing", ICLR 2022,
    https://arxiv.org/abs/2006.09365

    >>> mimic(np.array([[0.0, 1.0], [0.1, 1.0], [-0.1, 1.0], [3.0, 1.0]]), 2)
    array([[3., 1.],
           [3., 1.]])
    """
    names = others or tuple(range(len(honest)))
    if state is None or state["rounds"] < whole_number("mimic", "warmup", warmup):
        state = _learned(honest, names, state)
    told = [state["projections"].get(name, (0.0, 1)) for name in names]
    farthest = int(np.argmax([abs(total) / count for total, count in told]))
    return np.tile(honest[farthest], (f, 1)), state


def _learned(honest: Updates, names: Sequence[int], state: Mapping[str, Any] | None) -> dict[str, Any]:
    """The state after one more round: rounds, running mean and direction `(d,)`, sum and count of projections each."""
    rounds: int = 0 if state is None else state["rounds"]
    before = 0.0 if state is None else state["mean"]
    mean = (rounds * before + honest.mean(axis=0)) / (rounds + 1)
    away = honest - mean
    if state is None:
        direction = _leading(away)
    else:
        pull = away.T @ (away @ state["direction"])
        direction = _unit(rounds * state["direction"] + _unit(pull))
    centered = honest - honest.mean(axis=0)  # what clients have in common says nothing of who is far
    projections: dict[int, tuple[float, int]] = {} if state is None else dict(state["projections"])
    for name, found in zip(names, (centered @ direction).tolist(), strict=True):
        total, count = projections.get(name, (0.0, 0))
        projections[name] = (total + found, count + 1)
    return {"rounds": rounds + 1, "mean": mean, "direction": direction, "projections": projections}


def _leading(rows: Updates) -> npt.NDArray[np.float64]:
    """The unit vector along which the rows reach farthest, by the eigenvectors of their `(h, h)` products."""
    _, vectors = np.linalg.eigh(rows @ rows.T)
    return _unit(vectors[:, -1] @ rows)


def _unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector
