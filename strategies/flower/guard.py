"""The shape of a guard, which looks at the model that a round would lead to before that model is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from flwr.app import ArrayRecord, MetricRecord


@dataclass(frozen=True, eq=False)
class Ruling:
    """What a guard says of a candidate: `fault` tells why it is not to be taken, None if it is.

    `metrics` are those of the candidate on the server's own data, None where it was not evaluated. `state` is what the
    guard is given next time, plain data.
    """

    fault: str | None
    metrics: MetricRecord | None
    state: dict[str, Any] | None


class Guard(Protocol):
    """Checks of a round's candidate. A guard keeps nothing: what it remembers is in the state that it answers."""

    def check(self, round: int, arrays: ArrayRecord, state: dict[str, Any] | None) -> Ruling:
        """The ruling on the model after a round, from the server's own data; round 0 is the initial model."""
        ...

    def check_reports(self, round: int, reports: Mapping[str, MetricRecord], state: dict[str, Any] | None) -> Ruling:
        """The ruling on the same model, from what each client that still is trusted reports of it, by identity.

        They may be none. It is not asked where the model stays as it was.
        """
        ...
