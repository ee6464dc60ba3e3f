"""A search from its beginning to its end: known attacks, new ones, a runoff of the worst, and fresh seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..evaluation.grid import Grid
from ..evaluation.store import Store
from ..evaluation.summary import Estimate, entries
from ..evaluation.work import Processes, results
from .findings import Findings, harm, worst_of_families
from .goal import Goal
from .search import searched
from .space import EXCLUDED
from .spec import grid_values
from .terminal import Progressing
from .trials import Judge, Trial

FINALISTS = 3  # of the known attacks, and of the new ones, each of another family


def redteamed(goal: Goal, store: Path, *, workers: int, progress: Progressing) -> Findings:
    """The findings of a search; raises `HawthornError` where no attack can be measured.

    Every run is kept in the store: whoever searches again with the same goal runs none twice.
    """
    wishes = goal.space.wishes
    with Store(store) as kept, Processes(workers) as hands, progress:
        judge = Judge(goal.settings, kept, hands, wishes=wishes, watch=progress.after)
        space, left_out = goal.fitting(judge)
        trials = _known(goal, judge, progress)
        progress.phase("search", goal.trials)
        trials += searched(
            space,
            lambda candidates: judge.trials(candidates, goal.searching, batch=goal.batch),
            lambda trial: trial.harm(wishing=wishes),
            trials,
            trials=goal.trials,
            batch=goal.batch,
            seed=goal.seed,
            over=lambda: progress.over(goal.minutes),
        )
        runoff = _runoff(goal, judge, trials, progress)
        ranked = sorted(runoff, key=lambda trial: -harm(trial, goal))
        known = next(trial.candidate for trial in ranked if trial.known)
        found = next((trial.candidate for trial in ranked if not trial.known), None)
        confirmed = [candidate for candidate in (known, found) if candidate]
        progress.phase("confirmation", len(confirmed))
        cells = [cell for candidate in confirmed for cell in Grid.parse(grid_values(goal, candidate)).cells()]
        reached, failed = results(cells, kept, workers=hands, watch=lambda _: None)
        paired = replace(judge, wishes=True).trials(confirmed, goal.confirming, batch=len(confirmed))
    return Findings(
        goal=goal,
        defense=str(goal.settings.recipe),
        trials=tuple(trials),
        runoff=tuple(runoff),
        known=known,
        found=found,
        worst=ranked[0].candidate,
        entries=entries(list({cell.key: cell for cell in cells}.values()), reached),
        added=_added(paired, wishes),
        left_out=dict(EXCLUDED) | left_out,
        failed=judge.failed | failed,
    )


def _known(goal: Goal, judge: Judge, progress: Progressing) -> list[Trial]:
    """The known attacks that can be carried out, tried as long as there is time."""
    candidates = [candidate for candidate in goal.known() if not judge.misfit(candidate, goal.seed)]
    progress.phase("known attacks", len(candidates))
    trials: list[Trial] = []
    for start in range(0, len(candidates), goal.batch):
        if trials and progress.over(goal.minutes):
            break
        batch = candidates[start : start + goal.batch]
        trials += [replace(trial, known=True) for trial in judge.trials(batch, goal.searching, batch=goal.batch)]
    return trials


def _runoff(goal: Goal, judge: Judge, trials: Sequence[Trial], progress: Progressing) -> list[Trial]:
    """The worst attacks on more seeds; few as they are, all seeds so far decide together which is the worst."""
    finalists = [
        trial
        for known in (True, False)
        for trial in worst_of_families([trial for trial in trials if trial.known == known], goal)[:FINALISTS]
    ]
    progress.phase("runoff", len(finalists))
    seeds = (*goal.searching, *goal.deciding)
    again = judge.trials([trial.candidate for trial in finalists], seeds, batch=goal.batch)
    return [replace(trial, known=first.known) for trial, first in zip(again, finalists, strict=True)]


def _added(paired: Sequence[Trial], wishes: bool) -> Estimate | None:
    """How much more harm the second attack does than the first, seed by seed."""
    if len(paired) < 2:
        return None
    known, found = ((trial.excesses if wishes else trial.losses) for trial in paired)
    return Estimate.of(
        None if one is None or other is None else other - one for one, other in zip(known, found, strict=True)
    )
