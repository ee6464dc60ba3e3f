"""A federation without messages: all clients of a round trained at once, their updates handed on as one matrix.

What a run finds here it finds on a Flower grid too, to rounding, only later: the same examples, batches, attacks and
verdicts. Attacks on the messages themselves need a grid.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from flwr.app import Context, RecordDict
from flwr.app.user_config import UserConfig
from hawthorn.client.assignment import Assignment
from hawthorn.client.attacks import Knowledge, Recipe
from hawthorn.client.attacks.knowledge import Answer
from hawthorn.client.fleet import Fleet, Job
from hawthorn.client.forest import Forest, Trees, grown
from hawthorn.client.tasks import Examples, Task
from hawthorn.client.tasks.examples import Floats
from hawthorn.client.training import activation_density, float_entries, logits
from hawthorn.strategies import Defense, RoundRecord
from hawthorn.strategies.contract import RULES, Call
from hawthorn.strategies.defense import Outcome
from hawthorn.strategies.errors import SettingError
from hawthorn.strategies.kernels import largest
from numpy.typing import NDArray

from .federation import Federation, Run, Watch

Rows = NDArray[np.float32]
Weights = NDArray[np.float64]


class Server(Protocol):
    """What holds the model of a run: clients train on it, and it moves by what they send."""

    sent: Rows | None
    """The model `(d,)` as clients get it; None where it is no vector, and updates cannot be crafted."""

    bounds: tuple[int, ...] | None
    """Where its layers begin and, last, where the last one ends; None where it has none."""

    def trained(self, jobs: Sequence[Job]) -> Rows:
        """What the clients send after their work on the model as it is: a row each, `(n, d)`."""
        ...

    def take(self, outcome: Outcome, kept: NDArray[np.intp]) -> None:
        """Move by what a defense made of the `kept` rows."""
        ...

    def average(self, rows: Rows, weights: Weights) -> None:
        """Move by the weighted mean of the rows, as Flower's FedAvg does."""
        ...

    def answers(self, x: Floats) -> NDArray[Any]:
        """What the model says of each example, `(N, C)`."""
        ...

    def density(self, x: Floats) -> float | None:
        """The share of its activations that are not zero; None where it has none."""
        ...


class Network:
    """A server whose model is a vector of parameters."""

    def __init__(self, task: Task, seed: int, clients: int) -> None:
        self._fleet = Fleet(task, seed=seed)
        self.sent: Rows | None = self._fleet.initial
        sizes = [entry.numel() for entry in float_entries(self._fleet.model(self._fleet.initial)).values()]
        self.bounds: tuple[int, ...] | None = tuple(np.cumsum([0, *sizes]).tolist())
        self._rows = np.empty((clients + 1, len(self._fleet.initial)), dtype=np.float32)

    def trained(self, jobs: Sequence[Job]) -> Rows:
        """The clients' updates, good until the next round's."""
        return self._fleet.trained(self._model, jobs, out=self._rows)[0]

    def take(self, outcome: Outcome, kept: NDArray[np.intp]) -> None:
        """Add the robust update."""
        self.sent = self._model + outcome.update

    def average(self, rows: Rows, weights: Weights) -> None:
        """Add the weighted mean of the updates."""
        with np.errstate(invalid="ignore", over="ignore"):  # whoever averages what anybody sends may end at NaN
            self.sent = self._model + (weights @ rows).astype(np.float32)

    def answers(self, x: Floats) -> NDArray[Any]:
        """The logits."""
        return logits(self._fleet.model(self._model), x).numpy()

    def density(self, x: Floats) -> float | None:
        """The share of activations other than zero."""
        return activation_density(self._fleet.model(self._model), x)

    @property
    def _model(self) -> Rows:
        assert self.sent is not None
        return self.sent


class Woods:
    """A server whose model is a forest; a client's row is what its trees say of the reference examples."""

    sent: Rows | None = None
    bounds: tuple[int, ...] | None = None

    def __init__(self, task: Task, defense: Defense) -> None:
        rule = RULES[Call.parse(defense.rule).name]
        if rule.kind == "columns":
            raise SettingError(
                f"{rule.name} reads the columns of updates, which trees do not have: choose another rule"
            )
        if defense.momentum:
            raise SettingError("momentum averages updates, which trees are not: write the defense without it")
        self._task = task
        self._defense = defense
        self._forest = Forest.of(task)
        self._trees: list[Trees] = []

    def trained(self, jobs: Sequence[Job]) -> Rows:
        """The clients' answers to the reference examples."""
        assert self._task.reference is not None
        self._trees = [grown(self._task, job.examples, seed=job.seed) for job in jobs]
        return self._forest.rows(self._trees, self._task.reference)

    def take(self, outcome: Outcome, kept: NDArray[np.intp]) -> None:
        """Let the trees of the round join."""
        trees = [self._trees[row] for row in map(int, kept)]
        self._forest = self._forest.joined(trees, outcome, self._defense)

    def average(self, rows: Rows, weights: Weights) -> None:
        """Let all trees join, weighted by their clients' examples."""
        self._forest = self._forest.averaged(self._trees, weights)

    def answers(self, x: Floats) -> NDArray[Any]:
        """The probabilities."""
        return self._forest.answers(x)

    def density(self, x: Floats) -> None:
        """Trees have no activations."""


