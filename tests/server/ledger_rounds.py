"""A federation with memory of every kind, committed to an audit: what the tests of the ledger run, here or alone.

As a program it holds `ROUNDS` rounds of the run named "run" and says so: `ledger_rounds.py AUDIT CHECKPOINTS`.
"""

import random
import sys

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdam
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.server.audit import Audit
from hawthorn.strategies import Defense, RobustStrategy

ROUNDS = 8
CLIENTS = 8
SETTINGS = {"task": "none", "rounds": ROUNDS}
DEFENSE = "centered_clipping; momentum=0.5; reputation=sequential"


def record_of(arrays) -> ArrayRecord:
    """The arrays by name as Flower's record."""
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})


def client(message, context):
    """What a client learns: a step towards ones, and noise that is its own in each round; one sends the opposite."""
    sent = message.content["arrays"]
    place, number = context.node_config["partition-id"], message.content["config"]["server-round"]
    rng = np.random.default_rng([place, number])
    step = -5.0 if place == 0 else 0.1
    arrays = {
        name: (array.numpy() + step * (1 - array.numpy()) + rng.normal(0, 0.01, array.shape)).astype(array.dtype)
        for name, array in sent.items()
    }
    metrics = MetricRecord({"num-examples": 10, "loss": float(rng.random())})
    return Message(RecordDict({"arrays": record_of(arrays), "metrics": metrics}), reply_to=message)


def model() -> ArrayRecord:
    """A small model with parameters of two dtypes, one of them without a dimension."""
    return record_of({"w": np.zeros((3, 4), np.float32), "b": np.array(0.5, np.float64), "a": np.zeros(2, np.float32)})


def strategy(ledger) -> RobustStrategy:
    """What is run: a sample of the clients, an optimizer with moments, a defense with momentum and reputation."""
    inner = FedAdam(fraction_train=0.8, fraction_evaluate=0.0, eta=0.1)
    return RobustStrategy(inner, Defense.parse(DEFENSE, f=2), ledger=ledger)


def started(ledger, rounds=ROUNDS, evaluate=None):
    """The result of the run, which goes on where the ledger says."""
    random.seed(7)
    return strategy(ledger).start(
        InProcessGrid(client, CLIENTS), model(), num_rounds=rounds, evaluate_fn=evaluate or worth
    )


def worth(round, arrays):
    """How far the model is from where it should go."""
    return MetricRecord({"distance": float(sum(np.abs(1 - array.numpy()).sum() for array in arrays.values()))})


def run(audit, checkpoints, **more):
    """The run named "run" in an audit, new or going on."""
    return audit.run(SETTINGS, name="run", resume=True, checkpoints=checkpoints, **more)


if __name__ == "__main__":
    with Audit.open(sys.argv[1]) as audit, run(audit, sys.argv[2], updates="all") as ledger:
        print("ready", flush=True)
        started(ledger)
        print("done", flush=True)
