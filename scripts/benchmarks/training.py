"""`hawthorn benchmark training`: a round of simulated clients, trained and aggregated, beside how others do it.

The unit is the bare training of the same round: forward, backward and step of every client on batches that lie ready,
in the way and on the threads of the fleet. What a round takes beyond it is the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median as middle
from typing import Any

import numpy as np
from flwr.serverapp import Grid
from hawthorn.client.fleet import Fleet, Job
from hawthorn.client.tasks import Examples, Task
from hawthorn.client.tasks.models import dense_image_network
from hawthorn.strategies import Defense
from hawthorn.strategies.errors import SettingError
from hawthorn.strategies.kernels.tasks import cores
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import nn

from .history import stamp
from .rounds import tolerated
from .timing import Work, figures, in_turns
from .training_peers import (
    BATCH,
    TRAINING,
    Bare,
    ConvolutionalNetwork,
    FlowerRound,
    Loop,
    byzfl_round,
    images,
    in_flower,
    shares,
)

PIPELINE = "nnm | trimmed_mean"
BARE, OURS = "bare training", "Hawthorn"
PEERS = {"loop": "PyTorch: plain loop", "byzfl": "ByzFL: its own loop", "flower": "Flower: simulation"}


@dataclass(frozen=True)
class Case:
    """A network, how many clients train it, and the ways beside `auto` that are timed; others train only the first."""

    name: str
    network: Callable[[], nn.Module]
    clients: int
    methods: tuple[str, ...]


CASES = (
    Case("CNN", ConvolutionalNetwork, 20, ("one_by_one", "channels_last", "stacked")),
    Case("MLP", partial(dense_image_network, pixels=784, classes=10, hidden=32), 500, ("one_by_one", "stacked")),
    Case("linear", partial(dense_image_network, pixels=784, classes=10, hidden=0), 500, ("one_by_one", "stacked")),
)


class Round:
    """Rounds of ours: jobs, the fleet, the defense with its default scores and policy, and the model moved on."""

    def __init__(self, task: Task, clients: Sequence[Examples], defense: Defense, method: str) -> None:
        self.fleet = Fleet(task, seed=1, method=method, threads=cores())
        self.clients = clients
        self.names = [str(client) for client in range(len(clients))]
        self.defense = defense
        self.model = self.fleet.initial
        self.rows = np.empty((len(clients), len(self.model)), dtype=np.float32)
        self.state: Any = None
        self.round = 0

    def jobs(self) -> list[Job]:
        """The work of the round."""
        return [Job(own, TRAINING, seed=1000 * self.round + place) for place, own in enumerate(self.clients)]

    def __call__(self) -> None:
        """One round."""
        self.round += 1
        updates, _ = self.fleet.trained(self.model, self.jobs(), out=self.rows)
        outcome = self.defense(updates, clients=self.names, state=self.state)
        self.state = outcome.state
        if outcome.update is not None:
            self.model = self.model + np.asarray(outcome.update)


def measured(
    *,
    clients: Sequence[int] | None = None,
    repeats: int = 7,
    seconds: float = 20.0,
    only: Callable[[str], bool] = lambda _: True,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """For each network, what a round takes in ours and in others' ways, as multiples of the bare training."""
    if clients is not None and len(clients) != 1:
        raise SettingError(f"write --clients as one number for all networks, instead of {','.join(map(str, clients))}")
    names = [OURS, *PEERS.values(), *dict.fromkeys(f"{OURS}: {method}" for case in CASES for method in case.methods)]
    if not any(map(only, names)):
        raise SettingError(f"--only finds none of {', '.join(names)}")
    counts = [clients[0] if clients else case.clients for case in CASES]
    sizes = [
        _size(case, n, case is CASES[0], repeats, seconds, only, tell) for case, n in zip(CASES, counts, strict=True)
    ]
    settings = {"clients": counts, "repeats": repeats, "seconds": seconds, "batch": BATCH}
    return {"subject": "training", **stamp(), "settings": settings, "sizes": sizes}


