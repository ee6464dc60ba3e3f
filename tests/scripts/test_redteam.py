import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hawthorn.client.attacks import Recipe, wanted
from hawthorn.client.tasks import Task, find_task
from hawthorn.scripts.evaluation import work
from hawthorn.scripts.evaluation.catalog import CATALOG
from hawthorn.scripts.evaluation.cell import Cell
from hawthorn.scripts.evaluation.store import Store
from hawthorn.scripts.evaluation.work import Processes
from hawthorn.scripts.redteaming.goal import Goal
from hawthorn.scripts.redteaming.search import searched
from hawthorn.scripts.redteaming.space import (
    EXCLUDED,
    LESSONS,
    OPTIONS,
    UPDATES,
    Candidate,
    Choice,
    Factor,
    Space,
)
from hawthorn.scripts.redteaming.trials import Judge, Trial
from hawthorn.server.settings import Settings
from hawthorn.strategies.contract import ATTACKS, Call
from program import Ended

SPACE = Space(clients=10, classes=10, rounds=20, least=1, most=3)


@pytest.fixture(scope="module")
def digits() -> Task:
    return find_task("digits")


def drawn(space: Space, count: int) -> list[Candidate]:
    """Candidates drawn at random, each attack and option as likely as any other."""
    rng = np.random.default_rng(1)

    def draw(_: str, domain):
        if isinstance(domain, Choice):
            return domain.values[rng.integers(len(domain.values))]
        if isinstance(domain, Factor):
            return float(np.exp(rng.uniform(np.log(domain.low), np.log(domain.high))))
        return int(rng.integers(domain.low, domain.high + 1))

    return [space.candidate(draw) for _ in range(count)]


def names(candidate: Candidate) -> list[str]:
    return [call.name for call in Recipe.parse(candidate.attack).calls]


def test_every_attack_there_is_is_searched_or_left_out_with_a_reason():
    found = {name for candidate in drawn(SPACE, 2000) for name in names(candidate)}
    assert found | set(EXCLUDED) == set(ATTACKS)
    assert not found & set(EXCLUDED)
    assert all(EXCLUDED.values())


def test_every_option_that_is_searched_is_one_of_its_attack():
    for name, options in OPTIONS.items():
        assert set(options) <= set(ATTACKS[name].options), name


@pytest.mark.parametrize("task", ["digits", "breast_cancer"])
def test_what_is_drawn_can_be_carried_out(task: str):
    task_ = find_task(task)
    space = replace(SPACE, classes=task_.classes)
    for candidate in drawn(space, 300):
        Recipe.parse(candidate.attack).check(task_, space.clients, candidate.hostile)
        assert 1 <= candidate.hostile <= 3


@pytest.mark.parametrize("attack", CATALOG)
def test_the_search_is_told_of_every_known_attack_that_it_could_find(attack: str):
    parameters = SPACE.parameters(Candidate(attack, 3))
    if set(names(Candidate(attack, 3))) & set(EXCLUDED):
        assert parameters is None
        return
    assert parameters is not None
    assert all(domain.holds(value) for domain, value in parameters.values())
    again = SPACE.candidate(lambda name, _: parameters[name][1])
    for call, made in zip(Recipe.parse(attack).calls, Recipe.parse(again.attack).calls, strict=True):
        assert call.name == made.name
        assert set(call.options) <= set(made.options)
        # what the recipe leaves open is what the attack does by default
        usual = {option: value for option, value in ATTACKS[made.name].options.items() if value is not None}
        opened = dict(made.options).keys() - dict(call.options).keys()
        assert all(dict(made.options)[option] == usual[option] for option in opened & usual.keys())


@pytest.mark.parametrize("wish", [None, Call("targeted_flip", (("source", 7), ("target", 1)))], ids=["any", "one"])
def test_whoever_searches_for_a_wish_tries_only_attacks_that_have_it(wish: Call | None, digits: Task):
    space = SPACE.wishing_for(wish)
    for candidate in drawn(space, 200):
        recipe = Recipe.parse(candidate.attack)
        assert wanted(recipe, digits.test, digits) is not None
        if wish:
            (lesson,) = (call for call in recipe.calls if call.name in LESSONS)
            assert lesson.name == "targeted_flip"
            assert set(wish.options) <= set(lesson.options)
    known = Goal({"clients": 7}, wish=str(wish or "any")).known()
    assert all(wanted(Recipe.parse(one.attack), digits.test, digits) is not None for one in known)
    assert any("model_replacement" in one.attack for one in known)


@pytest.mark.slow
def test_processes_are_kept_for_the_next_cells_and_replaced_when_one_has_died(tmp_path: Path):
    written = {"clients": 3, "rounds": 1, "local-steps": 1, "tolerated": "0.2"}
    with Store(tmp_path / "cells.db") as store, Processes(2) as hands:

        def ran(*seeds: int) -> set[int]:
            cells = [Cell("oracle", Settings.parse(written | {"seed": seed})) for seed in seeds]
            reached, failed = work.results(cells, store, workers=hands, watch=lambda _: None)
            assert failed == {}
            assert len(reached) == len(seeds)
            return set(hands._pool._processes)

        first = ran(1, 2)
        assert ran(3) == first
        os.kill(min(first), signal.SIGKILL)
        assert not ran(4, 5) & first


