"""The rounds of a plan held again, through the same strategy and defense, into a run of their own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, MetricRecord
from hawthorn.strategies import AuditError, RobustStrategy, SettingError
from hawthorn.strategies.contract import nearest
from hawthorn.strategies.flower import Commit, RoundRecord
from hawthorn.strategies.flower.layout import Model

from ..audit import Audit, RunAudit
from ..inner import inner_strategy
from .fitting import Fit, fitted
from .grid import ArchiveGrid
from .lineage import LAST, SOURCE, START, WITHOUT
from .planning import Plan

logger = logging.getLogger(__name__)

METHODS = ("replay", "fit")
LINEAR = ("fedavg", "fedavgm", "fedprox")  # strategies whose moves are sums of updates

Evaluate = Callable[[int, ArrayRecord], MetricRecord | None]
Train = Callable[[int, ArrayRecord], ArrayRecord | None]


@dataclass(frozen=True)
class Change:
    """A verdict that is another one without the clients that were left out; `round` is that of the run it was in."""

    round: int
    client: str
    accepted: bool
    now: bool
    reason: str


@dataclass(frozen=True, eq=False)
class Rewound:
    """What came of a plan: the model in `commit`, and how it compares with the one that it stands in for.

    `before`, `replayed` and `after` are metrics on the holdout, empty without one; the last two differ where the model
    was fitted after the rounds were held again (`fit`). Lengths are those of the models' moves from the
    model that the rounds began from, `apart` the distance of the two, `cosine` that of the moves. `skipped` says of
    rounds, by the number they had, why the model stayed where it was.
    """

    run: int
    rounds: int
    commit: Commit
    changes: tuple[Change, ...]
    skipped: Mapping[int, str]
    before: Mapping[str, Any]
    replayed: Mapping[str, Any]
    after: Mapping[str, Any]
    fit: Fit | None
    length_before: float
    length_after: float
    apart: float
    cosine: float
    seconds: float


def named(plan: Plan, names: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The name and the settings of the run that a plan is held in."""
    who = ", ".join(names.get(client) or client for client in plan.without)
    settings = dict(plan.settings) | {
        SOURCE: plan.run.id,
        START: plan.start,
        LAST: plan.last,
        WITHOUT: ",".join(plan.without),
        "defense": str(plan.defense),
    }
    return f"{plan.run.name or f'run {plan.run.id}'} without {who}", settings


