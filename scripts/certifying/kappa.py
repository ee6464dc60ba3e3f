"""The empirical worst case of a defense: hostile rows sought that move its update as far as its coefficient allows.

The coefficient is the least kappa with |F - mean_S|^2 <= kappa times the mean over S of |x_i - mean_S|^2 for every set
S of n - f rows. What is found here is a round and an S that need so large a kappa: a true lower bound, never a proof.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hawthorn.strategies import Defense, SettingError
from hawthorn.strategies.contract import RULES, TRANSFORMS, Call
from numpy.typing import NDArray

from .hostile_rows import attacks, changed, spread

Floats = NDArray[np.float64]
Sets = NDArray[np.bool_]
Order = NDArray[np.intp]
Answer = Callable[[Floats], "Floats | None"]
"""The rows `(n, k)` of a round -> the update `(k,)` that the defense makes of them, None where it makes none."""

COLUMNS = 128  # what is looked at of rows whose columns cannot be turned
EVERY = 300  # sets S up to which all of them are tried
FARTHEST = 1e12  # of honest spreads: no hostile row is farther out, so that digits are left
SWAPS, PAIRS = 20, 1000  # exchanges of a row of S for another, and how many are tried for each, where S are many
LEADERS = 2  # attacks of different kinds that are refined for each aim
# any S counts, but rows so far out that an S with some of them needs `least_kappa` are a plateau: nothing near is worse
AIMS = ("kappa", "moved")


@dataclass(frozen=True, eq=False)
class Worst:
    """The largest coefficient that a round was found to need.

    `attack` tells how its hostile rows were made, `rows` `(n, k)` holds the honest ones first, and `chosen` are the
    rows of S. `moved` is the largest one found where S is the honest rows. Of `tried` rounds, the defense gave
    `skipped` no update.
    """

    kappa: float
    moved: float
    attack: str
    rows: Floats
    chosen: tuple[int, ...]
    tried: int
    skipped: int


def worst_case(defense: Defense, updates: Floats, n: int, f: int, *, budget: int, seed: int) -> Worst:
    """The worst found in `budget` rounds of n rows, n - f of them of the honest `updates` `(rounds, m, d)`.

    The defense is asked as it is, without a state. Raises `SettingError` where honest rows are few or all alike.
    """
    rng = np.random.default_rng([seed, n, f])
    honest = honest_rounds(defense, updates, n - f, rng)
    search = _Search(lambda rows: defense(rows).update, n, f, budget)
    for rows, attack in _drawn(honest, f, max(budget // 2, 1), rng):
        search.attempt(rows, *attack)
    for aim in AIMS:
        for leader in search.leaders(aim):
            search.scale(leader, aim)
    ways = [(aim, leader) for aim in AIMS for leader in search.leaders(aim)]
    for left, (aim, leader) in zip(range(len(ways), 0, -1), ways, strict=True):
        search.climb(leader, aim, search.tried + (budget - search.tried) // left, rng)
    return search.worst()


def honest_rounds(defense: Defense, updates: Floats, h: int, rng: np.random.Generator) -> list[Floats]:
    """Of each round, h rows drawn at random, `(h, k)`, in few columns.

    Where all that counts is the rows' geometry, the columns are turned so that h of them hold all there is, and one
    more, of zeros, lets hostile rows leave that space. Else `COLUMNS` are drawn of those in which rows differ.
    """
    _, m, _ = updates.shape
    if m < h:
        raise SettingError(f"the updates must be of at least n - f = {h} honest clients, got {m}")
    differing = np.flatnonzero(updates.max(axis=(0, 1)) > updates.min(axis=(0, 1)))
    columns: Order = np.sort(rng.permutation(differing)[:COLUMNS])
    rounds: list[Floats] = []
    for rows in updates:
        chosen: Floats = rows[np.sort(rng.permutation(m)[:h])]
        chosen = chosen if turns(defense) else chosen[:, columns]
        if spread(chosen) <= 1e-12 * np.abs(chosen).max(initial=0.0):  # but for rounding, all rows are one
            continue
        if turns(defense):
            triangle: Any = np.linalg.qr(chosen.T, mode="r")  # NumPy's types know another mode
            chosen = np.pad(triangle.T, ((0, 0), (0, 1)))
        rounds.append(chosen)
    if not rounds:
        raise SettingError("the honest updates must differ from each other, but in every round they are all alike")
    return rounds


def turns(defense: Defense) -> bool:
    """Whether turning all rows turns the update of a defense and nothing else, so that their geometry is enough."""
    rule = RULES[Call.parse(defense.rule).name]
    parts = (rule, *(TRANSFORMS[Call.parse(text).name] for text in defense.before))
    return rule.geometric and all("rotation" not in part.exempt for part in parts)


def needed_kappa(update: Floats, rows: Floats, sets: Sets) -> tuple[float, int]:
    """The largest coefficient that one of the sets S, `(K, n)`, asks for, and which set it is.

    What is smaller than rounding is nothing: neither a distance of the update nor a variance of S.
    """
    h = int(sets[0].sum())
    middle = rows[sets[0]].mean(axis=0)
    away, least = rows - middle, 1e-12 * spread(rows[sets[0]]) ** 2
    shares = sets / h
    means = shares @ away
    variances = np.maximum(shares @ (away**2).sum(axis=1) - (means**2).sum(axis=1), max(least, 1e-300))
    distances = ((update - middle - means) ** 2).sum(axis=1)
    ratios = np.where(distances > least, distances, 0.0) / variances
    return float(ratios.max()), int(ratios.argmax())


def sets_of(rows: Floats, f: int) -> Sets:
    """Sets of n - f rows, `(K, n)`, the honest rows first: all, where they are few, or else each row's nearest."""
    n = len(rows)
    if math.comb(n, f) <= EVERY:
        return _every_set(n, f)
    sets = np.zeros((n + 1, n), bool)
    sets[0, : n - f] = True
    away = rows - rows[: n - f].mean(axis=0)
    squares = (away**2).sum(axis=1)
    nearest = np.argsort(squares[:, None] + squares[None, :] - 2 * away @ away.T, axis=1, kind="stable")[:, : n - f]
    np.put_along_axis(sets[1:], nearest, True, axis=1)
    return sets


