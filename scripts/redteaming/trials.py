"""What an attack does to the defense: it is run on some seeds, and held against the honest clients alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hawthorn.server.settings import Settings
from hawthorn.strategies import SettingError

from ..evaluation.cell import Cell, Result
from ..evaluation.run import federation_of
from ..evaluation.store import Store
from ..evaluation.summary import Estimate, difference
from ..evaluation.work import Done, Processes, results
from .space import Candidate

WISHLESS = "sign_flip"  # any attack without a wish: what honest clients reach alone is then one run for all attacks


@dataclass(frozen=True)
class Trial:
    """An attack tried: what it did with each seed, in their order; None where it was not measured.

    `losses` are what the task's figure loses to the honest clients alone, `excesses` how much more often than there the
    attack gets its wish. `known` says that it is one of the catalog's, not one that the search came upon.
    """

    candidate: Candidate
    losses: tuple[float | None, ...]
    excesses: tuple[float | None, ...]
    recall: Estimate | None
    auroc: Estimate | None
    false_alarm_rate: Estimate | None
    known: bool = False

    @property
    def damage(self) -> Estimate | None:
        """What the figure loses."""
        return Estimate.of(self.losses)

    @property
    def excess(self) -> Estimate | None:
        """How much more often the attack gets its wish."""
        return Estimate.of(self.excesses)

    def harm(self, *, wishing: bool) -> float | None:
        """What the search wants much of: the excess where it is after a wish, otherwise the damage."""
        found = self.excess if wishing else self.damage
        return found.mean if found else None


@dataclass
class Judge:
    """Runs attacks on the federation of these settings, and remembers which cells have failed.

    `watch` is called with every batch of attacks that has ended, and whether any of their runs was made now.
    """

    settings: Settings
    store: Store
    workers: Processes
    wishes: bool = False
    watch: Callable[[Sequence[Trial], bool], None] = lambda _trials, _fresh: None
    failed: dict[str, str] = field(default_factory=dict[str, str])

    def cell(self, run: str, candidate: Candidate, seed: int) -> Cell:
        """The cell of one run."""
        return Cell(run, replace(self.settings, hostile=candidate.hostile, attack=candidate.attack, seed=seed))

    def misfit(self, candidate: Candidate, seed: int) -> str:
        """Why the candidate cannot be carried out here; empty if it can."""
        try:
            federation_of(self.cell("defended", candidate, seed))
        except SettingError as error:
            return str(error)
        return ""

    def trials(self, candidates: Sequence[Candidate], seeds: Sequence[int], *, batch: int) -> list[Trial]:
        """A trial of each candidate, in their order, so many attacks at once."""
        found: list[Trial] = []
        for start in range(0, len(candidates), batch):
            found += self._batch(candidates[start : start + batch], seeds)
        return found

    def _batch(self, candidates: Sequence[Candidate], seeds: Sequence[int]) -> list[Trial]:
        fitting = [candidate for candidate in candidates if not self.misfit(candidate, seeds[0])]
        pairs = {candidate: [self._pair(candidate, seed) for seed in seeds] for candidate in fitting}
        cells = [cell for found in pairs.values() for pair in found for cell in pair]
        fresh: list[Done] = []
        reached, failed = results(
            cells,
            self.store,
            workers=self.workers,
            watch=lambda done: fresh.append(done) if done else None,
        )
        self.failed |= failed
        trials = [_trial(candidate, pairs.get(candidate, ()), reached) for candidate in candidates]
        self.watch(trials, bool(fresh))
        return trials

    def _pair(self, candidate: Candidate, seed: int) -> tuple[Cell, Cell]:
        """The defended run and the oracle's."""
        alone = candidate if self.wishes else Candidate(WISHLESS, candidate.hostile)
        return self.cell("defended", candidate, seed), self.cell("oracle", alone, seed)


def _trial(candidate: Candidate, pairs: Sequence[tuple[Cell, Cell]], reached: Mapping[str, Result]) -> Trial:
    found = [(reached.get(defended.key), reached.get(oracle.key)) for defended, oracle in pairs]

    def detected(name: str) -> Estimate | None:
        return Estimate.of(run["detection"].get(name) for run, _ in found if run)

    return Trial(
        candidate=candidate,
        losses=tuple(difference(oracle, run, run["figure"]) if run else None for run, oracle in found),
        excesses=tuple(difference(run, oracle, "attack_success") for run, oracle in found),
        recall=detected("recall"),
        auroc=detected("auroc"),
        false_alarm_rate=detected("false_alarm_rate"),
    )
