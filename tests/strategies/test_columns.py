"""The columns of rows: layers, signs, tiles and samples, the same wherever rows lie and in whatever order they came."""

import itertools

import numpy as np
import pytest
import torch
from hawthorn.strategies import SettingError, UpdateError, Updates
from hawthorn.strategies.columns import Columns
from matrices import CASES, matrix
from numpy.testing import assert_allclose, assert_array_equal

BOUNDS = (0, 3, 3, 20, 23)


def canonical(rows):
    """Rows sorted by their first column, which differs in every round but those with ties."""
    return rows[np.argsort(rows[:, 0], kind="stable")]


def kinds(rows):
    """The same rows as everything that updates may be."""
    updates = Updates(len(rows), rows.shape[1], rows.dtype, memory=0)
    for row in rows:
        updates.next[:] = row
        updates.keep()
    return {"array": rows, "tensor": torch.tensor(rows), "mapped": updates, "Fortran": np.asfortranarray(rows)}


@pytest.mark.parametrize("kind", ["array", "tensor", "mapped", "Fortran"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_columns_are_those_of_the_rows_in_canonical_order(kind, dtype):
    rows = matrix("plain", 1, dtype=dtype)
    rows[:, 5::4] = 0.0
    columns, expected = Columns.of(kinds(rows)[kind], BOUNDS), canonical(rows).astype(np.float64)
    assert (columns.n, columns.d) == rows.shape
    assert_array_equal(columns.signs, np.column_stack([(expected < 0).sum(axis=1), (expected > 0).sum(axis=1)]))
    for width in (None, 1, 7, 100):
        tiles = list(columns.tiles(width))
        assert [tile[0] for tile in tiles[1:]] == [tile[1] for tile in tiles[:-1]]
        assert_array_equal(np.hstack([tile[2] for tile in tiles]), expected, strict=True)
    assert_array_equal(columns.sample(3), expected[:, [0, 11, 22]], strict=True)
    assert_array_equal(columns.sample(99), expected)
    assert_array_equal(columns.row(4), expected[4])
    for k in (1, 6, 23):
        assert_array_equal(columns.thresholds(k), np.sort(np.abs(expected), axis=1)[:, -k])
    for layer, (start, stop) in enumerate(itertools.pairwise(BOUNDS)):
        part = expected[:, start:stop]
        assert_allclose(columns.layers.norms[layer], np.linalg.norm(part, axis=1), rtol=1e-7)
        between = ((part[:, None] - part[None]) ** 2).sum(axis=2)
        assert_allclose(columns.layers.squared_distances[layer], between, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_what_columns_answer_is_finite_and_does_not_depend_on_the_order_of_the_rows(case):
    rows = matrix(case[0], 2, dtype=case[1])
    chosen = np.random.default_rng(2).permutation(len(rows))
    one, other = Columns.of(rows, BOUNDS), Columns.of(rows[chosen], BOUNDS)
    for name in ("squared_distances", "norms", "signs", "scale"):
        assert np.isfinite(getattr(one.layers, name)).all()
        assert_array_equal(getattr(one.layers, name), getattr(other.layers, name), strict=True)
    assert_array_equal(one.thresholds(5), other.thresholds(5))
    assert_array_equal(one.sample(8), other.sample(8))


def test_some_of_the_rows_have_the_layers_of_the_whole():
    rows = canonical(matrix("scattered", 3))
    kept = np.arange(len(rows)) % 3 != 1
    some, alone = Columns.of(rows, BOUNDS).take(kept), Columns.of(rows[kept], BOUNDS)
    assert (some.n, some.d) == (alone.n, alone.d)
    assert_array_equal(some.layers.squared_distances, alone.layers.squared_distances)
    assert_array_equal(some.layers.norms, alone.layers.norms)
    assert_array_equal(some.signs, alone.signs)
    assert_array_equal(next(some.tiles())[2], next(alone.tiles())[2])
    assert_array_equal(some.row(2), rows[kept][2])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_read_exactly(dtype):
    rows = torch.tensor(np.round(canonical(matrix("plain", 4)) * 8) / 8, dtype=getattr(torch, dtype))
    columns = Columns.of(rows)
    assert_array_equal(columns.row(1), rows[1].double().numpy())
    assert_array_equal(columns.thresholds(2), np.sort(rows.double().abs().numpy(), axis=1)[:, -2])


def test_there_may_be_no_column():
    columns = Columns.of(np.zeros((3, 0)))
    assert columns.signs.tolist() == [[0, 0]] * 3
    assert [(start, stop, tile.shape) for start, stop, tile in columns.tiles()] == [(0, 0, (3, 0))]
    assert columns.sample(5).shape == (3, 0)
    assert_array_equal(columns.thresholds(1), np.zeros(3))


@pytest.mark.parametrize(
    "bounds", [(0,), (0, 22), (1, 23), (0, 5, 4, 23), (0, 2.5, 23), 23, "abc", ((0, 23),)], ids=str
)
def test_bounds_that_are_none_are_refused(bounds):
    with pytest.raises(SettingError, match="bounds of layers must rise from 0 to the 23 columns"):
        Columns.of(matrix("plain", 5), bounds)


def test_rows_that_are_not_finite_are_named():
    rows = matrix("plain", 6)
    rows[3, 7] = np.inf
    with pytest.raises(UpdateError, match="rows 3 hold"):
        Columns.of(rows)
