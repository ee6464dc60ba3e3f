"""The innermost loops, written out as vector instructions, which Numba inlines into the loops that call them.

What Numba makes of a loop depends on the compiler's judgement. Here every sum adds up in one order on every machine,
whatever stands beside it; numbers stay in registers; and a network of a thousand comparators compiles in a second. A
row is given by its address, so rows need not lie beside each other and are never copied. `like` is an array of the
rows' dtype; columns are counted from the rows' beginnings and read a vector at a time, so callers see to it that whole
vectors are there.
"""

# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Numba and llvmlite ship no types: everything here is an instruction or the type of one.
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .order import network, window_network

BYTES = 64  # of a vector: one cache line, and the widest registers there are
SIDE = 5  # rows to a side of a block of pairs: 25 sums and what they are made of fill the registers
TILE = 1 << 12  # columns that all rows are read at before the next ones: a pair's sum there is made in the rows' dtype
AHEAD = 2  # vectors by which columns are fetched before they are read
BLOCK = 10  # weighted sums, or rows of one, made at a time: they fill the registers
SHORT_SUM = 10  # float32 products added up before their sum joins the others: fewer roundings in a row

COLUMNS = 32  # whose 16-bit digits fill a vector

NEAREST = -1  # in the place of a first rank: the values nearest the median

instructions: Any = intrinsic(prefer_literal=True)

DOUBLE = ir.DoubleType()
INDEX = ir.IntType(64)


class Lanes:
    """The instructions of one loop, on vectors of rows of one dtype."""

    def __init__(self, context: Any, builder: Any, like: Any, wide: bool = False) -> None:
        self.context, self.builder = context, builder
        self.double = like.dtype == types.float64
        self.size = 8 if self.double else 4
        self.count = BYTES // (8 if wide else self.size)  # as many as fit a register once they are widened
        self.vector = ir.VectorType(DOUBLE if self.double else ir.FloatType(), self.count)
        self.wide = ir.VectorType(DOUBLE, self.count)
        self.step = ir.Constant(INDEX, self.count)

    def element(self, array_type: Any, array: Any, position: Any) -> Any:
        """The pointer to an element of a contiguous array."""
        assert array_type.layout == "C", array_type
        return self.builder.gep(self.context.make_array(array_type)(self.context, self.builder, array).data, [position])

    def length(self, array_type: Any, array: Any) -> Any:
        """The last dimension of an array."""
        shape = self.context.make_array(array_type)(self.context, self.builder, array).shape
        return cgutils.unpack_tuple(self.builder, shape)[-1]

    def plus(self, number: Any, constant: int) -> Any:
        """A number more by a constant."""
        return self.builder.add(number, ir.Constant(INDEX, constant))

    def load(self, address: Any, column: Any) -> Any:
        """The vector of a row's values from a column on."""
        value = self.builder.load(self._pointer(address, column))
        value.align = self.size
        return value

    def fetch(self, address: Any, column: Any) -> None:
        """Have a row's values from a column on brought to the cache, whether there are such or not."""
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        prefetch = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        place = self.builder.bitcast(self._pointer(address, column), byte)
        self.builder.call(prefetch, [place, *(ir.Constant(flag, number) for number in (0, 2, 1))])

    def store(self, value: Any, address: Any, column: Any) -> None:
        """Write a vector to a row from a column on."""
        self.builder.store(value, self._pointer(address, column)).align = self.size

    def _pointer(self, address: Any, column: Any) -> Any:
        start = self.builder.add(address, self.builder.mul(column, ir.Constant(INDEX, self.size)))
        return self.builder.inttoptr(start, self.vector.as_pointer())

    def variable(self, value: Any) -> Any:
        """A variable that holds `value` whenever the instructions come by here; it will live in a register."""
        variable = cgutils.alloca_once(self.builder, value.type)
        self.builder.store(value, variable)
        return variable

    def add_product(self, a: Any, b: Any, variable: Any) -> None:
        """Add a * b to a variable, rounding once."""
        kind = a.type
        name = f"llvm.fma.v{kind.count}f{64 if kind.element == DOUBLE else 32}"
        fma = cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(kind, [kind] * 3), name)
        self.builder.store(self.builder.call(fma, [a, b, self.builder.load(variable)]), variable)

    def widened(self, value: Any) -> Any:
        """A vector in float64."""
        return value if value.type == self.wide else self.builder.fpext(value, self.wide)

    def narrowed(self, value: Any) -> Any:
        """A vector in the rows' dtype."""
        return value if value.type == self.vector else self.builder.fptrunc(value, self.vector)

    def everywhere(self, value: Any) -> Any:
        """A vector that holds one number in all lanes."""
        zero, kind = ir.Constant(ir.IntType(32), 0), ir.VectorType(value.type, self.count)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, zero)
        return self.builder.shuffle_vector(one, one, self._mask([0] * self.count))

    def total(self, value: Any) -> Any:
        """The sum of the lanes of a vector of float64: halves are added until one is left."""
        half = self.count // 2
        while half:
            low, high = (
                self.builder.shuffle_vector(value, value, self._mask(list(range(start, start + half))))
                for start in (0, half)
            )
            value, half = self.builder.fadd(low, high), half // 2
        return self.builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    def _mask(self, picked: list[int]) -> Any:
        return ir.Constant(ir.VectorType(ir.IntType(32), len(picked)), picked)


