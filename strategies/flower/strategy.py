"""RobustStrategy: a hedge around any Flower strategy."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Bulyan, Result, Strategy
from numpy.typing import NDArray

from ..defense import Defense, Outcome, refuse_weights
from ..errors import AuditError, SettingError, UpdateError
from ..kernels import LostColumnsError
from ..reputation import most_rejected, quarantined, unasked
from ..updates import Updates, byte_count, check_place
from ..weights import client_weights
from .admission import Admission, Admitted
from .arrays import serialized
from .grid import StreamingGrid
from .layout import Model, middle
from .metrics import capped, merged, well_formed
from .record import RoundRecord

logger = logging.getLogger(__name__)


class RobustStrategy(Strategy):
    """Any Flower strategy, given one trusted reply per round in the place of the clients' replies.

    The wrapped strategy samples and configures as ever. Replies are admitted one by one, the defense judges and
    combines them, and `inner` aggregates the result as if it had been its only client, so that server optimizers keep
    working. What comes out has the names, shapes and dtypes of the model that went in, whatever `inner` returns.

    `defense` defaults to `Defense()`. `observers` are called with every `RoundRecord`; an `AuditError` of theirs ends
    the run, since a run without its audit is not the one that was asked for; anything else they raise is logged.
    Claimed example counts weigh metrics only, and at most `most_examples`, by default four times the median claim. With
    `weighted_by="examples"` these capped claims weigh the clients in the rule too; with a mapping from node ids it is
    what that gives them, and a node that it lacks weighs as little as the least of it.
    Updates that need more than `memory`, in bytes or text such as "1 GB", lie in a file in the directory `spool`; a
    disk without room for them is a `SettingError` before a round's messages go out. With `shards`, their columns lie
    with so many workers of the Ray cluster that this process has joined; where one dies with rows that came already,
    the round is skipped, and the next one has other workers.
    A defense that compares clients with an update of the server's own (`fltrust`) needs `trusted(round, arrays)`: the
    model after the server's own training, as a client would send it. A round for which it raises, answers None or what
    does not fit the model is skipped and says so.

    >>> from flwr.serverapp.strategy import FedAvg
    >>> strategy = RobustStrategy(FedAvg(fraction_train=0.5), Defense("krum", f=2))
    """

    def __init__(
        self,
        inner: Strategy,
        defense: Defense | None = None,
        *,
        observers: Sequence[Callable[[RoundRecord], None]] = (),
        most_examples: float | None = None,
        weighted_by: str | Mapping[int, float] = "",
        memory: int | str | None = None,
        spool: str | None = None,
        shards: int | None = None,
        trusted: Callable[[int, ArrayRecord], ArrayRecord | None] | None = None,
    ) -> None:
        _check(inner, defense, most_examples)
        check_place(memory, spool, shards)
        if shards is not None and defense is not None and defense.momentum:
            raise SettingError("momentum remembers clients' updates in this process: leave out momentum, or shards")
        self.inner = inner
        self.defense = Defense() if defense is None else defense
        self.observers = tuple(observers)
        self.most_examples = most_examples
        if weighted_by != "":
            _check_weights(weighted_by, self.defense)
        self.weighted_by = weighted_by if isinstance(weighted_by, str) else dict(weighted_by)
        self.memory = None if memory is None else byte_count(memory)
        self.spool = spool
        self.shards = shards
        _check_trusted(trusted, self.defense)
        self.trusted = trusted
        self.counted_by = _setting(inner, "weighted_by_key", "num-examples")
        self.state: dict[str, Any] | None = None
        self.last_round: RoundRecord | None = None
        self._model: Model | None = None
        self._trained: list[Message] = []
        self._left_out: frozenset[str] = frozenset()
        self._evaluated: list[Message] = []
        self._started = 0.0
        self._updates: Updates | None = None

    def summary(self) -> None:
        """Log the defense, then what the wrapped strategy logs."""
        logger.info("%s is defended by %s", type(self.inner).__name__, self.defense)
        self.inner.summary()

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """The result of a run, as of Flower's own `start`; replies are taken one by one as they arrive."""
        configs = train_config, evaluate_config
        try:
            return super().start(StreamingGrid(grid), initial_arrays, num_rounds, timeout, *configs, evaluate_fn)
        finally:
            self._give_up_room()  # workers would keep a cluster's CPUs from others

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The wrapped strategy's messages; what was sent to whom is remembered, and there is room for the updates.

        Clients in quarantine are not asked, up to as many as may be rejected, until the last round of their term.
        Raises `SettingError` for a model that cannot be aggregated, and where there is no room.
        """
        self._started = time.perf_counter()
        self._model = Model.sent(arrays)
        # a list, as grids walk it twice; they fill in the message ids as they send
        sampled = list(self.inner.configure_train(server_round, arrays, config, grid))
        most = most_rejected(self.defense.policy, self.defense.f, len(sampled))
        self._left_out = unasked(self.state, [str(message.metadata.dst_node_id) for message in sampled], most)
        self._trained = [one for one in sampled if str(one.metadata.dst_node_id) not in self._left_out]
        self._make_room(len(self._trained), self._model)
        return self._trained

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord, MetricRecord | None]:
        """The new model, or the one that was sent if the round was skipped, and the accepted clients' metrics."""
        if self._model is None or self._updates is None:
            raise SettingError("call configure_train before aggregate_train: updates are differences from what it sent")
        admission = Admission(self._model, self._trained, self._updates, self.counted_by)
        outcome, moved, skipped = self._judged(server_round, admission, replies)
        arrays, metrics = None, None
        if outcome is not None and moved is not None:
            arrays, metrics, skipped = self._aggregate(server_round, admission, outcome, moved)
        nodes = [admitted.node for admitted in admission.admitted]
        self.last_round = RoundRecord(
            round=server_round,
            verdicts=dict(zip(nodes, outcome.verdicts, strict=True)) if outcome else {},
            refused=admission.refused,
            skipped=skipped,
            geometry=outcome.geometry if outcome else None,
            seconds=time.perf_counter() - self._started,
            quarantined={int(name): standing for name, standing in quarantined(self.state).items()},
        )
        self._tell(self.last_round)
        return self._model.record if arrays is None else arrays, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The wrapped strategy's messages; who was asked is remembered."""
        self._evaluated = list(self.inner.configure_evaluate(server_round, arrays, config, grid))
        return self._evaluated

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """The wrapped strategy's aggregate of the well-formed replies, None without any.

        A client in quarantine, or whose update of this round was refused or rejected, is not listened to here either.
        """
        distrusted: set[int] = set()
        if self.last_round is not None and self.last_round.round == server_round:
            accepted = {node for node, verdict in self.last_round.verdicts.items() if verdict.accepted}
            distrusted = {message.metadata.dst_node_id for message in self._trained} - accepted
            distrusted |= set(self.last_round.quarantined)
        clean = well_formed(replies, self._evaluated, distrusted, self.counted_by, self.most_examples)
        return self.inner.aggregate_evaluate(server_round, clean) if clean else None

    def _make_room(self, capacity: int, model: Model) -> None:
        """Keep the memory of the rounds before, unless this one needs more or another kind."""
        kept, width, dtype = self._updates, len(model.row), model.row.dtype
        if kept is not None and kept.capacity >= capacity and (kept.width, kept.dtype) == (width, dtype):
            return
        del kept
        self._give_up_room()  # before there is another one
        self._updates = Updates(capacity, width, dtype, memory=self.memory, spool=self.spool, shards=self.shards)

    def _give_up_room(self) -> None:
        if self._updates is not None:
            self._updates.close()
        self._updates = None

    def _judged(
        self, server_round: int, admission: Admission, replies: Iterable[Message]
    ) -> tuple[Outcome | None, ArrayRecord | None, str | None]:
        """What the defense makes of the replies' rows, the model it moves to, and why there is none."""
        try:
            admission.updates.clear()
            own, fault = self._own_update(server_round, admission.model)  # while the clients are at it, too
            for reply in replies:
                admission.admit(reply)
                del reply  # the next one must not arrive beside it
            admission.close()
            if not admission.admitted:
                return None, None, _why_empty(admission)
            if fault:
                return None, None, fault
            clients = [str(admitted.node) for admitted in admission.admitted]
            outcome = self.defense(
                admission.updates,
                clients=clients,
                state=self.state,
                trusted=own,
                model=admission.model.row,
                bounds=admission.model.bounds,
                weights=self._weights(admission.admitted),
                left_out=len(self._left_out),
            )
        except LostColumnsError as error:  # nothing more is to be had of this round
            self._give_up_room()
            return None, None, f"updates were lost: {error}"
        self.state = outcome.state
        if outcome.update is None:
            return outcome, None, outcome.skipped
        try:
            moved = admission.model.moved(outcome.update)
        except UpdateError as error:
            return outcome, None, f"the robust update does not fit the model: {error}"
        return replace(outcome, update=None), moved, None  # the update is as large as the model, and in it by now

    def _own_update(self, server_round: int, model: Model) -> tuple[NDArray[Any] | None, str | None]:
        """The server's own update `(d,)` where the defense asks for one, or why there is none."""
        if self.trusted is None:
            return None, None
        try:
            arrays = self.trusted(server_round, model.record)
            return (None, "the server made no update of its own") if arrays is None else (model.update(arrays), None)
        except Exception as error:  # the operator's code, or arrays that do not fit
            logger.exception("the server's own training failed in round %d", server_round)
            return None, f"the server's own update failed: {type(error).__name__}: {error}"

    def _weights(self, admitted: Sequence[Admitted]) -> list[float] | None:
        """How much each client counts in the rule, None where all count alike."""
        if isinstance(self.weighted_by, dict):
            least = min(self.weighted_by.values())
            return [self.weighted_by.get(one.node, least) for one in admitted]
        return capped([one.examples for one in admitted], self.most_examples) if self.weighted_by else None

    def _aggregate(
        self, server_round: int, admission: Admission, outcome: Outcome, moved: ArrayRecord
    ) -> tuple[ArrayRecord | None, MetricRecord | None, str | None]:
        """The new model and metrics that the wrapped strategy makes of the trusted one, or why there are none."""
        accepted = [a for a, verdict in zip(admission.admitted, outcome.verdicts, strict=True) if verdict.accepted]
        model = admission.model
        name = type(self.inner).__name__
        arrays, metrics = self.inner.aggregate_train(server_round, self._trusted(moved, accepted))
        if arrays is None:
            return None, metrics, f"{name} returned no arrays"
        # integer arrays are counters, not parameters: what the wrapped strategy made of them is of no use
        integers = {key: serialized(middle(np.stack([a.integers[key] for a in accepted]))) for key in model.integers}
        try:
            return model.lawful({**arrays, **integers}), metrics, None
        except UpdateError as error:
            return None, None, f"{name} returned what does not fit the model: {error}"

    def _trusted(self, arrays: ArrayRecord, accepted: Sequence[Admitted]) -> list[Message]:
        """The one reply handed to the wrapped strategy, named as most clients name theirs."""
        accepted = sorted(accepted, key=lambda admitted: admitted.node)  # sums must not depend on who was first
        weights = capped([admitted.examples for admitted in accepted], self.most_examples)
        metrics = merged([admitted.claims for admitted in accepted], weights, self.counted_by)
        (arrays_name, metrics_name), _ = Counter(admitted.names for admitted in accepted).most_common(1)[0]
        asked = next(m for m in self._trained if m.metadata.dst_node_id == accepted[0].node)
        # Bulyan aggregates nothing below 4f + 3 replies; of equal ones it returns that one
        copies = 4 * self.inner.num_malicious_nodes + 3 if isinstance(self.inner, Bulyan) else 1
        return [
            Message(RecordDict({arrays_name: ArrayRecord(dict(arrays)), metrics_name: metrics.copy()}), reply_to=asked)
            for _ in range(copies)
        ]

    def _tell(self, record: RoundRecord) -> None:
        rejected = not all(verdict.accepted for verdict in record.verdicts.values())
        logger.log(logging.WARNING if rejected or record.skipped else logging.INFO, "%s", record)
        for observer in self.observers:
            try:
                observer(record)
            except AuditError:
                raise
            except Exception:
                logger.exception("an observer failed in round %d", record.round)


