"""Who the hostile clients of a federation are."""

from __future__ import annotations

import numpy as np
from hawthorn.strategies.contract import attackers


def hostile_clients(clients: int, hostile: int | float, seed: int) -> frozenset[int]:
    """The partition ids of the hostile clients, drawn at random: a defense must not know them by their place.

    `hostile` is a count (int) or a share of the clients (float below 1), rounded up. Raises `SettingError`.

    >>> len(hostile_clients(10, 3, seed=1)), len(hostile_clients(10, 0.25, seed=1)), hostile_clients(10, 0, seed=1)
    (3, 3, frozenset())
    """
    # A stream of its own: the same seed also draws the partition.
    chosen = np.random.default_rng([seed, 2]).choice(clients, size=attackers(hostile, clients), replace=False)
    return frozenset(int(client) for client in chosen)