@functools.lru_cache(maxsize=4)
def _every_set(n: int, f: int) -> Sets:
    sets = np.ones((math.comb(n, f), n), bool)
    for place, left in enumerate(itertools.combinations(range(n - 1, -1, -1), f)):  # the last f rows are left out first
        sets[place, list(left)] = False
    sets.setflags(write=False)
    return sets


def _drawn(
    honest: Sequence[Floats], f: int, most: int, rng: np.random.Generator
) -> Iterator[tuple[Floats, tuple[str, str, Floats]]]:
    """Up to `most` attacks, drawn at random from those on any of the rounds, each with the honest rows of its round."""
    seeds = [int(seed) for seed in rng.integers(2**32, size=len(honest))]

    def every() -> Iterator[tuple[Floats, tuple[str, str, Floats]]]:  # made again, as all at once may not fit memory
        for rows, seed in zip(honest, seeds, strict=True):
            for attack in attacks(rows, f, np.random.default_rng(seed)):
                yield rows, attack

    chosen = set(rng.permutation(sum(1 for _ in every()))[:most].tolist())
    return (drawn for place, drawn in enumerate(every()) if place in chosen)


@dataclass(frozen=True, eq=False)
class _Attempt:
    """A round, the coefficient it needs, and the one it needs for the set of the honest rows alone."""

    kappa: float
    moved: float
    kind: str
    name: str
    honest: Floats
    hostile: Floats


