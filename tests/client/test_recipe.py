import numpy as np
import pytest
import torch
from hawthorn.client.attacks import Recipe, alie, attack_success, backdoor, hostile_clients, ipm
from hawthorn.client.tasks import Examples, Task, find_task
from hawthorn.client.training import Training, train
from hawthorn.strategies import SettingError


@pytest.mark.parametrize(
    ("text", "data", "own", "honest"),
    [
        ("", [], [], []),
        ("sign_flip", [], ["sign_flip"], []),
        ("alie(z=1.5)", [], [], ["alie(z=1.5)"]),
        ("backdoor(target=0) + model_replacement", ["backdoor(target=0)"], ["model_replacement"], []),
        (" label_flip|sign_flip( scale = 1e+3 ) ", ["label_flip"], ["sign_flip(scale=1000.0)"], []),
        (
            "backdoor(position=(-3, -3)) + label_flip + gaussian",
            ["backdoor(position=(-3, -3))", "label_flip"],
            ["gaussian"],
            [],
        ),
    ],
)
def test_a_recipe_is_read_and_sorted_by_kind(text: str, data: list[str], own: list[str], honest: list[str]) -> None:
    recipe = Recipe.parse(text)
    assert [list(map(str, part)) for part in (recipe.data, recipe.own, recipe.honest)] == [data, own, honest]
    assert Recipe.parse(str(recipe)) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sign_flp", "no attack named 'sign_flp'; did you mean 'sign_flip'"),
        ("backdoor(targt=1)", "did you mean 'target'"),
        ("sign_flip(rng=1)", "rng"),
        ("sign_flip +", "write attacks such as"),
        ("sign_flip * 2", "write a name"),
        ("sign_flip(2)", "write a name"),
        ("ipm + sign_flip", "write it alone"),
        ("ipm + alie(z=1.0)", "write it alone"),
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
    ],
)
def test_what_cannot_be_carried_out_is_found_before_the_first_round(text: str, message: str, digits: Task) -> None:
    recipe = Recipe.parse(text)
    with pytest.raises(SettingError, match=message):
        recipe.check(digits, clients=10, hostile=2)


@pytest.mark.parametrize(
    "text", ["", "alie(z=1.5)", "ipm", "gaussian", "backdoor + model_replacement", "targeted_flip"]
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
    assert (both.attacked(own, clients=10, hostile=1) == -6).all()


def test_an_open_boost_is_clients_over_hostile() -> None:
    recipe = Recipe.parse("model_replacement")
    assert (recipe.attacked(np.ones((1, 2)), clients=12, hostile=3) == 4).all()
    assert (Recipe.parse("model_replacement(boost=2)").attacked(np.ones((1, 2)), clients=12, hostile=3) == 2).all()


def test_only_colluders_collude() -> None:
    honest = np.random.default_rng(1).normal(size=(5, 3))
    assert Recipe.parse("sign_flip").collude is None
    collude = Recipe.parse("ipm(epsilon=0.5)").collude
    assert collude is not None
    np.testing.assert_array_equal(collude(honest, 2), ipm(honest, 2, epsilon=0.5))
    collude = Recipe.parse("alie(z=2.0)").collude
    assert collude is not None
    np.testing.assert_array_equal(collude(honest, 2), alie(honest, 2, z=2.0))


def test_hostile_clients_are_drawn_anywhere_and_the_same_for_a_seed() -> None:
    assert hostile_clients(10, 3, seed=4) == hostile_clients(10, 3, seed=4)
    draws = [hostile_clients(10, 3, seed) for seed in range(60)]
    assert {len(draw) for draw in draws} == {3}
    assert set().union(*draws) == set(range(10))
    assert sum(draw == frozenset({0, 1, 2}) for draw in draws) <= 3


@pytest.mark.parametrize("hostile", [-1, 11])
def test_more_hostile_clients_than_clients_are_refused(hostile: int) -> None:
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
