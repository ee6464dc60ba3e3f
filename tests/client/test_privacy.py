"""Updates that are clipped and covered with noise before they leave the real app."""

import math

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from hawthorn.client.mods import private
from hawthorn.client.privacy import clipped, epsilon, noise
from hawthorn.client.training import arrays_of
from hawthorn.client.vectors import vector
from scipy.stats import kstest


def update(reply, digits):
    assert not reply.has_error(), reply.error
    return vector(reply.content.array_records["arrays"]) - vector(arrays_of(digits.model(seed=1)))


def test_an_update_is_clipped_to_the_length_that_is_set(ask, digits):
    free = update(ask(), digits)
    assert np.linalg.norm(free) > 0.2
    short = update(ask(clip_norm=0.1), digits)
    assert np.linalg.norm(short) == pytest.approx(0.1, rel=1e-4)
    np.testing.assert_allclose(short / 0.1, free / np.linalg.norm(free), atol=1e-4)
    np.testing.assert_array_equal(update(ask(clip_norm=100.0), digits), free)


def test_the_noise_has_the_size_that_is_set_and_is_another_each_time(ask, digits):
    short = update(ask(clip_norm=0.1), digits)
    one, other = (update(ask(clip_norm=0.1, local_noise=2.0), digits) - short for _ in range(2))
    for drawn in (one, other):
        assert np.std(drawn) == pytest.approx(0.2, rel=0.1)
        assert kstest(drawn / 0.2, "norm").pvalue > 1e-4
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.1


def test_beside_noise_no_metric_leaves_but_the_number_of_examples(ask):
    assert set(ask(clip_norm=0.1).content.metric_records["metrics"]) == {"num-examples", "train-loss"}
    assert set(ask(clip_norm=0.1, local_noise=1.0).content.metric_records["metrics"]) == {"num-examples"}


def test_the_systems_noise_is_standard_normal():
    drawn = noise(100_000)
    assert np.isfinite(drawn).all()
    assert kstest(drawn, "norm").pvalue > 1e-4
    assert not np.array_equal(noise(10), noise(10))
    np.testing.assert_array_equal(noise(10, np.random.default_rng(1)), noise(10, np.random.default_rng(1)))


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e200, 1e308])
def test_clipping_keeps_the_direction_at_any_scale(scale):
    direction = np.array([0.6, -0.8, 0.0])
    short = clipped(scale * direction, 1e-310 if scale < 1 else 0.5)
    assert np.linalg.norm(short / np.abs(short).max()) > 0
    if scale >= 1:
        np.testing.assert_allclose(short, 0.5 * direction)


def test_an_update_that_is_not_finite_becomes_none_at_all():
    assert clipped(np.array([np.nan, 1.0]), 1.0).tolist() == [0.0, 0.0]
    assert clipped(np.zeros(3), 1.0).tolist() == [0.0] * 3


def test_whole_numbers_go_back_as_they_came(monkeypatch):
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    sent = ArrayRecord({"w": Array(np.zeros(4, np.float32)), "seen": Array(np.array(7))})

    def trained(message, context):
        arrays = ArrayRecord({"w": Array(np.ones(4, np.float32)), "seen": Array(np.array(1234))})
        return Message(RecordDict({"model": arrays, "metrics": MetricRecord({"loss": 1.0})}), reply_to=message)

    context = Context(1, 1, {}, RecordDict(), {"clip-norm": 1.0, "local-noise": 1.0})
    reply = private(Message(RecordDict({"arrays": sent}), 1, "train"), context, trained)
    assert reply.content["model"]["seen"].numpy() == 7
    assert set(reply.content["model"]) == {"w", "seen"}
    assert reply.content["metrics"] == {}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"local_noise": 1.0}, "local-noise=1 is a multiple of the longest update: write clip-norm=1.0"),
        ({"clip_norm": -1.0}, "clip-norm must be a finite number of at least 0"),
        ({"clip_norm": math.inf}, "clip-norm must be a finite number"),
        ({"clip_norm": 1.0, "local_noise": math.nan}, "local-noise must be a finite number"),
        ({"clip_norm": "short"}, "clip-norm must be float"),
    ],
    ids=str,
)
def test_wrong_settings_are_answered_with_what_to_write(ask, settings, reason):
    reply = ask(**settings)
    assert reply.has_error()
    assert reason in str(reply.error.reason)


def test_epsilon_is_that_of_the_gaussian_mechanism():
    """One round against the exact curve of Balle and Wang (ICML 2018), which a bound must not undercut."""
    from scipy.stats import norm

    for multiple in (0.5, 2.0, 10.0):
        ratio = 2 / multiple  # sensitivity, twice the clip, over the deviation
        bound = epsilon(multiple, rounds=1)
        delta = norm.cdf(ratio / 2 - bound / ratio) - math.exp(min(bound, 700)) * norm.cdf(-ratio / 2 - bound / ratio)
        assert delta <= 1e-5
    assert epsilon(2.0, rounds=4) == pytest.approx(epsilon(1.0, rounds=1))
