from typing import Any

import numpy as np
import pytest
import torch
from hawthorn.client.attacks import (
    Knowledge,
    Recipe,
    alie,
    answering,
    attack_success,
    backdoor,
    hostile_clients,
    ipm,
    optimized,
    wanted,
)
from hawthorn.client.tasks import Examples, Task, find_task
from hawthorn.client.training import Training, train
from hawthorn.strategies import Defense, SettingError
from hawthorn.strategies.contract import ATTACKS, Attack


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("", {}),
        ("sign_flip", {"own": ["sign_flip"]}),
        ("alie(z=1.5)", {"honest": ["alie(z=1.5)"]}),
        (
            "backdoor(target=0) + model_replacement",
            {"data": ["backdoor(target=0)"], "own": ["model_replacement"]},
        ),
        (
            " label_flip|sign_flip( scale = 1e+3 ) ",
            {"data": ["label_flip"], "own": ["sign_flip(scale=1000.0)"]},
        ),
        (
            "backdoor(position=(-3, -3)) + label_flip + gaussian",
            {"data": ["backdoor(position=(-3, -3))", "label_flip"], "own": ["gaussian"]},
        ),
        (
            "dba + neurotoxin + min_max(direction='own') + jitter + lie_about_counts + sleeper(wakes=3) + schedule",
            {
                "data": ["dba"],
                "training": ["neurotoxin"],
                "honest": ["min_max(direction='own')"],
                "own": ["jitter"],
                "reply": ["lie_about_counts"],
                "round": ["sleeper(wakes=3)", "schedule"],
            },
        ),
    ],
)
def test_a_recipe_is_read_and_sorted_by_kind(text: str, kinds: dict[str, list[str]]) -> None:
    recipe = Recipe.parse(text)
    assert {kind: list(map(str, recipe.of_kind(kind))) for kind in Attack.KINDS if recipe.of_kind(kind)} == kinds
    assert len(recipe.calls) == sum(map(len, kinds.values()))
    assert Recipe.parse(str(recipe)) == recipe


def test_a_recipe_says_what_it_takes() -> None:
    for text, crafts, colludes, forges, looks_back in (
        ("", False, False, False, False),
        ("label_flip + sponge", False, False, False, False),
        ("sign_flip", True, False, False, False),
        ("sybil", True, True, False, False),
        ("mimic", True, True, False, False),
        ("malformed", False, False, True, False),
        ("neurotoxin", False, False, False, True),
        ("free_rider(sends='moved')", True, False, False, True),
    ):
        recipe = Recipe.parse(text)
        found = (recipe.crafts, recipe.colludes, recipe.forges, recipe.looks_back)
        assert found == (crafts, colludes, forges, looks_back), text
    assert str(Recipe.parse("label_flip + malformed + ipm").without("reply")) == "label_flip + ipm"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sign_flp", "no attack named 'sign_flp'; did you mean 'sign_flip'"),
        ("backdoor(targt=1)", "did you mean 'target'"),
        ("sign_flip(rng=1)", "rng"),
        ("sign_flip +", "write attacks such as"),
        ("sign_flip * 2", "write a name"),
        ("sign_flip(2)", "write a name"),
        ("sybil(members=(1,))", "is told members"),
        ("ipm + alie(z=1.0)", r"ipm and alie\(z=1.0\) would both decide .* write one of them"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Recipe.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("backdoor(target=10)", "class from 0 to 9"),
        ("backdoor(size=9)", "does not fit"),
        ("backdoor(position=3)", "wrong kind"),
        ("sign_flip(scale='far')", "wrong kind"),
        ("alie", r"alie\(z=1.5\)"),
        ("malformed(case='all_nans')", "did you mean 'all_nan'"),
        ("sleeper(wakes=0)", "whole number wakes"),
        ("schedule(every='two')", "whole number every"),
        ("sponge(strength='much')", "a strength of at least 0"),
        ("fang(against='kurm')", "did you mean 'krum'"),
        ("optimized(family='ip')", "did you mean 'ipm'"),
        ("dba(size=1)", "fewer parts"),
    ],
)
def test_what_cannot_be_carried_out_is_found_before_the_first_round(text: str, message: str, digits: Task) -> None:
    recipe = Recipe.parse(text)
    with pytest.raises(SettingError, match=message):
        recipe.check(digits, clients=10, hostile=2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alie(z=1.5)",
        "backdoor + model_replacement",
        "backdoor + min_max(direction='own') + jitter",
        *sorted(ATTACKS.keys() - {"alie"}),
    ],
)
def test_what_can_be_carried_out_passes(text: str, digits: Task) -> None:
    Recipe.parse(text).check(digits, clients=10, hostile=2)
    Recipe.parse(text).check(find_task("breast_cancer"), clients=10, hostile=3)
    Recipe.parse(text).check(digits, clients=10, hostile=0)