def rebuilt(
    plan: Plan,
    audit: Audit,
    ledger: RunAudit,
    *,
    method: str = "replay",
    evaluate: Evaluate | None = None,
    every: int = 1,
    trusted: Train | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> Rewound:
    """Hold the rounds of a plan again, committed to `ledger`, a new run; by "fit" one more round fits the model.

    Every `every`-th model, and the last, is evaluated. Raises `AuditError` where every round was skipped, and
    `SettingError` for a method that does not go with the run.
    """
    check_method(plan, method)
    started = time.perf_counter()
    end = plan.start + len(plan.steps)
    begun = plan.begin.arrays
    metrics = None if evaluate is None else evaluate(plan.start, begun)
    # whom an operator kept in quarantine, and when, shows in the rounds; these are not to be asked in later ones
    # what the guard had seen is older than the model that comes of it, and of another one
    memory = replace(plan.begin.memory, held=dict.fromkeys(plan.without), paused=False, guard=None)
    ledger.commit(Commit(plan.start, begun, memory, metrics=metrics))
    skipped: dict[int, str] = {}
    grid = ArchiveGrid(audit, plan)

    def watch(record: RoundRecord) -> None:
        if record.skipped:
            skipped[plan.steps[grid.place].kept[1]] = record.skipped
        grid(record)
        tell(record.round - plan.start)

    strategy = _strategy(plan, ledger, watch, trusted)
    strategy.start(grid, begun, num_rounds=end, evaluate_fn=_when_due(evaluate, every, end))
    if len(skipped) == len(plan.steps):
        raise AuditError(f"every round was skipped: {next(iter(skipped.values()))}")
    fit = _fitted(plan, audit, ledger, evaluate) if method == "fit" else None
    return _compared(plan, audit, ledger.id, skipped, evaluate, fit, time.perf_counter() - started)


def check_method(plan: Plan, method: str) -> None:
    """Raise `SettingError` for a method that there is not, or that does not go with the strategy that was wrapped."""
    if method not in METHODS:
        raise SettingError(f"no method named {method!r}; {nearest(method, METHODS)}")
    if method == "fit" and usual_method(plan) != "fit":
        inner = plan.settings["inner"]
        raise SettingError(f"a fit needs moves that are sums of updates, which inner={inner} does not make")


def usual_method(plan: Plan) -> str:
    """The method for a run: a fit where the strategy that was wrapped allows it."""
    return "fit" if str(plan.settings["inner"]).partition("(")[0].strip() in LINEAR else "replay"


def _strategy(
    plan: Plan, ledger: RunAudit, watch: Callable[[RoundRecord], None], trusted: Train | None
) -> RobustStrategy:
    return RobustStrategy(
        inner_strategy(
            str(plan.settings["inner"]),
            fraction_train=1.0,
            fraction_evaluate=0.0,
            min_train_nodes=1,
            min_evaluate_nodes=1,
            min_available_nodes=1,
        ),
        plan.defense,
        observers=[watch],
        ledger=ledger,
        weighted_by=str(plan.settings.get("weighted-by", "")),
        memory=plan.settings.get("memory") or None,
        spool=plan.settings.get("spool") or None,
        trusted=trusted,
        sampling_timeout=0.0,
    )


def _fitted(plan: Plan, audit: Audit, ledger: RunAudit, evaluate: Evaluate | None) -> Fit:
    """Fit the last model to the one that it stands in for, as a round of its own in which nobody was asked."""
    started = time.perf_counter()
    end = plan.start + len(plan.steps)
    last = audit.commit_after(ledger.id, end)
    model = Model.sent(last.arrays)
    fit = fitted(audit, plan, ledger.id, row_of(last), row_of(plan.final))
    arrays = model.lawful(model.moved((fit.row - model.row).astype(model.row.dtype)))
    metrics = None if evaluate is None else evaluate(end + 1, arrays)
    seconds = time.perf_counter() - started
    record = RoundRecord(end + 1, {}, {}, skipped=None, geometry=None, seconds=seconds)
    ledger.commit(Commit(end + 1, arrays, last.memory, record, metrics=metrics))
    return fit


def _when_due(evaluate: Evaluate | None, every: int, end: int) -> Evaluate | None:
    if evaluate is None:
        return None

    def evaluate_when_due(round: int, arrays: ArrayRecord) -> MetricRecord | None:
        return evaluate(round, arrays) if round == end or round % every == 0 else None

    return evaluate_when_due


def _compared(
    plan: Plan,
    audit: Audit,
    run: int,
    skipped: Mapping[int, str],
    evaluate: Evaluate | None,
    fit: Fit | None,
    seconds: float,
) -> Rewound:
    end = plan.start + len(plan.steps)
    commit = audit.commit_after(run, end if fit is None else end + 1)
    start, old, new = (row_of(one) for one in (plan.begin, plan.final, commit))
    before, after = old - start, new - start
    lengths = float(np.linalg.norm(before)), float(np.linalg.norm(after))
    judged = None if evaluate is None else evaluate(plan.last, plan.final.arrays)
    metrics = audit.metrics(run)
    return Rewound(
        run=run,
        rounds=len(plan.steps),
        commit=commit,
        changes=_changes(plan, audit, run),
        skipped=skipped,
        before=dict(judged or {}),
        replayed=metrics.get(end, {}),
        after=metrics.get(commit.round, {}),
        fit=fit,
        length_before=lengths[0],
        length_after=lengths[1],
        apart=float(np.linalg.norm(new - old)),
        cosine=float(before @ after / (lengths[0] * lengths[1])) if all(lengths) else 0.0,
        seconds=seconds,
    )


def _changes(plan: Plan, audit: Audit, run: int) -> tuple[Change, ...]:
    found: list[Change] = []
    for number, step in enumerate(plan.steps, plan.start + 1):
        before = {one.client: one.verdict.accepted for one in audit.contributions(step.run, step.round) if one.admitted}
        found += [
            Change(step.kept[1], one.client, before[one.client], one.verdict.accepted, one.verdict.reason)
            for one in audit.contributions(run, number)
            if one.client in before and before[one.client] != one.verdict.accepted
        ]
    return tuple(found)


def row_of(commit: Commit) -> Any:
    """The numbers of a commit's model `(d,)`, in float64."""
    return Model.sent(commit.arrays).row.astype(np.float64)
