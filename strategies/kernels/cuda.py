"""The kernels over tensors that NumPy cannot see, CUDA tensors above all.

On a GPU, where Triton is installed, `tiles` does the work, on the data's device and the caller's stream. Anywhere else
torch operations do it, tile by tile: without Triton, and for bfloat16 on the CPU. Either way sums are in float64, no
temporary memory grows with `d`, and what answers for `n` rows comes to the host once per call.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from .order import ROUNDING, NearMedian, OrderStatistic, Statistic, WeightedMiddle

Floats = NDArray[np.float64]
Order = NDArray[np.intp]
Counts = NDArray[np.int64]

TILE = 1 << 14  # columns of a tile: how many does not depend on the rows, and so neither do partial sums
MIXED = 1 << 22  # values of a tile of mixed rows that a GPU keeps in its L2 cache until they are in order


def _programs(data: torch.Tensor) -> Any:
    """The module `tiles`, where its kernels can serve this tensor, else `None`."""
    if data.device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return None
    from . import tiles

    return tiles


def _there(data: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """Makes the data's GPU the current one, which is where Triton starts its kernels."""
    return torch.cuda.device(data.device) if data.device.type == "cuda" else contextlib.nullcontext()


def _on(data: torch.Tensor, values: NDArray[np.generic]) -> torch.Tensor:
    return torch.as_tensor(np.ascontiguousarray(values), device=data.device)


def _spans(columns: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, columns)) for start in range(0, columns, step))


def _tiles(data: torch.Tensor, order: Order) -> Iterator[tuple[slice, torch.Tensor]]:
    """The columns' spans and the rows there, in the order asked for."""
    chosen = _on(data, order)
    for span in _spans(data.shape[1], TILE):
        yield span, data[:, span].index_select(0, chosen)


def gram(data: torch.Tensor, order: Order, scale: Floats) -> tuple[Floats, Floats]:
    """See `kernels.gram`."""
    return _measured(data, order, scale, 0)


def grow(data: torch.Tensor, start: int, stop: int) -> tuple[Floats, Floats]:
    """See `kernels.grow`."""
    distances, norms = _measured(data, np.arange(stop), np.ones(stop), start)
    return distances[start:], norms[start:]


def _measured(data: torch.Tensor, order: Order, scale: Floats, start: int) -> tuple[Floats, Floats]:
    """Squared distances and norms, of which those of the rows from `start` on are right."""
    with _there(data):
        programs = _programs(data)
        found = (programs.squared_distances if programs else _squared_distances)(data, order, scale, start)
    norms = found.diagonal().copy()
    np.fill_diagonal(found, 0)
    return found, norms


def _squared_distances(data: torch.Tensor, order: Order, scale: Floats, start: int) -> Floats:
    """Squared distances `(n, n)`, at least those of rows from `start` on, with the squared norms on the diagonal."""
    n = len(order)
    factors = _on(data, scale)[:, None]
    sums = torch.zeros((n, n), dtype=torch.float64, device=data.device)
    for _, tile in _tiles(data, order):
        held = tile.double() * factors
        sums.diagonal().add_(_added_up(held * held))
        for i in range(n - 1):
            others = slice(max(i + 1, start), n)
            difference = held[others] - held[i]
            sums[i, others] += _added_up(difference.square_())
    upper = sums.cpu().numpy()
    return np.where(np.tri(n, dtype=bool), upper.T, upper)


def _added_up(squares: torch.Tensor) -> torch.Tensor:
    """The sum of each row, by halves: torch's own sums depend in their last bits on how many rows there are."""
    width = squares.shape[1]
    while width > 1:
        half = (width + 1) // 2
        squares[:, : width - half] += squares[:, half:width]
        width = half
    return squares[:, 0]


def layers(data: torch.Tensor, order: Order, scale: Floats, bounds: Order) -> tuple[Floats, Floats, Counts]:
    """See `kernels.layers`. A tile's signs are counted apart from its distances, which is another read of it."""
    cut, n = list(itertools.pairwise(bounds.tolist())), len(order)
    distances, norms = np.zeros((len(cut), n, n)), np.zeros((len(cut), n))
    signs = torch.zeros((len(cut), n, 2), dtype=torch.int64, device=data.device)
    for layer, (start, stop) in enumerate(cut):
        distances[layer], norms[layer] = gram(data[:, start:stop], order, scale)
        for _, tile in _tiles(data[:, start:stop], order):
            signs[layer] += torch.stack([(tile < 0).sum(dim=1), (tile > 0).sum(dim=1)], dim=1)
    return distances, norms, signs.cpu().numpy()


