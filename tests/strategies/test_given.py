"""What parts may ask for besides the rows, and what rules may answer in the place of weights."""

import json

import numpy as np
import pytest
import torch
from hawthorn.strategies import Defense, Geometry, OptionError, SettingError, UpdateError
from hawthorn.strategies.columns import Columns
from hawthorn.strategies.contract import RULES, SCORES, Combination, Rule, Score
from hawthorn.strategies.kernels import OrderStatistic
from matrices import matrix
from numpy.testing import assert_allclose, assert_array_equal

NAMES = [f"client {row}" for row in range(9)]
OPEN = {"scores": (), "policy": "none", "f": 2}


@pytest.fixture
def tables(monkeypatch):
    """The tables of rules and scores, which forget what a test registers."""
    for table in (RULES, SCORES):
        monkeypatch.setattr(table, "_parts", dict(table._parts))


@pytest.fixture
def registered(tables):
    return lambda function: RULES.add(function.__name__, Rule(function, lambda f: 2 * f + 1))


@pytest.fixture
def scored(tables):
    return lambda function: SCORES.add(function.__name__, Score(function, spread=1.0))


def shortest(geometry, count):
    """Equal weights of the shortest rows."""
    weights = np.zeros(geometry.n)
    weights[np.argsort(geometry.norms, kind="stable")[:count]] = 1 / count
    return weights


@pytest.mark.parametrize("before", [(), ("arc",), ("bucketing(s=2)",)])
def test_a_statistic_is_taken_of_the_rows_that_weigh_something(registered, before):
    def middle_of_five(geometry, f):
        return Combination(shortest(geometry, 5), OrderStatistic(2, 3))

    rule = registered(middle_of_five)
    rows = matrix("plain", 1, 9 if "bucketing(s=2)" not in before else 13)
    mixed = rows
    for text in before:
        from hawthorn.strategies import arc, bucketing

        mixed = arc(rows, f=2) if text == "arc" else bucketing(rows, s=2)
    expected = np.median(mixed[np.argsort(np.linalg.norm(mixed, axis=1))[:5]], axis=0)
    outcome = Defense("middle_of_five", before=before, **OPEN)(rows)
    assert_allclose(outcome.update, expected, atol=1e-12)
    assert sum(verdict.weight for verdict in outcome.verdicts) == pytest.approx(1.0)
    if not before:
        assert_array_equal(rule(rows, f=2), expected)
        weights = rule.weights(Geometry.of(rows), f=2)
        assert_array_equal(weights > 0, np.linalg.norm(rows, axis=1) <= np.sort(np.linalg.norm(rows, axis=1))[4])
        assert_array_equal([verdict.weight for verdict in outcome.verdicts], weights)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "tensor", "bfloat16"])
@pytest.mark.parametrize("statistic", [None, OrderStatistic(4, 5)], ids=["sum", "median"])
def test_noise_is_drawn_from_the_rules_generator(registered, kind, statistic):
    def blurred(geometry, f, *, rng=None):
        return Combination(np.full(geometry.n, 1 / geometry.n), statistic, noise=0.5)

    rule = registered(blurred)
    rows = np.round(matrix("plain", 2, 9, 5000) * 8) / 8
    updates = torch.tensor(rows) if kind == "tensor" else rows.astype(kind if kind != "bfloat16" else "float64")
    updates = torch.tensor(rows).bfloat16() if kind == "bfloat16" else updates
    plain = rows.mean(axis=0) if statistic is None else np.median(rows, axis=0)
    found = [rule(updates, f=2, rng=np.random.default_rng(seed)) for seed in (7, 7, 8)]
    assert found[0].dtype == updates.dtype
    values = [np.asarray(one.double() if hasattr(one, "double") else one, np.float64) - plain for one in found]
    assert_array_equal(values[0], values[1])
    assert np.std(values[0]) == pytest.approx(0.5, rel=0.05)
    assert abs(values[0].mean()) < 0.05
    assert abs(np.corrcoef(values[0], values[2])[0, 1]) < 0.1
    assert_array_equal(np.asarray(rule(rows, f=2)), np.asarray(rule(rows, f=2)))
    with pytest.raises(OptionError, match=r"rng=numpy.random.default_rng\(...\), got 3"):
        rule(rows, f=2, rng=3)


