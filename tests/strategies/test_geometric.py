"""The rules that are functions of the geometry: against their definitions, and the mistakes known elsewhere."""

import itertools
import math

import numpy as np
import oracles
import oracles_geometric
import pytest
from hawthorn.strategies import (
    Defense,
    Geometry,
    SettingError,
    ToleranceError,
    aksel,
    caf,
    cge,
    dnc,
    flame,
    foolsgold,
    mda,
    median_of_means,
    monna,
    no_regret,
    residual_reweighting,
    smea,
)
from hawthorn.strategies.certificates import mda_kappa, most_tolerated, proven_kappa, smea_kappa, tightest_kappa
from hawthorn.strategies.columns import Columns
from hawthorn.strategies.contract import RULES
from hawthorn.strategies.rules import subsets
from hawthorn.strategies.rules.cluster import majority
from hypothesis import given
from hypothesis import strategies as st
from matrices import CASES, matrix, tolerable
from numpy.testing import assert_allclose, assert_array_equal
from parts import supplied

TIED = {"duplicates", "lattice", "zeros"}
MANY = {"astronomic_all", "faint_all", "denormal"}  # the oracles square what no float64 holds there
HUGE = {"huge", "huge_offset", "several_huge", "astronomic", "astronomic_several", "scattered"}
SIZES = [(11, 23), (5, 2), *(pytest.param(size, marks=pytest.mark.slow) for size in [(20, 130), (7, 3000)])]


def spread(rows):
    away = oracles.distances(rows)
    return float(np.median(away[~np.eye(len(rows), dtype=bool)]))


@pytest.mark.parametrize("name", sorted(oracles_geometric.RULES))
@pytest.mark.parametrize("case", [case for case in CASES if case[0] not in TIED | MANY], ids="-".join)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_rules_agree_with_their_definition(name, case, size):
    n, d = size
    if name == "residual_reweighting":
        d = min(d, 300)  # its oracle goes from column to column
    if name in {"mda", "smea"}:
        n = min(n, 12)  # theirs try every set of rows
    rows, rule = matrix(case[0], 1, n, d, case[1]), RULES[name]
    if name == "dnc" and case[0] in HUGE:
        pytest.skip("seen from the mean, which is far away, an oracle in float64 cannot tell the other rows apart")
    if name in {"median_of_means", "residual_reweighting"} and len(np.unique(rows[:, 0])) < len(rows):
        pytest.skip("the oracle sorts rows that share their first value in another order")
    f = tolerable(len(rows))
    if not f and case[0].startswith("astronomic"):
        pytest.skip("the mean of all rows takes in one that is held shorter than it is")
    given = supplied(rule, rows)
    found = rule(rows, f=f, **given, **({"noise": 0.0} if name == "flame" else {}))
    expected = oracles_geometric.RULES[name](rows, f, **given)
    assert found.dtype == rows.dtype
    digits = max(4 * np.finfo(case[1]).eps, 1e-9 if name == "foolsgold" else 0)  # which takes huge rows in
    room = (1e-5 if name == "median_of_means" else 1e-6) * spread(rows) + digits * np.abs(expected)
    away = np.abs(found.astype(np.float64) - expected)
    assert (away <= room).all(), f"{(away / room).max()} times the room"


SMALL = {"n": st.integers(3, 11), "share": st.floats(0, 0.49), "d": st.integers(1, 9), "seed": st.integers(0, 2**32)}


def small(n, share, d, seed, name="plain"):
    rows = matrix(name, seed, n, d)
    f = int(share * n)
    rows[:f] += np.random.default_rng(seed).normal(size=d)
    return rows, f


def diameter(rows):
    return oracles.distances(rows).max()


def top(rows):
    return np.linalg.norm(rows - rows.mean(axis=0), 2) ** 2 / len(rows)


@given(**SMALL)
def test_mda_and_smea_keep_what_is_least_of_all_subsets(n, share, d, seed):
    rows, f = small(n, share, d, seed)
    for rule in (mda, smea):
        kept = rule.weights(Geometry.of(rows), f=f) > 0
        assert kept.sum() == n - f
        assert_allclose(rows[kept].mean(axis=0), oracles_geometric.RULES[rule.name](rows, f), atol=1e-9)


