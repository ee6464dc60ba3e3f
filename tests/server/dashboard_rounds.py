"""A federation that an operator watches: as a program it holds rounds until it is told to stop.

`dashboard_rounds.py AUDIT CHECKPOINTS [ROUNDS]`: the clients of `ledger_rounds`, of whom one is hostile and one, named
to be markup, now and then fails in words that are markup too.
"""

import random
import sys
import time

import ledger_rounds
from flwr.app import MetricRecord
from flwr.serverapp.strategy import FedAvg
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.server.audit import Audit
from hawthorn.strategies import Defense, RobustStrategy

MARKUP = "<img src=x onerror=document.body.id='taken'>"
PAUSE = 0.25


def client(message, context):
    """What a client of the ledger's rounds learns; the third one fails in every other round."""
    if context.node_config["partition-id"] == 2 and message.content["config"]["server-round"] % 2 == 0:
        raise RuntimeError(MARKUP)
    return ledger_rounds.client(message, context)


def worth(round, arrays):
    """The share of the way to where the model should go, as its accuracy; takes a moment."""
    time.sleep(PAUSE if round else 0)
    distance = ledger_rounds.worth(round, arrays)["distance"]
    return MetricRecord({"accuracy": 1 / (1 + distance / 15), "distance": distance, "class-recalls": [0.5, 0.25]})


def hold(audit, checkpoints, rounds, evaluate=worth):
    """Hold rounds of the run named "watched"."""
    settings = {"task": "<b>digits</b>", "rounds": rounds}
    with audit.run(settings, name="watched", resume=True, checkpoints=checkpoints, every=1) as ledger:
        random.seed(7)
        strategy = RobustStrategy(
            FedAvg(fraction_train=1.0, fraction_evaluate=0.0),
            Defense.parse("shortened_mean; reputation=sequential", f=2),
            ledger=ledger,
        )
        grid = InProcessGrid(client, ledger_rounds.CLIENTS)
        strategy.start(grid, ledger_rounds.model(), num_rounds=rounds, evaluate_fn=evaluate)


if __name__ == "__main__":
    with Audit.open(sys.argv[1]) as audit:
        hold(audit, sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 100_000)
