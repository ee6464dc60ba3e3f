"""The CUDA kernels that torch has no fast operation for, in Triton; `cuda` decides when they run.

They read every row where it lies, in its own dtype, once where that can be had: nothing of size `(n, d)` is written.
What a program adds up does not depend on how many rows there are beside the two it compares, so that a geometry grown
row by row is bit-equal to one measured at once. Fusing of a product and a sum is asked for by name (`tl.fma`) and
forbidden elsewhere: `a * s - b * t`, half of it fused, would keep equal rows apart.
"""

# The bodies are Triton's language, which is Python by its syntax only; its types are checked when a kernel is compiled.
# pyright: basic, reportGeneralTypeIssues=false, reportArgumentType=false, reportOperatorIssue=false
# ruff: noqa: RUF005

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Order = NDArray[np.intp]

jit: Any = triton.jit

# Distances take n (n - 1) float64 operations per column: on an H200 (16.7e12 a second, 4.8e12 bytes read) that is
# (n - 1) / 14 times as long as reading float32 once, so arithmetic is the limit from about 15 rows on. Its tensor cores
# do products at twice that rate, at best; but products have no digits left beside one huge row or a large common part,
# and finding a reference that no client can spoil would take another read. So differences it is, and blocks of rows
# small enough that hardly any operation is wasted on rows that are not there.
LANES = 32  # columns that a warp reads at a time
BLOCK = 5  # rows against rows in one warp: 25 sums in registers, 10 reads for 50 operations
WIDEST_NETWORK = 128  # rows beyond which their values do not fit a thread's registers, and bisection takes over
SHORTEST_CHUNK, MOST_CHUNKS = 4096, 1024  # columns of a partial sum, and the number of them
PARTS = 32 << 20  # bytes of partial sums held at a time
VALUES = 1 << 14  # that a program of 16 warps holds in registers for bisection
MOST_ROWS = 8192  # rows beyond which a block's columns do not fit the registers of a program