@given(name=st.sampled_from(sorted(TIED)), **SMALL)
def test_what_is_kept_is_least_though_rows_tie(name, n, share, d, seed):
    rows, f = matrix(name, seed, n, d), int(share * n)
    kept = {rule.name: rule.weights(Geometry.of(rows), f=f) > 0 for rule in (cge, mda, smea)}
    assert all(chosen.sum() == n - f for chosen in kept.values())
    chosen = [list(one) for one in itertools.combinations(range(n), n - f)]
    assert diameter(rows[kept["mda"]]) == min(diameter(rows[one]) for one in chosen)
    assert top(rows[kept["smea"]]) <= min(top(rows[one]) for one in chosen) + 1e-9
    assert sorted(oracles.lengths(rows[kept["cge"]])) == sorted(oracles.lengths(rows))[: n - f]


@pytest.mark.parametrize("seed", range(6))
def test_mda_that_gives_up_keeps_at_most_twice_the_least_diameter(monkeypatch, seed):
    rows, f = small(11, 0.3, 3, seed)
    best = diameter(rows[mda.weights(Geometry.of(rows), f=f) > 0])
    found = []
    for steps in (0, 1, 3, 1000):
        monkeypatch.setattr(subsets, "STEPS", steps)
        monkeypatch.setattr(subsets, "STEPS_BEYOND", steps)
        found.append(diameter(rows[mda.weights(Geometry.of(rows), f=f) > 0]))
    assert found[0] <= 2 * best
    assert found == sorted(found, reverse=True)
    assert found[-1] == best


def test_mda_has_the_steps_to_be_exact_for_few_hostile_rows():
    most = [1, 2]
    while len(most) <= subsets.FEW:
        most.append(most[-1] + most[-2] + 1)
    assert most[subsets.FEW] <= subsets.STEPS


