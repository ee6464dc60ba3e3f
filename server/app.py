"""The ServerApp: one hedged federation, as the run config says."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from hawthorn.strategies import RobustStrategy, SettingError

from .audit import Audit, RunAudit
from .holdout import HoldoutGuard
from .inner import inner_strategy
from .kinds import quorum_of, rounds_kept
from .settings import Settings, function_named

logger = logging.getLogger(__name__)

Evaluate = Callable[[int, ArrayRecord], MetricRecord | None]
Train = Callable[[int, ArrayRecord], ArrayRecord | None]

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation. Settings that cannot work raise `SettingError` before any client is asked for anything."""
    log_with_flower()
    settings = Settings.parse(context.run_config)
    if settings.remark:
        logger.warning(settings.remark)
    with run_audit(settings, name=f"flwr run {context.run_id}") as audit:
        random.seed(settings.seed)  # Flower's strategies sample nodes with the global generator
        arrays: ArrayRecord = function_named("model", settings.model)(settings.run_config())
        evaluate = holdout(settings)
        guard = HoldoutGuard.parse(settings.guard, evaluate) if settings.guard else None
        strategy = RobustStrategy(
            inner_strategy(
                settings.inner,
                fraction_train=settings.fraction_train,
                fraction_evaluate=settings.fraction_evaluate,
                # a node that leaves must not stop the rounds of those that stay
                min_train_nodes=1,
                min_evaluate_nodes=1,
                min_available_nodes=1,
            ),
            settings.recipe,
            ledger=audit,
            guard=guard,
            weighted_by=settings.weighted_by,
            memory=settings.memory or None,
            spool=settings.spool or None,
            trusted=root(settings),
            quorum=quorum_of(settings.quorum) if settings.quorum else None,
            require_manifest=settings.require_manifest,
        )
        wait_for_nodes(grid, settings.clients, settings.wait, goes_on=audit is not None and audit.goes_on)
        strategy.start(
            grid=grid,
            initial_arrays=arrays,
            num_rounds=settings.rounds,
            timeout=settings.reply_timeout,
            evaluate_fn=when_due(evaluate, settings.evaluate_every),
        )


def log_with_flower() -> None:
    """Send what `hawthorn` logs where Flower's own lines go, so that `flwr log` shows it."""
    ours, flowers = logging.getLogger("hawthorn"), logging.getLogger("flwr")
    ours.setLevel(logging.INFO)
    for handler in flowers.handlers:
        ours.addHandler(handler)


def holdout(settings: Settings) -> Evaluate | None:
    """The evaluation on the server's own data that the setting `holdout` names, if it names one."""
    return function_named("holdout", settings.holdout)(settings.run_config()) if settings.holdout else None


def when_due(evaluate: Evaluate | None, every: int) -> Evaluate | None:
    """The same evaluation, which answers None in all rounds but every `every`-th one.

    A guard on the holdout evaluates every model before it is taken, and that is then the round's evaluation; this one
    is asked only of the models that stay where a round was rolled back.
    """
    if evaluate is None:
        return None

    def evaluate_when_due(round: int, arrays: ArrayRecord) -> MetricRecord | None:
        return None if round % every else evaluate(round, arrays)

    return evaluate_when_due


def root(settings: Settings) -> Train | None:
    """The server's own training that the setting `root` names, where the defense asks for it."""
    if "trusted" not in settings.recipe.asked:
        return None
    return function_named("root", settings.root)(settings.run_config())


@contextmanager
def run_audit(settings: Settings, *, name: str) -> Generator[RunAudit | None]:
    """The audit of this run, or None where the settings ask for none."""
    if not settings.audit:
        yield None
        return
    with (
        Audit.open(settings.audit) as audit,
        audit.run(
            settings.run_config(),
            name=settings.run or name,
            resume=bool(settings.run),
            checkpoints=settings.checkpoints or None,
            newest=settings.checkpoints_newest,
            every=settings.checkpoints_every,
            updates=cast("Any", rounds_kept(settings.updates)),
            half=settings.updates_half,
        ) as run,
    ):
        logger.info("run %d of the audit %s", run.id, audit.url)
        yield run


def wait_for_nodes(grid: Grid, expected: int, seconds: float, *, goes_on: bool = False) -> None:
    """Return once `expected` nodes are connected; raises `SettingError` if that takes longer than `seconds`.

    A run that `goes_on` does so without those that are away: its rounds wait for as many as they need.
    """
    end = time.monotonic() + seconds
    connected = -1
    while (found := len(list(grid.get_node_ids()))) < expected:
        if time.monotonic() >= end:
            if goes_on:
                logger.warning("%d of clients=%d are connected: the run goes on without the rest", found, expected)
                return
            raise SettingError(
                f"{found} of clients={expected} nodes connected within wait={seconds:g} seconds: start more, write "
                f"clients={found}, or in a simulation give flwr run --federation-config 'num-supernodes={expected}'"
            )
        if found != connected:
            logger.warning("%d of %d nodes are connected; waiting %g s for the rest", found, expected, seconds)
            connected = found
        time.sleep(0.2)
