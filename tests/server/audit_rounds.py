"""Rounds to put into an audit; run as a program, it writes them without end and says which are committed."""

import math
import sys

import numpy as np
from hawthorn.server.audit import Audit
from hawthorn.strategies import Defense, RoundRecord, Verdict

SETTINGS = {"task": "digits", "rounds": 2, "learning-rate": 0.1, "defense": "trimmed_mean"}


def record_of(number: int, *, clients: int = 6) -> RoundRecord:
    """A round as a defense really judges it, one hostile client among the rest, and one refused reply."""
    rows = np.random.default_rng(number).normal(size=(clients, 5)).astype(np.float32)
    rows[0] *= -50
    outcome = Defense(f=1)(rows)
    # node ids of Flower are unsigned 64-bit numbers
    verdicts = dict(zip([2**64 - 1, *range(1, clients)], outcome.verdicts, strict=True))
    return RoundRecord(number, verdicts, {99: "array 'w': expected float32, got '<U3'"}, None, outcome.geometry, 0.25)


def strange_record(number: int) -> RoundRecord:
    """A skipped round: no geometry, numbers JSON has no name for, words to drive a terminal, one client twice."""
    scores = {"distance": math.inf, "direction": -math.inf, "leverage": 1e-300}
    verdict = Verdict(False, 0.0, math.nan, scores, "\x1b[2Jfar [bold]away[/bold]", "on probation since round 1")
    refused = {7: "a second reply; the first one counts"}
    return RoundRecord(number, {7: verdict}, refused, "every client was rejected", None, 1.0)


if __name__ == "__main__":
    with Audit.open(sys.argv[1]) as audit, audit.run(SETTINGS, name="endless") as run:
        number = 0
        while True:
            number += 1
            run(record_of(number, clients=40))
            print(number, flush=True)