def squared_distances(data: torch.Tensor, order: Order, scale: Floats, start: int = 0) -> Floats:
    """Squared distances `(n, n)` of the rows as held, at least those of rows from `start` on, on the diagonal norms."""
    n = len(order)
    blocks = _cut(n)
    pairs = np.array([(p, q) for q in range(start // BLOCK, blocks) for p in range(q + 1)])
    upper = _squares(_sums(data, (order, scale), (order, scale), pairs, True), pairs, (blocks, blocks))[:n, :n]
    return np.where(np.tri(n, dtype=bool), upper.T, upper)


def products(data: torch.Tensor, order: Order, scale: Floats, left: Order) -> Floats:
    """Inner products `(len(left), n)` of the rows at positions `left` of the order with all rows."""
    shape = (_cut(len(left)), _cut(len(order)))
    pairs = np.array(list(np.ndindex(shape)))
    sums = _sums(data, (order[left], scale[left]), (order, scale), pairs, False)
    return _squares(sums, pairs, shape)[: len(left), : len(order)]


def _cut(n: int) -> int:
    return -(-n // BLOCK)


def _squares(sums: Floats, pairs: Order, shape: tuple[int, int]) -> Floats:
    """The blocks `(k, BLOCK, BLOCK)` put at their places in one matrix."""
    whole = np.zeros((*shape, BLOCK, BLOCK))
    whole[pairs[:, 0], pairs[:, 1]] = sums
    return whole.transpose(0, 2, 1, 3).reshape(shape[0] * BLOCK, -1)


def _sums(
    data: torch.Tensor, left: tuple[Order, Floats], right: tuple[Order, Floats], pairs: Order, differences: bool
) -> Floats:
    """For each pair of blocks of rows `(k, BLOCK, BLOCK)`: squared distances, or inner products."""
    count, columns = len(pairs), data.shape[1]
    chunk = max(SHORTEST_CHUNK, -(-columns // MOST_CHUNKS // LANES) * LANES)  # depends on the columns alone
    chunks = -(-columns // chunk)
    totals = torch.zeros(count * BLOCK**2, dtype=torch.float64, device=data.device)
    group = min(max(PARTS // totals.nbytes, 1), max(chunks, 1))
    parts = torch.empty((group, len(totals)), dtype=torch.float64, device=data.device)
    rows = [tensor for side in (left, right) for tensor in _padded(data, *side)]
    blocks = torch.as_tensor(pairs, device=data.device)
    warps = min(16, triton.next_power_of_2(count))
    for first in range(0, chunks, group):
        some = min(group, chunks - first)
        _pairs[(triton.cdiv(count, warps) * some,)](
            data, *data.stride(), columns, *rows, blocks, count, first, chunk, parts,
            differences=differences, side=BLOCK, warps=warps, lanes=LANES, num_warps=warps, enable_fp_fusion=False,
        )  # fmt: skip
        _add_up[(triton.cdiv(len(totals), 128),)](parts, totals, some, len(totals), width=128)
    return totals.reshape(count, BLOCK, BLOCK).cpu().numpy()


def _padded(data: torch.Tensor, order: Order, scale: Floats) -> list[torch.Tensor]:
    """Rows and their factors on the device, the last row repeated to fill its block."""
    more = (0, -len(order) % BLOCK)
    return [torch.as_tensor(np.pad(values, more, "edge"), device=data.device) for values in (order, scale)]


def weighted_sum(data: torch.Tensor, order: Order, weights: Floats) -> torch.Tensor:
    """The weighted sum `(d,)` of the rows in the data's dtype."""
    columns = data.shape[1]
    found = torch.empty(columns, dtype=data.dtype, device=data.device)
    listed, factors = (torch.as_tensor(values, device=data.device) for values in (order, weights))
    if columns:
        width = 512
        _weighted[(triton.cdiv(columns, width),)](
            data, *data.stride(), columns, listed, factors, len(order), found, width=width
        )
    return found


def mix(data: torch.Tensor, order: torch.Tensor, mixing: torch.Tensor, mixed: torch.Tensor) -> None:
    """Write `mixing @ rows` into `mixed`, `(m, d)` with neighboring columns side by side."""
    (m, columns), height, width = mixed.shape, 64, 64
    _mixed[(triton.cdiv(columns, width), triton.cdiv(m, height))](
        data, *data.stride(), columns, order, mixing, len(order), m, mixed, mixed.stride(0),
        height=height, depth=16, width=width,
    )  # fmt: skip


def order_statistic(
    data: torch.Tensor, order: torch.Tensor, low: int, high: int, found: torch.Tensor, wrong: torch.Tensor
) -> None:
    """Write the order statistic `(d,)` into `found`, and a 1 into `wrong` `(n,)` for rows that hold NaN or infinity."""
    n, columns = len(order), data.shape[1]
    share = 0.5 ** (high - low - 1).bit_length()  # of each value in the sum: a sum of the largest floats would overflow
    arguments = (data, *data.stride(), columns, order, n, low, high, share, found, wrong)
    if n <= WIDEST_NETWORK:
        wires = _wires(n)
        bits, width = (wires - 1).bit_length(), 128
        _in_registers[(triton.cdiv(columns, width),)](
            *arguments, layers=_layers(wires), wires=wires, bits=bits, width=width
        )
        return
    rows = triton.next_power_of_2(n)
    width = max(VALUES // rows, 4)
    _by_bisection[(triton.cdiv(columns, width),)](
        *arguments, rows=rows, single=high - low == 1, width=width, num_warps=16
    )


def _wires(n: int) -> int:
    """The rows that a network is made for: few sizes, because each is compiled once, for seconds."""
    step = 4 if n <= 32 else 8 if n <= 64 else 16
    return -(-n // step) * step


@functools.lru_cache(maxsize=64)
def _layers(n: int) -> tuple[tuple[int, ...], ...]:
    """A sorting network for `n` rows: per layer the row that each one is compared with, itself where it rests.

    Batcher's odd-even merge sort (Knuth, The Art of Computer Programming, volume 3, 5.3.4). Unlike the pruned networks
    in `order` one serves all ranks, so that nothing is compiled anew when a client fewer replies.

    >>> _layers(4)
    ((1, 0, 3, 2), (2, 3, 0, 1), (0, 2, 1, 3))
    """
    layers: list[tuple[int, ...]] = []
    for p in (1 << k for k in range((n - 1).bit_length())):
        for step in (p >> k for k in range(p.bit_length())):
            partner = list(range(n))
            for start in range(step % p, n - step, 2 * step):
                for a in range(start, min(start + step, n - step)):
                    if a // (2 * p) == (a + step) // (2 * p):
                        partner[a], partner[a + step] = a + step, a
            layers.append(tuple(partner))
    return tuple(layers)


@jit
def _wide(values):
    """The values in float64, half-precision ones by way of float32, which is the way there is."""
    if values.dtype.primitive_bitwidth < 32:
        values = values.to(tl.float32)
    return values.to(tl.float64)


@jit
def _narrow(values, target):
    """The float64 values in the dtype that `target` points to."""
    if target.dtype.element_ty.primitive_bitwidth < 32:
        values = values.to(tl.float32)
    return values.to(target.dtype.element_ty)


@jit(do_not_specialize=["row_stride", "columns", "count", "first"])
def _pairs(
    data,
    row_stride,
    column_stride,
    columns,
    left,
    left_scale,
    right,
    right_scale,
    blocks,
    count,
    first,
    width,
    parts,
    differences: tl.constexpr,
    side: tl.constexpr,
    warps: tl.constexpr,
    lanes: tl.constexpr,
):
    """Each warp takes `side` rows against `side` rows over `width` columns; what neighbors share they find in L1."""
    groups = tl.cdiv(count, warps)
    block = tl.program_id(0) % groups * warps + tl.arange(0, warps)
    chunk = tl.program_id(0) // groups
    inside = block < count
    p = tl.load(blocks + 2 * block, mask=inside, other=0)
    q = tl.load(blocks + 2 * block + 1, mask=inside, other=0)
    same = (p == q)[:, None]
    a, b, a_scale, b_scale, sums = (), (), (), (), ()
    for k in tl.static_range(side):
        a = a + ((tl.load(left + p * side + k) * row_stride)[:, None],)
        b = b + ((tl.load(right + q * side + k) * row_stride)[:, None],)
        a_scale = a_scale + (tl.load(left_scale + p * side + k)[:, None],)
        b_scale = b_scale + (tl.load(right_scale + q * side + k)[:, None],)
    for _ in tl.static_range(side * side):
        sums = sums + (tl.zeros((warps, lanes), tl.float64),)
    start = (first + chunk).to(tl.int64) * width
    for step in range(0, width, lanes):
        column = (start + step + tl.arange(0, lanes))[None, :]
        here = column < columns
        x, y, z, added = (), (), (), ()
        for k in tl.static_range(side):
            place = data + column * column_stride
            x = x + (_wide(tl.load(place + a[k], mask=here, other=0.0)) * a_scale[k],)
            y = y + (_wide(tl.load(place + b[k], mask=here, other=0.0)) * b_scale[k],)
            # a row's distance to itself is known; its place is used for its squared norm
            z = z + (tl.where(same, 0.0, y[k]),)
        for k in tl.static_range(side * side):
            if differences:
                apart = x[k // side] - (z[k % side] if k // side == k % side else y[k % side])
                added = added + (tl.fma(apart, apart, sums[k]),)
            else:
                added = added + (tl.fma(x[k // side], y[k % side], sums[k]),)
        sums = added
    target = parts + (chunk.to(tl.int64) * count + block) * (side * side)
    for k in tl.static_range(side * side):
        tl.store(target + k, tl.sum(sums[k], axis=1), mask=inside)


@jit(do_not_specialize=["chunks", "size"])
def _add_up(parts, totals, chunks, size, width: tl.constexpr):
    """Add the chunks' parts to the totals one after another, so that it does not matter how many come at a time."""
    place = tl.program_id(0) * width + tl.arange(0, width)
    total = tl.load(totals + place, mask=place < size, other=0.0)
    part = parts + place
    for _ in range(chunks):
        total += tl.load(part, mask=place < size, other=0.0)
        part += size
    tl.store(totals + place, total, mask=place < size)


@jit(do_not_specialize=["n"])
def _weighted(data, row_stride, column_stride, columns, order, weights, n, found, width: tl.constexpr):
    column = tl.program_id(0).to(tl.int64) * width + tl.arange(0, width)
    here = column < columns
    total = tl.zeros((width,), tl.float64)
    for start in range(0, n, 8):
        for k in tl.static_range(8):  # eight reads are under way at a time
            row = tl.load(order + start + k, mask=start + k < n, other=0)
            weight = tl.load(weights + start + k, mask=start + k < n, other=0.0)
            value = tl.load(data + row * row_stride + column * column_stride, mask=here & (start + k < n), other=0.0)
            total = tl.fma(_wide(value), weight, total)
    tl.store(found + column, _narrow(total, found), mask=here)


@jit(do_not_specialize=["n", "m"])
def _mixed(
    data,
    row_stride,
    column_stride,
    columns,
    order,
    mixing,
    n,
    m,
    mixed,
    mixed_stride,
    height: tl.constexpr,
    depth: tl.constexpr,
    width: tl.constexpr,
):
    """A tile of `mixing @ rows` by the tensor cores in float64."""
    column = tl.program_id(0).to(tl.int64) * width + tl.arange(0, width)
    target = tl.program_id(1) * height + tl.arange(0, height)
    here = (column < columns)[None, :]
    total = tl.zeros((height, width), tl.float64)
    for step in range(0, n, depth):
        source = step + tl.arange(0, depth)
        there = source < n
        row = tl.load(order + source, mask=there, other=0)
        place = data + (row * row_stride)[:, None] + (column * column_stride)[None, :]
        values = _wide(tl.load(place, mask=there[:, None] & here, other=0.0))
        inside = (target < m)[:, None] & there[None, :]
        weights = tl.load(mixing + (target * n)[:, None] + source[None, :], mask=inside, other=0.0)
        total = tl.dot(weights, values, total, out_dtype=tl.float64)
    place = mixed + target.to(tl.int64)[:, None] * mixed_stride + column[None, :]
    tl.store(place, _narrow(total, mixed), mask=(target < m)[:, None] & here)


@jit
def _tile(data, row_stride, column_stride, columns, order, n, rows: tl.constexpr, width: tl.constexpr):
    """The program's columns of all rows, halves as float32, and in which columns a value is bad.

    Rows past the last are infinite; columns past the last are that one again, which spares a mask for each value.
    """
    column = tl.minimum(tl.program_id(0).to(tl.int64) * width + tl.arange(0, width), columns - 1)
    position = tl.arange(0, rows)
    there = (position < n)[:, None]
    row = tl.load(order + position, mask=position < n, other=0) * row_stride
    tile = tl.load(data + row[:, None] + (column * column_stride)[None, :], mask=there, other=float("inf"))
    if tile.dtype.primitive_bitwidth < 32:
        tile = tile.to(tl.float32)
    return tile, tl.max((there & ~(tl.abs(tile) < float("inf"))).to(tl.int32), axis=0)


@jit
def _tell(bad, data, row_stride, column_stride, columns, order, n, wrong, width: tl.constexpr):
    """Mark the rows that hold a value that is bad; nearly always there is none, and no row is read again."""
    if tl.max(bad, axis=0) > 0:
        column = tl.program_id(0).to(tl.int64) * width + tl.arange(0, width)
        for k in range(n):
            place = data + tl.load(order + k) * row_stride + column * column_stride
            values = tl.load(place, mask=column < columns, other=0.0)
            if values.dtype.primitive_bitwidth < 32:
                values = values.to(tl.float32)
            tl.store(wrong + k, 1, mask=tl.max((~(tl.abs(values) < float("inf"))).to(tl.int32), axis=0) > 0)


@jit(do_not_specialize=["row_stride", "columns", "n", "low", "high"])
def _in_registers(
    data,
    row_stride,
    column_stride,
    columns,
    order,
    n,
    low,
    high,
    share,
    found,
    wrong,
    layers: tl.constexpr,
    wires: tl.constexpr,
    bits: tl.constexpr,
    width: tl.constexpr,
):
    """Each thread sorts its columns in its own registers: one read, and comparisons that hide behind it."""
    column = tl.program_id(0).to(tl.int64) * width + tl.arange(0, width)
    tile, bad = _tile(data, row_stride, column_stride, columns, order, n, 1 << bits, width)
    # One load and then halves of halves until there is a tensor per row: a load per row would keep Triton's compiler
    # busy for minutes.
    rows = (tile,)
    for level in tl.static_range(bits):
        halves = ()
        for k in tl.static_range(len(rows)):
            both = tl.permute(tl.reshape(rows[k], (2, 1 << (bits - 1 - level), width)), (1, 2, 0))
            halves = halves + tl.split(both)
        rows = halves
    values = ()
    for k in tl.static_range(wires):
        values = values + (tl.reshape(rows[k], (width,)),)
    for layer in tl.static_range(len(layers)):
        ordered = ()
        for k in tl.static_range(wires):
            if layers[layer][k] == k:
                ordered = ordered + (values[k],)
            elif layers[layer][k] > k:
                ordered = ordered + (tl.minimum(values[k], values[layers[layer][k]]),)
            else:
                ordered = ordered + (tl.maximum(values[layers[layer][k]], values[k]),)
        values = ordered
    total = tl.zeros((width,), tl.float64)
    for k in tl.static_range(wires):
        value = tl.where((k >= low) & (k < high), values[k], 0.0)
        total += value.to(tl.float64) * share
    mean = total / (share * (high - low))
    tl.store(found + column, _narrow(mean, found), mask=column < columns)
    _tell(bad, data, row_stride, column_stride, columns, order, n, wrong, width)


@jit(do_not_specialize=["row_stride", "columns", "n", "low", "high"])
def _by_bisection(
    data,
    row_stride,
    column_stride,
    columns,
    order,
    n,
    low,
    high,
    share,
    found,
    wrong,
    rows: tl.constexpr,
    single: tl.constexpr,
    width: tl.constexpr,
):
    """The least and the largest value asked for by bisection on their ordered bits, and the sum of what is between."""
    column = tl.program_id(0).to(tl.int64) * width + tl.arange(0, width)
    tile, bad = _tile(data, row_stride, column_stride, columns, order, n, rows, width)
    if tile.dtype == tl.float64:
        bits = tile.to(tl.uint64, bitcast=True)
        top = tl.full((), 1 << 63, tl.uint64)
    else:
        bits = tile.to(tl.uint32, bitcast=True)
        top = tl.full((), 1 << 31, tl.uint32)
    # unsigned numbers in the order of the values: all bits of the negative ones are turned, of the others the sign
    keys = tl.where((bits & top) != 0, bits ^ (top | (top - 1)), bits | top)
    least = tl.zeros((width,), keys.dtype)
    most = tl.zeros((width,), keys.dtype)
    bit = top
    while bit != 0:
        least = tl.where(tl.sum((keys < (least | bit)[None, :]).to(tl.int32), axis=0) <= low, least | bit, least)
        if not single:
            most = tl.where(tl.sum((keys < (most | bit)[None, :]).to(tl.int32), axis=0) < high, most | bit, most)
        bit = bit >> 1
    if single:
        most = least
    between = (keys > least[None, :]) & (keys < most[None, :])
    total = tl.sum(tl.where(between, tile, 0.0).to(tl.float64) * share, axis=0)
    lowest = tl.max(tl.where(keys == least[None, :], tile, -float("inf")), axis=0).to(tl.float64)
    highest = tl.max(tl.where(keys == most[None, :], tile, -float("inf")), axis=0).to(tl.float64)
    below = tl.minimum(tl.sum((keys <= least[None, :]).to(tl.int32), axis=0), high) - low
    above = tl.where(least == most, 0, high - tl.sum((keys < most[None, :]).to(tl.int32), axis=0))
    total += lowest * (below * share).to(tl.float64) + highest * (above * share).to(tl.float64)
    mean = total / (share * (high - low))
    tl.store(found + column, _narrow(mean, found), mask=column < columns)
    _tell(bad, data, row_stride, column_stride, columns, order, n, wrong, width)
