"""The ServerApp killed with SIGKILL at random points: every resumed run ends as the one that nobody disturbed.

A process that has imported everything is forked for each run, so that a kill costs a second and not an import. How far
a run gets is measured in steps of the interpreter (lines executed in the code that holds rounds and commits them), so
that kills fall anywhere, between two writes of one commit as well as in the middle of a round; every fourth run is
killed by a clock instead, which falls into what is no Python, too.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ledger_rounds import ROUNDS

KILLS = 100
PROGRAM = Path(__file__).with_name("killed_rounds.py")


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory):
    """What the program says of an undisturbed run and of every killed and resumed one."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, str(PROGRAM), str(folder), str(KILLS)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_every_killed_run_ends_as_the_one_that_nobody_disturbed(driven):
    whole, *killed = driven
    assert len(killed) == KILLS
    assert whole["kills"] == 0
    assert sum(run["kills"] for run in killed) >= KILLS
    assert sum(run["kills"] > 0 for run in killed) >= 0.9 * KILLS  # on a clock a run may end before its kill
    assert [run["seed"] for run in killed if run["model"] != whole["model"]] == []
    assert [run["seed"] for run in killed if run["memory"] != whole["memory"]] == []


@pytest.mark.slow
def test_no_round_is_lost_or_held_twice(driven):
    whole, *killed = driven
    assert whole["rounds"] == list(range(1, ROUNDS + 1))
    for run in killed:
        assert run["rounds"] == whole["rounds"]
        assert run["verdicts"] == whole["verdicts"]
        assert run["faults"] == []
        assert run["files"] == whole["files"]


@pytest.mark.slow
def test_kills_fall_before_in_and_after_commits(driven):
    places = {place.partition(":")[0] for run in driven[1:] for place in run["places"]}
    assert len(places) >= 5, places
    over = {number for run in driven[1:] for number in run["over"]}
    assert len(over) >= ROUNDS // 2, over
