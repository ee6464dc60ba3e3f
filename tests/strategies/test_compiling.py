"""When compiled loops are made: never at import, once per machine, and also where nothing can be kept on disk."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from numba.core import caching, event
if sys.argv[1] == "nowhere":
    caching.CacheImpl._locator_classes = []
recorder = event.RecordingListener()
event.register("numba:compile", recorder)
import numpy as np
from hawthorn.strategies import Defense, Updates, median, trimmed_mean
from hawthorn.strategies.kernels.difference import difference
compiled = lambda: sum(found.is_start for _, found in recorder.buffer)
assert compiled() == 0, "at import"
rows = np.random.default_rng(72).standard_normal((9, 20_000), dtype=np.float32)
rows[8] += 9
for text in ("median", "geometric_median", "arc | nnm | trimmed_mean"):
    assert np.abs(Defense.parse(text, f=2)(rows).update).max() < 4
assert np.abs(median(np.tile(rows, (15, 1)), f=9)).max() < 10
updates = Updates(9, 20_000)
for row in rows:
    assert difference(row, rows[0], updates.next)
    updates.keep()
Defense("krum", f=2)(updates)
print(compiled())
"""


def compiled(cache, where="somewhere"):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, where], capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path):
    assert compiled(tmp_path) > 5
    assert compiled(tmp_path) == 0
    assert compiled(tmp_path, "nowhere") > 5


@pytest.mark.slow
def test_a_cache_that_is_broken_or_cannot_be_written_stops_nothing(tmp_path):
    compiled(tmp_path)
    for file in tmp_path.rglob("*.nb?"):
        file.write_bytes(b"")
    assert compiled(tmp_path) > 5
    assert compiled(tmp_path) == 0
    for file in tmp_path.rglob("*.nbc"):
        file.write_bytes(file.read_bytes()[:100])
    assert compiled(tmp_path) > 5
    assert compiled(tmp_path) == 0
