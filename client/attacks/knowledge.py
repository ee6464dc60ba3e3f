"""What hostile clients know in a round; each attack takes of it what its signature names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from hawthorn.strategies import Defense, SettingError

Updates = npt.NDArray[np.float64]
Answer = Callable[[Updates], "npt.NDArray[Any] | None"]
"""Updates `(n, d)`, the honest ones first -> the update `(d,)` that the server would make of them, None for none."""


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What hostile clients know in a round beyond what they change.

    `clients` take part in the federation, `hostile` of them attack; `members` are the places of those at hand among the
    hostile, from 0, and `others` the numbers of the honest clients whose updates are seen, in the order of the rows.
    `sent` `(d,)` is the model they were sent and `moved` `(d,)` how it moved in the round before, None in the first.
    `own` `(f, d)` are their own updates. `defense` answers what the server would make of a round; `answering` makes one
    of a `Defense`. `trusted` `(d,)` is the server's own update, where it makes one: at worst they know its examples.
    `state` is what the colluders remember of the rounds before.
    """

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    round: int = 0
    clients: int = 0
    hostile: int = 0
    members: tuple[int, ...] = ()
    others: tuple[int, ...] = ()
    sent: Updates | None = None
    moved: Updates | None = None
    own: Updates | None = None
    defense: Answer | None = None
    trusted: Updates | None = None
    state: Mapping[str, Any] | None = None


def answering(defense: Defense | Answer) -> Answer:
    """What a defense, or a function of updates, would make of a round, as a function.

    >>> answering(Defense("median", f=1, policy="none"))(np.array([[1.0], [2.0], [90.0]]))
    array([2.])
    """
    if isinstance(defense, Defense):
        return lambda updates: defense(updates).update
    if not callable(defense):
        raise SettingError(f"write Defense.parse({defense!r}, f=...) or a function of updates as defense")
    return defense
