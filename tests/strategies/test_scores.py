"""Laws of every registered score and policy, and what the scores that look at one round see."""

import numpy as np
import pytest
from hawthorn.strategies import Geometry
from hawthorn.strategies.evidence import deviations
from hypothesis import given
from hypothesis import strategies as st
from matrices import CASES, matrix
from numpy.testing import assert_allclose, assert_array_equal
from parts import POLICIES, SCORES, every, options, rotation, scored

SEEDS = st.integers(0, 2**32 - 1)


@every(SCORES)
@given(case=st.sampled_from(CASES), n=st.integers(1, 14), d=st.integers(1, 30), seed=SEEDS)
def test_scores_are_finite_and_one_per_row_whatever_the_rows(part, case, n, d, seed):
    rows = matrix(case[0], seed, n, d, case[1])
    before = rows.copy()
    found = scored(part, rows)
    assert found.shape == (n,)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    assert_array_equal(rows, before)


@every(SCORES)
@given(case=st.sampled_from(CASES), seed=SEEDS)
def test_the_order_of_the_rows_does_not_matter_bit_for_bit(part, case, seed):
    rows = np.unique(matrix(case[0], seed, dtype=case[1]), axis=0)  # rows that are equal may stand for each other
    chosen = np.random.default_rng(seed).permutation(len(rows))
    assert_array_equal(scored(part, rows[chosen]), scored(part, rows)[chosen])


@every(SCORES)
@pytest.mark.parametrize("factor", [2.0**-300, 1e-6, 3.0, -1.0, 1e9, 2.0**300])
def test_scores_mean_the_same_at_every_scale(part, factor):
    rows = matrix("plain", 50)
    assert_allclose(scored(part, rows * factor), scored(part, rows), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in SCORES if name != "signs"])  # which is of columns
def test_scores_do_not_see_a_rotation(name):
    part, rows = SCORES[name], matrix("plain", 51)
    turned = rows @ rotation(np.random.default_rng(52), rows.shape[1])
    assert_allclose(scored(part, turned), scored(part, rows), rtol=1e-7, atol=1e-7)


@every(SCORES)
@pytest.mark.parametrize("f", [0, 1, 3, 8, 100])
def test_scores_are_answered_for_every_f(part, f):
    assert np.isfinite(scored(part, matrix("plain", 53, 8, 5), f)).all()


@every(SCORES)
@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_rows_that_agree_are_not_anomalous(part, n):
    for row in ([1.0, 2.0, 3.0], [-1e30, 1e-30, 0.0], [0.0, 0.0, 0.0]):
        found = scored(part, np.tile(row, (n, 1)), 0)
        assert_allclose(found, found[0], atol=1e-9)
        assert (deviations(found, 0, part.spread) <= 1e-6).all()


@every(SCORES)
@pytest.mark.parametrize("size", [1e8, 1e30, 1e200])
def test_how_huge_a_row_is_changes_nothing_for_the_others(part, size):
    rows = matrix("plain", 77, 14, 40)
    there = np.arange(14) != 5
    expected = scored(part, rows * np.where(there, 1.0, 1e4)[:, None], 3)[there]
    assert_allclose(scored(part, rows * np.where(there, 1.0, size)[:, None], 3)[there], expected, rtol=1e-3, atol=1e-3)


