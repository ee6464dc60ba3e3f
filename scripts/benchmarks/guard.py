"""`hawthorn benchmark guard`: how often the guard rolls back rounds in peace, and what it lets through under attack.

Real training of `digits` on an in-process grid. Clients are averaged and nobody is rejected (`mean; policy=none`), so
that all there is between an attack and the model is the guard. It runs with its defaults.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp.strategy import FedAvg
from hawthorn.client.app import app
from hawthorn.client.attacks import Recipe, hostile_clients
from hawthorn.client.provider import holdout, initial_arrays
from hawthorn.server.holdout import HoldoutGuard
from hawthorn.server.settings import Settings
from hawthorn.strategies import Defense, RobustStrategy, SettingError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ..in_process import InProcessGrid
from .history import stamp
from .replies import quiet

CLIENTS, HOSTILE, ROUNDS = 10, 3, 40
SEEDS = (11, 12, 13)
ONCE, ON = "schedule(start=30, until=30)", "schedule(start=25)"
RELABELED = "targeted_flip(source=3, target=8)"


@dataclass(frozen=True)
class Scenario:
    """A federation that is guarded; with an `attack`, three of its ten clients carry it out."""

    name: str
    partition: str = "dirichlet(0.5)"
    fraction: float = 1.0
    attack: str = ""
    guard: str = "holdout"
    reputation: str = "none"

    def settings(self, seed: int) -> Settings:
        """The settings of one run."""
        attacked = {"hostile": HOSTILE, "attack": self.attack} if self.attack else {}
        written = {"partition": self.partition, "fraction-train": self.fraction, "seed": seed, "rounds": ROUNDS}
        return Settings.parse({"clients": CLIENTS, "defense": "mean; policy=none", **written, **attacked})


PEACE = tuple(
    Scenario(
        f"peace, {partition}, {round(fraction * CLIENTS)} of {CLIENTS} clients{end}", partition, fraction, "", guard
    )
    for guard, end in (("holdout", ""), ("clients", ", clients' reports"))
    for partition in ("iid", "dirichlet(0.5)", "dirichlet(0.1)")
    for fraction in (1.0, 0.3)
)
ATTACKS = (
    Scenario("model replacement, once", attack=f"label_flip + model_replacement + {ONCE}"),
    Scenario("model replacement", attack=f"label_flip + model_replacement + {ON}"),
    Scenario(
        "model replacement; reputation=sequential",
        attack=f"label_flip + model_replacement + {ON}",
        reputation="sequential",
    ),
    Scenario("model replacement; clients' reports", attack=f"label_flip + model_replacement + {ON}", guard="clients"),
    Scenario("sign flip of ten times the length", attack=f"sign_flip(scale=10) + {ON}"),
    Scenario("noise", attack=f"gaussian + {ON}"),
    Scenario("all labels flipped", attack=f"label_flip + {ON}"),
    Scenario("one class relabeled, boosted", "iid", attack=f"{RELABELED} + model_replacement + {ON}"),
    Scenario("one class relabeled", "iid", attack=f"{RELABELED} + {ON}"),
    Scenario("sponge, boosted", attack=f"sponge(strength=2) + model_replacement + {ON}"),
    Scenario("sponge", attack=f"sponge(strength=5) + {ON}"),
)


def run(scenario: Scenario, seed: int, *, guarded: bool = True) -> dict[str, Any]:
    """One run: which rounds were rolled back and why, and what the model was worth after each."""
    settings = scenario.settings(seed)
    config = settings.run_config()
    evaluate = holdout(config)
    metrics: dict[int, MetricRecord] = {}

    def evaluation(number: int, arrays: ArrayRecord) -> MetricRecord:
        """What the guard asks for, too: the last that is asked of a round is of the model that stays."""
        metrics[number] = evaluate(number, arrays)
        return metrics[number]

    rolled_back: dict[int, str] = {}
    inner = FedAvg(
        fraction_train=scenario.fraction,
        fraction_evaluate=1.0 if scenario.guard == "clients" else 0.0,
        min_train_nodes=1,
        min_evaluate_nodes=1,
        min_available_nodes=1,
    )
    strategy = RobustStrategy(
        inner,
        Defense.parse(f"mean; policy=none; reputation={scenario.reputation}", f=0.3),
        guard=HoldoutGuard.parse(scenario.guard, evaluation) if guarded else None,
        observers=[lambda one: rolled_back.update({one.round: one.rolled_back} if one.rolled_back else {})],
    )
    grid = InProcessGrid(app, CLIENTS, config)
    nodes = grid.get_node_ids()
    random.seed(seed)
    strategy.start(
        grid=grid,
        initial_arrays=initial_arrays(config),
        num_rounds=ROUNDS,
        evaluate_fn=evaluation,
    )
    active = Recipe.parse(scenario.attack).active if scenario.attack else None
    last = metrics[max(metrics)]
    assert strategy.last_round is not None
    quarantined = {nodes.index(node) for node in strategy.last_round.quarantined}
    hostile = hostile_clients(CLIENTS, HOSTILE, seed) if scenario.attack else frozenset[int]()
    return {
        "seed": seed,
        "rolled_back": rolled_back,
        "quarantined": {"hostile": len(quarantined & hostile), "honest": len(quarantined - hostile)},
        "attacked": [number for number in range(1, ROUNDS + 1) if active is not None and active(number)],
        "accuracy": last["accuracy"],
        "worst_class_recall": last["worst-class-recall"],
        "activation_density": last["activation-density"],
    }


def measured(*, only: Callable[[str], bool] | None = None, tell: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Every scenario's runs, a seed each; those with an attack are run without the guard, too."""
    chosen = [one for one in (*PEACE, *ATTACKS) if only is None or only(one.name)]
    if not chosen:
        raise SettingError(f"--only finds none of {[one.name for one in (*PEACE, *ATTACKS)]}")
    found: dict[str, Any] = {}
    with quiet():
        for scenario in chosen:
            for seed in SEEDS:
                if tell is not None:
                    tell(f"{scenario.name}, seed {seed}")
                runs = found.setdefault(scenario.name, {"guarded": [], "unguarded": []})
                runs["guarded"].append(run(scenario, seed))
                if scenario.attack:
                    runs["unguarded"].append(run(scenario, seed, guarded=False))
    settings = {"rounds": ROUNDS, "seeds": list(SEEDS)}
    return {"subject": "guard", **stamp(), "settings": settings, "scenarios": found}


