"""A deployed federation on loopback: a SuperLink, two SuperNodes, and `flwr run .` against them."""

import pytest
from hawthorn.server.audit import Audit

pytestmark = pytest.mark.slow


def test_two_supernodes_complete_two_rounds(flower):
    flower.start_superlink()
    for number in range(2):
        flower.start(
            f"supernode-{number}",
            "flower-supernode",
            *("--insecure", "--superlink", flower.address, "--port", str(flower.free_port())),
            *("--node-config", f"partition-id={number} num-partitions=2"),
        )
    audit = flower.home / "audit.db"
    run_config = f"clients=2 tolerated=0 rounds=2 partition='iid' wait=600.0 audit='{audit}'"
    started = flower.flwr("run", ".", "--run-config", run_config)

    assert flower.finished(started["run-id"])["status"] == "finished:completed"
    with Audit.open(audit, create=False) as opened:
        (run,) = opened.runs()
        assert run.status == "finished"
        rounds = opened.rounds(run.id)
        assert [(round.number, round.size, round.skipped) for round in rounds] == [(1, 2, None), (2, 2, None)]
        first, second = (opened.contributions(run.id, round) for round in (1, 2))
        assert {one.client for one in first} == {one.client for one in second}
        assert len({one.client for one in first}) == 2
        assert rounds[1].metrics["loss"] < opened.metrics(run.id)[0]["loss"]
