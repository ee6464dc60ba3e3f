"""What is searched: against which defense, for what, how long, and on which seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from hawthorn.client.attacks import Recipe, wanted
from hawthorn.client.tasks import Task, find_task
from hawthorn.server.settings import Settings
from hawthorn.strategies import SettingError
from hawthorn.strategies.contract import ATTACKS, Call, attackers, hostile_count

from ..evaluation.catalog import CATALOG, STORY
from .space import WISHES, Candidate, Space
from .trials import WISHLESS, Judge

ANY = "any"
RUNOFF = 3  # seeds of the runoff


@dataclass(frozen=True)
class Goal:
    """What is searched, and how long.

    `values` are the federation's settings by name, and `hostile` how many attack, empty for one up to the tolerated.
    `wish` is empty to search for damage; for an attack that gets what it wants it is "any", "story" for what the task's
    own attack wants, or an attack on data. Attacks are tried on `search_seeds` seeds from `seed` on; the finalists also
    on the next ones, and the worst is confirmed on the `confirm_seeds` after these, which have chosen nothing: the best
    of many was lucky on the seeds that made it the best. `minutes` 0 is no limit.
    """

    values: Mapping[str, Any]
    hostile: str = ""
    wish: str = ""
    trials: int = 60
    minutes: float = 0.0
    seed: int = 1
    search_seeds: int = 2
    confirm_seeds: int = 5
    batch: int = 4

    @property
    def searching(self) -> tuple[int, ...]:
        """The seeds on which attacks are tried."""
        return tuple(range(self.seed, self.seed + self.search_seeds))

    @property
    def deciding(self) -> tuple[int, ...]:
        """Those that come in with the runoff.

        >>> goal = Goal({}, search_seeds=2, confirm_seeds=4)
        >>> goal.searching, goal.deciding, goal.confirming
        ((1, 2), (3, 4, 5), (6, 7, 8, 9))
        """
        start = self.seed + self.search_seeds
        return tuple(range(start, start + RUNOFF))

    @property
    def confirming(self) -> tuple[int, ...]:
        """Those of the figures that are reported."""
        start = self.seed + self.search_seeds + RUNOFF
        return tuple(range(start, start + self.confirm_seeds))

    @cached_property
    def settings(self) -> Settings:
        """The settings of the federation, attacked by somebody; raises `SettingError`."""
        return Settings.parse(dict(self.values) | {"hostile": 1, "attack": WISHLESS})

    @cached_property
    def task(self) -> Task:
        """The task that is learned."""
        return find_task(self.settings.task, self.settings.data or None)

    @cached_property
    def space(self) -> Space:
        """What there is to try, whether it fits the task or not; raises `SettingError`."""
        clients, defense = self.settings.clients, self.settings.recipe
        most = attackers(self.hostile, clients) if self.hostile else hostile_count(defense.f, clients)
        if not most:
            raise SettingError(
                f"{defense} bears nobody: write --tolerated 1 or more, or --hostile 1 to attack it anyway"
            )
        space = Space(clients, self.task.classes, self.settings.rounds, most if self.hostile else 1, most)
        return space.wishing_for(_wish(self.wish, self.task)) if self.wish else space

    def known(self) -> list[Candidate]:
        """The catalog's attacks and the task's own, by as many clients as may be; with the wish in place of theirs."""
        recipes = [Recipe.parse(text) for text in (*CATALOG, self.task.story)]
        if self.space.wishes:
            recipes = [recipe for recipe in recipes if wanted(recipe, self.task.test, self.task)]
        if self.space.wish:
            recipes = [_with_lesson(recipe, self.space.wish) for recipe in recipes]
        return [Candidate(attack, self.space.most) for attack in dict.fromkeys(map(str, recipes))]

    def fitting(self, judge: Judge) -> tuple[Space, dict[str, str]]:
        """The space without what cannot be carried out on this task, and why that cannot."""
        reasons: dict[str, str] = {}

        def fits(name: str, candidate: Candidate) -> bool:
            reason = judge.misfit(candidate, self.seed)
            for call in Recipe.parse(candidate.attack).calls:
                reason = reason.replace(str(call), "it") if call.name == name else reason
            if reason:
                reasons[name] = reason
            return not reason

        lessons = tuple(name for name in self.space.lessons if fits(name, self.space.start(lesson=name)))
        if not lessons:
            raise SettingError(f"no attack can be carried out: {'; '.join(reasons.values())}")
        space = replace(self.space, lessons=lessons)
        wishes = [name for name in lessons if name in WISHES]
        if wishes and not fits("neurotoxin", space.start(lesson=wishes[0], lasts=True)):
            space = replace(space, lasting=False)
        updates = tuple(name for name in space.updates if fits(name, space.start(update=name)))
        return replace(space, updates=updates), reasons


def _wish(text: str, task: Task) -> Call | None:
    """The attack on data whose wish is searched for; None for any."""
    if text == ANY:
        return None
    recipe = Recipe.parse(task.story if text == STORY else text)
    lessons = recipe.of_kind("data")
    if len(lessons) != 1 or lessons[0].name not in WISHES or (text != STORY and len(recipe.calls) > 1):
        raise SettingError(
            f"--wish must be any, story, or one of {', '.join(WISHES)}, such as 'targeted_flip(source=1, target=0)'; "
            f"got {text!r}"
        )
    recipe.check(task, clients=3, hostile=1)
    return lessons[0]


def _with_lesson(recipe: Recipe, wish: Call) -> Recipe:
    """The recipe with another attack on data, in the place of its own."""
    return Recipe((wish, *(call for call in recipe.calls if ATTACKS[call.name].kind != "data")))
