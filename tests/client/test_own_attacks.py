"""That each attack on hostile clients' own updates does what its paper says."""

import numpy as np
import pytest
from attacked import DIRECTION, HONEST, OWN
from hawthorn.client.attacks import (
    Knowledge,
    Recipe,
    free_rider,
    gaussian,
    jitter,
    model_replacement,
    sign_flip,
    sybil,
)
from hawthorn.strategies import SettingError

rng = np.random.default_rng(11)


def test_sign_flip_goes_uphill() -> None:
    np.testing.assert_array_equal(sign_flip(OWN), -OWN)
    np.testing.assert_array_equal(sign_flip(HONEST, 2, scale=3.0), -3 * HONEST[:2])


def test_gaussian_noise_has_the_deviation_asked_for_and_no_direction() -> None:
    own = np.tile(rng.normal(size=20_000), (2, 1)) * [[1.0], [5.0]]
    np.testing.assert_allclose(gaussian(own, sigma=200.0).std(axis=1), 200, rtol=0.03)
    np.testing.assert_allclose(gaussian(own, scale=10.0).std(axis=1), [10, 50], rtol=0.03)
    noise = gaussian(own, sigma=1.0)
    assert abs(np.corrcoef(noise)[0, 1]) < 0.05
    assert abs(np.corrcoef(noise[0], own[0])[0, 1]) < 0.05
    assert not np.array_equal(noise, gaussian(own, sigma=1.0, rng=np.random.default_rng(1)))


def test_model_replacement_carries_the_attackers_model_through_the_mean() -> None:
    """The law of the paper: n clients, one hostile, honest ones near convergence (updates about zero)."""
    wanted = rng.normal(size=(1, 50))
    sent = model_replacement(wanted, boost=10.0)
    mean = np.concatenate([sent, np.zeros((9, 50))]).mean(axis=0)
    np.testing.assert_allclose(mean, wanted[0])


def test_model_replacement_takes_its_boost_from_all_rows_or_asks_for_it() -> None:
    np.testing.assert_allclose(model_replacement(np.ones((10, 2)), 4), np.full((4, 2), 2.5))
    np.testing.assert_allclose(model_replacement(np.ones((2, 2)), clients=10, hostile=4), np.full((2, 2), 2.5))
    with pytest.raises(SettingError, match="boost=clients / hostile"):
        model_replacement(np.ones((3, 2)))
    with pytest.raises(SettingError, match="boost=clients / hostile"):
        model_replacement(np.ones((3, 2)), 3)


def test_a_free_rider_sends_nothing_or_the_last_move_with_noise_of_the_length_asked_for() -> None:
    move = rng.normal(size=50)
    assert not free_rider(OWN).any()
    assert not free_rider(OWN, sends="moved", noise=0.5).any()  # in the first round there is no move
    np.testing.assert_array_equal(free_rider(OWN, sends="moved", moved=move), np.tile(move, (3, 1)))
    hidden = free_rider(OWN, sends="moved", noise=0.2, moved=move)
    np.testing.assert_allclose(np.linalg.norm(hidden - move, axis=1), 0.2 * np.linalg.norm(move))
    assert abs(np.corrcoef(hidden - move)[0, 1]) < 0.5
    np.testing.assert_allclose(
        np.linalg.norm(free_rider(OWN, noise=0.2, moved=move), axis=1), 0.2 * np.linalg.norm(move)
    )
    with pytest.raises(SettingError, match="did you mean 'moved'"):
        free_rider(OWN, sends="move")
    with pytest.raises(SettingError, match="noise of at least 0"):
        free_rider(OWN, noise=-1.0)


def test_a_free_rider_slows_a_plain_mean_down_by_its_share() -> None:
    mean = np.concatenate([HONEST, free_rider(OWN)]).mean(axis=0)
    np.testing.assert_allclose(mean, 0.7 * HONEST.mean(axis=0))


def test_sybils_send_what_the_first_of_them_trained() -> None:
    np.testing.assert_array_equal(sybil(OWN), np.tile(OWN[0], (3, 1)))
    np.testing.assert_array_equal(sybil(OWN, members=(4, 2, 7)), np.tile(OWN[1], (3, 1)))
    told_apart = sybil(OWN, jitter=0.1)
    np.testing.assert_allclose(np.linalg.norm(told_apart - OWN[0], axis=1), 0.1 * np.linalg.norm(OWN[0]))
    assert len(np.unique(told_apart, axis=0)) == 3


def test_jitter_tells_equal_rows_apart_by_the_share_of_their_length() -> None:
    rows = np.tile(DIRECTION, (4, 1)) * [[1.0], [2.0], [2.0], [0.0]]
    noise = jitter(rows, share=0.3) - rows
    np.testing.assert_allclose(np.linalg.norm(noise, axis=1), 0.3 * np.linalg.norm(rows, axis=1), atol=1e-12)
    assert abs(np.corrcoef(noise[1], noise[2])[0, 1]) < 0.5
    np.testing.assert_array_equal(jitter(rows, share=0.0), rows)


def test_jitter_takes_from_colluders_that_they_are_equal() -> None:
    rows, _ = Recipe.parse("ipm(epsilon=0.5) + jitter(share=0.1)").attacked(OWN, Knowledge(), HONEST)
    lie = -0.5 * HONEST.mean(axis=0)
    assert len(np.unique(rows, axis=0)) == 3
    np.testing.assert_allclose(np.linalg.norm(rows - lie, axis=1), 0.1 * np.linalg.norm(lie))
