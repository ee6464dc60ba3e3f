"""What is remembered of clients and of pairs of them: averages over the rounds, as plain data keyed by identity."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DECAY = 0.97  # what a round counts beside the next one of the same clients: about thirty rounds are remembered
MOST = 2000  # clients remembered, whose pairs take 64 MB: who was seen longest ago is forgotten first


def averaged(
    now: Floats, weight: float, clients: Sequence[str] | None, memory: Mapping[str, Any] | None
) -> tuple[Floats, dict[str, Any] | None]:
    """Averages of `now` with what was found before, and the memory of it, None without identities.

    `now` is `(n,)`, a number for each client, or `(n, n)`, one for each pair; `weight` is what this round counts. A
    client, or a pair, is averaged over the rounds that it took part in, so partial participation changes nothing.

    >>> _, memory = averaged(np.array([1.0, 5.0]), 1.0, ("a", "b"), None)
    >>> averaged(np.array([2.0, 7.0]), DECAY, ("a", "c"), memory)[0].round(3).tolist()
    [1.5, 7.0]
    """
    if clients is None:
        return now, None
    before: list[str] = [] if memory is None else memory["clients"]
    here = set(clients)
    # who is here now comes last, so that who was not seen for longest comes first
    names = [*(name for name in before if name not in here), *clients][-max(MOST, len(clients)) :]
    place = {name: k for k, name in enumerate(names)}
    sums, weights = np.zeros((len(names),) * now.ndim), np.zeros((len(names),) * now.ndim)
    if memory is not None:
        kept = [k for k, name in enumerate(before) if name in place]
        new = [place[before[k]] for k in kept]
        for whole, name in ((sums, "sums"), (weights, "weights")):
            earlier = _unpacked(memory[name], len(before), now.ndim)
            whole[np.ix_(*[new] * now.ndim)] = earlier[np.ix_(*[kept] * now.ndim)]
    present = np.ix_(*[[place[name] for name in clients]] * now.ndim)
    sums[present] = DECAY * sums[present] + weight * now
    weights[present] = DECAY * weights[present] + weight
    after = {"clients": names, "dimensions": now.ndim, "sums": _packed(sums), "weights": _packed(weights)}
    return sums[present] / weights[present], after


def without(memory: Any, clients: Sequence[str]) -> Any:
    """A memory that `averaged` made, without anything of these clients; any other memory as it is.

    >>> _, memory = averaged(np.array([1.0, 5.0]), 1.0, ("a", "b"), None)
    >>> averaged(np.array([2.0, 7.0]), 1.0, ("a", "b"), without(memory, ["b"]))[0].round(2).tolist()
    [1.51, 7.0]
    """
    if not _is_averaged(memory):
        return memory
    names, ndim = list(memory["clients"]), _dimensions(memory)
    gone = np.array([name in clients for name in names], bool)
    after = {name: _unpacked(memory[name], len(names), ndim) for name in ("sums", "weights")}
    for values in after.values():
        values[gone] = 0.0
        if values.ndim == 2:
            values[:, gone] = 0.0
    return {"clients": names, "dimensions": ndim, **{name: _packed(values) for name, values in after.items()}}


def dropped(memory: Any, clients: Collection[str]) -> Any:
    """A memory that `averaged` made, in which there is no place for these clients; any other memory as it is.

    >>> _, memory = averaged(np.array([1.0, 5.0]), 1.0, ("a", "b"), None)
    >>> dropped(memory, {"a"})["clients"]
    ['b']
    """
    if not _is_averaged(memory):
        return memory
    before, ndim = memory["clients"], _dimensions(memory)
    kept = [place for place, name in enumerate(before) if name not in clients]
    after: dict[str, Any] = {"clients": [before[place] for place in kept], "dimensions": ndim}
    for name in ("sums", "weights"):
        after[name] = _packed(_unpacked(memory[name], len(before), ndim)[np.ix_(*[kept] * ndim)])
    return after


def _is_averaged(memory: Any) -> bool:
    parts = {"clients", "dimensions", "sums", "weights"}
    return isinstance(memory, Mapping) and set(cast("Mapping[str, Any]", memory)) | {"dimensions"} == parts


def _dimensions(memory: Mapping[str, Any]) -> int:
    """1 where the memory is of clients, 2 where it is of pairs; earlier versions wrote lists, and did not say."""
    return int(memory["dimensions"]) if "dimensions" in memory else np.ndim(memory["sums"])


def _packed(values: Floats) -> str:
    """The numbers as text, to the last bit: the pairs of clients that never met take no room then."""
    half = (
        values[np.triu_indices(len(values))]
        if values.ndim == 2 and np.array_equal(values, values.T)
        else values.ravel()
    )
    numbers = np.ascontiguousarray(half, "<f8")
    places = np.flatnonzero(numbers.view("<u8"))
    if 2 * len(places) >= len(numbers):
        return _text(numbers)
    return f"{len(numbers)} {_text(places.astype('<u4'))} {_text(numbers[places])}"


def _text(numbers: NDArray[Any]) -> str:
    return base64.b64encode(numbers.tobytes()).decode()


def _unpacked(packed: Any, n: int, ndim: int) -> Floats:
    """The numbers `(n,)` or `(n, n)` that were packed, which can be written to."""
    if not isinstance(packed, str):
        return np.array(packed, np.float64)
    *sparse, values = packed.split(" ")
    numbers = np.frombuffer(base64.b64decode(values), "<f8").astype(np.float64)
    if sparse:
        length, places = int(sparse[0]), np.frombuffer(base64.b64decode(sparse[1]), "<u4")
        filled = np.zeros(length)
        filled[places] = numbers
        numbers = filled
    if ndim == 1 or len(numbers) == n * n:
        return numbers.reshape((n,) * ndim)
    whole, upper = np.zeros((n, n)), np.triu_indices(n)
    whole[upper] = numbers
    whole.T[upper] = numbers
    return whole
