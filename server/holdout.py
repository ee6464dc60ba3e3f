"""The guard of a federation: each round's model is looked at before it is taken, on the operator's data or by clients.

    guard = HoldoutGuard.parse("holdout(tolerance=0.05) + clients", evaluate)
    RobustStrategy(FedAvg(), defense, guard=guard)

On a holdout it watches the accuracy, each class's recall, that the loss is finite, and what inference costs; of what
clients report it watches the median. A model that is worse than the rounds before let one expect is not taken, and the
clients whose updates led to it gain suspicion. What is remembered is in the state that every ruling answers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord
from hawthorn.strategies import SettingError
from hawthorn.strategies.flower import Ruling

from .changes import KEPT, Figure, fall, followed
from .checks import Clients, Holdout, checks
from .watched import ACCURACY, CLIENTS, COUNTS, DENSITY, LOSS, RECALLS, figures, lost, not_finite, reported, told

logger = logging.getLogger(__name__)

Evaluate = Callable[[int, ArrayRecord], MetricRecord | None]
State = dict[str, Any]

UNCHECKED = "unchecked-rounds"  # the metric that tells for how many rounds nothing could be evaluated
PATIENCE = 3  # rounds rolled back in a row after which the guard says what an operator can do
ENOUGH = 5  # rounds whose time has to be known before one is slow


class HoldoutGuard:
    """A guard that looks at models on the operator's data (`evaluate`), through the clients' eyes, or both.

    The evaluation of round 0 must work, and give something to watch, or raises `SettingError`. A later one that answers
    None, or raises, though it would for any model, leaves a round unchecked: the model is taken, a warning is logged,
    and the round's metrics tell how many rounds in a row that was so. One that raises for this model alone speaks
    against the model.
    """

    def __init__(
        self, evaluate: Evaluate | None = None, holdout: Holdout | None = None, clients: Clients | None = None
    ) -> None:
        if holdout is None and clients is None:
            raise SettingError("a guard needs something to look at: write holdout=Holdout(), or clients=Clients()")
        if (holdout is None) != (evaluate is None):
            raise SettingError("a guard needs both, a function evaluate(round, arrays) and holdout=Holdout(), or none")
        self.evaluate, self.holdout, self.clients = evaluate, holdout, clients

    @classmethod
    def parse(cls, text: str, evaluate: Evaluate | None = None) -> HoldoutGuard:
        """The guard that a text asks for; `evaluate` is left alone where that has no use for a holdout."""
        holdout, clients = checks(text)
        if holdout is not None and evaluate is None:
            raise SettingError(f"guard={text!r} needs a holdout: write holdout='package.module:function', or guard=''")
        return cls(evaluate if holdout else None, holdout, clients)

    def check(self, round: int, arrays: ArrayRecord, state: State | None) -> Ruling:
        """The ruling on the model after a round, from the operator's data; of round 0's it only takes note."""
        memory = _begun(state)
        if self.evaluate is None or self.holdout is None:
            return Ruling(None, None, memory)
        memory = _since(memory, "holdout", self.holdout.since, round)
        started = time.perf_counter()
        try:
            metrics = self.evaluate(round, arrays)
        except Exception as error:
            return self._failed(error, round, arrays, memory)
        if metrics is None:
            if round == 0:
                raise SettingError("the evaluation on the holdout must work for the initial model, but it answers None")
            logger.warning("round %d: the evaluation on the holdout answered None: the model is not checked", round)
            return _unchecked(memory)
        memory["unchecked"] = 0
        seconds = time.perf_counter() - started
        return self._ruled(round, metrics, seconds, memory)

    def check_reports(self, round: int, reports: Mapping[str, MetricRecord], state: State | None) -> Ruling:
        """The ruling on the same model, from what clients say of it; too few of them say nothing."""
        memory = dict(state) if state is not None else _begun(None)
        if self.clients is None:
            return Ruling(None, None, memory)
        if memory["candidate"] is None:  # nobody has looked at the model before
            memory["candidate"] = memory["accepted"]
        memory = _since(memory, "clients", self.clients.since, round)
        fault = lost(reports, least=self.clients.least)
        if fault:
            return _answered(fault, None, [], memory, self._advice(round, "clients"))
        seen = reported(reports, least=self.clients.least, collapse=self.clients.collapse)
        if not seen:
            logger.warning(
                "round %d: %d clients report of the model, too few of them the same metric: it is not checked",
                round,
                len(reports),
            )
        fault = _fault(seen, memory["accepted"], self.clients.rate, self.clients.tolerance)
        return _answered(fault, None, seen, memory, self._advice(round, "clients"))

    def _ruled(self, round: int, metrics: MetricRecord, seconds: float, memory: State) -> Ruling:
        assert self.holdout is not None
        options = self.holdout
        fault = not_finite(metrics, options.metric)
        if fault and round == 0:
            raise SettingError(f"the holdout must give finite numbers for the initial model, but {fault}")
        if fault:
            return _answered(fault, metrics, [], memory, self._advice(round, "holdout"))
        seen = figures(metrics, overall=options.metric, examples=options.examples, collapse=options.collapse)
        if round == 0:
            self._check_watchable(metrics, seen)
            return _answered(None, metrics, seen, memory, "")
        fault = _fault(seen, memory["accepted"], options.rate, options.tolerance)
        if options.slowdown:
            fault = fault or _slow(seconds, memory["seconds"], options.slowdown)
            memory["seconds"] = memory["seconds"] if fault else [*memory["seconds"], seconds][-KEPT:]
        return _answered(fault, metrics, seen, memory, self._advice(round, "holdout"))

    def _failed(self, error: Exception, round: int, arrays: ArrayRecord, memory: State) -> Ruling:
        """The ruling on a model whose evaluation raised: is it the model, or is it the evaluation?"""
        if round == 0:
            raise SettingError(
                f"the evaluation on the holdout must work for the initial model, but: {type(error).__name__}: {error}"
            ) from error
        assert self.evaluate is not None
        blank = {name: Array(np.zeros_like(array.numpy())) for name, array in arrays.items()}
        try:
            self.evaluate(round, ArrayRecord(blank))
        except Exception:  # not even for a model of zeros
            logger.error(
                "round %d: the evaluation on the holdout failed: the model is not checked", round, exc_info=error
            )
            return _unchecked(memory)
        fault = f"the evaluation on the holdout fails for this model: {type(error).__name__}: {error}"
        return _answered(fault, None, [], memory, self._advice(round, "holdout"))

    def _check_watchable(self, metrics: MetricRecord, seen: Sequence[Figure]) -> None:
        assert self.holdout is not None
        wanted = self.holdout.metric
        if not seen or (wanted != ACCURACY and wanted not in metrics):
            raise SettingError(
                f"the guard watches {wanted}, {LOSS}, {RECALLS} and {DENSITY}, but the holdout gives "
                f"{sorted(metrics)}: name one of these, the larger the better, as guard=\"holdout(metric='...')\""
            )
        if RECALLS in metrics and RECALLS not in {figure.name for figure in seen}:
            raise SettingError(f"the guard watches {RECALLS} with {COUNTS} beside it, how many there are of each class")

    def _advice(self, round: int, name: str) -> str:
        return (
            f"if the federation has changed for good, go on with guard='{name}(since={round + 1})', which takes the "
            "next model as it is, or with a larger tolerance"
        )


def _fault(seen: Sequence[Figure], before: Mapping[str, Any], rate: float, tolerance: float) -> str | None:
    """What is worse than before, in words; all comparisons together are wrong with the probability `rate`."""
    tests = sum(figure.tests for figure in seen)
    falls = [
        (figure.name, found)
        for figure in seen
        if (found := fall(figure, before.get(figure.name), rate=rate / tests, tolerance=tolerance))
    ]
    return "; ".join(told(name, found) for name, found in falls) or None


def _slow(seconds: float, before: Sequence[float], slowdown: float) -> str | None:
    usual = float(np.median(before)) if len(before) >= ENOUGH else float("inf")
    return f"an evaluation took {seconds:.3g} s, where {usual:.3g} s are usual" if seconds > slowdown * usual else None


def _begun(state: State | None) -> State:
    """The memory at the beginning of a round: what became of the candidate before is known by now.

    `accepted` are the series of the models that were taken, `candidate` those with the newest one, None if that was
    rolled back; `rollbacks` counts how many were in a row.
    """
    if state is None:
        return {"accepted": {}, "candidate": None, "rollbacks": 0, "unchecked": 0, "since": {}, "seconds": []}
    if state["candidate"] is None:
        return dict(state)
    return {**state, "accepted": state["candidate"], "candidate": None, "rollbacks": 0}


def _since(memory: State, name: str, since: int, round: int) -> State:
    """The memory without what was seen before the round from which on an operator wants things to count."""
    if round < since or since <= memory["since"].get(name, 0):
        return memory
    logger.warning("round %d: what the guard saw before (%s) is forgotten, as since=%d asks for", round, name, since)
    kept = {
        part: {
            figure: series
            for figure, series in memory[part].items()
            if figure.startswith(CLIENTS) != (name == "clients")
        }
        for part in ("accepted", "candidate")
        if memory[part] is not None
    }
    seconds: list[float] = [] if name == "holdout" else memory["seconds"]
    return {**memory, **kept, "seconds": seconds, "rollbacks": 0, "since": {**memory["since"], name: since}}


def _answered(
    fault: str | None, metrics: MetricRecord | None, seen: Sequence[Figure], memory: State, advice: str
) -> Ruling:
    """The ruling, with the candidate among the accepted ones from the next round on, unless there is a fault."""
    if fault is not None:
        count = memory["rollbacks"] + 1
        if count >= PATIENCE:
            fault = f"{fault}; {count} rounds in a row were rolled back: {advice}"
        return Ruling(fault, metrics, {**memory, "candidate": None, "rollbacks": count})
    before = memory["accepted"] if memory["candidate"] is None else memory["candidate"]
    after = {figure.name: followed(figure, before.get(figure.name)) for figure in seen}
    return Ruling(None, metrics, {**memory, "candidate": {**before, **after}})


def _unchecked(memory: State) -> Ruling:
    """The ruling on a model of which nothing is known: it is taken, and the metrics say so."""
    count = memory["unchecked"] + 1
    after = {**memory, "candidate": memory["accepted"], "unchecked": count}
    return Ruling(None, MetricRecord({UNCHECKED: count}), after)
