"""The rounds of a run: what a crash leaves, orders between rounds, the guard, a quorum, nodes that are not there."""

import copy
import random

import numpy as np
import pytest
from flower_rounds import CLIENTS, assert_same_model, honest, numbers, sent_model
from flwr.app import Array, ArrayRecord, MetricRecord
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.server.holdout import HoldoutGuard
from hawthorn.strategies import AuditError, Defense, RobustStrategy, SettingError
from hawthorn.strategies.flower import Commit, Order, Ruling
from hawthorn.strategies.flower.clients import identity
from hawthorn.strategies.flower.remembered import KIND

MEDIAN = Defense("median", f=0.2)
ROUNDS = 6


class Crash(Exception):  # noqa: N818
    """The end of a process, as far as one can have it in this one."""


class Kept:
    """A ledger in this process's memory. A crash comes before or after a commit that is numbered, or in mid-round."""

    def __init__(self, crash_before=None, crash_after=None):
        self.commits, self.wanted, self.standings = [], [], []
        self.crash_before, self.crash_after = crash_before, crash_after

    def last(self):
        return copy.deepcopy(self.commits[-1]) if self.commits else None

    def commit(self, commit):
        if len(self.commits) == self.crash_before:
            self.crash_before = None
            raise Crash
        self.commits.append(copy.deepcopy(commit))
        if len(self.commits) - 1 == self.crash_after:
            self.crash_after = None
            raise Crash

    def orders(self):
        told = {order.id for commit in self.commits for order in commit.done}
        due = [order for when, order in self.wanted if when <= self.commits[-1].round]
        return [order for order in due if order.id not in told]

    def after(self, round, run=None):
        found = [commit for commit in self.commits if commit.round == round]
        if not found or run not in (None, 1):
            raise AuditError(f"no round {round}")
        return copy.deepcopy(found[-1])

    def standing(self, status):
        self.standings.append(status)
        if status == "paused":  # somebody lets it go on
            self.wanted.append((0, Order(100 + len(self.wanted), "resume")))


def moving(message, context):
    """An honest client whose noise is another one in each round."""
    message.content["arrays"] = ArrayRecord(dict(message.content["arrays"]))
    return honest(message, context)


def strategy(ledger, inner=FedAdam, **more):
    defense = Defense.parse("median; reputation=sequential", f=0.2)
    return RobustStrategy(inner(fraction_train=0.6), defense, ledger=ledger, **more)


def started(ledger, rounds=ROUNDS, inner=FedAdam, **more):
    return strategy(ledger, inner, **more).start(InProcessGrid(moving, CLIENTS), sent_model(), num_rounds=rounds)


@pytest.mark.parametrize("inner", [FedAdam, *(pytest.param(one, marks=pytest.mark.slow) for one in (FedAvg, FedAvgM))])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("commit", range(ROUNDS + 1))
def test_a_run_that_crashed_ends_as_one_that_did_not(inner, when, commit):
    random.seed(1)
    whole = Kept()
    expected = started(whole, inner=inner)
    random.seed(1)
    broken = Kept(**{f"crash_{when}": commit})
    with pytest.raises(Crash):
        started(broken, inner=inner)
    if broken.commits:
        random.seed(99)  # another process has another generator
    else:
        random.seed(1)
    found = started(broken, inner=inner)
    assert_same_model(found.arrays, expected.arrays)
    assert [one.round for one in broken.commits] == list(range(ROUNDS + 1))
    for one, other in zip(broken.commits[1:], whole.commits[1:], strict=True):
        assert one.record.verdicts == other.record.verdicts
        np.testing.assert_array_equal(one.rows, other.rows)


def test_a_commit_has_all_that_a_round_left():
    ledger = Kept()
    result = started(ledger, rounds=2)
    first, _, last = ledger.commits
    assert (first.round, first.record) == (0, None)
    assert_same_model(first.arrays, sent_model())
    assert_same_model(last.arrays, result.arrays)
    assert last.rows.shape == (6, len(ledger.commits[-1].rows[0]))
    assert last.memory.defense["rounds"] == 2
    assert set(last.memory.inner) - {KIND} == {"current_arrays", "m_t", "v_t"}
    assert last.train_metrics == result.train_metrics_clientapp[2]


