"""That cells are worked off once, whatever happens meanwhile: kept, repeated bit for bit, and never run again."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hawthorn.scripts.evaluation.cell import Cell, Result
from hawthorn.scripts.evaluation.grid import Grid
from hawthorn.scripts.evaluation.run import result
from hawthorn.scripts.evaluation.store import Store
from hawthorn.scripts.evaluation.work import results
from hawthorn.strategies import HawthornError

SMALL = {"clients": 6, "hostile": 1, "rounds": 2, "local-steps": 2, "attacks": ["sign_flip", "gaussian"]}
OPTIONS = ["--clients", "6", "--hostile", "1", "--rounds", "2", "--local-steps", "2"]


def cells(**axes: Any) -> tuple[Cell, ...]:
    return Grid.parse(SMALL | axes).cells()


def worked(found: tuple[Cell, ...], store: Store, workers: int = 1) -> tuple[dict[str, Result], dict[str, str], int]:
    """Results, failures, and how many cells were run rather than found."""
    run: list[object] = []
    reached, failed = results(found, store, workers=workers, watch=lambda done: run.append(done) if done else None)
    return reached, failed, len(run)


def without_times(result: Result) -> Result:
    return {name: value for name, value in result.items() if "seconds" not in name}


def rows(path: Path) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT key, result, finished FROM cells ORDER BY key").fetchall()
    except sqlite3.OperationalError:  # not there yet
        return []
    finally:
        connection.close()


def test_what_has_run_is_found_and_only_what_is_new_is_run(tmp_path: Path):
    with Store(tmp_path / "cells.db") as store:
        first, failed, run = worked(cells(), store)
        assert not failed
        assert run == len(cells()) == 8
        assert first.keys() == {cell.key for cell in cells()}
        again, _, run = worked(cells(), store)
        assert (again, run) == (first, 0)
        more = cells(attacks=["sign_flip", "gaussian", "ipm"])
        _, _, run = worked(more, store)
        assert run == 2
    with Store(tmp_path / "cells.db") as store:
        assert store.found(more).keys() == {cell.key for cell in more}


@pytest.mark.slow
def test_a_cell_is_the_same_bits_in_this_process_and_in_workers(tmp_path: Path):
    found = cells(attacks=["gaussian"])
    with Store(tmp_path / "cells.db") as store:
        reached, failed, run = worked(found, store, workers=2)
    assert not failed
    assert run == len(found)
    for cell in found:
        assert without_times(reached[cell.key]) == without_times(result(cell))


def test_one_cells_failure_is_told_and_is_not_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def failing(cell: Cell) -> Result:
        if cell.config["attack"] == "sign_flip" and cell.run == "defended":
            raise MemoryError("too large")
        return result(cell)

    monkeypatch.setattr("hawthorn.scripts.evaluation.run.result", failing)
    with Store(tmp_path / "cells.db") as store:
        reached, failed, _ = worked(cells(), store)
        assert list(failed.values()) == ["MemoryError: too large"]
        assert len(reached) == 7
        monkeypatch.undo()
        _, failed, run = worked(cells(), store)  # a failure is not kept
        assert (failed, run) == ({}, 1)


def test_a_store_that_cannot_be_is_refused(tmp_path: Path):
    with pytest.raises(HawthornError, match="--store"):
        Store(tmp_path / "absent" / "cells.db")
    (tmp_path / "text.db").write_text("this is no database, but a text that is long enough to be looked at" * 20)
    with pytest.raises(HawthornError, match=r"text\.db"):
        Store(tmp_path / "text.db")


def test_the_first_result_of_a_cell_stays(tmp_path: Path):
    cell = cells()[0]
    with Store(tmp_path / "cells.db") as store, Store(tmp_path / "cells.db") as other:
        store.add(cell, {"final": 1.0}, 0.1)
        other.add(cell, {"final": 2.0}, 0.1)
        assert store.found([cell]) == other.found([cell]) == {cell.key: {"final": 1.0}}


def evaluation(store: Path, *more: str, workers: int = 2) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hawthorn.scripts.main", "evaluate", *OPTIONS, "--store", str(store)]
    command += ["--workers", str(workers), "--seeds", "2", "--json", "-", *more]
    command += ["--attacks", "sign_flip; gaussian"]
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, cwd=store.parent
    )


def kill(process: subprocess.Popen[str]) -> None:
    """All of it at once, as a machine that loses power would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("committed", [0, 3, 9])
def test_killed_at_any_moment_it_loses_the_cells_in_flight_and_repeats_none(tmp_path: Path, committed: int):
    path = tmp_path / "cells.db"
    running = evaluation(path)
    while len(rows(path)) < committed and running.poll() is None:
        time.sleep(0.005)
    kill(running)
    before = rows(path)
    assert len(before) >= committed
    ended = evaluation(path)
    out, err = ended.communicate()
    assert ended.returncode == 0, err
    after = rows(path)
    assert set(before) <= set(after)  # what was committed is there to the letter, with the time it was finished at
    document = json.loads(out)
    assert len(after) == len(document["cells"]) == 16
    assert f"{16 - len(before)} run" in err
    assert f"{len(before)} kept" in err


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find a worker")
def test_a_worker_that_dies_is_replaced_and_its_cells_are_run_again(tmp_path: Path):
    path = tmp_path / "cells.db"
    running = evaluation(path)
    while not rows(path):
        assert running.poll() is None
        time.sleep(0.005)
    for child in children(running.pid):
        os.kill(child, signal.SIGKILL)
    out, err = running.communicate()
    assert running.returncode == 0, err
    assert len(json.loads(out)["cells"]) == len(rows(path)) == 16


@pytest.mark.slow
@pytest.mark.parametrize(("address", "variable"), [("{}", ""), ("ray://{}", ""), ("auto", "{}"), ("nowhere", "")])
def test_a_ray_cluster_that_is_not_there_is_told(
    tmp_path: Path, address: str, variable: str, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as taken:  # then closed: nobody listens there
        there = "{}:{}".format(*taken.getsockname())
    monkeypatch.setenv("RAY_ADDRESS", variable.format(there))
    ended = evaluation(tmp_path / "ray.db", "--ray", address.format(there))
    _, err = ended.communicate()
    assert ended.returncode == 2
    assert "write --ray local" in err


@pytest.mark.slow
def test_a_ray_cluster_of_its_own_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # another cluster, which "local" does not ask for
    ended = evaluation(tmp_path / "ray.db", "--ray", "local")
    out, err = ended.communicate()
    assert ended.returncode == 0, err
    alone = evaluation(tmp_path / "alone.db", workers=1)
    expected, _ = alone.communicate()
    found, here = json.loads(out)["cells"], json.loads(expected)["cells"]
    assert found.keys() == here.keys()
    for key, cell in found.items():
        assert without_times(cell["result"]) == without_times(here[key]["result"])
