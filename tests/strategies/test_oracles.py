"""Every rule, transform and pipeline against its definition written out in float64 loops (`oracles.py`)."""

import numpy as np
import oracles
import pytest
from hawthorn.strategies import Defense, Geometry, arc, clip, geometric_median, krum, mean, median, multi_krum, nnm
from hawthorn.strategies import trimmed_mean as trimmed
from hawthorn.strategies.contract import RULES, TRANSFORMS
from hypothesis import given
from hypothesis import strategies as st
from matrices import CASES, matrix, tolerable
from numpy.testing import assert_array_equal

TIED = {"duplicates", "lattice", "zeros"}  # selections are not unique there
UNTIED = [case for case in CASES if case[0] not in TIED]
EPS = {"float32": 2 * np.finfo(np.float32).eps, "float64": 2 * np.finfo(np.float64).eps}
SIZES = [(11, 23), (5, 1), (8, 2), (20, 130), (7, 3000)]


def exponent(name):
    """The power of two that brings a round where float64 can square it."""
    return {"astronomic_all": -664, "faint_all": 664}.get(name, 0)


def spread(rows):
    """The distance that half of the pairs of rows exceed."""
    away = oracles.distances(rows)
    return float(np.median(away[~np.eye(len(rows), dtype=bool)]))


def assert_within(found, expected, room):
    """Every difference is within its room; the message names the worst one."""
    room = np.broadcast_to(room, np.shape(expected))
    away = np.abs(np.asarray(found, dtype=np.float64) - expected)
    worst = np.unravel_index(np.argmax(away / room), np.shape(away))
    assert (away <= room).all(), f"{found[worst]} instead of {expected[worst]} at {worst}, room {room[worst]}"


def rounding(rows, dtype, weights):
    """What float64 loses where rows `(n, d)` with these weights cancel, and what is too small for `dtype`."""
    sums = np.abs(weights) @ np.abs(np.asarray(rows, dtype=np.float64))
    return len(rows) * (np.finfo(np.float64).eps * sums + float(np.finfo(dtype).smallest_subnormal))


def test_every_rule_and_transform_of_the_first_release_has_an_oracle():
    assert {"mean", "median", "trimmed_mean", "krum", "multi_krum", "geometric_median"} <= oracles.RULES.keys()
    assert oracles.RULES.keys() <= RULES.keys()
    assert oracles.TRANSFORMS.keys() <= TRANSFORMS.keys()


@pytest.mark.parametrize("rule", [mean, median, trimmed, krum, multi_krum], ids=lambda rule: rule.name)
@pytest.mark.parametrize("case", UNTIED, ids="-".join)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_rules_agree_with_their_definition(rule, case, size):
    name, dtype = case
    rows = matrix(name, 1, *size, dtype)
    f = tolerable(len(rows))
    ordinary = np.ldexp(rows.astype(np.float64), exponent(name))
    expected = np.ldexp(oracles.RULES[rule.name](ordinary, f), -exponent(name))
    found = rule(rows, f=f)
    assert found.dtype == np.dtype(dtype)
    weights = rule.weights(Geometry.of(rows), f=f) if rule.geometric else np.zeros(len(rows))
    assert_within(found, expected, 1e-9 * spread(rows) + EPS[dtype] * np.abs(expected) + rounding(rows, dtype, weights))


@given(case=st.sampled_from(UNTIED), n=st.integers(5, 14), d=st.integers(2, 12), seed=st.integers(0, 2**32))
def test_krum_selects_the_row_that_brute_force_selects(case, n, d, seed):
    rows = matrix(case[0], seed, n, d, case[1])
    f = tolerable(n)
    scores = oracles.krum_scores(np.ldexp(rows.astype(np.float64), exponent(case[0])), f)
    ranked = np.sort(scores)
    if ranked[0] < ranked[1] * (1 - 1e-6):
        assert_array_equal(krum(rows, f=f), rows[np.argmin(scores)])
        assert krum.weights(Geometry.of(rows), f=f).argmax() == np.argmin(scores)


@pytest.mark.parametrize("name", sorted(TIED))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(8))
def test_selections_are_least_though_rows_tie(name, dtype, seed):
    rows = matrix(name, seed, dtype=dtype)
    n, f = len(rows), 2
    scores = oracles.krum_scores(rows, f)
    selected = multi_krum.weights(Geometry.of(rows), f=f) > 0
    assert selected.sum() == n - f - 2
    assert scores[selected].sum() == pytest.approx(np.sort(scores)[: n - f - 2].sum())
    assert scores[krum.weights(Geometry.of(rows), f=f) > 0] == pytest.approx(scores.min())
    squares = oracles.squared_distances(rows)
    for i, chosen in enumerate(nnm.mixing(Geometry.of(rows), f=f) > 0):
        assert chosen[i], "a row is one of its own neighbors, also beside a duplicate"
        assert chosen.sum() == n - f
        assert squares[i, chosen].sum() == pytest.approx(np.sort(squares[i])[: n - f].sum())


