"""Where a simulated federation runs: in this process, or on Flower's own simulation; the apps are the same."""

import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TypeVar, cast

from flwr.app import ConfigRecord, ConfigRecordValues, Context, Message, RecordDict
from flwr.app.user_config import UserConfig
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from hawthorn.client.app import app as client_app
from hawthorn.strategies import SettingError
from hawthorn.strategies.contract import nearest

from .in_process import InProcessGrid

Answer = TypeVar("Answer")

ENGINES = ("in-process", "flower")

app = ClientApp()
"""The real client app, its settings taken from the message, so that one Flower simulation serves several runs."""


def train_config(run: str, run_config: UserConfig, nodes: Sequence[int]) -> ConfigRecord:
    """The configuration to send with each training message, for nodes whose partitions are in the order of `nodes`."""
    # Flower draws its node ids at random: the same partition for the same rank makes the engines comparable. As text,
    # because node ids do not fit a signed 64-bit integer.
    return ConfigRecord({**run_config, "run": run, "nodes": [str(node) for node in nodes]})


@app.train()
def train(message: Message, context: Context) -> Message:
    """The real client app's reply."""
    settings = dict(message.content.config_records["config"])
    nodes = cast("list[str]", settings.pop("nodes"))
    _begin(str(settings.pop("run")), context.state)
    partition: UserConfig = {
        "partition-id": nodes.index(str(message.metadata.dst_node_id)),
        "num-partitions": len(nodes),
    }
    run_config = cast(UserConfig, settings)
    # Flower lets nobody change a context's run config; the state is shared, so what the client remembers is kept.
    own = Context(context.run_id, context.node_id, partition, context.state, run_config)
    return client_app(message, own)


def _begin(run: str, state: RecordDict) -> None:
    """Forget what the client remembers of another run: one simulation serves several."""
    if state.config_records.get("run", ConfigRecord()).get("name") != run:
        state.clear()
        state["run"] = ConfigRecord({"name": run})


def check_engine(engine: str) -> None:
    """Raise `SettingError` for an engine that does not exist or is not installed."""
    if engine not in ENGINES:
        raise SettingError(f"no engine named {engine!r}; {nearest(engine, ENGINES)}")
    if engine == "flower" and find_spec("ray") is None:  # Flower itself would end the process
        raise SettingError("engine 'flower' needs Ray: pip install 'hawthorn[simulation]'")


def on_engine(engine: str, clients: int, work: Callable[[Grid], Answer]) -> Answer:
    """What `work` returns when given the grid of a fresh federation of `clients` nodes."""
    with _quiet("flwr", "hawthorn"):
        return work(InProcessGrid(app, clients)) if engine == "in-process" else _on_flower(clients, work)


@contextmanager
def _quiet(*names: str) -> Generator[None]:
    """Only errors in these logs: what they say of every round is in the results, and would break up the display."""
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _on_flower(clients: int, work: Callable[[Grid], Answer]) -> Answer:
    from flwr.simulation import run_simulation

    answers: list[Answer] = []
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, _context: Context) -> None:  # pyright: ignore[reportUnusedFunction]  # the decorator uses it
        while len(list(grid.get_node_ids())) < clients:  # Flower starts its server before its nodes
            time.sleep(0.1)
        answers.append(work(grid))

    resources: dict[str, ConfigRecordValues] = {"num_cpus": 1, "num_gpus": 0.0}
    run_simulation(server_app, app, num_supernodes=clients, backend_config={"client_resources": resources})
    return answers[0]
