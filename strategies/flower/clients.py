"""Who the nodes are, by what outlives a restart, and which of them a strategy may sample from."""

from __future__ import annotations

import hashlib
import time
from typing import Any, cast

from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from .grid import StreamingGrid
from .record import Client

PAUSE = 0.2  # seconds between two looks at who is connected


def identity(public_key: bytes) -> str:
    """The identity of who holds the private key: the first 32 hexadecimal digits of the public key's SHA-256.

    >>> identity(b"a key")
    'key-8fa3aab2faa9b79e0a0398da5b5abd07'
    """
    return f"key-{hashlib.sha256(public_key).hexdigest()[:32]}"


def connected_clients(grid: Grid) -> dict[int, Client]:
    """Who the connected nodes are as far as the grid knows: nothing of a grid that tells no more than ids.

    A grid of nodes that are not connected, such as an archive, may say itself which `client` a node is.
    """
    try:
        nodes = list(cast("Any", grid).get_nodes())
    except (NotImplementedError, AttributeError):
        return {}
    return {int(node.node_id): getattr(node, "client", None) or _registered(node) for node in nodes}


def _registered(node: Any) -> Client:
    who = identity(node.public_key) if node.public_key else str(node.node_id)
    return Client(who, node.name, bytes(node.public_key))


def least_nodes(strategy: Strategy, kind: str) -> int:
    """How many nodes a strategy, or the one it wraps, waits for without end before it samples for `kind`."""
    found: Any = strategy
    while not hasattr(found, "min_available_nodes") and hasattr(found, "strategy"):
        found = found.strategy
    return max(getattr(found, "min_available_nodes", 0), getattr(found, f"min_{kind}_nodes", 0))


def connected(grid: Grid, least: int, seconds: float) -> list[int]:
    """The ids of the nodes that are connected, as soon as they are `least` or when so many seconds have passed."""
    end = time.monotonic() + seconds
    while len(nodes := list(grid.get_node_ids())) < least and time.monotonic() < end:
        time.sleep(min(PAUSE, max(end - time.monotonic(), 0)))
    return nodes


class Roster(StreamingGrid):
    """A grid with a list of its nodes that does not change, so that who samples from it neither waits nor loops."""

    def __init__(self, grid: Grid, nodes: list[int]) -> None:
        super().__init__(grid)
        self.nodes = nodes

    def get_node_ids(self) -> list[int]:
        """The ids in the list."""
        return list(self.nodes)
