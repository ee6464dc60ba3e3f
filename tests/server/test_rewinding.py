"""Models rebuilt without a client: from retained updates, through orders and other runs, and what is missing for it."""

import numpy as np
import pytest
from hawthorn.server.app import holdout
from hawthorn.server.audit import Audit
from hawthorn.server.audit.replaying import replays
from hawthorn.server.rewinding import client_named, lineage, named, plan, rebuilt
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


def test_with_nobody_left_out_the_model_is_the_same(tmp_path):
    """What is left out never took part after round 3: everything from there on is held again as it was."""
    of = settings(defense="centered_clipping; momentum=0.5", inner="fedadam(eta=0.01)", rounds=6)
    path = tmp_path / "audit.db"
    held_run(path, of, every=1)
    found = rewound(path, [attacker(of)], first=6)
    again = rewound(path, [attacker(of)], first=6, tolerated=1)
    assert (found.rounds, found.commit.round) == (1, 6)
    np.testing.assert_array_equal(row_of(found.commit), row_of(again.commit))
    assert found.apart > 0


def test_a_backdoor_is_gone(poisoned):
    of = settings()
    found = rewound(poisoned, [attacker(of)], evaluate=holdout(of), method="fit")
    assert found.before["attack-success"] > 0.5
    assert found.replayed["attack-success"] < 0.1
    assert found.after["attack-success"] < 0.1
    assert found.after["accuracy"] > found.before["accuracy"] - 0.02
    assert found.fit is not None
    assert (found.fit.rows, found.fit.rounds) == (5 * ROUNDS, 1)


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


def test_a_defense_with_too_few_rows_says_so(poisoned):
    with pytest.raises(AuditError, match=r"every round was skipped: .*krum"):
        rewound_with_rule(poisoned)


def rewound_with_rule(path):
    of = settings(defense="krum; policy=none; f=1", rounds=2, holdout="")
    held_run(path, of, name="krum")
    with Audit.open(path, create=False) as audit:
        run = audit.newest().id
    return rewound(path, [attacker(of), "101" if attacker(of) != "101" else "102"], run=run)