def test_mda_finds_what_is_hidden_among_many_rows():
    """Pairs of rows that are far from each other, and from nobody else: one of each pair must go."""
    rows = np.zeros((60, 21))
    rows[np.arange(40), np.arange(40) // 2] = np.resize([1.0, -1.0], 40)
    for f in (20, 21):
        kept = mda.weights(Geometry.of(rows), f=f) > 0
        assert kept.sum() == 60 - f
        assert diameter(rows[kept]) == pytest.approx(math.sqrt(2))
    assert diameter(rows[mda.weights(Geometry.of(rows), f=19) > 0]) == 2.0


@pytest.mark.parametrize("seed", range(6))
def test_smea_of_too_many_subsets_stays_near_the_least(monkeypatch, seed):
    rows, f = small(14, 0.3, 6, seed)
    best = top(rows[smea.weights(Geometry.of(rows), f=f) > 0])
    monkeypatch.setattr(subsets, "SUBSETS", 0)
    found = top(rows[smea.weights(Geometry.of(rows), f=f) > 0])
    assert best <= found * (1 + 1e-12)
    assert found <= 1.5 * best
    assert smea_kappa(14, f) == tightest_kappa(14, f)


def test_smea_bounds_directions_and_looks_at_the_rest(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(14, 400))  # alike in all directions: no cut rules out many
    found = []
    for cuts in (0, 1, 24, 10_000):
        monkeypatch.setattr(subsets, "CUTS", cuts)
        found.append(smea.weights(Geometry.of(rows), f=4))
    for other in found[1:]:
        assert_array_equal(other, found[0])


def test_many_hostile_rows_cost_mda_its_exactness_in_the_certificate():
    assert mda_kappa(100, subsets.FEW + 1) > 3 * mda_kappa(100, subsets.FEW)


def test_what_is_borne_and_proven():
    assert most_tolerated(Defense("monna"), 10) == 4, "also of a rule that needs a trusted row"
    assert proven_kappa(Defense("fltrust"), 10, 2) is None
    assert proven_kappa(Defense("caf"), 6, 2) is None, "from n = 3f down"
    assert proven_kappa(Defense("caf"), 7, 2) == pytest.approx(4 * (1 + math.sqrt(10 / 3)) ** 2)


@pytest.mark.parametrize("rule", [mda, smea, caf, no_regret, dnc], ids=lambda rule: rule.name)
@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_rows_that_are_alike_are_their_own_mean(rule, n):
    rows = np.tile([0.1, -1e6, 1e30], (n, 1))
    assert_allclose(rule(rows, f=(n - 1) // 2 if rule is not dnc else 0), rows[0], rtol=1e-15)


def test_caf_sees_the_direction_of_colluders_whatever_its_place():
    """One power iteration from a random start misses a direction it happens to stand across."""
    rows = np.random.default_rng(1).normal(size=(20, 50))
    rows[:4] = 0
    rows[:4, 17] = 9.0
    weights = caf.weights(Geometry.of(rows), f=4)
    assert weights[:4].max() < 0.01
    assert_array_equal(caf(rows, f=4), caf(rows, f=4))


def test_nothing_stands_in_for_a_trusted_row_that_is_not_there():
    rows = matrix("plain", 2)
    for name in ("monna", "fltrust"):
        with pytest.raises(SettingError, match=f"{name} needs an update of the server's own: write trusted="):
            RULES[name](rows, f=2)
        with pytest.raises(SettingError, match=f"{name} needs an update of the server's own"):
            Defense(name, f=2)(rows)
        outcome = Defense(name, f=2, policy="none")(rows, trusted=rows[3])
        assert_allclose(outcome.update, RULES[name](rows, f=2, trusted=rows[3]), atol=1e-12)


def test_monna_trusts_no_client():
    rows = matrix("plain", 3)
    rows[0] = 1e3  # the first client is as any other
    assert np.abs(monna(rows, f=2, trusted=rows[1:].mean(axis=0))).max() < 10
    mixed = Defense("monna", f=2, before=("nnm",), policy="none")(rows, trusted=rows[5])
    assert np.abs(mixed.update).max() < 10


def test_dnc_removes_at_most_what_is_there():
    rows = matrix("plain", 4)
    for c, niters in ((1.0, 6), (9.0, 1), (1e300, 1)):
        found = Defense(f"dnc(c={c}, niters={niters})", f=2, policy="none")(rows)
        assert_array_equal(found.update, np.zeros(23))
        assert {verdict.weight for verdict in found.verdicts} == {0.0}
    assert (dnc.weights(Geometry.of(rows), f=2, niters=5) > 0).sum() == 1


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ("dnc(c=0)", "positive finite c"),
        ("dnc(niters=0)", "niters of at least 1"),
        ("no_regret(steps=0)", "steps of at least 1"),
        ("flame(noise=-1)", "noise of at least 0"),
        ("flame(noise='x')", "noise of at least 0"),
        ("median_of_means(groups=0)", "groups of at least 1"),
        ("residual_reweighting(tuning=0)", "positive finite tuning"),
        ("residual_reweighting(least=1.5)", "least from 0 to 1"),
    ],
)
def test_options_that_no_round_takes_are_refused_when_a_recipe_is_made(recipe, says):
    with pytest.raises(SettingError, match=says):
        Defense(recipe)


def test_aksel_keeps_whole_rows_and_says_what_it_needs():
    rows = matrix("plain", 9)
    weights = aksel.weights(Geometry.of(rows), f=2, columns=Columns.of(rows))
    away = oracles.lengths(rows - oracles.median(rows))
    assert_array_equal(weights > 0, away <= np.median(away))
    assert set(weights) == {0.0, 1 / 6}
    with pytest.raises(SettingError, match=r"aksel looks at the columns of the rows: write columns="):
        aksel.weights(Geometry.of(rows), f=2)
    outcome = Defense("aksel", f=2, policy="none")(rows)
    assert_allclose([verdict.weight for verdict in outcome.verdicts], weights)


def test_residual_reweighting_weighs_clients_not_values():
    """A client that is far off in most columns counts little in those where it is like the others, too."""
    rows = np.random.default_rng(10).normal(size=(11, 400))
    rows[3, :300] += 50.0
    rows[:, 399] = 0.0
    rows[3, 399] = 1.0  # the line says 0 of it in any case
    rows[:, 398] = np.arange(11.0)
    found = residual_reweighting(rows, f=2)
    assert np.abs(found[:300]).max() < 3
    assert found[399] == 0.0
    rest = np.delete(np.arange(11.0), 3).mean()
    assert abs(found[398] - rest) < abs(found[398] - 5.0), "nearer to the mean without it than with it"


def test_median_of_means_needs_a_majority_of_groups():
    rows = matrix("plain", 5)
    for groups in (4, 12):
        with pytest.raises(ToleranceError, match=f"f=2 in 5 to n = 11 groups, but groups={groups}"):
            median_of_means(rows, f=2, groups=groups)
    one, two = (median_of_means(rows, f=2, rng=np.random.default_rng(seed)) for seed in (1, 2))
    assert np.abs(one - two).max() > 1e-3
    assert_array_equal(one, median_of_means(rows, f=2, rng=np.random.default_rng(1)))


@given(n=st.integers(4, 30), seed=st.integers(0, 2**32), clusters=st.integers(1, 4))
def test_the_majority_is_what_hdbscan_finds(n, seed, clusters):
    from sklearn.cluster import HDBSCAN

    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(clusters, 6))[rng.integers(0, clusters, size=n)] + 0.3 * rng.normal(size=(n, 6))
    apart = Geometry.of(rows).cosine_distances
    found = HDBSCAN(n // 2 + 1, min_samples=1, metric="precomputed", allow_single_cluster=True, copy=True).fit(apart)
    assert_array_equal(majority(apart), found.labels_ >= 0)


def test_flame_admits_most_rows_and_those_alone():
    rng = np.random.default_rng(6)
    rows = np.vstack([rng.normal(size=(4, 30)) * 0.1 - 1, rng.normal(size=(7, 30)) * 0.1 + 1])
    weights = flame.weights(Geometry.of(rows), f=4)
    assert (weights[:4] == 0).all()
    admitted = np.count_nonzero(weights)
    assert admitted >= 6
    assert weights.max() == 1 / admitted


def test_flame_noise_is_of_the_stated_size_and_drawn_anew_in_each_round():
    rows = np.ones((5, 20_000))
    usual = np.sqrt(20_000)
    found = flame(rows, noise=0.01) - 1
    assert np.std(found) == pytest.approx(0.01 * usual, rel=0.05)
    assert_array_equal(found, flame(rows, noise=0.01) - 1)
    assert np.abs(found - (flame(rows, noise=0.01, rng=np.random.default_rng(5)) - 1)).max() > 0.01
    defense, names = Defense("flame", policy="none"), list("abcde")
    first = defense(rows, clients=names)
    second = defense(rows, clients=names, state=first.state)
    assert np.abs(first.update - second.update).max() > 1e-3
    assert_array_equal(defense(rows, clients=names).update, first.update)


def test_foolsgold_remembers_by_identity_not_by_order():
    """Two who send the same each round, one honest client that once resembles them, and rounds in any order."""
    rng = np.random.default_rng(7)
    names = ["one", "two", "three", "four", "five"]
    defense, state = Defense("foolsgold", f=2, policy="none"), None
    for number in range(6):
        rows = rng.normal(size=(5, 300))
        rows[0] = rows[1] = rng.normal(size=300) * 0.1 + 1
        if number == 5:
            rows[2] = rows[0] + 0.1 * rng.normal(size=300)
        order = rng.permutation(5)
        outcome = defense(rows[order], clients=[names[i] for i in order], state=state)
        weights = dict(zip([names[i] for i in order], [verdict.weight for verdict in outcome.verdicts], strict=True))
        assert weights["one"] == weights["two"] == 0.0
        assert all(weights[name] == pytest.approx(1 / 3, abs=0.05) for name in names[2:]), number
        state = outcome.state
    forgetful = foolsgold.weights(Geometry.of(rows))
    assert forgetful[2] == 0.0, "in that round alone the third client looks like the two"


def test_foolsgold_tells_clients_apart_that_share_a_large_common_part():
    rng = np.random.default_rng(8)
    rows = rng.normal(size=(6, 40))
    rows[0] = rows[1] + 1e-4 * rng.normal(size=40)
    weights = foolsgold.weights(Geometry.of(rows + 1e5))
    assert (weights[:2] == 0).all()
    assert (weights[2:] > 0.2).all()
