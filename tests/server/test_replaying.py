"""Runs of a federation judged again from their audit: verdicts to the last bit, models where updates were retained."""

import json
import sqlite3

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from hawthorn.server.audit import Audit
from hawthorn.server.audit.replaying import Difference, replays
from hawthorn.strategies import AuditError
from hawthorn.strategies.flower import Ruling
from replayed_runs import CLIENTS, RECIPE, ROUNDS, held_run


def replayed(path, run=1, round=None, **more):
    with Audit.open(path, create=False) as audit:
        return list(replays(audit, audit.find_run(run), round, **more))


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    path = tmp_path_factory.mktemp("held") / "audit.db"
    held_run(path)
    return path


def changed(held, tmp_path, statement, *values):
    """A copy of the audit in which somebody changed something."""
    path = tmp_path / "audit.db"
    with sqlite3.connect(held) as source, sqlite3.connect(path) as copy:
        source.backup(copy)
        assert copy.execute(statement, values).rowcount > 0
    copy.close()
    return path


def test_a_whole_run_is_derived_again(held):
    found = replayed(held)
    assert [one.round for one in found] == list(range(1, ROUNDS + 1))
    assert found[0].clients == CLIENTS
    for one in found:
        assert (one.differences, one.missing, one.recorded) == ((), "", ("signs",))
        assert (one.model.missing, one.model.differing, one.model.distance) == ("", (), 0.0)
        assert one.equal


def test_a_single_round_is_derived_again(held):
    (one,) = replayed(held, round=4)
    assert one.equal
    assert one.recorded == ("signs",)
    assert one.model.missing == ""


@pytest.mark.parametrize("inner", ["fedavg", "fedavgm", "fedprox", "fedadagrad", "fedadam(eta=0.01)", "fedyogi"])
def test_models_are_made_again_through_the_wrapped_strategy(tmp_path, inner):
    held_run(tmp_path / "audit.db", inner=inner, rounds=4, recipe="trimmed_mean")
    for one in replayed(tmp_path / "audit.db"):
        assert (one.model.missing, one.model.differing) == ("", ())


@pytest.mark.parametrize(
    "recipe", ["krum; momentum=0.5", "centered_clipping", "fldetector", "flanders", "foolsgold", "strict", "signguard"]
)
def test_models_of_rules_that_remember_are_made_again(tmp_path, recipe):
    held_run(tmp_path / "audit.db", rounds=4, recipe=recipe)
    for one in replayed(tmp_path / "audit.db"):
        assert one.equal
        assert one.model.missing == "" or one.model.missing.startswith("the model stayed")


def test_a_run_that_went_on_with_other_settings_is_replayed_with_those(tmp_path):
    path = tmp_path / "audit.db"
    held_run(path, inner="fedadam(eta=0.1)", rounds=2, recipe="trimmed_mean", resume=True)
    held_run(path, inner="fedadam(eta=0.02)", rounds=4, recipe="trimmed_mean", resume=True)
    assert [(one.model.missing, one.model.differing) for one in replayed(path)] == [("", ())] * 4
    assert replayed(path, round=1)[0].equal


@pytest.mark.parametrize("newest", [1, 100], ids=["thinned", "kept"])
def test_orders_between_rounds_do_not_break_the_replay(tmp_path, newest):
    orders = [
        (2, "quarantine", {"client": "104", "rounds": 1}),
        (3, "release", {"client": "101"}),
        (5, "roll_back", {"round": 0}),
    ]
    path = tmp_path / "audit.db"
    held_run(path, rounds=8, orders=orders, newest=newest)
    with Audit.open(path, create=False) as audit:
        assert [one.result for one in audit.orders(1)] == ["", "", ""]
    found = replayed(path)
    assert all(one.equal for one in found)
    if newest == 100:
        assert {one.recorded for one in found} == {("signs",)}
        assert {one.model.missing for one in found} == {""}


