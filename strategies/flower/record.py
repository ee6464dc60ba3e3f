"""What a round is remembered by."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..defense import Verdict
from ..geometry import Geometry
from ..reputation import Standing


@dataclass(frozen=True)
class RoundRecord:
    """What a round did to whom: the strategy's `last_round`, and what every observer is called with.

    `verdicts` are of the admitted clients by node id, in the order of the geometry's rows. `refused` tells why replies
    never became a row; a node is in both if one reply of its counted and another was refused. `skipped` says why the
    model stayed as it was, None if it moved. `seconds` run from the sampling of the clients to the new model.
    `quarantined` are those in quarantine in the next round, most of whom are not asked then.
    """

    round: int
    verdicts: dict[int, Verdict]
    refused: dict[int, str]
    skipped: str | None
    geometry: Geometry | None
    seconds: float
    quarantined: dict[int, Standing] = field(default_factory=dict[int, Standing])

    def __str__(self) -> str:
        rejected = {node: verdict.reason for node, verdict in self.verdicts.items() if not verdict.accepted}
        counts = f"{len(self.verdicts) - len(rejected)} accepted, {len(rejected)} rejected, {len(self.refused)} refused"
        counts += f", {len(self.quarantined)} in quarantine" if self.quarantined else ""
        told = [f"node {node}: {reason}" for node, reason in rejected.items()]
        told += [f"the round was skipped: {self.skipped}"] if self.skipped else []
        return "; ".join([f"round {self.round}: {counts}", *told])
