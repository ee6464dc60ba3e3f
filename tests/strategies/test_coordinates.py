"""Rules that look at each column by itself, and Bulyan, against their definitions; the mistakes known elsewhere."""

import numpy as np
import oracles
import pytest
from hawthorn.strategies import (
    Defense,
    Geometry,
    SettingError,
    ToleranceError,
    bulyan,
    krum,
    mean_around_median,
    rlr,
    sign_majority,
)
from hawthorn.strategies.kernels import NearMedian
from hypothesis import given
from hypothesis import strategies as st
from matrices import CASES, matrix, tolerable
from numpy.testing import assert_allclose, assert_array_equal
from oracles_columns import near_median, selected_by_krum

UNTIED = [case for case in CASES if case[0] not in {"duplicates", "lattice", "zeros"}]
QUIET = {"scores": (), "policy": "none"}


def assert_rounded(found, expected, rows):
    """What was found is the expected to a few roundings of its dtype, and of float64 sums of what may count."""
    info = np.finfo(rows.dtype)
    sizes = np.sort(np.abs(rows.astype(np.float64)), axis=0)[: len(rows) - tolerable(len(rows))].max(axis=0)
    room = 2 * info.eps * np.abs(expected) + 1e-13 * sizes + len(rows) * float(info.smallest_subnormal)
    assert (np.abs(found.astype(np.float64) - expected) <= room).all()


@pytest.mark.parametrize("rule", [mean_around_median, sign_majority], ids=lambda rule: rule.name)
@pytest.mark.parametrize("case", CASES, ids="-".join)
@pytest.mark.parametrize("size", [(11, 23), (8, 2), (20, 130)], ids=str)
def test_rules_of_columns_agree_with_their_definition(rule, case, size):
    rows = matrix(case[0], 1, *size, case[1])
    f = tolerable(len(rows))
    assert_rounded(rule(rows, f=f), oracles.RULES[rule.name](rows, f), rows)


@pytest.mark.parametrize("case", CASES, ids="-".join)
@pytest.mark.parametrize("theta", [None, 1, 4, 11])
def test_rlr_agrees_with_its_definition(case, theta):
    rows = matrix(case[0], 2, dtype=case[1])
    found, expected = rlr(rows, f=2, theta=theta), oracles.RULES["rlr"](rows, 2, theta=theta)
    info = np.finfo(case[1])
    room = 1e-14 * float(np.abs(rows).max()) + float(info.smallest_subnormal)
    assert_allclose(found, expected, rtol=2 * info.eps, atol=room)


@pytest.mark.parametrize("case", UNTIED, ids="-".join)
@pytest.mark.parametrize("size", [(11, 23), (15, 2), (19, 40), (23, 5)], ids=str)
def test_bulyan_agrees_with_its_definition(case, size):
    name, dtype = case
    rows = matrix(name, 3, *size, dtype)
    f = tolerable(len(rows))
    exponent = {"astronomic_all": -664, "faint_all": 664}.get(name, 0)
    expected = np.ldexp(oracles.RULES["bulyan"](np.ldexp(rows.astype(np.float64), exponent), f), -exponent)
    assert_rounded(bulyan(rows, f=f), expected, rows)


@given(n=st.integers(3, 16), f=st.integers(0, 3), seed=st.integers(0, 2**32 - 1), width=st.integers(1, 5))
def test_bulyan_selects_what_brute_force_selects(n, f, seed, width):
    if n < 4 * f + 3:
        return
    rows = np.random.default_rng(seed).normal(size=(n, width))
    found = bulyan.combination(Geometry.of(rows), f=f)
    assert found.statistic == NearMedian(n - 4 * f)
    assert_array_equal(np.flatnonzero(found.weights), sorted(selected_by_krum(rows, f, n - 2 * f)))
    assert_allclose(found.weights[found.weights > 0], 1 / (n - 2 * f))


def one_shot(rows, f):
    """Mistaken: the n - 2f rows of the least scores among all."""
    return np.argsort(oracles.krum_scores(rows, f), kind="stable")[: len(rows) - 2 * f]


def same_row(rows, f):
    """Mistaken: Krum's first, n - 2f times."""
    return np.full(len(rows) - 2 * f, np.argmin(oracles.krum_scores(rows, f)))


@pytest.mark.parametrize("mistake", [one_shot, same_row])
def test_bulyan_with_rows_selected_otherwise_would_be_seen(mistake):
    seen = 0
    for seed in range(9):
        rows = np.random.default_rng(seed).standard_t(2, size=(15, 4))
        expected = [near_median(column, 3) for column in rows[mistake(rows, 3)].T]
        seen += np.abs(bulyan(rows, f=3) - expected).max() > 1e-3
    assert seen >= 5


