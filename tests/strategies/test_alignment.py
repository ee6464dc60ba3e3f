"""SignGuard, LASA and AlignIns: against their definitions, by hand, and the mistakes known elsewhere."""

import numpy as np
import oracles
import pytest
from hawthorn.strategies import Defense, SettingError, alignins, lasa, signguard
from hawthorn.strategies.rules.alignment import largest_cluster
from matrices import CASES, matrix, tolerable
from numpy.testing import assert_allclose, assert_array_equal

ORDINARY = [
    case for case in CASES if case[0] not in {"astronomic_all", "faint_all", "denormal", "lattice", "duplicates"}
]
SIZES = [(11, 23), (5, 2), (20, 130), (7, 3000)]


def trained(seed, n=12, d=200):
    """Honest rows about a direction, each with a spread of its own."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=d) + 0.8 * rng.normal(size=(n, d))


@pytest.mark.parametrize("case", ORDINARY, ids="-".join)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("rule", [signguard, lasa], ids=lambda rule: rule.name)
def test_rules_agree_with_their_definition(rule, case, size):
    rows = matrix(case[0], 1, *size, case[1])
    found = rule(rows, f=tolerable(len(rows)))
    expected = oracles.RULES[rule.name](rows)
    size = np.abs(rows.astype(np.float64)).max(axis=0)
    assert found.dtype == rows.dtype
    assert (np.abs(found - expected) <= 1e-6 * np.maximum(np.abs(expected), 1e-9 * size) + 1e-44).all()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("given", [True, False], ids=["model", "no model"])
@pytest.mark.parametrize("seed", range(3))
def test_alignins_agrees_with_its_definition(size, given, seed):
    rows = trained(seed, *size)
    rows[0] *= -3
    model = np.random.default_rng(seed).normal(size=size[1]) if given else None
    found = alignins(rows, f=1, model=model)
    assert_allclose(found, oracles.RULES["alignins"](rows, model=model), atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"sparsity": 0.0}, {"sparsity": 0.9}, {"magnitude": 0.7, "direction": 1.0}])
@pytest.mark.parametrize("bounds", [None, (0, 7, 7, 100, 200), (0, 199, 200)])
def test_lasa_agrees_with_its_definition_in_layers(options, bounds):
    rows = trained(4)
    rows[2] *= 50
    rows[5, :100] *= -1
    assert_allclose(
        lasa(rows, f=2, bounds=bounds, **options), oracles.RULES["lasa"](rows, bounds=bounds, **options), atol=1e-9
    )


def test_one_huge_row_does_not_hide_another_one():
    """The standard deviation would: beside 1e9 all other lengths and shares look alike."""
    for size in (1e3, 1e9, 1e30):
        rows = trained(5, n=14)
        rows[0] *= size
        rows[1] *= -4
        honest = rows[2:].mean(axis=0)
        for rule in (lasa, alignins, signguard):
            found = rule(rows, f=2)
            cosine = found @ honest / np.linalg.norm(found) / np.linalg.norm(honest)
            assert cosine > 0.95, rule.name
        for name in ("signguard", "alignins"):
            assert Defense(name, f=2, policy="none")(rows).verdicts[1].weight == 0, name


def test_the_set_of_rows_is_never_empty():
    """Usual in length and usual in signs may be nobody at once: half of the rows are short, half have other signs."""
    rows = np.vstack([np.tile([1.0, 1.0, 1.0, 1.0], (3, 1)), np.tile([-0.01, 0.01, -0.01, 0.01], (4, 1))])
    rows[:3] *= np.array([1.0, 1.1, 1.2])[:, None]
    assert np.linalg.norm(signguard(rows, f=3)) > 0
    rng = np.random.default_rng(6)
    for _ in range(50):
        rows = rng.standard_cauchy(size=(6, 5)) * 10.0 ** rng.integers(-6, 6, size=(6, 1))
        for rule in (signguard, lasa):
            assert np.abs(rule(rows, f=2)).max() > 0


def test_signs_of_all_columns_count_and_nothing_is_drawn():
    """Elsewhere a random tenth of the columns, side by side, is counted: an attack outside of it is not seen."""
    rows = trained(7, d=1000)
    rows[0, 200:] *= -1
    weights = np.array([verdict.weight for verdict in Defense("signguard", f=2, policy="none")(rows).verdicts])
    assert_array_equal(signguard(rows, f=2), signguard(rows, f=2))
    assert weights.max() <= 1 / (weights > 0).sum() + 1e-12


def test_the_largest_cluster_is_that_of_most_points_however_dense_another_one_is():
    rng = np.random.default_rng(8)
    points = np.vstack([rng.normal(size=(9, 3)) * 0.02, np.tile([1.0, 1.0, 1.0], (5, 1))])
    found = largest_cluster(points)
    assert found[:9].sum() > 4
    assert not found[9:].any()
    assert largest_cluster(np.zeros((4, 3))).all()
    assert largest_cluster(np.zeros((1, 3))).all()


def test_a_defense_is_told_the_model_and_its_layers():
    rows, model = trained(9), np.random.default_rng(9).normal(size=200)
    outcome = Defense("alignins", f=2, policy="none")(rows, model=model)
    assert_allclose(outcome.update, oracles.RULES["alignins"](rows, model=model), atol=1e-9)
    outcome = Defense("lasa", f=2, policy="none")(rows, bounds=(0, 50, 200))
    assert_allclose(outcome.update, oracles.RULES["lasa"](rows, bounds=(0, 50, 200)), atol=1e-9)


@pytest.mark.parametrize(
    "recipe",
    [
        "lasa(sparsity=1.0)",
        "lasa(sparsity=-0.1)",
        "lasa(magnitude=0)",
        "lasa(direction='x')",
        "alignins(sparsity=0)",
        "alignins(sparsity=1.1)",
        "alignins(signs=-1)",
        "alignins(direction=True)",
    ],
)
def test_wrong_options_are_refused(recipe):
    with pytest.raises(SettingError, match=r"needs a (sparsity from 0 to 1|positive finite)"):
        Defense(recipe)
    assert np.isfinite(lasa(trained(10), f=2, sparsity=0)).all()
    assert np.isfinite(alignins(trained(10), f=2, sparsity=1.0)).all()
