"""`hawthorn control` and `hawthorn clients`: two programs that talk to each other."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hawthorn.server.audit import Audit
from hawthorn.server.certificates import Authority
from hawthorn.strategies import Defense, RoundRecord
from hawthorn.strategies.flower.record import Client

SETTINGS = {"task": "digits", "rounds": 3, "defense": "trimmed_mean"}
NAMES = ["ward-7", "north", "south", "east", "west", "middle"]


def record_of(number):
    """A round in which the first client is far from the others."""
    rows = np.random.default_rng(number).normal(size=(6, 5)).astype(np.float32)
    rows[0] *= -50
    outcome = Defense(f=1)(rows)
    clients = {node: Client(f"key-{node:032x}", name) for node, name in enumerate(NAMES, 1)}
    return RoundRecord(
        number, dict(zip(clients, outcome.verdicts, strict=True)), {}, None, outcome.geometry, 0.25, clients=clients
    )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    authority = Authority.made(tmp_path_factory.mktemp("pki") / "certificates")
    authority.server("server", ["127.0.0.1"])
    authority.client("operator", "operator")
    authority.client("vera", "viewer")
    authority.client("flare", "aggregation")
    return authority.folder


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return tmp_path_factory.mktemp("audit") / "audit.db"


@pytest.fixture(scope="module")
def running(database):
    """An audit with a run that is being held."""
    with Audit.open(database) as audit, audit.run(SETTINGS, name="wards") as run:
        for number in (1, 2):
            run(record_of(number))
            run.evaluated(number, {"accuracy": 0.5 + number / 10})
        yield audit, run


@pytest.fixture(scope="module")
def server(running, certificates, database):
    """The address of `hawthorn control` in a process of its own, which ends as it should."""
    command = [sys.executable, "-m", "hawthorn.scripts.main", "control", "--audit", str(database)]
    command += ["--certificates", str(certificates), "--listen", "127.0.0.1:0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        told = json.loads(process.stdout.readline())
        assert told["services"] == ["Aggregation", "Operator"]
        yield told["listen"]
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def asked(hawthorn, server, certificates):
    def run(*arguments, status=0, who="operator"):
        ended = hawthorn("clients", *arguments, "--server", server, "--certificates", str(certificates), "--as", who)
        assert ended.status == status, ended.err
        return ended

    return run


def test_clients_are_listed_and_shown(asked, running):
    audit, _ = running
    listed = asked("list", "--json").document
    assert {one["name"] for one in listed} == set(NAMES)
    assert {one["name"]: one["rejected"] for one in listed if one["rejected"]} == {"ward-7": 2}
    assert "Run 1: 6 clients" in asked("list", who="vera").out
    shown = asked("show", "ward-7", "--json").document
    expected = audit.contributions(1, client=shown["identity"])
    assert [one["reason"] for one in shown["verdicts"]] == [one.verdict.reason for one in expected]
    assert [one["scores"] for one in shown["verdicts"]] == [one.verdict.scores for one in expected]
    out = asked("show", shown["identity"]).out
    assert "rejected" in out
    assert f"round 2: {expected[1].verdict.reason}" in out


def test_how_a_run_stands_is_told(asked):
    assert asked("status", "--json").document["last_round"]["metrics"] == {"accuracy": {"values": [0.7]}}
    out = asked("status").out
    assert "run 1 wards is running" in out
    assert "round 2: 5 accepted, 1 rejected, 0 refused, accuracy 0.7" in out


def test_orders_are_placed_and_listed(asked, running):
    audit, _ = running
    before = len(audit.orders(1))
    assert f"order {before + 1} to run 1" in asked("quarantine", "ward-7", "--rounds", "3").out
    assert asked("release", "ward-7", "--json").document == {"run": 1, "order": before + 2}
    for word in ("pause", "resume", "stop"):
        asked(word)
    told = [(one.kind, one.client, one.rounds, one.by) for one in audit.orders(1)[before:]]
    ward = f"key-{1:032x}"
    assert told[:2] == [("quarantine", ward, 3, "operator"), ("release", ward, None, "operator")]
    assert [kind for kind, *_ in told[2:]] == ["pause", "resume", "stop"]
    assert [one["open"] for one in asked("orders", "--json").document] == [True] * (before + 5)
    assert "quarantine" in asked("orders").out


def test_what_is_refused_is_told_in_a_line(asked, hawthorn, certificates, tmp_path):
    assert (
        "refused (PERMISSION_DENIED): the role 'viewer' may not call Pause" in asked("pause", status=2, who="vera").err
    )
    assert "PERMISSION_DENIED" in asked("list", status=2, who="flare").err
    assert "NOT_FOUND" in asked("show", "nobody", status=2).err
    assert "NOT_FOUND" in asked("status", "--run", "9", status=2).err
    assert "no checkpoint after round 1" in asked("roll-back", "1", status=2).err
    assert "cannot read" in asked("list", status=2, who="nobody").err
    ended = hawthorn("clients", "list", "--server", "127.0.0.1:1", "--certificates", str(certificates))
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("hawthorn: cannot reach 127.0.0.1:1")
    assert len(ended.err.splitlines()) == 1
    ended = hawthorn("control", "--certificates", str(tmp_path / "nowhere"), "--listen", "127.0.0.1:0")
    assert ended.status == 2
    assert "cannot read" in ended.err


def test_a_watch_tells_what_comes_until_the_run_ends(server, certificates, running):
    _, run = running
    command = [sys.executable, "-m", "hawthorn.scripts.main", "clients", "watch", "--server", server]
    command += ["--certificates", str(certificates), "--as", "vera", "--after", "-1"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as told,
        subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True) as documents,
    ):
        try:
            assert told.stdout.readline() == "start, after round 0\n"
            run(record_of(3))
            run.__exit__(None, None, None)
            lines, news = told.stdout.read(), [json.loads(line) for line in documents.stdout]
            assert (told.wait(), documents.wait()) == (0, 0)
        finally:
            told.kill()
            documents.kill()
    assert "round 3: 5 accepted, 1 rejected, 0 refused" in lines
    assert "  ward-7 rejected: " in lines
    assert lines.splitlines()[-1] == "end, after round 3"
    kinds = [one["kind"] for one in news if one["kind"] != "orders"]  # which end with the run, where some are open
    assert kinds == ["start", "round", "metrics", "round", "metrics", "round", "end"]
    assert news[1]["held"]["rejected"] == 1
    assert time.strptime(news[1]["at"][:19], "%Y-%m-%dT%H:%M:%S")