@pytest.mark.parametrize("seed", range(5))
def test_bulyan_with_another_second_step_would_be_seen(seed):
    rows = np.random.default_rng(seed).standard_t(2, size=(15, 40))
    selected, found = rows[selected_by_krum(rows, 3, 9)], bulyan(rows, f=3)
    assert_allclose(found, [near_median(column, 3) for column in selected.T], atol=1e-12)
    for count in (2, 4, 9):  # one off, and no second step at all
        assert np.abs(found - [near_median(column, count) for column in selected.T]).max() > 1e-3


def test_bulyan_of_the_fewest_rows_ends_with_one_neighbor():
    rows = np.array([[0.0], [1.0], [3.0], [7.0], [8.0], [20.0], [21.5]])
    assert bulyan(rows, f=1)[0] == oracles.RULES["bulyan"](rows, 1)[0]
    with pytest.raises(ToleranceError, match="bulyan tolerates at most 0 hostile clients out of 6, but f=1"):
        bulyan(rows[:6], f=1)


def test_bulyan_in_a_defense_weighs_the_rows_it_selects():
    rows = matrix("plain", 4, 12, 30)
    rows[:2] += 50
    outcome = Defense("bulyan", f=2, **QUIET)(rows)
    weights = np.array([verdict.weight for verdict in outcome.verdicts])
    assert (weights > 0).sum() == 8
    assert_array_equal(weights, bulyan.weights(Geometry.of(rows), f=2))
    assert np.abs(outcome.update - rows[2:].mean(axis=0)).max() < 2  # though the last one selected is hostile
    assert_array_equal(outcome.update, bulyan(rows, f=2))
    mixed = Defense.parse("nnm | bulyan", f=2, **QUIET)(rows).update
    assert np.abs(mixed - rows[2:].mean(axis=0)).max() < 2


@pytest.mark.parametrize(
    ("rule", "before"),
    [
        ("mean_around_median", ""),
        ("mean_around_median", "nnm | "),
        ("bulyan", ""),
        ("rlr", ""),
        ("sign_majority", ""),
    ],
)
def test_a_defense_does_what_its_rule_does(rule, before):
    rows = matrix("plain", 5, 12, 3000, "float32")
    found = Defense.parse(f"{before}{rule}", f=2, **QUIET)(rows).update
    mixed = oracles.TRANSFORMS["nnm"](rows, 2) if before else rows
    assert found.dtype == np.float32
    assert_allclose(found, oracles.RULES[rule](mixed, 2), rtol=1e-5, atol=2e-6)


def test_of_two_halves_as_near_the_middle_decides():
    rows = np.array([[-3.0], [-2.0], [0.0], [2.0], [3.0]])
    for f, expected in ((1, 0.0), (2, 0.0)):
        assert mean_around_median(rows, f=f)[0] == expected
        assert mean_around_median(-rows, f=f)[0] == -expected


def test_rlr_takes_votes_and_no_sizes():
    rows = np.ones((7, 3))
    rows[:3, 1], rows[0, 2] = -1e6, -1e6
    found = rlr(rows, f=1)
    assert found[0] == 1
    assert found[1] == -rows[:, 1].mean()  # 4 against 3 is no majority of theta = 3
    assert_allclose(found[2], rows[:, 2].mean())  # 6 against 1 is, though the mean is the other way


@pytest.mark.parametrize("theta", [0, -1, 2.5, "3", True])
def test_a_theta_that_is_no_number_of_clients_is_refused(theta):
    with pytest.raises(SettingError, match="rlr needs a whole number theta"):
        rlr(np.ones((5, 2)), f=1, theta=theta)


def test_a_theta_beyond_all_clients_is_refused():
    with pytest.raises(ToleranceError, match="theta=6 reverses every coordinate of 5 rows"):
        rlr(np.ones((5, 2)), f=1, theta=6)
    assert Defense("rlr(theta=6)", f=1, **QUIET)(np.ones((5, 2))).skipped


def test_one_vote_is_one_vote_whatever_its_size():
    rows = np.array([[1.0], [2.0], [3.0], [-1e300], [-1e-300]])
    assert sign_majority(rows, f=2)[0] == 2.0
    assert sign_majority(rows[1:], f=1)[0] == 0.0
    with pytest.raises(SettingError, match="a rule of columns and has no weights"):
        sign_majority.weights(Geometry.of(rows))


def test_a_selection_that_krum_would_start_with():
    rows = matrix("plain", 6, 13, 9)
    assert selected_by_krum(rows, 2, 1)[0] == np.argmax(krum.weights(Geometry.of(rows), f=2))
