"""Centered clipping and the one more row it starts from: against its definition, across rounds, beside bad rows."""

import json

import numpy as np
import oracles
import pytest
import torch
from hawthorn.strategies import Defense, Geometry, SettingError, UpdateError, Updates, centered_clipping
from hawthorn.strategies.contract import RULES, Rule
from hawthorn.strategies.given import BESIDE
from matrices import CASES, matrix, tolerable
from numpy.testing import assert_allclose, assert_array_equal

UNTIED = [case for case in CASES if case[0] not in {"duplicates", "lattice", "zeros"}]
ORDINARY = [case for case in UNTIED if not case[0].endswith("_all")]
NAMES = [f"client {row}" for row in range(11)]


def spread(rows):
    away = oracles.distances(rows)
    return float(np.median(away[~np.eye(len(rows), dtype=bool)]))


def started(rows, rng):
    """A center near where training left it: about as far from the rows as they are from each other."""
    return (oracles.median(rows) + spread(rows) * rng.normal(size=rows.shape[1]) / 4).astype(rows.dtype)


@pytest.mark.parametrize("case", ORDINARY, ids="-".join)
@pytest.mark.parametrize(
    "size", [(11, 23), (5, 2), (20, 130), pytest.param((7, 3000), marks=pytest.mark.slow)], ids=str
)
@pytest.mark.parametrize("warm", [True, False], ids=["from a center", "from the rows"])
def test_clipping_agrees_with_its_definition(case, size, warm):
    rows = matrix(case[0], 1, *size, case[1])
    center = started(rows, np.random.default_rng(2)) if warm else None
    if case[0] == "scattered" and not warm:
        pytest.skip("the oracle's own start, a coordinate-wise median of 1e-9 to 1e9, has no digits here")
    expected = oracles.centered_clipping(rows, center=center)
    found = centered_clipping(rows, f=tolerable(len(rows)), center=center)
    assert found.dtype == rows.dtype
    room = 1e-6 * spread(rows) + 4 * np.finfo(case[1]).eps * np.abs(expected) + np.finfo(case[1]).smallest_subnormal * 9
    assert (np.abs(found - expected) <= room).all()


@pytest.mark.parametrize("size", [1e3, 1e12, 1e30, 1e200, 1e300])
def test_one_row_of_any_size_costs_the_others_no_digit(size):
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(9, 40)) + 1e3
    rows[4] = size * rng.normal(size=40)
    center = np.full(40, 1e3)
    found = centered_clipping(rows, f=2, center=center, tau=5.0)
    assert_allclose(found, oracles.centered_clipping(rows, center=center, tau=5.0), rtol=0, atol=1e-8)


@pytest.mark.parametrize("size", [1e30, 1e200, 1e300])
def test_a_center_as_long_as_that_is_left_behind(size):
    """Shortened differences bring it back by a factor in each step, however far it was led astray."""
    rows = matrix("plain", 4, 9, 20)
    found = centered_clipping(rows, f=2, center=np.full(20, size), iterations=100)
    assert np.isfinite(found).all()
    assert np.linalg.norm(found - rows.mean(axis=0)) <= 2 * spread(rows)


