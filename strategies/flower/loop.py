"""The rounds of a run, one after the other: each is committed before the next begins, and a run goes on where it was.

Whatever happens between two commits happens again after a crash, with the same result: the model, all that is
remembered and the generator that samples nodes are those of the last commit.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result

from ..errors import AuditError, HawthornError, SettingError
from ..reputation import forgotten, released
from .arrays import viewed
from .layout import Model
from .ledger import Commit, Order

if TYPE_CHECKING:
    from .strategy import RobustStrategy

logger = logging.getLogger(__name__)

POLL = 0.5  # seconds between two looks for orders while a run is paused

Evaluate = Callable[[int, ArrayRecord], MetricRecord | None]


@dataclass
class Run:
    """A run between two rounds: where it is, and what its result is made of."""

    strategy: RobustStrategy
    grid: Grid
    arrays: ArrayRecord
    timeout: float
    evaluate: Evaluate | None
    round: int = 0
    result: Result = field(default_factory=Result)

    def begin(self) -> None:
        """Go on after the last commit, or commit the initial model and what it is worth as round 0."""
        ledger = self.strategy.ledger
        last = None if ledger is None else ledger.last()
        if last is not None:
            check_same_layout(self.arrays, last.arrays)
            self.round, self.arrays = last.round, last.arrays
            self.strategy.recall(last.memory)
            self.result.arrays = last.arrays
            logger.info("going on after round %d, the last that was committed", last.round)
            return
        metrics = self.judged(self.strategy.check(0, self.arrays))
        self.commit(Commit(0, self.arrays, self.strategy.recollection(), metrics=metrics))

    def judged(self, metrics: MetricRecord | None) -> MetricRecord | None:
        """The metrics of the model now, which the guard may have found already, as part of the result."""
        if metrics is None and self.evaluate is not None:
            metrics = self.evaluate(self.round, self.arrays)
        if metrics is not None:
            logger.info("round %d: on the server's own data %s", self.round, dict(metrics))
            self.result.evaluate_metrics_serverapp[self.round] = metrics
        return metrics

    def hold(self, train_config: ConfigRecord, evaluate_config: ConfigRecord) -> None:
        """Hold the next round and commit it; no reply is kept beyond it."""
        strategy, before, number = self.strategy, self.arrays, self.round + 1
        messages = strategy.configure_train(number, before, train_config, self.grid)
        arrays, trained = strategy.aggregate_train(number, self._replies(messages))
        asked = strategy.configure_evaluate(number, arrays, evaluate_config, self.grid)
        evaluated = strategy.aggregate_evaluate(number, self._replies(asked))
        self.round, self.arrays = number, strategy.confirmed(number, arrays)
        record = strategy.last_round
        assert record is not None
        metrics = self.judged(None if record.rolled_back else strategy.metrics)
        self.result.arrays = self.arrays
        if trained is not None:
            self.result.train_metrics_clientapp[number] = trained
        if evaluated is not None:
            self.result.evaluate_metrics_clientapp[number] = evaluated
        self.commit(
            Commit(
                number,
                self.arrays,
                strategy.recollection(),
                record,
                metrics=metrics,
                train_metrics=trained,
                evaluate_metrics=evaluated,
                rows=strategy.rows,
            )
        )
        strategy.tell(record)

    def _replies(self, messages: Iterable[Message]) -> Iterable[Message]:
        """The replies as they come; a message lives as long as it is waited for, so that no node works on it later."""
        sent = list(messages)
        for message in sent:
            message.metadata.ttl = min(message.metadata.ttl, self.timeout)
        return self.grid.send_and_receive(sent, timeout=self.timeout)

    def commit(self, commit: Commit) -> None:
        """Commit to the ledger, if there is one."""
        if self.strategy.ledger is not None:
            self.strategy.ledger.commit(commit)

    def obey(self) -> bool:
        """Carry out what the operator has ordered, and wait while the run is paused; False if it is to stop."""
        ledger, strategy = self.strategy.ledger, self.strategy
        if ledger is None:
            return True
        waiting = False
        while True:
            done: dict[Order, str] = {}
            stop = False
            for order in ledger.orders():
                stop = stop or order.kind == "stop"
                done[order] = self._carried_out(order)
                logger.warning("order %d, %s %s: %s", order.id, order.kind, order.client, done[order] or "carried out")
            if done:
                ledger.commit(Commit(self.round, self.arrays, strategy.recollection(), done=done))
            if stop or not strategy.paused:
                if waiting:
                    ledger.standing("running")
                return not stop
            if not waiting:
                ledger.standing("paused")
                logger.warning("paused after round %d", self.round)
            waiting = True
            time.sleep(POLL)

    def _carried_out(self, order: Order) -> str:
        """What kept an order from being carried out; empty if nothing did."""
        strategy = self.strategy
        try:
            if order.kind in ("pause", "resume"):
                strategy.paused = order.kind == "pause"
            elif order.kind == "quarantine":
                strategy.held[order.client] = None if order.rounds is None else self.round + order.rounds
            elif order.kind == "release":
                strategy.release(order.client)
            elif order.kind == "roll_back":
                self._roll_back(order)
        except HawthornError as error:
            return str(error)
        return ""

    def _roll_back(self, order: Order) -> None:
        ledger, strategy = self.strategy.ledger, self.strategy
        if ledger is None or order.round is None:
            raise AuditError("no round to go back to")
        kept = ledger.after(order.round, order.run)
        arrays = Model.sent(self.arrays).lawful(kept.arrays)
        held, paused = strategy.held, strategy.paused
        strategy.recall(replace(kept.memory, held=held, paused=paused, sampling=None))
        self.arrays = arrays


def check_same_layout(initial: ArrayRecord, kept: ArrayRecord) -> None:
    """Raise `SettingError` unless a run that goes on has a model like the one that it is started with."""
    given, last = _layout(initial), _layout(kept)
    for name in sorted({*given, *last}):
        if given.get(name) != last.get(name):
            raise SettingError(
                f"the run cannot go on with another model: {name!r} was {last.get(name, 'not there')} in its last one, "
                f"and is {given.get(name, 'not there')} in the one it is started with: write the task and the model "
                "that it began with, or another name for the run"
            )


def _layout(arrays: ArrayRecord) -> dict[str, str]:
    numbers = {name: viewed(array) for name, array in arrays.items()}
    return {name: f"{array.dtype} of shape {array.shape}" for name, array in numbers.items()}


def without_client(state: dict[str, Any] | None, client: str) -> dict[str, Any] | None:
    """The state of a defense in which nothing speaks against a client any more."""
    if state is None:
        return None
    if client in state.get("reputation", {}):
        return released(state, client)
    return forgotten(state, [client]) if client in state["clients"] else state


def sampling() -> list[Any]:
    """The state of the generator that Flower's strategies sample nodes with, as plain data."""
    version, numbers, after = random.getstate()
    return [version, list(numbers), after]


def set_sampling(state: list[Any]) -> None:
    """Go on sampling where `sampling` was asked."""
    random.setstate((state[0], tuple(state[1]), state[2]))