def test_noise_differs_from_round_to_round_and_not_when_a_round_is_repeated(registered):
    def blurred(geometry, f, *, rng=None):
        return Combination(np.full(geometry.n, 1 / geometry.n), noise=0.5)

    registered(blurred)
    rows, defense = matrix("plain", 3, 9), Defense("blurred", **OPEN)
    first = defense(rows, clients=NAMES)
    second = defense(rows, clients=NAMES, state=first.state)
    assert_array_equal(first.update, defense(rows, clients=NAMES).update)
    assert_array_equal(second.update, defense(rows, clients=NAMES, state=first.state).update)
    assert not np.array_equal(first.update, second.update)


def test_a_column_rule_answers_values_and_leaves_nobody_out(registered):
    def largest_of_each(columns, f):
        return np.concatenate([tile.max(axis=0) for _, _, tile in columns.tiles(4)])

    rule = registered(largest_of_each)
    rows = matrix("plain", 4, 9, dtype="float32")
    assert_array_equal(rule(rows, f=2), rows.max(axis=0), strict=True)
    assert_array_equal(rule(torch.tensor(rows), f=2).numpy(), rows.max(axis=0), strict=True)
    outcome = Defense("largest_of_each", **OPEN)(rows)
    assert_array_equal(outcome.update, rows.max(axis=0), strict=True)
    assert [verdict.weight for verdict in outcome.verdicts] == pytest.approx([1 / 9] * 9)
    rows[2] *= -1000
    outcome = Defense("largest_of_each", f=2)(rows)
    accepted = [verdict.accepted for verdict in outcome.verdicts]
    assert not accepted[2]
    assert_array_equal(outcome.update, rows[accepted].max(axis=0))
    with pytest.raises(SettingError, match="a rule of columns and has no weights"):
        rule.weights(Geometry.of(rows), f=2)
    rows[5, 1] = np.nan
    with pytest.raises(UpdateError, match="rows 5 hold"):
        rule(rows, f=2)


def test_what_looks_at_columns_follows_no_transform(registered):
    def by_columns(columns, f):
        return np.zeros(columns.d)

    def by_both(geometry, f, *, columns=None):
        return shortest(geometry, 1)

    def by_the_past(geometry, f, *, past=None):
        return shortest(geometry, 1)

    for function in (by_columns, by_both, by_the_past):
        registered(function)
        with pytest.raises(SettingError, match=f"{function.__name__} looks at the .* write it without arc | nnm"):
            Defense(function.__name__, before=("arc", "nnm"))


def test_layers_reach_a_rule_and_a_score(registered, scored):
    def shortest_last_layer(geometry, f, *, columns=None):
        return Combination((columns.layers.norms[-1] == columns.layers.norms[-1].min()).astype(np.float64))

    def last_layer(geometry, f, history, *, columns=None):
        return columns.layers.norms[-1]

    rule, score = registered(shortest_last_layer), scored(last_layer)
    rows, bounds = matrix("plain", 5, 9), (0, 15, 23)
    lengths = np.linalg.norm(rows[:, 15:], axis=1)
    assert_array_equal(rule(rows, f=2, bounds=bounds), rows[np.argmin(lengths)])
    columns = Columns.of(rows, bounds)
    assert_array_equal(rule.weights(Geometry.of(rows), f=2, columns=columns), lengths == lengths.min())
    assert_allclose(score(Geometry.of(rows), f=2, columns=columns), lengths)
    outcome = Defense("shortest_last_layer", f=2, scores=("last_layer",), policy="none")(rows, bounds=bounds)
    assert_array_equal(outcome.update, rows[np.argmin(lengths)])
    assert_allclose([verdict.scores["last_layer"] for verdict in outcome.verdicts], lengths)
    whole = Defense("shortest_last_layer", **OPEN)(rows)
    assert_array_equal(whole.update, rows[np.argmin(np.linalg.norm(rows, axis=1))])
    with pytest.raises(SettingError, match="bounds of layers"):
        rule(rows, f=2, bounds=(0, 5))
    with pytest.raises(SettingError, match="instead of columns"):
        rule(rows, f=2, columns=columns)
    with pytest.raises(SettingError, match="krum has no option 'bounds'"):
        RULES["krum"](rows, f=2, bounds=bounds)


