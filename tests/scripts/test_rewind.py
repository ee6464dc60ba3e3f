"""`hawthorn rewind`: what it prints and writes, what it orders, and what it says when something is missing."""

import contextlib
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest
from hawthorn.server.audit import Audit

sys.path.append(str(Path(__file__).parents[1] / "server"))

from rewound_runs import attacker, held_run, settings

ROUNDS = 4
OF = settings(rounds=ROUNDS)
WHO = attacker(OF)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("poisoned")
    held_run(folder / "audit.db", OF)
    return folder


@pytest.fixture
def run(hawthorn, poisoned, tmp_path):
    """The program, beside an audit of its own; its run's files are shared, and only read."""
    shutil.copy(poisoned / "audit.db", tmp_path / "audit.db")
    return hawthorn


def test_it_rebuilds_and_tells(run):
    ended = run("rewind", "--without", WHO, "--audit", "audit.db", "--json", "rewind.json", "--method", "replay")
    assert ended.status == 0, ended.err
    for part in ("Run 1 rebuilt as run 2", f"{ROUNDS} rounds held again", "accuracy", "attack-success", "(--adopt)"):
        assert part in ended.out
    found = run("rewind", "--without", WHO, "--audit", "audit.db", "--json", "-").document
    assert found["run"] == {"id": 1, "name": "poisoned", "round": ROUNDS}
    assert found["rebuilt"]["name"] == f"poisoned without {WHO}"
    assert found["without"] == [WHO]
    assert found["rounds"] == {"first": 1, "held_again": ROUNDS, "skipped": {}}
    assert found["method"] == "fit"
    assert found["metrics"]["rebuilt"]["attack-success"] < 0.1
    assert found["orders"] == []
    assert 0 < found["model"]["cosine"] < 1
    assert found["seconds"]["rewind"] > 0
    with Audit.open("audit.db", create=False) as audit:
        assert [(one.id, one.status) for one in audit.runs()] == [(1, "finished"), (2, "finished"), (3, "finished")]


def test_recovery_rounds_follow_without_the_client(run):
    found = run("rewind", "--without", WHO, "--audit", "audit.db", "--recovery", "2", "--json", "-").document
    assert found["recovery"] == 2
    assert len(found["recovery_metrics"]) == 2
    assert found["metrics"]["recovered"]["attack-success"] < 0.1
    with Audit.open("audit.db", create=False) as audit:
        number = found["rebuilt"]["id"]
        last = found["rebuilt"]["round"] + 2
        assert audit.rounds(number)[-1].number == last
        asked = {one.client for one in audit.contributions(number, last)}
        assert asked == {str(node) for node in range(101, 107)} - {WHO}
        assert audit.verify(number) == ()


def test_a_run_is_told_to_adopt_it(hawthorn, tmp_path):
    held_run(tmp_path / "audit.db", OF)
    run = hawthorn
    found = run("rewind", "--without", WHO, "--audit", "audit.db", "--adopt", "--by", "me", "--json", "-").document
    with Audit.open("audit.db", create=False) as audit:
        orders = audit.orders(1)
        assert [one.id for one in orders] == found["orders"]
        assert [(one.kind, one.client, one.other, one.round, one.by) for one in orders] == [
            ("quarantine", WHO, None, None, "me"),
            ("roll_back", "", 2, found["rebuilt"]["round"], "me"),
        ]
    held_run(tmp_path / "audit.db", settings(rounds=ROUNDS + 1))
    with Audit.open("audit.db", create=False) as audit:
        assert [one.result for one in audit.orders(1)] == ["", ""]
        assert audit.metrics(1)[ROUNDS + 1]["attack-success"] < 0.1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--without", "9999"), "has seen no client '9999'"),
        (("--without", WHO, "--run", "7"), "no run 7; the audit has runs 1"),
        (("--without", WHO, "--from", "9"), "--from must be a round up to 4"),
        (("--without", WHO, "--method", "retrain"), "no method named 'retrain'"),
        (("--without", WHO, "--json", "no/such/folder.json"), "--json must be a file"),
        (("--without", WHO, "--tolerated", "many"), "--tolerated must be a count, or a share"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_written(run, arguments, told):
    ended = run("rewind", "--audit", "audit.db", *arguments)
    assert ended.status == 2
    assert told in ended.err
    with Audit.open("audit.db", create=False) as audit:
        assert len(audit.runs()) == 1


def test_a_holdout_that_is_gone_is_told_before_anything_is_written(run):
    with contextlib.closing(sqlite3.connect("audit.db")) as database, database:
        database.execute("UPDATE runs SET settings = json_set(settings, '$.holdout', 'gone_by_now:make')")
    ended = run("rewind", "--audit", "audit.db", "--without", WHO)
    assert (ended.status, "gone_by_now" in ended.err) == (2, True)
    with Audit.open("audit.db", create=False) as audit:
        assert len(audit.runs()) == 1
    assert run("rewind", "--audit", "audit.db", "--without", WHO, "--no-evaluate").status == 0


def test_an_audit_that_is_not_there(hawthorn):
    ended = hawthorn("rewind", "--without", "1", "--audit", "nothing.db")
    assert (ended.status, "no audit database at nothing.db" in ended.err) == (2, True)