def _why_empty(admission: Admission) -> str:
    if not admission.roll.messages:
        return "no client was asked"
    return f"none of the {len(admission.roll.messages)} clients asked sent a usable reply"


def _setting(strategy: Strategy, name: str, default: str) -> str:
    """A strategy's setting, or that of the strategy it wraps in turn."""
    found: object = strategy
    while found is not None:
        value: object = getattr(found, name, None)
        if isinstance(value, str):
            return value
        found = getattr(found, "strategy", None)
    return default


def _check_trusted(trusted: object, defense: Defense) -> None:
    """Raise `SettingError` where the defense asks for an update of the server's own and has none, or the reverse."""
    if "trusted" in defense.asked and not callable(trusted):
        raise SettingError(
            f"{defense} compares clients with an update of the server's own: write trusted=..., a function of the "
            "round and the arrays sent that gives the arrays after the server's own training"
        )
    if trusted is not None and "trusted" not in defense.asked:
        raise SettingError(f"no part of {str(defense)!r} uses a trusted update: leave trusted out")


def _check_weights(weighted_by: object, defense: Defense) -> None:
    """Raise `SettingError` unless these are weights, and of a defense that takes some."""
    expected = "weighted_by must be 'examples', or a mapping from node ids to finite positive weights"
    if isinstance(weighted_by, Mapping):
        weights = cast("Mapping[object, object]", weighted_by)
        if not weights or not all(isinstance(node, int) for node in weights):
            raise SettingError(f"{expected}, got {weighted_by!r}")
        try:
            client_weights(list(weights.values()), len(weights))
        except UpdateError as error:
            raise SettingError(f"{expected}: {error}") from error
    elif weighted_by != "examples":
        raise SettingError(f"{expected}, got {weighted_by!r}")
    refuse_weights(defense)


def _check(inner: object, defense: object, most_examples: float | None) -> None:
    """Raise `SettingError` for what cannot be wrapped or run."""
    if not isinstance(inner, Strategy):
        raise SettingError(f"RobustStrategy wraps a flwr.serverapp.strategy such as FedAvg(), got {inner!r}")
    if defense is not None and not isinstance(defense, Defense):
        raise SettingError(f"write Defense.parse({str(defense)!r}, f=...) instead of {defense!r}")
    if most_examples is not None and not (math.isfinite(most_examples) and most_examples > 0):
        raise SettingError(f"most_examples must be a finite positive number, got {most_examples!r}")
    if getattr(inner, "accountant", None) is not None:
        raise SettingError(
            "privacy accounting needs every client's own reply; pass accountant=None to wrap the strategy"
        )
    if hasattr(inner, "clipping_norm"):
        logger.warning(
            "%s calibrates its noise to a mean over clients; of a robust update it guarantees no privacy",
            type(inner).__name__,
        )
