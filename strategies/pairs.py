"""What is remembered of clients and of pairs of them: averages over the rounds, as plain data keyed by identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
            whole[np.ix_(*[new] * now.ndim)] = np.asarray(memory[name])[np.ix_(*[kept] * now.ndim)]
    present = np.ix_(*[[place[name] for name in clients]] * now.ndim)
    sums[present] = DECAY * sums[present] + weight * now
    weights[present] = DECAY * weights[present] + weight
    after = {"clients": names, "sums": sums.tolist(), "weights": weights.tolist()}
    return sums[present] / weights[present], after


def without(memory: Any, clients: Sequence[str]) -> Any:
    """A memory that `averaged` made, without anything of these clients; any other memory as it is.

    >>> _, memory = averaged(np.array([1.0, 5.0]), 1.0, ("a", "b"), None)
    >>> averaged(np.array([2.0, 7.0]), 1.0, ("a", "b"), without(memory, ["b"]))[0].round(2).tolist()
    [1.51, 7.0]
    """
    if not isinstance(memory, Mapping) or set(cast("Mapping[str, Any]", memory)) != {"clients", "sums", "weights"}:
        return cast("Any", memory)
    names: list[str] = list(cast("Mapping[str, Any]", memory)["clients"])
    gone = np.array([name in clients for name in names], bool)
    after = {name: np.array(memory[name], dtype=np.float64) for name in ("sums", "weights")}
    for values in after.values():
        values[gone] = 0.0
        if values.ndim == 2:
            values[:, gone] = 0.0
    return {"clients": names, **{name: values.tolist() for name, values in after.items()}}
