"""Rounds of training after a rewind, by the clients of a simulation in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from flwr.app import ArrayRecord, MetricRecord
from hawthorn.client.app import app
from hawthorn.server.app import root
from hawthorn.server.audit import Audit, RunAudit
from hawthorn.server.inner import inner_strategy
from hawthorn.server.rewinding import Plan
from hawthorn.server.settings import Settings
from hawthorn.strategies import RobustStrategy, SettingError

from .in_process import InProcessGrid

Evaluate = Callable[[int, ArrayRecord], MetricRecord | None]


def check_recovery(audit: Audit, planned: Plan) -> None:
    """Raise `SettingError` for a run whose clients cannot be had in this process."""
    settings = Settings.parse(planned.settings)
    nodes = {str(node) for node in InProcessGrid(app, settings.clients).get_node_ids()}
    strangers = [one.identity for one in audit.clients(planned.run.id) if one.identity not in nodes]
    if strangers:
        raise SettingError(
            f"the clients of run {planned.run.id} are not in this process ({strangers[0]}): leave out --recovery; with "
            "--adopt its own next rounds are the recovery"
        )


def recovered(
    audit: Audit, planned: Plan, ledger: RunAudit, after: int, rounds: int, evaluate: Evaluate | None
) -> tuple[list[Mapping[str, Any]], float]:
    """The metrics after each of so many rounds that follow round `after` of the new run, and the seconds they took.

    The clients left out are not asked, nor whoever an operator keeps in quarantine.
    """
    settings = Settings.parse(planned.settings)
    strategy = RobustStrategy(
        inner_strategy(
            settings.inner,
            fraction_train=settings.fraction_train,
            fraction_evaluate=0.0,
            min_train_nodes=1,
            min_evaluate_nodes=1,
            min_available_nodes=1,
        ),
        planned.defense,
        ledger=ledger,
        memory=settings.memory or None,
        spool=settings.spool or None,
        trusted=root(settings) if "trusted" in planned.defense.asked else None,
    )
    last = audit.commit_after(ledger.id, after)
    held = {**planned.final.memory.held, **last.memory.held}  # whom the run does not ask, this one does not either
    ledger.commit(replace(last, memory=replace(last.memory, held=held)))
    started = time.perf_counter()
    grid = InProcessGrid(app, settings.clients, settings.run_config())
    strategy.start(grid, last.arrays, num_rounds=after + rounds, evaluate_fn=evaluate)
    seconds = time.perf_counter() - started
    metrics = audit.metrics(ledger.id)
    return [metrics.get(number, {}) for number in range(after + 1, after + rounds + 1)], seconds
