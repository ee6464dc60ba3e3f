"""Distances, norms and sign counts layer by layer, against NumPy and against whole rows."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hawthorn.strategies import kernels
from hawthorn.strategies.kernels import cpu, cuda, tasks
from matrices import CASES, matrix
from numpy.testing import assert_allclose, assert_array_equal

WIDE = cpu.NARROW + tasks.CHUNK + cpu.TILE + 77
# one column, a vector, no column, part of a vector, float32 sums over several chunks, a vector and a column, two ends
LAYERS = np.cumsum([0, 1, 1, 32, 0, 23, WIDE, 0, 33, cpu.NARROW - 1, cpu.NARROW, 5, 0])
SMALL = np.cumsum([0, 0, 1, 1, 32, 0, 23, 64, 64, 33, 4, 0])


def brute(rows, order, scale, bounds):
    """The answers in float64."""
    wide = rows.astype(np.float64)[order]
    distances, norms, signs = [], [], []
    for start, stop in itertools.pairwise(bounds):
        held, plain = (wide * scale[:, None])[:, start:stop], wide[:, start:stop]
        distances.append([((held - row) ** 2).sum(axis=1) for row in held])
        norms.append((held**2).sum(axis=1))
        signs.append(np.column_stack([(plain < 0).sum(axis=1), (plain > 0).sum(axis=1)]))
    return np.array(distances), np.array(norms), np.array(signs)


def arguments(n, seed=0, scaled=False):
    """An order and factors."""
    rng = np.random.default_rng(seed)
    return rng.permutation(n), rng.uniform(0.1, 1, size=n) if scaled else np.ones(n)


def same(found, expected):
    for one, two in zip(found, expected, strict=True):
        assert_array_equal(one, two, strict=True)


@pytest.fixture(params=["cpu", "cuda kernels on the cpu"])
def backend(request):
    return (lambda rows: rows, cpu) if request.param == "cpu" else (torch.tensor, cuda)


@pytest.fixture(params=["one task", "a piece each"])
def cut(request, monkeypatch):
    if request.param == "a piece each":
        for module, name in ((tasks, "CHUNK"), (tasks, "TASK"), (cuda, "TILE")):
            monkeypatch.setattr(module, name, 32)


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("n", [1, 4, 5, 11])
def test_layers_agree_with_numpy(backend, n, dtype, scaled):
    put, kernel = backend
    rows = matrix("plain", 1, n, int(SMALL[-1]), dtype)
    rows[:, ::7], rows[:, 3::7] = 0.0, -0.0
    given = *arguments(n, n, scaled), SMALL
    distances, norms, signs = kernel.layers(put(rows), *given)
    assert (distances.dtype, norms.dtype, signs.dtype) == (np.float64, np.float64, np.int64)
    expected = brute(rows, *given)
    assert_allclose(distances, expected[0], rtol=1e-12, atol=1e-13)
    assert_allclose(norms, expected[1], rtol=1e-12)
    assert_array_equal(signs, expected[2])


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_of_every_kind_of_round_a_layer_is_what_gram_says_of_its_columns(name, dtype, scaled):
    rows = matrix(name, 2, 7, int(LAYERS[-1]), dtype)
    order, scale = arguments(7, 2, scaled)
    with np.errstate(over="ignore", invalid="ignore"):
        distances, norms, signs = cpu.layers(rows, order, scale, LAYERS)
        for layer, (start, stop) in enumerate(itertools.pairwise(LAYERS)):
            same((distances[layer], norms[layer]), cpu.gram(rows[:, start:stop], order, scale))
        whole = cpu.gram(rows, order, scale)
    assert_array_equal(signs, brute(rows, order, np.zeros(7), LAYERS)[2])
    room = 1e-12 if dtype == "float64" or scaled else 1e-6
    for parts, total in zip((distances, norms), whole, strict=True):
        fits = np.isfinite(total)
        assert_allclose(parts.sum(axis=0)[fits], total[fits], rtol=room, atol=0)


@pytest.mark.parametrize("size", [3e38, 1e-22, 1e-44])
def test_what_float32_cannot_hold_is_made_again_in_the_layer_that_has_it(size):
    rows = matrix("plain", 3, 7, int(LAYERS[-1]), "float32")
    rows[2, LAYERS[5] : LAYERS[6]] = size
    rows[4, LAYERS[5] : LAYERS[6]] = size * 0.75
    order, scale = arguments(7, 3)
    distances, norms, _ = cpu.layers(rows, order, scale, LAYERS)
    expected = brute(rows, order, scale, LAYERS)
    assert_allclose(distances, expected[0], rtol=1e-6)
    assert_allclose(norms, expected[1], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_factors_under_which_values_vanish_change_no_sign(backend, dtype):
    put, kernel = backend
    rows = matrix("plain", 4, 5, 100, dtype)
    rows[1] *= np.finfo(dtype).tiny
    order, _ = arguments(5)
    bounds = np.array([0, 40, 100])
    found = kernel.layers(put(rows), order, np.full(5, 1e-300), bounds)[2]
    assert_array_equal(found, brute(rows, order, np.ones(5), bounds)[2])


def test_bfloat16_is_read_through_its_bits_or_by_torch():
    tensor = torch.tensor(matrix("plain", 5, 6, int(SMALL[-1]))).bfloat16()
    tensor[:, ::5] = -0.0
    order, scale = arguments(6)
    expected = brute(tensor.double().numpy(), order, scale, SMALL)
    for found in (
        cpu.layers(tensor.view(torch.uint16).numpy(), order, scale, SMALL),
        cuda.layers(tensor, order, scale, SMALL),
    ):
        for one, two in zip(found, expected, strict=True):
            assert_allclose(one, two, rtol=1e-12, atol=1e-13)


def test_how_tasks_are_shared_among_threads_changes_no_bit(monkeypatch):
    rows = matrix("plain", 6, 6, int(LAYERS[-1]), "float32")
    given = *arguments(6), LAYERS
    expected = cpu.layers(rows, *given)
    for threads, task in itertools.product((1, 2, 7), (1, 1 << 18, 1 << 24)):
        monkeypatch.setattr(tasks, "TASK", task)
        with ThreadPoolExecutor(threads) as pool, monkeypatch.context() as patch:
            patch.setattr(tasks.threads, "pool", pool)
            same(cpu.layers(rows, *given), expected)


@pytest.mark.parametrize("kind", ["columns apart", "rows apart", "backwards", "Fortran", "read-only", "mapped"])
def test_a_matrix_may_lie_in_any_way(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "TASK", 1 << 16)
    plain = matrix("plain", 7, 6, int(LAYERS[-1]), "float32")
    if kind == "columns apart":
        rows = np.repeat(plain, 2, axis=1)[:, ::2]
    elif kind == "rows apart":
        rows = np.repeat(plain, 2, axis=0)[::2]
    elif kind == "backwards":
        rows = plain[::-1, ::-1].copy()[::-1, ::-1]
    elif kind == "Fortran":
        rows = np.asfortranarray(plain)
    elif kind == "mapped":
        plain.tofile(tmp_path / "rows")
        rows = np.memmap(tmp_path / "rows", np.float32, "r", shape=plain.shape)
    else:
        rows = plain.copy()
        rows.flags.writeable = False
    given = *arguments(6), LAYERS
    same(cpu.layers(rows, *given), cpu.layers(plain, *given))


@pytest.mark.parametrize("bounds", [[0], [0, 0, 0]])
def test_there_may_be_no_column_and_no_layer(backend, bounds):
    put, kernel = backend
    distances, norms, signs = kernel.layers(put(np.zeros((3, 0))), np.arange(3), np.ones(3), np.array(bounds))
    count = len(bounds) - 1
    assert (distances.shape, norms.shape, signs.shape) == ((count, 3, 3), (count, 3), (count, 3, 2))
    assert not distances.any()
    assert not norms.any()
    assert not signs.any()


def test_some_rows_only_are_compared(backend):
    put, kernel = backend
    rows = matrix("plain", 8, 9, int(SMALL[-1]), "float32")
    given = np.array([7, 0, 3]), np.ones(3), SMALL
    for one, two in zip(kernel.layers(put(rows), *given), brute(rows, *given), strict=True):
        assert_allclose(one, two, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("bounds", [[0, 5, 9], [1, 10], [0, 6, 5, 10], [0, 11]])
def test_bounds_that_are_not_those_of_the_columns_are_refused(bounds):
    with pytest.raises(ValueError, match="rise from 0 to 10 columns"):
        kernels.layers(np.zeros((2, 10)), np.arange(2), np.ones(2), np.array(bounds))
