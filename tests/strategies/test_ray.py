"""Kernels, defenses and rounds over column shards on a real Ray cluster of two workers, against one machine alone."""

import contextlib
import functools
import gc
import itertools
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings

import numpy as np
import pytest
from hawthorn.strategies import (
    Defense,
    Geometry,
    SettingError,
    UpdateError,
    Updates,
    geometric_median,
    kernels,
    krum,
    median,
    nnm,
)
from hawthorn.strategies.kernels import LostColumnsError, NearMedian, OrderStatistic, WeightedMiddle, cpu
from matrices import CASES, matrix
from numpy.testing import assert_allclose, assert_array_equal

# Ray leaves the files and processes it started to the end of the program
LEFT_OPEN = ("unclosed file <_io", "subprocess .* is still running")
RECIPES = (
    "median",
    "trimmed_mean",
    "nnm | median",
    "arc | nnm | trimmed_mean",
    "krum",
    "multi_krum(m=5)",
    "geometric_median",
    "clip(radius=3) | mean",
)

pytestmark = [pytest.mark.filterwarnings(f"ignore:{text}:ResourceWarning") for text in LEFT_OPEN]


def test_importing_the_strategies_and_using_their_kernels_imports_no_ray():
    code = """
import sys
import numpy as np
from hawthorn.strategies import Defense, RobustStrategy, Updates, kernels
Defense("median", f=1)(np.arange(12.0).reshape(6, 2) ** 2)
Updates(3, 2).keep()
print(kernels.sharded(np.zeros((2, 2))), "ray" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.fixture(scope="module")
def sharding():
    """The module under test, with a cluster of two CPUs for it."""
    ray = pytest.importorskip("ray")
    from hawthorn.strategies.kernels import shards as sharding

    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as directory,
    ):
        for text in LEFT_OPEN:
            warnings.filterwarnings("ignore", text, ResourceWarning)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray warns of what it will do one day
        ray.init(
            address="local",
            _temp_dir=directory,  # pytest's own is too long for the sockets in it
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=200 << 20,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        yield sharding
        ray.shutdown()
        gc.collect()


@pytest.fixture
def shards(sharding):
    """Makes shards, which are closed after the test."""
    with contextlib.ExitStack() as stack:

        def made(updates, cpus=0, **options):  # no need to wait for those of the test before to be free again
            return stack.enter_context(sharding.Shards.of(updates, cpus=cpus, **options))

        yield made


@pytest.fixture(scope="module")
def streamed(sharding):
    """Streams rows of 150 columns to workers who stay, because starting some for each round takes seconds."""
    with contextlib.ExitStack() as stack:
        started = {}

        def made(rows):
            dtype = rows.dtype.name
            if dtype not in started:
                started[dtype] = stack.enter_context(sharding.Shards.empty(11, 150, dtype, cpus=0))
            started[dtype].clear()
            started[dtype].write(0, rows)
            return started[dtype]

        yield made


def processes(shards):
    """The process of each worker."""
    return shards._call("ready")


def gone(process):
    """Whether the process has ended, waiting for it a good while."""
    for _ in range(600):
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(process, 0)
            with open(f"/proc/{process}/stat") as status:
                if status.read().rpartition(")")[2].split()[0] != "Z":
                    time.sleep(0.1)
                    continue
        return True
    return False


def warned(caplog):
    """How many warnings Hawthorn has logged; Ray has things to say of its own."""
    return sum(record.levelname == "WARNING" for record in caplog.records if record.name.startswith("hawthorn"))


def assert_same_outcome(data, rows, recipe):
    """That a defense says and does the same about the updates `data` as about the matrix `rows`."""
    found, expected = Defense.parse(recipe, f=2)(data), Defense.parse(recipe, f=2)(rows)
    assert [v.accepted for v in found.verdicts] == [v.accepted for v in expected.verdicts]
    for one, two in zip(found.verdicts, expected.verdicts, strict=True):
        assert_allclose(one.weight, two.weight, rtol=1e-9, atol=1e-12)
        assert one.scores == pytest.approx(two.scores, rel=1e-6, abs=1e-9)
    assert type(found.update) is np.ndarray
    assert found.update.dtype == rows.dtype
    if recipe in {"median", "trimmed_mean"}:
        assert_array_equal(found.update, expected.update)
    else:
        honest = np.median(np.abs(rows.astype(np.float64)).max(axis=1))
        room = 1e-12 if rows.dtype == np.float64 else 2 * np.finfo(rows.dtype).eps
        assert_allclose(found.update, expected.update, rtol=room, atol=room * float(honest))


class Deadly:
    """An argument that kills who reads it; once the file `mark` says that somebody died, it is `value`."""

    def __init__(self, value, mark=None):
        self.value, self.mark = value, mark and str(mark)

    def __reduce__(self):
        die = "(mark and (os.path.exists(mark) or open(mark, 'a').close()) or os.kill(os.getpid(), 9)) and value"
        return eval, (die, {"os": os, "mark": self.mark, "value": self.value})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "d", "dtype"),
    [
        (1, 1, "float32"),
        (4, 2, "float64"),
        (6, 0, "float32"),
        (3, 64, "float16"),
        (5, 1000, "float32"),
        (70, 331, "float64"),
    ],
)
def test_every_kernel_agrees_with_the_same_on_one_machine(shards, n, d, dtype):
    rng = np.random.default_rng(60)
    rows = matrix("plain", 60, n, d, dtype)
    data = shards(rows)
    assert (data.shape, data.dtype) == (rows.shape, rows.dtype)
    order = rng.permutation(n)
    for scale in (np.ones(n), rng.uniform(0.1, 1, size=n)):
        for found, expected in zip(kernels.gram(data, order, scale), cpu.gram(rows, order, scale), strict=True):
            assert_allclose(found, expected, rtol=1e-12, strict=True)
        left = rng.permutation(n)[: max(n // 2, 1)]
        bounds = np.array([0, 0, d // 3, d // 3, (2 * d) // 3, d])
        layers = kernels.layers(data, order, scale, bounds), cpu.layers(rows, order, scale, bounds)
        for found, expected in zip(*layers, strict=True):
            assert_allclose(found, expected, rtol=1e-12, strict=True)
        products = kernels.products(data, order, scale, left)
        assert_allclose(products, cpu.products(rows, order, scale, left), rtol=1e-10, atol=1e-12, strict=True)
        row = kernels.alike(data, rng.normal(size=d))
        near = kernels.beside(data, order, scale, row, 0.5), cpu.beside(rows, order, scale, row, 0.5)
        for found, expected in zip(*near, strict=True):
            assert_allclose(found, expected, rtol=1e-10, atol=1e-12, strict=True)
    distances, norms = kernels.grow(data, n // 2, n)
    whole, squares = kernels.gram(data, np.arange(n), np.ones(n))
    assert_array_equal(distances, whole[n // 2 :], strict=True)
    assert_array_equal(norms, squares[n // 2 :], strict=True)
    assert_array_equal(kernels.largest(data), cpu.largest(rows), strict=True)
    assert_array_equal(kernels.sign_votes(data, order), cpu.sign_votes(rows, order), strict=True)

    mixing = rng.uniform(size=(n + 2, n))
    assert_array_equal(kernels.mix(data, order, mixing), cpu.mix(rows, order, mixing), strict=True)
    combined = kernels.combine(data, order, mixing[0])
    assert_array_equal(combined, cpu.combine(rows, order, mixing[0]), strict=True)
    assert combined.flags.writeable
    for statistic, mixed in itertools.product(
        (OrderStatistic(n // 2, n // 2 + 1), OrderStatistic(0, n), NearMedian(n // 2 + 1)), (None, mixing)
    ):
        for found, expected in zip(
            kernels.order_statistic(data, order, statistic, mixed),
            cpu.order_statistic(rows, order, statistic, mixed),
            strict=True,
        ):
            assert_array_equal(found, expected, strict=True)
    heavy = WeightedMiddle(tuple(rng.uniform(1, 2, size=n).tolist()), 0.25)
    found, _ = kernels.order_statistic(data, order, heavy)
    assert_array_equal(found, cpu.order_statistic(rows, order, heavy, None)[0], strict=True)

    chosen = rng.integers(0, d, size=5) if d else np.zeros(0, np.intp)
    assert_array_equal(kernels.columns(data, chosen), cpu.columns(rows, chosen), strict=True)
    for a, b in itertools.product(range(min(n, 4)), repeat=2):
        assert kernels.compare(data, a, b) == cpu.compare(rows, a, b)


@pytest.mark.slow
def test_a_value_that_is_not_finite_is_seen_in_every_shard(streamed):
    for column in (0, 63, 64, 149):
        rows = matrix("plain", 61, 5, 150, "float32")
        rows[3, column] = np.nan
        data = streamed(rows)
        with pytest.raises(ValueError, match="rows 3 hold NaN"):
            krum(data, f=1)
        with pytest.raises(ValueError, match="rows 3 hold NaN"):
            median(data, f=1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_every_defense_says_and_does_the_same_as_on_one_machine(streamed, name, dtype):
    rows = matrix(name, 62, 11, 150, dtype)
    data = streamed(rows)
    for recipe in RECIPES:
        assert_same_outcome(data, rows, recipe)


@pytest.mark.slow
def test_the_geometry_and_the_mixed_rows_of_shards_are_arrays(streamed):
    rows = matrix("plain", 63, 9, 150, "float32")
    data = streamed(rows)
    assert_allclose(Geometry.of(data).gram, Geometry.of(rows).gram, rtol=1e-12, atol=1e-12)
    assert_array_equal(nnm(data, f=2), nnm(rows, f=2), strict=True)


@pytest.mark.slow
def test_shards_are_made_of_any_matrix_where_it_lies(sharding, shards, tmp_path, monkeypatch):
    monkeypatch.setattr(sharding, "PIECE", 128)  # many pieces, cut in both directions
    rows = matrix("plain", 64, 8, 300, "float32")
    expected = geometric_median(rows, f=2)
    rows.tofile(tmp_path / "rows")
    read_only = rows.copy()
    read_only.flags.writeable = False
    spread = np.zeros((16, 600), np.float32)
    spread[::2, ::2] = rows
    for updates in (
        np.memmap(tmp_path / "rows", np.float32, "r", shape=rows.shape),
        read_only,
        spread[::2, ::2],
    ):
        data = shards(updates)
        assert_array_equal(geometric_median(data, f=2), expected)
        data.close()
    with pytest.raises(ValueError, match=r"an \(n, d\) matrix of floats, got int64"):
        sharding.Shards.of(np.zeros((2, 2), np.int64))


@pytest.mark.slow
def test_parts_in_the_object_store_become_shards(sharding):
    import ray

    rows = matrix("plain", 65, 8, 50_000, "float32")
    parts = [ray.put(rows[:, :20_000].copy()), ray.put(rows[:, 20_000:].copy())]
    with sharding.Shards.of_parts(parts) as data:
        assert data.cuts == (0, 20_000, 50_000)
        assert_allclose(krum(data, f=2), krum(rows, f=2), rtol=0)
        ray.kill(data._workers[0].actor)
        assert_allclose(krum(data, f=2), krum(rows, f=2), rtol=0)
    for wrong in ([rows[:3], rows, rows.astype(np.float64)], ["rows"], [np.zeros((2, 2), int)]):
        with pytest.raises(ValueError, match=r"parts must be \(n, d_k\) arrays of floats"):
            sharding.Shards.of_parts([ray.put(part) for part in wrong])


@pytest.mark.slow
def test_rows_are_streamed_to_the_workers(sharding, monkeypatch):
    monkeypatch.setattr(sharding, "PIECE", 256)
    rows = matrix("plain", 66, 9, 200, "float32")
    with sharding.Shards.empty(10, 200) as data:
        for again in range(2):
            buffer = np.empty(200, np.float32)
            for row in range(9):
                buffer[:] = -1  # a reply that turns out to be refused
                data.write(row, buffer)
                buffer[:] = rows[row]
                data.write(row, buffer)
                assert data.shape == (row + 1, 200)
            buffer[:] = np.nan
            assert_array_equal(geometric_median(data, f=2), geometric_median(rows, f=2), err_msg=str(again))
            assert kernels.grow(data, 4, 9)[0].shape == (5, 9)
            data.clear()
            assert data.shape == (0, 200)
        data.write(0, rows)
        assert_array_equal(median(data, f=2), median(rows, f=2))
        for row, values in ((10, rows[0]), (9, rows), (-1, rows[0]), (0, rows[0, :7])):
            with pytest.raises(ValueError, match="row"):
                data.write(row, values)
    with pytest.raises(ValueError, match="closed"):
        data.write(0, rows)


@pytest.mark.slow
def test_a_piece_that_did_not_arrive_is_never_forgotten(sharding):
    with sharding.Shards.empty(3, 100) as data:
        data.write(0, np.ones((3, 100)))
        data._send(1, 3, np.ones((2, 7), np.float32))  # there is no room for it
        for _ in range(2):
            with pytest.raises(ValueError, match="could not broadcast"):
                krum(data, f=0)
    with pytest.raises(MemoryError):
        sharding.Shards.empty(1 << 30, 1 << 30)


@pytest.mark.slow
@pytest.mark.parametrize("death", ["ray.kill", "SIGKILL"])
def test_a_worker_that_died_is_replaced(shards, death, caplog):
    import ray

    rows = matrix("plain", 67, 9, 200, "float32")
    data = shards(rows)
    expected = geometric_median(data, f=2)
    for k in (1, 0):
        before = processes(data)
        if death == "ray.kill":
            ray.kill(data._workers[k].actor)
        else:
            os.kill(before[k], signal.SIGKILL)
        assert_array_equal(geometric_median(data, f=2), expected)
        after = processes(data)
        assert (after[k] != before[k], after[1 - k] == before[1 - k]) == (True, True)
    assert warned(caplog) == 2
    assert "columns 128 to 200 were lost, and go to a new worker" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["gram", "combine", "order_statistic", "columns"])
def test_a_worker_killed_in_the_middle_of_a_call_is_replaced_and_asked_again(shards, kernel, tmp_path):
    rows = matrix("plain", 68, 9, 200, "float32")
    data = shards(rows)
    order, statistic = np.arange(9)[::-1].copy(), OrderStatistic(4, 5)
    deadly = Deadly(order, tmp_path / "mark")
    if kernel == "gram":
        found, _ = kernels.gram(data, deadly, np.ones(9))
        assert_allclose(found, cpu.gram(rows, order, np.ones(9))[0], rtol=1e-12)
    elif kernel == "combine":
        assert_array_equal(kernels.combine(data, deadly, np.ones(9)), cpu.combine(rows, order, np.ones(9)))
    elif kernel == "order_statistic":
        found, _ = kernels.order_statistic(data, deadly, statistic, None)
        assert_array_equal(found, cpu.order_statistic(rows, order, statistic, None)[0])
    else:
        parts = data._call("columns", 9, Deadly(np.array([3, 199]), tmp_path / "mark"))
        assert_array_equal(np.hstack(parts), cpu.columns(rows, np.array([3, 199])))
    assert (tmp_path / "mark").exists()


@pytest.mark.slow
def test_a_call_that_kills_every_worker_is_given_up(sharding, shards):
    rows = matrix("plain", 69, 5, 100, "float32")
    data = shards(rows)
    with pytest.raises(sharding.LostColumnsError, match=r"columns 0 to 50 were lost 3 times in turn \(The actor died"):
        data.each("compare", Deadly(1), 2)
    assert_array_equal(median(data, f=1), median(rows, f=1))  # other calls go on


@pytest.mark.slow
def test_workers_killed_at_any_moment_change_no_bit(shards, caplog):
    rows = matrix("plain", 70, 20, 500_000, "float32")  # 40 MB
    data = shards(rows)
    defense = Defense.parse("arc | nnm | trimmed_mean", f=4)
    expected = defense(data).update
    for turn, delay in enumerate((0.0, 0.01, 0.05, 0.2)):
        killer = threading.Timer(delay, os.kill, (processes(data)[turn % 2], signal.SIGKILL))
        killer.start()
        found = [defense(data).update for _ in range(2)]
        killer.join()
        found.append(defense(data).update)
        for update in found:
            assert_array_equal(update, expected)
    assert warned(caplog) == 4


@pytest.mark.slow
def test_calls_from_several_threads_share_the_workers_and_their_deaths(shards):
    rows = matrix("plain", 71, 9, 2000, "float32")
    data = shards(rows)
    expected = krum(data, f=2)
    found = []
    callers = [threading.Thread(target=lambda: found.append(krum(data, f=2))) for _ in range(4)]
    os.kill(processes(data)[1], signal.SIGKILL)
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(found) == 4
    for update in found:
        assert_array_equal(update, expected)


@pytest.mark.slow
def test_streamed_rows_that_died_are_reported_until_they_are_sent_again(sharding, monkeypatch):
    monkeypatch.setattr(sharding, "PIECE", 64)  # it is noticed while the stream goes on, not only at its end
    rows = matrix("plain", 72, 9, 200, "float32")
    with sharding.Shards.empty(9, 200) as data:
        data.write(0, rows[:5])
        os.kill(processes(data)[1], signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(sharding.LostColumnsError, match="columns 128 to 200 died with their worker"):
                krum(data, f=1)
        with pytest.raises(sharding.LostColumnsError, match="send their rows again"):
            data.write(5, np.tile(rows[0], (4, 1)))
        assert data.shape == (5, 200)  # what did not arrive as a whole does not count
        data.clear()
        data.write(0, rows)
        assert_array_equal(median(data, f=2), median(rows, f=2))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`free` is a deprecated API:DeprecationWarning")
def test_a_part_that_is_lost_with_its_worker_is_reported(sharding):
    import ray
    from ray._private.internal_api import free

    rows = matrix("plain", 73, 8, 50_000, "float32")
    parts = [ray.put(rows[:, :20_000].copy()), ray.put(rows[:, 20_000:].copy())]
    with sharding.Shards.of_parts(parts) as data:
        free(parts)
        assert_array_equal(median(data, f=2), median(rows, f=2))  # the workers still hold them
        ray.kill(data._workers[0].actor)
        with pytest.raises(sharding.LostColumnsError, match="columns 0 to 20000 were lost"):
            median(data, f=2)


@pytest.mark.slow
def test_a_cluster_without_room_says_so_and_keeps_nothing(sharding, shards):
    rows = matrix("plain", 74, 5, 200, "float32")
    with pytest.raises(
        sharding.LostColumnsError, match=r"none started within 1 s; each asks for 1 CPUs, and 0 of .* 2"
    ):
        sharding.Shards.of(rows, workers=3, patience=1)
    assert_array_equal(median(shards(rows), f=1), median(rows, f=1))
    assert len(processes(shards(rows, workers=3, cpus=0))) == 3


@pytest.mark.slow
def test_workers_end_with_the_shards(sharding):
    rows = matrix("plain", 75, 5, 200, "float32")
    data = sharding.Shards.of(rows)
    closed = processes(data)
    data.close()
    data.close()
    assert all(gone(process) for process in closed)
    data = sharding.Shards.of(rows)
    forgotten = processes(data)
    del data
    gc.collect()
    assert all(gone(process) for process in forgotten)


@pytest.mark.slow
def test_no_cluster_is_started_behind_anybodys_back():
    code = """
