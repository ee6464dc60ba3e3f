"""How examples are shared out among clients."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
from hawthorn.strategies.errors import SettingError

Indices = npt.NDArray[np.int64]

LEAST = 8  # examples that even the smallest client gets, where there are enough: fewer would train on noise alone


def partition(spec: str, labels: npt.NDArray[Any], clients: int, seed: int) -> list[Indices]:
    """Index arrays, one per client, in random order: disjoint, together all examples, none empty.

    `"iid"` deals the examples out evenly. `"dirichlet(0.5)"` skews the labels: every class is split by shares drawn
    from a Dirichlet distribution; the smaller alpha, the fewer classes a client sees. Clients left with fewer than
    eight examples are given some by the largest ones. Raises `SettingError` for anything else.

    Hsu, Qi, Brown, "Measuring the effects of non-identical data distribution", 2019, https://arxiv.org/abs/1909.06335

    >>> [len(part) for part in partition("iid", np.zeros(10), clients=3, seed=1)]
    [4, 3, 3]
    """
    if not 1 <= clients <= len(labels):
        raise SettingError(
            f"the number of clients must be from 1 to {len(labels)}, the examples there are; got {clients}"
        )
    # A stream of its own: the same seed also draws batches and hostile clients.
    rng = np.random.default_rng([seed, 1])
    if spec.strip() == "iid":
        return np.array_split(rng.permutation(len(labels)), clients)
    parts = _skewed(labels, clients, _alpha(spec), rng)
    return [rng.permutation(part) for part in _topped_up(parts, min(LEAST, len(labels) // clients))]


def _alpha(spec: str) -> float:
    """The alpha of `dirichlet(alpha)`."""
    found = re.fullmatch(r"\s*dirichlet\(\s*(?:alpha\s*=\s*)?([0-9.]+(?:e[+-]?[0-9]+)?)\s*\)\s*", spec)
    try:
        alpha = float(found[1]) if found else 0.0
    except ValueError:
        alpha = 0.0
    if not 0.0 < alpha < float("inf"):
        raise SettingError(f"partition must be 'iid' or 'dirichlet(0.5)' with a number above 0, got {spec!r}")
    return alpha


def _skewed(labels: npt.NDArray[Any], clients: int, alpha: float, rng: np.random.Generator) -> list[Indices]:
    """Index arrays in which each class is split among the clients by Dirichlet shares."""
    parts: list[list[Indices]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(clients, alpha))
        # A tiny alpha underflows to shares of 0/0: then one client has the class to itself.
        shares = shares if np.isfinite(shares).all() else np.eye(clients)[rng.integers(clients)]
        cuts = np.rint(np.cumsum(shares)[:-1] * len(members)).astype(np.int64)
        for part, piece in zip(parts, np.split(members, cuts), strict=True):
            part.append(piece)
    return [np.concatenate(part) for part in parts]


def _topped_up(parts: list[Indices], least: int) -> list[Indices]:
    """The parts, after the largest gave to those with fewer than `least`."""
    for small in range(len(parts)):
        while len(parts[small]) < least:
            large = max(range(len(parts)), key=lambda i: len(parts[i]))
            give = min(least - len(parts[small]), len(parts[large]) - least)
            parts[small] = np.concatenate([parts[small], parts[large][-give:]])
            parts[large] = parts[large][:-give]
    return parts