@pytest.mark.parametrize("change", ["shape", "name", "dtype"])
def test_a_run_does_not_go_on_with_another_model(change):
    ledger, arrays = Kept(), sent_model()
    started(ledger, rounds=1)
    name = next(iter(arrays))
    array = arrays.pop(name).numpy()
    if change == "dtype":
        arrays[name] = Array(array.astype(np.float16))
    else:
        arrays["other" if change == "name" else name] = Array(array if change == "name" else array[:1])
    with pytest.raises(SettingError, match=r"cannot go on with another model: .*another name for the run"):
        strategy(ledger).start(InProcessGrid(moving, CLIENTS), arrays, num_rounds=2)
    assert ledger.commits[-1].round == 1


def test_an_operator_holds_a_client_and_lets_it_go():
    ledger = Kept()
    ledger.wanted = [
        (1, Order(1, "quarantine", "103")),
        (1, Order(2, "quarantine", "104", rounds=1)),
        (3, Order(3, "release", "103")),
    ]
    robust = RobustStrategy(FedAvg(), MEDIAN, ledger=ledger)
    robust.start(InProcessGrid(honest, CLIENTS), sent_model(), num_rounds=4)
    took_part = {one.round: set(one.record.verdicts) for one in ledger.commits if one.record}
    everyone = set(range(101, 111))
    assert took_part == {1: everyone, 2: everyone - {103, 104}, 3: everyone - {103}, 4: everyone}
    assert set(ledger.after(2).record.quarantined) == {103}
    assert "until an operator releases it" in str(ledger.after(2).record.quarantined[103])


def test_a_release_forgets_what_scores_remember_of_a_client_without_reputation_too():
    ledger = Kept()
    ledger.wanted = [(2, Order(1, "release", "103"))]
    RobustStrategy(FedAvg(), MEDIAN, ledger=ledger).start(InProcessGrid(honest, CLIENTS), sent_model(), num_rounds=3)
    before, ordered = ledger.commits[2:4]
    assert list(ordered.done.values()) == [""]
    weights = [one.memory.defense["clients"] for one in (before, ordered)]
    assert weights[0]["103"]["weight"] > weights[1]["103"]["weight"] == 0
    assert weights[0]["104"] == weights[1]["104"]


def test_a_pause_lasts_until_it_is_ended_and_a_stop_ends_the_run():
    ledger = Kept()
    ledger.wanted = [(1, Order(1, "pause")), (3, Order(2, "stop"))]
    RobustStrategy(FedAvg(), MEDIAN, ledger=ledger).start(InProcessGrid(honest, CLIENTS), sent_model(), num_rounds=5)
    assert ledger.standings == ["paused", "running"]
    assert ledger.commits[-1].round == 3
    assert [text for one in ledger.commits for text in one.done.values()] == ["", "", ""]


def test_a_pause_survives_a_crash():
    ledger = Kept(crash_after=2)  # the initial model, round 1, the pause
    ledger.wanted = [(1, Order(1, "pause"))]
    with pytest.raises(Crash):
        started(ledger)
    assert ledger.standings == []
    started(ledger)
    assert ledger.standings == ["paused", "running"]


def test_a_run_goes_back_to_an_earlier_model():
    ledger = Kept()
    ledger.wanted = [(3, Order(1, "roll_back", round=1)), (3, Order(2, "roll_back", round=7))]
    RobustStrategy(FedAvg(), MEDIAN, ledger=ledger).start(InProcessGrid(honest, CLIENTS), sent_model(), num_rounds=3)
    assert ledger.commits[-1].round == 3  # over: nobody is asked for orders after the last round
    RobustStrategy(FedAvg(), MEDIAN, ledger=ledger).start(InProcessGrid(honest, CLIENTS), sent_model(), num_rounds=4)
    ordered = next(one for one in ledger.commits if one.done)
    assert_same_model(ordered.arrays, ledger.after(1).arrays)
    assert list(ordered.done.values()) == ["", "no round 7"]
    assert ledger.commits[-1].round == 4
    assert_same_model(
        ledger.commits[-1].arrays, ledger.after(2).arrays, 1e-6
    )  # honest clients move alike in each round


