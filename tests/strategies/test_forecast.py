"""FLDetector and FLANDERS: against their definitions, across rounds, and beside huge rows."""

import json

import numpy as np
import oracles  # noqa: F401 - what it imports needs it first
import oracles_forecast
import pytest
from hawthorn.strategies import Defense, UpdateError
from hawthorn.strategies.past import Past
from hawthorn.strategies.rows import Rows
from hawthorn.strategies.rules.forecast import foreseen, hessian, series, surprises, surprising
from numpy.testing import assert_allclose, assert_array_equal

NAMES = [f"client {row}" for row in range(12)]
OPEN = {"scores": (), "policy": "none", "f": 3}


class Federation:
    """Clients that descend on quadratics of their own, with noise; hostile ones send `lie(honest row)` instead."""

    def __init__(self, seed, n=12, d=30, noise=0.05):
        self.rng = np.random.default_rng(seed)
        turn = np.linalg.qr(self.rng.normal(size=(d, d)))[0]
        self.curve = turn @ np.diag(self.rng.uniform(0.05, 0.4, size=d)) @ turn.T
        self.goals = self.rng.normal(size=d) * 3 + 0.5 * self.rng.normal(size=(n, d))
        self.model, self.noise, self.d = np.zeros(d), noise, d

    def rows(self, asked, lies=()):
        rows = (self.goals[asked] - self.model) @ self.curve
        rows += self.noise * np.linalg.norm(rows, axis=1).mean() / self.d**0.5 * self.rng.normal(size=rows.shape)
        for row, client in enumerate(asked):
            if client in dict(lies):
                rows[row] = dict(lies)[client](rows[row], self.rng)
        return rows


def played(rule, seed, *, lies=(), rounds=15, share=1.0, n=12, **more):
    """Which clients weighed nothing in each round, by name, and the last state."""
    federation, state, found = Federation(seed, n=n, **more), None, []
    for _ in range(rounds):
        asked = np.sort(federation.rng.choice(n, size=round(share * n), replace=False))
        rows = federation.rows(asked, lies)
        outcome = Defense(rule, **OPEN)(rows, clients=[NAMES[c] for c in asked], state=state)
        state = outcome.state
        federation.model = federation.model + outcome.update
        left_out = {int(c) for c, verdict in zip(asked, outcome.verdicts, strict=True) if verdict.weight == 0}
        found.append(left_out)
    return found, state


def noisy(row, rng):
    return np.linalg.norm(row) * rng.normal(size=row.shape) / len(row) ** 0.5


