"""One federation, four runs from the same seed: clean, attacked, attacked and defended, without its attackers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy
from hawthorn.client.assignment import parts, stream
from hawthorn.client.attacks import Knowledge, Recipe, hostile_clients, wanted
from hawthorn.client.forest import refuse_other_attacks
from hawthorn.client.metrics import judged, predictions
from hawthorn.client.provider import holdout
from hawthorn.client.root import Root
from hawthorn.client.tasks import Task, find_task
from hawthorn.client.tasks.examples import Floats, Labels
from hawthorn.client.training import activation_density, arrays_of, load_arrays, logits
from hawthorn.server.audit import RunAudit
from hawthorn.server.checks import checks
from hawthorn.server.holdout import HoldoutGuard
from hawthorn.server.settings import Settings
from hawthorn.strategies import Defense, RobustStrategy, RoundRecord, SettingError
from hawthorn.strategies.flower import Guard, Ruling

from .collusion import Collusion, SimulatedGrid, State
from .collusion import Floats as Updates
from .engine import on_engine, train_config

Figures = dict[str, float]
"""What a model is worth by its metrics."""

Watch = Callable[["Run"], None]
"""Called before the first round of a run and after each."""


@dataclass
class Run:
    """What one run has shown after `rounds` rounds: an entry per evaluation; `stopped` says what ended it early.

    `records` name clients by their partition numbers. Only the defended run has them. `activation_density` is that of
    the last model.
    """

    name: str
    figures: list[Figures] = field(default_factory=list["Figures"])
    attack_success: list[float | None] = field(default_factory=list["float | None"])
    records: list[RoundRecord] = field(default_factory=list[RoundRecord])
    rounds: int = 0
    seconds: float = 0.0
    activation_density: float | None = None
    stopped: str | None = None

    @property
    def accuracy(self) -> list[float]:
        """The share of right answers on the test examples after each round."""
        return [figures["accuracy"] for figures in self.figures]

    @property
    def worst_class_recall(self) -> list[float]:
        """That share of the class that fares worst."""
        return [figures["worst_class_recall"] for figures in self.figures]


@dataclass(frozen=True)
class Federation:
    """A federation, ready to be run: who is hostile, what they do, and the defense that is put to the test."""

    settings: Settings
    defense: Defense
    task: Task
    recipe: Recipe | None
    hostile: frozenset[int]
    root: Root | None = None
    audit: RunAudit | None = None

    @classmethod
    def of(cls, settings: Settings, defense: Defense) -> Federation:
        """The federation that `settings` describe; raises `SettingError` where that cannot be run."""
        if settings.hostile >= settings.clients:
            raise SettingError(f"hostile must be below clients={settings.clients}, got {settings.hostile}")
        if settings.weighted_by:
            raise SettingError("in a simulation all clients weigh the same: write weighted-by=''")
        if checks(settings.guard)[1] is not None:
            raise SettingError("in a simulation no client evaluates: write guard='holdout'")
        task = find_task(settings.task, settings.data or None)
        parts(task, settings.partition, settings.clients, settings.seed, (), settings.root_examples)
        recipe = Recipe.parse(settings.attack) if settings.hostile else None
        if recipe:
            check_attack(recipe, task, settings)
        hostile = hostile_clients(settings.clients, settings.hostile, settings.seed)
        root = Root.of(settings.run_config()) if "trusted" in defense.asked else None
        return cls(settings, defense, task, recipe, hostile, root)

    @property
    def run_names(self) -> tuple[str, ...]:
        """The runs that make sense: with nobody hostile, the plain mean and the defense on the same honest clients."""
        return ("no_attack", "undefended", "defended", "oracle") if self.hostile else ("no_attack", "defended")

    def run_all(self, engine: str, watch: Watch) -> dict[str, Run]:
        """Every run by its name."""

        def work(grid: Grid) -> dict[str, Run]:
            return {name: self.run(name, grid, watch) for name in self.run_names}

        return on_engine(engine, self.settings.clients, work)

    def run(self, name: str, grid: Grid, watch: Watch) -> Run:
        """One run, on the nodes of `grid`."""
        run = Run(name)
        nodes = sorted(grid.get_node_ids())
        attacked = name in {"undefended", "defended"}
        simulated = SimulatedGrid(
            grid,
            frozenset(nodes[client] for client in self.hostile),
            collude=self._collusion(name) if attacked and self.recipe and self.recipe.colludes else None,
            forge=self._forged if attacked and self.recipe and self.recipe.forges else None,
            honest_only=name == "oracle",
        )
        # the grid forges messages, so clients leave that alone
        attack = str(self.recipe.without("reply")) if attacked and self.recipe else ""
        hostile = self.settings.hostile if attacked else 0
        settings = self.settings.run_config() | {"hostile": hostile, "attack": attack}
        random.seed(self.settings.seed)  # Flower samples with the global generator
        try:
            self._strategy(run, nodes).start(
                grid=simulated,
                initial_arrays=arrays_of(self.task.model(self.settings.seed)),
                num_rounds=self.settings.rounds,
                train_config=train_config(name, settings, nodes),
                evaluate_fn=self._evaluation(run, watch),
            )
        except Exception as error:  # an undefended server may die of what it is sent: that is a result
            if name != "undefended":
                raise
            run.stopped = f"round {run.rounds + 1}: {type(error).__name__}: {error}"
        return run

    def _collusion(self, name: str) -> Collusion:
        """What colluders do together in a run; those that adapt try the defense without its memory of rounds before."""
        recipe = self.recipe or Recipe()

        def knowing(knowledge: Knowledge) -> Knowledge:
            """What they know of the server: its defense and, in the worst case, its examples."""
            if name != "defended":
                return replace(knowledge, defense=plain_mean)
            assert knowledge.sent is not None
            own = self.root and self.root.update(knowledge.round, knowledge.sent.astype(np.float32))
            trusted = None if own is None else own.astype(np.float64)

            def answer(updates: Updates) -> Updates | None:
                return self.defense(updates, trusted=own).update

            return replace(knowledge, defense=answer, trusted=trusted)

        def collude(honest: Updates, own: Updates, knowledge: Knowledge) -> tuple[Updates, State]:
            if not recipe.active(knowledge.round):
                return own, knowledge.state
            first = sorted(self.hostile)[knowledge.members[0]]
            rng = stream(self.settings.seed, first, "lie", knowledge.round)
            return recipe.attacked(own, replace(knowing(knowledge), rng=rng), honest)

        return collude

    def _forged(self, reply: Message, number: int) -> list[Message]:
        recipe = self.recipe or Recipe()
        return recipe.replied(reply) if recipe.active(number) else [reply]

    def _strategy(self, run: Run, nodes: Sequence[int]) -> Strategy:
        share = self.settings.fraction_train
        plain = FedAvg(fraction_train=share, fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)
        if run.name != "defended":
            return plain

        def observer(record: RoundRecord) -> None:
            record = _by_partition(record, nodes)
            run.records.append(record)
            if self.audit:
                self.audit(record)

        memory, spool = self.settings.memory or None, self.settings.spool or None
        trusted = self.root and self.root.trained
        guard = self.settings.guard and HoldoutGuard.parse(self.settings.guard, holdout(self.settings.run_config()))
        return RobustStrategy(
            plain,
            self.defense,
            observers=[observer],
            memory=memory,
            spool=spool,
            trusted=trusted,
            guard=Unmeasured(guard) if guard else None,
        )

    def judged(self, run: Run, answers: Callable[[Floats], npt.NDArray[Any]]) -> None:
        """Add to a run what a model is worth that gives these answers `(N, C)` to the examples it is asked about."""
        run.figures.append(judged(self.task, answers(self.task.test.x)).figures)
        success = None
        if self.wish is not None:
            x, labels = self.wish
            success = float((predictions(answers(x)) == labels).mean())
        run.attack_success.append(success)

    @cached_property
    def wish(self) -> tuple[Floats, Labels] | None:
        """The examples by which an attack's success is measured, and what it wants of them; None without a wish."""
        return wanted(self.recipe, self.task.test, self.task) if self.recipe else None

    def _evaluation(self, run: Run, watch: Watch) -> Callable[[int, ArrayRecord], MetricRecord | None]:
        model = self.task.model(self.settings.seed)
        started = time.perf_counter()

        def evaluation(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
            run.rounds = server_round
            if server_round and server_round % self.settings.evaluate_every == 0:
                load_arrays(model, arrays)
                self.judged(run, lambda x: logits(model, x).numpy())
                if server_round == self.settings.rounds:
                    run.activation_density = activation_density(model, self.task.test.x)
                run.seconds = time.perf_counter() - started
                if self.audit and run.name == "defended":
                    found = {name.replace("_", "-"): value for name, value in run.figures[-1].items()}
                    success = run.attack_success[-1]
                    self.audit.evaluated(server_round, found | ({} if success is None else {"attack-success": success}))
            watch(run)

        return evaluation


@dataclass(frozen=True)
class Unmeasured:
    """A guard that keeps its metrics to itself: a run measures models in its own way, that of a round undone too."""

    guard: Guard

    def check(self, round: int, arrays: ArrayRecord, state: dict[str, Any] | None) -> Ruling:
        """The guard's ruling, without the metrics."""
        return replace(self.guard.check(round, arrays, state), metrics=None)

    def check_reports(self, round: int, reports: Mapping[str, MetricRecord], state: dict[str, Any] | None) -> Ruling:
        """The same."""
        return replace(self.guard.check_reports(round, reports, state), metrics=None)


def check_attack(recipe: Recipe, task: Task, settings: Settings) -> None:
    """Raise `SettingError` if the attack cannot be carried out on this task in this federation."""
    recipe.check(task, settings.clients, settings.hostile)
    if not any(map(recipe.active, range(1, settings.rounds + 1))):
        raise SettingError(
            f"{recipe} attacks in none of rounds={settings.rounds}: write more rounds, or an earlier one"
        )
    refuse_other_attacks(task, recipe.calls)


def _by_partition(record: RoundRecord, nodes: Sequence[int]) -> RoundRecord:
    """The record with clients named by their partition numbers instead of the grid's node ids."""
    clients = {node: client for client, node in enumerate(nodes)}
    names = {str(node): str(client) for node, client in clients.items()}
    return replace(
        record,
        verdicts={clients[node]: verdict for node, verdict in record.verdicts.items()},
        # a sender that a hostile client made up is no client
        refused={clients[node]: reason for node, reason in record.refused.items() if node in clients},
        quarantined={clients[node]: standing for node, standing in record.quarantined.items()},
        clients={},
        standings={names[name]: standing for name, standing in record.standings.items()},
    )


def plain_mean(updates: Updates) -> Updates:
    """What a server without a defense makes of updates `(n, d)`, if all claim as many examples."""
    return updates.mean(axis=0)
