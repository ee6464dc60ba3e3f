"""Crowds that come and go, some of them under new names in every round: memory, checkpoints and audit stay bounded."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hawthorn.strategies.forgetting import AWAY, EACH, ENOUGH, patience, without_absent

MOST = 25_000_000  # bytes of what is remembered of 1,000 clients: four numbers for each pair of them, as text
PROGRAM = Path(__file__).with_name("crowd.py")


def told(kind, rounds, folder):
    """What a federation tells of its rounds, by number; it runs in a process of its own, so that memory is its own."""
    command = [sys.executable, str(PROGRAM), kind, str(rounds), str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = {one["round"]: one for one in map(json.loads, ended.stdout.splitlines())}
    print(found[rounds])
    return found


@pytest.mark.parametrize(
    "rounds", [20, pytest.param(200, marks=pytest.mark.slow)], ids=["twenty rounds", "two hundred rounds"]
)
def test_a_thousand_clients_that_join_and_leave(rounds, tmp_path):
    found = told("churn", rounds, tmp_path)
    assert [found[number]["skipped"] for number in found] == [None] * rounds
    assert found[rounds]["distance"] < 0.2 * found[1]["distance"]
    assert found[rounds]["clients"] <= 1000
    if rounds >= 200:
        assert found[200]["resident"] < 1.2 * found[50]["resident"]
        assert found[200]["memory"] < MOST, "not all pairs of clients have met; more than this they never take"


@pytest.mark.parametrize(
    "rounds", [15, pytest.param(200, marks=pytest.mark.slow)], ids=["fifteen rounds", "two hundred rounds"]
)
def test_a_crowd_with_new_names_in_every_round(rounds, tmp_path):
    found = told("sybil", rounds, tmp_path)
    assert all(one["skipped"] is None for one in found.values())
    rejected = [len([node for node in one["rejected"] if node >= 10_000]) for one in found.values()]
    assert sum(rejected) > 0.9 * 8 * rounds, "a new name has no history, but neither has it credit"
    assert found[rounds]["distance"] < 0.7 * found[1]["distance"], "the model goes where honest clients lead"
    if rounds >= 200:
        assert found[200]["clients"] <= ENOUGH + 100
        assert found[200]["memory"] < 1.2 * found[150]["memory"]
        assert found[200]["resident"] < 1.2 * found[150]["resident"]
        early, late = (found[number]["database"] - found[number - 60]["database"] for number in (140, 200))
        assert late < 1.5 * early, "rounds of the audit do not get longer and longer"


def state_of(now, **rounds):
    """A state of many clients that were all seen once, in these rounds; the others just now."""
    others = {f"other-{number}": {"seen": 5, "round": now} for number in range(ENOUGH)}
    named = {name: {"seen": 1, "round": number} for name, number in rounds.items()}
    return {"rounds": now, "clients": {**others, **named}, "momentum": dict.fromkeys([*others, *named], 0)}


def test_who_is_in_quarantine_is_not_forgotten_and_who_did_harm_later():
    now = 1000
    gone = now - patience(1, None) - 1
    state = state_of(now, idle=gone, harmful=gone, held=1, recent=now - AWAY - EACH)
    records = {"harmful": {"name": "", "evidence": 3.0}, "held": {"name": "quarantine", "evidence": 9.0}}
    after = without_absent({**state, "reputation": records})
    assert {"harmful", "held", "recent"} <= set(after["clients"])
    assert "idle" not in after["clients"]
    assert set(after["momentum"]) == set(after["clients"])
    assert after["reputation"] == records
    later = without_absent({**after, "rounds": now + 100, "reputation": records})
    assert "harmful" not in later["clients"]
    assert "held" in later["clients"]


def test_as_long_as_few_are_remembered_nobody_is_forgotten():
    clients = {f"client-{number}": {"seen": 1, "round": 1} for number in range(ENOUGH)}
    state = {"rounds": 10_000, "clients": clients}
    assert without_absent(state) is state