def test_attacks_are_applied_in_their_order(ten_images: Examples) -> None:
    poisoned = Recipe.parse("backdoor(target=1, share=1.0) + label_flip").poisoned(ten_images)
    assert set(poisoned.y.tolist()) == {8}
    own = np.ones((1, 4))
    both = Recipe.parse("sign_flip(scale=2.0) + model_replacement(boost=3.0)")
    assert (both.attacked(own)[0] == -6).all()
    honest = np.ones((3, 4))
    assert (Recipe.parse("ipm(epsilon=2.0) + sign_flip").attacked(own, honest=honest)[0] == 2).all()
    assert (Recipe.parse("sign_flip + ipm(epsilon=2.0)").attacked(own, honest=honest)[0] == -2).all()


def test_a_colluding_attack_sees_the_rows_that_the_one_before_left() -> None:
    own, honest = np.array([[4.0, 0.0]]), np.array([[1.0, 0.0], [-1.0, 0.0]])
    straight, _ = Recipe.parse("min_max(direction='own')").attacked(own, honest=honest)
    turned, _ = Recipe.parse("sign_flip + min_max(direction='own')").attacked(own, honest=honest)
    np.testing.assert_allclose(straight, [[1, 0]])
    np.testing.assert_allclose(turned, [[-1, 0]])


def test_an_open_boost_is_clients_over_hostile() -> None:
    recipe, knowledge = Recipe.parse("model_replacement"), Knowledge(clients=12, hostile=3)
    assert (recipe.attacked(np.ones((1, 2)), knowledge)[0] == 4).all()
    assert (Recipe.parse("model_replacement(boost=2)").attacked(np.ones((1, 2)), knowledge)[0] == 2).all()


def test_colluders_without_honest_updates_send_their_own() -> None:
    own = np.random.default_rng(1).normal(size=(2, 3))
    for honest in (None, np.zeros((0, 3))):
        rows, state = Recipe.parse("sign_flip + ipm + jitter").attacked(own, Knowledge(state={"a": 1}), honest)
        assert np.array_equal(rows, own)
        assert state == {"a": 1}
    sybils, _ = Recipe.parse("sybil").attacked(own)
    assert np.array_equal(sybils, own[[0, 0]])


def test_nobody_sends_nothing() -> None:
    rows, _ = Recipe.parse("sign_flip + ipm").attacked(np.zeros((0, 3)), Knowledge(), np.ones((4, 3)))
    assert rows.shape == (0, 3)


def test_colluders_make_the_same_as_a_direct_call() -> None:
    honest, own = np.random.default_rng(1).normal(size=(5, 3)), np.zeros((2, 3))
    np.testing.assert_array_equal(
        Recipe.parse("ipm(epsilon=0.5)").attacked(own, honest=honest)[0], ipm(honest, 2, epsilon=0.5)
    )
    np.testing.assert_array_equal(Recipe.parse("alie(z=2.0)").attacked(own, honest=honest)[0], alie(honest, 2, z=2.0))


def test_the_adaptive_get_the_defense() -> None:
    honest, own = np.random.default_rng(1).normal(size=(7, 3)), np.zeros((2, 3))
    answer = answering(Defense("median", f=2))
    rows, _ = Recipe.parse("optimized(family='ipm')").attacked(own, Knowledge(defense=answer), honest)
    np.testing.assert_array_equal(rows, optimized(honest, f=2, family="ipm", defense=Defense("median", f=2)))


