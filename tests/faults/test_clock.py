"""A wall clock that jumps back and forth during a run: rounds, their order and the chain stay right."""

import itertools
import time
from datetime import UTC, datetime, timedelta

import hawthorn.server.audit.values as values
import numpy as np
from hawthorn.server.audit import Audit
from ledger_rounds import ROUNDS, run, started, worth

STEPS = [timedelta(hours=-30), timedelta(days=400), timedelta(days=-900), timedelta(seconds=-1)]


def test_steps_of_the_clock_change_neither_rounds_nor_their_order(tmp_path, monkeypatch):
    with Audit.open(tmp_path / "whole.db") as audit, run(audit, tmp_path / "whole") as ledger:
        whole = started(ledger)
    steps = itertools.cycle(STEPS)
    shift = [timedelta(0)]
    true_time = time.time

    class Stepping(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(true_time(), tz) + shift[0]

    monkeypatch.setattr(values, "datetime", Stepping)
    monkeypatch.setattr(time, "time", lambda: true_time() + shift[0].total_seconds())

    def stepping(round, arrays):
        shift[0] += next(steps)
        return worth(round, arrays)

    with Audit.open(tmp_path / "audit.db") as audit:
        with run(audit, tmp_path / "checkpoints") as ledger:
            result = started(ledger, evaluate=stepping)
        rounds = audit.rounds(1)
        assert [one.number for one in rounds] == list(range(1, ROUNDS + 1))
        times = [datetime.fromisoformat(one.at) for one in rounds]
        assert times != sorted(times), "the clock did step"
        assert all(0 <= one.seconds < 600 for one in rounds), "durations are by a clock that does not step"
        assert audit.verify(1) == ()
        assert audit.commit_after(1, ROUNDS).round == ROUNDS
        assert max(times) - datetime.now(UTC) > timedelta(days=100)
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(result.arrays[name].numpy(), array.numpy(), err_msg=name)