@dataclass(frozen=True)
class Round:
    """Who takes part in a round: clients by number, which of them attack in it, and what all of them send.

    `trusted` `(d,)` is the server's own update, where the defense asks for one.
    """

    number: int
    asked: tuple[int, ...]
    liars: frozenset[int]
    rows: Rows
    trusted: Rows | None = None

    @property
    def lying(self) -> NDArray[np.bool_]:
        """Which rows are those of attackers, `(n,)`."""
        return np.array([client in self.liars for client in self.asked])


class FleetRun:
    """One run of a federation, round by round."""

    def __init__(self, federation: Federation, name: str, server: Server) -> None:
        self.run = Run(name)
        self._federation = federation
        self._server = server
        attacked = name in {"undefended", "defended"}
        self._root = federation.root if name == "defended" else None
        self._recipe = federation.recipe if attacked and federation.recipe else Recipe()
        self._hostile = federation.hostile if attacked else frozenset[int]()
        everyone = range(federation.settings.clients)
        self._clients = [client for client in everyone if name != "oracle" or client not in federation.hostile]
        self._assignments = [Assignment.of(_context(federation, client)) for client in everyone]
        self._honest = {client: self._assignments[client].examples[0] for client in self._clients}
        self._poisoned: dict[int, Examples] = {}
        self._momentum: dict[int, Rows] = {}
        self._sent_before: Rows | None = None
        self._sent_to: dict[int, Rows | None] = {}  # the last model that each client saw
        self._defended: dict[str, Any] | None = None  # what the defense remembers
        self._learned: Any = None  # what the colluders remember

    def play(self, number: int) -> None:
        """One round, from the sampling of the clients to the new model."""
        round = self._attacked(self._trained(number))
        if self._recipe.looks_back:
            self._sent_to |= dict.fromkeys(round.asked, self._server.sent)
        self._sent_before = self._server.sent
        if self.run.name == "defended":
            self._defend(round)
        else:
            weights = np.array([len(self._honest[client]) for client in round.asked], dtype=np.float64)
            self._server.average(round.rows, weights / weights.sum())

    def judge(self) -> None:
        """Evaluate the model on the test examples."""
        self._federation.judged(self.run, self._server.answers)

    def _trained(self, number: int) -> Round:
        settings = self._federation.settings
        asked = _sampled(self._clients, settings.fraction_train, settings.seed, number)
        liars = self._hostile.intersection(asked) if self._recipe.active(number) else frozenset[int]()
        jobs = [self._job(client, number, client in liars) for client in asked]
        if self._root is not None:
            jobs.append(self._root.job(number))
        trained = self._server.trained(jobs)
        rows, own = trained[: len(asked)], trained[-1] if self._root else None
        if settings.client_momentum:
            for row, client in enumerate(asked):
                rows[row] *= 1 - settings.client_momentum
                if client in self._momentum:
                    rows[row] += settings.client_momentum * self._momentum[client]
                self._momentum[client] = rows[row].copy()
        return Round(number, asked, frozenset(liars), rows, own)

    def _job(self, client: int, number: int, lies: bool) -> Job:
        assignment = self._assignments[client]
        seed, training = int(assignment.random("batches", number).integers(2**63)), assignment.training_in(number)
        if not lies:
            return Job(self._honest[client], training, seed)
        knowledge = self._knowledge(number, (client,), assignment.random("poison"))
        if client not in self._poisoned:
            self._poisoned[client] = self._recipe.poisoned(self._honest[client], knowledge)
        return Job(self._poisoned[client], self._recipe.trained(training, knowledge), seed)

    def _attacked(self, round: Round) -> Round:
        """The round with what hostile clients send in the place of what they trained."""
        lying = round.lying
        if not lying.any() or not self._recipe.crafts:
            return round
        rows = round.rows
        honest = rows[~lying].astype(np.float64)
        own = rows[lying].astype(np.float64)
        liars = tuple(client for client in round.asked if client in round.liars)
        if not self._recipe.colludes:
            # each on its own, with the randomness that it would have in a process of its own
            lies = np.concatenate(
                [
                    self._recipe.attacked(row[np.newaxis], self._knowledge(round.number, (client,)))[0]
                    for client, row in zip(liars, own, strict=True)
                ]
            )
        elif not len(honest) or not np.isfinite(honest).all():  # nobody to collude against
            return round
        else:
            knowledge = self._knowledge(round.number, liars, defense=self._answer(round))
            others = tuple(client for client in round.asked if client not in round.liars)
            trusted = None if round.trusted is None else round.trusted.astype(np.float64)
            knowledge = replace(knowledge, own=own, others=others, trusted=trusted)
            lies, self._learned = self._recipe.attacked(own, knowledge, honest)
        with np.errstate(over="ignore"):  # a lie longer than float32 can hold is sent as infinity
            rows[lying] = lies.astype(np.float32)
        return replace(round, rows=rows)

    def _answer(self, round: Round) -> Answer:
        """What the server would make of the honest rows, followed by others in the place of the liars'."""
        names = [str(client) for client in sorted(round.asked, key=lambda client: client in round.liars)]

        def answer(rows: NDArray[np.float64]) -> NDArray[Any] | None:
            if self.run.name != "defended":
                return rows.mean(axis=0)
            return self._judged(rows.astype(np.float32), names, round.trusted).update

        return answer

    def _defend(self, round: Round) -> None:
        start = time.perf_counter()
        finite = np.isfinite(largest(round.rows))
        kept = np.flatnonzero(finite)
        refused = {round.asked[row]: "the update holds NaN or infinity" for row in np.flatnonzero(~finite)}
        outcome = None
        if len(kept):
            rows = round.rows if len(kept) == len(finite) else round.rows[kept]
            names = [str(round.asked[row]) for row in kept]
            outcome = self._judged(rows, names, round.trusted)
            self._defended = outcome.state
            if outcome.update is not None:
                self._server.take(outcome, kept)
        self.run.records.append(
            RoundRecord(
                round=round.number,
                verdicts={round.asked[row]: outcome.verdicts[i] for i, row in enumerate(kept)} if outcome else {},
                refused=refused,
                skipped=outcome.skipped if outcome else "no client sent a usable update",
                geometry=None,
                seconds=time.perf_counter() - start,
            )
        )

    def _judged(self, rows: Rows, names: Sequence[str], trusted: Rows | None) -> Outcome:
        """What the defense makes of the named clients' rows."""
        server = self._server
        return self._federation.defense(
            rows, clients=names, state=self._defended, trusted=trusted, model=server.sent, bounds=server.bounds
        )

    def _knowledge(
        self,
        number: int,
        clients: tuple[int, ...],
        rng: np.random.Generator | None = None,
        defense: Answer | None = None,
    ) -> Knowledge:
        sent = self._server.sent
        before = self._sent_before if self._recipe.colludes else self._sent_to.get(clients[0])
        return Knowledge(
            rng=self._assignments[clients[0]].random("lie", number) if rng is None else rng,
            round=number,
            clients=self._federation.settings.clients,
            hostile=self._federation.settings.hostile,
            members=tuple(sorted(self._federation.hostile).index(client) for client in clients),
            sent=None if sent is None else sent.astype(np.float64),
            moved=None if sent is None or before is None else sent.astype(np.float64) - before,
            defense=defense,
            state=self._learned,
        )