@every(SCORES)
def test_scores_mean_the_same_however_many_rows_there_are(part):
    rng, found = np.random.default_rng(78), []
    common = rng.normal(size=300)
    for n in (10, 20, 40, 80):
        said = []
        for _ in range(10):
            rows = common + rng.normal(size=(n, 300))
            said.append(scored(part, rows, n // 5, **_root(part, rows, common)))
        found.append(float(np.mean([np.median(values) for values in said])))
    assert np.ptp(found) < 1.5 * part.spread  # where honest clients differ by one


def _root(part, rows, common):
    return {"trusted": Geometry.of(np.vstack([rows, common]))} if "trusted" in part.asked else {}


def round_with(hostile, seed=54, n=15, d=40):
    """Honest rows about a common direction, and two that `hostile` makes of them and of it."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=d)
    rows = common + 0.5 * rng.normal(size=(n, d))
    rows[:2] = hostile(rng, rows, common)
    return rows


SEES = {
    "length": lambda rng, rows, common: 10 * rows[:2],
    "direction": lambda rng, rows, common: -rows[:2],
    "distance": lambda rng, rows, common: rows[:2] + 3 * rng.normal(size=(2, 40)),
    "leverage": lambda rng, rows, common: rows[:2] - 3 * common,  # two that move together
    "agreement": lambda rng, rows, common: 0.5 * rng.normal(size=(2, 40)) - 0.3 * common,
    "similarity": lambda rng, rows, common: rows[:1] + 0.05 * rng.normal(size=(2, 40)),
    "signs": lambda rng, rows, common: np.append(rows[:2, :20], -rows[:2, 20:], axis=1),
    "layers": lambda rng, rows, common: rows[:2] + np.append(np.zeros((2, 30)), 2 * rng.normal(size=(2, 10)), axis=1),
    "trust": lambda rng, rows, common: 0.5 * rng.normal(size=(2, 40)) - 0.3 * common,
}
NEEDS_A_PAST = {"consistency"}


def test_every_score_is_shown_to_see_something():
    assert set(SEES) | NEEDS_A_PAST == set(SCORES)


@pytest.mark.parametrize("name", SEES)
@pytest.mark.parametrize("seed", range(5))
def test_each_score_sees_what_it_is_for(name, seed):
    found = scored(SCORES[name], round_with(SEES[name], seed), 3)
    assert set(np.argsort(found)[-2:]) == {0, 1}


def test_scores_see_different_things():
    long, turned = round_with(SEES["length"]), round_with(SEES["direction"])
    assert set(np.argsort(scored(SCORES["length"], turned, 3))[-2:]) != {0, 1}
    assert scored(SCORES["direction"], long, 3)[0] < 0.3
    free = round_with(lambda rng, rows, common: 1e-4 * rows[:2])
    assert set(np.argsort(scored(SCORES["length"], free, 3))[-2:]) == {0, 1}, "free riders send next to nothing"


def test_direction_sees_no_lengths():
    rows = matrix("plain", 55)
    factors = 10.0 ** np.random.default_rng(56).uniform(-20, 20, size=len(rows))
    assert_allclose(scored(SCORES["direction"], rows * factors[:, None]), scored(SCORES["direction"], rows), atol=1e-6)


def evidence(rng, n):
    """What scores say of honest clients, and 40 times as much of the first."""
    said = {name: np.abs(rng.normal(size=n)) for name in ("length", "direction")}
    for values in said.values():
        values[0] = 40.0
    return said


@every(POLICIES)
@given(n=st.integers(1, 40), f=st.integers(0, 12), seed=SEEDS)
def test_a_policy_decides_on_every_client_and_rejects_at_most_f(part, n, f, seed):
    rng = np.random.default_rng(seed)
    said = {"length": rng.standard_cauchy(size=n), "direction": rng.standard_cauchy(size=n)}
    before = {name: values.copy() for name, values in said.items()}
    decision = part(said, f, **options(part))
    assert decision.accepted.shape == decision.p_values.shape == (n,)
    assert decision.accepted.dtype == bool
    assert (~decision.accepted).sum() <= f
    assert ((decision.p_values >= 0) & (decision.p_values <= 1)).all()
    assert len(decision.reasons) == n
    for accepted, reason in zip(decision.accepted, decision.reasons, strict=True):
        assert bool(reason) != accepted, "a rejection has a reason, and nothing else has"
    for name, values in said.items():
        assert_array_equal(values, before[name])


@every(POLICIES)
@given(n=st.integers(2, 30), seed=SEEDS)
def test_a_policy_decides_by_what_is_said_not_by_place(part, n, seed):
    rng = np.random.default_rng(seed)
    said = {"length": rng.standard_cauchy(size=n)}
    chosen = rng.permutation(n)
    one = part(said, n // 3, **options(part))
    other = part({name: values[chosen] for name, values in said.items()}, n // 3, **options(part))
    assert_array_equal(other.accepted, one.accepted[chosen])
    assert_allclose(other.p_values, one.p_values[chosen], rtol=1e-9)


@every(POLICIES)
@pytest.mark.parametrize("n", [5, 10, 20, 50])
def test_a_policy_that_rejects_rejects_a_blatant_outlier_and_accepts_clients_alike(part, n):
    decision = part(evidence(np.random.default_rng(57), n), max(n // 5, 1), **options(part))
    assert decision.accepted[0] == (part.name == "none")
    assert decision.p_values[0] == decision.p_values.min() < 1e-3
    alike = part({"length": np.full(n, 3.0), "direction": np.zeros(n)}, max(n // 5, 1), **options(part))
    assert alike.accepted.all()
