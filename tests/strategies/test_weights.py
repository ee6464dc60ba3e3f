"""Clients' weights: a whole weight counts as so many rows, equal weights as none, and what f hostile ones may hold."""

import numpy as np
import oracles
import pytest
import torch
from hawthorn.strategies import (
    Defense,
    Geometry,
    SettingError,
    ToleranceError,
    UpdateError,
    geometric_median,
    krum,
    mean,
    median,
    shortened_mean,
    trimmed_mean,
)
from hawthorn.strategies.contract import RULES
from hawthorn.strategies.kernels import cpu
from hawthorn.strategies.weights import client_weights
from hypothesis import given
from hypothesis import strategies as st
from matrices import CASES, matrix
from numpy.testing import assert_allclose, assert_array_equal

WEIGHABLE = [mean, median, trimmed_mean, geometric_median, shortened_mean]
QUIET = {"scores": (), "policy": "none"}


def weights_of(rng, n, f=0):
    """Whole weights of which the f heaviest hold less than half."""
    while True:
        weights = rng.integers(1, 6, size=n)
        if 2 * np.sort(weights)[n - f :].sum() < weights.sum():
            return weights


def test_these_rules_take_weights_and_no_others():
    assert {name for name, rule in RULES.items() if "weights" in rule.asked} == {rule.name for rule in WEIGHABLE}


@pytest.mark.parametrize("rule", WEIGHABLE, ids=lambda rule: rule.name)
@given(
    case=st.sampled_from([case for case in CASES if case[0] != "zeros"]),
    n=st.integers(3, 12),
    d=st.integers(2, 30),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_whole_weight_counts_as_so_many_rows(rule, case, n, d, seed):
    rows = matrix(case[0], seed, n, d, case[1])
    weights = weights_of(np.random.default_rng(seed), n, 1)
    many = np.repeat(rows, weights, axis=0)
    found = rule(rows, f=1, weights=weights)
    expected = rule(many, f=int(weights.max()) if rule is trimmed_mean else 1)
    assert found.dtype == rows.dtype
    if rule is geometric_median:  # the point may not be unique, or be found a little later
        sums = [(weights * oracles.lengths(rows.astype(np.float64) - z)).sum() for z in (found, expected)]
        assert sums[0] <= sums[1] * (1 + 1e-6)
    else:
        usual = np.sort(np.abs(rows.astype(np.float64)), axis=0)
        room = 1e-13 * (usual.max(axis=0) if rule is mean else usual[n - 2])
        info = np.finfo(case[1])
        room = room + 2 * info.eps * np.abs(expected.astype(np.float64)) + n * float(info.smallest_subnormal)
        assert (np.abs(found.astype(np.float64) - expected) <= room).all()


@pytest.mark.parametrize("seed", range(10))
def test_the_weighted_geometric_median_is_that_of_repeated_rows(seed):
    rng = np.random.default_rng(seed)
    rows, weights = rng.standard_t(2, size=(9, 4)), weights_of(rng, 9)
    assert_allclose(
        geometric_median(rows, weights=weights),
        oracles.geometric_median(np.repeat(rows, weights, axis=0)),
        rtol=0,
        atol=1e-6,
    )


def test_a_row_with_half_of_the_weight_is_the_geometric_median():
    rows = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [5.0, 1.0], [7.0, -2.0]])
    assert_allclose(geometric_median(rows, weights=[1, 1, 1, 1, 2]), [0, 0], atol=1e-6)
    assert_allclose(geometric_median(rows, weights=[1, 1, 1, 9, 1]), [5, 1], atol=1e-6)


@pytest.mark.parametrize("rule", WEIGHABLE, ids=lambda rule: rule.name)
@pytest.mark.parametrize("size", [1, 0.1, 1e308, 5e-324])
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_equal_weights_are_none_to_the_last_bit(rule, size, case):
    rows = matrix(case[0], 90, dtype=case[1])
    assert_array_equal(rule(rows, f=2, weights=np.full(len(rows), size)), rule(rows, f=2), strict=True)


