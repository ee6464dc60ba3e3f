"""`hawthorn benchmark rewind`: a backdoor found after many rounds, and what takes it out of the model.

One of the clients plants a backdoor from the first round on, and the rule lets it. At the end the model is rebuilt
without that client, by replay and by fit, from updates as they came, in half precision, and of the last rounds alone;
beside it: training on without the client, and training from the beginning.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from flwr.app import ArrayRecord, MetricRecord
from hawthorn.client.app import app
from hawthorn.client.attacks import hostile_clients
from hawthorn.server.app import holdout
from hawthorn.server.audit import Audit, RunAudit
from hawthorn.server.inner import inner_strategy
from hawthorn.server.rewinding import named, plan, rebuilt
from hawthorn.server.settings import Settings, function_named
from hawthorn.strategies import RobustStrategy
from hawthorn.strategies.flower import Commit, Order
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ..in_process import InProcessGrid
from ..recovery import recovered
from .history import stamp
from .replies import quiet

SEEDS = (1, 2, 3)
RECOVERY = 5  # rounds
LAST = 20  # rounds whose updates are kept where not all are
SCRATCH = (1, 2, 3, 5, 10, 20, 30, 40)  # rounds of training from the beginning that are looked at
SETTINGS: Mapping[str, Any] = {
    "task": "mnist(network='mlp', train=10000)",
    "attack": "backdoor(target=0)",
    "hostile": 1,
    "tolerated": "1",
    "defense": "mean; policy=none",
    "rounds": 50,
    "local-steps": 10,
    "fraction-evaluate": 0.0,
}

Tell = Callable[[str], None]
Figures = dict[str, float]


class Several:
    """A ledger that commits to several: one training is kept in several ways."""

    def __init__(self, ledgers: Sequence[RunAudit]) -> None:
        self.ledgers = ledgers

    def last(self) -> Commit | None:
        """Nothing to go on from."""
        return None

    def commit(self, commit: Commit) -> None:
        """Commit to each."""
        for ledger in self.ledgers:
            ledger.commit(commit)

    def orders(self) -> Sequence[Order]:
        """Nobody orders anything."""
        return ()

    def after(self, round: int, run: int | None = None) -> Commit:
        """The commit after a round."""
        return self.ledgers[0].after(round, run)

    def standing(self, status: Literal["running", "paused"]) -> None:
        """Nobody watches."""


def measured(*, tell: Tell = lambda _: None) -> dict[str, Any]:
    """For each seed, what the ways of taking a backdoor out of a model lead to."""
    with quiet():
        seeds = [_seed(Settings.parse({**SETTINGS, "seed": seed}), tell) for seed in SEEDS]
    settings = {**SETTINGS, "seeds": list(SEEDS), "recovery": RECOVERY, "last": LAST}
    return {"subject": "rewind", **stamp(), "settings": settings, "seeds": seeds}


def _seed(settings: Settings, tell: Tell) -> dict[str, Any]:
    attacker = str(101 + min(hostile_clients(settings.clients, settings.hostile, settings.seed)))
    evaluate = holdout(settings)
    assert evaluate is not None
    with tempfile.TemporaryDirectory() as folder, Audit.open(Path(folder) / "audit.db") as audit:
        runs, seconds = _poisoned(settings, audit, folder, tell)
        ways: dict[str, Any] = {}
        for way, (run, method, first) in {
            "replay": (runs["all"], "replay", None),
            "fit": (runs["all"], "fit", None),
            "replay, half precision": (runs["half"], "replay", None),
            "fit, half precision": (runs["half"], "fit", None),
            f"fit, last {LAST} rounds": (runs["last"], "fit", settings.rounds - LAST + 1),
        }.items():
            tell(f"seed {settings.seed}: {way}")
            recovery = 0 if run == runs["half"] else RECOVERY
            ways[way] = _rewound(audit, run, folder, attacker, method, first, recovery, evaluate)
        sizes = {
            name: sum(path.stat().st_size for path in Path(audit.find_run(run).place or "").glob("updates-*"))
            for name, run in runs.items()
        }
        before = ways["fit"].pop("before")
        tell(f"seed {settings.seed}: training on")
        on = _trained(settings, evaluate, RECOVERY, attacker, audit.commit_after(runs["all"], settings.rounds).arrays)
    tell(f"seed {settings.seed}: training from the beginning")
    started = time.perf_counter()
    scratch = _trained(settings, evaluate, settings.rounds, attacker)
    return {
        "seed": settings.seed,
        "before": before,
        "ways": {name: {key: one for key, one in way.items() if key != "before"} for name, way in ways.items()},
        "trained_on": on[RECOVERY],
        "scratch": {str(round): scratch[round] for round in (*SCRATCH, settings.rounds)},
        "seconds": {"rounds": seconds, "scratch": time.perf_counter() - started},
        "bytes": sizes,
    }


def _poisoned(settings: Settings, audit: Audit, folder: str, tell: Tell) -> tuple[dict[str, int], float]:
    """The runs of one training, by the way in which their updates are kept, and the seconds that it took."""
    tell(f"seed {settings.seed}: the poisoned training")
    told = settings.run_config()
    ledgers = {
        "all": audit.run(told, name="all", checkpoints=folder, updates="all"),
        "half": audit.run(told, name="half", checkpoints=folder, updates="all", half=True),
        "last": audit.run(told, name="last", checkpoints=folder, updates=LAST),
    }
    started = time.perf_counter()
    _start(settings, _strategy(settings, Several(list(ledgers.values()))), settings.rounds, None)
    seconds = time.perf_counter() - started
    for ledger in ledgers.values():
        with ledger:
            pass
    return {name: ledger.id for name, ledger in ledgers.items()}, seconds


def _rewound(
    audit: Audit, run: int, folder: str, attacker: str, method: str, first: int | None, recovery: int, evaluate: Any
) -> dict[str, Any]:
    planned = plan(audit, audit.find_run(run), [attacker], first=first)
    name, told = named(planned, {})
    with audit.run(told, name=name, checkpoints=folder, newest=recovery + 2) as ledger:
        found = rebuilt(planned, audit, ledger, method=method, evaluate=evaluate, every=planned.last)
        metrics, seconds = recovered(audit, planned, ledger, found.commit.round, recovery, evaluate)
    return {
        "before": _figures(found.before),
        "after": _figures(found.after),
        "recovered": [_figures(one) for one in metrics],
        "seconds": found.seconds,
        "recovery_seconds": seconds,
        "cosine": found.cosine,
    }


def _trained(
    settings: Settings, evaluate: Any, rounds: int, attacker: str, arrays: ArrayRecord | None = None
) -> dict[int, Figures]:
    """Figures after some of so many rounds without the attacker, from a model, or from the beginning."""
    found: dict[int, Figures] = {}

    def watch(round: int, arrays: ArrayRecord) -> MetricRecord | None:
        if round in (*SCRATCH, rounds):
            found[round] = _figures(evaluate(round, arrays))
        return None

    strategy = _strategy(settings, None)
    strategy.held = {attacker: None}
    _start(settings, strategy, rounds, watch, arrays)
    return found


def _strategy(settings: Settings, ledger: Any) -> RobustStrategy:
    inner = inner_strategy(
        settings.inner, fraction_evaluate=0.0, min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1
    )
    return RobustStrategy(inner, settings.recipe, ledger=ledger)


def _start(
    settings: Settings, strategy: RobustStrategy, rounds: int, evaluate: Any, arrays: ArrayRecord | None = None
) -> None:
    random.seed(settings.seed)  # Flower samples with the global generator
    told = replace(settings, rounds=rounds).run_config()
    first: ArrayRecord = function_named("model", settings.model)(told) if arrays is None else arrays
    strategy.start(InProcessGrid(app, settings.clients, told), first, num_rounds=rounds, evaluate_fn=evaluate)


def _figures(metrics: Mapping[str, Any]) -> Figures:
    return {name: float(metrics[name]) for name in ("accuracy", "attack-success")}


def show(found: dict[str, Any], console: Console) -> None:
    """A table of means over the seeds."""
    settings, seeds = found["settings"], found["seeds"]
    console.print(
        f"{settings['task']}, {settings['defense']}, {settings['attack']} from the first of {settings['rounds']} "
        f"rounds; means over seeds {', '.join(map(str, settings['seeds']))}, the worst of them in brackets"
    )
    table = Table("", "accuracy", "attack success", "seconds", box=SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"

    def add(name: str, figures: Sequence[Figures], seconds: Sequence[float]) -> None:
        accuracy, success = ([one[key] for one in figures] for key in ("accuracy", "attack-success"))
        table.add_row(
            name,
            f"{mean(accuracy):.1%} ({min(accuracy):.1%})",
            f"{mean(success):.1%} ({max(success):.1%})",
            f"{mean(seconds):.1f}" if seconds else "",
        )

    add("the poisoned model", [seed["before"] for seed in seeds], [seed["seconds"]["rounds"] for seed in seeds])
    add(f"trained on, {RECOVERY} rounds", [seed["trained_on"] for seed in seeds], [])
    for name in seeds[0]["ways"]:
        ways = [seed["ways"][name] for seed in seeds]
        seconds = [way["seconds"] for way in ways]
        table.add_section()
        add(name, [way["after"] for way in ways], seconds)
        for rounds in (1, 3, RECOVERY) if ways[0]["recovered"] else ():
            share = [way["seconds"] + way["recovery_seconds"] * rounds / RECOVERY for way in ways]
            add(f"  and {rounds} recovery rounds", [way["recovered"][rounds - 1] for way in ways], share)
    table.add_section()
    for round in seeds[0]["scratch"]:
        part = int(round) / settings["rounds"]
        seconds = [seed["seconds"]["scratch"] * part for seed in seeds]
        add(f"from the beginning, {round} rounds", [seed["scratch"][round] for seed in seeds], seconds)
    console.print(table)
    for name, size in seeds[0]["bytes"].items():
        console.print(f"updates kept ({name}): {size / 1e6:.1f} MB", style="dim")
