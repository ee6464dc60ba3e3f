"""What a round is remembered by."""

from __future__ import annotations

from dataclasses import dataclass

from ..defense import Verdict
from ..geometry import Geometry


@dataclass(frozen=True)
class RoundRecord:
    """What a round did to whom: the strategy's `last_round`, and what every observer is called with.

    `verdicts` are of the admitted clients by node id, in the order of the geometry's rows. `refused` tells why replies
    never became a row; a node is in both if one reply of its counted and another was refused. `skipped` says why the
    model stayed as it was, None if it moved. `seconds` run from the sampling of the clients to the new model.
    """

    round: int
    verdicts: dict[int, Verdict]
    refused: dict[int, str]
    skipped: str | None
    geometry: Geometry | None
    seconds: float