SQUARE, TRIANGLE, PRODUCTS = 0, 1, 2  # kinds of a block of pairs


@instructions
def add_pairs(
    typing: Any, like: Any, left: Any, right: Any, start: Any, stop: Any, sums: Any, i: Any, j: Any, kind: Any,
    exact: Any,
) -> Any:  # fmt: skip
    """Add to `sums[i + p, j + q]` what rows `left[i + p]` and `right[j + q]` have in the columns `start` to `stop`.

    That is their squared distance, or in a block of `PRODUCTS` their inner product; `p` and `q` are less than `SIDE`. A
    `TRIANGLE` has the same rows on both sides; then `q` >= `p`, and on the diagonal are squared lengths. Each lane adds
    up its columns in the rows' dtype, or where it is `exact` in float64; lanes are added in float64.
    """
    within, product, wide = kind.literal_value == TRIANGLE, kind.literal_value == PRODUCTS, bool(exact.literal_value)
    signature = types.none(like, left, right, start, stop, sums, i, j, kind, exact)
    pairs = [(p, q) for p in range(SIDE) for q in range(p if within else 0, SIDE)]

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        a_list, b_list, first, last, matrix, row, column = values[1:8]
        lanes = Lanes(context, builder, like, wide)
        a_at, b_at = (
            [builder.load(lanes.element(kind, places, lanes.plus(at, p))) for p in range(SIDE)]
            for kind, places, at in ((left, a_list, row), (right, b_list, column))
        )
        zero = ir.Constant(lanes.wide if wide else lanes.vector, None)
        found = {pair: lanes.variable(zero) for pair in pairs}
        with cgutils.for_range_slice(builder, first, last, lanes.step) as (here, _):
            a, b = (
                [lanes.widened(x) if wide else x for x in (lanes.load(address, here) for address in places)]
                for places in (a_at, b_at)
            )
            if within:  # the one block of these rows that every tile has
                for address in a_at:
                    lanes.fetch(address, lanes.plus(here, TILE))
            for p, q in pairs:
                if product:
                    lanes.add_product(a[p], b[q], found[p, q])
                    continue
                away = a[p] if within and p == q else builder.fsub(a[p], b[q])
                lanes.add_product(away, away, found[p, q])
        width = lanes.length(sums, matrix)
        for p, q in pairs:
            position = builder.add(builder.mul(lanes.plus(row, p), width), lanes.plus(column, q))
            entry = lanes.element(sums, matrix, position)
            total = lanes.total(lanes.widened(builder.load(found[p, q])))
            builder.store(builder.fadd(builder.load(entry), total), entry)
        return context.get_dummy_value()

    return signature, generate


