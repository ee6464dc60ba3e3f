"""The updates as the kernels take them: a matrix where it lies, and an order of its rows given by their content."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from . import kernels
from .errors import UpdateError
from .updates import Updates
from .weights import client_weights

Floats = NDArray[np.float64]

SAMPLED_COLUMNS = 16
FLOATS = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True, eq=False)
class Rows:
    """An `(n, d)` matrix of updates, never copied, with the canonical order of its rows.

    `order[k]` is the row that comes `k`-th by content. Whatever is computed in that order is bit-equal for every order
    in which the clients replied. Rows equal to the last bit are put in the order of their clients' names; without names
    they are interchangeable. `updates` is where the rows arrived, if they came one by one.
    """

    data: Any
    order: NDArray[np.intp]
    like: Callable[[Any], Any]
    updates: Updates | None = None

    @classmethod
    def of(cls, updates: Any, names: Sequence[str] | None = None) -> Rows:
        """Rows of an `(n, d)` array or tensor, `Updates`, or n vectors, which are copied; raises `UpdateError`."""
        arriving = updates if isinstance(updates, Updates) else None
        data, like = _matrix(updates if arriving is None else arriving.rows)
        n, _ = data.shape
        if n == 0:
            raise UpdateError("updates must have at least one row, got none")
        if names is not None and len(names) != n:
            raise UpdateError(f"clients must name the {n} rows, got {len(names)} names")
        return cls(data, canonical_order(data, names), like, arriving)

    @property
    def n(self) -> int:
        """The number of rows."""
        return self.data.shape[0]

    def take(self, kept: NDArray[np.bool_]) -> Rows:
        """The same matrix seen through its kept rows, `kept` being `(n,)` in the matrix's own order."""
        return Rows(self.data, self.order[kept[self.order]], self.like, self.updates)

    def measured(self) -> tuple[Floats, Floats]:
        """Squared distances `(n, n)` and squared norms `(n,)` in canonical order: as they grew, or read now."""
        ones = np.ones(len(self.order))
        if self.updates is None:
            return kernels.gram(self.data, self.order, ones)
        distances, squares = self.updates.measured()
        return kernels.gram(
            self.data, self.order, ones, (distances[np.ix_(self.order, self.order)], squares[self.order])
        )

    def vector(self, row: Any, name: str) -> Any:
        """One more row `(d,)`, called `name`, in the matrix's own kind and dtype; raises `UpdateError`."""
        d = self.data.shape[1]
        if not hasattr(row, "dtype"):
            row = np.asarray(row, dtype=np.float64)
        if tuple(row.shape) != (d,) or str(row.dtype).removeprefix("torch.") not in FLOATS:
            raise UpdateError(f"{name} must be {d} floats, got {row.dtype} of shape {tuple(row.shape)}")
        vector = kernels.alike(self.data, row)
        if not np.isfinite(kernels.largest(vector[None])).all():
            raise UpdateError(f"{name} must be finite numbers that fit the rows' dtype")
        return vector

    def combined(
        self, weights: Floats, row: Any = None, *, noise: float = 0.0, rng: np.random.Generator | None = None
    ) -> Any:
        """The weighted sum `(d,)` of the rows in canonical order and, where `row` is given, of that one, weighed last.

        It is of the caller's kind, with Gaussian noise of that standard deviation from `rng` on each coordinate.
        """
        n = len(self.order)
        found = kernels.combine(self.data, self.order, weights[:n])
        if row is not None and len(weights) > n:
            found = kernels.added(found, row, float(weights[n]))
        return self.like(_noisy(found, noise, rng))

    def ordered(
        self,
        statistic: kernels.Statistic,
        chosen: NDArray[np.bool_] | None = None,
        mixing: Floats | None = None,
        *,
        noise: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> Any:
        """The order statistic `(d,)` of each column of the rows in canonical order, or of `mixing @ rows`.

        `chosen` says which of these take part; noise is as in `combined`. Raises `UpdateError` naming rows that are
        not finite, unless they are mixed: then nobody looks.
        """
        order = self.order if chosen is None or mixing is not None else self.order[chosen]
        mixed = mixing if chosen is None or mixing is None else mixing[chosen]
        found, non_finite = kernels.order_statistic(self.data, order, statistic, mixed)
        if non_finite.any():
            self.refuse_non_finite()
        return self.like(_noisy(found, noise, rng))

    def filled(self, values: Floats) -> Any:
        """Values `(d,)` as an update of the caller's kind."""
        return self.like(kernels.alike(self.data, values))

    def refuse_non_finite(self) -> None:
        """Raise `UpdateError` naming the rows that hold a NaN or an infinity."""
        bad = np.flatnonzero(~np.isfinite(kernels.largest(self.data)))
        if len(bad):
            raise UpdateError(f"updates must be finite, but rows {', '.join(map(str, bad))} hold NaN or infinity")


def weighed(rows: Rows, weights: Any) -> Rows:
    """The same rows; those equal to the last bit are put in the order of their clients' weights."""
    client_weights(weights, rows.n)
    _, places = np.unique(np.asarray(weights, np.float64), return_inverse=True)
    return replace(rows, order=canonical_order(rows.data, [f"{place:09}" for place in places.tolist()]))


def _matrix(updates: Any) -> tuple[Any, Callable[[Any], Any]]:
    """The updates as one matrix for the kernels, and what turns a kernel's answer into the caller's kind."""
    if not hasattr(updates, "shape"):
        if not isinstance(updates, Sequence) or isinstance(updates, (str, bytes)):
            kind = type(updates).__name__
            raise UpdateError(f"updates must be an (n, d) array or tensor or a sequence of vectors, got {kind}")
        return _matrix(_stacked(cast("Sequence[Any]", updates)))
    if len(updates.shape) != 2:
        raise UpdateError(f"updates must be (n, d), got shape {tuple(updates.shape)}")
    name = str(updates.dtype).removeprefix("torch.")
    if name not in FLOATS:
        raise UpdateError(f"updates must be floating point ({', '.join(FLOATS)}), got {name}")
    if isinstance(updates, np.ndarray):
        return cast("NDArray[Any]", updates), _as_is
    if kernels.sharded(updates):
        return updates, _as_is  # answers are arrays
    tensor = updates.detach()
    if tensor.device.type != "cpu":
        return tensor, _as_is
    if name == "bfloat16":  # NumPy has no such numbers: kernels take their bits
        return _bits(tensor).numpy().view(np.uint16), lambda answer: _bits(_tensor_on_cpu(answer), back=True)
    return tensor.numpy(), _tensor_on_cpu


def saved(update: Any) -> NDArray[Any]:
    """An update of any kind as an array of its own in this process's memory, bfloat16 as float32."""
    if not hasattr(update, "detach"):
        return np.array(update)
    tensor = update.detach().cpu()
    return np.array((tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy())


def _noisy(found: Any, noise: float, rng: np.random.Generator | None) -> Any:
    """What a kernel found, with noise of this standard deviation."""
    if not noise:
        return found
    drawn = (rng or np.random.default_rng(0)).standard_normal(int(found.shape[0]))
    return kernels.added(found, kernels.alike(found, drawn), noise)


def _as_is(answer: Any) -> Any:
    return answer


def _tensor_on_cpu(answer: NDArray[Any]) -> Any:
    import torch  # an extra; whoever hands in tensors has it

    return torch.from_numpy(answer.view(np.int16) if answer.dtype == np.uint16 else answer)


def _bits(tensor: Any, *, back: bool = False) -> Any:
    """The bits of bfloat16 numbers as whole numbers, or `back`."""
    import torch  # an extra; whoever hands in tensors has it

    return tensor.view(torch.bfloat16 if back else torch.int16)


def _stacked(vectors: Sequence[Any]) -> Any:
    """One matrix of a sequence of vectors of one length and kind."""
    if not vectors:
        raise UpdateError("updates must have at least one row, got none")
    tensors = sum(hasattr(vector, "detach") for vector in vectors)
    if tensors not in (0, len(vectors)):
        raise UpdateError(f"updates must be vectors of one kind, got {tensors} tensors among {len(vectors)}")
    try:
        shapes = {tuple(np.shape(vector)) for vector in vectors}
    except ValueError:
        raise UpdateError("updates must be vectors of numbers, got something ragged") from None
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise UpdateError(f"updates must be vectors of one length, got shapes {sorted(shapes)}")
    if tensors:
        import torch  # an extra; whoever hands in tensors has it

        return torch.stack([vector.detach() for vector in vectors])
    return np.stack([np.asarray(vector) for vector in vectors])


def canonical_order(data: Any, names: Sequence[str] | None = None) -> NDArray[np.intp]:
    """The rows' positions `(n,)` sorted by content: by a few sampled columns, then by the whole rows, then by name.

    >>> canonical_order(np.array([[3.0, 1.0], [2.0, 5.0], [2.0, 4.0]])).tolist()
    [2, 1, 0]
    """
    n, d = cast("tuple[int, int]", data.shape)
    start = np.arange(n) if names is None else np.array(sorted(range(n), key=names.__getitem__), dtype=np.intp)
    if d == 0:
        return start
    sample = kernels.columns(data, np.unique(np.linspace(0, d - 1, SAMPLED_COLUMNS).astype(np.intp)))
    order = start[np.lexsort(sample[start].T[::-1])]  # this sort, like the one below, keeps what ties in its order
    ties = np.zeros(n, bool)
    ties[1:] = (sample[order[1:]] == sample[order[:-1]]).all(axis=1)
    if not ties.any():
        return order
    pieces: list[list[int]] = []
    for position, tied in zip(order.tolist(), ties.tolist(), strict=True):
        if tied:
            pieces[-1].append(position)
        else:
            pieces.append([position])

    def compare(a: int, b: int) -> int:
        return kernels.compare(data, a, b)

    key = functools.cmp_to_key(compare)
    return np.array([position for piece in pieces for position in sorted(piece, key=key)], dtype=np.intp)