LIES = {
    "noise": noisy,
    "flipped now and then": lambda row, rng: row * rng.choice([-1.0, 1.0]),
    "long": lambda row, rng: row * rng.uniform(3, 30),
}


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_hessians_are_those_of_the_bfgs_recursion(k):
    rng = np.random.default_rng(k)
    curve = np.diag(rng.uniform(0.5, 2.0, size=9))
    moves = [rng.normal(size=9)]
    for _ in range(k - 1):  # each move has changed by the curve times the move before, as in gradient descent
        moves.append(moves[-1] - curve @ moves[-1] * 0.3 + 0.01 * rng.normal(size=9))
    rows = Rows.of(rng.normal(size=(4, 9)))
    past = Past.of(rows, [None] * 4, moves[::-1], [-1] * 4)
    found = hessian(past) @ np.eye(k)
    if k == 1:
        assert_array_equal(found, [[0.0]])
        return
    for column in range(k):
        expected = oracles_forecast.hessian(moves, moves[::-1][column])
        assert_allclose(found[:, column] @ moves[::-1], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_surprises_agree_with_their_definition_for_clients_that_were_away(seed):
    federation = Federation(seed)
    rng, moves, last = federation.rng, [], {}
    for _ in range(5):
        rows = federation.rows(np.arange(12))
        moves.insert(0, rows.mean(axis=0))
        federation.model = federation.model + moves[0]
        for client in np.flatnonzero(rng.random(12) < 0.6):
            last[int(client)] = (rows[client], len(moves))
    rows = federation.rows(np.arange(12))
    rows[3] *= 1e9
    ages = [len(moves) - last[c][1] + 1 if c in last else -1 for c in range(12)]
    before = [last[c][0] if c in last else None for c in range(12)]
    order = Rows.of(rows).order
    past = Past.of(Rows.of(rows), [before[c] for c in order], moves, [ages[c] for c in order])
    expected = oracles_forecast.surprises(rows[order], [before[c] for c in order], moves, [ages[c] for c in order])
    assert_allclose(surprises(past), expected, rtol=1e-5)
    assert sum(np.isnan(expected)) == sum(age == -1 for age in ages)


def test_the_groups_are_those_of_trying_every_cut():
    rng = np.random.default_rng(5)
    rounds = [rng.normal(size=m) ** 2 for m in (3, 5, 12, 40)] + [np.append(rng.normal(size=12), [6.0, 7.0])]
    found = [surprising(scores).tolist() for scores in rounds]
    assert found == [oracles_forecast.surprising(scores.tolist()) for scores in rounds]
    assert found[-1][-2:] == [True, True]
    assert not surprising(np.ones(5)).any()
    assert not surprising(np.array([1.0, 9.0])).any()


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("share", [1.0, 0.75], ids=["all", "some"])
def test_fldetector_leaves_out_those_that_keep_surprising(lie, share):
    caught = false = asked = 0
    for seed in range(4):
        found, state = played("fldetector", seed, lies=[(1, LIES[lie]), (7, LIES[lie])], share=share)
        for left_out in found[-5:]:
            caught += len(left_out & {1, 7})
            false += len(left_out - {1, 7})
        asked += 5 * 2 * share
    assert caught >= 0.8 * asked
    assert false <= 0.02 * 4 * 5 * 10 * share
    assert all(len(scores) <= 10 for scores in state["memory"]["fldetector"].values())


def test_fldetector_spares_honest_clients():
    left_out = [len(found) for seed in range(10) for found in played("fldetector", seed)[0]]
    assert sum(left_out) <= 0.02 * len(left_out) * 12


def test_one_huge_row_hides_no_other_one():
    """Divided by the sum of all, or seen by a standard deviation, 1e30 would leave the others alike."""
    lies = [(1, lambda row, rng: 1e30 * noisy(row, rng)), (7, noisy)]
    for rule in ("fldetector", "flanders"):
        found, _ = played(rule, 6, lies=lies)
        assert all({1, 7} <= left_out for left_out in found[-4:]), rule


@pytest.mark.parametrize("rule", ["fldetector", "flanders"])
def test_state_is_by_identity_and_plain(rule):
    federation, rng = Federation(7), np.random.default_rng(7)
    one = other = None
    for _ in range(4):
        rows, chosen = federation.rows(np.arange(12), [(2, noisy)]), rng.permutation(12)
        one = Defense(rule, **OPEN)(rows, clients=NAMES, state=one and one.state)
        names = [NAMES[client] for client in chosen]
        other = Defense(rule, **OPEN)(rows[chosen], clients=names, state=other and other.state)
        assert_array_equal(one.update, other.update, strict=True)
        memory = one.state.get("memory")
        assert json.loads(json.dumps(memory)) == memory == other.state.get("memory")
        federation.model = federation.model + one.update
    assert memory[rule]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_forecasts_agree_with_their_definition(seed, rounds):
    series = np.random.default_rng(seed).normal(size=(rounds, 7, 4)) + 3
    assert_allclose(foreseen(series, 20), oracles_forecast.foreseen(list(series)), atol=1e-9)
    assert_allclose(foreseen(series * 1e200, 20), foreseen(series, 20) * 1e200, rtol=1e-9)


def test_a_series_that_goes_on_is_foreseen():
    rng = np.random.default_rng(8)
    left, right = np.linalg.qr(rng.normal(size=(6, 6)))[0], np.linalg.qr(rng.normal(size=(5, 5)))[0]
    rounds = [rng.normal(size=(6, 5)) * 30]
    for _ in range(8):
        rounds.append(left @ rounds[-1] @ right.T)
    found = foreseen(np.stack(rounds[:-1]), 200)
    assert np.linalg.norm(found - rounds[-1]) < 0.05 * np.linalg.norm(rounds[-1])
    assert np.linalg.norm(found - rounds[-1]) < 0.05 * np.linalg.norm(rounds[-2] - rounds[-1])


def test_those_who_were_away_stay_where_they_were():
    rounds = [{"a": [1.0], "b": [2.0], "c": [6.0]}, {"a": [3.0], "d": [5.0]}, {"b": [7.0]}]
    assert_array_equal(
        series(rounds, ["a", "b", "c", "d", "e"])[:, :, 0], [[1, 2, 6, 2, 2], [3, 2, 6, 5, 4], [3, 7, 6, 5, 7]]
    )


def test_flanders_keeps_those_that_do_what_is_foreseen():
    for lie in ("noise", "long"):
        found, state = played("flanders(sampled=30)", 9, lies=[(1, LIES[lie]), (7, LIES[lie])], share=0.75)
        assert all(len(left_out) == 3 for left_out in found[1:])
        assert found[0] == set()
        caught = sum(len(left_out & {1, 7}) for left_out in found[3:])
        assert caught >= 0.8 * 12 * 2 * 0.75
        assert len(state["memory"]["flanders(sampled=30)"]) == 5


def test_flanders_remembers_a_model_of_one_size_only():
    rows = np.random.default_rng(10).normal(size=(12, 20))
    state = Defense("flanders", **OPEN)(rows, clients=NAMES).state
    with pytest.raises(UpdateError, match="flanders remembers rows of another length than the 19 columns"):
        Defense("flanders", **OPEN)(rows[:, 1:].copy(), clients=NAMES, state=state)