@instructions
def count_signs(typing: Any, like: Any, rows: Any, first: Any, start: Any, stop: Any, counts: Any) -> Any:
    """Add to `counts[first + p]` how many values of row `rows[first + p]` are negative, and how many positive.

    Those are of the columns `start` to `stop`, and `p` is less than `SIDE`; zeros of either sign are neither.
    """
    signature = types.none(like, rows, first, start, stop, counts)

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        places, top, begin, end, table = values[1:6]
        lanes = Lanes(context, builder, like)
        at = [builder.load(lanes.element(rows, places, lanes.plus(top, p))) for p in range(SIDE)]
        found = {(p, sign): lanes.variable(ir.Constant(INDEX, 0)) for p in range(SIDE) for sign in "<>"}
        with cgutils.for_range_slice(builder, begin, end, lanes.step) as (here, _):
            for p, address in enumerate(at):
                x = lanes.load(address, here)
                for sign in "<>":
                    such = builder.fcmp_ordered(sign, x, ir.Constant(lanes.vector, None))
                    count = builder.ctpop(builder.bitcast(such, ir.IntType(lanes.count)))
                    total = builder.add(builder.load(found[p, sign]), builder.zext(count, INDEX))
                    builder.store(total, found[p, sign])
        for (p, sign), total in found.items():
            position = builder.mul(lanes.plus(top, p), ir.Constant(INDEX, 2))
            entry = lanes.element(counts, table, lanes.plus(position, "<>".index(sign)))
            builder.store(builder.add(builder.load(entry), builder.load(total)), entry)
        return context.get_dummy_value()

    return signature, generate


@instructions
def write_sums(
    typing: Any, like: Any, rows: Any, column: Any, weights: Any, scale: Any, first: Any, height: Any, out: Any
) -> Any:
    """Write weighted sums of a vector of the rows' columns to the beginnings of the rows `out`.

    The sums are those of the weights' rows `first` to `first + height`, times `scale` of the row. With float64 weights
    and scale all is done in float64, with float32 ones in float32: `SHORT_SUM` products at a time, then their sums.
    """
    heights = range(height.literal_value)
    quick = weights.dtype == types.float32
    signature = types.none(like, rows, column, weights, scale, first, height, out)

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        places, begin, matrix, factors, top, targets = (values[k] for k in (1, 2, 3, 4, 5, 7))
        lanes = Lanes(context, builder, like)
        count, zero = lanes.length(rows, places), ir.Constant(INDEX, 0)
        nothing = ir.Constant(lanes.vector if quick else lanes.wide, None)

        def add(start: Any, stop: Any, sums: list[Any]) -> None:
            with cgutils.for_range_slice(builder, start, stop, ir.Constant(INDEX, 1)) as (row, _):
                x = lanes.load(builder.load(lanes.element(rows, places, row)), begin)
                x = x if quick else lanes.widened(x)
                for p in heights:
                    position = builder.add(builder.mul(lanes.plus(top, p), count), row)
                    weight = builder.load(lanes.element(weights, matrix, position))
                    lanes.add_product(lanes.everywhere(weight), x, sums[p])

        totals = [lanes.variable(nothing) for _ in heights]
        if quick:
            short = ir.Constant(INDEX, SHORT_SUM)
            with cgutils.for_range_slice(builder, zero, count, short) as (start, _):
                stop = builder.add(start, short)
                stop = builder.select(builder.icmp_signed("<", stop, count), stop, count)
                sums = [lanes.variable(nothing) for _ in heights]
                add(start, stop, sums)
                for total, own in zip(totals, sums, strict=True):
                    builder.store(builder.fadd(builder.load(total), builder.load(own)), total)
        else:
            add(zero, count, totals)
        for p, total in enumerate(totals):
            place = builder.load(lanes.element(out, targets, lanes.plus(top, p)))
            factor = builder.load(lanes.element(scale, factors, lanes.plus(top, p)))
            found = builder.fmul(lanes.everywhere(factor), builder.load(total))
            lanes.store(lanes.narrowed(found), place, zero)
        return context.get_dummy_value()

    return signature, generate