def test_sums_add_up_by_identity_under_partial_participation(registered):
    seen = []

    def longest_sum(geometry, f, *, sums=None):
        seen.append(sums.norms)
        return (sums.norms == sums.norms.max()).astype(np.float64)

    rule = registered(longest_sum)
    rng, state, total = np.random.default_rng(6), None, {}
    for _ in range(4):
        asked = rng.permutation(9)[:6]
        rows = rng.normal(size=(6, 5)).astype("float32")
        outcome = Defense("longest_sum", **OPEN)(rows, clients=[NAMES[c] for c in asked], state=state)
        for client, row in zip(asked, rows, strict=True):
            total[NAMES[client]] = total.get(NAMES[client], 0) + row
        lengths = [np.linalg.norm(total[NAMES[c]]) for c in asked]
        assert_allclose(sorted(seen[-1]), sorted(lengths), rtol=1e-6)
        assert_array_equal(outcome.update, rows[np.argmax(lengths)])
        state = outcome.state
        assert state["sums"].keys() == total.keys()
        for name, value in total.items():
            assert_allclose(state["sums"][name], value, rtol=1e-6)
    saved = json.loads(json.dumps({**state, "sums": {name: row.tolist() for name, row in state["sums"].items()}}))
    one, two = (Defense("longest_sum", **OPEN)(rows, clients=NAMES[:6], state=past) for past in (state, saved))
    assert_array_equal(one.update, two.update)
    sums = rng.normal(size=(6, 5))
    assert_array_equal(rule(rows, f=2, sums=sums), rows[np.argmax(np.linalg.norm(sums, axis=1))])
    assert_array_equal(rule(rows, f=2), rows[np.argmax(np.linalg.norm(rows, axis=1))], "without sums, the rows are")
    weights = rule.weights(Geometry.of(rows), f=2, sums=Geometry.of(sums))
    assert np.argmax(weights) == np.argmax(np.linalg.norm(sums, axis=1))
    assert "sums" not in Defense(f=2)(rows, clients=NAMES[:6], state=state).state
    with pytest.raises(UpdateError, match="remembers updates of 5 numbers, got 4"):
        Defense("longest_sum", **OPEN)(rows[:, :4].copy(), clients=NAMES[:6], state=state)


def test_sums_stay_finite_whatever_is_sent(registered):
    def longest_sum(geometry, f, *, sums=None):
        return shortest(sums, 1)

    registered(longest_sum)
    rows, state = matrix("plain", 7, 9, 4, "float32"), None
    rows[0] = np.finfo(np.float32).max
    for _ in range(3):
        outcome = Defense("longest_sum", **OPEN)(rows, clients=NAMES, state=state)
        state = outcome.state
        assert np.isfinite(outcome.update).all()
        assert all(np.isfinite(row).all() for row in state["sums"].values())


def test_the_past_is_what_clients_sent_last_and_how_the_model_moved(registered):
    found = []

    def looking_back(geometry, f, *, past=None):
        found.append(past)
        return shortest(geometry, 1)

    registered(looking_back)
    rng, state, last, moves, at = np.random.default_rng(8), None, {}, [], {}
    for number in range(14):
        asked = [0, *(1 + rng.permutation(8)[:5])]
        rows = rng.normal(size=(6, 5))
        outcome = Defense("looking_back", **OPEN)(rows, clients=[NAMES[c] for c in asked], state=state)
        order = np.argsort(rows[:, 0])
        if number == 0:
            assert found[-1] is None
        else:
            earlier = [last.get(asked[i], np.zeros(5)) for i in order]
            expected = np.vstack([rows[order], earlier, moves[::-1][:11]])
            assert_allclose(found[-1].geometry.gram, expected @ expected.T, atol=1e-12)
            assert found[-1].ages.tolist() == [len(moves) - at[asked[i]] if asked[i] in at else -1 for i in order]
        at |= {client: len(moves) for client in asked}
        last |= dict(zip(asked, rows, strict=True))
        moves.append(outcome.update)
        state = outcome.state
    assert len(state["moves"]["updates"]) == 11
    assert state["moves"]["count"] == 14


def test_memory_is_what_the_rule_and_each_score_answered_last(registered, scored):
    told = []

    def counting(geometry, f, *, memory=None, clients=None):
        told.append((memory, clients))
        return Combination(shortest(geometry, 1), memory={"rounds": (memory or {"rounds": 0})["rounds"] + 1})

    def patient(geometry, f, history, *, clients=None, memory=None):
        before = memory or {}
        now = {name: before.get(name, 0.0) + 1.0 for name in clients or ()}
        return np.array([now.get(name, 0.0) for name in clients or [""] * geometry.n]), now

    registered(counting)
    scored(patient)
    defense, state = Defense("counting", f=2, scores=("patient",), policy="none"), None
    rows = matrix("plain", 9, 9)
    for number in range(3):
        here = [NAMES[(row + number) % 9] for row in range(9)]
        outcome = defense(rows, clients=here, state=json.loads(json.dumps(state)))
        state = outcome.state
        assert told[-1][0] == ({"rounds": number} if number else None)
        assert told[-1][1] == tuple(here[row] for row in np.argsort(rows[:, 0]))
        assert state["memory"]["counting"] == {"rounds": number + 1}
        assert [verdict.scores["patient"] for verdict in outcome.verdicts] == [number + 1.0] * 9
    skipped = defense(rows[:4], clients=NAMES[:4], state=state)
    assert skipped.update is None
    assert skipped.state["memory"]["counting"] == {"rounds": 3}
    assert defense(rows).state is None


