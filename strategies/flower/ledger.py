"""What outlives the process: each round as it is committed, where to go on after a crash, and the operator's orders.

`RobustStrategy(..., ledger=...)` commits every round to a `Ledger` and asks it at the start where to go on. The
server's audit is one; anything with these methods is. Nothing here opens a file or a database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from flwr.app import ArrayRecord, MetricRecord
from numpy.typing import NDArray

from .record import RoundRecord

Kind = Literal["quarantine", "release", "pause", "resume", "roll_back", "stop"]


@dataclass(frozen=True)
class Order:
    """What an operator wants of a run, carried out between two rounds.

    `client` is the identity that `quarantine` and `release` mean; a quarantine lasts `rounds` rounds, None until it is
    released. `roll_back` puts the model and all that is remembered back to what `run` (None for this one) had after
    `round`. `by` is who ordered it.
    """

    id: int
    kind: Kind
    client: str = ""
    rounds: int | None = None
    run: int | None = None
    round: int | None = None
    by: str = ""


@dataclass(frozen=True, eq=False)
class Memory:
    """All that a federation remembers from one round to the next, beside the model.

    `defense` is the state of the defense; `held` are the clients that an operator keeps in quarantine, by identity,
    with the last round of it (None: until released); `guard` is what the guard remembers; `inner` is what the wrapped
    strategy remembers, such as an optimizer's moments; `paused` says that no round is to begin, and `sampling` is the
    state of the generator that samples nodes. All plain data: None, booleans, numbers, text, lists and dictionaries
    keyed by text, and NumPy arrays.
    """

    defense: dict[str, Any] | None = None
    held: dict[str, int | None] = field(default_factory=dict[str, "int | None"])
    guard: dict[str, Any] | None = None
    inner: dict[str, Any] = field(default_factory=dict[str, Any])
    paused: bool = False
    sampling: list[Any] | None = None


@dataclass(frozen=True, eq=False)
class Commit:
    """What is committed at once: after a round, before the first one, or after orders between two rounds.

    `round` is the last round that is over, 0 before the first; `record` tells about it, and is None where no round was
    held since the commit before. `arrays` is the model now and `memory` all that goes with it. `metrics` are those of
    the model on the server's own data, `train_metrics` and `evaluate_metrics` the clients' as aggregated. `rows`
    `(n, d)` are the admitted updates in the order of `record.verdicts`, and only lent: the next round is written over
    them. `done` tells of each order carried out since the commit before: empty text for success, otherwise why not.
    """

    round: int
    arrays: ArrayRecord
    memory: Memory
    record: RoundRecord | None = None
    metrics: MetricRecord | None = None
    train_metrics: MetricRecord | None = None
    evaluate_metrics: MetricRecord | None = None
    rows: NDArray[Any] | None = None
    done: Mapping[Order, str] = field(default_factory=dict[Order, str])


class Ledger(Protocol):
    """Where a run is committed to; what `commit` has returned from survives the process."""

    def last(self) -> Commit | None:
        """The last commit of this run (model, memory and round count), None where there is none to go on from."""
        ...

    def commit(self, commit: Commit) -> None:
        """Make everything in `commit` last, or nothing of it; raises `AuditError` when that fails."""
        ...

    def orders(self) -> Sequence[Order]:
        """The orders that no commit has told of yet, oldest first."""
        ...

    def after(self, round: int, run: int | None = None) -> Commit:
        """The commit after a round of this or another run; raises `AuditError` where it was not kept."""
        ...

    def standing(self, status: Literal["running", "paused"]) -> None:
        """Tell whoever watches how the run stands."""
        ...
