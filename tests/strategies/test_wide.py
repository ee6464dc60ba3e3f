"""Wide rounds: float32 sums, made again where they fail; compiled networks; bisection; rows that lie in any way."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hawthorn.strategies import Defense, Geometry, kernels, nnm
from hawthorn.strategies.kernels import OrderStatistic, cpu, tasks
from hypothesis import given, settings
from hypothesis import strategies as st
from matrices import CASES, MATRICES, matrix
from numpy.testing import assert_allclose, assert_array_equal

WIDE = cpu.NARROW + tasks.CHUNK + cpu.TILE + 77  # several chunks, part of a tile, and columns that fill no vector
SINGLE = [name for name, dtype in CASES if dtype == "float32"]


def distances(rows):
    wide = rows.astype(np.float64)
    return np.array([[np.sum((one - other) ** 2) for other in wide] for one in wide])


def pass_1(rows):
    return kernels.gram(rows, np.arange(len(rows)), np.ones(len(rows)))


def middle(rows, low, high, mixing=None):
    found, _ = kernels.order_statistic(rows, np.arange(len(rows)), OrderStatistic(low, high), mixing)
    return found


def expected(rows, low, high):
    return np.sort(rows.astype(np.float64), axis=0)[low:high].mean(axis=0).astype(rows.dtype)


@pytest.mark.parametrize("name", SINGLE)
def test_distances_are_those_of_float64_whatever_the_rows(name):
    rows = matrix(name, 60, 12, WIDE, "float32")
    found, squares = pass_1(rows)
    assert_allclose(found, distances(rows), rtol=1e-6, atol=0)
    assert_allclose(squares, (rows.astype(np.float64) ** 2).sum(axis=1), rtol=1e-6, atol=0)
    assert (found == found.T).all()


@pytest.mark.parametrize("size", [3e38, 1e19, 1e-19, 1e-22, 1e-38, 1e-44])
def test_one_row_of_any_size_spoils_no_other(size):
    rows = matrix("plain", 61, 9, WIDE, "float32")
    rows[4] = np.float32(size) * np.sign(rows[4])
    found, _ = pass_1(rows)
    assert_allclose(found, distances(rows), rtol=1e-6)
    rows[:] = np.float32(size) * np.sign(rows)  # and all rows of that size
    rows[4, ::2] = 0
    assert_allclose(pass_1(rows)[0], distances(rows), rtol=1e-6, atol=0)


def test_equal_rows_and_nearly_equal_ones_are_told_apart():
    rows = matrix("plain", 62, 9, WIDE, "float32")
    rows[3:7] = rows[2]
    rows[5, 7] = np.nextafter(rows[5, 7], np.float32(9))
    rows[6] += np.float32(1e-25)  # changes only the values next to zero, if any
    rows[6, 11] = np.float32(1e-30)
    rows[2:6, 11] = np.float32(2e-30)
    found, _ = pass_1(rows)
    assert_allclose(found, distances(rows), rtol=1e-6, atol=0)
    assert found[2, 3] == 0 < found[2, 5]


@settings(max_examples=15, deadline=None)
@given(name=st.sampled_from(SINGLE), n=st.integers(1, 23), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_what_grows_in_any_order_is_what_is_measured_at_once(name, n, seed, data):
    rows = matrix(name, seed, n, WIDE, "float32")
    came = np.random.default_rng(seed).permutation(n)
    arrived = rows[came]
    grown, squares = np.zeros((n, n)), np.zeros(n)
    start = 0
    while start < n:
        stop = data.draw(st.integers(start + 1, n))
        part, squares[start:stop] = kernels.grow(arrived, start, stop)
        grown[start:stop, :stop], grown[:stop, start:stop] = part, part.T
        start = stop
    back = np.argsort(came)
    found = kernels.gram(arrived, back, np.ones(n), (grown[np.ix_(back, back)], squares[back]))
    for one, two in zip(found, pass_1(rows), strict=True):
        assert_array_equal(one, two)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 17, 50, 128, 129, 200, 301])
@pytest.mark.parametrize("name", ["plain", "offset", "lattice", "duplicates", "denormal", "scattered"])
def test_order_statistics_are_numpys(n, name):
    d = cpu.NARROW + 45
    rows = matrix(name, 63, n, d, "float32")
    f = (n - 1) // 3
    for low, high in {((n - 1) // 2, n // 2 + 1), (f, n - f)}:
        assert_allclose(middle(rows, low, high), expected(rows, low, high), rtol=1.2e-7, atol=0)


@pytest.mark.parametrize("n", [7, 140])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_order_statistics_of_the_largest_and_the_smallest_numbers(n, dtype):
    rng, top = np.random.default_rng(64), np.finfo(dtype)
    values = np.array([top.max, -top.max, top.smallest_subnormal, -top.smallest_subnormal, 0.0, -0.0, 1.0], dtype)
    rows = rng.choice(values, size=(n, cpu.NARROW + 3))
    for low, high in ((n // 2, n // 2 + 1), (1, n - 1), (0, n)):
        found, brute = middle(rows, low, high), np.sort(rows.astype(np.longdouble), axis=0)[low:high].mean(axis=0)
        assert np.isfinite(found).all()
        assert_allclose(found.astype(np.longdouble) / top.max, brute / top.max, atol=4 * float(top.eps))
    assert_array_equal(middle(rows, 2, 3), np.sort(rows, axis=0)[2])


@pytest.mark.parametrize("n", [9, 150])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_seen_wherever_it_is(n, bad):
    for column in (0, 31, 32, tasks.CHUNK, WIDE - 78, WIDE - 1):
        rows = matrix("plain", 65, n, WIDE, "float32")
        rows[5, column] = bad
        _, wrong = kernels.order_statistic(rows, np.arange(n)[::-1], OrderStatistic(2, 3), None)
        assert np.flatnonzero(wrong).tolist() == [n - 6]


@pytest.mark.parametrize("n", [3, 10, 25, 131])
@pytest.mark.parametrize("name", ["plain", "offset", "scattered", "tiny"])
def test_mixed_rows_are_in_order_within_a_few_roundings(n, name):
    rows = matrix(name, 66, n, cpu.NARROW + 45, "float32")
    f = n // 4
    mixing = nnm.mixing(Geometry.of(rows), f=f) * np.random.default_rng(67).uniform(0.1, 1, size=(n, 1))
    mixed = mixing @ rows.astype(np.float64)
    room = 4 * np.finfo(np.float32).eps * (np.abs(mixing) @ np.abs(rows).astype(np.float64)).max(axis=0)
    found = middle(rows, f, n - f, mixing)
    assert (np.abs(found - np.sort(mixed, axis=0)[f : n - f].mean(axis=0)) <= room).all()


@pytest.mark.parametrize("n", [8, 135])
def test_sums_that_float32_cannot_hold_are_made_in_float64(n):
    rows = np.full((n, cpu.NARROW + 5), 3e38, np.float32) * np.random.default_rng(68).uniform(0.9, 1, size=(n, 1))
    rows = rows.astype(np.float32)
    for mixing in (np.full((n, n), 1 / n), np.full((n, n), 1e-30), np.full((n, n), 1e-40)):
        brute = np.median(mixing @ rows.astype(np.float64), axis=0)
        assert_allclose(middle(rows, (n - 1) // 2, n // 2 + 1, mixing), brute, rtol=1e-5)


@pytest.mark.parametrize("kind", ["columns apart", "rows apart", "backwards", "Fortran", "read-only", "misaligned"])
def test_a_matrix_may_lie_in_any_way(kind):
    plain = matrix("plain", 69, 11, WIDE, "float32")
    if kind == "columns apart":
        rows = np.repeat(plain, 2, axis=1)[:, ::2]
    elif kind == "rows apart":
        rows = np.repeat(plain, 2, axis=0)[::2]
    elif kind == "backwards":
        rows = plain[::-1, ::-1].copy()[::-1, ::-1]
    elif kind == "Fortran":
        rows = np.asfortranarray(plain)
    elif kind == "misaligned":
        rows = np.frombuffer(b"x" + plain.tobytes(), np.float32, offset=1).reshape(plain.shape)
    else:
        rows = plain.copy()
        rows.flags.writeable = False
    assert_array_equal(rows, plain)
    for defense in (Defense("krum", f=2), Defense("median", f=2), Defense("trimmed_mean", f=2, before=("nnm",))):
        assert_array_equal(defense(rows).update, defense(plain).update)


def test_the_number_of_threads_changes_no_bit_of_a_wide_round(monkeypatch):
    rows = matrix("plain", 70, 6, 4 * WIDE, "float32")
    monkeypatch.setattr(tasks, "TASK", 1)  # a chunk each
    found = []
    for threads in (1, 2, 7):
        with ThreadPoolExecutor(threads) as pool, monkeypatch.context() as patch:
            patch.setattr(tasks.threads, "pool", pool)
            found.append((*pass_1(rows), middle(rows, 2, 4), kernels.mix(rows, np.arange(6), np.full((2, 6), 0.3))))
    monkeypatch.setattr(tasks, "TASK", 1 << 24)  # all in one
    found.append((*pass_1(rows), middle(rows, 2, 4), kernels.mix(rows, np.arange(6), np.full((2, 6), 0.3))))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert_array_equal(one, two)


@pytest.mark.parametrize("name", [name for name in MATRICES if name in SINGLE])
def test_the_order_of_the_rows_changes_no_bit_of_a_wide_round(name):
    rows = matrix(name, 71, 13, WIDE, "float32")
    chosen = np.random.default_rng(71).permutation(13)
    for rule in ("geometric_median", "trimmed_mean"):
        defense = Defense(rule, f=2, before=("arc", "nnm"))
        one, two = defense(rows), defense(rows[chosen])
        assert_array_equal(one.update, two.update)
        assert_array_equal(one.geometry.squared_distances[np.ix_(chosen, chosen)], two.geometry.squared_distances)


@pytest.mark.parametrize("n", [4, 9, 150])
@pytest.mark.parametrize("d", [3, cpu.NARROW + 3])
@pytest.mark.parametrize("unit", [5e-324, 1e-310, 1e307])
def test_float64_means_keep_the_smallest_and_the_largest_numbers(n, d, unit):
    rows = np.tile((np.arange(n) % 17 * unit)[:, None], (1, d))
    for low, high in ((n // 2 - 1, n // 2 + 1), (1, n - 1)):
        brute = np.sort(rows.astype(np.longdouble), axis=0)[low:high].mean(axis=0).astype(np.float64)
        assert_allclose(middle(rows, low, high), brute, rtol=1e-14, atol=5e-324)


@pytest.mark.parametrize("more", [0, 1, 4000])
def test_more_rows_than_bisection_counts_are_sorted(monkeypatch, more):
    monkeypatch.setattr(cpu, "NARROW", 64)  # so many rows as wide as others are would fill the memory
    n = cpu.MOST + more
    rows = np.random.default_rng(73).standard_normal((n, 69), dtype=np.float32)
    rows[:, :2] = 1.0, -1.0  # counts of all rows
    for low, high in ((0, 1), ((n - 1) // 2, n // 2 + 1), (n - 1, n)):
        assert_array_equal(middle(rows, low, high), expected(rows, low, high))
