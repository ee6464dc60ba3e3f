"""The search: Optuna's tree-structured Parzen estimator asks for attacks, a batch at a time, and is told their harm."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from .space import Candidate, Choice, Domain, Factor, Space
from .trials import Trial

Parameters = Mapping[str, tuple[Domain, Any]]
"""The parameters that make a candidate, by name, each with its domain and value."""

TURN = 4  # every so many attacks, it is some update's turn, whatever is known of it
PATIENCE = 20  # asked for so many attacks in a row that were all tried before, it has nothing new to offer


def searched(
    space: Space,
    judged: Callable[[Sequence[Candidate]], Sequence[Trial]],
    harm: Callable[[Trial], float | None],
    known: Sequence[Trial],
    *,
    trials: int,
    batch: int,
    seed: int,
    over: Callable[[], bool] = lambda: False,
) -> list[Trial]:
    """So many trials of attacks that are not among the `known` ones, fewer where it is `over` or nothing new comes.

    What is known of attacks is told to the search first, so that it begins where the catalog ends. `judged` tries a
    batch of attacks, `harm` says what of a trial the search wants much of. A quarter of the attacks take turns over all
    updates there are, so that a search does not dig on where it has found something first. Nothing but the seed, the
    batch and the harm decides over what is tried: who runs it again gets the same.

    Bergstra, Bardenet, Bengio, Kegl, NeurIPS 2011, https://papers.nips.cc/paper/4443 (the estimator)
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    tried: dict[Candidate, float | None] = {}
    for trial in known:
        tried[trial.candidate] = harm(trial)
        drawn = space.parameters(trial.candidate)
        if drawn is not None:
            tried[_made(space, drawn)] = harm(trial)  # the same attack, with all options written out
            _tell_known(study, drawn, harm(trial))
    turns = itertools.cycle(space.updates)
    ended: list[Trial] = []
    while len(ended) < trials and not over():
        count = min(batch, trials - len(ended))
        for place in range(len(ended), len(ended) + count):
            if place % TURN == 0:
                study.enqueue_trial({"update": next(turns)})
        asked = _asked(study, space, tried, count)
        if not asked:
            break
        judgment = judged(list(asked))
        for trial in judgment:
            tried[trial.candidate] = harm(trial)
            for told in asked[trial.candidate]:
                _tell(study, told, tried[trial.candidate])
        ended += judgment
    return ended


def _asked(
    study: optuna.Study, space: Space, tried: dict[Candidate, float | None], count: int
) -> dict[Candidate, list[optuna.Trial]]:
    """So many candidates that were not tried before, each with the study's trials that drew it."""
    asked: dict[Candidate, list[optuna.Trial]] = {}
    patience = PATIENCE
    while len(asked) < count and patience:
        trial = study.ask()
        candidate = space.candidate(lambda name, domain, trial=trial: _suggested(trial, name, domain))
        if candidate in tried:
            _tell(study, trial, tried[candidate])
        if candidate in tried or candidate in asked:
            patience -= 1
        if candidate not in tried:
            asked.setdefault(candidate, []).append(trial)
    return asked


def _tell(study: optuna.Study, trial: optuna.Trial, harm: float | None) -> None:
    if harm is None or not math.isfinite(harm):
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, harm)


def _made(space: Space, drawn: Parameters) -> Candidate:
    return space.candidate(lambda name, _: drawn[name][1])


def _tell_known(study: optuna.Study, drawn: Parameters, harm: float | None) -> None:
    if harm is None or not math.isfinite(harm):
        return
    study.add_trial(
        optuna.create_trial(
            params={name: value for name, (_, value) in drawn.items()},
            distributions={name: _distribution(domain) for name, (domain, _) in drawn.items()},
            value=harm,
        )
    )


def _suggested(trial: optuna.Trial, name: str, domain: Domain) -> Any:
    if isinstance(domain, Choice):
        return trial.suggest_categorical(name, domain.values)
    if isinstance(domain, Factor):
        return trial.suggest_float(name, domain.low, domain.high, log=True)
    return trial.suggest_int(name, domain.low, domain.high)


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if isinstance(domain, Factor):
        return FloatDistribution(domain.low, domain.high, log=True)
    return IntDistribution(domain.low, domain.high)
