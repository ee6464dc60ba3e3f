"""Attacks that say in which rounds hostile clients attack at all; in the others they are honest in everything."""

from __future__ import annotations

from hawthorn.strategies.contract import attack, whole_number


@attack
def sleeper(round: int, *, wakes: int = 10) -> bool:
    """Whether the attackers are awake: from round `wakes` on, after a past that speaks for them.

    Bagdasaryan et al., AISTATS 2020, https://arxiv.org/abs/1807.00459 (attacks on a model that is near convergence)

    >>> [sleeper(round, wakes=3) for round in (1, 2, 3, 4)]
    [False, False, True, True]
    """
    return round >= whole_number("sleeper", "wakes", wakes)


@attack
def schedule(round: int, *, start: int = 1, until: int | None = None, every: int = 1) -> bool:
    """Whether it is a round of attack: every `every`-th one from round `start` to round `until`, both included.

    Xie, Huang, Chen, Li, ICLR 2020, https://openreview.net/forum?id=rkgyS0VFvr (attacks of one and of many shots)

    >>> [round for round in range(1, 12) if schedule(round, start=2, until=9, every=3)]
    [2, 5, 8]
    """
    start, every = whole_number("schedule", "start", start), whole_number("schedule", "every", every)
    last = round if until is None else whole_number("schedule", "until", until)
    return start <= round <= last and (round - start) % every == 0
