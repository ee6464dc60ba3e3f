"""The geometry of a round against float64 brute force: the digits that every geometric rule lives on."""

import numpy as np
import oracles
import pytest
import torch
from hawthorn.strategies import Geometry, arc, clip, nnm
from hypothesis import given
from hypothesis import strategies as st
from matrices import CASES, matrix, tolerable
from numpy.testing import assert_allclose, assert_array_equal

SEEDS = st.integers(0, 2**32 - 1)


def held(name, rows, geometry):
    """The rows as the geometry holds them, for brute force."""
    return rows.astype(np.float64) * geometry.scale[:, None]


def assert_finite(geometry):
    for found in (geometry.gram, geometry.squared_distances, geometry.norms, geometry.cosines):
        assert found.dtype == np.float64
        assert np.isfinite(found).all()
    n = geometry.n
    assert geometry.gram.shape == geometry.squared_distances.shape == geometry.cosines.shape == (n, n)
    assert geometry.norms.shape == (n,)


@pytest.mark.parametrize("case", CASES, ids="-".join)
@given(n=st.integers(1, 14), d=st.integers(1, 40), seed=SEEDS)
def test_distances_norms_and_cosines_are_those_of_brute_force(case, n, d, seed):
    name, dtype = case
    rows = matrix(name, seed, n, d, dtype)
    geometry = Geometry.of(rows)
    assert_finite(geometry)
    assert_array_equal(geometry.squared_distances, geometry.squared_distances.T)
    assert_array_equal(np.diag(geometry.squared_distances), np.zeros(n))
    assert_array_equal(geometry.gram, geometry.gram.T)
    brute = held(name, rows, geometry)
    assert_allclose(geometry.squared_distances, oracles.squared_distances(brute), rtol=1e-9, atol=1e-300)
    lengths = oracles.lengths(rows)
    assert_allclose(geometry.norms, lengths, rtol=1e-12, atol=1e-150)
    known = lengths > 1e-140 if name != "faint_all" else lengths > 0
    both = np.ix_(known, known)
    assert_allclose(geometry.cosines[both], oracles.cosines(rows)[both], atol=1e-9)
    products = geometry.cosines * np.outer(lengths * geometry.scale, lengths * geometry.scale)
    assert_allclose(geometry.gram[both], products[both], rtol=1e-9, atol=0)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_ordinary_rows_are_held_as_they_came(case):
    name, dtype = case
    rows = matrix(name, 1, dtype=dtype)
    ordinary = (oracles.lengths(rows) < 1e100) & (not name.endswith("_all"))
    assert_array_equal(Geometry.of(rows).scale[ordinary], 1.0)


@pytest.mark.parametrize("size", [1e20, 1e100, 1e200, 1e300])
def test_a_long_row_keeps_its_direction_and_leaves_the_others_theirs(size):
    rows = np.array([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0], [-size, 0.0, 0.0], [1.0, 1.0, 0.0]])
    geometry = Geometry.of(rows)
    half = np.sqrt(0.5)
    expected = [[1, 0, -half, 0.5], [0, 1, 0, half], [-half, 0, 1, -half], [0.5, half, -half, 1]]
    assert_allclose(geometry.cosines, expected, atol=1e-12)
    assert_allclose(geometry.norms, [np.sqrt(2), 2, size, np.sqrt(2)], rtol=1e-12)
    assert_allclose(geometry.squared_distances[[0, 0, 1], [1, 3, 3]], [6, 2, 2], rtol=1e-12)


def test_a_row_of_length_zero_has_no_direction():
    cosines = Geometry.of(np.array([[0.0, 0.0], [3.0, 4.0], [-3.0, -4.0]])).cosines
    assert_allclose(cosines, [[0, 0, 0], [0, 1, -1], [0, -1, 1]], atol=1e-15)


@given(case=st.sampled_from(CASES), n=st.integers(1, 14), d=st.integers(1, 40), seed=SEEDS)
def test_the_order_of_the_rows_changes_no_bit(case, n, d, seed):
    rows = matrix(case[0], seed, n, d, case[1])
    chosen = np.random.default_rng(seed).permutation(n)
    one, other = Geometry.of(rows), Geometry.of(rows[chosen])
    both = np.ix_(chosen, chosen)
    assert_array_equal(other.squared_distances, one.squared_distances[both])
    assert_array_equal(other.gram, one.gram[both])
    assert_array_equal(other.cosines, one.cosines[both])
    assert_array_equal(other.norms, one.norms[chosen])
    # canonical order is the rows' own, but for rows that are equal
    assert_array_equal(rows[np.argsort(one.rank)], rows[chosen][np.argsort(other.rank)])