import numpy as np, ray
from hawthorn.strategies import SettingError, Shards, Updates
try:
    Updates(2, 2, shards=2)
except SettingError as error:
    print("ray.init()" in str(error), ray.is_initialized())
for make in (lambda: Shards.of(np.ones((2, 2))), lambda: Shards.empty(2, 2), lambda: Shards.of_parts([1])):
    try:
        make()
    except RuntimeError as error:
        print("ray.init()" in str(error), ray.is_initialized())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"] * 4


@pytest.fixture
def arriving(sharding):
    """Makes updates whose columns lie with two workers; they are closed after the test."""
    with contextlib.ExitStack() as stack:

        def made(capacity, width, dtype="float32"):
            updates = Updates(capacity, width, dtype, shards=2)
            stack.callback(updates.close)
            return updates

        yield made


def arrive(updates, rows):
    """Have the rows arrive one by one; between them, refused ones are written and not kept."""
    updates.clear()
    for row in rows:
        updates.next[:] = np.nan
        updates.next[:] = row
        updates.keep()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", sorted({dtype for _, dtype in CASES}))
def test_updates_that_arrive_at_the_workers_are_those_of_the_matrix(arriving, dtype):
    updates = arriving(14, 150, dtype)
    for name in (name for name, kind in CASES if kind == dtype):
        rows = matrix(name, 76, 13, 150, dtype)
        arrive(updates, rows)
        assert (repr(updates), updates.rows.shape) == ("<13 of 14 updates>", rows.shape)
        assert_allclose(Geometry.of(updates).norms, Geometry.of(rows).norms, rtol=1e-12)
        for recipe in ("median", "arc | nnm | trimmed_mean", "geometric_median"):
            assert_same_outcome(updates, rows, recipe)


