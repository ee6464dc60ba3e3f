"""`flwr run .` in the root of the repository, on Flower's own simulation."""

import pytest
from hawthorn.server.audit import Audit

pytestmark = pytest.mark.slow


def test_flwr_run_completes_and_is_audited(flower):
    flower.start_superlink("--simulation")
    audit = flower.home / "audit.db"
    run_config = f"clients=5 tolerated=1 hostile=1 attack='sign_flip' partition='iid' rounds=2 audit='{audit}'"
    # a setting that is wrong ends a run before it begins, and its status says what to write
    wrong = flower.flwr("run", ".", "--run-config", "rounds=0")
    right = flower.flwr(
        "run", ".", "--run-config", run_config, "--federation-config", "num-supernodes=5 client-resources-num-cpus=1"
    )

    status = flower.finished(wrong["run-id"])
    assert status["status"] == "finished:failed"
    assert "rounds must be a whole number of at least 1, got 0" in status["status-details"]

    assert flower.finished(right["run-id"])["status"] == "finished:completed"
    with Audit.open(audit, create=False) as opened:
        (run,) = opened.runs()
        assert (run.status, run.name) == ("finished", f"flwr run {right['run-id']}")
        assert run.settings["attack"] == "sign_flip"
        rounds = opened.rounds(run.id)
        assert [(round.number, round.size, round.skipped) for round in rounds] == [(1, 5, None), (2, 5, None)]
        rejected = [[one.client for one in opened.contributions(run.id, n) if not one.verdict.accepted] for n in (1, 2)]
        assert rejected[0] == rejected[1]
        assert len(rejected[0]) == 1
        assert rounds[1].metrics["loss"] < opened.metrics(run.id)[0]["loss"]