def test_who_has_no_optuna_is_told_what_to_install():
    script = "import sys; sys.modules['optuna'] = None; from hawthorn.scripts.main import main; main()"
    done = subprocess.run([sys.executable, "-c", script, "redteam"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'hawthorn[redteam]'" in done.stderr


def weakness(candidate: Candidate) -> float:
    """The harm to an imagined defense that falls for inner products, most for those near 0.3."""
    (first, *_) = Recipe.parse(candidate.attack).calls
    epsilon = dict(first.options).get("epsilon", 3.0) if first.name == "ipm" else None
    return 0.0 if epsilon is None else 1 / (1 + abs(np.log(epsilon / 0.3))) * candidate.hostile / 3


def trial(candidate: Candidate) -> Trial:
    return Trial(candidate, (weakness(candidate),), (None,), None, None, None)


def search(**options: int) -> list[Trial]:
    known = [trial(Candidate(attack, 3)) for attack in CATALOG]
    given = {"trials": 60, "batch": 4, "seed": 1} | options
    return searched(
        SPACE,
        lambda candidates: [trial(one) for one in candidates],
        lambda one: one.harm(wishing=False),
        known,
        **given,
    )


def test_the_search_closes_in_on_the_weakness_of_a_defense():
    best = max(weakness(one.candidate) for one in search())
    assert best > 0.85
    assert best > max(weakness(Candidate(attack, 3)) for attack in CATALOG)


def test_a_search_tries_nothing_twice_and_the_same_again_with_the_same_seed():
    found = [one.candidate for one in search()]
    assert len(found) == len(set(found)) == 60
    assert [one.candidate for one in search()] == found
    assert [one.candidate for one in search(trials=24)] == found[:24]
    assert [one.candidate for one in search(seed=2)] != found


def test_a_known_attack_is_not_found_again_with_its_options_written_out():
    space = replace(SPACE, updates=("mimic",), least=3, rounds=3)
    found = searched(
        space,
        lambda candidates: [trial(one) for one in candidates],
        lambda one: float("jitter" not in one.candidate.attack),
        [trial(Candidate("mimic", 3))],
        trials=30,
        batch=4,
        seed=1,
    )
    tried = {one.candidate.attack for one in found}
    assert "mimic(warmup=1)" in tried
    assert "mimic(warmup=10)" not in tried


def test_a_search_ends_where_there_is_nothing_new():
    space = replace(SPACE, least=3, updates=("fang",), rounds=1)
    space = replace(space.wishing_for(Call("label_flip")), updates=("trained",))  # only neurotoxin's share is left
    found = searched(
        space, lambda candidates: [trial(one) for one in candidates], lambda _: 0.1, (), trials=50, batch=4, seed=1
    )
    assert 1 <= len(found) <= 4


def test_what_a_forest_cannot_do_is_left_out_with_the_reason(tmp_path: Path):
    goal = Goal({"task": "breast_cancer(network='forest')", "tolerated": "2", "rounds": 4})
    with Store(tmp_path / "cells.db") as store, Processes(1) as hands:
        judge = Judge(goal.settings, store, hands)
        space, reasons = goal.fitting(judge)
        assert space.updates == ("trained",)
        assert "label_flip" in space.lessons
        assert set(reasons) == {"sponge", "neurotoxin", *UPDATES} - {"trained"}
        assert all("trees have no update" in reason for reason in reasons.values())
        assert all(judge.misfit(candidate, 1) == "" for candidate in drawn(space, 20))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--wish", "backdor"), "did you mean 'backdoor'"),
        (("--wish", "gaussian"), "--wish must be any, story, or one of label_flip"),
        (("--wish", "targeted_flip(source=1, target=1)"), "a target other than its source"),
        (("--hostile", "11"), "hostile must be from 0 to clients=10"),
        (("--hostile", "few"), "hostile must be from 0 to clients=10"),
        (("--tolerated", "0"), "write --tolerated 1 or more"),
        (("--defense", "krumm"), "did you mean 'krum'"),
        (("--task", "digit"), "did you mean 'digits'"),
        (("--output", "nowhere/worst.toml"), "folder that exists"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_searched_is_told_before_anything_runs(
    hawthorn: Callable[..., Ended], options: tuple[str, ...], told: str, tmp_path: Path
):
    ended = hawthorn("redteam", *options, f"--store={tmp_path / 'cells.db'}")
    assert ended.status == 2
    assert told in ended.err
    assert not (tmp_path / "cells.db").exists()


def test_an_unknown_option_is_told_the_nearest(hawthorn: Callable[..., Ended]):
    ended = hawthorn("redteam", "--trails", "5")
    assert ended.status == 2
    assert "--trials" in ended.err
