"""How examples are shared out among clients."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
from hawthorn.strategies.errors import SettingError

Indices = npt.NDArray[np.int64]

LEAST = 8  # examples that even the smallest client gets, where there are enough: fewer would train on noise alone


def partition(
    spec: str,
    labels: npt.NDArray[Any],
    clients: int,
    seed: int,
    groups: npt.NDArray[Any] | None = None,
    hostile: Collection[int] = (),
) -> list[Indices]:
    """Index arrays, one per client, in random order: disjoint, together all examples, none empty.

    - `"iid"` deals the examples out evenly.
    - `"dirichlet(0.5)"` skews the labels: every class is split by shares drawn from a Dirichlet distribution; the
      smaller alpha, the fewer classes a client sees. Clients left with fewer than eight examples are given some by the
      largest ones. Hsu, Qi, Brown, 2019, https://arxiv.org/abs/1909.06335
    - `"sorted"` sorts the examples by label and deals them out in equal consecutive parts: client 0 has the first
      classes.
    - `"sorted_honest"` does so among the honest clients, and has each of the `hostile` draw as many from all examples:
      what hostile clients hold is then not lost to the others. Karimireddy, He, Jaggi, ICLR 2022,
      https://arxiv.org/abs/2006.09365
    - `"natural"` makes every group a client, client k the k-th; several groups each where clients are fewer.

    `groups` `(N,)` says which examples belong together. No group is ever split over clients: above, groups then stand
    where examples did, each with the label that most of its examples have. Raises `SettingError` for any other spec,
    and for more clients than there are examples or groups.

    >>> [len(part) for part in partition("iid", np.zeros(10), clients=3, seed=1)]
    [4, 3, 3]
    >>> [sorted(part.tolist()) for part in partition("sorted", np.array([1, 0, 1, 0, 2, 2]), clients=3, seed=1)]
    [[1, 3], [0, 2], [4, 5]]
    >>> groups = np.array([7, 5, 7, 5, 9])
    >>> [sorted(part.tolist()) for part in partition("natural", np.zeros(5), clients=3, seed=1, groups=groups)]
    [[1, 3], [0, 2], [4]]
    """
    alpha = _alpha(spec)
    # A stream of its own: the same seed also draws batches and hostile clients.
    rng = np.random.default_rng([seed, 1])
    if spec.strip() == "sorted_honest":
        if groups is not None:
            raise SettingError("partition='sorted_honest' would split groups that stay together: write 'sorted'")
        return _among_honest(labels, clients, hostile, rng)
    if groups is None:
        if spec.strip() == "natural":
            raise SettingError(
                "partition='natural' needs a task with groups: write 'iid', 'dirichlet(0.5)' or 'sorted'"
            )
        _check(clients, len(labels), "examples")
        return _parts(spec.strip(), alpha, labels, np.ones(len(labels), dtype=np.int64), clients, rng)
    names, member_of = np.unique(groups, return_inverse=True)
    _check(clients, len(names), "groups of examples that stay together")
    majorities = _majorities(labels, member_of, len(names))
    parts = _parts(spec.strip(), alpha, majorities, np.bincount(member_of), clients, rng)
    return [rng.permutation(np.flatnonzero(np.isin(member_of, part))) for part in parts]


def _alpha(spec: str) -> float:
    """The alpha of `dirichlet(alpha)`; 0 for the other ways."""
    if spec.strip() in {"iid", "sorted", "sorted_honest", "natural"}:
        return 0.0
    found = re.fullmatch(r"\s*dirichlet\(\s*(?:alpha\s*=\s*)?([0-9.]+(?:e[+-]?[0-9]+)?)\s*\)\s*", spec)
    try:
        alpha = float(found[1]) if found else 0.0
    except ValueError:
        alpha = 0.0
    if not 0.0 < alpha < float("inf"):
        raise SettingError(
            "partition must be 'iid' or 'dirichlet(0.5)' with a number above 0, or 'sorted', 'sorted_honest', or "
            f"'natural' for a task with groups; got {spec!r}"
        )
    return alpha


def _check(clients: int, most: int, what: str) -> None:
    if not 1 <= clients <= most:
        raise SettingError(
            f"the number of clients must be from 1 to {most}, the {what} there are; got {clients}, write clients={most}"
        )


def _parts(
    written: str, alpha: float, labels: npt.NDArray[Any], sizes: Indices, clients: int, rng: np.random.Generator
) -> list[Indices]:
    """Index arrays of examples, or of groups that have so many examples and such a label, one per client."""
    count = len(labels)
    if written == "iid":
        return np.array_split(rng.permutation(count), clients)
    if written == "natural":
        return _dealt(sizes, clients, rng)
    if written == "sorted":
        parts = np.array_split(np.argsort(labels, kind="stable"), clients)
    else:
        parts = _topped_up(_skewed(labels, clients, alpha, rng), min(LEAST, count // clients))
    return [rng.permutation(part) for part in parts]


def _among_honest(
    labels: npt.NDArray[Any], clients: int, hostile: Collection[int], rng: np.random.Generator
) -> list[Indices]:
    """The examples by label over the clients that are not hostile; the others draw."""
    honest = clients - len(hostile)
    _check(honest, len(labels), "examples")
    cut = iter([rng.permutation(part) for part in np.array_split(np.argsort(labels, kind="stable"), honest)])
    drawn = len(labels) // honest
    return [rng.permutation(len(labels))[:drawn] if client in hostile else next(cut) for client in range(clients)]


def _majorities(labels: npt.NDArray[Any], member_of: Indices, units: int) -> Indices:
    """The label that most examples of each group have; the smallest of several."""
    values, coded = np.unique(labels, return_inverse=True)
    counts = np.zeros((units, len(values)), dtype=np.int64)
    np.add.at(counts, (member_of, coded), 1)
    return values[counts.argmax(axis=1)]


def _dealt(sizes: Indices, clients: int, rng: np.random.Generator) -> list[Indices]:
    """Index arrays of groups: the largest first, each to the client that has fewest examples so far."""
    held = np.zeros(clients, dtype=np.int64)
    parts: list[list[int]] = [[] for _ in range(clients)]
    mixed = rng.permutation(len(sizes))
    for group in mixed[np.argsort(-sizes[mixed], kind="stable")]:
        least = int(held.argmin())
        parts[least].append(int(group))
        held[least] += sizes[group]
    return [np.array(part) for part in sorted(parts, key=min)]


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
