"""Client memory: each client's updates averaged over its rounds, before anything else looks at them.

History exposes what one round hides: noise averages out, and a small constant push does not.
Source: Karimireddy, He, Jaggi, ICML 2021, https://arxiv.org/abs/2012.10333, where the clients average; here the server.

It costs memory: float32 numbers `(d,)` for every client ever seen, and while a round lasts one more matrix `(n, d)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .errors import SettingError, UpdateError
from .rows import Rows, canonical_order

LARGEST = float(np.finfo(np.float32).max)


def decay_of(momentum: object) -> float:
    """`momentum` itself if it is a number from 0, which is none, to below 1; raises `SettingError`."""
    if isinstance(momentum, int | float) and not isinstance(momentum, bool) and 0 <= momentum < 1:
        return float(momentum)
    raise SettingError(f"momentum must be a number from 0 (none) to below 1, such as 0.9, got {momentum!r}")


def share_of_present(momentum: float, count: int) -> float:
    """What a client's `count`-th update counts in the mean of all of them, whose weights add up to 1.

    That is `m = momentum * m + (1 - momentum) * x` from zero, divided by `1 - momentum ** count`: a client's first
    updates are not too short.

    >>> share_of_present(0.5, 1), share_of_present(0.5, 2), share_of_present(0.5, 50)
    (1.0, 0.6666666666666666, 0.5000000000000004)
    """
    return (1 - momentum) / (1 - momentum**count)


def with_momentum(
    rows: Rows, clients: Sequence[str], state: Mapping[str, Any] | None, momentum: float
) -> tuple[Rows, dict[str, Any]]:
    """Each client's mean update `(n, d)` in the place of its present one, and what the state keeps of it.

    `clients` are in the order of the matrix. A client's rounds are those that it took part in, so absence changes
    nothing. The rows that came are left as they are. Raises `UpdateError` for rows that are no array in this process
    (shards, tensors on a GPU), bfloat16, and where the state remembers rows of another length.
    """
    data: Any = rows.data
    if not isinstance(data, np.ndarray) or data.dtype.kind != "f":
        raise UpdateError(
            "momentum takes updates of float16, float32 or float64 in this process's memory, no shards, bfloat16 or "
            "tensors on a GPU: write the defense without it"
        )
    before: Mapping[str, Any] = (state or {}).get("momentum", {})
    means = cast("NDArray[Any]", np.empty_like(cast("Any", data), order="C"))
    records = dict(before)
    for place, name in enumerate(clients):
        row = data[place]
        record = before.get(name)
        count = 1 if record is None else int(record["count"]) + 1
        if record is None:
            mean = row.astype(np.float64)
        else:
            earlier = np.asarray(record["mean"], np.float32)
            if earlier.shape != row.shape:
                raise UpdateError(f"the state remembers updates of {len(earlier)} numbers, got {len(row)}")
            share = share_of_present(momentum, count)
            mean = share * row.astype(np.float64) + (1 - share) * earlier
        means[place] = mean
        records[name] = {"count": count, "mean": np.clip(mean, -LARGEST, LARGEST).astype(np.float32)}
    return Rows(means, canonical_order(means, clients), rows.like), records
