"""What every attack keeps, whoever wrote it, and that it harms a server without a defense."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
from attacked import HONEST, OPTIONS, OWN, centrally_trained, federated, honest_error, mean_error
from hawthorn.client.attacks import Recipe, attack_success
from hawthorn.client.attacks.forging import sample_reply
from hawthorn.client.tasks import Examples, Task
from hawthorn.client.training import Training, evaluate
from hawthorn.strategies import SettingError
from hawthorn.strategies.contract import ATTACKS, KNOWLEDGE

KINDS = {
    "label_flip": "data",
    "targeted_flip": "data",
    "feature_noise": "data",
    "backdoor": "data",
    "dba": "data",
    "clean_label": "data",
    "neurotoxin": "training",
    "sponge": "training",
    "sign_flip": "own",
    "gaussian": "own",
    "model_replacement": "own",
    "free_rider": "own",
    "sybil": "own",
    "jitter": "own",
    "ipm": "honest",
    "alie": "honest",
    "min_max": "honest",
    "min_sum": "honest",
    "fang": "honest",
    "mimic": "honest",
    "optimized": "honest",
    "lie_about_counts": "reply",
    "malformed": "reply",
    "sleeper": "round",
    "schedule": "round",
}


def of_kind(*kinds: str) -> list[str]:
    return sorted(name for name in ATTACKS if ATTACKS[name].kind in kinds)


def subject(name: str, images: Examples) -> object:
    """Something of the kind that the attack changes."""
    found = {"data": images, "training": Training(), "own": OWN, "honest": HONEST, "reply": sample_reply(), "round": 3}
    return found[ATTACKS[name].kind]


def attacked(name: str) -> np.ndarray:
    """The three hostile rows next to seven honest ones."""
    return ATTACKS[name](HONEST if ATTACKS[name].kind == "honest" else OWN, f=3, **OPTIONS.get(name, {}))


def test_every_attack_is_registered_with_its_kind() -> None:
    assert {name: ATTACKS[name].kind for name in ATTACKS} == KINDS


@pytest.mark.parametrize("name", of_kind("own", "honest"))
def test_update_attacks_give_a_finite_row_per_hostile_client_and_change_no_input(name: str) -> None:
    honest, own = HONEST.copy(), OWN.copy()
    rows = attacked(name)
    assert rows.shape == (3, 50)
    assert np.isfinite(rows).all()
    assert np.array_equal(rows, attacked(name))
    assert np.array_equal(honest, HONEST)
    assert np.array_equal(own, OWN)
    rows += 1  # what comes out shares no memory with what went in
    assert np.array_equal(honest, HONEST)
    assert np.array_equal(own, OWN)


@pytest.mark.parametrize("name", of_kind("own", "honest"))
def test_update_attacks_of_nobody_send_nothing(name: str) -> None:
    rows = ATTACKS[name](HONEST, 0, **OPTIONS.get(name, {}))
    assert rows.shape == (0, 50)


@pytest.mark.parametrize("name", of_kind("honest"))
@pytest.mark.parametrize("honest", [HONEST[:1], np.zeros((4, 50)), np.ones((3, 1))], ids=["one", "zeros", "narrow"])
def test_colluders_make_something_finite_of_few_or_equal_honest_rows(name: str, honest: np.ndarray) -> None:
    rows = ATTACKS[name](honest, 2, **OPTIONS.get(name, {}))
    assert rows.shape == (2, honest.shape[1])
    assert np.isfinite(rows).all()


# jitter only tells rows apart
@pytest.mark.parametrize("name", sorted(set(of_kind("own", "honest")) - {"jitter"}))
def test_a_plain_mean_ends_farther_from_the_honest_one(name: str) -> None:
    """With three of ten hostile, than with three more honest clients."""
    assert mean_error(attacked(name)) > 1.2 * honest_error()


@pytest.mark.parametrize("name", of_kind("data"))
def test_data_attacks_change_copies_only_and_the_same_way_twice(name: str, ten_images: Examples) -> None:
    x, y = ten_images.x.copy(), ten_images.y.copy()
    poisoned, again = ATTACKS[name](ten_images), ATTACKS[name](ten_images)
    assert len(poisoned) == len(ten_images)
    assert poisoned.classes == 10
    assert poisoned.x.dtype == np.float32
    assert np.array_equal(poisoned.x, again.x)
    assert np.array_equal(poisoned.y, again.y)
    assert not (np.array_equal(poisoned.y, y) and np.array_equal(poisoned.x, x))
    assert np.array_equal(ten_images.x, x)
    assert np.array_equal(ten_images.y, y)


@pytest.mark.parametrize("name", of_kind("data"))
def test_data_attacks_bear_a_client_without_examples(name: str, ten_images: Examples) -> None:
    assert len(ATTACKS[name](ten_images[:0])) == 0


@pytest.mark.parametrize("name", sorted(set(of_kind("data")) - {"clean_label", "label_flip", "targeted_flip"}))
def test_images_stay_images(name: str, ten_images: Examples) -> None:
    poisoned = ATTACKS[name](ten_images, share=1.0)
    assert poisoned.x.min() >= 0
    assert poisoned.x.max() <= 1


@pytest.mark.parametrize(
    ("text", "clean"),
    [("label_flip", 0.05), ("feature_noise", 0.01), ("targeted_flip(source=1, target=7)", 0.01)],
)
def test_a_model_trained_beside_poisoners_is_worse(text: str, clean: float, digits: Task) -> None:
    honest = evaluate(centrally_trained(digits, Recipe()), digits.test).accuracy
    assert evaluate(centrally_trained(digits, Recipe.parse(text)), digits.test).accuracy < honest - clean


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("backdoor(target=4)", 0.9),
        ("backdoor(target=4, trigger='pixels')", 0.9),
        ("backdoor(target=4, trigger='blended')", 0.7),
        ("backdoor(source=3, target=8, share=1.0)", 0.9),
        ("dba(target=4)", 0.9),
        ("clean_label(target=4)", 0.5),
        ("targeted_flip(source=1, target=7)", 0.2),
        ("label_flip", 0.08),
    ],
)
def test_a_model_trained_beside_poisoners_does_what_they_want(text: str, least: float, digits: Task) -> None:
    recipe = Recipe.parse(text)
    wanted = [
        attack_success(recipe, centrally_trained(digits, mixed), digits.test, digits) or 0.0
        for mixed in (Recipe(), recipe)
    ]
    assert wanted[0] < 0.2
    assert wanted[1] > wanted[0] + least - 0.2
    assert wanted[1] > least


def test_a_backdoor_survives_neurotoxin_and_a_sleeper_is_late(digits: Task) -> None:
    for text, least, most in (
        ("backdoor(target=4)", 0.9, 1.0),
        ("backdoor(target=4) + neurotoxin", 0.7, 1.0),
        ("backdoor(target=4) + sleeper(wakes=7)", 0.0, 0.2),
    ):
        recipe = Recipe.parse(text)
        success = attack_success(recipe, federated(digits, recipe), digits.test, digits)
        assert success is not None
        assert least <= success <= most, text


@pytest.mark.parametrize("name", ATTACKS)
def test_an_option_that_does_not_exist_is_refused(name: str, ten_images: Examples) -> None:
    with pytest.raises(SettingError, match="has no option 'strenth'"):
        ATTACKS[name](subject(name, ten_images), strenth=1)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_names_its_source_and_shows_an_example(name: str) -> None:
    text = str(ATTACKS[name].__doc__)
    assert any(where in text for where in ("https://arxiv.org/abs/", "https://openreview.net/", "https://doi.org/"))
    assert ">>> " in text


@pytest.mark.parametrize("name", ATTACKS)
def test_every_option_has_a_default_that_a_recipe_can_write(name: str) -> None:
    written = ", ".join(f"{option}={default!r}" for option, default in ATTACKS[name].options.items())
    recipe = Recipe.parse(f"{name}({written})")
    assert Recipe.parse(str(recipe)) == recipe
    assert dict(recipe.calls[0].options) == ATTACKS[name].options


@pytest.mark.parametrize("name", ATTACKS)
def test_knowledge_is_told_and_never_an_option(name: str) -> None:
    attack = ATTACKS[name]
    asked = KNOWLEDGE & inspect.signature(attack.function).parameters.keys() - {attack.kind}
    assert attack.knowledge == asked
    assert not asked & attack.options.keys()


def test_training_attacks_leave_the_rest_of_the_training_as_it_is() -> None:
    training = Training(epochs=3, steps=5, proximal=0.1, momentum=0.5)
    for name in of_kind("training"):
        options = {"moved": np.arange(4.0)} if name == "neurotoxin" else {}
        found = ATTACKS[name](training, **options)
        assert found.frozen is not None or found.penalty is not None
        kept = replace(found, frozen=None, penalty=None)
        assert vars(kept) == vars(training)
        assert training.frozen is None
        assert training.penalty is None