def test_clients_that_are_sampled_and_a_quorum_are_replayed(tmp_path):
    held_run(tmp_path / "audit.db", rounds=6, fraction=0.7, quorum=4)
    found = replayed(tmp_path / "audit.db")
    assert all(one.equal for one in found)
    assert {one.recorded for one in found} == {("signs",)}


def test_half_precision_leads_to_nearly_the_same_model(tmp_path):
    held_run(tmp_path / "audit.db", half=True)
    for one in replayed(tmp_path / "audit.db"):
        assert one.model.half
        assert one.equal
        assert 0 < one.model.distance < 0.002


def test_integer_arrays_are_told_to_be_unknown(tmp_path):
    held_run(tmp_path / "audit.db", integers=True, rounds=2)
    for one in replayed(tmp_path / "audit.db"):
        assert (one.model.missing, one.model.differing, one.model.unknown) == ("", (), ("seen",))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"checkpoints": False, "updates": "none"}, "the updates of round 1 were not kept"),
        ({"updates": "none"}, "the updates of round 1 were not kept"),
        ({"settings": {"task": "digits"}}, "the run's settings do not say which strategy was wrapped"),
    ],
    ids=["no checkpoints", "no updates", "own strategy"],
)
def test_why_a_model_is_not_made_again_is_told(tmp_path, more, words):
    held_run(tmp_path / "audit.db", rounds=2, **more)
    first, _ = replayed(tmp_path / "audit.db")
    assert first.equal
    assert words in first.model.missing


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("accepted", 1, "accepted"),
        ("weight", 0.123, "weight"),
        ("p_value", 0.5, "p-value"),
        ("reason", "it was late", "reason"),
        ("standing", "on probation since round 1", "standing"),
    ],
)
def test_a_changed_verdict_is_found(held, tmp_path, column, value, what):
    where = "WHERE run = 1 AND round = 2 AND client = '101'"
    path = changed(held, tmp_path, f"UPDATE verdicts SET {column} = ? {where}", value)
    found = replayed(path)
    assert [one.round for one in found if not one.equal] == [2]
    (difference,) = found[1].differences
    assert (difference.client, difference.what, difference.stored) == ("101", what, value)


def test_a_changed_score_is_found_even_where_it_remembers(held, tmp_path):
    with sqlite3.connect(held) as source:
        (text,) = source.execute("SELECT scores FROM verdicts WHERE run=1 AND round=3 AND client='103'").fetchone()
    scores = json.loads(text) | {"similarity": 0.25}
    where = "WHERE run = 1 AND round = 3 AND client = '103'"
    path = changed(held, tmp_path, f"UPDATE verdicts SET scores = ? {where}", json.dumps(scores))
    (difference,) = replayed(path)[2].differences
    assert isinstance(difference, Difference)
    assert (difference.client, difference.what, difference.stored) == ("103", "similarity", 0.25)


def test_a_changed_geometry_is_found(held, tmp_path):
    path = changed(held, tmp_path, "UPDATE rounds SET gram = (SELECT gram FROM rounds WHERE round = 3) WHERE round = 2")
    assert not replayed(path)[1].equal


def test_updates_that_are_not_those_that_were_judged_are_found(held, tmp_path):
    statement = "UPDATE rounds SET updates = (SELECT updates FROM rounds WHERE run = 1 AND round = 1) WHERE round = 3"
    found = replayed(changed(held, tmp_path, statement))[2]
    assert found.model.differing == ("weight", "bias")
    assert {one.what for one in found.differences} >= {"signs, of the updates", "length, of the updates"}


def test_a_changed_checkpoint_is_another_model(held, tmp_path):
    statement = "UPDATE checkpoints SET model = (SELECT model FROM checkpoints WHERE round = 2) WHERE round = 3"
    found = replayed(changed(held, tmp_path, statement))
    assert found[2].differences == ()
    assert set(found[2].model.differing) == {"weight", "bias"}
    assert found[2].model.distance > 0.1