class Refusing:
    """A guard that finds fault with some rounds' models, or with what clients report of them."""

    def __init__(self, rounds=(), reported=()):
        self.rounds, self.reported, self.seen = rounds, reported, []

    def check(self, round, arrays, state):
        state = {"checked": (state or {"checked": 0})["checked"] + 1}
        return Ruling("it is worse" if round in self.rounds else None, MetricRecord({"accuracy": 0.5 + round}), state)

    def check_reports(self, round, reports, state):
        self.seen.append(sorted(reports))
        return Ruling("clients are worse off" if round in self.reported else None, None, state)


@pytest.mark.parametrize("inner", [FedAvg, FedAdam])
def test_a_model_that_the_guard_refuses_is_as_if_the_round_had_not_been(inner):
    guarded = Kept()
    random.seed(3)
    started(guarded, rounds=1, inner=inner, guard=Refusing())
    other = copy.deepcopy(guarded)
    started(guarded, rounds=2, inner=inner, guard=Refusing(rounds=[2]))
    last = guarded.commits[-1]
    assert_same_model(last.arrays, other.commits[-1].arrays)
    assert last.record.rolled_back == "it is worse"
    assert last.record.skipped == "rolled back: it is worse"
    for name in {"m_t", "v_t"} & set(last.memory.inner):
        expected = other.commits[-1].memory.inner[name]
        for key, array in expected.items():
            np.testing.assert_array_equal(last.memory.inner[name][key], array)
    accepted = {str(node) for node, verdict in last.record.verdicts.items() if verdict.accepted}
    assert {name for name, one in last.record.standings.items() if one.evidence >= 1} == accepted
    assert last.memory.guard == {"checked": 3}


def test_clients_reports_can_refuse_a_model_too():
    ledger, guard = Kept(), Refusing(reported=[2])
    RobustStrategy(FedAvg(), MEDIAN, ledger=ledger, guard=guard).start(
        InProcessGrid(honest, CLIENTS), sent_model(), num_rounds=2
    )
    assert guard.seen[0] == [str(node) for node in range(101, 111)]
    assert ledger.commits[-1].record.rolled_back == "clients are worse off"
    assert_same_model(ledger.commits[-1].arrays, ledger.commits[-2].arrays)


def test_who_did_not_train_in_a_round_judges_its_model_too_and_who_was_refused_does_not():
    def refused(message, context):
        reply = honest(message, context)
        if message.metadata.message_type == "train" and message.metadata.dst_node_id == 103:
            del reply.content["arrays"]
        return reply

    guard = Refusing()
    robust = RobustStrategy(FedAvg(fraction_train=0.6), MEDIAN, guard=guard)
    random.seed(3)
    robust.start(InProcessGrid(refused, CLIENTS), sent_model(), num_rounds=1)
    assert 103 in robust.last_round.refused
    assert len(robust.last_round.verdicts) == 5
    assert guard.seen == [[str(node) for node in range(101, 111) if node != 103]]


def test_a_guard_is_told_that_nobody_reports_unless_the_model_stays_as_it_was(caplog):
    guard = Refusing(rounds=[2])
    robust = RobustStrategy(FedAvg(fraction_evaluate=0.0), MEDIAN, guard=guard)
    robust.start(InProcessGrid(honest, CLIENTS), sent_model(), num_rounds=3)
    assert guard.seen == [[], []]
    robust = RobustStrategy(FedAvg(fraction_evaluate=0.0), MEDIAN, guard=HoldoutGuard.parse("clients"))
    with caplog.at_level("WARNING", logger="hawthorn"):
        robust.start(InProcessGrid(honest, CLIENTS), sent_model(), num_rounds=1)
    assert "0 clients report of the model, too few" in caplog.text


def test_a_model_whose_loss_is_lost_at_the_clients_is_rolled_back():
    def broken(message, context):
        reply = honest(message, context)
        evaluated = message.metadata.message_type == "evaluate" and message.content["config"]["server-round"] == 2
        if evaluated and message.metadata.dst_node_id > 104:
            reply.content["metrics"]["loss"] = float("nan")
        return reply

    ledger, guard = Kept(), HoldoutGuard.parse("clients")
    RobustStrategy(FedAvg(), MEDIAN, ledger=ledger, guard=guard).start(
        InProcessGrid(broken, CLIENTS), sent_model(), num_rounds=3
    )
    assert [one.record.rolled_back for one in ledger.commits[1:]] == [
        None,
        "the loss is not finite at 6 of 10 clients",
        None,
    ]


