"""Rounds judged again from geometry and evidence, as stored: equal to the live ones, for all that is registered."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hawthorn.strategies import AuditError, Defense
from hawthorn.strategies.contract import POLICIES, RULES, SCORES, TRANSFORMS
from hawthorn.strategies.presets import PRESETS
from hawthorn.strategies.replay import START, combined_again, replayed
from hawthorn.strategies.reputation import REPUTATIONS
from parts import options

NAMES = [f"client {k}" for k in range(14)]
D, F = 40, 2
BOUNDS = [0, 10, 12, D]
SCORED = ("length", "agreement", "similarity", "signs")


def called(part):
    """The part as a recipe writes it, with what it has no default for."""
    given = ", ".join(f"{name}={value!r}" for name, value in options(part).items())
    return f"{part.name}({given})" if given else part.name


def recipes():
    yield from ((f"rule {name}", Defense(called(part), f=F)) for name, part in RULES.items())
    yield from (
        (f"transform {name}", Defense("trimmed_mean", before=(called(part),), f=F)) for name, part in TRANSFORMS.items()
    )
    yield from ((f"score {name}", Defense("mean", scores=(called(part),), f=F)) for name, part in SCORES.items())
    yield from ((f"policy {name}", Defense("mean", policy=called(part), f=F)) for name, part in POLICIES.items())
    yield from ((f"preset {name}", Defense.parse(name, f=F)) for name in PRESETS)
    yield from ((f"reputation {name}", Defense(reputation=name, f=F)) for name in REPUTATIONS)
    yield "all scores", Defense(scores=tuple(SCORES), policy="alarm(rate=0.5)", reputation="sequential", f=0.3)
    yield "momentum", Defense("krum", momentum=0.5, f=F)
    yield "chain", Defense("geometric_median", before=("arc", "nnm", "bucketing"), f=1)


RECIPES = dict(recipes())
each_recipe = pytest.mark.parametrize("defense", RECIPES.values(), ids=RECIPES.keys())


def rows_of(rng, n, scale=1.0):
    """Rows that agree somewhat, two of them hostile, two of them one and the same."""
    rows = rng.normal(size=D) + rng.normal(size=(n, D))
    rows[0] *= -8.0
    rows[1] = -rows[2]
    rows[4] = rows[3]
    return rows * scale


def rounds(defense, count=7, *, scale=1.0, weighted=False, named=True):
    """Outcomes of rounds of which each client takes part in most, with the state before each."""
    rng, state = np.random.default_rng(300), None
    for _ in range(count):
        chosen = [0, 1, 2, *sorted(rng.permutation(np.arange(3, len(NAMES)))[:8].tolist())]
        rows = rows_of(rng, len(chosen), scale)
        more = {"trusted": rng.normal(size=D) * scale} if "trusted" in defense.asked else {}
        if weighted:
            more["weights"] = rng.integers(1, 9, size=len(chosen))
        outcome = defense(
            rows,
            clients=[NAMES[k] for k in chosen] if named else None,
            state=state,
            model=rng.normal(size=D),
            bounds=BOUNDS,
            left_out=1,
            **more,
        )
        yield state, outcome
        state = outcome.state


def stored(evidence):
    """The evidence as a database gives it back."""
    text = json.dumps(evidence, allow_nan=False)
    assert json.loads(text) == evidence  # plain data, all of it
    return json.loads(text)


@each_recipe
def test_replayed_verdicts_are_the_live_ones(defense):
    for _, outcome in rounds(defense):
        again = replayed(defense, outcome.geometry, stored(outcome.evidence))
        assert again.verdicts == outcome.verdicts
        assert again.skipped == outcome.skipped
        assert again.state is None
        assert again.evidence == outcome.evidence
        assert set(again.against) == set(defense.scores)
        for place, verdict in enumerate(outcome.verdicts):
            told = [f"{name} by {values[place]:.1f}" for name, values in again.against.items()]
            assert not verdict.reason or any(one in verdict.reason for one in told)


VECTORS = {"center", "sums", "last", "moves", "momentum"}


@each_recipe
def test_with_the_state_before_all_that_is_remembered_is_derived_too(defense):
    derived = START
    for state, outcome in rounds(defense):
        evidence = stored(outcome.evidence)
        for before in (state or START, derived):  # as a checkpoint has it, and as it was derived round after round
            again = replayed(defense, outcome.geometry, evidence, before)
            assert again.verdicts == outcome.verdicts
            assert again.evidence == outcome.evidence
            expected = {name: value for name, value in outcome.state.items() if name not in VECTORS}
            known = {part: one for part, one in expected.get("memory", {}).items() if part not in again.recorded}
            expected = {name: value for name, value in expected.items() if name != "memory"}
            assert again.state == expected | ({"memory": known} if known else {})
        derived = again.state
        for name in again.recorded:
            part = {**SCORES, **RULES}[name.partition("(")[0]]
            beyond = part.asked & {"columns", "sums", "past"} or getattr(part, "reads_columns", False)
            assert beyond, f"{name} is a function of the geometry and its memory"


@each_recipe
def test_without_identities_only_columns_are_recorded(defense):
    for _, outcome in rounds(defense, 1, named=False):
        again = replayed(defense, outcome.geometry, stored(outcome.evidence))
        assert again.verdicts == outcome.verdicts
        for name in again.recorded:
            part = {**SCORES, **RULES}[name.partition("(")[0]]
            assert "columns" in part.asked or part.reads_columns


@pytest.mark.parametrize("scale", [1e-200, 1e200], ids=["tiny", "huge"])
@pytest.mark.parametrize("name", PRESETS)
def test_astronomic_rows_are_replayed_to_the_last_bit(name, scale):
    defense = Defense.parse(name, f=F)
    for _, outcome in rounds(defense, 3, scale=scale):
        assert replayed(defense, outcome.geometry, stored(outcome.evidence)).verdicts == outcome.verdicts


@pytest.mark.parametrize("rule", [name for name, part in RULES.items() if "weights" in part.asked])
def test_weights_of_clients_are_in_the_evidence(rule):
    defense = Defense(rule, f=F)
    for _, outcome in rounds(defense, 3, weighted=True):
        evidence = stored(outcome.evidence)
        again = replayed(defense, outcome.geometry, evidence)
        assert again.verdicts == outcome.verdicts
        plain = {name: value for name, value in evidence.items() if name != "weights"}
        assert replayed(defense, outcome.geometry, plain).verdicts != outcome.verdicts


def test_what_is_remembered_is_derived_and_not_believed():
    defense = Defense(reputation="sequential", f=F)
    *_, (state, outcome) = rounds(defense, 5)
    evidence = stored(outcome.evidence)
    name = evidence["names"][0]
    changed = {**evidence, "reputation": {**evidence["reputation"], name: {"evidence": 0.0}}, "seen": [1.0] * 11}
    again = replayed(defense, outcome.geometry, changed, state)
    assert again.verdicts == outcome.verdicts
    assert {key for key in changed if changed[key] != again.evidence[key]} == {"reputation", "seen"}
    assert replayed(defense, outcome.geometry, changed).verdicts != outcome.verdicts


def test_somebody_is_in_quarantine_in_these_rounds():
    defense = Defense(reputation="sequential", f=F)
    found = [outcome for _, outcome in rounds(defense, 12)]
    assert any("in quarantine" in verdict.standing for outcome in found for verdict in outcome.verdicts)


@pytest.mark.parametrize("recipe", ["trusted-root", "fltrust", "monna", "nnm | trimmed_mean", "median"])
def test_an_update_is_made_again_of_the_rows_and_what_was_derived(recipe):
    rng, defense = np.random.default_rng(304), Defense.parse(recipe, f=F)
    rows = rows_of(rng, 11).astype(np.float32)
    trusted = {"trusted": rng.normal(size=D)} if "trusted" in defense.asked else {}
    outcome = defense(rows, clients=NAMES[:11], **trusted)
    again = replayed(defense, outcome.geometry, stored(outcome.evidence))
    np.testing.assert_array_equal(combined_again(again, rows), outcome.update)


def test_an_update_of_a_rule_that_reads_columns_is_not_made_of_what_was_derived():
    defense = Defense("signguard", f=F)
    rows = rows_of(np.random.default_rng(305), 11)
    outcome = defense(rows)
    with pytest.raises(AuditError, match="the rule looks at more than the geometry"):
        combined_again(replayed(defense, outcome.geometry, outcome.evidence), rows)


def test_skipped_rounds_say_why_again():
    defense = Defense("krum", f=2)
    outcome = defense(np.random.default_rng(301).normal(size=(5, D)))
    assert outcome.skipped is not None
    assert replayed(defense, outcome.geometry, stored(outcome.evidence)).skipped == outcome.skipped


def test_what_is_derived_follows_the_geometry_and_not_the_evidence():
    defense = Defense("krum", scores=("length", "distance", "direction"), f=F)
    *_, (_, outcome) = rounds(defense, 3)
    assert set(outcome.evidence["scores"]) == {"length"}
    geometry = outcome.geometry
    far = geometry.squared_distances * np.where(np.arange(geometry.n) == 5, 100.0, 1.0)[:, None]
    changed = replayed(defense, replace(geometry, squared_distances=np.maximum(far, far.T)), outcome.evidence)
    assert changed.verdicts[5].scores["distance"] > outcome.verdicts[5].scores["distance"] + 1


@pytest.mark.parametrize("n", [10, 100])
def test_evidence_of_the_default_recipe_grows_with_n(n):
    rng, defense = np.random.default_rng(302), Defense()
    state, names = None, [f"key-{k:032x}" for k in range(n)]
    for _ in range(3):
        outcome = defense(rows_of(rng, n), clients=names, state=state)
        state = outcome.state
    text = json.dumps(outcome.evidence)
    assert len(text) / n < 250


def test_numbers_that_json_has_no_name_for_come_back():
    defense = Defense("mean", scores=("signs",), policy="none", f=F)
    outcome = defense(rows_of(np.random.default_rng(303), 8))
    evidence = {**outcome.evidence, "scores": {"signs": ["inf", "-inf", "nan", *[0.5] * 5]}}
    found = [verdict.scores["signs"] for verdict in replayed(defense, outcome.geometry, evidence).verdicts]
    assert found[:2] == [math.inf, -math.inf]
    assert math.isnan(found[2])


@pytest.mark.parametrize(
    "change",
    [
        {"names": ["a", "b"]},
        {"scores": {}},
        {"scores": {name: [0.0] for name in SCORED}},
        {"seen": ["many"] * 11},
        {"rounds": None},
        {"beside": {"trusted": {}}},
        {"weights": [-1.0] * 11},
    ],
    ids=["names", "no scores", "short scores", "text", "no rounds", "half a row", "weights"],
)
def test_evidence_that_does_not_fit_is_told(change):
    defense = Defense(f=F)
    *_, (_, outcome) = rounds(defense, 2)
    with pytest.raises(AuditError, match="the evidence does not fit a geometry of 11 rows"):
        replayed(defense, outcome.geometry, {**outcome.evidence, **change})