@given(case=st.sampled_from(CASES), seed=SEEDS)
def test_part_of_a_geometry_is_the_geometry_of_the_part(case, seed):
    rows = matrix(case[0], seed, dtype=case[1])
    rng = np.random.default_rng(seed)
    whole = Geometry.of(rows)
    kept = rng.random(len(rows)) < 0.6
    chosen = rng.permutation(len(rows))[:5]
    for part, of in ((whole.take(kept), rows[kept]), (whole.take(chosen), rows[chosen])):
        assert part.n == len(of)
        expected = Geometry.of(of) if len(of) else part
        assert_array_equal(of[np.argsort(part.rank)], of[np.argsort(expected.rank)])
        if (part.scale == expected.scale).all():
            assert_allclose(part.squared_distances, expected.squared_distances, rtol=1e-12, atol=0)
            assert_allclose(part.cosines, expected.cosines, atol=1e-9)
        assert_array_equal(
            part.canonical().squared_distances, part.squared_distances[np.ix_(*[np.argsort(part.rank)] * 2)]
        )


CHAINS = {
    "clip": (clip,),
    "arc": (arc,),
    "nnm": (nnm,),
    "arc|nnm": (arc, nnm),
    "nnm|arc": (nnm, arc),
    "clip|nnm": (clip, nnm),
    "nnm|clip": (nnm, clip),
}


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("case", CASES, ids="-".join)
@pytest.mark.parametrize("tightness", [1e-3, 0.7])
def test_the_geometry_of_mixed_rows_is_that_of_the_rows_mixed(chain, case, tightness):
    name, dtype = case
    rows = matrix(name, 2, dtype=dtype)
    f = tolerable(len(rows))
    radius = tightness * float(np.median(oracles.lengths(rows))) or 1.0
    geometry, mixed = Geometry.of(rows), rows.astype(np.float64)
    for transform in CHAINS[chain]:
        mixing = transform.mixing(geometry, f=f, **({"radius": radius} if transform is clip else {}))
        geometry = geometry.mixed(mixing)
        mixed = np.array([[np.sum(row * column) for column in mixed.T] for row in mixing])
    assert_finite(geometry)
    brute = mixed * geometry.scale[:, None]
    squares = oracles.squared_distances(brute)
    typical = np.median(squares[squares > 0]) if squares.any() else 0.0
    ordinary = squares <= 1e12 * typical  # beside a huge row that is left as it is, nothing shorter has digits
    ordinary &= (squares > 1e-12 * typical) | (squares == 0)
    # a part of 1e6 times the spread leaves float64 brute force itself ten digits of the differences
    assert_allclose(geometry.squared_distances[ordinary], squares[ordinary], rtol=1e-5, atol=1e-8 * typical)
    usual = np.median(oracles.lengths(mixed))
    long = oracles.lengths(mixed) > 1e-3 * usual  # shorter ones have fewer digits
    assert_allclose(geometry.norms[long], oracles.lengths(mixed)[long], rtol=1e-6)
    both = np.ix_(long, long)
    assert_allclose(geometry.cosines[both], oracles.cosines(mixed)[both], atol=1e-6)


@given(
    n=st.integers(1, 10),
    m=st.integers(0, 12),
    factor=st.sampled_from([1e-200, 1e-90, 1e-9, 1.0, 1e9, 1e90]),
    seed=SEEDS,
)
def test_any_mixing_matrix_has_its_geometry(n, m, factor, seed):
    rng = np.random.default_rng(seed)
    rows, mixing = rng.normal(size=(n, 7)), rng.normal(size=(m, n))
    found, expected = Geometry.of(rows).mixed(mixing * factor), oracles.squared_distances(mixing @ rows)
    assert found.n == m
    unit = (found.scale * factor)[:, None] * (found.scale * factor)
    assert_allclose(found.squared_distances / unit, expected.reshape(m, m), atol=1e-10)
    assert_allclose(found.gram / unit, (mixing @ rows) @ (mixing @ rows).T, atol=1e-10)


def test_tensors_have_the_geometry_of_their_values():
    rows = np.round(matrix("plain", 3) * 8) / 8
    expected = Geometry.of(rows)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        found = Geometry.of(torch.tensor(rows, dtype=dtype, requires_grad=True))
        assert_allclose(found.squared_distances, expected.squared_distances, rtol=1e-12)
        assert_allclose(found.cosines, expected.cosines, atol=1e-12)
        assert_array_equal(found.rank, expected.rank)


def test_what_cosines_lack_of_1_keeps_its_digits_for_rows_that_are_much_alike():
    rng = np.random.default_rng(40)
    rows = rng.normal(size=(6, 30)) + 1e6
    rows[4], rows[5] = 1e-9 * rng.normal(size=30), -1e12 * rows[0]
    found = Geometry.of(rows).cosine_distances
    exact = rows.astype(np.longdouble)
    units = exact / np.sqrt((exact**2).sum(axis=1))[:, None]
    apart = ((units[:, None] - units) ** 2).sum(axis=2) / 2
    assert_allclose(found[:4, :4], apart[:4, :4].astype(np.float64), rtol=1e-5)
    assert_allclose(found, apart.astype(np.float64), atol=1e-12)
    none = Geometry.of(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])).cosine_distances
    assert none.tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
