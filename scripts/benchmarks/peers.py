"""What else computes such aggregates: NumPy, SciPy and torch as one would write it, Flower's strategies, and ByzFL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .timing import Job, Work

Updates = NDArray[np.float32]
Floats = NDArray[np.floating]

QUANTILE_VALUES = 1 << 24  # torch.quantile takes no more at a time
WEISZFELD_STEPS = 10


def _plain(group: str, name: str, function: Callable[..., object], *arguments: object) -> Work:
    return Work(f"{group}: {name}", group, lambda: partial(function, *arguments))


def numpy_works(rows: Updates, f: int) -> Iterator[Work]:
    """NumPy's one-liners, and SciPy's distances."""
    n = len(rows)
    yield _plain("NumPy", "np.sort, mean of the middle", lambda: np.sort(rows, axis=0)[f : n - f].mean(axis=0))
    yield _plain("NumPy", "np.median", np.median, rows, 0)
    yield _plain("NumPy", "distances, rows @ rows.T (*)", products, rows)
    yield _plain("NumPy", "the same, centered float64", lambda: products((rows - rows[0]).astype(np.float64)))
    yield _plain("NumPy", f"geometric median, {WEISZFELD_STEPS} steps", weiszfeld, rows)
    from scipy.spatial.distance import pdist

    yield _plain("SciPy", "pdist", pdist, rows, "sqeuclidean")


def products(rows: Floats) -> Floats:
    """The usual one-liner for squared distances `(n, n)`: fast, and wrong for rows that share a large common part."""
    found = rows @ rows.T
    squares = np.diag(found)
    return squares[:, None] + squares[None, :] - 2 * found


def weiszfeld(rows: Updates) -> Floats:
    """The geometric median as one would write it: every step reads the rows."""
    center = rows.mean(axis=0)
    for _ in range(WEISZFELD_STEPS):
        pulls = (1 / np.linalg.norm(rows - center, axis=1)).astype(np.float32)
        center = pulls @ rows / pulls.sum()
    return center


def torch_works(rows: Any, f: int) -> Iterator[Work]:
    """Torch's one-liners, on the device where the rows are; raises `ImportError` without torch."""
    torch: Any = import_module("torch")
    rows = torch.as_tensor(rows)
    n, columns = len(rows), max(QUANTILE_VALUES // len(rows), 1)
    yield _plain("torch", "sort, mean of the middle", lambda: torch.sort(rows, dim=0).values[f : n - f].mean(dim=0))
    yield _plain("torch", "median (the lower one)", torch.median, rows, 0)
    yield _plain(
        "torch",
        "quantile(0.5)",
        lambda: torch.cat([torch.quantile(part, 0.5, dim=0) for part in rows.split(columns, dim=1)]),
    )
    yield _plain("torch", "cdist (*)", torch.cdist, rows, rows)
    yield _plain("torch", "mm(rows, rows.T) (*)", torch.mm, rows, rows.T)


class _Replies:
    """Flower replies of the rows, made when first needed and then the same for all of Flower's strategies."""

    def __init__(self, rows: Updates) -> None:
        self.rows = rows

    @cached_property
    def clients(self) -> Any:
        from .rounds import Clients

        return Clients.of(self.rows)

    def job(self, make: Callable[[], Any]) -> Job:
        return self.clients.job(make())


def flower_works(rows: Updates, f: int) -> Iterator[Work]:
    """Flower's strategies, from replies that lie in memory to the new model; raises `ImportError` without Flower."""
    from .rounds import STOCK

    replies = _Replies(rows)
    for name, make in STOCK.items():
        yield Work(f"Flower: {name}", "Flower", partial(replies.job, partial(make, len(rows), f)))


def byzfl_works(rows: Any, f: int) -> Iterator[Work]:
    """ByzFL's aggregators, on the device where the rows are; raises `ImportError` without it."""
    byzfl: Any = import_module("byzfl")
    yield _plain("ByzFL", "Median", byzfl.Median(), rows)
    yield _plain("ByzFL", "TrMean", byzfl.TrMean(f), rows)
    yield _plain("ByzFL", "Krum", byzfl.Krum(f), rows)
    yield _plain("ByzFL", "MultiKrum", byzfl.MultiKrum(f), rows)
    yield _plain("ByzFL", "GeometricMedian", byzfl.GeometricMedian(), rows)
    arc, nnm, trimmed = byzfl.ARC(f), byzfl.NNM(f), byzfl.TrMean(f)
    yield _plain("ByzFL", "ARC, NNM, TrMean", lambda: trimmed(nnm(arc(rows))))


PEERS: dict[str, Callable[[Any, int], Iterator[Work]]] = {
    "NumPy": numpy_works,
    "torch": torch_works,
    "Flower": flower_works,
    "ByzFL": byzfl_works,
}
ON_DEVICE = ("torch", "ByzFL")  # these take tensors wherever they are