def sign_votes(data: torch.Tensor, order: Order) -> Counts:
    """See `kernels.sign_votes`."""
    chosen = _on(data, order)
    votes = torch.zeros((len(order), 2), dtype=torch.int64, device=data.device)
    for span in _spans(data.shape[1], max(MIXED // max(len(order), 1), 128)):  # counts do not depend on tiles
        tile = data[:, span].index_select(0, chosen)
        own = (tile > 0).int() - (tile < 0).int()
        toward = own * (own.sum(dim=0, dtype=torch.int32) - own)  # above 0 where most others have the row's sign
        votes += torch.stack([(toward < 0).sum(dim=1), (toward != 0).sum(dim=1)], dim=1)
    return votes.cpu().numpy()


def products(data: torch.Tensor, order: Order, scale: Floats, left: Order) -> Floats:
    """See `kernels.products`."""
    with _there(data):
        if programs := _programs(data):
            return programs.products(data, order, scale, left)
    factors, chosen = _on(data, scale)[:, None], _on(data, left)
    sums = torch.zeros((len(left), len(order)), dtype=torch.float64, device=data.device)
    for _, tile in _tiles(data, order):
        held = tile.double() * factors
        sums += held[chosen] @ held.T
    return sums.cpu().numpy()


def beside(data: torch.Tensor, order: Order, scale: Floats, row: torch.Tensor, factor: float) -> tuple[Floats, Floats]:
    """See `kernels.beside`."""
    factors = _on(data, scale)[:, None]
    sums = torch.zeros((2, len(order)), dtype=torch.float64, device=data.device)
    for span, tile in _tiles(data, order):
        held, other = tile.double() * factors, row[span].double() * factor
        sums[1] += _added_up(held * other)
        sums[0] += _added_up(held.sub_(other).square_())
    distances, products = sums.cpu().numpy()
    return distances, products


def largest(data: torch.Tensor) -> Floats:
    """See `kernels.largest`."""
    if not data.shape[1]:
        return np.zeros(len(data))
    # one read and no copy; torch has no types for it
    norms = cast("torch.Tensor", torch.linalg.vector_norm(data, torch.inf, dim=1))  # pyright: ignore[reportUnknownVariableType]
    return norms.double().cpu().numpy()


def combine(data: torch.Tensor, order: Order, weights: Floats) -> torch.Tensor:
    """See `kernels.combine`."""
    if programs := _programs(data):
        used = np.flatnonzero(weights)  # rows that do not count are not read
        with _there(data):
            return programs.weighted_sum(data, order[used], weights[used])
    return mix(data, order, weights[None, :])[0]


def added(found: torch.Tensor, row: torch.Tensor, weight: float) -> torch.Tensor:
    """See `kernels.added`."""
    return (found.double() + weight * row.double()).to(found.dtype)


def alike(data: torch.Tensor, row: Any) -> torch.Tensor:
    """See `kernels.alike`."""
    return torch.as_tensor(row).detach().to(data.device, data.dtype)


def mix(data: torch.Tensor, order: Order, mixing: Floats) -> torch.Tensor:
    """See `kernels.mix`."""
    mixed = torch.empty((len(mixing), data.shape[1]), dtype=data.dtype, device=data.device)
    with _there(data):
        _mix(data, _on(data, order), _on(data, mixing), mixed)
    return mixed


def _mix(data: torch.Tensor, chosen: torch.Tensor, matrix: torch.Tensor, mixed: torch.Tensor) -> None:
    programs = _programs(data)
    if programs and data.dtype in (torch.float32, torch.float64):  # Triton cannot widen halves for its float64 product
        programs.mix(data, chosen, matrix, mixed)
        return
    for span in _spans(data.shape[1], TILE):
        mixed[:, span] = matrix @ data[:, span].index_select(0, chosen).double()


def order_statistic(
    data: torch.Tensor, order: Order, statistic: Statistic, mixing: Floats | None
) -> tuple[torch.Tensor, NDArray[np.bool_]]:
    """See `kernels.order_statistic`."""
    n = len(order)
    found = torch.empty(data.shape[1], dtype=data.dtype, device=data.device)
    wrong = torch.zeros(n, dtype=torch.bool, device=data.device)
    chosen = _on(data, order)
    with _there(data):
        if mixing is None:
            _put_in_order(data, chosen, statistic, found, wrong)
        else:
            _mix_and_put_in_order(data, chosen, _on(data, mixing), statistic, found)
    return found, wrong.cpu().numpy()


def _mix_and_put_in_order(
    data: torch.Tensor, chosen: torch.Tensor, matrix: torch.Tensor, statistic: Statistic, found: torch.Tensor
) -> None:
    """Mixed rows exist for one tile at a time, in the data's dtype or float32."""
    m = len(matrix)
    step = min(max(MIXED // m // 128 * 128, 128), max(data.shape[1], 1))
    wide = torch.float64 if data.dtype == torch.float64 else torch.float32
    mixed = torch.empty((m, step), dtype=wide, device=data.device)
    all_rows = torch.arange(m, device=data.device)
    unread = torch.zeros(m, dtype=torch.bool, device=data.device)
    for span in _spans(data.shape[1], step):
        tile = mixed[:, : span.stop - span.start]
        _mix(data[:, span], chosen, matrix, tile)
        _put_in_order(tile, all_rows, statistic, found[span], unread)


def _put_in_order(
    data: torch.Tensor, chosen: torch.Tensor, statistic: Statistic, found: torch.Tensor, wrong: torch.Tensor
) -> None:
    """Write the order statistic of the chosen rows, and which of them hold a NaN or an infinity."""
    programs = _programs(data)
    if programs and isinstance(statistic, OrderStatistic) and len(chosen) <= programs.MOST_ROWS:
        programs.order_statistic(data, chosen, statistic.low, statistic.high, found, wrong)
        return
    for span in _spans(data.shape[1], TILE):
        tile = data[:, span].index_select(0, chosen)
        wrong |= ~tile.isfinite().all(dim=1)
        found[span] = _middle(tile, statistic).to(found.dtype)


def _middle(tile: torch.Tensor, statistic: Statistic) -> torch.Tensor:
    """The statistic of each column in float64, by sorting."""
    if isinstance(statistic, OrderStatistic):
        return _mean(tile.sort(dim=0).values[statistic.low : statistic.high].double())
    if isinstance(statistic, NearMedian):
        return _near_median(tile.sort(dim=0).values.double(), statistic.count)
    return _weighted(tile, statistic)


def _mean(values: torch.Tensor) -> torch.Tensor:
    """The mean of each column; each value's share in the sum is a power of two: no sum of the largest overflows."""
    share = 0.5 ** (len(values) - 1).bit_length()
    return (values * share).sum(dim=0) / (share * len(values))


def _near_median(ordered: torch.Tensor, count: int) -> torch.Tensor:
    """See `NearMedian`."""
    n, halves = len(ordered), ordered / 2
    center = halves[(n - 1) // 2] + halves[n // 2]
    ends = halves[: n - count] + halves[count:]
    remainders = torch.arange(count, device=ordered.device)[:, None]
    least, most = (
        ordered.gather(0, remainders + (steps.sum(dim=0) - remainders + count - 1) // count * count)
        for steps in (ends < center, ends <= center)
    )
    return _mean(torch.where(least == most, least, least / 2 + most / 2))


def _weighted(tile: torch.Tensor, statistic: WeightedMiddle) -> torch.Tensor:
    """See `WeightedMiddle`; rows of least weight come first and ties stay so, that no order of rows changes a bit."""
    weights = np.array(statistic.weights)
    lightest = np.argsort(weights, kind="stable")
    ordered = tile.index_select(0, _on(tile, lightest)).sort(dim=0, stable=True)
    values = ordered.values.double()
    carried = _on(tile, weights[lightest])[ordered.indices]
    reached = carried.cumsum(dim=0)
    before = torch.cat([torch.zeros_like(reached[:1]), reached[:-1]])
    low, high = statistic.bounds
    if low == high:
        room = 2 * low * ROUNDING
        last = [(before < low - room).sum(dim=0) - 1, (before <= low + room).sum(dim=0) - 1]
        least, most = (values.gather(0, place[None])[0] for place in last)
        return torch.where(least == most, least, least / 2 + most / 2)
    kept = (reached.clamp(max=high) - before.clamp(min=low)).clamp(min=0)
    total = torch.where(kept > 0, values * (kept / (high - low)), 0.0).sum(dim=0)
    least = torch.where(kept > 0, values, torch.inf).amin(dim=0)
    most = torch.where(kept > 0, values, -torch.inf).amax(dim=0)
    return total.clamp(least, most)  # shares add up to 1 but for rounding


def columns(data: torch.Tensor, chosen: Order) -> Floats:
    """See `kernels.columns`."""
    return data[:, _on(data, chosen)].double().cpu().numpy()


def compare(data: torch.Tensor, a: int, b: int) -> int:
    """See `kernels.compare`."""
    differing = (data[a] != data[b]).nonzero()
    if not len(differing):
        return 0
    column = int(differing[0])
    return -1 if float(data[a, column]) < float(data[b, column]) else 1
