"""Who is forgotten: what a defense remembers grows with those who take part, not with all who ever came.

Where anyone may come under a new name, a crowd that does so in every round would otherwise fill state, checkpoints and
audit without end. As long as few are remembered, all are. Beyond that, the more a client has been seen, the longer it
may stay away. Who did harm stays longer, and who is in quarantine or on probation stays: to be away for a while must
not wash anybody clean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .pairs import dropped
from .reputation import SUSPICION

ENOUGH = 1000  # clients that are remembered, however long they are away
AWAY = 50  # rounds that a client may be away,
EACH = 10  # and so many more for each round that it took part in,
LONGEST = 1000  # but no more than these,
HARMFUL = 2  # and so many times as long for those that something speaks against
TELLING = 0.01  # what is left of past quarantines and still counts, as a number of them

OWN = ("clients", "reputation", "sums", "last", "momentum")  # parts of the state that are kept by client


def patience(seen: int, standing: Mapping[str, Any] | None) -> int | None:
    """How many judged rounds a client may be away before it is forgotten; None where it never is.

    `seen` is how many rounds it took part in and `standing` its record in the reputation, if it has one.

    >>> patience(1, None), patience(20, None), patience(1, {"evidence": 2.0}), patience(1, {"name": "quarantine"})
    (60, 250, 120, None)
    """
    if standing is not None and standing.get("name"):
        return None
    against = standing or {}
    harmful = against.get("evidence", 0.0) >= SUSPICION or against.get("quarantines", 0.0) > TELLING
    return min(AWAY + EACH * seen, LONGEST) * (HARMFUL if harmful else 1)


def without_absent(state: dict[str, Any]) -> dict[str, Any]:
    """The state after a round without the clients that have been away for too long."""
    if len(state["clients"]) <= ENOUGH:
        return state
    now, standings = int(state["rounds"]), state.get("reputation", {})
    gone: set[str] = set()
    for name, record in state["clients"].items():
        most = patience(record["seen"], standings.get(name))
        if most is not None and now - record.get("round", now) > most:  # no round: written before there was one
            gone.add(name)
    if not gone:
        return state
    kept = {part: {name: one for name, one in state[part].items() if name not in gone} for part in OWN if part in state}
    after = {**state, **kept}
    if "memory" in state:
        after["memory"] = {part: dropped(memory, gone) for part, memory in state["memory"].items()}
    return after
