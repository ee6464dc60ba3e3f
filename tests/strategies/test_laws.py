"""The laws every registered rule and transform keeps, or says why not (`exempt=` of the decorators)."""

import itertools

import numpy as np
import pytest
from hawthorn.strategies import Geometry
from hypothesis import given
from hypothesis import strategies as st
from matrices import CASES, matrix
from numpy.testing import assert_allclose, assert_array_equal
from parts import LAWS, RULES, TRANSFORMS, apply, combination, every, exact_scale, rotation, supplied

SIZES = st.tuples(st.integers(3, 16), st.integers(1, 40))
SEEDS = st.integers(0, 2**32 - 1)


def same_place(part, moved, chosen):
    """What a permuted input must give: a rule the same update, a transform the same rows in the permuted order."""
    return moved[chosen] if part.name in TRANSFORMS and len(moved) == len(chosen) else moved


def assert_near(found, expected, rows, tolerance=1e-9):
    assert_allclose(found, expected, rtol=0, atol=tolerance * exact_scale(rows))


def test_exemptions_are_from_laws_that_exist():
    for part in (*RULES.values(), *TRANSFORMS.values()):
        assert part.exempt.keys() <= LAWS
        assert all(part.exempt.values()), f"{part.name} must say why"


@every(RULES, TRANSFORMS, law="order")
@given(case=st.sampled_from(CASES), size=SIZES, seed=SEEDS)
def test_the_order_of_the_rows_does_not_matter_bit_for_bit(part, case, size, seed):
    name, dtype = case
    rows = matrix(name, seed, *size, dtype)
    chosen = np.random.default_rng(seed).permutation(len(rows))
    assert_array_equal(apply(part, rows[chosen]), same_place(part, apply(part, rows), chosen), strict=True)


@every(RULES, TRANSFORMS)
@given(case=st.sampled_from(CASES), seed=SEEDS)
def test_two_calls_give_the_same_bits(part, case, seed):
    rows = matrix(case[0], seed, dtype=case[1])
    assert_array_equal(apply(part, rows), apply(part, rows), strict=True)


@every(RULES, TRANSFORMS, law="columns")
@given(size=SIZES, seed=SEEDS)
def test_the_order_of_the_columns_does_not_matter(part, size, seed):
    rows = matrix("plain", seed, *size)
    chosen = np.random.default_rng(seed).permutation(size[1])
    assert_near(apply(part, rows[:, chosen]), apply(part, rows)[..., chosen], rows)


@every(RULES, TRANSFORMS, law="translation")
@pytest.mark.parametrize("seed", range(5))
def test_a_shift_of_all_rows_shifts_the_result(part, seed):
    rows = matrix("plain", seed)
    rows[seed] *= 20  # one that a rule may want to shorten
    shift = np.random.default_rng(seed).normal(size=rows.shape[1]) * 100
    assert_near(apply(part, rows + shift), apply(part, rows) + shift, rows, 1e-7)


@every(RULES, TRANSFORMS, law="translation")
def test_a_shift_that_rounds_nothing_shifts_the_result_though_rows_tie(part):
    for seed in range(5):
        rows = matrix("lattice", seed)
        rows[seed] *= 16
        assert_near(apply(part, rows + 2.0**20), apply(part, rows) + 2.0**20, rows, 1e-7)


@every(RULES, TRANSFORMS, law="scale")
@pytest.mark.parametrize("exponent", [-600, -300, -60, -1, 1, 60, 300, 600])
def test_a_power_of_two_scales_the_result_bit_for_bit(part, exponent):
    rows = matrix("plain", 3)
    assert_array_equal(apply(part, rows * 2.0**exponent), apply(part, rows) * 2.0**exponent)


@every(RULES, TRANSFORMS, law="scale")
@pytest.mark.parametrize("exponent", [-100, -30, 30, 100])
def test_a_power_of_two_scales_the_result_bit_for_bit_in_float32(part, exponent):
    rows = matrix("plain", 4, dtype="float32")
    factor = np.float32(2.0**exponent)
    assert_array_equal(apply(part, rows * factor), apply(part, rows) * factor, strict=True)


@every(RULES, TRANSFORMS, law="scale")
@pytest.mark.parametrize("factor", [3.7, 1e-5, 1e12])
def test_any_factor_scales_the_result(part, factor):
    rows = matrix("plain", 5)
    assert_near(apply(part, rows * factor), apply(part, rows) * factor, rows * factor)


@every(RULES, TRANSFORMS, law="sign")
@pytest.mark.parametrize("seed", range(5))
def test_a_change_of_sign_changes_the_sign_of_the_result(part, seed):
    rows = matrix("plain", seed)
    assert_near(apply(part, -rows), -apply(part, rows), rows)


