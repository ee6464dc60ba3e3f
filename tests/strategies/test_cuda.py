"""The Triton kernels against NumPy: on a GPU where there is one, else in Triton's interpreter, on small rounds.

Where there is no GPU, they are compiled for one all the same, which finds what the interpreter lets pass.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

if GPU := torch.cuda.is_available():
    DEVICE = "cuda"
else:
    DEVICE = "cpu"
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported, which is when it takes notice

from hawthorn.strategies import Defense
from hawthorn.strategies.kernels import NearMedian, OrderStatistic, WeightedMiddle, cuda, middle
from matrices import CASES, matrix
from numpy.testing import assert_allclose, assert_array_equal

triton = pytest.importorskip("triton", reason="Triton is not installed")
pytestmark = [] if GPU else pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of infinities


@pytest.fixture(scope="module")
def tiles():
    from hawthorn.strategies.kernels import tiles

    if not GPU and "Interpreted" not in type(tiles._pairs).__name__:
        pytest.fail("Triton was imported before TRITON_INTERPRET was set")
    return tiles


@pytest.fixture(autouse=True)
def served(monkeypatch, tiles):
    """Triton serves CPU tensors too, in its interpreter, and columns come in several chunks."""
    monkeypatch.setattr(tiles, "SHORTEST_CHUNK", 64)
    if not GPU:
        monkeypatch.setattr(cuda, "_programs", lambda data: tiles)


def put(rows, dtype=None):
    return torch.tensor(rows, dtype=dtype, device=DEVICE)


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_distances_are_right_for_every_kind_of_round(name, dtype):
    rows = matrix(name, 1, 11, 90, dtype)
    order = np.random.default_rng(2).permutation(11)
    scale = 1 / np.maximum(np.abs(rows).max(axis=1).astype(np.float64), 1e-300)[order]
    for factors in (np.ones(11), scale):
        held = rows[order].astype(np.float64) * factors[:, None]
        if np.abs(held).max() < 1e150:
            brute = ((held[:, None] - held[None]) ** 2).sum(axis=2), (held**2).sum(axis=1)
            for found, expected in zip(cuda.gram(put(rows), order, factors), brute, strict=True):
                assert_allclose(found, expected, rtol=1e-12, atol=0)


def test_equal_rows_have_distance_zero_whatever_their_scale():
    rows = np.tile(matrix("plain", 3, 1, 70, "float32"), (7, 1))
    distances, _ = cuda.gram(put(rows), np.arange(7), np.full(7, 1 / 3))
    assert not distances.any()


@pytest.mark.parametrize("d", [1, 33, 200])
def test_a_geometry_grown_row_by_row_is_bit_equal_to_one_measured_at_once(d, tiles, monkeypatch):
    rows = matrix("plain", 4, 13, d, "float32")
    with monkeypatch.context() as patch:
        patch.setattr(tiles, "PARTS", 8)  # one chunk at a time here, all at once below
        pieces = [cuda.grow(put(rows), start, stop) for start, stop in ((0, 4), (4, 5), (5, 12), (12, 13))]
    order = np.random.default_rng(5).permutation(13)
    distances, norms = cuda.gram(put(rows), order, np.ones(13))
    grown = np.zeros((13, 13))
    for found, _ in pieces:
        start = found.shape[1] - len(found)
        grown[start : found.shape[1], : found.shape[1]] = found
        grown[: found.shape[1], start : found.shape[1]] = found.T
    assert_array_equal(distances, grown[order][:, order])
    assert_array_equal(norms, np.concatenate([found for _, found in pieces])[order])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("n", [1, 2, 5, 17])
def test_the_kernels_agree_with_numpy_in_every_dtype(n, dtype):
    rng = np.random.default_rng(6)
    data = put(matrix("plain", 7, n, 131), dtype)
    wide = data.double().cpu().numpy()
    order, scale = rng.permutation(n), 2.0 ** rng.integers(-3, 3, size=n)
    brute = wide[order] * scale[:, None]
    left = rng.permutation(n)[: max(n // 2, 1)]
    assert_allclose(cuda.products(data, order, scale, left), brute[left] @ brute.T, rtol=1e-10, atol=1e-12)
    assert_array_equal(cuda.largest(data), np.abs(wide).max(axis=1))
    weights = rng.uniform(size=(n + 1, n)) * (rng.random((n + 1, n)) < 0.5)
    room = {"rtol": 2 * torch.finfo(dtype).eps, "atol": 1e-12 + (dtype == torch.float16) * 1e-7}
    for found, expected in (
        (cuda.combine(data, order, weights[0]), weights[0] @ wide[order]),
        (cuda.combine(data, order, np.zeros(n)), np.zeros(131)),
        (cuda.mix(data, order, weights), weights @ wide[order]),
        (cuda.order_statistic(data, order, OrderStatistic(n // 3, n), None)[0], np.sort(wide, 0)[n // 3 :].mean(0)),
    ):
        assert found.dtype == dtype
        assert found.device == data.device
        assert_allclose(found.double().cpu().numpy(), expected, **room)


METHODS = {"in registers": 128, "by bisection": 0, "torch": None}


@pytest.fixture(params=METHODS)
def method(request, tiles, monkeypatch):
    if METHODS[request.param] is None:
        monkeypatch.setattr(tiles, "MOST_ROWS", 0)
    else:
        monkeypatch.setattr(tiles, "WIDEST_NETWORK", METHODS[request.param])


@pytest.mark.usefixtures("method")
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_order_statistics_are_right_for_every_kind_of_round(name, dtype):
    rows = matrix(name, 8, 11, 40, dtype)
    order = np.random.default_rng(9).permutation(11)
    ordered = np.sort(rows[order].astype(np.float64), axis=0)
    for low, high in ((0, 11), (5, 6), (2, 9)):
        found, wrong = cuda.order_statistic(put(rows), order, OrderStatistic(low, high), None)
        room = 11 * np.finfo(np.float64).eps * np.abs(ordered[low:high]).max(axis=0)
        expected = (ordered[low:high] / 16).sum(axis=0) / (high - low) * 16
        difference = np.abs(found.double().cpu().numpy() - expected)
        assert (difference <= room + np.spacing(np.abs(expected).astype(dtype))).all()
        assert not wrong.any()


@pytest.mark.parametrize("n", [3, 4, 9, 20, 31, 50, 64, 100, 129, 300])
def test_every_size_of_network_and_the_bisection_find_every_kind_of_rank(n):
    rng = np.random.default_rng(n)
    rows = rng.permuted(np.tile(np.arange(n)[:, None], 9), axis=0).astype(np.float32) - n // 2
    rows[:, 8] = rng.integers(-1, 2, size=n)  # ties
    for low, high in {((n - 1) // 2, n // 2 + 1), (n // 4, n - n // 4)}:
        found, _ = cuda.order_statistic(put(rows), np.arange(n), OrderStatistic(low, high), None)
        assert_allclose(found.cpu().numpy(), np.sort(rows, axis=0)[low:high].mean(axis=0), rtol=1e-6, atol=1e-7)


@pytest.mark.usefixtures("method")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_an_order_statistic_sees_every_place_that_is_not_finite(bad, dtype):
    for column in (0, 127, 128, 200):
        rows = matrix("plain", 10, 5, 201)
        rows[3, column] = bad
        _, wrong = cuda.order_statistic(put(rows, dtype), np.array([4, 3, 2, 1, 0]), OrderStatistic(2, 3), None)
        assert wrong.tolist() == [False, True, False, False, False]


@pytest.mark.usefixtures("method")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_mixed_rows_are_put_in_order_tile_by_tile(dtype, monkeypatch):
    monkeypatch.setattr(cuda, "MIXED", 1)  # tiles of 128 columns
    rng = np.random.default_rng(11)
    data = put(matrix("scattered", 12, 9, 300), dtype if dtype != torch.float16 else torch.bfloat16)
    mixing, order = rng.uniform(size=(11, 9)), rng.permutation(9)
    wide = data.double().cpu().numpy()[order]
    found, _ = cuda.order_statistic(data, order, OrderStatistic(3, 8), mixing)
    room = 4 * torch.finfo(data.dtype).eps * np.abs(wide).max()
    assert_allclose(found.double().cpu().numpy(), np.sort(mixing @ wide, 0)[3:8].mean(0), rtol=0, atol=room)


@pytest.mark.parametrize("statistic", [NearMedian(7), WeightedMiddle((1.0, 2.0, 1.5) * 3, 4.0)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_statistics_without_a_kernel_of_their_own_follow_mixing(statistic, dtype):
    rng = np.random.default_rng(16)
    data, mixing, order = put(matrix("plain", 16, 9, 300), dtype), rng.uniform(size=(9, 9)), rng.permutation(9)
    wide = data.double().cpu().numpy()[order]
    for matrix_or_none, rows in ((None, wide), (mixing, mixing @ wide)):
        found, _ = cuda.order_statistic(data, order, statistic, matrix_or_none)
        room = 4 * torch.finfo(dtype).eps * np.abs(rows).max()
        assert found.dtype == dtype
        assert_allclose(found.double().cpu().numpy(), middle(rows, statistic), rtol=0, atol=room)


def test_rows_are_read_where_they_lie_however_they_lie():
    rows = matrix("plain", 13, 9, 400, "float32")
    order, mixing = np.arange(9), np.random.default_rng(14).uniform(size=(9, 9))
    middle = OrderStatistic(2, 7)

    def found(data):
        statistics = [cuda.order_statistic(data, order, middle, matrix)[0] for matrix in (None, mixing)]
        answers = *statistics, cuda.combine(data, order, mixing[0]), cuda.mix(data, order, mixing)
        return [answer.cpu() for answer in answers] + [torch.tensor(cuda.gram(data, order, np.ones(9))[0])]

    expected = found(put(rows))
    for data in (put(rows.T.copy()).T, put(np.repeat(rows, 2, axis=1))[:, ::2], put(np.tile(rows, (1, 2)))[:, 400:]):
        assert all(map(torch.equal, found(data), expected))


@pytest.mark.parametrize("recipe", ["trimmed_mean", "geometric_median", "arc | nnm | trimmed_mean", "nnm | krum"])
def test_a_defense_says_on_the_gpu_what_it_says_on_the_cpu(recipe):
    rows = matrix("plain", 14, 12, 250, "float32")
    rows[:2] *= -20
    defense = Defense.parse(recipe, f=2)
    one, two = defense(put(rows, torch.float32 if GPU else torch.bfloat16)), defense(rows)  # others NumPy takes over
    assert [verdict.accepted for verdict in one.verdicts] == [verdict.accepted for verdict in two.verdicts]
    assert one.update.device.type == DEVICE


def test_there_is_no_column_to_read():
    data = torch.zeros((7, 0), device=DEVICE)
    assert not cuda.gram(data, np.arange(7), np.ones(7))[0].any()
    assert cuda.order_statistic(data, np.arange(7), OrderStatistic(2, 5), np.eye(7))[0].shape == (0,)
    assert cuda.mix(data, np.arange(7), np.eye(7)).shape == (7, 0)


def test_this_ran_on_a_gpu():
    if not GPU:
        pytest.skip("no CUDA GPU here: the Triton kernels ran in the interpreter only")
    data = put(matrix("plain", 15, 50, 1_000_000, "float32"))
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    for recipe in ("median", "krum", "arc | nnm | trimmed_mean"):
        assert Defense.parse(recipe, f=10)(data).update.device.type == "cuda"
    room = max(data.nbytes // 20, 64 << 20)
    assert torch.cuda.max_memory_allocated() - before - data.nbytes // 50 <= room


COMPILED = """
import numpy as np, torch
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction, driver
from hawthorn.strategies.kernels import OrderStatistic, cuda, tiles

class Absent:
    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)
    def get_current_device(self):
        return 0
    def get_current_stream(self, device):
        return 0

def compiled(kernel, *arguments, warmup, **options):
    done = run(kernel, *arguments, warmup=True, **options)
    assert done.asm["cubin"]
    names.add(kernel.__name__)

driver.set_active(Absent())
run, JITFunction.run, names = JITFunction.run, compiled, set()
cuda._programs = lambda data: tiles
order, ones = np.arange(9), np.ones(9)
for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
    data = torch.zeros((9, 300), dtype=dtype)
    cuda.gram(data, order, ones)
    cuda.products(data, order, ones, order[:3])
    cuda.combine(data, order, ones)
    cuda.mix(data, order, np.eye(9))
    for tiles.WIDEST_NETWORK in (128, 0):
        cuda.order_statistic(data, order, OrderStatistic(3, 6), None)
        cuda.order_statistic(data, order, OrderStatistic(4, 5), np.eye(9))
assert names == {"_pairs", "_add_up", "_weighted", "_mixed", "_in_registers", "_by_bisection"}, names
"""


@pytest.mark.slow
def test_every_kernel_compiles_for_a_gpu_that_is_not_here(tmp_path):
    """Everything of a launch but the launch, for an H100."""
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-4000:]