def test_a_score_may_use_a_trusted_update(scored):
    def distrust(geometry, f, history, *, trusted=None):
        return np.zeros(geometry.n) if trusted is None else trusted.squared_distances[:-1, -1]

    scored(distrust)
    rows, root = matrix("plain", 10, 9), matrix("plain", 11, 9)[0]
    outcome = Defense("krum", f=2, scores=("distrust",), policy="none")(rows, trusted=root)
    expected = ((rows - root) ** 2).sum(axis=1)
    assert_allclose([verdict.scores["distrust"] for verdict in outcome.verdicts], expected)
    whole = Geometry.of(np.vstack([rows, root]))
    assert_allclose(SCORES["distrust"](Geometry.of(rows), f=2, trusted=whole), expected)
    with pytest.raises(UpdateError, match="the trusted of distrust must be finite"):
        Defense("krum", f=2, scores=("distrust",))(rows, trusted=root * np.nan)


def test_the_model_reaches_the_rule_that_asks_for_it(registered):
    def nearest_the_model(geometry, f, *, model=None):
        return (model.gram[:-1, -1] == model.gram[:-1, -1].max()).astype(np.float64)

    registered(nearest_the_model)
    rows, sent = matrix("plain", 12, 9), matrix("plain", 13, 9)[0]
    outcome = Defense("nearest_the_model", **OPEN)(rows, model=sent)
    assert_array_equal(outcome.update, rows[np.argmax(rows @ sent)])
    assert Defense(f=2)(rows, model=sent).update is not None, "whoever does not ask is not told"


@pytest.mark.parametrize("option", ["center=1", "rng=1", "memory=1"])
def test_what_the_caller_supplies_is_no_option_of_a_recipe(registered, option):
    def asking(geometry, f, *, center=None, rng=None, memory=None):
        return shortest(geometry, 1)

    registered(asking)
    with pytest.raises(SettingError, match=f"is given {option[:-2]} in each round: leave it out"):
        Defense(f"asking({option})")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda rows, f: None, "must take 'geometry', 'n' .* or 'columns' first, got 'rows'"),
        (lambda n, f, *, memory=None: None, "coordinate-wise rule is given only weights"),
        (lambda geometry, f, *, center=None, model=None: None, "one of center, model, trusted"),
        (lambda columns, f, *, trusted=None: None, "a geometric rule may take one of"),
    ],
    ids=["kind", "coordinate-wise", "two rows", "columns and a row"],
)
def test_rules_that_ask_for_what_they_cannot_have_are_refused(function, says):
    with pytest.raises(SettingError, match=says):
        Rule(function, lambda f: 1)


def test_the_order_of_the_replies_does_not_matter_to_what_remembers(registered):
    def everything(geometry, f, *, sums=None, past=None, clients=None, memory=None, columns=None):
        weights = np.exp(-sums.norms / 100) * (1 + columns.signs[:, 0])
        if past is not None:
            weights *= 1 + past.geometry.norms[geometry.n : 2 * geometry.n]
        before = memory or {}
        held = {name: before.get(name, 0.0) + float(weight) for name, weight in zip(clients, weights, strict=True)}
        return Combination(weights / weights.sum(), memory=held)

    registered(everything)
    rng, one, other = np.random.default_rng(14), None, None
    for _ in range(3):
        rows = rng.normal(size=(9, 20))
        rows[4] = rows[2]  # only their names tell them apart
        chosen = rng.permutation(9)
        one = Defense("everything", **OPEN)(rows, clients=NAMES, state=one and one.state)
        names = [NAMES[row] for row in chosen]
        other = Defense("everything", **OPEN)(rows[chosen], clients=names, state=other and other.state)
        assert_array_equal(one.update, other.update, strict=True)
        assert one.state["memory"] == other.state["memory"]
        for kept in ("sums", "last"):
            assert one.state[kept].keys() == other.state[kept].keys()
        for name in NAMES:
            assert_array_equal(one.state["sums"][name], other.state["sums"][name])
