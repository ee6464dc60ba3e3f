"""RobustStrategy: a hedge around any Flower strategy."""

from __future__ import annotations

import logging
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

from ..contract import hostile_count
from ..defense import Defense, Outcome
from ..errors import AuditError, SettingError, UpdateError
from ..kernels import LostColumnsError
from ..reputation import QUARANTINE, Standing, most_rejected, quarantined, standings, suspected, unasked
from ..updates import Updates, byte_count, check_place
from .admission import Admission, Admitted
from .arrays import serialized
from .clients import Roster, connected, connected_clients, least_nodes
from .grid import StreamingGrid
from .guard import Guard, Ruling
from .layout import Model, middle
from .ledger import Ledger, Memory
from .loop import Run, sampling, set_sampling, without_client
from .metrics import capped, merged, well_formed
from .provenance import Provenance
from .record import Client, RoundRecord
from .remembered import attributes, not_remembered, recall, remembered
from .wrapped import check_quorum, check_trusted, check_weights, check_wrapped, replies_needed, setting_of

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

    Every round is committed to the `ledger` before the next begins, and `start` goes on after the last commit; what
    the operator orders there is carried out between rounds. The `guard` looks at a round's model before it is taken.
    A round closes when `quorum` of the clients asked, a count or a share, have sent what can be used; f is then of
    the clients asked, because the quickest may be the hostile ones. Where fewer nodes than the wrapped strategy wants
    are connected after `sampling_timeout` seconds, the round is skipped.

    What clients say of their data in signed manifests (`Provenance`) stands in the round's record; with
    `require_manifest` a reply without one that can be believed is refused.

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
        ledger: Ledger | None = None,
        guard: Guard | None = None,
        quorum: int | float | None = None,
        sampling_timeout: float = 600.0,
        require_manifest: bool = False,
    ) -> None:
        check_wrapped(inner, defense, most_examples)
        check_quorum(quorum)
        check_place(memory, spool, shards)
        if shards is not None and defense is not None and defense.momentum:
            raise SettingError("momentum remembers clients' updates in this process: leave out momentum, or shards")
        self.inner = inner
        self._made = attributes(inner)
        self.defense = Defense() if defense is None else defense
        self.observers = tuple(observers)
        self.most_examples = most_examples
        if weighted_by != "":
            check_weights(weighted_by, self.defense)
        self.weighted_by = weighted_by if isinstance(weighted_by, str) else dict(weighted_by)
        self.memory = None if memory is None else byte_count(memory)
        self.spool = spool
        self.shards = shards
        check_trusted(trusted, self.defense)
        self.trusted = trusted
        self.counted_by = setting_of(inner, "weighted_by_key", "num-examples")
        self.ledger, self.guard, self.quorum, self.sampling_timeout = ledger, guard, quorum, sampling_timeout
        self.require_manifest = require_manifest
        self.state: dict[str, Any] | None = None
        self.held: dict[str, int | None] = {}
        self.paused = False
        self.last_round: RoundRecord | None = None
        self.metrics: MetricRecord | None = None
        self._guarded: dict[str, Any] | None = None
        self._before: dict[str, Any] = {}
        self._reports: dict[str, MetricRecord] = {}
        self._clients: dict[int, Client] = {}
        self._too_few = ""
        self._looping = False
        self._model: Model | None = None
        self._trained: list[Message] = []
        self._left_out: frozenset[str] = frozenset()
        self._evaluated: list[Message] = []
        self._started = 0.0
        self._updates: Updates | None = None
        self._not_remembered: set[str] = set()

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
        """The result of a run, as of Flower's own `start`; replies are taken one by one as they arrive.

        With a ledger the run goes on after its last commit, and the result tells of the rounds held since.
        """
        self.summary()
        configs = train_config or ConfigRecord(), evaluate_config or ConfigRecord()
        run = Run(self, StreamingGrid(grid), initial_arrays, timeout, evaluate_fn)
        self._looping = True
        try:
            run.begin()
            while run.round < num_rounds and run.obey():
                run.hold(*configs)
            return run.result
        finally:
            self._looping = False
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
        sampled = [
            message
            for message in self._sampled(server_round, arrays, config, grid)
            if not self._is_held(message.metadata.dst_node_id, server_round)
        ]
        most = most_rejected(self.defense.policy, self.defense.f, len(sampled))
        self._left_out = unasked(self.state, [self.identity(m.metadata.dst_node_id) for m in sampled], most)
        self._trained = [one for one in sampled if self.identity(one.metadata.dst_node_id) not in self._left_out]
        self._make_room(len(self._trained), self._model)
        return self._trained

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord, MetricRecord | None]:
        """The new model, or the one that was sent if the round was skipped, and the accepted clients' metrics."""
        if self._model is None or self._updates is None:
            raise SettingError("call configure_train before aggregate_train: updates are differences from what it sent")
        provenance = Provenance(
            server_round,
            self._model.record,
            lambda node: self.client(node).public_key,
            required=self.require_manifest,
        )
        admission = Admission(self._model, self._trained, self._updates, self.counted_by, provenance)
        self._before = remembered(self.inner, self._made) if self.guard is not None else {}
        self.metrics, self._reports = None, {}
        outcome, moved, skipped = self._judged(server_round, admission, replies)
        arrays, metrics, fault = None, None, None
        if outcome is not None and moved is not None:
            arrays, metrics, skipped = self._aggregate(server_round, admission, outcome, moved)
        nodes = [admitted.node for admitted in admission.admitted]
        if arrays is not None and self.guard is not None:
            accepted = [node for node, verdict in zip(nodes, outcome.verdicts, strict=True) if verdict.accepted]  # pyright: ignore[reportOptionalMemberAccess]
            fault = self._ruled(self.guard.check(server_round, arrays, self._guarded), accepted)
        self.last_round = RoundRecord(
            round=server_round,
            verdicts=dict(zip(nodes, outcome.verdicts, strict=True)) if outcome else {},
            refused=admission.refused,
            skipped=skipped if fault is None else f"rolled back: {fault}",
            geometry=outcome.geometry if outcome else None,
            seconds=time.perf_counter() - self._started,
            quarantined=self._quarantined(server_round + 1),
            clients={node: self.client(node) for node in {*nodes, *admission.refused}},
            standings=standings(self.state),
            rolled_back=fault,
            manifests=admission.manifests,
            evidence=outcome.evidence if outcome else None,
        )
        if not self._looping:  # the loop tells when the round is committed
            self.tell(self.last_round)
        return self._model.record if arrays is None or fault else arrays, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The wrapped strategy's messages; who was asked is remembered.

        No client in quarantine is sent the model, nor one whose quarantine this round began.
        """
        nodes = list(grid.get_node_ids())
        enough = len(nodes) >= least_nodes(self.inner, "evaluate")
        roster = Roster(grid, nodes)
        sampled = self.inner.configure_evaluate(server_round, arrays, config, roster) if enough else ()
        kept_out = quarantined(self.state)
        self._evaluated = [
            message
            for message in sampled
            if self.identity(node := message.metadata.dst_node_id) not in kept_out
            and not self._is_held(node, server_round)
        ]
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
        clean, told = well_formed(replies, self._evaluated, distrusted, self.counted_by, self.most_examples)
        self._reports = {self.identity(node): report for node, report in told.items()}
        return self.inner.aggregate_evaluate(server_round, clean) if clean else None

    def client(self, node: int) -> Client:
        """Who a node is: itself, where nothing more is known of it."""
        return self._clients.get(node, Client(str(node)))

    def identity(self, node: int) -> str:
        """What a node's client is remembered by."""
        return self.client(node).identity

    @property
    def rows(self) -> NDArray[Any] | None:
        """The updates `(n, d)` of the last round's admitted clients, None where they are not in this process."""
        rows: Any = None if self._updates is None or not self._updates.n else self._updates.rows
        return cast("NDArray[Any]", rows) if isinstance(rows, np.ndarray) else None

    def recollection(self) -> Memory:
        """All that goes on to the next round beside the model."""
        inner = remembered(self.inner, self._made)
        if self.ledger is not None:
            self._warn_of_what_is_not_remembered()
        return Memory(self.state, dict(self.held), self._guarded, inner, self.paused, sampling())

    def recall(self, memory: Memory) -> None:
        """Go on with what `recollection` answered."""
        self.state, self.held, self._guarded = memory.defense, dict(memory.held), memory.guard
        self.paused = memory.paused
        recall(self.inner, memory.inner, self._made)
        if memory.sampling is not None:
            set_sampling(memory.sampling)

    def _warn_of_what_is_not_remembered(self) -> None:
        for name in {*not_remembered(self.inner, self._made)} - self._not_remembered:
            self._not_remembered.add(name)
            logger.warning(
                "the rounds changed %s.%s, which no checkpoint can keep: after a crash it begins as it was made; keep "
                "None, numbers, text, lists, dictionaries keyed by text, NumPy arrays or ArrayRecords",
                type(self.inner).__name__,
                name,
            )

    def release(self, client: str) -> None:
        """Have nothing speak against a client, by identity, any more."""
        self.held.pop(client, None)
        self.state = without_client(self.state, client)

    def check(self, server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        """The guard's metrics of a model that is there already, which it only takes note of."""
        if self.guard is None:
            return None
        ruling = self.guard.check(server_round, arrays, self._guarded)
        self._guarded = ruling.state
        return ruling.metrics

    def confirmed(self, server_round: int, arrays: ArrayRecord) -> ArrayRecord:
        """The model after a round, as clients may have judged it, or that before it where the guard takes it back."""
        record = self.last_round
        if self.guard is None or record is None or record.skipped:
            return arrays
        ruling = self.guard.check_reports(server_round, self._reports, self._guarded)
        fault = self._ruled(ruling, [node for node, verdict in record.verdicts.items() if verdict.accepted])
        if fault is None or self._model is None:
            return arrays
        self.last_round = replace(
            record, rolled_back=fault, skipped=f"rolled back: {fault}", standings=standings(self.state)
        )
        return self._model.record

    def _ruled(self, ruling: Ruling, accepted: Sequence[int]) -> str | None:
        """The guard's fault with a candidate; the wrapped strategy then forgets the round, and suspicion remains."""
        self._guarded = ruling.state
        if ruling.metrics is not None:
            self.metrics = ruling.metrics
        if ruling.fault is not None:
            recall(self.inner, self._before, self._made)
            if self.defense.reputation != "none":
                self.state = suspected(self.state, [self.identity(node) for node in accepted])
        return ruling.fault

    def _sampled(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> list[Message]:
        """The wrapped strategy's messages to nodes of those that are connected; none where too few are."""
        least = least_nodes(self.inner, "train")
        nodes = connected(grid, least, self.sampling_timeout)
        kept = {*quarantined(self.state), *self.held}  # of those who left, only whom a round still tells of
        self._clients = {node: one for node, one in self._clients.items() if one.identity in kept}
        self._clients |= connected_clients(grid)
        self._too_few = (
            ""
            if len(nodes) >= least
            else (f"{len(nodes)} of at least {least} nodes were connected after {self.sampling_timeout:g} seconds")
        )
        return (
            [] if self._too_few else list(self.inner.configure_train(server_round, arrays, config, Roster(grid, nodes)))
        )

    def _is_held(self, node: int, server_round: int) -> bool:
        until = self.held.get(self.identity(node), 0)
        return until is None or server_round <= until

    def _quarantined(self, following: int) -> dict[int, Standing]:
        """Who is in quarantine in the round that comes next, by node, as far as the clients' nodes are known."""
        standing = quarantined(self.state)
        for client, until in self.held.items():
            if until is None or following <= until:
                standing[client] = Standing(QUARANTINE, since=following, until=until or 0)
        nodes = {client.identity: node for node, client in self._clients.items()}
        found = {
            nodes.get(client, int(client) if client.isdecimal() else None): one for client, one in standing.items()
        }
        return {node: one for node, one in found.items() if node is not None}

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
            needed = replies_needed(self.quorum, len(self._trained))
            for reply in replies:
                admission.admit(reply)
                del reply  # the next one must not arrive beside it
                if len(admission.admitted) == needed:
                    break
            admission.close("no reply" if needed is None else f"no reply before the round closed with {needed}")
            if not admission.admitted:
                return None, None, self._too_few or _why_empty(admission)
            if fault:
                return None, None, fault
            clients = [self.identity(admitted.node) for admitted in admission.admitted]
            outcome = self._defense(len(clients))(
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

    def _defense(self, admitted: int) -> Defense:
        """The defense; of a round that closes at a quorum f is a count, that of the clients asked."""
        if self.quorum is None or admitted == len(self._trained):
            return self.defense
        return replace(self.defense, f=hostile_count(self.defense.f, len(self._trained)))

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

    def tell(self, record: RoundRecord) -> None:
        """Log a round and call every observer with it."""
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
