"""Pass 1 over NumPy arrays, layer by layer, with the signs of the values counted on the way."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import stream, tasks
from .compiled import jit
from .lanes import SIDE, SQUARE, TILE, TRIANGLE, add_pairs, count_signs
from .pairs import factors_of, is_exact, repaired
from .tasks import LANES, Block, Floats, Order, Span, threads

Counts = NDArray[np.int64]


def layers(data: Block, order: Order, scale: Floats, bounds: Order) -> tuple[Floats, Floats, Counts]:
    """See `kernels.layers`."""
    cut = list(itertools.pairwise(bounds.tolist()))
    exact = np.array([is_exact(data[:, start:stop], scale) for start, stop in cut], np.bool_)
    sums, signs = _layer_sums(data, order, scale, cut, exact)
    diagonals = np.einsum("lii->li", sums)  # a view
    norms = diagonals.copy()
    diagonals[:] = 0.0
    for layer, (start, stop) in enumerate(cut):
        distances = sums[layer]
        distances += distances.T
        if not exact[layer]:
            sums[layer], norms[layer] = repaired(data[:, start:stop], order, sums[layer], norms[layer])
    return sums, norms, signs


def _layer_sums(
    data: Block, order: Order, scale: Floats, cut: list[tuple[int, int]], exact: NDArray[np.bool_]
) -> tuple[Floats, Counts]:
    """What `_pair_sums` finds of each layer's columns `(L, n, n)`, to the last bit, and their signs `(L, n, 2)`."""
    n, factors, pieces = len(order), factors_of(data, order, scale), _pieces(cut)
    rows = np.pad(order, (0, -n % SIDE), mode="edge")

    def work(first: int, last: int) -> tuple[Floats, Counts]:
        own = pieces[first:last]
        sums, signs = np.zeros((len(own), len(rows), len(rows))), np.zeros((len(own), len(rows), 2), np.int64)
        for matrix, places in _sources(data, own):
            start, stop = int(places[0, 1]), int(places[-1, 2])
            held = Span(matrix, start, stop, factors, filled=True)
            plain = held if factors is None else Span(matrix, start, stop, filled=True)
            read = held.like, held.begins[rows], plain.like, plain.begins[rows]
            for exactly in (False, True):
                chosen = places[exact[own[places[:, 0], 0]] == exactly]
                if len(chosen):
                    _layer_loop(exactly)(*read, chosen - [0, start, start], sums, signs)
        stream.release(data, int(own[0, 1]), int(own[-1, 2]))
        return sums, signs

    sums, signs = np.zeros((len(cut), n, n)), np.zeros((len(cut), n, 2), np.int64)
    found = threads.each(work, _shares(pieces, len(data), n))
    parts = itertools.chain.from_iterable(zip(*both, strict=True) for both in found)
    for layer, (part, counts) in zip(pieces[:, 0].tolist(), parts, strict=True):
        total, count = sums[layer], signs[layer]
        total += part[:n, :n]
        count += counts[:n]
    return sums, signs


def _pieces(cut: list[tuple[int, int]]) -> Order:
    """Layers in chunks `(k, 3)`: layer, first and last column; what fills no vector is a piece of its own.

    >>> _pieces([(0, 70), (70, 70), (70, 73)]).tolist()
    [[0, 0, 64], [0, 64, 70], [2, 70, 73]]
    """
    pieces: list[tuple[int, int, int]] = []
    for layer, (start, stop) in enumerate(cut):
        whole = stop - (stop - start) % LANES
        pieces += [(layer, low, min(low + tasks.CHUNK, whole)) for low in range(start, whole, tasks.CHUNK)]
        pieces += [(layer, whole, stop)] * (whole < stop)
    return np.array(pieces, np.intp).reshape(-1, 3)


def _shares(pieces: Order, held: int, n: int) -> list[tuple[int, int]]:
    """Tasks, as ranges of pieces: of about `TASK` values to read, and sums of no more unless a piece has them."""
    step, most = max(tasks.TASK // max(held, 1), tasks.CHUNK), max(tasks.TASK // max(n * n, 1), 1)
    shares: list[tuple[int, int]] = []
    first = 0
    while first < len(pieces):
        within = int(np.searchsorted(pieces[:, 2], int(pieces[first, 1]) + step, "right"))
        shares.append((first, min(max(within, first + 1), first + most)))
        first = shares[-1][1]
    return shares


def _sources(data: Block, pieces: Order) -> Iterator[tuple[Block, Order]]:
    """Where the pieces are read, whole vectors each: a matrix, and `(k, 3)` of piece, first and last column there."""
    ragged = (pieces[:, 2] - pieces[:, 1]) % LANES > 0
    places = np.column_stack([np.arange(len(pieces)), pieces[:, 1:]])
    if not ragged.all():
        yield data, places[~ragged]
    if ragged.any():
        few = np.zeros((len(data), int(ragged.sum()) * LANES), data.dtype)
        begins = np.arange(0, few.shape[1], LANES)
        for begin, (_, start, stop) in zip(begins.tolist(), pieces[ragged].tolist(), strict=True):
            few[:, begin : begin + stop - start] = data[:, start:stop]
        yield few, np.column_stack([places[ragged, 0], begins, begins + LANES])


@functools.cache
def _layer_loop(exact: bool) -> Any:
    """Adds up pieces `(k, 3)`: place in `sums` and `signs`, first and last column. Signs are of the `plain` rows."""

    @jit
    def add_pieces(
        like: Block, rows: Order, plain_like: Block, plain: Order, pieces: Order, sums: Floats, signs: Counts
    ) -> None:
        for k in range(len(pieces)):
            found, count = sums[pieces[k, 0]], signs[pieces[k, 0]]
            for low in range(pieces[k, 1], pieces[k, 2], TILE):
                high = min(low + TILE, pieces[k, 2])
                for i in range(0, len(rows), SIDE):
                    for j in range(0, i, SIDE):
                        add_pairs(like, rows, rows, low, high, found, i, j, SQUARE, exact)
                    add_pairs(like, rows, rows, low, high, found, i, i, TRIANGLE, exact)
                    count_signs(plain_like, plain, i, low, high, count)

    return add_pieces