def test_roundings_are_let_pass_where_that_is_asked_for(held, tmp_path):
    path = changed(held, tmp_path, "UPDATE verdicts SET p_value = p_value * (1 + 1e-12) WHERE round = 1")
    assert not replayed(path)[0].equal
    assert replayed(path, tolerance=1e-9)[0].equal


@pytest.mark.parametrize("recipe", ["trusted-root", "fltrust"])
def test_models_are_made_again_where_the_server_trained_itself(tmp_path, recipe):
    def trained(round, arrays):
        return ArrayRecord(
            {name: Array(array.numpy() * np.float32(0.98) + np.float32(0.1)) for name, array in arrays.items()}
        )

    held_run(tmp_path / "audit.db", recipe=recipe, rounds=3, trusted=trained)
    for one in replayed(tmp_path / "audit.db"):
        assert one.differences == ()
        assert (one.model.missing, one.model.differing) == ("", ())


def test_what_was_remembered_is_derived_from_the_rounds_before(held, tmp_path):
    with sqlite3.connect(held) as source:
        (text,) = source.execute("SELECT evidence FROM rounds WHERE run = 1 AND round = 4").fetchone()
    evidence = json.loads(text)
    evidence["reputation"]["101"]["evidence"] = 0.0
    path = changed(held, tmp_path, "UPDATE rounds SET evidence = ? WHERE run = 1 AND round = 4", json.dumps(evidence))
    found = replayed(path)
    assert [one.what for one in found[3].differences] == ["the evidence, reputation"]
    assert found[4].equal


def test_a_round_that_the_guard_undid_leaves_suspicion_in_the_replay_too(tmp_path):
    class Strict:
        """A guard that takes no model after round 2."""

        def check(self, round, arrays, state):
            return Ruling("worse" if round == 2 else None, None, state)

        def check_reports(self, round, reports, state):
            return Ruling(None, None, state)

    held_run(tmp_path / "audit.db", rounds=5, guard=Strict(), newest=1)
    found = replayed(tmp_path / "audit.db")
    assert all(one.equal for one in found)
    assert {one.recorded for one in found} == {("signs",)}
    assert found[1].model.missing == "the model stayed: rolled back: worse"
    with Audit.open(tmp_path / "audit.db", create=False) as audit:
        assert all(record["evidence"] > 0 for record in audit.evidence(1, 3)["reputation"].values())


def test_rounds_that_judged_nobody_and_old_ones_say_so(held, tmp_path):
    path = changed(held, tmp_path, "UPDATE rounds SET evidence = NULL WHERE round = 2")
    found = replayed(path)
    assert found[1].missing == "no evidence was stored: it was written by an older hawthorn"
    assert all(one.equal for one in found)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE rounds SET gram = NULL, skipped = 'nobody came' WHERE round = 3")
    assert replayed(path)[2].missing == "no reply was judged: nobody came"


def test_evidence_that_fits_nothing_is_an_error_and_a_round_that_is_not_there_too(held, tmp_path):
    path = changed(held, tmp_path, "UPDATE rounds SET evidence = '{}' WHERE round = 2")
    with pytest.raises(AuditError, match="round 2 cannot be judged again"):
        replayed(path)
    with pytest.raises(AuditError, match="run 1 has no round 9; it has rounds 1, 2, 3, 4, 5"):
        replayed(held, round=9)


def test_an_audit_without_ledger_is_replayed(tmp_path):
    from audit_rounds import record_of, strange_record

    path = tmp_path / "audit.db"
    with Audit.open(path) as audit, audit.run({"defense": RECIPE}) as run:
        run(record_of(1))
        run(strange_record(2))
    first, second = replayed(path)
    assert second.missing == "no reply was judged: every client was rejected"
    assert first.missing == "no evidence was stored: it was written by an older hawthorn"
