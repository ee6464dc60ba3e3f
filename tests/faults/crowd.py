"""Federations whose clients come and go, with an audit; as a program it tells of each round what it cost.

`crowd.py churn|sybil ROUNDS FOLDER` prints a line of JSON per round. In `churn` 1,000 clients join and leave, half of
them there at a time, and 40 are asked. In `sybil` 40 are there, 8 of which send poison and are new in every round.
"""

import gc
import json
import logging
import os
import random
import sys
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.server.audit import Audit
from hawthorn.strategies import Defense, RobustStrategy

CLIENTS, PRESENT, ASKED = 1000, 500, 40
SYBILS, NEW = 32, 8


class ComingAndGoing(InProcessGrid):
    """A grid whose nodes are those that it was last told."""

    def connect(self, nodes):
        """Have these nodes connected and no others; who comes back has forgotten what it knew."""
        kept, run = self._contexts, self.run.run_id
        self._contexts = {
            node: kept.get(node)
            or Context(run, node, {"partition-id": node, "num-partitions": CLIENTS}, RecordDict(), {})
            for node in nodes
        }


def client(poison):
    """The app of all nodes: a step towards ones and noise, from nodes that `poison` says far away from it."""

    def app(message, context):
        number = message.content["config"]["server-round"]
        rng = np.random.default_rng([context.node_id, number])
        step = -9.0 if poison(context.node_id) else 0.1
        moved = {}
        for name, array in message.content["arrays"].items():
            sent = array.numpy()
            moved[name] = Array((sent + step * (1 - sent) + rng.normal(0, 0.01, sent.shape)).astype(sent.dtype))
        metrics = MetricRecord({"num-examples": 10, "loss": float(rng.random())})
        return Message(RecordDict({"arrays": ArrayRecord(moved), "metrics": metrics}), reply_to=message)

    return app


def nodes_of(kind, number, rng):
    """Who is connected in a round."""
    if kind == "churn":
        return sorted(rng.sample(range(1, CLIENTS + 1), PRESENT))
    return [*range(1, SYBILS + 1), *(10_000 + NEW * number + one for one in range(NEW))]


def resident():
    """The memory of this process in MiB."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def held(kind, rounds, folder, tell):
    """Hold the rounds, and tell after each one what there is of it."""
    rng = random.Random(3)
    random.seed(7)
    poison = (lambda node: node >= 10_000) if kind == "sybil" else (lambda node: node % 10 == 0)
    grid = ComingAndGoing(client(poison), 0)
    share = ASKED / PRESENT if kind == "churn" else 1.0
    inner = FedAvg(fraction_train=share, fraction_evaluate=0.0, min_train_nodes=2, min_available_nodes=2)
    defense = Defense(f=0.25, reputation="sequential")
    database, last = Path(folder, "audit.db"), [time.perf_counter()]

    def observed(record):
        state = strategy.state or {}
        now, (memory,) = time.perf_counter(), sorted(Path(folder).glob("*/memory-*"), key=os.path.getmtime)[-1:]
        tell(
            {
                "round": record.round,
                "skipped": record.skipped,
                "seconds": now - last[0],
                "resident": resident() if record.round % 10 == 0 else None,
                "clients": len(state.get("clients", {})),
                "standings": len(record.standings),
                "quarantined": len(record.quarantined),
                "memory": memory.stat().st_size,
                "database": sum(path.stat().st_size for path in database.parent.glob("audit.db*")),
                "rejected": [node for node, verdict in record.verdicts.items() if not verdict.accepted],
                "distance": float(np.abs(1 - strategy.newest).max()),
            }
        )
        grid.connect(nodes_of(kind, record.round + 1, rng))
        last[0] = time.perf_counter()

    strategy = RobustStrategy(inner, defense, observers=[observed])
    strategy.newest = np.zeros(200)

    def worth(_, arrays):
        strategy.newest = next(iter(arrays.values())).numpy()

    grid.connect(nodes_of(kind, 1, rng))
    model = ArrayRecord({"w": Array(np.zeros(200, np.float32))})
    with Audit.open(database) as audit, audit.run({}, name=kind, checkpoints=folder, newest=2, every=1000) as ledger:
        strategy.ledger = ledger
        strategy.start(grid, model, num_rounds=rounds, evaluate_fn=worth)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    held(sys.argv[1], int(sys.argv[2]), sys.argv[3], lambda told: print(json.dumps(told), flush=True))
