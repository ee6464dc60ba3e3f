"""The model after a round, made again from the updates that were retained and the commit that the round began from."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.app.message import make_message
from flwr.app.metadata import Metadata
from flwr.serverapp.strategy import FedAvgM, Strategy
from flwr.serverapp.strategy.fedopt import FedOpt
from hawthorn.strategies import AuditError, Defense, Outcome
from hawthorn.strategies.flower import Commit
from hawthorn.strategies.flower.arrays import viewed
from hawthorn.strategies.flower.layout import Model
from hawthorn.strategies.flower.remembered import attributes, recall
from numpy.typing import NDArray

from ..inner import inner_strategy

SUPERLINK = 1  # the id of the node that a federation's server is to Flower


def judged_again(before: Commit, rows: NDArray[Any], evidence: Mapping[str, Any]) -> Outcome:
    """What the round's defense makes of the rows `(n, d)`, with all that was remembered `before`."""
    defense = Defense.parse(evidence["defense"])
    model = Model.sent(before.arrays)
    return defense(
        rows,
        clients=evidence.get("names"),
        state=before.memory.defense,
        model=model.row,
        bounds=model.bounds,
        weights=evidence.get("weights"),
        left_out=evidence["left_out"],
    )


def model_again(before: Commit, update: Any, settings: Mapping[str, Any], round: int) -> ArrayRecord:
    """The model that an update `(d,)` leads to, as the wrapped strategy takes it there; integer arrays are as before.

    Raises `AuditError` for a run whose settings do not say which strategy that was.
    """
    model = Model.sent(before.arrays)
    moved = model.moved(update)
    strategy = wrapped(settings, before)
    arrays, _ = strategy.aggregate_train(round, [_reply(moved)])
    if arrays is None:
        raise AuditError(f"{type(strategy).__name__} returned no arrays")
    return model.lawful({**arrays, **{name: before.arrays[name] for name in model.integers}})


def wrapped(settings: Mapping[str, Any], before: Commit) -> Strategy:
    """The strategy that a run wrapped, as it was when the round began; raises `AuditError`."""
    if "inner" not in settings:
        raise AuditError("the run's settings do not say which strategy was wrapped")
    strategy = inner_strategy(str(settings["inner"]))
    recall(strategy, before.memory.inner, attributes(strategy))
    # what Flower's server optimizers note down as they send the model
    if isinstance(strategy, FedOpt):
        strategy.current_arrays = {name: array.numpy() for name, array in before.arrays.items()}
    elif isinstance(strategy, FedAvgM) and strategy.current_arrays is None:
        strategy.current_arrays = before.arrays
    return strategy


def differing(found: ArrayRecord, stored: ArrayRecord) -> tuple[str, ...]:
    """The names of the floating-point arrays that are not equal to the last bit."""
    if list(found) != list(stored):
        return tuple(sorted({*found} ^ {*stored})) or ("the order of the arrays",)
    return tuple(
        name
        for name, array in stored.items()
        if viewed(array).dtype.kind == "f" and not np.array_equal(viewed(found[name]), viewed(array))
    )


def distance(found: ArrayRecord, stored: ArrayRecord, before: ArrayRecord) -> float:
    """How far two models are from each other, in lengths of the move from the model `before` to the `stored` one."""
    apart, moved = _length(found, stored), _length(before, stored)
    if apart == 0.0:
        return 0.0
    return apart / moved if moved > 0 else float("inf")


def _length(one: ArrayRecord, other: ArrayRecord) -> float:
    squares = [
        float(((viewed(one[name]).astype(np.float64) - viewed(array).astype(np.float64)) ** 2).sum())
        for name, array in other.items()
        if viewed(array).dtype.kind == "f"
    ]
    return float(np.sqrt(sum(squares)))


def integers(arrays: ArrayRecord) -> Sequence[str]:
    """The names of the arrays that hold integers, which are no part of the updates."""
    return [name for name, array in arrays.items() if viewed(array).dtype.kind != "f"]


def _reply(arrays: ArrayRecord) -> Message:
    """The one reply that the wrapped strategy is handed, of a client with one example."""
    metadata = Metadata(
        run_id=1,
        message_id="",
        src_node_id=SUPERLINK,
        dst_node_id=SUPERLINK,
        reply_to_message_id="",
        group_id="",
        created_at=time.time(),
        ttl=3600.0,
        message_type="train",
    )
    content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1.0})})
    return make_message(metadata, content)