@instructions
def add_rows(
    typing: Any, like: Any, rows: Any, weights: Any, first: Any, count: Any, start: Any, stop: Any, totals: Any
) -> Any:
    """Add `count` rows from `first` on, times their weights, to float64 `totals` of the columns `start` to `stop`."""
    several = range(count.literal_value)
    signature = types.none(like, rows, weights, first, count, start, stop, totals)

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        places, factors, top, begin, end, sums = (values[k] for k in (1, 2, 3, 5, 6, 7))
        lanes = Lanes(context, builder, like)
        at = [builder.load(lanes.element(rows, places, lanes.plus(top, p))) for p in several]
        weight = [lanes.everywhere(builder.load(lanes.element(weights, factors, lanes.plus(top, p)))) for p in several]
        with cgutils.for_range_slice(builder, begin, end, lanes.step) as (column, _):
            entry = lanes.element(totals, sums, builder.sub(column, begin))
            entry = builder.bitcast(entry, lanes.wide.as_pointer())
            before = builder.load(entry)
            before.align = 8
            total = lanes.variable(before)
            for p in several:
                lanes.add_product(weight[p], lanes.widened(lanes.load(at[p], column)), total)
            builder.store(builder.load(total), entry).align = 8
        return context.get_dummy_value()

    return signature, generate


@instructions
def fetch_ahead(typing: Any, like: Any, rows: Any, column: Any) -> Any:
    """Have the columns that are soon to be read brought to the cache: hardware foresees few rows' reading at a time."""
    signature = types.none(like, rows, column)

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        lanes = Lanes(context, builder, like)
        soon = lanes.plus(values[2], AHEAD * lanes.count)
        with cgutils.for_range(builder, lanes.length(rows, values[1])) as loop:
            lanes.fetch(builder.load(lanes.element(rows, values[1], loop.index)), soon)
        return context.get_dummy_value()

    return signature, generate


@instructions
def write_middle(
    typing: Any, like: Any, rows: Any, column: Any, weights: Any, scale: Any, n: Any, low: Any, high: Any, mixed: Any,
    out: Any, at: Any,
) -> Any:  # fmt: skip
    """Write the mean of the values ranked `low` to `high` of a vector of columns to the row `out` from `at` on.

    Where `low` is `NEAREST`, it is the mean of the `high` values nearest the median (see `NearMedian`). The values are
    those of the `n` rows, or where they are `mixed` of `n` weighted sums of them, made as in `write_sums`. Tells
    whether all were finite. All is unrolled: values meet in registers.
    """
    count, least, most, own = n.literal_value, low.literal_value, high.literal_value, not mixed.literal_value
    quick = weights.dtype == types.float32
    signature = types.boolean(like, rows, column, weights, scale, n, low, high, mixed, out, at)

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        places, begin, matrix, factors, target, position = (values[k] for k in (1, 2, 3, 4, 9, 10))
        lanes = Lanes(context, builder, like)
        zero = ir.Constant(lanes.vector, None)

        def number(kind: Any, array: Any, place: int) -> Any:
            return builder.load(lanes.element(kind, array, ir.Constant(INDEX, place)))

        def weighted_sum(row: int) -> Any:
            total = None
            for start in range(0, count, SHORT_SUM):
                part = lanes.variable(ir.Constant(x[0].type, None))
                for k in range(start, min(start + SHORT_SUM, count)):
                    lanes.add_product(lanes.everywhere(number(weights, matrix, row * count + k)), x[k], part)
                total = builder.load(part) if total is None else builder.fadd(total, builder.load(part))
            return lanes.narrowed(builder.fmul(lanes.everywhere(number(scale, factors, row)), total))

        x = [lanes.load(number(rows, places, k), begin) for k in range(count)]
        if not own:
            x = x if quick else [lanes.widened(value) for value in x]
            x = [weighted_sum(row) for row in range(count)]
        check = lanes.variable(zero)
        for value in x:
            lanes.add_product(value, zero, check)  # NaN from the first value on that is not finite
        near = least == NEAREST
        for a, b in (window_network(count, most) if near else network(count, least, most)).tolist():
            less = builder.fcmp_ordered("<", x[a], x[b])
            x[a], x[b] = builder.select(less, x[a], x[b]), builder.select(less, x[b], x[a])
        lanes.store(_mean(lanes, _nearest(lanes, x, most) if near else x[least:most]), target, position)
        bits = ir.IntType(lanes.count)
        finite = builder.bitcast(builder.fcmp_ordered("==", builder.load(check), zero), bits)
        return builder.icmp_unsigned("==", finite, ir.Constant(bits, -1))

    return signature, generate