@pytest.mark.parametrize("rule", WEIGHABLE, ids=lambda rule: rule.name)
@pytest.mark.parametrize("narrow", [1, 1 << 30])
@given(case=st.sampled_from(CASES), n=st.integers(5, 14), seed=st.integers(0, 2**32 - 1))
def test_the_laws_of_rules_with_weights(rule, narrow, case, n, seed):
    rows, rng = matrix(case[0], seed, n, 20, case[1]), np.random.default_rng(seed)
    weights = np.where(rng.random(n) < 0.5, 1.0, rng.uniform(0.5, 2.0, size=n))
    order = rng.permutation(n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "NARROW", narrow)
        found = rule(rows, f=1, weights=weights)
        assert_array_equal(rule(rows[order], f=1, weights=weights[order]), found)
        assert_array_equal(rule(rows, f=1, weights=weights * 2.0**40), found)
        assert_allclose(rule(rows, f=1, weights=weights * 3), found, rtol=1e-5, atol=1e-9 * np.abs(rows).max())
        if case[0] == "plain":
            assert_allclose(rule(-rows, f=1, weights=weights), -found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", [median, trimmed_mean, geometric_median], ids=lambda rule: rule.name)
@pytest.mark.parametrize("size", [1e3, 1e30, 1e300])
def test_hostile_rows_with_less_than_half_of_the_weight_leave_the_update_among_the_others(rule, size):
    rng = np.random.default_rng(91)
    for _ in range(20):
        rows = rng.normal(size=(9, 5))
        weights = weights_of(rng, 9, 2)
        heavy = np.argsort(weights)[-2:]
        rows[heavy] = size * rng.normal(size=(2, 5))
        honest = np.delete(rows, heavy, axis=0)
        found = rule(rows, f=2, weights=weights)
        if rule is geometric_median:
            share = weights[heavy].sum() / weights.sum()
            assert np.linalg.norm(found) <= 2 * np.linalg.norm(honest, axis=1).max() / (1 - 2 * share)
        else:
            assert (honest.min(axis=0) - 1e-9 <= found).all()
            assert (found <= honest.max(axis=0) + 1e-9).all()


@pytest.mark.parametrize("rule", [median, trimmed_mean, geometric_median], ids=lambda rule: rule.name)
def test_f_clients_with_half_of_the_weight_are_too_many(rule):
    rows = matrix("plain", 92, 7, 5)
    told = f"{rule.name} with weights tolerates hostile clients of less than half of the weight, but f=2 of 7 may hold"
    with pytest.raises(ToleranceError, match=f"{told} 50% of it"):
        rule(rows, f=2, weights=[5, 1, 1, 3, 2, 3, 1])
    with pytest.raises(ToleranceError, match=f"{told} 71% of it"):
        rule(rows, f=2, weights=[9, 1, 1, 3, 1, 1, 1])
    with pytest.raises(ToleranceError, match="of less than half"):  # 0.1 + 0.2 is not 0.3, but for rounding
        rule(rows[:3], f=1, weights=[0.1, 0.2, 0.3])
    assert np.isfinite(rule(rows, f=2, weights=[5, 1, 1, 3, 2, 3, 2])).all()
    with pytest.raises(ToleranceError, match="at most 3 hostile clients out of 7"):  # f stays a count
        rule(rows, f=4, weights=np.arange(1, 8))


def test_the_heaviest_f_clients_are_trimmed_from_each_side():
    rows = np.array([[-9.0], [1.0], [2.0], [3.0], [90.0]])
    # 3 of 11 go on either side: -9 and a half of 1; 90 and all of 3 but one third
    assert trimmed_mean(rows, f=1, weights=[2, 2, 2, 3, 2])[0] == (1 * 1 + 2 * 2 + 3 * 2) / 5
    assert trimmed_mean(rows, f=0, weights=[1, 1, 1, 1, 4])[0] == mean(rows, weights=[1, 1, 1, 1, 4])[0]
    assert median(rows, weights=[2, 2, 2, 3, 2])[0] == 2.0
    assert median(rows, weights=[2, 2, 2, 2, 4])[0] == 2.5


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ([1, 2], r"each of 5 rows, got shape \(2,\)"),
        (np.ones((5, 1)), r"got shape \(5, 1\)"),
        (3.0, r"got shape \(\)"),
        ("12345", "numbers|number"),
        ([1, 2, None, 4, 5], "finite"),
        ([1, 2, np.nan, 4, 5], "rows 2 have others"),
        ([1, np.inf, 2, 4, 5], "rows 1 have others"),
        ([0, 1, 2, 3, -4], "rows 0, 4 have others"),
        ([1, 2, "three", 4, 5], "5 finite positive numbers"),
    ],
)
@pytest.mark.parametrize("rule", [median, geometric_median], ids=lambda rule: rule.name)
def test_weights_that_are_none_are_refused(rule, weights, told):
    rows = matrix("plain", 93, 5, 4)
    with pytest.raises(UpdateError, match=told):
        rule(rows, weights=weights)
    with pytest.raises(UpdateError, match=told):
        Defense(rule.name, f=1, **QUIET)(rows, weights=weights)


