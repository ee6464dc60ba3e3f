"""Bucketing: which rows are averaged, what that asks of the rule after it, and that no round repeats the last one's."""

import numpy as np
import oracles
import pytest
from hawthorn.strategies import Defense, Geometry, SettingError, ToleranceError, bucketing, krum
from matrices import CASES, matrix
from numpy.testing import assert_allclose, assert_array_equal

NAMES = [f"client {row}" for row in range(11)]
# twins differ in single columns, by which the package's order, of sampled columns first, is not the oracle's
ORDINARY = [case for case in CASES if not case[0].endswith("_all") and case[0] != "twins"]
QUIET = {"scores": (), "policy": "none"}


@pytest.mark.parametrize("case", ORDINARY, ids="-".join)
@pytest.mark.parametrize("s", [1, 2, 3, 5, 11, 20])
def test_buckets_are_means_of_rows_in_a_random_order(case, s):
    rows = matrix(case[0], 1, dtype=case[1])
    found = bucketing(rows, f=2, s=s, rng=np.random.default_rng(5))
    assert found.shape == (-(-11 // s), 23)
    assert found.dtype == rows.dtype
    expected = rows.astype(np.float64) if s == 1 else oracles.bucketing(rows, s=s, rng=np.random.default_rng(5))
    info = np.finfo(case[1])
    assert_allclose(
        found, expected, rtol=4 * info.eps, atol=1e-12 * np.abs(rows).max() + float(info.smallest_subnormal)
    )


def test_every_row_is_in_one_bucket_and_buckets_are_of_s():
    mixing = bucketing.mixing(Geometry.of(matrix("plain", 2, 11, 5)), f=0, s=3)
    assert ((mixing > 0).sum(axis=0) == 1).all()
    assert (mixing > 0).sum(axis=1).tolist() == [3, 3, 3, 2]
    assert_allclose(mixing.sum(axis=1), 1.0)


def test_a_generator_draws_another_permutation_at_each_call_and_none_the_same_one():
    rows = matrix("plain", 3, 11, 5)
    rng = np.random.default_rng(1)
    assert not np.array_equal(bucketing(rows, rng=rng), bucketing(rows, rng=rng))
    assert_array_equal(bucketing(rows), bucketing(rows))


def test_a_defense_draws_another_permutation_in_each_round_and_the_same_for_the_same_round():
    rows = matrix("plain", 4, 11, 5)
    defense = Defense("median", before=("bucketing(s=2)",), f=1, **QUIET)
    states, updates = [None], []
    for _ in range(4):
        outcome = defense(rows, clients=NAMES, state=states[-1])
        states.append(outcome.state)
        updates.append(outcome.update)
    assert len({update.tobytes() for update in updates}) == 4
    for state, update in zip(states, updates, strict=False):
        chosen = np.random.default_rng(6).permutation(11)
        again = defense(rows[chosen], clients=[NAMES[row] for row in chosen], state=state)
        assert_array_equal(again.update, update)


@pytest.mark.parametrize("rule", ["krum", "median", "trimmed_mean", "centered_clipping", "mean"])
def test_the_rule_gets_the_means_and_the_same_f(rule):
    rows = matrix("plain", 5, 14, 9)
    outcome = Defense(rule, before=("bucketing(s=2)",), f=2, **QUIET)(rows)
    mixed = oracles.bucketing(rows, s=2, rng=np.random.default_rng(0))
    assert_allclose(outcome.update, oracles.RULES[rule](mixed, 2), atol=1e-6)
    weights = np.array([verdict.weight for verdict in outcome.verdicts])
    assert weights.sum() == pytest.approx(1.0)


def test_transforms_before_and_after_see_as_many_rows_as_there_are():
    rows = matrix("plain", 6, 14, 9)
    found = Defense("trimmed_mean", before=("nnm", "bucketing(s=2)", "arc"), f=2, **QUIET)(rows).update
    mixed = oracles.bucketing(rows, s=14, rng=np.random.default_rng(0))
    assert mixed.shape == (1, 9)
    assert np.isfinite(found).all()
    twice = Defense("mean", before=("bucketing(s=2)", "bucketing(s=2)"), f=1, **QUIET)(rows[:12]).update
    # 12 rows, 6 buckets, 3 buckets of two: the mean of all, whichever the permutations
    assert_allclose(twice, rows[:12].mean(axis=0), atol=1e-12)


def test_tolerance_is_that_of_the_rule_on_the_buckets():
    rows = matrix("plain", 7, 10, 4)
    bucketing(rows, f=9)
    assert Defense("median", before=("bucketing(s=2)",), f=2, **QUIET)(rows).skipped is None  # 5 buckets, 2f + 1
    skipped = Defense("median", before=("bucketing(s=2)",), f=3, **QUIET)(rows).skipped
    assert "median tolerates at most 2 hostile clients out of 5, but f=3" in skipped
    with pytest.raises(ToleranceError):
        krum(bucketing(rows, s=3), f=1)


@pytest.mark.parametrize("s", [0, -1, 1.5, "x", True, None], ids=repr)
def test_a_wrong_size_is_refused(s):
    with pytest.raises(SettingError, match="whole number s"):
        bucketing(matrix("plain", 8), s=s)


def test_a_seed_in_the_place_of_a_generator_says_what_to_write():
    with pytest.raises(SettingError, match=r"rng=numpy.random.default_rng\(...\)"):
        bucketing(matrix("plain", 9), rng=3)