class _Search:
    """What has been tried of a budget, and the worst of each kind."""

    def __init__(self, answer: Answer, n: int, f: int, budget: int) -> None:
        self.answer, self.n, self.f, self.budget = answer, n, f, budget
        self.tried = self.skipped = 0
        self.best: dict[tuple[str, str], _Attempt] = {}

    def attempt(self, honest: Floats, kind: str, name: str, hostile: Floats) -> _Attempt:
        """One round asked of the defense."""
        rows = np.vstack([honest, hostile])
        update = self.answer(rows)
        self.tried += 1
        kappa = moved = -1.0
        if update is None:
            self.skipped += 1
        else:
            sets = sets_of(rows, self.f)
            kappa, _ = needed_kappa(update, rows, sets)
            moved, _ = needed_kappa(update, rows, sets[:1])
        attempt = _Attempt(kappa, moved, kind, name, honest, hostile)
        for aim in AIMS:
            before = self.best.setdefault((aim, kind), attempt)
            if getattr(attempt, aim) > getattr(before, aim):
                self.best[aim, kind] = attempt
        return attempt

    def leaders(self, aim: str) -> list[_Attempt]:
        """The worst attempts of different kinds."""
        found = [attempt for (aimed, _), attempt in self.best.items() if aimed == aim]
        return sorted(found, key=lambda attempt: -getattr(attempt, aim))[:LEADERS]

    def scale(self, leader: _Attempt, aim: str) -> None:
        """Bring the hostile rows farther from the honest mean or nearer to it, as long as that is worse."""
        middle, size = leader.honest.mean(axis=0), spread(leader.honest)
        step = 10.0
        while step > 1.02 and self.tried < self.budget:
            for factor in (step, 1 / step):
                moved = middle + factor * (leader.hostile - middle)
                if self.tried < self.budget and np.abs(moved - middle).max() <= FARTHEST * size:
                    found = self.attempt(leader.honest, leader.kind, f"{_plain(leader.name)}, scaled", moved)
                    if getattr(found, aim) > getattr(leader, aim):
                        leader = found
                        break
            else:
                step = math.sqrt(step)

    def climb(self, leader: _Attempt, aim: str, until: int, rng: np.random.Generator) -> None:
        """Change the hostile rows a little at random, and keep what is worse."""
        size, reach = spread(leader.honest), 1.0
        while self.tried < until:
            hostile = changed(leader.hostile, leader.honest, reach, rng)
            if np.abs(hostile - leader.honest.mean(axis=0)).max() > FARTHEST * size:
                reach = 1.0
                continue
            found = self.attempt(leader.honest, leader.kind, f"{_plain(leader.name)}, refined", hostile)
            better = getattr(found, aim) > getattr(leader, aim)
            leader = found if better else leader
            reach = min(max(reach * (1.6 if better else 0.9), 1e-3), 10.0)

    def worst(self) -> Worst:
        """The worst round of all, and the set it is worst for."""
        worst = max(self.best.values(), key=lambda attempt: attempt.kappa)
        rows = np.vstack([worst.honest, worst.hostile])
        update = self.answer(rows)
        if update is None:
            return Worst(0.0, 0.0, "none: every round was skipped", rows, (), self.tried, self.skipped)
        moved = max(attempt.moved for attempt in self.best.values())
        sets = sets_of(rows, self.f)
        kappa, place = needed_kappa(update, rows, sets)
        if len(sets) < math.comb(self.n, self.f):
            kappa, chosen = _swapped(update, rows, sets[0], sets[place])
        else:
            chosen = sets[place]
        places = tuple(np.flatnonzero(chosen).tolist())
        return Worst(kappa, moved, worst.name, rows, places, self.tried, self.skipped)


def _plain(name: str) -> str:
    """The name without what was done to it since."""
    return name.removesuffix(", refined").removesuffix(", scaled")


def _swapped(update: Floats, rows: Floats, honest: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> tuple[float, Sets]:
    """The coefficient for the set S that is worst after rows are exchanged one at a time, and that set."""
    rng = np.random.default_rng(0)
    kappa, _ = needed_kappa(update, rows, np.stack([honest, chosen]))
    for _ in range(SWAPS):
        leaving, joining = np.meshgrid(np.flatnonzero(chosen), np.flatnonzero(~chosen))
        drawn: Order = rng.permutation(leaving.size)[:PAIRS]
        sets = np.tile(chosen, (len(drawn) + 1, 1))
        sets[0] = honest
        sets[np.arange(1, len(sets)), leaving.ravel()[drawn]] = False
        sets[np.arange(1, len(sets)), joining.ravel()[drawn]] = True
        found, place = needed_kappa(update, rows, sets)
        if found <= kappa * (1 + 1e-9):
            break
        kappa, chosen = found, sets[place]
    return kappa, chosen