def _size(
    case: Case,
    n: int,
    beside_others: bool,
    repeats: int,
    seconds: float,
    only: Callable[[str], bool],
    tell: Callable[[str], None],
) -> dict[str, Any]:
    own = shares(images(), n)
    task = Task(case.name, images(), own[0], tuple("0123456789"), case.network)
    f = tolerated(PIPELINE, n, n // 5)
    defense = Defense.parse(PIPELINE, f=f)
    left_out: dict[str, str] = {}

    def turns(grid: Grid | None) -> dict[str, list[float]]:
        works = list(_works(case, task, own, defense, f, beside_others, only, grid, left_out))
        for work in works:
            tell(f"{case.name}: trying {work.name}")
            work.ready()()
        return in_turns(works, repeats, seconds, lambda text: tell(f"{case.name}: {text}"))

    if beside_others and only(PEERS["flower"]):
        try:
            taken = in_flower(n, turns)
        except ImportError:
            left_out[PEERS["flower"]] = "not installed"
            taken = turns(None)
    else:
        taken = turns(None)
    work = {
        name: {"group": name.split(":")[0], "ours": name.startswith(OURS), **figures(spent, taken[BARE])}
        for name, spent in taken.items()
    }
    d = sum(parameter.numel() for parameter in task.model(1).parameters())
    return {"case": case.name, "n": n, "d": d, "f": f, "work": work, **_ratios(taken), "left_out": left_out}


def _works(
    case: Case,
    task: Task,
    own: Sequence[Examples],
    defense: Defense,
    f: int,
    beside_others: bool,
    only: Callable[[str], bool],
    grid: Grid | None,
    left_out: dict[str, str],
) -> Iterator[Work]:
    """What is timed of a case; the bare training always."""
    auto = Round(task, own, defense, "auto")
    auto()  # which chooses its way
    bare = Bare(task, auto.jobs(), auto.fleet.method, auto.fleet.threads)
    yield Work(BARE, BARE, lambda: bare)
    if only(OURS):
        yield Work(OURS, OURS, lambda: auto, ours=True)
    for method in case.methods:
        if only(name := f"{OURS}: {method}"):
            yield Work(name, OURS, partial(_same, Round(task, own, defense, method)), ours=True)
    if not beside_others:
        return
    if only(PEERS["loop"]):
        yield Work(PEERS["loop"], "PyTorch", partial(_same, Loop(task, own, defense)))
    if only(PEERS["byzfl"]):
        try:
            yield Work(PEERS["byzfl"], "ByzFL", partial(_same, byzfl_round(own, f)))
        except ImportError:
            left_out[PEERS["byzfl"]] = "not installed"
    if grid is not None:
        yield Work(PEERS["flower"], "Flower", partial(_same, FlowerRound(grid, task, f)))


def _same(job: Callable[[], object]) -> Callable[[], object]:
    return job


def _ratios(taken: dict[str, list[float]]) -> dict[str, Any]:
    """What the engine adds to the bare training, and how many times as fast a round is as that of each other."""
    if OURS not in taken:
        return {"overhead": None, "faster": {}}

    def ratio(name: str, other: str) -> float:
        return middle(a / b for a, b in zip(taken[name], taken[other], strict=False))

    return {
        "overhead": round(ratio(OURS, BARE) - 1, 4),
        "faster": {name: round(ratio(name, OURS), 4) for name in taken if name in PEERS.values()},
    }


def show(found: dict[str, Any], console: Console) -> None:
    """For each network a table of ways to train a round, and what follows from it."""
    for size in found["sizes"]:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column(f"{size['case']}, n={size['n']}, d={size['d']:,}")
        for heading in ("ms a round", "ms a client", "bare trainings"):
            table.add_column(heading, justify="right")
        for name, work in size["work"].items():
            milliseconds = 1000 * work["median"]
            table.add_row(name, f"{milliseconds:.1f}", f"{milliseconds / size['n']:.2f}", f"{work['reads']:.2f}")
        console.print(table)
        for name, times in size["faster"].items():
            console.print(f"Hawthorn is {times:.1f} times as fast as {name}.")
        if size["overhead"] is not None:
            console.print(f"The engine adds {size['overhead']:+.0%} to the bare training.")
        for name, reason in size["left_out"].items():
            console.print(f"left out: {name}: {reason}", style="dim")
    machine, settings = found["machine"], found["settings"]
    console.print(
        f"One step on {settings['batch']} images for each client, {PIPELINE}, f = n // 5; {machine['cores']} cores of "
        f"{machine['cpu']}. Medians of {settings['repeats']} interleaved turns (fewer where slow) and of the ratios "
        "within each. Flower without its start, and with its trimmed mean alone.",
        style="dim",
    )
