"""The majority of signs in each column of NumPy arrays, and how often each row is against it."""

# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Numba and llvmlite ship no types: see `lanes`.
from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numpy.typing import NDArray

from . import stream, tasks
from .compiled import jit
from .lanes import INDEX, SIDE, Lanes, instructions
from .tasks import LANES, Block, Order, Span, threads

Counts = NDArray[np.int64]

CACHED = 1 << 17  # values of a tile: it is read from memory once, and then from a core's own cache
SMALL = ir.IntType(32)  # a sum of signs: as wide as float32


def sign_votes(data: Block, order: Order) -> Counts:
    """See `kernels.sign_votes`. Rows are read where they lie, and counts are whole: no task changes another's."""
    n = len(order)
    width = max(CACHED // max(n, 1) // LANES, 8) * LANES

    def work(start: int, stop: int) -> Counts:
        span = Span(data, start, stop)
        count = span.last - span.first
        nothing = np.zeros(count if n % SIDE else 0, span.like.dtype)  # votes for nothing, to fill the last block
        rows = np.append(span.begins[order], np.repeat(nothing.ctypes.data, -n % SIDE))
        votes = np.zeros((len(rows), 2), np.int64)
        _count_votes(span.like, rows, count, np.empty(width, np.int32), votes)
        stream.release(data, start, stop)
        return votes[:n]

    votes = np.zeros((n, 2), np.int64)
    for part in threads.each(work, tasks.spans(data, LANES)):
        votes += part
    return votes


@instructions
def add_signs(typing: Any, like: Any, rows: Any, first: Any, start: Any, stop: Any, balance: Any) -> Any:
    """Add to `balance` the signs of rows `first` to `first + SIDE` in the columns `start` to `stop`, -1, 0 or 1."""
    signature = types.none(like, rows, first, start, stop, balance)

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        places, top, begin, end, sums = values[1:6]
        lanes = Lanes(context, builder, like)
        at = [builder.load(lanes.element(rows, places, lanes.plus(top, p))) for p in range(SIDE)]
        with cgutils.for_range_slice(builder, begin, end, lanes.step) as (here, _):
            place = _vector_of_sums(lanes, balance, sums, builder.sub(here, begin))
            total = builder.load(place, align=4)
            for address in at:
                below, above = _signs(lanes, address, here)
                total = builder.sub(
                    builder.add(total, builder.zext(above, total.type)), builder.zext(below, total.type)
                )
            builder.store(total, place, align=4)
        return context.get_dummy_value()

    return signature, generate


@instructions
def count_against(
    typing: Any, like: Any, rows: Any, first: Any, start: Any, stop: Any, balance: Any, votes: Any
) -> Any:
    """Add to `votes[first + p]` in how many columns row `first + p` is against the others, and in how many it counts.

    `balance` are all rows' signs, added up, from which a row takes its own away; `p` is less than `SIDE`.
    """
    signature = types.none(like, rows, first, start, stop, balance, votes)

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        places, top, begin, end, sums, table = values[1:7]
        lanes = Lanes(context, builder, like)
        at = [builder.load(lanes.element(rows, places, lanes.plus(top, p))) for p in range(SIDE)]
        found = [[lanes.variable(ir.Constant(INDEX, 0)) for _ in range(2)] for _ in range(SIDE)]
        kind = ir.VectorType(SMALL, lanes.count)
        none, one, minus = (ir.Constant(kind, [number] * lanes.count) for number in (0, 1, -1))
        with cgutils.for_range_slice(builder, begin, end, lanes.step) as (here, _):
            total = builder.load(_vector_of_sums(lanes, balance, sums, builder.sub(here, begin)), align=4)
            others_below, others_above = (builder.icmp_signed(sign, total, none) for sign in ("<=", ">="))
            counts_above, counts_below = (builder.icmp_signed("!=", total, own) for own in (one, minus))
            for p, address in enumerate(at):
                below, above = _signs(lanes, address, here)
                against = builder.or_(builder.and_(above, others_below), builder.and_(below, others_above))
                counted = builder.or_(builder.and_(above, counts_above), builder.and_(below, counts_below))
                for such, variable in zip((against, counted), found[p], strict=True):
                    count = builder.ctpop(builder.bitcast(such, ir.IntType(lanes.count)))
                    builder.store(builder.add(builder.load(variable), builder.zext(count, INDEX)), variable)
        for p, variables in enumerate(found):
            position = builder.mul(lanes.plus(top, p), ir.Constant(INDEX, 2))
            for k, variable in enumerate(variables):
                entry = lanes.element(votes, table, lanes.plus(position, k))
                builder.store(builder.add(builder.load(entry), builder.load(variable)), entry)
        return context.get_dummy_value()

    return signature, generate


def _signs(lanes: Lanes, address: Any, column: Any) -> tuple[Any, Any]:
    """Which of a row's values from a column on are negative, and which positive; zeros of either sign are neither."""
    values, zero = lanes.load(address, column), ir.Constant(lanes.vector, None)
    return lanes.builder.fcmp_ordered("<", values, zero), lanes.builder.fcmp_ordered(">", values, zero)


def _vector_of_sums(lanes: Lanes, kind: Any, sums: Any, position: Any) -> Any:
    """The pointer to as many sums as a vector of a row has values."""
    place = lanes.element(kind, sums, position)
    return lanes.builder.bitcast(place, ir.VectorType(SMALL, lanes.count).as_pointer())


@jit
def _count_votes(like: Block, rows: Order, count: int, balance: Block, votes: Counts) -> None:
    for low in range(0, count, len(balance)):
        high = min(low + len(balance), count)
        balance[:] = 0
        for i in range(0, len(rows), SIDE):
            add_signs(like, rows, i, low, high, balance)
        for i in range(0, len(rows), SIDE):
            count_against(like, rows, i, low, high, balance, votes)
