"""Models rebuilt without a client: from retained updates, through orders and other runs, and what is missing for it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.server.app import holdout
from hawthorn.server.audit import Audit
from hawthorn.server.audit.replaying import replays
from hawthorn.server.rewinding import client_named, held_fast, lineage, named, plan, rebuilt
from hawthorn.server.rewinding.fitting import RIDGE
from hawthorn.server.rewinding.rebuilding import row_of
from hawthorn.strategies import AuditError, SettingError
from rewound_runs import ROUNDS, attacker, held_run, settings


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    path = tmp_path_factory.mktemp("poisoned") / "audit.db"
    held_run(path, settings())
    return path


def rewound(path, without, *, run=1, first=None, evaluate=None, method="replay", keep=5, **more):
    """What came of a rewind, and the number of the new run."""
    with Audit.open(path) as audit:
        planned = plan(audit, audit.find_run(run), without, first=first, **more)
        name, told = named(planned, {})
        with audit.run(told, name=name, checkpoints=path.with_name("kept"), newest=keep) as ledger:
            return rebuilt(planned, audit, ledger, evaluate=evaluate, method=method)


def kept(path, run, round):
    with Audit.open(path, create=False) as audit:
        return row_of(audit.commit_after(run, round))


def mean_of(path, without, rounds, run=1):
    """The sum over rounds of the mean of the updates of all but some clients, in float64."""
    total = 0.0
    with Audit.open(path, create=False) as audit:
        for number in rounds:
            found = audit.updates(run, number)
            rows = [row for row, client in zip(found.rows, found.clients, strict=True) if client not in without]
            total = total + np.mean(rows, axis=0, dtype=np.float64)
    return total


def test_a_mean_without_a_client_is_the_mean_of_the_others(poisoned):
    who = attacker(settings())
    found = rewound(poisoned, [who])
    expected = kept(poisoned, 1, 0) + mean_of(poisoned, [who], range(1, ROUNDS + 1))
    np.testing.assert_allclose(row_of(found.commit), expected, atol=1e-5)
    assert (found.rounds, found.commit.round, found.skipped) == (ROUNDS, ROUNDS, {})


def test_the_new_run_has_verdicts_of_the_others_and_a_chain_of_its_own(poisoned):
    who = attacker(settings())
    found = rewound(poisoned, [who])
    with Audit.open(poisoned, create=False) as audit:
        run = audit.find_run(found.run)
        assert (run.status, run.name) == ("finished", f"poisoned without {who}")
        assert audit.verify(run.id) == ()
        assert [one.number for one in audit.rounds(run.id)] == list(range(1, ROUNDS + 1))
        clients = {one.client for one in audit.contributions(run.id)}
        assert len(clients) == 5
        assert who not in clients
        assert all(one.equal for one in replays(audit, run, models=False))


@pytest.mark.parametrize("inner", ["fedavgm", "fedadam(eta=0.01)"])
def test_where_updates_do_not_depend_on_the_model_it_is_as_if_the_client_had_never_been_there(tmp_path, inner):
    """Memory of every kind included: the clients' momentum, the last answer, the server's optimizer."""
    of = settings(clients=8, rounds=5, inner=inner, defense="centered_clipping; momentum=0.5; policy=none", holdout="")
    with_all, without = tmp_path / "all.db", tmp_path / "without.db"
    held_run(with_all, of, grid=InProcessGrid(stubborn, 8))
    held_run(without, of, grid=InProcessGrid(stubborn, 8), held=["101"])
    found, expected = rewound(with_all, ["101"]), kept(without, 1, 5)
    assert found.apart > 0.001 * found.length_before
    np.testing.assert_allclose(row_of(found.commit), expected, atol=1e-5)


def test_verdicts_that_change_are_told(tmp_path):
    """Of two liars one is rejected in a round, as no more than that are borne; without it, the other one is."""
    path = tmp_path / "audit.db"
    of = settings(clients=8, rounds=3, defense="mean; policy=alarm", holdout="")
    held_run(path, of, grid=InProcessGrid(two_liars, 8))
    with Audit.open(path, create=False) as audit:
        before = {(one.round, one.client): one.verdict.accepted for one in audit.contributions(1)}
    assert all(before[number, "101"] != before[number, "102"] for number in (1, 2, 3))
    out, other = ("101", "102") if not before[3, "101"] else ("102", "101")
    found = rewound(path, [out])
    assert (3, other, True, False) in {(one.round, one.client, one.accepted, one.now) for one in found.changes}
    with Audit.open(path, create=False) as audit:
        after = {(one.round, one.client): one.verdict.accepted for one in audit.contributions(found.run)}
    changed = {key for key, accepted in after.items() if before[key] != accepted}
    assert {(one.round, one.client) for one in found.changes} == changed


def two_liars(message, context):
    """Clients of whom the first two send the opposite of what the others do, and more of it."""
    return stubborn(message, context, liars=(0, 1), lie=-0.3)


def stubborn(message, context, liars=(0,), lie=-0.03):
    """A client that moves every model by the same in a round; the first one farther, and elsewhere."""
    place, number = context.node_config["partition-id"], message.content["config"]["server-round"]
    rng = np.random.default_rng([place, number])
    arrays = {}
    for name, array in message.content["arrays"].items():
        step = rng.normal(lie if place in liars else 0.02, 0.01, array.shape)
        arrays[name] = Array((array.numpy() + step).astype(np.float32))
    content = {"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 10})}
    return Message(RecordDict(content), reply_to=message)


def test_a_client_that_was_always_rejected_leaves_nothing_to_take_back(tmp_path):
    path = tmp_path / "audit.db"
    of = settings(attack="sign_flip(scale=20)", defense="mean; policy=alarm", holdout="", rounds=4)
    held_run(path, of)
    who = attacker(of)
    with Audit.open(path, create=False) as audit:
        assert not any(one.verdict.accepted for one in audit.contributions(1, client=who))
    found = rewound(path, [who])
    assert found.apart < 1e-5 * found.length_before
    assert found.cosine > 0.999999
    assert found.changes == ()


def test_a_backdoor_is_gone(poisoned):
    of = settings()
    found = rewound(poisoned, [attacker(of)], evaluate=holdout(of), method="fit")
    assert found.before["attack-success"] > 0.5
    assert found.replayed["attack-success"] < 0.1
    assert found.after["attack-success"] < 0.1
    assert found.after["accuracy"] > found.before["accuracy"] - 0.02
    assert found.fit is not None
    assert (found.fit.rows, found.fit.rounds) == (5 * ROUNDS, 1)
    with Audit.open(poisoned, create=False) as audit:
        assert audit.rounds(found.run)[-1].number == found.commit.round == ROUNDS + 1
        assert audit.verify(found.run) == ()


def test_a_fit_is_the_ridge_regression_on_the_updates(poisoned):
    who = attacker(settings())
    found = rewound(poisoned, [who], method="fit")
    replayed, final = kept(poisoned, found.run, ROUNDS), kept(poisoned, 1, ROUNDS)
    with Audit.open(poisoned, create=False) as audit:
        rows = np.concatenate(
            [
                [row for row, client in zip(one.rows, one.clients, strict=True) if client != who]
                for one in (audit.updates(1, number) for number in range(1, ROUNDS + 1))
            ]
        ).astype(np.float64)
    dear = RIDGE * np.median((rows**2).sum(axis=1))
    # the same by least squares on a taller matrix
    tall = np.vstack([rows.T, np.sqrt(dear) * np.eye(len(rows))])
    weights = np.linalg.lstsq(tall, np.concatenate([final - replayed, np.zeros(len(rows))]), rcond=None)[0]
    np.testing.assert_allclose(row_of(found.commit), replayed + weights @ rows, atol=1e-6)


@pytest.mark.slow
def test_a_fit_adds_up_rounds_where_there_are_many_updates_and_few_columns(poisoned, monkeypatch):
    monkeypatch.setattr("hawthorn.server.rewinding.fitting.MOST", 12)
    found = rewound(poisoned, [attacker(settings())], method="fit")
    assert found.fit is not None
    assert (found.fit.rounds, found.fit.rows) == (4, 10)
    assert 0 < found.fit.explained < 1
    monkeypatch.setattr("hawthorn.server.rewinding.fitting.MOST", 4)
    with pytest.raises(SettingError, match=r"at most 4 clients with each other, got 5: write --method replay"):
        rewound(poisoned, [attacker(settings())], method="fit")
    monkeypatch.setattr("hawthorn.server.rewinding.fitting.MOST", 5000)
    monkeypatch.setattr("hawthorn.server.rewinding.fitting.ROOM", 0)  # everything lies in a file
    assert rewound(poisoned, [attacker(settings())], method="fit").fit.rows == 5 * ROUNDS


def test_a_fit_needs_moves_that_are_sums_of_updates(tmp_path):
    path = tmp_path / "audit.db"
    of = settings(inner="fedadam", rounds=1, holdout="")
    held_run(path, of)
    with pytest.raises(SettingError, match="inner=fedadam does not make"):
        rewound(path, [attacker(of)], method="fit")


@pytest.mark.slow
def test_a_rewind_from_a_round_begins_at_the_newest_checkpoint_before_it(tmp_path):
    path = tmp_path / "audit.db"
    of = settings(holdout="")
    held_run(path, of, every=3)  # of 0, 3, 6 and the five newest
    who = attacker(of)
    found = rewound(path, [who], first=3)
    assert (found.rounds, found.commit.round) == (ROUNDS, ROUNDS)  # after round 2 there is none any more
    found = rewound(path, [who], first=7)
    assert (found.rounds, found.commit.round) == (2, ROUNDS)
    expected = kept(path, 1, 6) + mean_of(path, [who], (7, 8))
    np.testing.assert_allclose(row_of(found.commit), expected, atol=1e-5)


@pytest.mark.parametrize("half", [False, True])
def test_half_precision_leads_to_nearly_the_same_model(tmp_path, poisoned, half):
    path = tmp_path / "audit.db"
    held_run(path, settings(**{"updates-half": half}))
    who = attacker(settings())
    found, expected = row_of(rewound(path, [who]).commit), row_of(rewound(poisoned, [who]).commit)
    distance = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert distance < 1e-3 if half else distance < 1e-6


def test_updates_that_were_not_kept_are_named(tmp_path):
    path = tmp_path / "audit.db"
    of = settings(updates="3", holdout="")
    held_run(path, of)
    with pytest.raises(AuditError, match=r"round 1 to 5 were not kept: there are those of round 6 to 8; --from 6"):
        rewound(path, [attacker(of)])
    assert rewound(path, [attacker(of)], first=6).rounds == 3
    none = tmp_path / "none.db"
    held_run(none, settings(updates="none", holdout=""))
    with pytest.raises(AuditError, match="run with updates=all"):
        rewound(none, [attacker(of)])


def test_clients_are_known_by_identity_name_or_node(poisoned):
    with Audit.open(poisoned, create=False) as audit:
        run = audit.find_run(1)
        assert client_named(audit, run, "103") == "103"
        with pytest.raises(SettingError, match="has seen no client '1033'; did you mean '103'"):
            client_named(audit, run, "1033")


def test_there_must_be_something_to_take_back(poisoned):
    who = attacker(settings())
    with pytest.raises(SettingError, match="nothing to take back"):
        rewound(poisoned, ["777"])
    with pytest.raises(SettingError, match=f"--from must be a round up to {ROUNDS}"):
        rewound(poisoned, [who], first=ROUNDS + 1)
    with pytest.raises(SettingError, match="no method named 'replya'"):
        rewound(poisoned, [who], method="replya")


def test_a_run_that_adopts_the_model_goes_on_from_it(tmp_path):
    path = tmp_path / "audit.db"
    of = settings(rounds=4)
    who = attacker(of)
    held_run(path, of)
    found = rewound(path, [who])
    with Audit.open(path) as audit:
        audit.order(1, "quarantine", who, by="me")
        audit.order(1, "roll_back", other=found.run, round=found.commit.round, by="me")
    held_run(path, settings(rounds=6))
    with Audit.open(path, create=False) as audit:
        assert [order.result for order in audit.orders(1)] == ["", ""]
        assert {one.client for one in audit.contributions(1, 5)} == {str(n) for n in range(101, 107)} - {who}
        np.testing.assert_array_equal(row_of(audit.commit_before(1, 5)), row_of(found.commit))
        steps = lineage(audit, 1).steps
        assert [(step.round, step.kept) for step in steps[:4]] == [(n, (found.run, n)) for n in range(1, 5)]
        assert [step.without for step in steps] == [frozenset({who})] * 4 + [frozenset()] * 2
        assert audit.metrics(1)[6]["attack-success"] < 0.1
    # a second one is found later: the first one stays out
    other = next(name for name in ("101", "102") if name != who)
    second = rewound(path, [other])
    start = kept(path, 1, 0)
    expected = start + mean_of(path, [who, other], range(1, 5)) + mean_of(path, [other], (5, 6))
    np.testing.assert_allclose(row_of(second.commit), expected, atol=1e-5)
    with Audit.open(path, create=False) as audit, pytest.raises(SettingError, match="nothing to take back"):
        plan(audit, audit.find_run(1), [who])


def test_rounds_that_were_rolled_back_are_left_out(tmp_path):
    path = tmp_path / "audit.db"
    of = settings(rounds=4, holdout="")
    held_run(path, of)
    with Audit.open(path) as audit:
        audit.order(1, "roll_back", round=2)
    held_run(path, settings(rounds=6, holdout=""))
    who = attacker(of)
    found = rewound(path, [who])
    expected = kept(path, 1, 0) + mean_of(path, [who], (1, 2, 5, 6))
    np.testing.assert_allclose(row_of(found.commit), expected, atol=1e-5)
    assert found.rounds == 4


def test_a_guard_begins_anew_at_the_new_model(poisoned):
    with Audit.open(poisoned) as audit:
        planned = plan(audit, audit.find_run(1), [attacker(settings())], first=ROUNDS)
        seen = replace(planned.begin.memory, guard={"accepted": {"accuracy": "of the rounds before"}})
        planned = replace(planned, begin=replace(planned.begin, memory=seen))
        name, told = named(planned, {})
        with audit.run(told, name=name, checkpoints=poisoned.with_name("kept")) as ledger:
            assert rebuilt(planned, audit, ledger).commit.memory.guard is None


def test_updates_that_the_run_deletes_meanwhile_are_held_fast(tmp_path):
    path = tmp_path / "audit.db"
    held_run(path, settings(rounds=3, holdout=""))
    who = attacker(settings())
    with Audit.open(path) as audit:
        (tmp_path / "own").mkdir()
        with held_fast(plan(audit, audit.find_run(1), [who]), audit, tmp_path / "own") as planned:
            for one in Path(audit.find_run(1).place).glob("updates-*"):
                one.unlink()
            name, told = named(planned, {})
            with audit.run(told, name=name, checkpoints=tmp_path / "kept") as ledger:
                found = rebuilt(planned, audit, ledger, method="fit")
        assert found.rounds == 3
        assert found.fit.rows == 15
        assert list((tmp_path / "own").iterdir()) == []
        with (
            pytest.raises(AuditError, match=r"updates-.* is not there \(any more\)"),
            held_fast(planned, audit, tmp_path),
        ):
            pass


def test_a_defense_with_too_few_rows_says_so(poisoned):
    with pytest.raises(SettingError, match=r"'krum; f=1.* cannot work with the 4 updates .*: write --tolerated 0"):
        rewound_with_rule(poisoned)


def rewound_with_rule(path):
    of = settings(defense="krum; policy=none; f=1", rounds=2, holdout="")
    held_run(path, of, name="krum")
    with Audit.open(path, create=False) as audit:
        run = audit.newest().id
    return rewound(path, [attacker(of), "101" if attacker(of) != "101" else "102"], run=run)
