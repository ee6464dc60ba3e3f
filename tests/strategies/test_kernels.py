"""The kernels against NumPy, the two backends against each other, and what threads may not change."""

import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hawthorn.strategies import kernels, krum
from hawthorn.strategies.kernels import OrderStatistic, cpu, cuda, tasks
from hawthorn.strategies.kernels.order import network
from hypothesis import given
from hypothesis import strategies as st
from matrices import matrix
from numpy.testing import assert_allclose, assert_array_equal


def run(comparators, columns):
    """The columns (n, k) after the comparators."""
    columns = columns.copy()
    for a, b in comparators:
        columns[[a, b]] = np.minimum(columns[a], columns[b]), np.maximum(columns[a], columns[b])
    return columns


@pytest.mark.parametrize("n", range(1, 11))
def test_the_network_finds_every_range_of_ranks_of_every_pattern_of_zeros_and_ones(n):
    """The 0-1 principle: what is right for all columns of zeros and ones is right for all columns."""
    patterns = np.array(list(itertools.product([0, 1], repeat=n))).T
    for low, high in itertools.combinations(range(n + 1), 2):
        found = run(network(n, low, high), patterns)
        assert_array_equal(np.sort(found[low:high], axis=0), np.sort(patterns, axis=0)[low:high])


@pytest.mark.parametrize("n", range(11, 41))
def test_the_network_finds_every_range_of_ranks_of_larger_rounds(n):
    rng = np.random.default_rng(n)
    patterns = np.hstack([rng.permuted(np.tile(np.arange(n)[:, None], 40), axis=0), rng.integers(0, 2, size=(n, 100))])
    ordered = np.sort(patterns, axis=0)
    for low in range(n):
        for high in {low + 1, low + 2, n - low, n, (low + n) // 2} & set(range(low + 1, n + 1)):
            found = run(network(n, low, high), patterns)
            assert_array_equal(np.sort(found[low:high], axis=0), ordered[low:high])


BACKENDS = {
    "cpu": (lambda rows: rows, cpu),
    "cuda kernels on the cpu": (lambda rows: torch.tensor(rows), cuda),
    "cuda": (lambda rows: torch.tensor(rows, device="cuda"), cuda),
}
if not torch.cuda.is_available():
    del BACKENDS["cuda"]  # the last test of this file says so


@pytest.fixture(params=BACKENDS)
def backend(request):
    return BACKENDS[request.param]


@pytest.fixture(params=["one chunk", "many chunks"])
def cut(request, monkeypatch):
    """Small chunks and tiles, so that their edges are met."""
    if request.param == "many chunks":
        monkeypatch.setattr(tasks, "CHUNK", 64)
        monkeypatch.setattr(tasks, "TASK", 64)
        monkeypatch.setattr(cuda, "TILE", 64)


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("size", [(1, 1), (3, 64), (4, 65), (5, 1000), (9, 331), (70, 129)], ids=str)
@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
def test_every_kernel_agrees_with_numpy(backend, dtype, size, scaled):
    put, kernel = backend
    rng = np.random.default_rng(40)
    n, d = size
    rows = matrix("plain", 40, n, d, dtype)
    data, order = put(rows), rng.permutation(n)
    scale = rng.uniform(0.1, 1, size=n) if scaled else np.ones(n)
    wide = rows.astype(np.float64)[order]
    brute = wide * scale[:, None]

    distances, norms = kernel.gram(data, order, scale)
    assert_allclose(distances, ((brute[:, None] - brute[None]) ** 2).sum(axis=2), rtol=1e-12, atol=1e-13)
    assert_allclose(norms, (brute**2).sum(axis=1), rtol=1e-12)
    left = rng.permutation(n)[: max(n // 2, 1)]
    assert_allclose(kernel.products(data, order, scale, left), brute[left] @ brute.T, rtol=1e-10, atol=1e-12)
    other = rng.normal(size=d).astype(dtype)
    row, factor = kernel.alike(data, other.astype(np.float64)), 0.7 if scaled else 1.0
    assert (type(row), row.dtype) == (type(data), data.dtype)
    assert_array_equal(array(row), other)
    distances, inner = kernel.beside(data, order, scale, row, factor)
    assert_allclose(distances, ((brute - factor * other.astype(np.float64)) ** 2).sum(axis=1), rtol=1e-12, atol=1e-13)
    assert_allclose(inner, brute @ (factor * other.astype(np.float64)), rtol=1e-10, atol=1e-12)
    assert_array_equal(kernel.largest(data), np.abs(rows).max(axis=1).astype(np.float64))

    eps = np.finfo(dtype).eps
    room = {"rtol": 2 * eps, "atol": 4 * n * np.finfo(np.float64).eps + (dtype == "float16") * 1e-7}
    mixing = rng.uniform(size=(n + 2, n)) * (rng.random((n + 2, n)) < 0.5)
    found = array(kernel.mix(data, order, mixing))
    assert found.dtype == rows.dtype
    assert_allclose(found, mixing @ wide, **room)
    combined = kernel.combine(data, order, mixing[0])
    assert_allclose(array(combined), mixing[0] @ wide, **room)
    more = kernel.added(combined, row, 0.25)
    assert more.dtype == combined.dtype
    assert_allclose(array(more), mixing[0] @ wide + 0.25 * other.astype(np.float64), **room | {"atol": 8 * n * eps})

    for low, high in {(0, n), (n // 2, n // 2 + 1), (0, 1), (n // 3, n - n // 3)}:
        found, wrong = kernel.order_statistic(data, order, OrderStatistic(low, high), None)
        assert_allclose(array(found), np.sort(wide, axis=0)[low:high].mean(axis=0), **room)
        assert not wrong.any()
        mixed = np.sort(mixing @ wide, axis=0)[low:high].mean(axis=0)
        found, _ = kernel.order_statistic(data, order, OrderStatistic(low, high), mixing)
        # mixed rows are rounded to the data's dtype, or float32, before they are put in order
        assert_allclose(array(found), mixed, rtol=4 * eps, atol=4 * eps * np.abs(wide).max())

    chosen = rng.integers(0, d, size=5)
    assert_array_equal(kernel.columns(data, chosen), rows[:, chosen].astype(np.float64))
    for a, b in itertools.product(range(min(n, 4)), repeat=2):
        one, two = rows[a].tolist(), rows[b].tolist()
        assert kernel.compare(data, a, b) == (one > two) - (one < two)


def array(found):
    return found if isinstance(found, np.ndarray) else found.cpu().numpy()


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_an_order_statistic_sees_every_place_that_is_not_finite(backend, bad, dtype):
    put, kernel = backend
    for column in (0, 1, 15, 16, 63, 64, 65, 127, 128, 200):
        rows = matrix("plain", 41, 5, 201, dtype)
        rows[3, column] = bad
        order = np.array([4, 3, 2, 1, 0])
        _, wrong = kernel.order_statistic(put(rows), order, OrderStatistic(2, 3), None)
        assert wrong.tolist() == [False, True, False, False, False]
        assert np.flatnonzero(~np.isfinite(kernel.largest(put(rows)))).tolist() == [3]


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    rows = matrix("plain", 42, 6, 5000, "float32")
    order, scale, mixing = np.arange(6), np.ones(6), np.random.default_rng(43).uniform(size=(6, 6))
    monkeypatch.setattr(tasks, "CHUNK", 640)
    monkeypatch.setattr(tasks, "TASK", 640)
    found = []
    for threads in (1, 2, 7):
        with ThreadPoolExecutor(threads) as pool:
            monkeypatch.setattr(tasks.threads, "pool", pool)
            distances, norms = kernels.gram(rows, order, scale)
            mixed = kernels.mix(rows, order, mixing)
            statistic, _ = kernels.order_statistic(rows, order, OrderStatistic(2, 4), mixing)
            found.append((distances, norms, mixed, statistic))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert_array_equal(one, two, strict=True)


def test_calls_from_several_threads_at_once_agree(monkeypatch):
    monkeypatch.setattr(tasks, "CHUNK", 640)
    monkeypatch.setattr(tasks, "TASK", 640)
    rounds = [matrix("plain", seed, 9, 3000, "float32") for seed in range(8)]
    expected = [krum(rows, f=2) for rows in rounds]
    monkeypatch.setattr(tasks.threads, "pool", None)  # made by whoever comes first
    with ThreadPoolExecutor(8) as callers:
        found = list(callers.map(lambda rows: krum(rows, f=2), rounds * 4))
    for one, two in zip(found, expected * 4, strict=True):
        assert_array_equal(one, two)


@given(n=st.integers(1, 12), d=st.integers(1, 300), seed=st.integers(0, 2**32 - 1))
def test_a_matrix_mapped_from_a_file_is_read_where_it_lies(tmp_path_factory, n, d, seed):
    rows = matrix("plain", seed, n, d, "float32")
    path = tmp_path_factory.mktemp("rows") / "rows.bin"
    rows.tofile(path)
    mapped = np.memmap(path, np.float32, "r", shape=rows.shape)
    order = np.arange(n)
    assert_array_equal(kernels.gram(mapped, order, np.ones(n))[0], kernels.gram(rows, order, np.ones(n))[0])
    found, _ = kernels.order_statistic(mapped, order, OrderStatistic(0, n), None)
    assert type(found) is np.ndarray
    assert_array_equal(found, kernels.order_statistic(rows, order, OrderStatistic(0, n), None)[0])


def test_a_process_forked_after_a_call_can_call_too():
    code = """
import os, warnings
import numpy as np
from hawthorn.strategies import krum
from hawthorn.strategies.kernels import tasks
tasks.CHUNK = tasks.TASK = 640
rows = np.random.default_rng(45).normal(size=(9, 3000))
expected = krum(rows, f=2)
warnings.simplefilter("ignore")  # newer Pythons warn of threads that the fork leaves behind, which is the point
child = os.fork()
if not child:
    os._exit(0 if (krum(rows, f=2) == expected).all() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == "0"


def test_cuda_tensors_stay_on_their_device():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    rows = matrix("plain", 44, 9, 1000, "float32")
    found = krum(torch.tensor(rows, device="cuda"), f=2)
    assert found.device.type == "cuda"
    assert_array_equal(found.cpu().numpy(), krum(rows, f=2))
