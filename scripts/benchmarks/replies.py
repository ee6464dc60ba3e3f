"""Every kind of bad reply before every strategy: what is left of the run, and of the model."""

from __future__ import annotations

import contextlib
import gc
import logging
import re
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import Bulyan, FedAvg, FedMedian, FedTrimmedAvg, Krum, MultiKrum, Strategy
from hawthorn.client.attacks.malformed import MALFORMED, Malformed
from hawthorn.strategies import Defense, RobustStrategy
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ..in_process import InProcessGrid

CLIENTS = 10
SURVIVED = "ok"

STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "FedAvg": FedAvg,
    "FedMedian": FedMedian,
    "FedTrimmedAvg": lambda: FedTrimmedAvg(beta=0.2),
    "Krum": lambda: Krum(num_malicious_nodes=2),
    "MultiKrum": lambda: MultiKrum(num_malicious_nodes=2, num_nodes_to_select=6),
    "Bulyan": lambda: Bulyan(num_malicious_nodes=1),
    "RobustStrategy": lambda: RobustStrategy(FedAvg(), Defense(f=0.2)),
}

Vector = NDArray[np.float64]


def sent_model() -> ArrayRecord:
    """The small model that is sent: 35 float32 parameters in two arrays."""
    rng = np.random.default_rng(0)
    return ArrayRecord([rng.normal(size=(6, 5)).astype(np.float32), np.zeros(5, np.float32)])


def honest_reply(message: Message, context: Context) -> Message:
    """The reply of an honest client: the model moved by a common step and a noise of its own."""
    rng = np.random.default_rng(int(context.node_config["partition-id"]))
    arrays = message.content.array_records["arrays"].to_numpy_ndarrays()
    moved = [array + np.float32(0.5) + rng.normal(0, 0.1, array.shape).astype(np.float32) for array in arrays]
    metrics = MetricRecord({"loss": 0.5 + rng.normal(0, 0.01), "num-examples": 100})
    return Message(RecordDict({"arrays": ArrayRecord(moved), "metrics": metrics}), reply_to=message)


@dataclass(frozen=True)
class Round:
    """A round in memory: the honest replies in order of their nodes, and what one of them was replaced by."""

    strategy: Strategy
    honest: list[Message]
    replies: list[Message]

    @classmethod
    def of(cls, strategy: Strategy, bad: Malformed | None = None, *, model: ArrayRecord | None = None) -> Round:
        """A round not yet aggregated; with `bad`, the first reply is made into that: who is hostile can hurry."""
        grid = InProcessGrid(honest_reply, CLIENTS)
        asked = strategy.configure_train(1, model or sent_model(), ConfigRecord(), grid)
        honest = sorted(grid.send_and_receive(asked), key=lambda reply: reply.metadata.src_node_id)
        return cls(strategy, honest, [*(bad(honest[0]) if bad else honest[:1]), *honest[1:]])

    def aggregate(self) -> ArrayRecord | None:
        """The model the strategy makes of the replies."""
        arrays, _ = self.strategy.aggregate_train(1, self.replies)
        return arrays


@dataclass(frozen=True)
class Trial:
    """A strategy on trial: how to make it, the model it makes of honest replies, and those replies `(n, d)`."""

    make: Callable[[], Strategy]
    usual: ArrayRecord | None
    rows: Vector

    @classmethod
    def of(cls, make: Callable[[], Strategy]) -> Trial:
        """The trial of the strategy that `make` makes."""
        rows = np.array([vector(reply.content.array_records["arrays"]) for reply in Round.of(make()).honest])
        return cls(make, Round.of(make()).aggregate(), rows)

    def survival(self, bad: Malformed) -> str:
        """What a bad reply does to the run: `"ok"`, or the worst that happened, in two words."""
        try:
            found = Round.of(self.make(), bad).aggregate()
        except Exception:  # whatever it is, Flower's own loop would end with it
            return "run ends"
        return SURVIVED if found is None else self._damage(found)  # without a result the model stays

    def _damage(self, found: ArrayRecord) -> str:
        sent = {name: array.numpy() for name, array in sent_model().items()}
        arrays = {name: array.numpy() for name, array in found.items()}
        if arrays.keys() != sent.keys() or any(arrays[name].shape != sent[name].shape for name in sent):
            return "shape changed"
        if any(arrays[name].dtype.kind != "f" for name in sent):
            return "dtype changed"
        if not all(np.isfinite(array).all() for array in arrays.values()):
            return "NaN model"
        center, own = self.rows[1:].mean(axis=0), self.rows[0]
        radius = np.linalg.norm(self.rows - center, axis=1).max()
        if np.linalg.norm(vector(found) - center) > 2 * radius:
            return "model ruined"
        if self.usual is not None and _near(vector(found), own, radius) and not _near(vector(self.usual), own, radius):
            return "one rules"
        if any(arrays[name].dtype != sent[name].dtype for name in sent):
            return "dtype changed"
        return SURVIVED


