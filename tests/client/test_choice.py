"""The choice of a method: the first answer stands, for every process on this machine."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hawthorn.client import choice
from hawthorn.client.choice import Choice, fastest, kept, recalled
from hawthorn.client.fleet import Fleet, Job
from hawthorn.client.tasks import Task
from hawthorn.client.training import Training


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "hawthorn" / "training"


def jobs_of(task: Task, count: int = 6) -> list[Job]:
    return [Job(task.train[10 * i : 10 * i + 10], Training(epochs=1, batch_size=8), seed=i) for i in range(count)]


def burn(method: str, jobs) -> None:
    """Processor time: `stacked` takes least."""
    for _ in range({"stacked": 1, "one_by_one": 30}.get(method, 60)):
        np.ones(200_000).sum()


def test_what_takes_least_processor_time_is_chosen_and_remembered(digits: Task, cache: Path) -> None:
    ran = []

    def run(method, jobs):
        ran.append(method)
        burn(method, jobs)

    found = Choice(digits, digits.model(1))(jobs_of(digits), ["one_by_one", "stacked"], run)
    assert found == "stacked"
    assert set(ran) == {"one_by_one", "stacked"}
    assert len(list(cache.glob("*.json"))) == 1
    ran.clear()
    assert Choice(digits, digits.model(1))(jobs_of(digits), ["one_by_one", "stacked"], run) == "stacked"
    assert ran == []


def test_another_number_of_clients_is_measured_anew(digits: Task, cache: Path) -> None:
    chosen = Choice(digits, digits.model(1))
    for count in (4, 5, 6, 12):  # 4 to 7 count as alike
        chosen(jobs_of(digits, count), ["one_by_one", "stacked"], burn)
    assert len(list(cache.glob("*.json"))) == 2


def test_the_first_choice_stands(cache: Path) -> None:
    def slow() -> str:
        assert kept("key", lambda: "stacked") == "stacked"  # another process was faster
        return "one_by_one"

    assert kept("key", slow) == "stacked"
    assert recalled("key") == "stacked"
    assert [file.name for file in cache.iterdir()] == ["key.json"]


def test_where_nothing_can_be_kept_clients_go_one_by_one(digits: Task, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no folder can be made in a file

    def run(method, jobs):
        raise AssertionError("nothing need be measured")

    assert Choice(digits, digits.model(1))(jobs_of(digits), ["one_by_one", "stacked"], run) == "one_by_one"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"way": "stacked"}', '{"method": "by magic"}'])
def test_a_broken_file_means_one_by_one(digits: Task, cache: Path, text: str) -> None:
    chosen = Choice(digits, digits.model(1))
    chosen(jobs_of(digits), ["one_by_one", "stacked"], burn)
    (file,) = cache.iterdir()
    file.write_text(text)
    assert Choice(digits, digits.model(1))(jobs_of(digits), ["one_by_one", "stacked"], burn) == "one_by_one"


def test_trials_are_short(digits: Task) -> None:
    seen: list[tuple[str, int, int]] = []

    def run(method, jobs):
        seen.append((method, len(jobs), max(job.steps for job in jobs)))

    long = [Job(digits.train[:100], Training(epochs=100, batch_size=4), seed=i) for i in range(1000)]
    fastest(long, ["one_by_one", "stacked"], run, 10_000)
    assert {count for method, count, _ in seen if method == "one_by_one"} == {choice.FEW}
    assert all(count <= 64 for _, count, _ in seen)
    assert {steps for _, _, steps in seen} == {choice.STEPS}
    assert len(seen) == 2 * (choice.RUNS + 1)


@pytest.mark.slow
def test_a_fleet_chooses_once_and_gives_the_same_bits_in_another_process(digits: Task, cache: Path) -> None:
    fleet = Fleet(digits, seed=1)
    first, _ = fleet.trained(fleet.initial, jobs_of(digits))
    program = """
import sys
import numpy as np
from hawthorn.client.fleet import Fleet, Job
from hawthorn.client.tasks import find_task
from hawthorn.client.training import Training
task = find_task("digits")
jobs = [Job(task.train[10 * i : 10 * i + 10], Training(epochs=1, batch_size=8), seed=i) for i in range(6)]
fleet = Fleet(task, seed=1, threads=1)
np.save(sys.argv[1], fleet.trained(fleet.initial, jobs)[0])
"""
    other = cache.parent / "rows.npy"
    subprocess.run([sys.executable, "-P", "-c", program, str(other)], check=True)
    np.testing.assert_array_equal(np.load(other), first)
    assert len(list(cache.glob("*.json"))) == 1
