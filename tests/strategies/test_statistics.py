"""Means near the median and weighted middles of columns: each kernel against sorted Python lists, and their laws."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hawthorn.strategies import kernels
from hawthorn.strategies.kernels import NearMedian, OrderStatistic, WeightedMiddle, cpu, cuda, tasks
from hawthorn.strategies.kernels.order import sorting_network, window_network
from hypothesis import given
from hypothesis import strategies as st
from matrices import CASES, matrix
from numpy.testing import assert_allclose, assert_array_equal

BACKENDS = {
    "cpu": (lambda rows: rows, cpu),
    "cpu, sorted by NumPy": (lambda rows: rows, cpu),
    "cuda kernels on the cpu": (torch.tensor, cuda),
    "cuda": (lambda rows: torch.tensor(rows, device="cuda"), cuda),
}
if not torch.cuda.is_available():
    del BACKENDS["cuda"]


@pytest.fixture(params=BACKENDS)
def found(request, monkeypatch):
    """What a backend answers, as an array, of rows in an order of their own."""
    put, kernel = BACKENDS[request.param]
    monkeypatch.setattr(cpu, "NARROW", 1 if request.param == "cpu" else 1 << 30)
    monkeypatch.setattr(tasks, "TASK", 64)
    monkeypatch.setattr(cuda, "TILE", 64)
    monkeypatch.setattr(cuda, "MIXED", 64)

    def answer(rows, statistic, order=None, mixing=None):
        order = np.arange(len(rows)) if order is None else order
        vector, wrong = kernel.order_statistic(put(rows), order, statistic, mixing)
        assert not wrong.any()
        return vector if isinstance(vector, np.ndarray) else vector.cpu().numpy()

    return answer


def near_median(column, count):
    """The mean over the windows of `count` values of the least distances from the median, in exact fractions."""
    values = sorted(Fraction(float(v)) for v in column)
    n = len(values)
    center = (values[(n - 1) // 2] + values[n // 2]) / 2
    windows = [values[start : start + count] for start in range(n - count + 1)]
    away = [sum(abs(v - center) for v in window) for window in windows]
    nearest = [window for window, distance in zip(windows, away, strict=True) if distance == min(away)]
    return float(sum(nearest[0] + nearest[-1]) / count / 2)


def repeated(column, weights, trimmed):
    """The mean of the values, each repeated as often as its weight says, without `trimmed` of them on either side."""
    values = sorted(float(v) for v, weight in zip(column, weights, strict=True) for _ in range(int(weight)))
    n = len(values)
    if 2 * trimmed >= n:
        return values[(n - 1) // 2] / 2 + values[n // 2] / 2
    kept = values[trimmed : n - trimmed]
    return math.fsum(v / len(kept) for v in kept)


def room(rows, dtype):
    """One rounding to `dtype` and a few in float64 of the values that count, which are not huge here."""
    return {
        "rtol": 2 * np.finfo(dtype).eps,
        "atol": 1e-13 * float(np.abs(rows).max()) + float(np.finfo(dtype).smallest_subnormal),
    }


@pytest.mark.parametrize("n", range(1, 11))
def test_the_networks_put_every_pattern_of_zeros_and_ones_in_order_where_it_counts(n):
    """The 0-1 principle: what is right for all columns of zeros and ones is right for all columns."""
    patterns = np.array(list(itertools.product([0, 1], repeat=n))).T
    ordered = np.sort(patterns, axis=0)

    def after(comparators):
        columns = patterns.copy()
        for a, b in comparators:
            columns[[a, b]] = np.minimum(columns[a], columns[b]), np.maximum(columns[a], columns[b])
        return columns

    assert_array_equal(after(sorting_network(n)), ordered)
    for count in range(1, n + 1):
        alone = [k for k in range(n) if k < n - count or k >= count or k in {(n - 1) // 2, n // 2}]
        columns = after(window_network(n, count))
        assert_array_equal(columns[alone], ordered[alone])
        assert_array_equal(np.sort(columns, axis=0), ordered)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["plain", "lattice", "duplicates", "zeros", "scattered"])
@pytest.mark.parametrize("n", [1, 2, 4, 7, 12])
def test_the_mean_near_the_median(found, n, name, dtype):
    rows = np.clip(matrix(name, 80, n, 131), -6e4, 6e4).astype(dtype)
    order = np.random.default_rng(80).permutation(n)
    for count in {1, max(n // 3, 1), n // 2 + 1, n - n // 4, n}:
        expected = [near_median(column, count) for column in rows.T]
        assert_allclose(found(rows, NearMedian(count), order), expected, **room(rows, dtype))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["plain", "lattice", "duplicates", "scattered"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 12])
def test_a_whole_weight_counts_as_so_many_rows(found, n, name, dtype):
    rng = np.random.default_rng(81)
    rows = np.clip(matrix(name, 81, n, 67), -6e4, 6e4).astype(dtype)
    for weights in (np.ones(n), rng.integers(1, 5, size=n), rng.integers(1, 100, size=n)):
        order, total = rng.permutation(n), int(weights.sum())
        carried = tuple(float(w) for w in weights[order])
        for trimmed in {0, 1, total // 4, (total - 1) // 2}:
            if 2 * trimmed < total:
                expected = [repeated(column, weights, trimmed) for column in rows.T]
                mean = found(rows, WeightedMiddle(carried, float(trimmed)), order)
                assert_allclose(mean, expected, **room(rows, dtype))
        expected = [repeated(column, weights, total) for column in rows.T]
        info = np.finfo(dtype)
        middle = found(rows, WeightedMiddle(carried, total / 2), order)
        assert_allclose(middle, expected, rtol=2 * info.eps, atol=float(info.smallest_subnormal))


@pytest.mark.parametrize("statistic", [NearMedian(6), WeightedMiddle((1.0,) * 9, 2.5), WeightedMiddle((1.0,) * 9, 4.5)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_statistic_of_mixed_rows(found, statistic, dtype):
    rows = matrix("plain", 82, 9, 333, dtype)
    mixing = np.random.default_rng(82).uniform(size=(9, 9))
    order = np.random.default_rng(83).permutation(9)
    mixed = mixing @ rows.astype(np.float64)[order]
    expected = kernels.middle(mixed, statistic)
    assert_allclose(found(rows, statistic, order, mixing), expected, rtol=0, atol=1e-5 if dtype == "float32" else 1e-12)


def test_values_that_are_far_away_cost_the_others_no_digits(found):
    for size, dtype in ((1e30, "float32"), (1e300, "float64"), (np.finfo("float64").max, "float64")):
        rows = np.array([[-size], [1.0], [2.0], [6.0], [size]], dtype)
        assert found(rows, NearMedian(3)).tolist() == [3.0]
        assert found(rows, WeightedMiddle((1.0, 2.0, 2.0, 2.0, 1.0), 1.0)).tolist() == [3.0]
        assert found(-rows, NearMedian(3)).tolist() == [-3.0]
        assert np.isfinite(found(np.abs(rows), NearMedian(4))).all()
        assert_array_equal(found(np.full((5, 1), size, dtype), NearMedian(4)), np.full(1, size, dtype))


def test_of_two_values_as_near_half_of_each_counts(found):
    # the median is 0; -2 and 2 are as near, and three of five are asked for
    rows = np.array([[-2.0], [-1.0], [0.0], [1.5], [2.0]])
    assert found(rows, NearMedian(4)).tolist() == [0.5 / 4]
    # several as near on both sides: one place for two and two
    rows = np.array([[-1.0], [-1.0], [0.0], [1.0], [1.0]])
    assert found(rows, NearMedian(2)).tolist() == [0.0]
    assert found(rows, NearMedian(4)).tolist() == [0.0]


@given(case=st.sampled_from(CASES), n=st.integers(1, 14), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_the_laws_of_every_statistic(case, n, seed, data):
    rows = matrix(case[0], seed, n, 40, case[1])
    rng = np.random.default_rng(seed)
    weights = rng.choice([1.0, 2.0, 0.3, 7.7], size=n)
    statistics = [NearMedian(data.draw(st.integers(1, n))), WeightedMiddle(tuple(weights), float(weights.sum() / 2))]
    statistics.append(WeightedMiddle(tuple(weights), float(weights.sum() * data.draw(st.sampled_from([0, 0.1, 0.3])))))
    order = rng.permutation(n)
    for statistic in statistics:
        carried = statistic
        if isinstance(statistic, WeightedMiddle):
            carried = WeightedMiddle(tuple(weights[order]), statistic.trimmed)
        with pytest.MonkeyPatch.context() as patch:
            for narrow in (1, 1 << 30):
                patch.setattr(cpu, "NARROW", narrow)
                one = kernels.order_statistic(rows, np.arange(n), statistic)[0]
                if isinstance(statistic, WeightedMiddle):  # others add up what ties in any order
                    assert_array_equal(kernels.order_statistic(rows, order, carried)[0], one)
                away = -kernels.order_statistic(-rows, np.arange(n), statistic)[0].astype(np.float64)
                slack = n * 1e-15 * np.abs(rows.astype(np.float64)).max(axis=0)
                assert (np.abs(away - one) <= slack + 2 * np.spacing(np.abs(one)).astype(np.float64)).all()
                assert (rows.min(axis=0) - slack <= one).all()
                assert (one <= rows.max(axis=0) + slack).all()


@given(n=st.integers(1, 16), seed=st.integers(0, 2**32 - 1))
def test_equal_weights_are_none(n, seed):
    rows = matrix("lattice", seed, n, 40)
    f = (n - 1) // 2
    for size in (1.0, 0.1, 3e9):
        mean, _ = kernels.order_statistic(rows, np.arange(n), WeightedMiddle((size,) * n, f * size))
        assert_allclose(mean, kernels.order_statistic(rows, np.arange(n), OrderStatistic(f, n - f))[0], atol=1e-14)
        middle, _ = kernels.order_statistic(rows, np.arange(n), WeightedMiddle((size,) * n, size * n / 2))
        assert_array_equal(middle, np.median(rows, axis=0))


def test_weights_that_add_up_to_half_but_for_rounding_tie(found):
    rows = np.array([[1.0], [2.0], [4.0]])
    assert found(rows, WeightedMiddle((0.1, 0.2, 0.3), 0.3)).tolist() == [3.0]
    assert found(-rows, WeightedMiddle((0.1, 0.2, 0.3), 0.3)).tolist() == [-3.0]


@pytest.mark.parametrize("statistic", [NearMedian(3), WeightedMiddle((1.0, 1.0, 2.0, 1.0, 1.0), 1.5)])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_place_that_is_not_finite_is_seen(backend, bad, statistic, monkeypatch):
    put, kernel = BACKENDS[backend]
    monkeypatch.setattr(cpu, "NARROW", 1 if backend == "cpu" else 1 << 30)
    for column in (0, 31, 32, 200):
        rows = matrix("plain", 84, 5, 201, "float32")
        rows[3, column] = bad
        _, wrong = kernel.order_statistic(put(rows), np.array([4, 3, 2, 1, 0]), statistic, None)
        assert wrong.tolist() == [False, True, False, False, False]


@pytest.mark.parametrize("n", [127, 128, 129, 511, 512, 513])
def test_many_rows(n):
    rows = matrix("plain", 85, n, cpu.NARROW + 45, "float32")
    weights = np.random.default_rng(85).integers(1, 4, size=n)
    columns = [0, 77, cpu.NARROW + 44]
    near, _ = kernels.order_statistic(rows, np.arange(n), NearMedian(n - n // 5))
    assert_allclose(near[columns], [near_median(rows[:, c], n - n // 5) for c in columns], rtol=1e-5, atol=1e-7)
    mean, _ = kernels.order_statistic(rows, np.arange(n), WeightedMiddle(tuple(weights.astype(float)), float(n // 2)))
    assert_allclose(mean[columns], [repeated(rows[:, c], weights, n // 2) for c in columns], rtol=1e-5, atol=1e-7)


def test_a_matrix_in_a_file_gives_the_same_bits(tmp_path):
    rows = matrix("plain", 86, 9, 5000, "float32")
    rows.tofile(tmp_path / "rows.bin")
    mapped = np.memmap(tmp_path / "rows.bin", np.float32, "r", shape=rows.shape)
    for statistic in (NearMedian(7), WeightedMiddle(tuple(np.arange(1.0, 10)), 8.0)):
        one, other = (kernels.order_statistic(data, np.arange(9), statistic)[0] for data in (rows, mapped))
        assert_array_equal(one, other)
