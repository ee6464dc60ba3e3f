"""Order statistics of many rows: the values of two ranks are found by bisection, the rest lies between them.

A float's bits, read as a whole number with the negative ones turned around, are in the order of the floats. Sixteen
bits at a time are found by halving: the work grows with the number of rows, where a comparator network's grows faster.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from .lanes import BYTES, COLUMNS, copy_vector, write_ranked, write_sums

Block = NDArray[Any]
Order = NDArray[np.intp]

BITS = {np.dtype(np.float32): np.empty(0, np.uint32), np.dtype(np.float64): np.empty(0, np.uint64)}
MOST = 1 << 16  # rows: counts are made in sixteen bits
FEW = 64  # keys of a column that are put in order one by one

jit: Any = numba.njit(cache=True, nogil=True, error_model="numpy")


def select(
    like: Block,
    rows: Order,
    weights: Block,
    factors: Block,
    n: int,
    low: int,
    high: int,
    start: int,
    stop: int,
    out: int,
) -> bool:
    """Write the mean of the values ranked `low` to `high` of `n` rows, or sums of rows; tells if all are finite."""
    return _select(like, BITS[like.dtype], rows, weights, factors, n, low, high, start, stop, out)


@jit
def _select(
    like: Block,
    bits: Block,
    rows: Order,
    weights: Block,
    factors: Block,
    n: int,
    low: int,
    high: int,
    start: int,
    stop: int,
    out: int,
) -> bool:
    step = BYTES // like.itemsize
    held = np.empty((max(n, len(factors)), COLUMNS), like.dtype)
    places = np.intp(held.ctypes.data) + np.arange(len(held)) * (COLUMNS * like.itemsize)
    keys, digits = np.empty((n, COLUMNS), bits.dtype), np.empty((n, COLUMNS), np.uint16)
    least, most = np.empty(COLUMNS, bits.dtype), np.empty(COLUMNS, bits.dtype)
    mean = np.empty(COLUMNS, like.dtype)
    finite = True
    for column in range(start, stop, COLUMNS):
        for at in range(0, COLUMNS, step):
            if len(factors):
                for i in range(0, len(factors), 10):
                    write_sums(like, rows, column + at, weights, factors, i, 10, places + at * like.itemsize)
            else:
                for i in range(n):
                    copy_vector(like, rows[i], column + at, places[i], at)
        finite &= _make_keys(held, held.view(bits.dtype), keys, digits)
        _find(keys, digits, low, least)
        if high - low > 1:
            _find(keys, digits, high - 1, most)
        else:
            most[:] = least
        _mean_between(held[:n], low, high, _floats(least, like), _floats(most, like), mean)
        for at in range(0, COLUMNS, step):
            copy_vector(like, np.intp(mean.ctypes.data), at, out, column - start + at)
    return finite


@jit
def _make_keys(held: Block, held_bits: Block, keys: Block, digits: Block) -> bool:
    """Write the floats' bits in the order of the floats, and the first sixteen; tells whether all are finite."""
    first = keys.dtype.type(8 * keys.itemsize - 16)
    sign = keys.dtype.type(1) << keys.dtype.type(8 * keys.itemsize - 1)
    zero, all_ones = keys.dtype.type(0), ~keys.dtype.type(0)
    wrong = 0
    for i in range(len(keys)):
        values, source, target, digit = held[i], held_bits[i], keys[i], digits[i]
        for c in range(COLUMNS):
            target[c] = source[c] ^ (all_ones if source[c] & sign != zero else sign)
            digit[c] = target[c] >> first
            wrong |= not (abs(values[c]) < np.inf)
    return wrong == 0


@jit
def _find(keys: Block, digits: Block, rank: int, found: Block) -> None:
    """Write the key ranked `rank` of each column; `digits` are the keys' first sixteen bits.

    Few keys of a column begin with the same sixteen bits, so that these few are put in order. Where they are many, as
    where values are equal, the next sixteen bits are found like the first.
    """
    number = keys.dtype.type
    sixteen = number(16)
    n = len(keys)
    part = np.empty(COLUMNS, np.uint16)
    write_ranked(digits, n, rank, part)
    few = np.empty((COLUMNS, FEW), keys.dtype)
    if _gather(keys, digits, part, rank, few, found):
        return
    for c in range(COLUMNS):
        found[c] = part[c]
    others = np.empty((n, COLUMNS), np.uint16)
    for shift in range(8 * keys.itemsize - 32, -1, -16):
        for i in range(n):
            key, digit = keys[i], others[i]
            for c in range(COLUMNS):
                shifted = key[c] >> number(shift)
                above = shifted >> sixteen
                outside = np.uint16(0) if above < found[c] else np.uint16(0xFFFF)
                digit[c] = np.uint16(shifted) if above == found[c] else outside
        write_ranked(others, n, rank, part)
        for c in range(COLUMNS):
            found[c] = (found[c] << sixteen) | number(part[c])


@jit
def _gather(keys: Block, digits: Block, part: Block, rank: int, few: Block, found: Block) -> bool:
    """Write the key ranked `rank` of each column, if few keys begin with its sixteen bits; tells whether that is so."""
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
def _floats(keys: Block, like: Block) -> Block:
    """The floats of which these are the keys."""
    sign = keys.dtype.type(1) << keys.dtype.type(8 * keys.itemsize - 1)
    zero = keys.dtype.type(0)
    for c in range(COLUMNS):
        keys[c] = keys[c] ^ sign if keys[c] & sign != zero else ~keys[c]
    return keys.view(like.dtype)


@jit
def _mean_between(held: Block, low: int, high: int, least: Block, most: Block, mean: Block) -> None:
    """Write the mean of the values ranked `low` to `high`, of which `least` and `most` are the first and the last."""
    share = 1.0  # of each value in the sum, a power of two: a sum of the largest floats would overflow
    while share * (high - low) > 1:
        share /= 2
    total = np.zeros(COLUMNS)
    up_to_least, below_most = np.zeros(COLUMNS, np.int32), np.zeros(COLUMNS, np.int32)
    for i in range(len(held)):
        values = held[i]
        for c in range(COLUMNS):
            value = values[c]
            total[c] += value * share if (value > least[c]) & (value < most[c]) else 0.0
            up_to_least[c] += value <= least[c]
            below_most[c] += value < most[c]
    for c in range(COLUMNS):
        if least[c] == most[c]:
            mean[c] = least[c]
        else:
            ties = least[c] * share * (up_to_least[c] - low) + most[c] * share * (high - below_most[c])
            mean[c] = (total[c] + ties) / (share * (high - low))