def test_a_start_matters_for_the_first_steps_only():
    rows = matrix("plain", 5, 11, 20)
    rows[:2] = 40.0
    near, far = rows[2:].mean(axis=0), rows[2:].mean(axis=0) + 100.0
    once = [centered_clipping(rows, f=2, center=center, iterations=1) for center in (near, far)]
    often = [centered_clipping(rows, f=2, center=center, iterations=200) for center in (near, far)]
    assert np.linalg.norm(once[0] - once[1]) > 1.0
    assert_allclose(often[0], often[1], atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("d", [0, 1, 31, 70_001])
def test_every_kind_of_updates_takes_a_center_of_every_kind(dtype, d):
    rows = (np.round(matrix("plain", 6, 7, d) * 8) / 8).astype(dtype)
    center = np.round(np.linspace(-1, 1, d) * 8) / 8
    expected = centered_clipping(rows, f=2, center=center)
    assert (expected.dtype, expected.shape) == (np.dtype(dtype), (d,))
    for given in (center.astype("float32"), torch.tensor(center), center.tolist()):
        assert_array_equal(centered_clipping(rows, f=2, center=given), expected, strict=True)
        found = centered_clipping(torch.tensor(rows), f=2, center=given)
        assert_array_equal(found.numpy(), expected, strict=True)
    if dtype != "float16":
        for memory in (None, 0):
            updates = Updates(7, d, dtype, memory=memory)
            for row in rows:
                updates.next[:] = row
                updates.keep()
            assert_array_equal(centered_clipping(updates, f=2, center=center), expected, strict=True)


def test_bfloat16_takes_a_center():
    rows = np.round(matrix("plain", 7, 7, 40) * 8) / 8
    center = np.round(rows[0] * 8) / 8
    found = centered_clipping(torch.tensor(rows).bfloat16(), f=2, center=torch.tensor(center).bfloat16())
    assert found.dtype == torch.bfloat16
    assert_allclose(found.double().numpy(), centered_clipping(rows, f=2, center=center), rtol=0.02, atol=0.02)


def test_the_order_of_the_rows_does_not_matter_beside_a_center():
    rows = matrix("huge_offset", 8, dtype="float32")
    center = started(rows, np.random.default_rng(8))
    chosen = np.random.default_rng(9).permutation(len(rows))
    assert_array_equal(centered_clipping(rows[chosen], f=2, center=center), centered_clipping(rows, f=2, center=center))


def test_weights_with_a_center_have_one_more_for_it():
    rows = matrix("plain", 10, 9, 5)
    center = rows.mean(axis=0) + 1.0
    whole = Geometry.of(np.vstack([rows, center]))
    weights = centered_clipping.weights(Geometry.of(rows), f=2, center=whole)
    assert weights.shape == (10,)
    assert weights.sum() == pytest.approx(1.0)
    found = centered_clipping(rows, f=2, center=center)
    assert_allclose(weights @ np.vstack([rows, center]), found, atol=1e-12)
    with pytest.raises(SettingError, match="geometry of the 9 rows and, last, one more"):
        centered_clipping.weights(Geometry.of(rows), f=2, center=Geometry.of(rows))


@pytest.mark.parametrize(
    ("center", "says"),
    [
        (np.zeros(4), r"5 floats, got float64 of shape \(4,\)"),
        (np.zeros((1, 5)), r"shape \(1, 5\)"),
        (np.zeros(5, int), "int64"),
        (np.full(5, np.nan), "finite"),
        (np.full(5, 1e300), "finite numbers that fit"),
    ],
    ids=["short", "matrix", "integers", "nan", "too large for float32"],
)
def test_a_center_that_is_none_is_refused(center, says):
    with pytest.raises(UpdateError, match=f"the center of centered_clipping must be .*{says}"):
        centered_clipping(matrix("plain", 11, 9, 5, "float32"), f=2, center=center)


@pytest.mark.parametrize(("option", "value"), [("tau", 0.0), ("tau", -1.0), ("tau", "x"), ("iterations", 0)])
def test_wrong_options_are_refused(option, value):
    with pytest.raises(SettingError, match=option):
        centered_clipping(matrix("plain", 12, 9, 5), f=2, **{option: value})


@pytest.mark.parametrize(
    "recipe", ["centered_clipping", "nnm | centered_clipping", "bucketing(s=2) | centered_clipping"]
)
def test_a_defense_starts_each_round_where_the_last_one_ended(recipe):
    defense, rng, state = Defense.parse(recipe, f=2, policy="none"), np.random.default_rng(13), None
    center = None
    for number in range(3):
        rows = rng.normal(size=(11, 20)) + 3.0
        mixed = rows
        if "nnm" in recipe:
            mixed = oracles.nnm(rows, 2)
        if "bucketing" in recipe:
            mixed = oracles.bucketing(rows, s=2, rng=np.random.default_rng(number))
        outcome = defense(rows, clients=NAMES, state=state)
        center = oracles.centered_clipping(mixed, center=center)
        assert_allclose(outcome.update, center, atol=1e-6)
        assert_array_equal(outcome.state["center"], outcome.update)
        assert outcome.state["rounds"] == number + 1
        state = outcome.state


def test_the_state_holds_a_center_of_its_own_only_where_a_rule_asks():
    rows = matrix("plain", 14, 11, 6, "float32")
    outcome = Defense("centered_clipping", f=2)(torch.tensor(rows), clients=NAMES)
    assert type(outcome.state["center"]) is np.ndarray
    kept = outcome.state["center"].copy()
    outcome.update[:] = 9.0
    assert_array_equal(outcome.state["center"], kept)
    assert "center" not in Defense("geometric_median", f=2)(rows, clients=NAMES, state=outcome.state).state
    assert Defense("centered_clipping", f=2)(rows).state is None


def test_a_skipped_round_keeps_the_center():
    defense = Defense("centered_clipping", f=2, policy="none")
    state = defense(matrix("plain", 15, 11, 6), clients=NAMES).state
    skipped = defense(matrix("plain", 16, 4, 6), clients=NAMES[:4], state=state)
    assert skipped.update is None
    assert_array_equal(skipped.state["center"], state["center"])
    assert skipped.state["rounds"] == 2


def test_a_state_that_was_saved_goes_on_and_a_poisoned_one_is_refused():
    defense = Defense("centered_clipping", f=2)
    rows = matrix("plain", 17, 11, 6)
    state = defense(rows, clients=NAMES).state
    saved = json.loads(json.dumps(state | {"center": state["center"].tolist()}))
    assert_array_equal(
        defense(rows, clients=NAMES, state=saved).update, defense(rows, clients=NAMES, state=state).update
    )
    for bad in (np.full(6, np.nan), np.zeros(5)):
        with pytest.raises(UpdateError, match="the center of centered_clipping"):
            defense(rows, clients=NAMES, state=state | {"center": bad})


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nothing_but_finite_numbers_enters_the_state(dtype):
    rng, state, largest = np.random.default_rng(18), None, np.finfo(dtype).max
    defense = Defense("centered_clipping", f=5, policy="none")
    for _ in range(4):
        rows = (rng.uniform(-1, 1, size=(11, 30)) * float(largest)).astype(dtype)
        outcome = defense(rows, clients=NAMES, state=state)
        assert np.isfinite(outcome.state["center"]).all()
        state = outcome.state


def test_a_rule_may_ask_for_a_trusted_update_in_the_same_way(monkeypatch):
    monkeypatch.setattr(RULES, "_parts", dict(RULES._parts))

    def nearest(geometry, f, *, trusted=None):
        distances = trusted.squared_distances[:-1, -1]
        return (distances == distances.min()) / (distances == distances.min()).sum()

    RULES.add("nearest", Rule(nearest, lambda f: 2 * f + 1))
    rows = matrix("plain", 19, 9, 6)
    assert_array_equal(RULES["nearest"](rows, f=2, trusted=rows[3] + 0.01), rows[3])
    found = Defense("nearest", f=2, policy="none")(rows, trusted=rows[5] + 0.01)
    assert_allclose(found.update, rows[5])
    assert sorted(BESIDE) == ["center", "model", "trusted"]
    with pytest.raises(SettingError, match="a geometric rule may take one of center, model, trusted"):
        Rule(lambda n, f, *, center=None: None, lambda f: 1)
