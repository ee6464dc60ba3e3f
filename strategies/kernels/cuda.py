"""The kernels over tensors that NumPy cannot see, CUDA tensors above all: torch operations, tile by tile, in float64.

The same functions run on CPU tensors too, which is how they are tested where there is no GPU, and how bfloat16 on the
CPU is served.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from .order import OrderStatistic

Floats = NDArray[np.float64]
Order = NDArray[np.intp]

TILE = 1 << 24  # values of a tile in float64: 128 MiB, many times the L2 cache and little beside the matrix


def _tiles(data: torch.Tensor, order: Order) -> Iterator[tuple[slice, torch.Tensor]]:
    """The columns' spans and the rows there, in the order asked for, in float64."""
    chosen = torch.as_tensor(order, device=data.device)
    step = max(TILE // max(len(order), 1), 1)
    for start in range(0, data.shape[1], step):
        span = slice(start, min(start + step, data.shape[1]))
        yield span, data[:, span].index_select(0, chosen).double()


def _on(data: torch.Tensor, values: Floats) -> torch.Tensor:
    return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float64, device=data.device)


def gram(data: torch.Tensor, order: Order, scale: Floats) -> tuple[Floats, Floats]:
    """See `kernels.gram`."""
    n = len(order)
    factors = _on(data, scale)[:, None]
    distances = torch.zeros((n, n), dtype=torch.float64, device=data.device)
    norms = torch.zeros(n, dtype=torch.float64, device=data.device)
    for _, tile in _tiles(data, order):
        held = tile * factors
        norms += (held * held).sum(dim=1)
        for i in range(n - 1):
            difference = held[i + 1 :] - held[i]
            distances[i, i + 1 :] += (difference * difference).sum(dim=1)
    found = distances.cpu().numpy()
    return found + found.T, norms.cpu().numpy()


def products(data: torch.Tensor, order: Order, scale: Floats, left: Order) -> Floats:
    """See `kernels.products`."""
    factors = _on(data, scale)[:, None]
    sums = torch.zeros((len(left), len(order)), dtype=torch.float64, device=data.device)
    for _, tile in _tiles(data, order):
        held = tile * factors
        sums += held[torch.as_tensor(left, device=data.device)] @ held.T
    return sums.cpu().numpy()


def largest(data: torch.Tensor) -> Floats:
    """See `kernels.largest`."""
    if not data.shape[1]:
        return np.zeros(len(data))
    return data.abs().amax(dim=1).double().cpu().numpy()


def combine(data: torch.Tensor, order: Order, weights: Floats) -> torch.Tensor:
    """See `kernels.combine`."""
    return mix(data, order, weights[None, :])[0]


def mix(data: torch.Tensor, order: Order, mixing: Floats) -> torch.Tensor:
    """See `kernels.mix`."""
    matrix = _on(data, mixing)
    mixed = torch.empty((len(mixing), data.shape[1]), dtype=data.dtype, device=data.device)
    for span, tile in _tiles(data, order):
        mixed[:, span] = (matrix @ tile).to(data.dtype)
    return mixed


def order_statistic(
    data: torch.Tensor, order: Order, statistic: OrderStatistic, mixing: Floats | None
) -> tuple[torch.Tensor, NDArray[np.bool_]]:
    """See `kernels.order_statistic`."""
    matrix = None if mixing is None else _on(data, mixing)
    found = torch.empty(data.shape[1], dtype=data.dtype, device=data.device)
    finite = torch.ones(len(order), dtype=torch.bool, device=data.device)
    # each value's share in the sum, a power of two: a sum of the largest floats would overflow
    share = 0.5 ** (statistic.high - statistic.low - 1).bit_length()
    for span, tile in _tiles(data, order):
        finite &= tile.isfinite().all(dim=1)
        rows = tile if matrix is None else matrix @ tile
        middle = rows.sort(dim=0).values[statistic.low : statistic.high]
        found[span] = ((middle * share).sum(dim=0) / (share * len(middle))).to(data.dtype)
    return found, ~finite.cpu().numpy()


def columns(data: torch.Tensor, chosen: Order) -> Floats:
    """See `kernels.columns`."""
    return data[:, torch.as_tensor(chosen, device=data.device)].double().cpu().numpy()


def compare(data: torch.Tensor, a: int, b: int) -> int:
    """See `kernels.compare`."""
    differing = (data[a] != data[b]).nonzero()
    if not len(differing):
        return 0
    column = int(differing[0])
    return -1 if float(data[a, column]) < float(data[b, column]) else 1
