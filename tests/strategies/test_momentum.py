"""Momentum per client: the obvious loop, by identity, under partial participation, and where it cannot be had."""

import pickle

import numpy as np
import pytest
import torch
from hawthorn.strategies import Defense, SettingError, UpdateError, Updates
from hawthorn.strategies.momentum import with_momentum
from hawthorn.strategies.rows import Rows
from numpy.testing import assert_allclose, assert_array_equal

PLAIN = Defense("mean", f=1, policy="none", scores=("length",))
REMEMBERING = Defense("mean", f=1, policy="none", scores=("length",), momentum=0.8)


def rounds(dtype=np.float32, clients=6, count=7, d=9):
    """Rounds of random updates, each of some of the clients in an order of its own."""
    rng = np.random.default_rng(4)
    for _ in range(count):
        present = rng.permutation(clients)[: rng.integers(4, clients + 1)]
        yield [f"client {k}" for k in present], rng.normal(size=(len(present), d)).astype(dtype)


def brute_force(history, momentum):
    """Each client's corrected exponential mean after its updates `history`, from the textbook recursion."""
    mean, count = 0.0, 0
    for update in history:
        mean = momentum * mean + (1 - momentum) * update.astype(np.float64)
        count += 1
    return mean / (1 - momentum**count)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_are_each_clients_corrected_mean_over_its_own_rounds(dtype):
    seen, state = {}, None
    for names, updates in rounds(dtype):
        before = updates.copy()
        rows, records = with_momentum(Rows.of(updates, names), names, state, 0.8)
        state = {"momentum": records}
        assert_array_equal(updates, before)
        assert rows.data.dtype == dtype
        for place, name in enumerate(names):
            seen.setdefault(name, []).append(updates[place])
            tolerance = 1e-2 if dtype == np.float16 else 1e-5
            assert_allclose(rows.data[place], brute_force(seen[name], 0.8), rtol=tolerance, atol=tolerance)
            assert records[name]["count"] == len(seen[name])
            assert records[name]["mean"].dtype == np.float32


def test_a_first_round_is_as_without_momentum_to_the_last_bit():
    names, updates = next(iter(rounds()))
    assert_array_equal(REMEMBERING(updates, clients=names).update, PLAIN(updates, clients=names).update)


def test_scores_and_rule_see_the_means():
    seen, state = {}, None
    for names, updates in rounds():
        outcome = REMEMBERING(updates, clients=names, state=state)
        state = outcome.state
        for name, update in zip(names, updates, strict=True):
            seen.setdefault(name, []).append(update)
        means = np.array([brute_force(seen[name], 0.8) for name in names])
        assert_allclose(outcome.update, means.mean(axis=0), rtol=1e-4, atol=1e-6)
        assert_allclose(outcome.geometry.norms, np.linalg.norm(means, axis=1), rtol=1e-5)


@pytest.mark.parametrize("kind", ["tensor", "updates", "list", "columns first"])
def test_every_kind_of_rows_in_this_process_gives_the_same(kind):
    def of_kind(updates):
        if kind == "tensor":
            return torch.from_numpy(updates)
        if kind == "list":
            return list(updates)
        if kind == "columns first":
            return np.asfortranarray(updates)
        room = Updates(len(updates), updates.shape[1])
        for row in updates:
            room.next[:] = row
            room.keep()
        return room

    state, expected = None, None
    for names, updates in rounds():
        first = REMEMBERING(updates, clients=names, state=expected and expected.state)
        second = REMEMBERING(of_kind(updates), clients=names, state=state)
        expected, state = first, second.state
        assert_array_equal(np.asarray(second.update), first.update)
        assert isinstance(second.update, torch.Tensor) == (kind == "tensor")


def test_the_order_of_replies_changes_no_bit():
    one, other = None, None
    for names, updates in rounds():
        shuffled = np.random.default_rng(1).permutation(len(names))
        first = REMEMBERING(updates, clients=names, state=one)
        second = REMEMBERING(updates[shuffled], clients=[names[k] for k in shuffled], state=other)
        one, other = first.state, second.state
        assert_array_equal(first.update, second.update)


def test_a_saved_state_resumes_to_the_last_bit_and_a_round_can_be_repeated():
    state, resumed = None, None
    for names, updates in rounds():
        outcome = REMEMBERING(updates, clients=names, state=state)
        again = REMEMBERING(updates, clients=names, state=state)
        later = REMEMBERING(updates, clients=names, state=resumed)
        assert_array_equal(again.update, outcome.update)
        assert_array_equal(later.update, outcome.update)
        state, resumed = outcome.state, pickle.loads(pickle.dumps(later.state))


def test_anonymous_rows_have_no_memory():
    _, updates = next(iter(rounds()))
    outcome = REMEMBERING(updates)
    assert outcome.state is None
    assert_array_equal(outcome.update, PLAIN(updates).update)


def test_a_small_constant_push_that_noise_hides_in_each_round_is_seen():
    rng, names = np.random.default_rng(8), [f"client {k}" for k in range(12)]
    gap = {}
    for defense in (PLAIN, REMEMBERING):
        state = None
        for _ in range(25):
            rows = rng.normal(0, 1, (12, 400))
            rows[-1] += 0.5
            outcome = defense(rows, clients=names, state=state)
            state = outcome.state
        norms = outcome.geometry.norms
        gap[defense] = norms[-1] / norms[:-1].max()
    assert gap[REMEMBERING] > 1.3 > gap[PLAIN]


def test_numbers_that_its_memory_cannot_hold_stay_finite():
    names, rows = ["a", "b", "c"], np.full((3, 2), 1e300)
    state = REMEMBERING(rows, clients=names).state
    outcome = REMEMBERING(np.ones((3, 2)), clients=names, state=state)
    assert np.isfinite(outcome.update).all()


def test_a_row_that_is_not_finite_is_named_and_not_remembered():
    names, state = ["a", "b", "c"], None
    state = REMEMBERING(np.ones((3, 2)), clients=names).state
    with pytest.raises(UpdateError, match="rows 1"):
        REMEMBERING(np.array([[1.0, 1.0], [np.inf, 1.0], [2.0, 1.0]]), clients=names, state=state)
    assert np.isfinite(state["momentum"]["b"]["mean"]).all()


def test_what_it_cannot_take_is_refused():
    names = ["a", "b", "c"]
    with pytest.raises(UpdateError, match="bfloat16"):
        REMEMBERING(torch.ones((3, 2), dtype=torch.bfloat16), clients=names)
    state = REMEMBERING(np.ones((3, 2)), clients=names).state
    with pytest.raises(UpdateError, match="updates of 2 numbers, got 3"):
        REMEMBERING(np.ones((3, 3)), clients=names, state=state)
    for wrong in (1.0, -0.1, True, "0.9", float("nan")):
        with pytest.raises(SettingError, match="below 1"):
            Defense("mean", momentum=wrong)
    with pytest.raises(SettingError, match="below 1"):
        Defense.parse("mean; momentum=much")


def test_a_recipe_with_momentum_prints_and_parses_back():
    defense = Defense.parse("mean; f=2; momentum=0.9")
    assert defense.momentum == 0.9
    assert str(defense).endswith("; momentum=0.9")
    assert Defense.parse(str(defense)) == defense
    assert "momentum" not in str(PLAIN)