def show(figures: Mapping[str, Any], console: Console) -> None:
    """Print how many rounds were rolled back in peace, and what the guard makes of each attack."""
    peace = Table("in peace", "rounds", "rolled back", box=SIMPLE_HEAD, pad_edge=False)
    attacks = Table(
        "under attack", "attacked rounds\nrolled back", "other rounds\nrolled back", "accuracy", "worst class",
        "density", "quarantined", box=SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    for name, runs in figures["scenarios"].items():
        guarded: list[dict[str, Any]] = runs["guarded"]
        hostile = [set(one["attacked"]) for one in guarded]
        gone = [set(map(int, one["rolled_back"])) for one in guarded]
        if not any(hostile):
            peace.add_row(name, str(ROUNDS * len(guarded)), str(sum(map(len, gone))))
            continue
        caught = sum(len(one & bad) for one, bad in zip(gone, hostile, strict=True))
        wrong = sum(len(one - bad) for one, bad in zip(gone, hostile, strict=True))
        ends = [_ends(runs, key) for key in ("accuracy", "worst_class_recall", "activation_density")]
        held = [sum(one["quarantined"][who] for one in guarded) for who in ("hostile", "honest")]
        ends.append(f"{held[0]} hostile, {held[1]} honest" if any(held) else "-")
        attacks.add_row(name, f"{caught}/{sum(map(len, hostile))}", str(wrong), *ends)
    if peace.rows:
        console.print(peace)
    if attacks.rows:
        console.print(attacks)
        console.print("After the last round with the guard, and in brackets without it; means over the seeds.")


def _ends(runs: Mapping[str, Any], key: str) -> str:
    guarded, unguarded = (np.mean([one[key] for one in runs[part]]) for part in ("guarded", "unguarded"))
    return f"{guarded:.2f} ({unguarded:.2f})"