@pytest.mark.parametrize("case", CASES, ids="-".join)
@pytest.mark.parametrize("size", [(11, 23), (6, 1), (9, 2), (20, 130)], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_geometric_median_is_where_the_pulls_of_the_rows_cancel(case, size, seed):
    name, dtype = case
    rows = matrix(name, seed, *size, dtype)
    ordinary = np.ldexp(rows.astype(np.float64), exponent(name))
    weights = geometric_median.weights(Geometry.of(rows), f=tolerable(len(rows)))
    center = weights @ ordinary
    best = oracles.geometric_median(ordinary)
    if oracles.pull(ordinary, center) > 1e-5 * len(rows):
        assert_within(center, best, 1e-5 * spread(ordinary) + rounding(ordinary, "float64", weights))
    update = np.ldexp(center, -exponent(name))
    assert_within(geometric_median(rows), update, EPS[dtype] * np.abs(update) + rounding(rows, dtype, weights))


@pytest.mark.parametrize("seed", range(20))
def test_geometric_median_has_the_least_sum_of_distances(seed):
    rng = np.random.default_rng(seed)
    rows = rng.standard_t(2, size=(rng.integers(3, 30), rng.integers(1, 20)))
    found, best = (oracles.lengths(rows - z).sum() for z in (geometric_median(rows), oracles.geometric_median(rows)))
    assert found <= best * (1 + 1e-9)


@pytest.mark.parametrize("transform", [clip, arc, nnm], ids=lambda transform: transform.name)
@pytest.mark.parametrize("case", UNTIED, ids="-".join)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_transforms_agree_with_their_definition(transform, case, size):
    name, dtype = case
    rows = matrix(name, 2, *size, dtype)
    ordinary = np.ldexp(rows.astype(np.float64), exponent(name))
    f = tolerable(len(rows))
    options = {"radius": float(np.median(oracles.lengths(ordinary))) * 0.7} if transform is clip else {}
    expected = np.ldexp(oracles.TRANSFORMS[transform.name](ordinary, f, **options), -exponent(name))
    if options:
        options["radius"] = float(np.ldexp(options["radius"], -exponent(name)))
    found = transform(rows, f=f, **options)
    assert found.shape == rows.shape
    mixing = transform.mixing(Geometry.of(rows), f=f, **options)
    assert_within(found, expected, EPS[dtype] * np.abs(expected) + rounding(rows, dtype, mixing))


PIPELINES = [
    ("arc", "nnm", "trimmed_mean"),
    ("nnm", "median"),
    ("arc", "mean"),
    ("clip", "trimmed_mean"),
    ("clip", "nnm", "krum"),
    ("nnm", "arc", "multi_krum"),
    ("arc", "nnm", "geometric_median"),
    ("nnm", "nnm", "krum"),
]
PIPELINE_CASES = [case for case in UNTIED if not case[0].endswith("_all") and case[0] != "scattered"]


@pytest.mark.parametrize("names", PIPELINES, ids="|".join)
@pytest.mark.parametrize("case", PIPELINE_CASES, ids="-".join)
def test_pipelines_agree_with_their_parts_run_one_after_the_other(names, case):
    name, dtype = case
    rows = matrix(name, 3, dtype=dtype)
    f = tolerable(len(rows))
    radius = float(np.median(oracles.lengths(rows))) * 0.7
    mixed = rows.astype(np.float64)
    for step in names[:-1]:
        mixed = oracles.TRANSFORMS[step](mixed, f, **({"radius": radius} if step == "clip" else {}))
    recipe = [step.replace("clip", f"clip(radius={radius!r})") for step in names]
    defense = Defense(recipe[-1], before=tuple(recipe[:-1]), f=f, scores=(), policy="none")
    found = defense(rows).update
    if names[-1] == "krum":  # averaged neighborhoods often coincide
        scores = oracles.krum_scores(mixed, f)
        place = int(np.argmin(oracles.lengths(mixed - found.astype(np.float64))))
        assert scores[place] <= scores.min() * (1 + 1e-6)
        expected = mixed[place]
    else:
        expected = oracles.RULES[names[-1]](mixed, f)
    rows[np.abs(rows) > 1e12] = 0  # nothing of a row that huge is in the result
    room = 1e-7 * spread(mixed) + 2 * EPS[dtype] * np.abs(expected) + rounding(rows, dtype, np.ones(len(rows)))
    assert_within(found, expected, room)
