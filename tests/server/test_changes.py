"""Series of figures: a sudden fall, a slow one, classes, warm-up, and how often a quiet series is thought to fall."""

import json

import numpy as np
import pytest
from hawthorn.server.changes import Figure, decline_limit, fall, followed, share_noise

RATE, TOLERANCE, NOISE = 0.001, 0.02, 0.01


def figure(value, noise=NOISE, **more):
    values = np.atleast_1d(np.asarray(value, float))
    return Figure("figure", values, np.broadcast_to(noise, values.shape).copy(), **more)


def series(values, **more):
    found = None
    for value in values:
        found = followed(figure(value, **more), found)
    return found


def quiet(rounds=30, level=0.9, seed=0, parts=1):
    return np.random.default_rng(seed).normal(level, NOISE, (rounds, parts))


def found(value, before, rate=RATE, tolerance=TOLERANCE, **more):
    return fall(figure(value, **more), before, rate=rate, tolerance=tolerance)


def test_a_fall_is_told_with_what_was_usual_and_what_was_allowed():
    told = found(0.5, series(quiet()))
    assert told.part == 0
    assert told.usual == pytest.approx(0.9, abs=0.02)
    assert told.found == 0.5
    assert 0.03 < told.allowed < 0.2
    assert not told.slow


@pytest.mark.parametrize("value", [0.9, 0.88, 0.95, 1.0], ids=str)
def test_what_is_usual_or_better_is_no_fall(value):
    assert found(value, series(quiet())) is None


def test_a_fall_within_the_tolerance_is_none():
    before = series(quiet())
    assert found(0.7, before) is not None
    assert found(0.7, before, tolerance=0.25) is None


def test_noisy_rounds_are_allowed_more():
    calm, noisy = series(quiet()), series(0.9 + 5 * (quiet() - 0.9))
    assert found(0.75, calm) is not None
    assert found(0.75, noisy) is None


def test_while_little_is_known_much_is_allowed():
    assert found(0.1, series([0.9, 0.8, 0.9])) is None
    assert found(0.1, series(quiet(12))) is not None


def test_while_a_model_improves_fast_a_setback_is_no_fall_but_a_collapse_is():
    rising = series([0.1, 0.3, 0.5, 0.6, 0.7, 0.75])
    assert found(0.5, rising, collapse=0.5) is None
    assert found(0.25, rising, collapse=0.5) is not None
    assert found(0.25, rising, collapse=1.0) is None


def test_a_model_that_has_learned_nothing_yet_cannot_collapse():
    assert found(0.05, series([0.1]), collapse=0.5) is None
    assert found(0.05, series([0.1, 0.12]), collapse=0.5) is None


def test_the_class_that_falls_is_the_one_told():
    before = series(quiet(parts=10), noise=0.04)
    values = np.full(10, 0.9)
    values[7] = 0.3
    assert found(values, before, noise=0.04).part == 7


def test_a_slow_decline_is_found_though_no_step_of_it_is_a_fall():
    before = series(quiet(25))
    for step in range(60):
        value = 0.9 - 0.003 * step
        told = found(value, before, slow=1.0)
        if told is not None:
            break
        assert found(value, before) is None
        before = followed(figure(value, slow=1.0), before)
    assert told.slow
    assert 0.82 < told.found < 0.89  # a tenth of the way down at most
    assert told.usual == pytest.approx(0.9, abs=0.01)


def test_one_bad_round_that_was_taken_is_no_decline():
    before = followed(figure(0.82), series(quiet(25)))
    assert found(0.9, before, slow=1.0) is None
    assert found(0.89, followed(figure(0.9), before), slow=1.0) is None


def test_what_is_remembered_is_plain_and_bounded():
    short, long = (series(quiet(rounds, parts=3)) for rounds in (40, 400))
    assert json.loads(json.dumps(long)) == long
    assert len(json.dumps(long)) < 1.1 * len(json.dumps(short))


def test_a_series_with_other_parts_begins_anew():
    before = series(quiet(parts=3))
    assert found([0.1, 0.1], before) is None
    assert followed(figure([0.1, 0.1]), before)["values"] == [[0.1, 0.1]]


def test_a_quiet_series_is_thought_to_fall_as_seldom_as_stated():
    rounds, alarms = 0, 0
    for seed in range(40):
        before = None
        for value in quiet(150, seed=seed):
            told = found(value, before, rate=0.01, tolerance=0.0, slow=1.0)
            rounds, alarms = rounds + 1, alarms + (told is not None)
            before = before if told else followed(figure(value, slow=1.0), before)
    # a step and a decline are tested for, at 0.01 each; what is known of the noise counts beside what rounds show of it
    assert 0 < alarms / rounds < 0.02


def test_series_without_a_trend_are_thought_to_decline_as_seldom_as_stated():
    rate, rounds, parts = 0.001, 300, 200
    before, declined = None, 0
    for values in np.random.default_rng(0).normal(0.8, 3 * NOISE, (rounds, parts)):
        before = followed(figure(values, slow=1.0), before)
        declined += np.count_nonzero(np.array(before["sum"]) > decline_limit(rate))
    assert 0.1 * rate < declined / (rounds * parts) < 1.5 * rate


def test_smaller_rates_ask_for_longer_declines():
    assert decline_limit(1e-3) < decline_limit(1e-4) < decline_limit(1e-5)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.97, 1.0], ids=str)
@pytest.mark.parametrize("count", [36, 1000], ids=str)
def test_the_noise_of_a_share_covers_that_of_drawn_examples(share, count):
    drawn = np.random.default_rng(0).binomial(count, share, 4000) / count
    noise = share_noise(np.array([share]), [count])[0]
    assert drawn.std() < 1.15 * noise
    assert noise > 0
    if 0.1 < share < 0.9:
        assert noise == pytest.approx(drawn.std(), rel=0.1)