def run_on_fleet(federation: Federation, name: str, watch: Watch = lambda _: None) -> Run:
    """One run of the federation by its name: "no_attack", "undefended", "defended", or "oracle"."""
    settings = federation.settings
    task = federation.task
    server = (
        Woods(task, federation.defense) if task.learner == "forest" else Network(task, settings.seed, settings.clients)
    )
    running = FleetRun(federation, name, server)
    watch(running.run)
    for number in range(1, settings.rounds + 1):
        start = time.perf_counter()
        running.play(number)
        if number % settings.evaluate_every == 0:
            running.judge()
        running.run.rounds = number
        running.run.seconds += time.perf_counter() - start
        watch(running.run)
    running.run.activation_density = server.density(task.test.x)
    return running.run


def _sampled(clients: Sequence[int], share: float, seed: int, number: int) -> tuple[int, ...]:
    """The clients that are asked in a round, ascending: a share of them, rounded down, but one at least."""
    if share >= 1:
        return tuple(clients)
    count = max(1, int(share * len(clients)))
    chosen = np.random.default_rng([seed, 4, number]).choice(np.array(clients), size=count, replace=False)
    return tuple(int(client) for client in np.sort(chosen))


def _context(federation: Federation, client: int) -> Context:
    """What Flower would tell the client."""
    settings = federation.settings
    node: UserConfig = {"partition-id": client, "num-partitions": settings.clients}
    return Context(1, 1, node, RecordDict(), settings.run_config())