def _nearest(lanes: Lanes, x: list[Any], count: int) -> list[Any]:
    """Vectors whose mean is that of the `count` values nearest the median, of values in order.

    A window of as many neighbors holds one rank of each remainder by their number, so that each step exchanges one.
    What is nearer follows from sums of halves in float64, which do not overflow and have room for two float32.
    """
    builder, n = lanes.builder, len(x)
    half = ir.Constant(lanes.wide, [0.5] * lanes.count)
    halves = [builder.fmul(lanes.widened(value), half) for value in x]
    middle = builder.fadd(halves[(n - 1) // 2], halves[n // 2])
    least, most = x[:count], x[:count]  # where the step to what is as near is not taken, and where it is
    for start in range(n - count):
        ends, place = builder.fadd(halves[start], halves[start + count]), start % count
        for kept, taken in ((least, "<"), (most, "<=")):
            kept[place] = builder.select(builder.fcmp_ordered(taken, ends, middle), x[start + count], kept[place])
    for place in range(min(n - count, count)):
        one, other = lanes.widened(least[place]), lanes.widened(most[place])
        tied = builder.fadd(builder.fmul(one, half), builder.fmul(other, half))
        # half of the smallest float64 is none
        least[place] = builder.select(builder.fcmp_ordered("==", one, other), one, tied)
    return least


def _mean(lanes: Lanes, values: list[Any]) -> Any:
    """The mean of vectors, added up in float64; a sum of the largest floats does not overflow."""
    if len(values) == 1:
        return lanes.narrowed(values[0])
    terms = [lanes.widened(value) for value in values]
    mean = _share_of_sum(lanes, terms, 1.0)
    if lanes.double:
        scaled = _share_of_sum(lanes, terms, 0.5 ** len(terms).bit_length())
        away = lanes.builder.fsub(mean, mean)  # 0, or NaN where the sum was too large
        finite = lanes.builder.fcmp_ordered("==", away, ir.Constant(lanes.wide, None))
        mean = lanes.builder.select(finite, mean, scaled)
    return lanes.narrowed(mean)


def _share_of_sum(lanes: Lanes, terms: list[Any], share: float) -> Any:
    """The mean of vectors of float64, each taken times `share` before it is added."""
    builder = lanes.builder
    part, divisor = (ir.Constant(lanes.wide, [number] * lanes.count) for number in (share, share * len(terms)))
    parts = terms if share == 1.0 else [builder.fmul(term, part) for term in terms]
    total = parts[0]
    for term in parts[1:]:
        total = builder.fadd(total, term)
    return builder.fdiv(total, divisor)


@instructions
def copy_vector(typing: Any, like: Any, row: Any, column: Any, out: Any, at: Any) -> Any:
    """Copy a vector of one row's columns to another row from `at` on."""
    signature = types.none(like, row, column, out, at)

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        lanes = Lanes(context, builder, like)
        lanes.store(lanes.load(values[1], values[2]), values[3], values[4])
        return context.get_dummy_value()

    return signature, generate


@instructions
def put_in_order(typing: Any, like: Any, held: Any, carried: Any, comparators: Any) -> Any:
    """Compare and exchange rows of `held` `(n, 32)`, and with them float64 rows of `carried`, which decide on ties."""
    signature = types.none(like, held, carried, comparators)

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        lanes = Lanes(context, builder, like)
        columns, two = ir.Constant(INDEX, COLUMNS), ir.Constant(INDEX, 2)
        pairs = context.make_array(comparators)(context, builder, values[3])

        def pointers(kind: Any, array: Any, row: Any, vector: Any) -> list[Any]:
            start = builder.mul(row, columns)
            places = (lanes.element(kind, array, lanes.plus(start, at)) for at in range(0, COLUMNS, lanes.count))
            return [builder.bitcast(place, vector.as_pointer()) for place in places]

        def loaded(place: Any, size: int) -> Any:
            value = builder.load(place)
            value.align = size
            return value

        with cgutils.for_range(builder, cgutils.unpack_tuple(builder, pairs.shape)[0]) as loop:
            first = builder.mul(loop.index, two)
            rows = [builder.load(lanes.element(comparators, values[3], lanes.plus(first, k))) for k in range(2)]
            low, high = (pointers(held, values[1], row, lanes.vector) for row in rows)
            own, its = (pointers(carried, values[2], row, lanes.wide) for row in rows)
            for k in range(len(low)):
                x, y = loaded(low[k], lanes.size), loaded(high[k], lanes.size)
                v, w = loaded(own[k], 8), loaded(its[k], 8)
                tied = builder.and_(builder.fcmp_ordered("==", x, y), builder.fcmp_ordered(">", v, w))
                swap = builder.or_(builder.fcmp_ordered(">", x, y), tied)
                for place, kept, other, size in (
                    (low[k], x, y, lanes.size), (high[k], y, x, lanes.size), (own[k], v, w, 8), (its[k], w, v, 8)
                ):  # fmt: skip
                    builder.store(builder.select(swap, other, kept), place).align = size
        return context.get_dummy_value()

    return signature, generate


@instructions
def write_ranked(typing: Any, digits: Any, n: Any, rank: Any, out: Any) -> Any:
    """Write to `out` the digit ranked `rank` of each column of `digits` `(n, 32)`, uint16: bisection, bit by bit.

    A bit is set if with it no more than `rank` digits are less: sixteen times, all digits of a column are counted.
    """
    signature = types.none(digits, n, rank, out)

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        kind = ir.VectorType(ir.IntType(16), COLUMNS)
        lanes = Lanes(context, builder, types.Array(types.float32, 1, "C"))
        lanes.count = COLUMNS
        zero = ir.Constant(kind, None)
        start = lanes.element(digits, values[0], ir.Constant(INDEX, 0))
        rank_everywhere = lanes.everywhere(builder.trunc(values[2], ir.IntType(16)))
        found = zero
        for bit in reversed(range(16)):
            tried = builder.or_(found, ir.Constant(kind, [1 << bit] * COLUMNS))
            less = lanes.variable(zero)
            with cgutils.for_range(builder, values[1]) as loop:
                at = builder.gep(start, [builder.mul(loop.index, ir.Constant(INDEX, COLUMNS))])
                digit = builder.load(builder.bitcast(at, kind.as_pointer()))
                digit.align = 2
                below = builder.sext(builder.icmp_unsigned("<", digit, tried), kind)
                builder.store(builder.sub(builder.load(less), below), less)
            fits = builder.icmp_unsigned("<=", builder.load(less), rank_everywhere)
            found = builder.select(fits, tried, found)
        target = lanes.element(out, values[3], ir.Constant(INDEX, 0))
        builder.store(found, builder.bitcast(target, kind.as_pointer())).align = 2
        return context.get_dummy_value()

    return signature, generate
