"""How often each row's sign is not the majority's of the other rows, against plain counting."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hawthorn.strategies import Updates, kernels
from hawthorn.strategies.columns import Columns
from hawthorn.strategies.kernels import cpu, cuda, tasks, votes
from matrices import CASES, matrix
from numpy.testing import assert_array_equal


def brute(rows):
    """Row by row: the others' signs are added up, and what is zero on either side does not count."""
    signs = np.sign(rows.astype(np.float64)).astype(int)
    found = []
    for i, own in enumerate(signs):
        others = np.sign(np.delete(signs, i, axis=0).sum(axis=0))
        counted = (own != 0) & (others != 0)
        found.append([int((counted & (own != others)).sum()), int(counted.sum())])
    return np.array(found, np.int64).reshape(-1, 2)


def awkward(n, d, dtype="float32", seed=0):
    """Rows of zeros of either sign, ties, the largest values and the smallest."""
    rng = np.random.default_rng(seed)
    limits = np.finfo(dtype)
    least = float(limits.smallest_subnormal)
    values = [0.0, -0.0, 1.0, -1.0, float(limits.max), float(limits.min), least, -least]
    rows = rng.choice(values, size=(n, d)).astype(dtype)
    rows[:, ::7] = np.where(np.arange(n) % 2, 1.0, -1.0)[:, None]  # in balance, or one from it
    rows[:, 3::7] = -0.0
    return rows


@pytest.fixture(params=["cpu", "cuda kernels on the cpu"])
def backend(request):
    return (lambda rows: rows, cpu) if request.param == "cpu" else (torch.tensor, cuda)


@pytest.fixture(params=["one tile", "many tiles"])
def cut(request, monkeypatch):
    if request.param == "many tiles":
        for module, name in ((votes, "CACHED"), (tasks, "TASK"), (cuda, "MIXED")):
            monkeypatch.setattr(module, name, 32)


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 11, 30])
def test_votes_are_counted(backend, n, dtype):
    put, kernel = backend
    for d in (1, 31, 32, 1003):
        rows = awkward(n, d, dtype, n)
        assert_array_equal(kernel.sign_votes(put(rows), np.arange(n)), brute(rows), strict=True)


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_of_every_kind_of_round_votes_are_counted(backend, name, dtype):
    put, kernel = backend
    rows = matrix(name, 1, 9, 200, dtype)
    assert_array_equal(kernel.sign_votes(put(rows), np.arange(9)), brute(rows), strict=True)


def test_signs_of_more_rows_than_a_byte_counts_add_up(backend):
    put, kernel = backend
    rows = np.ones((70_000, 2), np.float32)
    rows[:100] = -1.0
    found = kernel.sign_votes(put(rows), np.arange(len(rows)))
    assert_array_equal(found[:100], np.full((100, 2), 2))
    assert_array_equal(found[100:], np.tile([0, 2], (len(rows) - 100, 1)))


def test_only_the_rows_of_the_order_vote_and_answers_come_in_it(backend):
    put, kernel = backend
    rows, order = awkward(9, 500), np.array([7, 0, 3, 8])
    assert_array_equal(kernel.sign_votes(put(rows), order), brute(rows[order]), strict=True)


def test_threads_and_tasks_change_nothing(monkeypatch):
    rows = awkward(7, 3 * tasks.CHUNK + 77)
    expected = brute(rows)
    for threads, task in itertools.product((1, 2, 7), (1, 1 << 18, 1 << 24)):
        monkeypatch.setattr(tasks, "TASK", task)
        with ThreadPoolExecutor(threads) as pool, monkeypatch.context() as patch:
            patch.setattr(tasks.threads, "pool", pool)
            assert_array_equal(cpu.sign_votes(rows, np.arange(7)), expected, strict=True)


@pytest.mark.parametrize("kind", ["columns apart", "rows apart", "backwards", "Fortran", "read-only"])
def test_a_matrix_may_lie_in_any_way(kind):
    plain = awkward(7, 1003)
    ways = {
        "columns apart": lambda: np.repeat(plain, 2, axis=1)[:, ::2],
        "rows apart": lambda: np.repeat(plain, 2, axis=0)[::2],
        "backwards": lambda: plain[::-1, ::-1].copy()[::-1, ::-1],
        "Fortran": lambda: np.asfortranarray(plain),
        "read-only": lambda: np.frombuffer(plain.tobytes(), plain.dtype).reshape(plain.shape),
    }
    assert_array_equal(cpu.sign_votes(ways[kind](), np.arange(7)), brute(plain), strict=True)


def test_bfloat16_is_read_through_its_bits_or_by_torch():
    tensor = torch.tensor(awkward(6, 333)).bfloat16()
    expected = brute(tensor.double().numpy())
    assert_array_equal(cpu.sign_votes(tensor.view(torch.uint16).numpy(), np.arange(6)), expected, strict=True)
    assert_array_equal(cuda.sign_votes(tensor, np.arange(6)), expected, strict=True)


def test_there_may_be_no_column_and_no_row(backend):
    put, kernel = backend
    assert_array_equal(kernel.sign_votes(put(np.zeros((3, 0))), np.arange(3)), np.zeros((3, 2), np.int64), strict=True)
    none = np.arange(0)
    assert_array_equal(kernel.sign_votes(put(np.ones((3, 40))), none), np.zeros((0, 2), np.int64), strict=True)


def test_columns_of_updates_in_a_file_have_votes_and_some_of_the_rows_their_own():
    rows = awkward(8, 300)
    rows[:, 0] = np.arange(8)  # their canonical order
    updates = Updates(*rows.shape, rows.dtype, memory=0)
    for row in rows[::-1]:
        updates.next[:] = row
        updates.keep()
    columns = Columns.of(updates)
    assert_array_equal(columns.sign_votes, brute(rows), strict=True)
    kept = np.arange(8) % 3 != 1
    assert_array_equal(columns.take(kept).sign_votes, brute(rows[kept]), strict=True)
    assert columns.sign_votes is columns.sign_votes  # counted once


def test_a_backend_is_found_by_where_the_rows_lie():
    rows = awkward(5, 100)
    for data in (rows, torch.tensor(rows)):
        assert_array_equal(kernels.sign_votes(data, np.arange(5)), brute(rows), strict=True)
