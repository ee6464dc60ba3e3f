"""What a round is remembered by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..defense import Verdict
from ..geometry import Geometry
from ..reputation import Standing


@dataclass(frozen=True)
class Client:
    """Who a node is: `identity` outlives restarts where the node has a key, `name` is what the operator calls it.

    `public_key` is what the node is registered with, empty where nodes do not authenticate.
    """

    identity: str
    name: str = ""
    public_key: bytes = field(default=b"", repr=False, compare=False)

    def __str__(self) -> str:
        return self.name or self.identity


@dataclass(frozen=True)
class RoundRecord:
    """What a round did to whom: the strategy's `last_round`, and what every observer is called with.

    `verdicts` are of the admitted clients by node id, in the order of the geometry's rows. `refused` tells why replies
    never became a row; a node is in both if one reply of its counted and another was refused. `skipped` says why the
    model stayed as it was, None if it moved. `seconds` run from the sampling of the clients to the new model.
    `quarantined` are those in quarantine in the next round, most of whom are not asked then.

    `clients` tells who the nodes above are. `standings` are by identity, of all clients that something speaks against.
    `rolled_back` is what the guard found wrong with the model that the round led to, None if nothing; the round is
    then `skipped` too. `evidence` is what the verdicts can be derived from again, beside the geometry (see
    `Outcome.evidence`). `manifests` are what clients said, and signed, of the data they trained on, by node:
    with `verified`, and where that is False the `fault` alone (see `Provenance`).
    """

    round: int
    verdicts: dict[int, Verdict]
    refused: dict[int, str]
    skipped: str | None
    geometry: Geometry | None
    seconds: float
    quarantined: dict[int, Standing] = field(default_factory=dict[int, Standing])
    clients: dict[int, Client] = field(default_factory=dict[int, Client])
    standings: dict[str, Standing] = field(default_factory=dict[str, Standing])
    rolled_back: str | None = None
    evidence: Mapping[str, Any] | None = None
    manifests: dict[int, Mapping[str, Any]] = field(default_factory=dict[int, Mapping[str, Any]])

    def __str__(self) -> str:
        rejected = {node: verdict.reason for node, verdict in self.verdicts.items() if not verdict.accepted}
        counts = f"{len(self.verdicts) - len(rejected)} accepted, {len(rejected)} rejected, {len(self.refused)} refused"
        counts += f", {len(self.quarantined)} in quarantine" if self.quarantined else ""
        told = [f"node {node}: {reason}" for node, reason in rejected.items()]
        told += [f"the round was skipped: {self.skipped}"] if self.skipped else []
        return "; ".join([f"round {self.round}: {counts}", *told])
