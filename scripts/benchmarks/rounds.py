"""`hawthorn benchmark rounds`: the whole server side of a round, from n real Flower replies to the new model.

The replies are made once and are the same for all; making them is never timed. Of a strategy of ours the second and
later rounds are timed, as the buffer of the first is kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median as middle
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import Bulyan, FedAvg, FedMedian, FedTrimmedAvg, Krum, MultiKrum, Strategy
from hawthorn.strategies import Defense, RobustStrategy
from hawthorn.strategies.contract import RULES
from hawthorn.strategies.errors import HawthornError, SettingError
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ..in_process import InProcessGrid
from .history import stamp
from .replies import quiet
from .timing import Job, Reader, Work, figures, in_turns, peak_memory

CLIENTS = (50,)
VALUES = (100_000_000,)  # 50 clients of 2,000,000 parameters: 400 MB of float32
FEWEST_PARAMETERS = 1000
DEFENSES = ("median", "trimmed_mean", "krum", "multi_krum", "bulyan", "geometric_median", "arc | nnm | trimmed_mean")

OURS = "Hawthorn: "

STOCK: dict[str, Callable[[int, int], Strategy]] = {
    "FedAvg": lambda n, f: FedAvg(fraction_evaluate=0),
    "FedMedian": lambda n, f: FedMedian(fraction_evaluate=0),
    "FedTrimmedAvg": lambda n, f: FedTrimmedAvg(fraction_evaluate=0, beta=f / n),
    "Krum": lambda n, f: Krum(fraction_evaluate=0, num_malicious_nodes=f),
    "MultiKrum": lambda n, f: MultiKrum(fraction_evaluate=0, num_malicious_nodes=f, num_nodes_to_select=n - f - 2),
    "Bulyan": lambda n, f: Bulyan(fraction_evaluate=0, num_malicious_nodes=min(f, (n - 3) // 4)),
}


def layout(d: int) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a model's arrays, d parameters in all: layers of halving size, with biases, and a head.

    >>> shapes = layout(1000)
    >>> len(shapes), sum(math.prod(shape) for shape in shapes.values())
    (13, 1000)
    """
    shapes: dict[str, tuple[int, ...]] = {}
    left = d
    for layer in range(6):
        bias = max(1, min(512, math.isqrt(left // 2) // 2))
        columns = left // 2 // bias
        shapes[f"layer{layer}.weight"] = (bias, columns - 1)
        shapes[f"layer{layer}.bias"] = (bias,)
        left -= bias * columns
    return shapes | {"head": (left,)}


class Clients(InProcessGrid):
    """Flower clients whose replies are at hand, `records` made beforehand; every call makes new messages around them.

    Strategies may empty the records they get, so each gets its own; the numbers themselves are shared.
    """

    def __init__(self, model: ArrayRecord, records: Sequence[ArrayRecord]) -> None:
        super().__init__(self._answer, len(records))
        self.model = model
        self.records = records

    @classmethod
    def of(cls, rows: NDArray[np.float32]) -> Clients:
        """The clients whose updates of a model of one array are the rows `(n, d)`."""
        model = ArrayRecord({"all": Array(np.zeros(int(rows.shape[1]), np.float32))})
        updates = cast("list[NDArray[np.float32]]", list(rows))
        return cls(model, [ArrayRecord({"all": Array(row)}) for row in updates])

    def _answer(self, message: Message, context: Context) -> Message:
        arrays = ArrayRecord(dict(self.records[int(context.node_config["partition-id"])]))
        return _reply(message, arrays)

    def replies(self, strategy: Strategy) -> list[Message]:
        """The replies to what the strategy asks in a first round."""
        return self.send_and_receive(list(strategy.configure_train(1, self.model, ConfigRecord(), self)))

    def job(self, strategy: Strategy) -> Job:
        """A round of the strategy over replies that are made now."""
        replies = self.replies(strategy)
        return lambda: aggregated(strategy, replies)


class LateClients(InProcessGrid):
    """Flower clients that make each reply when it is pulled, so that nobody holds one but who pulled it."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(self._answer, fleet.n)
        self.fleet = fleet
        self.asked: dict[str, Message] = {}

    def _answer(self, message: Message, context: Context) -> Message:
        return _reply(message, self.fleet.record(int(context.node_config["partition-id"])))

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """The ids of the messages, none of them answered yet."""
        sent = list(messages)
        for message in sent:
            message.metadata.__dict__["_message_id"] = self._new_id()
        ids = [message.metadata.message_id for message in sent]
        self.asked |= dict(zip(ids, sent, strict=True))
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies to those messages, made now."""
        return [self._reply(self.asked.pop(name)) for name in message_ids if name in self.asked]


class Fleet:
    """n clients of a model of d parameters, whose updates are windows of one stretch of noise: cheap to make anew."""

    def __init__(self, n: int, d: int) -> None:
        if d < FEWEST_PARAMETERS:
            raise SettingError(f"rounds need {FEWEST_PARAMETERS} values for each client, got {d}")
        rng = np.random.default_rng(n)
        self.n, self.d = n, d
        self.noise = 0.01 * rng.standard_normal(d + 101 * n, dtype=np.float32)
        self.arrays = {name: 0.05 * rng.standard_normal(shape, np.float32) for name, shape in layout(d).items()}
        self.model = ArrayRecord({name: Array(array) for name, array in self.arrays.items()})

    def record(self, client: int) -> ArrayRecord:
        """The arrays that a client returns."""
        start = 101 * client
        arrays: dict[str, Array] = {}
        for name, array in self.arrays.items():
            update = self.noise[start : start + array.size].reshape(array.shape)
            arrays[name] = Array(array + update)
            start += array.size
        return ArrayRecord(arrays)

    def clients(self) -> Clients:
        """The clients with all their replies made."""
        return Clients(self.model, [self.record(client) for client in range(self.n)])


def _reply(message: Message, arrays: ArrayRecord) -> Message:
    metrics = MetricRecord({"loss": 0.5, "num-examples": 100})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


def aggregated(strategy: Strategy, replies: Iterable[Message]) -> ArrayRecord:
    """The new model; raises `SettingError` where there is none, as the time of a skipped round would be a lie."""
    arrays, _ = strategy.aggregate_train(1, replies)
    _check_not_skipped(strategy)
    if arrays is None:
        raise SettingError("the strategy answered no model")
    return arrays


def _check_not_skipped(strategy: Strategy) -> None:
    if isinstance(strategy, RobustStrategy) and strategy.last_round and strategy.last_round.skipped:
        raise SettingError(f"the round was skipped: {strategy.last_round.skipped}")


class Round:
    """Rounds of one strategy; `last` holds for each the seconds from the last reply to the new model."""

    def __init__(self, name: str, strategy: Strategy) -> None:
        self.name = name
        self.strategy = strategy
        self.last: list[float] = []

    def job(self, clients: Clients) -> Job:
        """A round over replies that are made now and handed out one by one."""
        if isinstance(self.strategy, RobustStrategy):
            self.strategy.state = None  # every round is to be the same
        replies = clients.replies(self.strategy)[::-1]
        handed = 0.0

        def handed_out() -> Iterator[Message]:
            nonlocal handed
            while replies:
                reply = replies.pop()
                handed = time.perf_counter()
                yield reply
                del reply

        def run() -> None:
            aggregated(self.strategy, handed_out())
            self.last.append(time.perf_counter() - handed)

        return run


def tolerated(text: str, n: int, f: int) -> int:
    """The largest count up to f that a pipeline tolerates among n clients even when it has rejected as many.

    >>> tolerated("krum", 50, 10), tolerated("krum", 5, 1)
    (10, 0)
    """
    least = RULES[text.split(" | ")[-1]].least
    return max((g for g in range(f + 1) if least(g) <= n - g), default=f)


def strategies(n: int, f: int) -> dict[str, Callable[[], Strategy]]:
    """How to make each strategy, by name: Flower's own, and ours around FedAvg with several rules."""
    found: dict[str, Callable[[], Strategy]] = {name: lambda make=make: make(n, f) for name, make in STOCK.items()}
    for text in DEFENSES:
        if text.split(" | ")[-1] in RULES:
            defense = Defense.parse(text, f=tolerated(text, n, f))
            found[OURS + text] = lambda defense=defense: RobustStrategy(FedAvg(fraction_evaluate=0), defense)
    return found


def measured(
    *,
    clients: Sequence[int] = CLIENTS,
    values: Sequence[int] = VALUES,
    repeats: int = 7,
    seconds: float = 5.0,
    only: Callable[[str], bool] = lambda _: True,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """For each number of clients and values, what a round takes of every strategy, in time and memory."""
    settings = {"clients": list(clients), "values": list(values), "repeats": repeats, "seconds": seconds}
    with quiet():
        sizes = [_size(n, count // n, repeats, seconds, only, tell) for count in values for n in clients]
    return {"subject": "rounds", **stamp(), "settings": settings, "sizes": sizes}


def _size(
    n: int, d: int, repeats: int, seconds: float, only: Callable[[str], bool], tell: Callable[[str], None]
) -> dict[str, Any]:
    f = n // 5
    fleet = Fleet(n, d)
    made = {name: make for name, make in strategies(n, f).items() if name == "FedAvg" or only(name)}
    if not any(map(only, made)):
        raise SettingError(f"--only finds none of {', '.join(strategies(n, f))}")
    tell("making replies")
    timed, left_out = _timed(fleet, {name: make() for name, make in made.items()}, repeats, seconds, tell)
    size = 4 * n * d
    work: dict[str, dict[str, Any]] = {}
    for name, found in timed.items():
        if name != "read once":
            tell(f"peak memory: {name}")
            handed = peak_memory(_handed(fleet, made[name]()))
            streamed = peak_memory(_streamed(fleet, made[name]()))
            found["memory"] = None if handed is None else round(handed / size, 4)
            found["streamed"] = None if streamed is None else round(streamed / size, 4)
            found["of_fedavg"] = round(found["best"] / timed["FedAvg"]["best"], 4)
        work[name] = found
    return {"n": n, "d": d, "f": f, "bytes": size, "work": work, "left_out": left_out}


def _timed(
    fleet: Fleet, made: dict[str, Strategy], repeats: int, seconds: float, tell: Callable[[str], None]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    clients = fleet.clients()
    reader = Reader(np.random.default_rng(0).standard_normal((fleet.n, fleet.d), dtype=np.float32))
    reader()
    works = [Work("read once", "memory", lambda: reader)]
    rounds: dict[str, Round] = {}
    left_out: dict[str, str] = {}
    for name, strategy in made.items():
        tell(f"first round: {name}")
        found = Round(name, strategy)
        try:
            found.job(clients)()
        except HawthornError as error:
            left_out[name] = str(error)
            continue
        found.last.clear()
        rounds[name] = found
        ours = isinstance(strategy, RobustStrategy)
        works.append(Work(name, "Hawthorn" if ours else "Flower", lambda found=found: found.job(clients), ours))
    taken = in_turns(works, repeats, seconds, tell)
    once = taken["read once"]
    timed = {w.name: {"group": w.group, "ours": w.ours, **figures(taken[w.name], once)} for w in works}
    for name, found in rounds.items():
        shares = [last / whole for last, whole in zip(found.last, taken[name], strict=True)]
        timed[name] |= {"last_reply": middle(found.last), "last_reply_share": round(middle(shares), 4)}
    return timed, left_out


def _handed(fleet: Fleet, strategy: Strategy) -> Job:
    """A round whose replies are in memory before it starts, and belong to nobody else, as in Flower's own loop."""
    clients = fleet.clients()
    replies = clients.replies(strategy)
    clients.records = ()
    return lambda: aggregated(strategy, replies)


def _streamed(fleet: Fleet, strategy: Strategy) -> Job:
    """Two rounds through the strategy's own `start`, each reply made when it is pulled: what a server holds in all."""

    def run() -> None:
        strategy.start(LateClients(fleet), fleet.model, num_rounds=2)
        _check_not_skipped(strategy)

    return run


def show(found: dict[str, Any], console: Console) -> None:
    """A table for each size."""
    for size in found["sizes"]:
        read = size["work"]["read once"]["best"]
        console.print(
            f"{size['n']} Flower replies of {size['d']:,} parameters ({size['bytes'] / 1e6:g} MB), f = {size['f']}; "
            f"one read of them takes {read * 1000:.1f} ms"
        )
        heads = ("seconds", "reads", "x FedAvg", "last", "memory", "stream")
        table = Table("", *heads, box=SIMPLE_HEAD, pad_edge=False)
        table.columns[0].no_wrap = True
        for column in table.columns[1:]:
            column.justify = "right"
        last = ""
        for name, work in size["work"].items():
            if name == "read once":
                continue
            if work["group"] != last:
                table.add_section()
                table.add_row("RobustStrategy(FedAvg())" if work["ours"] else "Flower's own", style="dim")
            last = work["group"]
            table.add_row(
                name.removeprefix(OURS),
                f"{work['best']:.3f}",
                f"{work['reads']:.1f}",
                f"{work['of_fedavg']:.2f}",
                f"{work['last_reply_share']:.0%}",
                _multiple(work["memory"]),
                _multiple(work["streamed"]),
            )
        console.print(table)
        for name, reason in size["left_out"].items():
            console.print(f"left out: {name}: {reason}", style="dim")
    console.print(
        f"Best of {found['settings']['repeats']} turns (fewer where slow). last: share of the time from the last reply "
        "to the new model. memory: peak beside replies that lie in memory; stream: peak in all in two rounds "
        "of `start`; both as multiples of the updates.",
        style="dim",
    )


def _multiple(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"
