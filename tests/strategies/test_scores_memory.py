"""Scores that remember: against averages made from the whole past, with clients that come and go, and whom they see."""

import json

import numpy as np
import oracles
import pytest
from hawthorn.strategies import Defense, Geometry, SettingError
from hawthorn.strategies.contract import SCORES
from hawthorn.strategies.pairs import DECAY, MOST, _unpacked, averaged
from matrices import matrix
from numpy.testing import assert_allclose, assert_array_equal

NAMES = [f"client {k}" for k in range(12)]
LENGTH = 50
F = 3


def kinds(rng, n, d=LENGTH):
    """A round's maker: clients have a common direction, one of their own, and noise, about as long each."""
    own = rng.normal(size=(n, d))

    def make():
        return rng.normal(size=d) + own + rng.normal(size=(n, d))

    return make


def partial(rng, rounds=9, present=8):
    """Rounds of which each client takes part in some: (names, rows)."""
    make = kinds(rng, len(NAMES))
    for _ in range(rounds):
        chosen = rng.permutation(len(NAMES))[:present]
        yield [NAMES[k] for k in chosen], make()[chosen]


def said(name, rounds, f=F, trusted=None):
    """What the score says in each of the rounds, the state being saved as text in between."""
    defense, state = Defense("mean", f=f, scores=(name,), policy="none"), None
    found = []
    for clients, rows in rounds:
        outcome = defense(rows, clients=clients, state=state, trusted=trusted)
        # sums are arrays of length d, which are not for JSON
        memory = json.loads(json.dumps(outcome.state.get("memory", {})))
        assert memory == outcome.state.get("memory", {})
        state = outcome.state | {"memory": memory}
        found.append(np.array([verdict.scores[name] for verdict in outcome.verdicts]))
    return found


def cosine(a, b):
    lengths = oracles.length(a) * oracles.length(b)
    return float(a @ b / lengths) if lengths else 0.0


def pairs(rows):
    return np.array([[cosine(a, b) for b in rows] for a in rows])


def over_rounds(past, key):
    """The average over the rounds in which `key` took part, each with its weight and 0.97 times the one after it."""
    seen = [(weight, values[key]) for weight, values in past if key in values]
    weights = [weight * DECAY ** (len(seen) - 1 - k) for k, (weight, _) in enumerate(seen)]
    return sum(w * value for w, (_, value) in zip(weights, seen, strict=True)) / sum(weights)


