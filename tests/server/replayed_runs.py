"""Runs of a federation on the in-process grid, committed to an audit, for tests that judge them again."""

import random

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.server.audit import Audit
from hawthorn.server.inner import inner_strategy
from hawthorn.strategies import Defense, RobustStrategy

CLIENTS, ROUNDS = 8, 5
HOSTILE = 0  # this partition sends the opposite of what it should, eight times as long
RECIPE = "shortened_mean; scores=length, agreement, similarity, signs; policy=alarm; reputation=sequential"


def sent_model(*, integers=False):
    rng = np.random.default_rng(0)
    arrays = {
        "weight": Array(rng.normal(size=(12, 10)).astype(np.float32)),
        "bias": Array(np.zeros(10, np.float32)),
    }
    return ArrayRecord(arrays | ({"seen": Array(np.array(7))} if integers else {}))


def app(message, context):
    """A client whose model moves by a common step that changes with the model, and by noise of its own."""
    partition = int(context.node_config["partition-id"])
    metrics = MetricRecord({"loss": 0.5, "num-examples": 100 + 10 * partition})
    if message.metadata.message_type == "evaluate":
        return Message(RecordDict({"metrics": metrics}), reply_to=message)
    moved = {}
    for name, array in message.content["arrays"].items():
        array = array.numpy()
        # the model is the clock, so that a round that is held again is the same
        rng = np.random.default_rng([partition, int(np.abs(array).sum() * 1e4) % 2**31])
        step = np.asarray(0.1 + 0.1 * rng.normal(size=array.shape) - 0.02 * array)
        step = step * (-8.0 if partition == HOSTILE else 1.0)
        moved[name] = Array(np.asarray(array + (1 if array.dtype.kind == "i" else step)).astype(array.dtype))
    return Message(RecordDict({"arrays": ArrayRecord(moved), "metrics": metrics}), reply_to=message)


def held_run(
    path,
    *,
    recipe=RECIPE,
    inner="fedavg",
    rounds=ROUNDS,
    updates="all",
    half=False,
    checkpoints=True,
    integers=False,
    settings=None,
    orders=(),
    name="a run",
    newest=100,
    fraction=1.0,
    resume=False,
    **more,
):
    """A run as the server holds it, in the audit at `path`; orders are (after round, what the audit is to be told)."""
    random.seed(1)
    told = {"inner": inner, "defense": recipe} if settings is None else settings
    kept = {"resume": resume, "updates": updates, "half": half}
    kept |= {"checkpoints": path.with_name("kept"), "newest": newest} if checkpoints else {}
    with Audit.open(path) as audit, audit.run(told, name=name, **kept) as run:

        def place(record):
            for after, kind, arguments in orders:
                if record.round == after:
                    audit.order(run.id, kind, **arguments)

        strategy = RobustStrategy(
            inner_strategy(inner, fraction_train=fraction, fraction_evaluate=0.0),
            Defense.parse(recipe, f=0.2),
            ledger=run,
            observers=[place],
            **more,
        )
        strategy.start(InProcessGrid(app, CLIENTS), sent_model(integers=integers), num_rounds=rounds)
    return run.id