@pytest.mark.parametrize(
    ("text", "rounds"),
    [
        ("sign_flip", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("sign_flip + sleeper(wakes=6)", [6, 7, 8]),
        ("sign_flip + schedule(start=2, until=7, every=2)", [2, 4, 6]),
        ("sign_flip + schedule(every=3) + sleeper(wakes=3)", [4, 7]),
        ("sleeper(wakes=8)", [8]),
    ],
)
def test_a_recipe_is_active_when_all_its_attacks_on_rounds_say_so(text: str, rounds: list[int]) -> None:
    assert [round for round in range(1, 9) if Recipe.parse(text).active(round)] == rounds


def test_hostile_clients_are_drawn_anywhere_and_the_same_for_a_seed() -> None:
    assert hostile_clients(10, 3, seed=4) == hostile_clients(10, 3, seed=4)
    draws = [hostile_clients(10, 3, seed) for seed in range(60)]
    assert {len(draw) for draw in draws} == {3}
    assert set().union(*draws) == set(range(10))
    assert sum(draw == frozenset({0, 1, 2}) for draw in draws) <= 3


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.3, 3), (0.25, 3), (0.01, 1), (0.95, 10)])
def test_a_share_of_hostile_clients_is_rounded_up(share: float, count: int) -> None:
    assert hostile_clients(10, share, seed=4) == hostile_clients(10, count, seed=4)


@pytest.mark.parametrize("hostile", [-1, 11, 1.0, -0.1, True, "three"])
def test_more_hostile_clients_than_clients_are_refused(hostile: Any) -> None:
    with pytest.raises(SettingError, match="from 0 to clients=10"):
        hostile_clients(10, hostile, seed=1)


class Constant(torch.nn.Module):
    """A model that says the same class of everything."""

    def __init__(self, label: int) -> None:
        super().__init__()
        self.label = label

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.full((len(x),), self.label), 10).float()


@pytest.mark.parametrize(
    ("text", "label", "success"),
    [
        ("backdoor(target=4)", 4, 1.0),
        ("backdoor(target=4)", 3, 0.0),
        ("targeted_flip(source=7, target=1)", 1, 1.0),
        ("targeted_flip(source=7, target=1, share=0.1)", 7, 0.0),
        ("backdoor(target=4) + model_replacement", 4, 1.0),
        ("sign_flip", 4, None),
        ("ipm", 4, None),
        ("", 4, None),
    ],
)
def test_success_is_what_the_attack_wants(text: str, label: int, success: float | None, digits: Task) -> None:
    assert attack_success(Recipe.parse(text), Constant(label), digits.test, digits) == success


def test_success_of_a_label_flip_is_the_share_of_flipped_answers(digits: Task) -> None:
    nines = attack_success(Recipe.parse("label_flip"), Constant(9), digits.test, digits)
    assert nines == pytest.approx((digits.test.y == 0).mean())


def test_success_can_be_measured_of_whatever_predicts(digits: Task) -> None:
    found = wanted(Recipe.parse("targeted_flip(source=7, target=1) + sign_flip"), digits.test, digits)
    assert found is not None
    x, labels = found
    assert np.array_equal(x, digits.test.x[digits.test.y == 7])
    assert set(labels.tolist()) == {1}
    assert wanted(Recipe.parse("sign_flip + sponge + malformed"), digits.test, digits) is None


def test_a_backdoor_counts_other_classes_only(digits: Task) -> None:
    only_target = digits.test[digits.test.y == 4]
    assert attack_success(Recipe.parse("backdoor(target=4)"), Constant(4), only_target, digits) is None


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_a_poisoned_model_obeys_the_trigger_and_is_as_good_without(name: str) -> None:
    task = find_task(name)
    recipe = Recipe.parse("backdoor(target=0, share=0.3)")
    model = task.model(seed=1)
    train(model, recipe.poisoned(task.train), Training(epochs=10), seed=1)
    assert (attack_success(recipe, model, task.test, task) or 0) > 0.9
    assert attack_success(Recipe.parse("backdoor(target=1)"), model, task.test, task) == pytest.approx(0, abs=0.1)


def test_the_trigger_is_the_same_in_training_and_in_the_test(digits: Task) -> None:
    stamped = backdoor(digits.test, share=1.0).x
    patch = stamped[:, :3, :3]
    assert (patch == 1).all()
    assert (backdoor(digits.train, share=1.0).x[:, :3, :3] == 1).all()