@every(RULES, TRANSFORMS, law="rotation")
def test_a_rotation_of_all_rows_rotates_the_result(part):
    for name in ("plain", "huge", "scattered"):
        rows = matrix(name, 6)
        turn = rotation(np.random.default_rng(7), rows.shape[1])
        expected = apply(part, rows) @ turn
        size = np.maximum(np.linalg.norm(np.atleast_2d(expected), axis=1), exact_scale(rows))
        away = np.linalg.norm(np.atleast_2d(apply(part, rows @ turn) - expected), axis=1)
        assert (away <= 1e-7 * size).all(), name


@every(RULES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rows_of_zeros_give_zeros(part, dtype):
    zeros = np.zeros((part.least(1), 17), dtype)
    assert_array_equal(apply(part, zeros, f=1), zeros[0], strict=True)


@every(RULES, law="agreement")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rows_that_agree_give_that_row(part, dtype):
    info = np.finfo(dtype)
    for size, n in itertools.product((0.0, 1.0, info.max, info.tiny), (1, 3, 7, 12)):
        row = (np.random.default_rng(8).uniform(-1, 1, size=17) * float(size)).astype(dtype)
        n = max(n, part.least(0))
        found = apply(part, np.tile(row, (n, 1)), f=0 if n < part.least(1) else 1)
        assert_allclose(found, row, rtol=4 * info.eps, atol=n * info.smallest_subnormal, err_msg=f"n={n}, size={size}")


@every(TRANSFORMS, law="agreement")
@pytest.mark.parametrize("size", [0.0, 1.0, 1e200, 1e-200])
def test_rows_that_agree_agree_after_a_transform(part, size):
    row = np.random.default_rng(8).uniform(-1, 1, size=17) * size
    found = apply(part, np.tile(row, (7, 1)))
    assert_array_equal(found, np.tile(found[0], (len(found), 1)))


@every({name: rule for name, rule in RULES.items() if "translation" not in rule.exempt})
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_the_result_stays_within_the_range_of_each_column(part, case):
    rows = matrix(case[0], 9, dtype=case[1])
    found = apply(part, rows)
    slack = 1e-6 if case[1] == "float32" else 1e-14
    low, high = rows.min(axis=0).astype(np.float64), rows.max(axis=0).astype(np.float64)
    room = slack * np.maximum(np.abs(low), np.abs(high)) + rows.shape[0] * np.finfo(case[1]).smallest_subnormal
    assert np.isfinite(found).all()
    assert (low - room <= found).all()
    assert (found <= high + room).all()


@every({name: rule for name, rule in RULES.items() if "translation" in rule.exempt})
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_the_result_of_a_rule_that_sees_lengths_is_finite_and_no_longer_than_the_longest_row(part, case):
    rows = matrix(case[0], 9, dtype=case[1])
    found = apply(part, rows).astype(np.float64)
    assert np.isfinite(found).all()
    largest = np.abs(rows).max().astype(np.float64)
    longest = np.linalg.norm(rows / largest, axis=1).max()
    assert np.linalg.norm(found / largest) <= longest * (1 + 1e-6)


@every(TRANSFORMS)
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_transform_makes_no_row_longer_than_the_longest(part, case):
    rows = matrix(case[0], 9, dtype=case[1]).astype(np.float64)
    found = np.asarray(apply(part, matrix(case[0], 9, dtype=case[1])), dtype=np.float64)
    assert np.isfinite(found).all()
    largest = np.abs(rows).max()
    longest = np.linalg.norm(rows / largest, axis=1).max()
    assert (np.linalg.norm(found / largest, axis=1) <= longest * (1 + 1e-6)).all()


@every({name: rule for name, rule in RULES.items() if rule.geometric})
def test_weights_of_a_geometric_rule_sum_to_one_and_keep_the_geometry(part):
    rows = matrix("plain", 10)
    geometry, before = Geometry.of(rows), Geometry.of(rows)
    found = combination(part, rows, 2, geometry)
    assert found.weights.dtype == np.float64
    assert found.weights.shape in {(len(rows),), (len(rows) + 1,)}
    assert (found.weights >= 0).all()
    if "translation" not in part.exempt:  # shortened rows weigh less
        assert found.weights.sum() == pytest.approx(1.0)
    if found.statistic is None and not found.noise:
        whole = np.vstack([rows, *supplied(part, rows).values()])[: len(found.weights)]
        assert_near(found.weights @ whole, apply(part, rows, 2), rows)
    assert_array_equal(geometry.gram, before.gram)
    assert_array_equal(geometry.squared_distances, before.squared_distances)
