"""A disk that is full: the round that cannot be kept is not held, and the run goes on when there is room again."""

import os

import numpy as np
import pytest
from flower_rounds import honest
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import FedAvg
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.server.audit import Audit
from hawthorn.strategies import AuditError, Defense, RobustStrategy, SettingError
from ledger_rounds import ROUNDS, run, started, worth


def fill(folder):
    """Take all the room that there is on a small disk."""
    with open(folder / "filler", "wb", buffering=0) as file:
        for size in (1 << 16, 4096, 512, 1):
            try:
                while True:
                    file.write(os.urandom(size))
            except OSError:
                continue


@pytest.mark.parametrize("full", ["database", "checkpoints"])
def test_a_full_disk_ends_the_run_and_it_goes_on_when_there_is_room(small_disk, tmp_path, full):
    with Audit.open(tmp_path / "whole.db") as audit, run(audit, tmp_path / "whole") as ledger:
        whole = started(ledger)
    database = (small_disk if full == "database" else tmp_path) / "audit.db"
    checkpoints = (small_disk if full == "checkpoints" else tmp_path) / "checkpoints"

    def filling(round, arrays):
        if round == 4 and not (small_disk / "filler").exists():
            fill(small_disk)
        return worth(round, arrays)

    with (
        Audit.open(database) as audit,
        pytest.raises(AuditError, match=r"full|No space left"),
        run(audit, checkpoints) as ledger,
    ):
        started(ledger, evaluate=filling)
    with Audit.open(database) as audit:
        assert [one.number for one in audit.rounds(1)] == [1, 2, 3], "the round that could not be kept is not there"
        assert audit.verify(1) == ()

    (small_disk / "filler").unlink()
    with Audit.open(database) as audit:
        with run(audit, checkpoints) as ledger:
            result = started(ledger)
        assert [one.number for one in audit.rounds(1)] == list(range(1, ROUNDS + 1))
        assert audit.verify(1) == ()
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(result.arrays[name].numpy(), array.numpy(), err_msg=name)


def test_a_spool_without_room_is_told_before_anybody_is_asked(small_disk):
    asked = []

    def app(message, context):
        asked.append(context.node_id)
        return honest(message, context)

    model = ArrayRecord({"w": Array(np.zeros(1_000_000, np.float32))})  # 40 MB of updates for a disk of 4
    strategy = RobustStrategy(FedAvg(), Defense("median", f=0.2), memory=1, spool=str(small_disk))
    with pytest.raises(SettingError, match="no room for the updates of 10 clients"):
        strategy.start(InProcessGrid(app, 10), model, num_rounds=1)
    assert asked == []