def middle(values, f):
    """The mean without the f least and f largest, of which some are left over."""
    cut = min(f, (len(values) - 1) // 2)
    return float(np.mean(sorted(values)[cut : len(values) - cut]))


def test_agreement_is_that_of_all_rounds_a_pair_met_in():
    rounds = list(partial(np.random.default_rng(90)))
    past = []
    for (clients, rows), found in zip(rounds, said("agreement", rounds), strict=True):
        cosines, n = pairs(rows), len(rows)
        usual = np.median([middle(np.delete(cosines[i], i), F) for i in range(n)])
        entries = {(clients[i], clients[j]): cosines[i, j] for i in range(n) for j in range(n)}
        past.append((max(usual, 0.02), entries))
        expected = [1 - middle([over_rounds(past, (a, b)) for b in clients if b != a], F) for a in clients]
        assert_allclose(found, expected, atol=1e-9)


def test_similarity_is_that_of_all_rounds_a_pair_met_in():
    rounds = list(partial(np.random.default_rng(91)))
    past = []
    for (clients, rows), found in zip(rounds, said("similarity", rounds), strict=True):
        units = rows / oracles.lengths(rows)[:, None]
        cosines = pairs(units - oracles.geometric_median(units))
        n = len(rows)
        past.append((1.0, {(clients[i], clients[j]): cosines[i, j] for i in range(n) for j in range(n)}))
        most = [max(over_rounds(past, (a, b)) for b in clients if b != a) for a in clients]
        assert_allclose(found, np.arctanh(np.clip(most, 0.0, 0.995)), atol=1e-6)


def test_length_is_that_of_all_rounds_a_client_was_there_or_a_third_of_the_present_one():
    rng, past = np.random.default_rng(92), []
    rounds = [(clients, rows * np.exp(rng.normal(size=(8, 1)))) for clients, rows in partial(rng)]
    rounds[-1][1][2] *= 1e9

    def one_sided(ratio):
        return ratio if ratio > 0 else -ratio / 3

    for (clients, rows), found in zip(rounds, said("length", rounds), strict=True):
        ratios = dict(zip(clients, np.log(oracles.lengths(rows) / np.median(oracles.lengths(rows))), strict=True))
        past.append((1.0, {name: np.clip(ratio, -6.0, 6.0) for name, ratio in ratios.items()}))
        expected = [max(one_sided(over_rounds(past, name)), one_sided(ratios[name]) / 3) for name in clients]
        assert_allclose(found, expected, atol=1e-9)


def test_trust_is_that_of_all_rounds_a_client_was_there():
    rng, past = np.random.default_rng(93), []
    rounds, root = list(partial(rng)), rng.normal(size=LENGTH)
    for (clients, rows), found in zip(rounds, said("trust", rounds, trusted=root), strict=True):
        past.append((1.0, {name: cosine(row, root) for name, row in zip(clients, rows, strict=True)}))
        assert_allclose(found, [1 - over_rounds(past, name) for name in clients], atol=1e-9)


def test_trust_needs_an_update_of_the_servers_own():
    for call in (
        lambda: SCORES["trust"](Geometry.of(matrix("plain", 94)), f=2),
        lambda: Defense("mean", f=2, scores=("trust",))(matrix("plain", 94)),
    ):
        with pytest.raises(SettingError, match=r"trust needs an update of the server's own: write trusted=\.\.\."):
            call()


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_consistency_is_with_the_sum_of_all_a_client_sent_before(scale):
    rounds = [(clients, rows * scale) for clients, rows in partial(np.random.default_rng(95))]
    sums = {}
    for (clients, rows), found in zip(rounds, said("consistency", rounds), strict=True):
        known = [name in sums for name in clients]
        apart = [
            1 - cosine(row / scale, sums.get(name, 0 * row) / scale) for name, row in zip(clients, rows, strict=True)
        ]
        usual = np.median(np.array(apart)[known]) if any(known) else 1.0
        assert_allclose(found, np.where(known, apart, usual), atol=1e-6)
        sums |= {name: sums.get(name, 0.0) + row for name, row in zip(clients, rows, strict=True)}


def test_consistency_in_float32_keeps_its_digits_over_many_rounds_and_else_says_nothing():
    rng = np.random.default_rng(96)
    steady = rng.normal(size=(6, LENGTH))
    rounds = [(NAMES[:6], (steady + rng.normal(size=(6, LENGTH))).astype(np.float32)) for _ in range(300)]
    faint = rng.normal(size=(6, LENGTH)).astype(np.float32)
    faint[0] *= np.float32(1e-6)
    rounds.append((NAMES[:6], faint))
    found = said("consistency", rounds)
    past = np.sum([rows for _, rows in rounds[:-2]], axis=0, dtype=np.float64)
    expected = [1 - cosine(*both) for both in zip(rounds[-2][1].astype(np.float64), past, strict=True)]
    assert_allclose(found[-2], expected, atol=0.02)
    assert found[-1][0] == np.median(found[-1][1:]), "of the faint one nothing is left beside its past"


@pytest.mark.parametrize("weight", [1.0, 0.02])
def test_who_is_absent_keeps_averages_and_weights(weight):
    now = np.array([[1.0, 0.2, 0.4], [0.2, 1.0, 0.6], [0.4, 0.6, 1.0]])
    _, memory = averaged(now, weight, ("a", "b", "c"), None)
    for _ in range(40):
        _, memory = averaged(np.array([[1.0, 0.0], [0.0, 1.0]]), 1.0, ("a", "d"), memory)
    after, _ = averaged(now, weight, ("a", "b", "c"), memory)
    assert_allclose(after[1:, 1:], now[1:, 1:], rtol=1e-12)
    assert_allclose(after[0], now[0], rtol=1e-12)  # a was there, but not with b and c


def test_only_so_many_clients_are_remembered_and_who_was_seen_longest_ago_is_forgotten_first():
    memory, size = None, MOST // 4
    for first in range(0, MOST + size, size):
        _, memory = averaged(np.ones(size), 1.0, [str(k) for k in range(first, first + size)], memory)
    assert len(memory["clients"]) == MOST
    for kept in ("sums", "weights"):
        assert len(_unpacked(memory[kept], MOST, 1)) == MOST
        assert len(memory[kept]) < 12 * MOST  # text, of eight bytes a number
    assert set(memory["clients"]) == {str(k) for k in range(size, MOST + size)}
    _, memory = averaged(np.ones(1), 1.0, [str(size)], memory)
    _, memory = averaged(np.ones(2), 1.0, ["new", "newer"], memory)
    assert str(size) in memory["clients"], "who came back is new again"
    assert str(size + 1) not in memory["clients"]
    many = [str(k) for k in range(MOST + 5)]
    assert len(averaged(np.ones(MOST + 5), 1.0, many, memory)[1]["clients"]) == MOST + 5, "all who are here are there"


@pytest.mark.parametrize("name", ["length", "agreement", "similarity", "consistency"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_clients_are_scored_and_remembered(name, n):
    rows = matrix("plain", 97, n, LENGTH)
    for found in said(name, [(NAMES[:n], rows)] * 3, f=1):
        assert np.isfinite(found).all()
    if n == 1 and name != "consistency":
        assert_array_equal(found, [0.0])


@pytest.mark.parametrize("name", ["length", "agreement", "similarity", "consistency"])
def test_strangers_and_clients_without_a_name_are_scored_alike(name):
    rows = matrix("plain", 98, 9, LENGTH)
    assert_array_equal(SCORES[name](Geometry.of(rows), f=2), said(name, [(NAMES[:9], rows)], f=2)[0])


def sybils(jitter, rounds=10, n=20, d=400):
    """Rounds in which the first four clients send what the first one has, with noise of their own `jitter` as long."""
    rng = np.random.default_rng(99)
    make = kinds(rng, n, d)
    for _ in range(rounds):
        rows = make()
        noise = rng.normal(size=(4, d))
        noise *= oracles.length(rows[0]) / oracles.lengths(noise)[:, None]
        rows[:4] = (rows[0] + jitter * noise) / np.hypot(1, jitter)
        yield [f"client {k}" for k in range(n)], rows


@pytest.mark.parametrize("jitter", [0.1, 0.3, 0.5, 0.7, 1.0])
def test_sybils_are_most_alike_after_some_rounds_even_with_noise_as_long_as_themselves(jitter):
    found = said("similarity", sybils(jitter), f=4)[-1]
    assert found[:4].min() > 0.25 + found[4:].max()  # measured 0.31 above at jitter 1, and 2.2 at 0.1


@pytest.mark.parametrize("jitter", [0.1, 0.3, 0.5])
def test_sybils_with_noise_half_as_long_as_themselves_are_rejected_and_nobody_else_is(jitter):
    state = None
    for clients, rows in sybils(jitter):
        outcome = Defense("mean", f=4)(rows, clients=clients, state=state)
        state = outcome.state
        assert all(verdict.accepted for verdict in outcome.verdicts[4:])
    assert not any(verdict.accepted for verdict in outcome.verdicts[:4])


def test_those_who_mimic_a_client_are_alike_with_it():
    rng = np.random.default_rng(100)
    make, rounds = kinds(rng, 12, 400), []
    for _ in range(5):
        rows = make()
        rows[:3] = rows[7]
        rounds.append((NAMES, rows))
    found = said("similarity", rounds)[-1]
    assert set(np.argsort(found)[-4:]) == {0, 1, 2, 7}
    assert_allclose(found[[0, 1, 2, 7]], np.arctanh(0.995))


def test_sleepers_are_seen_when_they_turn_and_while_they_go_on():
    rng = np.random.default_rng(101)
    direction, rounds = rng.normal(size=LENGTH), []
    for number in range(30):
        rows = direction + rng.normal(size=(12, LENGTH))
        if number >= 20:
            rows[:3] *= -1
        rounds.append((NAMES, rows))
    found = said("consistency", rounds)
    assert max(values.max() for values in found[2:20]) < 1
    for values in found[20:]:
        assert values[:3].min() > 1.2 > 0.8 > values[3:].max()


@pytest.mark.parametrize("name", ["length", "agreement", "similarity", "consistency"])
@pytest.mark.parametrize("size", [1e30, 1e200])
def test_one_huge_row_leaves_what_is_remembered_of_the_others_unharmed(name, size):
    rows, there = kinds(np.random.default_rng(102), 12)(), np.arange(12) == 5

    def after(factor):
        return said(name, [(NAMES, rows * np.where(there, one, 1.0)[:, None]) for one in (1.0, factor, 1.0, 1.0)])

    for huge, long in zip(after(size), after(1e3), strict=True):
        assert_allclose(huge[~there], long[~there], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["length", "agreement", "similarity", "consistency"])
def test_memory_follows_the_name_and_not_the_place(name):
    rng = np.random.default_rng(103)
    rounds = list(partial(rng))
    moved = []
    for clients, rows in rounds:
        order = rng.permutation(len(rows))
        moved.append(([clients[k] for k in order], rows[order], order))
    straight, shuffled = said(name, rounds), said(name, [(clients, rows) for clients, rows, _ in moved])
    for one, other, (_, _, order) in zip(straight, shuffled, moved, strict=True):
        assert_array_equal(one[order], other)