def test_weights_are_known_up_to_a_power_of_two():
    assert_array_equal(client_weights([3, 1, 2], 3), [0.75, 0.25, 0.5])
    assert np.isfinite(client_weights([1e308, 1.7e308, 1.0], 3).sum())
    assert client_weights([5e-324, 1e-323], 2).tolist() == [0.25, 0.5]


@pytest.mark.parametrize("rule", [rule for rule in RULES.values() if rule not in WEIGHABLE], ids=lambda rule: rule.name)
def test_a_rule_without_weights_names_those_that_have_them(rule):
    names = ", ".join(sorted(rule.name for rule in WEIGHABLE))
    told = f"{rule.name} takes no weights of clients: write one of {names}"
    with pytest.raises(SettingError, match=told):
        rule(matrix("plain", 94), f=1, weights=np.ones(11))
    with pytest.raises(SettingError, match=told):
        Defense(rule.name, f=1, **QUIET)(matrix("plain", 94), weights=np.ones(11))


def test_mixed_rows_have_no_weights_but_shortened_ones_do():
    rows = matrix("plain", 95, 9, 40)
    weights = weights_of(np.random.default_rng(95), 9, 2)
    for before in ("nnm", "bucketing(s=2)", "arc | nnm"):
        with pytest.raises(SettingError, match="mixes the rows of clients, and a mixed row has no client's weight"):
            Defense.parse(f"{before} | median", f=2, **QUIET)(rows, weights=weights)
    for before in ("arc", "clip(radius=3.0)"):
        name, _, options = before.rstrip(")").partition("(radius=")
        shortened = oracles.TRANSFORMS[name](rows, 2, **({"radius": float(options)} if options else {}))
        for rule in WEIGHABLE:
            found = Defense.parse(f"{before} | {rule.name}", f=2, **QUIET)(rows, weights=weights).update
            assert_allclose(found, rule(shortened, f=2, weights=weights), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rule", WEIGHABLE, ids=lambda rule: rule.name)
def test_a_defense_weighs_the_clients_it_accepts(rule):
    rows = matrix("plain", 96, 12, 200, "float32")
    rows[3] *= -40
    weights = weights_of(np.random.default_rng(96), 12, 2)
    defense = Defense(rule.name, f=2)
    outcome = defense(rows, weights=weights)
    accepted = np.array([verdict.accepted for verdict in outcome.verdicts])
    assert not accepted[3]
    assert accepted.sum() >= 10
    expected = rule(rows[accepted], f=2, weights=weights[accepted])
    assert_allclose(outcome.update, expected, rtol=1e-5, atol=1e-6)
    shares = np.array([verdict.weight for verdict in outcome.verdicts])
    assert shares.sum() == pytest.approx(1)
    if rule is not geometric_median:
        assert_allclose(shares, np.where(accepted, weights, 0) / weights[accepted].sum())
    named = defense(rows, clients=[f"c{k}" for k in range(12)], weights=weights)
    assert_allclose(named.update, outcome.update)


def test_a_round_in_which_too_few_hold_too_much_is_skipped():
    outcome = Defense("median", f=2, **QUIET)(matrix("plain", 97, 7, 5), weights=[9, 1, 1, 3, 1, 1, 1])
    assert outcome.update is None
    assert "f=2 of 7 may hold 71% of it" in outcome.skipped


@pytest.mark.parametrize("rule", [mean, geometric_median], ids=lambda rule: rule.name)
def test_weights_of_a_geometric_rule_are_in_the_order_of_its_rows(rule):
    rows, weights = matrix("plain", 98, 9, 30), np.arange(1.0, 10.0)
    found = rule.weights(Geometry.of(rows), f=1, weights=weights)
    assert_allclose(found @ rows, rule(rows, f=1, weights=weights), atol=1e-9)
    assert_array_equal(rule.weights(Geometry.of(rows), f=1, weights=np.ones(9)), rule.weights(Geometry.of(rows), f=1))
    with pytest.raises(UpdateError, match="each of 9 rows"):
        rule.weights(Geometry.of(rows), f=1, weights=[1, 2])
    with pytest.raises(SettingError, match="krum has no option 'weights'"):
        krum.weights(Geometry.of(rows), f=1, weights=weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_tensors_and_lists_are_weighed_alike(dtype):
    rows = torch.tensor(np.round(matrix("plain", 99, 7, 30) * 8) / 8, dtype=dtype)
    weights = [3, 1, 1, 2, 1, 2, 1]
    for rule in WEIGHABLE:
        found = rule(rows, f=1, weights=torch.tensor(weights))
        assert found.dtype == dtype
        expected = rule(rows.double().numpy(), f=1, weights=weights)
        assert_allclose(found.double().numpy(), expected, rtol=torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)
