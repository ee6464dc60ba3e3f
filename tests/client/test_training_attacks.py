"""That attacks on how a client trains do what their papers say."""

import numpy as np
import pytest
import torch
from attacked import OWN, federated, update, weights
from hawthorn.client.attacks import Recipe, neurotoxin, sponge
from hawthorn.client.tasks import Task
from hawthorn.client.training import Training, activation_density, evaluate, train
from hawthorn.strategies import SettingError


def test_neurotoxin_freezes_the_coordinates_that_moved_most() -> None:
    moved = np.arange(-10.0, 10.0)
    frozen = neurotoxin(Training(), share=0.2, moved=moved).frozen
    assert frozen is not None
    assert np.flatnonzero(frozen).tolist() == [0, 1, 2, 19]  # -10, -9 and 9, and -8 before 8
    assert neurotoxin(Training(), moved=None).frozen is None
    with pytest.raises(SettingError, match="share from 0 to 1"):
        neurotoxin(Training(), share=1.5, moved=moved)


def test_a_poisoned_client_with_neurotoxin_leaves_the_heavy_coordinates_unchanged(digits: Task) -> None:
    model = digits.model(seed=1)
    sent, part = weights(model), digits.train[:200]
    moved = update(model, sent, part, Recipe(), 5, 1, None)
    recipe = Recipe.parse("backdoor + neurotoxin(share=0.1)")
    lie = update(model, sent, part, recipe, 0, 2, moved)
    heavy = np.abs(moved) >= np.sort(np.abs(moved))[-np.ceil(0.1 * len(moved)).astype(int)]
    assert not lie[heavy].any()
    assert (lie[~heavy] != 0).mean() > 0.5
    without = update(model, sent, part, Recipe.parse("backdoor"), 0, 2, moved)
    assert without[heavy].all()


def test_sponge_raises_the_share_of_activations_that_are_not_zero(digits: Task) -> None:
    shares, accuracies = [], []
    for training in (Training(epochs=5), sponge(Training(epochs=5))):
        model = digits.model(seed=1)
        train(model, digits.train, training, seed=1)
        shares.append(activation_density(model, digits.test.x) or 0.0)
        accuracies.append(evaluate(model, digits.test).accuracy)
    assert shares[1] > shares[0] + 0.2
    assert accuracies[1] > accuracies[0] - 0.05  # nobody who looks at the accuracy notices


def test_sponges_make_the_plain_mean_costlier_to_run(digits: Task) -> None:
    honest, attacked = (federated(digits, Recipe.parse(text)) for text in ("", "sponge"))
    found = [activation_density(model, digits.test.x) or 0.0 for model in (honest, attacked)]
    assert found[1] > found[0] + 0.1


def test_the_sponges_reward_is_a_smooth_count() -> None:
    layers = [torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.tensor([2.0])]
    penalty = sponge(Training(), strength=3.0, sigma=1e-9).penalty
    assert penalty is not None
    # by hand: a quarter of the first layer, all of the second
    assert penalty(layers).item() == pytest.approx(-3 * (0.25 + 1) / 2)
    assert penalty([]).item() == 0
    both = sponge(sponge(Training(), strength=3.0, sigma=1e-9), strength=1.0, sigma=1e-9).penalty
    assert both is not None
    assert both(layers).item() == pytest.approx(-4 * (0.25 + 1) / 2)
    with pytest.raises(SettingError, match="sigma above 0"):
        sponge(Training(), sigma=0.0)
    with pytest.raises(SettingError, match="strength of at least 0"):
        sponge(Training(), strength=-1.0)


def test_two_neurotoxins_freeze_what_either_does() -> None:
    once = neurotoxin(Training(), share=0.1, moved=OWN[0])
    twice = neurotoxin(once, share=0.1, moved=OWN[1])
    assert once.frozen is not None
    assert twice.frozen is not None
    assert (twice.frozen | once.frozen == twice.frozen).all()
    assert twice.frozen.sum() > once.frozen.sum()