@pytest.mark.slow
def test_only_the_next_row_is_here(arriving):
    rows = matrix("plain", 77, 4, 1000, "float32")
    updates = arriving(4, 1000)
    arrive(updates, rows[:3])
    place = updates.next
    updates.keep()
    assert (place.shape, place.base.nbytes) == ((1000,), 4000)
    with pytest.raises(UpdateError, match="room for 4 updates"):
        _ = updates.next
    updates.clear()
    assert updates.next.__array_interface__["data"] == place.__array_interface__["data"]
    with pytest.raises(UpdateError, match="at least one row"):
        Defense()(updates)


@pytest.mark.slow
def test_updates_that_died_with_a_worker_are_reported_and_can_arrive_again(arriving):
    rows = matrix("plain", 78, 11, 200, "float32")
    updates = arriving(11, 200)
    arrive(updates, rows)
    os.kill(processes(updates.rows)[1], signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(LostColumnsError, match="columns 128 to 200 died with their worker"):
            Defense("median", f=2)(updates)
    arrive(updates, rows)
    assert_same_outcome(updates, rows, "geometric_median")
    updates.clear()
    os.kill(processes(updates.rows)[0], signal.SIGKILL)  # nothing is lost with it
    arrive(updates, rows)
    assert_same_outcome(updates, rows, "median")


@pytest.mark.slow
def test_a_cluster_without_room_for_updates_says_what_to_write(sharding, arriving, monkeypatch):
    monkeypatch.setattr(sharding.Shards, "empty", functools.partial(sharding.Shards.empty, patience=1))
    told = "no room for the updates of 3 clients: .*; write fewer shards, or join a larger cluster"
    with pytest.raises(SettingError, match=told) as error:
        Updates(3, 200, shards=3)
    assert "each asks for 1 CPUs, and 0 of the cluster's 2 are free" in str(error.value)
    monkeypatch.undo()
    with pytest.raises(SettingError, match=r"no room .*Unable to allocate .*; write fewer shards"):
        Updates(1 << 30, 1 << 30, shards=2)
    arrive(arriving(3, 200), np.zeros((3, 200), np.float32))


MODEL = {"weight": np.zeros((60, 50), np.float32), "bias": np.ones(50, np.float32), "seen": np.array(7)}


def client(message, context):
    """The reply of a client whose model moved by a common step and a noise of its own; that of client 3 is hostile."""
    from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict

    number = int(context.node_config["partition-id"])
    rng = np.random.default_rng(number)
    moved = {}
    for name, array in message.content["arrays"].items():
        before = array.numpy()
        step = 1 if before.dtype.kind == "i" else rng.normal(0.5, 0.1, before.shape) * (-9 if number == 3 else 1)
        moved[name] = Array(np.asarray(before + step).astype(before.dtype))
    metrics = MetricRecord({"num-examples": 100, "loss": float(number)})
    return Message(RecordDict({"arrays": ArrayRecord(moved), "metrics": metrics}), reply_to=message)


@pytest.fixture
def federation(sharding):
    """A hedged strategy with its grid of 12 clients and the model they start from, each time it is called."""
    from flwr.app import Array, ArrayRecord
    from flwr.serverapp.strategy import FedAvg
    from hawthorn.scripts.in_process import InProcessGrid
    from hawthorn.strategies import RobustStrategy

    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:

        def made(app=client, **options):
            strategy = RobustStrategy(FedAvg(fraction_evaluate=0.0), Defense("geometric_median", f=0.2), **options)
            stack.callback(strategy._give_up_room)
            model = ArrayRecord({name: Array(array) for name, array in MODEL.items()})
            return strategy, InProcessGrid(app, 12), model

        yield made


def assert_same_model(found, expected):
    for name, array in expected.items():
        assert found[name].numpy().dtype == array.numpy().dtype
        assert_allclose(found[name].numpy(), array.numpy(), rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_a_federation_over_shards_is_that_over_memory(federation):
    one, grid, model = federation()
    expected = one.start(grid, model, num_rounds=3)
    seen = []
    other, grid, model = federation(shards=2, observers=[lambda _: seen.append(processes(other._updates.rows))])
    found = other.start(grid, model, num_rounds=3)
    assert_same_model(found.arrays, expected.arrays)
    assert found.train_metrics_clientapp == expected.train_metrics_clientapp
    rejected = [[node for node, v in s.last_round.verdicts.items() if not v.accepted] for s in (one, other)]
    assert rejected == [[104], [104]]
    assert (other.last_round.skipped, len(other.last_round.verdicts)) == (None, 12)
    assert seen[0] == seen[1] == seen[2]  # the same workers serve all rounds
    assert all(gone(process) for process in seen[0])  # and no others after the last


@pytest.mark.slow
@pytest.mark.parametrize("arrived", [5, 12], ids=["while replies arrive", "before they are aggregated"])
def test_a_round_that_loses_a_worker_is_skipped_and_the_next_one_is_not(federation, arrived):
    from flwr.app import ConfigRecord

    records = []
    expected, strategy = federation()[0], federation(shards=2, observers=[records.append])[0]
    _, grid, model = federation()

    def replies(of, server_round):
        return grid.send_and_receive(of.configure_train(server_round, model, ConfigRecord(), grid))

    def dying(all_replies):
        """The replies, the workers dying after some of them."""
        for count, reply in enumerate(all_replies, 1):
            yield reply
            if count == arrived:
                ended = processes(strategy._updates.rows)
                for process in ended:
                    os.kill(process, signal.SIGKILL)
                assert all(gone(process) for process in ended)

    strategy.aggregate_train(1, replies(strategy, 1))
    state = strategy.state
    arrays, metrics = strategy.aggregate_train(2, dying(replies(strategy, 2)))
    assert arrays == model
    assert (metrics, records[1].verdicts, records[1].refused, records[1].geometry) == (None, {}, {}, None)
    assert "updates were lost: columns 0 to 1536 died with their worker" in records[1].skipped
    assert strategy.state == state  # what is remembered of the clients stays, too
    arrays, metrics = strategy.aggregate_train(3, replies(strategy, 3))
    assert records[2].skipped is None
    assert_same_model(arrays, expected.aggregate_train(3, replies(expected, 3))[0])


@pytest.mark.slow
def test_a_worker_that_dies_before_the_first_reply_costs_no_round(federation):
    def murderous(message, context):
        if context.node_config["partition-id"] == 0:
            os.kill(processes(strategy._updates.rows)[0], signal.SIGKILL)
        return client(message, context)

    records = []
    strategy, grid, model = federation(murderous, shards=2, observers=[records.append])
    strategy.start(grid, model, num_rounds=2)
    assert [(record.skipped, len(record.verdicts)) for record in records] == [(None, 12)] * 2


@pytest.mark.slow
def test_no_client_is_asked_where_the_cluster_has_no_room(sharding, federation, monkeypatch):
    monkeypatch.setattr(sharding.Shards, "empty", functools.partial(sharding.Shards.empty, patience=1))
    asked = []
    strategy, grid, model = federation(lambda message, context: asked.append(message), shards=3)
    with pytest.raises(SettingError, match="no room for the updates of 12 clients"):
        strategy.start(grid, model, num_rounds=1)
    assert asked == []


@pytest.mark.slow
def test_shards_are_had_from_the_package(sharding):
    import hawthorn.strategies

    assert hawthorn.strategies.Shards is sharding.Shards
