"""Up to f hostile rows, whatever they hold, move a rule no farther than its robustness coefficient allows.

A rule is (f, kappa)-robust if for every set S of n - f rows |F(x) - mean_S|^2 is at most kappa times the mean over S of
|x_i - mean_S|^2 (Allouah et al., AISTATS 2023). Small rounds let every such set be tried.
"""

import functools
import itertools
import math

import numpy as np
import oracles
import pytest
from hawthorn.strategies import Defense
from hawthorn.strategies.certificates import PROVEN, median_kappa, proven_kappa, tolerates
from hypothesis import given
from hypothesis import strategies as st
from parts import RULES, apply, every, least_rows, rotation


def kappa(part, n, f):
    """The proven coefficient; a rule without one here is held to the median's."""
    proven = PROVEN.get(part.name, median_kappa)(n, f)
    return proven if math.isfinite(proven) else median_kappa(n, f)


def hostile(rng, honest, f):
    """What hostile clients send that know the honest rows: each attack is known to break one rule or another."""
    center, spread = honest.mean(axis=0), honest.std(axis=0) + 1e-12
    away = rng.normal(size=honest.shape[1])
    length = np.linalg.norm(honest - center, axis=1).max() + 1e-12
    for factor in (0.3, 1.0, 2.0, 5.0, 1e3, 1e12):
        yield np.tile(center + factor * spread * np.sign(away), (f, 1))
        yield np.tile(center + factor * length * away / np.linalg.norm(away), (f, 1))
        yield np.tile(-factor * center, (f, 1))
        yield center + factor * rng.normal(size=(f, honest.shape[1])) * spread
        yield center + factor * np.outer(np.arange(f) - (f - 1) / 2, away)
    yield np.tile(honest[0], (f, 1))
    yield np.tile(honest[np.argmax(((honest - center) ** 2).sum(axis=1))], (f, 1))


def worst_ratio(update, rows, f):
    """The largest |F - mean_S|^2 over the mean of |x_i - mean_S|^2, over all S; only rounding is forgiven."""
    parts = rows[subsets(len(rows), f)]
    centers = parts.mean(axis=1)
    variances = ((parts - centers[:, None]) ** 2).sum(axis=2).mean(axis=1)
    away = ((update - centers) ** 2).sum(axis=1)
    away -= 1e-12 * ((rows - centers[:, None]) ** 2).sum(axis=2).min(axis=1)
    return np.where(away > 1e-20, away / np.maximum(variances, 1e-300), 0.0).max()


@functools.cache
def subsets(n, f):
    """Every set of n - f of n rows, a row of numbers each."""
    return np.array(list(itertools.combinations(range(n), n - f)))


def rounds(seed, n, f, d):
    rng = np.random.default_rng(seed)
    for scales in (1.0, 10.0 ** rng.uniform(-2, 2, size=d)):
        honest = rng.standard_t(3, size=(n - f, d)) * scales + rng.normal(size=d)
        for rows in hostile(rng, honest, f):
            yield np.vstack([honest, rows]) if f else honest


@every(RULES, law="survival")
def test_hostile_rows_move_the_update_no_farther_than_proven(part):
    for f, more, d in itertools.product((1, 2), (0, 2), (1, 4)):
        n = least_rows(part, f) + more
        worst = max(worst_ratio(apply(part, rows, f), rows, f) for rows in rounds(30, n, f, d))
        assert worst <= kappa(part, n, f), f"n={n}, f={f}, d={d}"


@every(RULES, law="size")
@pytest.mark.parametrize("size", [1e3, 1e12, 1e30, 1e200, 1e300])
def test_rows_of_any_size_leave_the_update_among_the_honest_rows(part, size):
    for n in (7, 12, 31):
        rng = np.random.default_rng(n)
        f = max(f for f in range(n) if n >= part.least(f))
        rows = rng.normal(size=(n, 5)) + 3.0
        direction = rotation(rng, 5)[0]
        honest = rows[f:].copy()
        spread = np.sqrt(((honest - honest.mean(axis=0)) ** 2).sum(axis=1).mean())
        for attack in (np.tile(direction, (f, 1)), np.outer(np.resize([1, -1], f), direction), rng.normal(size=(f, 5))):
            rows[:f] = size * attack
            away = oracles.length(apply(part, rows, f) - honest.mean(axis=0))
            assert away <= np.sqrt(kappa(part, n, f)) * spread, f"n={n}"


@pytest.mark.slow
@pytest.mark.parametrize("rule", sorted(name for name in PROVEN if not RULES[name].reads_columns))
@pytest.mark.parametrize("before", [("nnm",), ("arc",), ("bucketing(s=2)",), ("arc", "nnm"), ("bucketing(s=3)", "nnm")])
@pytest.mark.parametrize("f", [1, 2])
def test_transforms_before_a_rule_keep_to_the_coefficient_of_both(rule, before, f):
    d = 4
    defense = Defense(rule, before=before, f=f, scores=(), policy="none")
    n = next(n for n in range(4 * f + 1, 40) if tolerates(defense, n, f))
    n += n % 2 if f == 1 else 0  # of buckets, the last one is small in some rounds and not in others
    if math.comb(n, f) * n > 3000:
        pytest.skip("too many sets to try them all")
    bound = proven_kappa(defense, n, f)
    if bound is None:
        pytest.skip("nothing is proven for so few rows")
    assert max(worst_ratio(defense(rows).update, rows, f) for rows in rounds(31, n, f, d)) <= bound


@given(seed=st.integers(0, 2**32 - 1), size=st.floats(-12, 300))
def test_the_default_defense_stays_among_the_honest_rows(seed, size):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 25))
    f = int(np.ceil(0.2 * n))
    rows = rng.normal(size=(n, 9)) + rng.normal(size=9)
    rows[:f] = 10.0**size * rng.normal(size=(1 if rng.random() < 0.5 else f, 9))
    honest = rows[f:]
    spread = np.sqrt(((honest - honest.mean(axis=0)) ** 2).sum(axis=1).mean())
    outcome = Defense(f=0.2)(rows)
    if outcome.skipped is None:
        assert np.linalg.norm(outcome.update - honest.mean(axis=0)) <= 4 * spread
    assert all(np.isfinite(verdict.p_value) for verdict in outcome.verdicts)
