"""Order statistics of many rows: the values of two ranks are found by bisection, the rest lies between them.

A float's bits, read as a whole number with the negative ones turned around, are in the order of the floats. Sixteen
bits at a time are found by halving: the work grows with the number of rows, where a comparator network's grows faster.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import jit
from .lanes import BLOCK, BYTES, COLUMNS, copy_vector, write_ranked, write_sums

Block = NDArray[Any]
Order = NDArray[np.intp]

BITS = {np.dtype(np.float32): np.uint32, np.dtype(np.float64): np.uint64}
MOST = (1 << 16) - 1  # rows: counts are made in sixteen bits
WIDE = 4 * COLUMNS  # columns copied at a time: rows far apart are slow to read in small pieces
FEW = 64  # keys of a column that are put in order one by one


def select(
    n: int,
    low: int,
    high: int,
    like: Block,
    rows: Order,
    held: Block,
    places: Order,
    weights: Block,
    factors: Block,
    start: int,
    stop: int,
    out: int,
) -> bool:
    """Write the mean of the values ranked `low` to `high` of `n` rows, or of `n` sums of rows, if there are weights.

    `held` is room for the values of `WIDE` columns, `COLUMNS` after `COLUMNS`, `places` are the addresses of its first
    rows, and `out` is where to write. Tells whether all values were finite.
    """
    bits = BITS[like.dtype]
    ends = np.empty((3, COLUMNS), like.dtype)  # the values of the first and the last rank, and the mean
    keys, digits = np.empty((n, COLUMNS), bits), np.empty((n, COLUMNS), np.uint16)
    return _select(
        like, rows, held, held.view(bits), places, weights, factors, low, high, start, stop, out,
        keys, digits, ends, ends.view(bits), ends.ctypes.data + ends.strides[0] * 2,
    )  # fmt: skip


@jit
def _select(
    like: Block,
    rows: Order,
    held: Block,
    held_bits: Block,
    places: Order,
    weights: Block,
    factors: Block,
    low: int,
    high: int,
    start: int,
    stop: int,
    out: int,
    keys: Block,
    digits: Block,
    ends: Block,
    ends_bits: Block,
    mean: int,
) -> bool:
    step = BYTES // like.itemsize
    finite = True
    for begin in range(start, stop, WIDE):
        turns = min(WIDE, stop - begin) // COLUMNS
        hold(like, rows, held, places, weights, factors, len(keys), begin, turns)
        for turn in range(turns):
            finite &= _make_keys(held[turn], held_bits[turn], keys, digits)
            for end in range(2):
                if end == 0 or high - low > 1:
                    _find(keys, digits, high - 1 if end else low, ends_bits[end])
                    _turn_back(ends_bits[end])
                else:  # one by one: an assignment of arrays would compile for seconds
                    for c in range(COLUMNS):
                        ends[1, c] = ends[0, c]
            _mean_between(held[turn, : len(keys)], low, high, ends[0], ends[1], ends[2])
            for at in range(0, COLUMNS, step):
                copy_vector(like, mean, at, out, begin - start + turn * COLUMNS + at)
    return finite


@jit
def hold(
    like: Block,
    rows: Order,
    held: Block,
    places: Order,
    weights: Block,
    factors: Block,
    n: int,
    begin: int,
    turns: int,
) -> None:
    """Write the values of `COLUMNS` columns after `COLUMNS`, from `begin` on, of the `n` rows or sums of rows."""
    step = BYTES // like.itemsize
    for i in range(0, len(factors), BLOCK):
        for at in range(0, turns * COLUMNS, step):
            there = places + (at // COLUMNS * held[0].nbytes + at % COLUMNS * like.itemsize)
            write_sums(like, rows, begin + at, weights, factors, i, BLOCK, there)
    for i in range(0 if len(factors) else n):
        for at in range(0, turns * COLUMNS, step):
            copy_vector(like, rows[i], begin + at, places[i] + at // COLUMNS * held[0].nbytes, at % COLUMNS)


@jit
def _make_keys(held: Block, held_bits: Block, keys: Block, digits: Block) -> bool:
    """Write the floats' bits in the order of the floats, and the first sixteen; tells whether all are finite."""
    size = np.uint64(8 * keys.itemsize)
    one, sixteen = np.uint64(1), np.uint64(16)
    wrong = 0
    for i in range(len(keys)):
        values, source, target, digit = held[i], held_bits[i], keys[i], digits[i]
        for c in range(COLUMNS):
            negative = source[c] >> (size - one)
            target[c] = ~source[c] if negative else source[c] | (one << (size - one))
            digit[c] = target[c] >> (size - sixteen)
            wrong |= not (abs(values[c]) < np.inf)
    return wrong == 0