def test_the_guards_metrics_are_the_rounds():
    result = RobustStrategy(FedAvg(), MEDIAN, guard=Refusing()).start(
        InProcessGrid(honest, CLIENTS), sent_model(), num_rounds=2
    )
    assert {k: m["accuracy"] for k, m in result.evaluate_metrics_serverapp.items()} == {0: 0.5, 1: 1.5, 2: 2.5}


def test_a_round_closes_at_its_quorum_and_bears_as_many_hostile_as_were_asked():
    robust = RobustStrategy(FedAvg(), Defense("trimmed_mean", f=0.3, policy="none"), quorum=0.8)
    robust.start(InProcessGrid(honest, CLIENTS), sent_model(), num_rounds=1)
    assert len(robust.last_round.verdicts) == 8
    assert set(robust.last_round.refused.values()) == {"no reply before the round closed with 8"}
    alone = RobustStrategy(FedAvg(), Defense("trimmed_mean", f=3, policy="none"))
    alone.start(InProcessGrid(honest, 8), sent_model(), num_rounds=1)
    assert robust.last_round.skipped == alone.last_round.skipped


@pytest.mark.parametrize("quorum", [0, 1.5, -1, True, "8"])
def test_a_quorum_that_is_none_is_refused(quorum):
    with pytest.raises(SettingError, match="quorum must be a count such as 8 or a share"):
        RobustStrategy(FedAvg(), quorum=quorum)


def test_a_round_without_enough_nodes_is_skipped_and_not_waited_for():
    robust = RobustStrategy(FedAvg(min_available_nodes=20), MEDIAN, sampling_timeout=0.1)
    result = robust.start(InProcessGrid(honest, CLIENTS), sent_model(), num_rounds=2)
    assert robust.last_round.skipped == "10 of at least 20 nodes were connected after 0.1 seconds"
    assert_same_model(result.arrays, sent_model())


def test_messages_live_no_longer_than_they_are_waited_for():
    lives = []

    def noted(message, context):
        lives.append(message.metadata.ttl)
        return honest(message, context)

    RobustStrategy(FedAvg(), MEDIAN).start(InProcessGrid(noted, CLIENTS), sent_model(), num_rounds=1, timeout=77)
    assert set(lives) == {77}


class Named(InProcessGrid):
    """A grid that knows its nodes' keys and names, under node ids that change from one start to the next."""

    first = 0

    def get_nodes(self):
        from flwr.proto.node_pb2 import NodeInfo

        return [
            NodeInfo(node_id=node, public_key=b"key of %d" % place, name=f"site-{place}")
            for place, node in enumerate(self.get_node_ids(), self.first)
        ]


def test_what_is_remembered_of_a_client_follows_its_key():
    ledger = Kept()
    ledger.wanted = [(1, Order(1, "quarantine", identity(b"key of 3")))]
    robust = RobustStrategy(FedAvg(), MEDIAN, ledger=ledger)
    robust.start(Named(honest, CLIENTS), sent_model(), num_rounds=2)
    record = ledger.commits[-1].record
    assert 104 not in record.verdicts
    assert {node: client.name for node, client in record.clients.items()}[101] == "site-0"
    moved = Named(honest, CLIENTS)
    moved.first = 1  # the site with key 3 has another node id now
    after = RobustStrategy(FedAvg(), MEDIAN, ledger=ledger)
    after.start(moved, sent_model(), num_rounds=3)
    assert 103 not in after.last_round.verdicts
    assert 104 in after.last_round.verdicts
    assert identity(b"key of 0") in ledger.commits[-1].memory.defense["clients"]


def test_commits_compare_by_identity_and_numbers_are_those_of_the_model():
    commit = Commit(0, sent_model(), strategy(None).recollection())
    assert commit != Commit(0, sent_model(), strategy(None).recollection())
    assert set(numbers(commit.arrays)) == set(numbers(sent_model()))
