"""Matrices in files: made with their space, let go of page by page, and gone with their process, however it ends."""

import errno
import mmap
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hawthorn.strategies import Defense, Updates
from hawthorn.strategies.kernels import stream
from numpy.testing import assert_array_equal

MAPS = Path("/proc/self/smaps")
needs_proc = pytest.mark.skipif(not MAPS.exists(), reason="only Linux tells which pages of a process are in memory")


def resident(data):
    """The bytes of a mapping that are in memory, None if the process has no such mapping."""
    address = f"{data.__array_interface__['data'][0]:x}-"
    blocks = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", MAPS.read_text(), flags=re.MULTILINE)
    found = [block for block in blocks if block.startswith(address)]
    return int(re.search(r"^Rss:\s+(\d+) kB", found[0], re.MULTILINE)[1]) * 1024 if found else None


def filled(rows, width, **options):
    data = stream.matrix(rows, width, np.float32, **options)
    data[:] = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
    return data


@pytest.mark.parametrize(("memory", "kind"), [(None, np.ndarray), (240, np.ndarray), (239, np.memmap), (0, np.memmap)])
def test_a_matrix_above_its_budget_lies_in_a_file(tmp_path, memory, kind):
    data = filled(6, 10, memory=memory, directory=str(tmp_path))
    assert type(data) is kind
    assert (data.shape, data.dtype) == ((6, 10), np.float32)
    assert data.flags.c_contiguous
    assert data.flags.writeable
    assert_array_equal(np.array(data).ravel(), np.arange(60))
    assert os.listdir(tmp_path) == []


@needs_proc
def test_the_file_is_gone_with_the_last_array_that_shows_it(tmp_path):
    data = filled(6, 1 << 14, memory=0, directory=str(tmp_path))
    part = data[2:, 5:]
    assert str(tmp_path) in MAPS.read_text()
    del data
    assert part[0, 0] == 2 * (1 << 14) + 5
    del part
    assert str(tmp_path) not in MAPS.read_text()


def test_a_process_that_is_killed_leaves_nothing(tmp_path):
    code = f"""
import numpy as np, time
from hawthorn.strategies import Updates
updates = Updates(8, 1 << 16, memory="1 MB", spool={str(tmp_path)!r})
updates.next[:] = 1
updates.keep()
print(type(updates.rows).__name__, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip() == "memmap"
        assert os.listdir(tmp_path) == []
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == []


def test_the_space_is_taken_when_the_matrix_is_made(tmp_path):
    with (tmp_path / "file").open("w+b") as file:
        stream._allocate(file.fileno(), 1 << 20, str(tmp_path))
        found = os.fstat(file.fileno())
    assert found.st_size == 1 << 20
    if hasattr(os, "posix_fallocate"):
        assert found.st_blocks * 512 >= 1 << 20


def test_more_than_the_disk_has_free_is_told_at_once(tmp_path):
    with pytest.raises(OSError, match=r"GB free, and 4000000.0 GB are needed") as told:
        stream.matrix(10**6, 10**9, np.float32, memory=0, directory=str(tmp_path))
    assert told.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="files take their space page by page here")
def test_a_file_that_may_not_grow_is_told_at_once(tmp_path):
    code = f"""
import resource
from hawthorn.strategies import SettingError, Updates
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
Updates(1, 1 << 18, memory=0, spool={str(tmp_path)!r})
try:
    Updates(2, 1 << 18, memory=0, spool={str(tmp_path)!r})
except SettingError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.startswith("no room for the updates of 2 clients: File too large: ")
    assert done.stdout.rstrip().endswith("or a memory of at least '3 MB'")
    assert os.listdir(tmp_path) == []


def test_large_files_go_where_the_operator_says(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(stream.tempfile, "tempdir", None)  # where Python remembers an earlier answer
    assert stream.temporary_directory() == str(tmp_path)
    monkeypatch.delenv("TMPDIR")
    monkeypatch.setattr(stream.tempfile, "tempdir", None)
    assert os.path.isdir(stream.temporary_directory())


@needs_proc
def test_pages_are_let_go_and_nothing_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "RESIDENT", 1 << 20)
    data = filled(4, 1 << 20, memory=0, directory=str(tmp_path))
    expected = np.array(data)
    assert resident(data) == data.nbytes
    stream.release(data, 0, 1000)
    assert resident(data) == data.nbytes  # little was read since
    stream.release(data[1:3, 5:], 1000, 1 << 20)
    assert resident(data) == 0
    assert_array_equal(data, expected)
    data[2, 7] = -1
    stream.release(data, 0, 1 << 20)
    assert data[2, 7] == -1


@needs_proc
def test_reading_span_by_span_keeps_little_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "RESIDENT", 4 << 20)
    data = filled(4, 4 << 20, memory=0, directory=str(tmp_path))
    stream.release(data, 0, 4 << 20)
    most = total = 0
    for start in range(0, 4 << 20, 1 << 17):
        total += data[:, start : start + (1 << 17)].sum(dtype=np.float64)
        most = max(most, resident(data))
        stream.release(data, start, start + (1 << 17))
    assert total == np.arange(16 << 20, dtype=np.float64).sum()
    assert most <= (4 + 4 * 4) << 20  # what was read, and up to 2 MiB about both its ends in each row
    assert resident(data) == 0


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_callers_mapping_keeps_its_numbers(tmp_path, monkeypatch, mode):
    monkeypatch.setattr(stream, "RESIDENT", 1)
    path = tmp_path / "rows"
    np.arange(1 << 16, dtype=np.float32).tofile(path)
    data = np.memmap(path, np.float32, mode, shape=(4, 1 << 14))
    expected = np.array(data)
    if mode != "r":
        data[1] = expected[1] = -5
    for rows in (data, data[::2], data.T, np.asarray(data), data[:, 3:]):
        stream.release(rows, 0, rows.shape[1])
    if MAPS.exists():
        assert (resident(data) == 0) == (mode != "c")
    assert_array_equal(data, expected)


def test_what_is_no_file_of_ours_is_left_alone(monkeypatch):
    monkeypatch.setattr(stream, "RESIDENT", 1)
    private = mmap.mmap(-1, 1 << 16, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    owner = np.frombuffer(private, np.float32).reshape(4, -1)
    for data in (owner, np.ones((4, 1 << 12)), np.frombuffer(bytes(1 << 14), np.float32).reshape(4, -1)):
        if data.flags.writeable:
            data[:] = 7
        expected = data.copy()
        stream.release(data, 0, data.shape[1])
        stream.release(data[1:, ::2], 0, data.shape[1])
        assert_array_equal(data, expected)


@needs_proc
@pytest.mark.parametrize("rule", ["geometric_median", "median"])
def test_a_defense_leaves_little_of_a_mapped_matrix_in_memory(tmp_path, rule):
    updates = Updates(4, 8 << 20, memory=0, spool=str(tmp_path))  # 128 MiB
    for value in range(1, 5):
        updates.next[:] = value
        updates.keep()
    assert resident(updates.rows) == 0
    assert Defense(rule, f=0)(updates).skipped is None
    assert resident(updates.rows) <= 64 << 20  # what two threads had read when the last span was let go of