@jit
def _turn_back(keys: Block) -> None:
    """Make keys the bits of their floats again."""
    size, one = np.uint64(8 * keys.itemsize), np.uint64(1)
    for c in range(COLUMNS):
        keys[c] = keys[c] ^ (one << (size - one)) if keys[c] >> (size - one) else ~keys[c]


@jit
def _find(keys: Block, digits: Block, rank: int, found: Block) -> None:
    """Write the key ranked `rank` of each column; `digits` are the keys' first sixteen bits.

    Few keys of a column begin with the same sixteen bits, so that these few are put in order. Where they are many, as
    where values are equal, the next sixteen bits are found like the first.
    """
    n, sixteen = len(keys), np.uint64(16)
    part = np.empty(COLUMNS, np.uint16)
    others = digits
    for shift in range(8 * keys.itemsize - 16, -1, -16):
        if shift < 8 * keys.itemsize - 16:
            if shift == 8 * keys.itemsize - 32:
                others = np.empty((n, COLUMNS), np.uint16)
            for i in range(n):
                key, digit = keys[i], others[i]
                for c in range(COLUMNS):
                    shifted = key[c] >> np.uint64(shift)
                    above = shifted >> sixteen
                    outside = np.uint16(0) if above < found[c] else np.uint16(0xFFFF)
                    digit[c] = np.uint16(shifted) if above == found[c] else outside
        write_ranked(others, n, rank, part)
        if shift == 8 * keys.itemsize - 16:
            if _gather(keys, digits, part, rank, found):
                return
            for c in range(COLUMNS):
                found[c] = 0
        for c in range(COLUMNS):
            found[c] = (found[c] << sixteen) | np.uint64(part[c])


@jit
def _gather(keys: Block, digits: Block, part: Block, rank: int, found: Block) -> bool:
    """Write the key ranked `rank` of each column, if few keys begin with its sixteen bits; tells whether that is so."""
    few = np.empty((COLUMNS, FEW), keys.dtype)
    counts, below = np.zeros(COLUMNS, np.int64), np.zeros(COLUMNS, np.uint16)
    for i in range(len(keys)):
        digit = digits[i]
        some = False
        for c in range(COLUMNS):
            below[c] += digit[c] < part[c]
            some |= digit[c] == part[c]
        if not some:
            continue
        key = keys[i]
        for c in range(COLUMNS):
            if digit[c] == part[c]:
                count = counts[c]
                if count == FEW:
                    return False
                column = few[c]
                while count and column[count - 1] > key[c]:
                    column[count] = column[count - 1]
                    count -= 1
                column[count] = key[c]
                counts[c] += 1
    for c in range(COLUMNS):
        found[c] = few[c, rank - np.int64(below[c])]
    return True


@jit
def _mean_between(held: Block, low: int, high: int, least: Block, most: Block, mean: Block) -> None:
    """Write the mean of the values ranked `low` to `high`, of which `least` and `most` are the first and the last."""
    share = 1.0  # a power of two: of each value in the other sum, for where a sum of the largest floats overflows
    while share * (high - low) > 0.5:
        share /= 2
    total, small = np.zeros(COLUMNS), np.zeros(COLUMNS)
    up_to_least, below_most = np.zeros(COLUMNS, np.int32), np.zeros(COLUMNS, np.int32)
    for i in range(len(held) if high - low > 2 else 0):
        values = held[i]
        for c in range(COLUMNS):
            value = values[c]
            inside = np.float64(value) if (value > least[c]) & (value < most[c]) else 0.0
            total[c] += inside
            small[c] += inside * share
            up_to_least[c] += value <= least[c]
            below_most[c] += value < most[c]
    for c in range(COLUMNS):
        first, last = np.float64(least[c]), np.float64(most[c])
        if first == last:
            mean[c] = first
            continue
        before, after = (1, 1) if high - low == 2 else (up_to_least[c] - low, high - below_most[c])
        found = (total[c] + first * before + last * after) / (high - low)
        if not abs(found) < np.inf:
            found = (small[c] + first * share * before + last * share * after) / (share * (high - low))
        mean[c] = found