def _near(model: Vector, own: Vector, radius: float) -> bool:
    return bool(np.linalg.norm(model - own) < 0.01 * radius)


def vector(arrays: Mapping[str, Any]) -> Vector:
    """All numbers of a model `(d,)`, by the names of its arrays."""
    return np.concatenate([arrays[name].numpy().ravel().astype(np.float64) for name in sorted(arrays)])


def measured(
    kinds: Mapping[str, Malformed] = MALFORMED, strategies: Mapping[str, Callable[[], Strategy]] = STRATEGIES
) -> dict[str, Any]:
    """For every kind of bad reply its family, and what it does to each strategy."""
    with quiet():
        trials = {name: Trial.of(make) for name, make in strategies.items()}
        survivals = {kind: {name: trial.survival(bad) for name, trial in trials.items()} for kind, bad in kinds.items()}
    return {
        "kinds": {kind: {"family": kinds[kind].family, "survival": found} for kind, found in survivals.items()},
        "survived": {name: sum(found[name] == SURVIVED for found in survivals.values()) for name in strategies},
        "total": len(survivals),
    }


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """A time without logs and warnings: strategies compute with what they should have refused."""
    loggers = [logging.getLogger(name) for name in ("flwr", "hawthorn")]
    levels = [logger.level for logger in loggers]
    gc.freeze()  # Bulyan collects garbage once per reply, over all that was ever imported
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        gc.unfreeze()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def show(found: dict[str, Any], console: Console) -> None:
    """Print the families and how many of their kinds each strategy survives, then how the others end."""
    survived: dict[str, int] = found["survived"]
    kinds: dict[str, dict[str, Any]] = found["kinds"]
    headings = [re.sub("(?<=[a-z])(?=[A-Z])", "\n", name) for name in survived]
    table = Table("bad replies", *headings, box=SIMPLE_HEAD, pad_edge=False)
    families: dict[str, list[dict[str, str]]] = {}
    for kind in kinds.values():
        families.setdefault(kind["family"], []).append(kind["survival"])
    for family, rows in families.items():
        table.add_row(family, *(_share(sum(row[name] == SURVIVED for row in rows), len(rows)) for name in survived))
    table.add_row("all", *(_share(count, len(kinds)) for count in survived.values()))
    table.add_section()
    ends = {name: Counter(kind["survival"][name] for kind in kinds.values()) for name in survived}
    for end in sorted({end for counter in ends.values() for end in counter} - {SURVIVED}):
        table.add_row(end, *(_colored(str(ends[name][end]), good=not ends[name][end]) for name in survived))
    console.print(table)
    robust = survived["RobustStrategy"]
    others = {name: count for name, count in survived.items() if name != "RobustStrategy"}
    stock = max(others, key=lambda name: others[name])
    console.print(f"RobustStrategy survives {robust} of {len(kinds)} kinds of bad reply, {stock} {others[stock]}.")


def _share(count: int, total: int) -> str:
    return _colored(f"{count}/{total}", good=count == total)


def _colored(text: str, *, good: bool) -> str:
    return f"[green]{text}[/]" if good else f"[red]{text}[/]"
