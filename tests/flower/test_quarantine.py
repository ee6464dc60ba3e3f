"""Nodes in quarantine, over real Flower messages: whom the strategy asks, what it tells, and how they come back."""

import pytest
from flower_rounds import honest, sent_model
from flwr.serverapp.strategy import FedAvg
from hawthorn.client.attacks.forging import with_array
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.strategies import Defense, RobustStrategy, SettingError, released

HOSTILE = 103
DEFENSE = Defense("median", f=2, reputation="sequential(term=3)")


class Federation:
    """Ten nodes, one of which sends poison while `lying`; who was asked to train and evaluate is written down."""

    def __init__(self, defense=DEFENSE, **options):
        self.lying = True
        self.asked: list[int] = []
        self.evaluated: list[int] = []
        self.records = []
        self.strategy = RobustStrategy(FedAvg(), defense, observers=[self.records.append], **options)

    def app(self, message, context):
        reply = honest(message, context)
        if message.metadata.message_type == "train":
            self.asked.append(context.node_id)
            if context.node_id == HOSTILE and self.lying:
                (reply,) = with_array(reply, lambda array: -100 * array)
            return reply
        self.evaluated.append(context.node_id)
        if context.node_id == HOSTILE:
            next(iter(reply.content.metric_records.values()))["loss"] = 1e6
        return reply

    def rounds(self, count):
        """The nodes asked in each round, and the result."""
        asked, result = [], None
        for _ in range(count):
            self.asked.clear()
            result = self.strategy.start(InProcessGrid(self.app, 10), sent_model(), num_rounds=1)
            asked.append(set(self.asked))
        return asked, result

    def until_quarantine(self):
        for _ in range(20):
            self.rounds(1)
            if self.records[-1].quarantined:
                return self.records[-1].quarantined[HOSTILE]
        raise AssertionError("nobody went into quarantine")


def test_a_node_in_quarantine_is_not_asked_until_the_last_round_of_its_term():
    federation = Federation()
    standing = federation.until_quarantine()
    assert "1 in quarantine" in str(federation.records[-1])
    asked, _ = federation.rounds(3)
    assert [HOSTILE in nodes for nodes in asked] == [False, False, True]
    assert all(len(nodes - {HOSTILE}) == 9 for nodes in asked)
    assert [list(record.quarantined) for record in federation.records[-3:]] == [[HOSTILE]] * 3
    assert all(record.skipped is None for record in federation.records)
    verdict = federation.records[-1].verdicts[HOSTILE]
    assert not verdict.accepted
    assert "in quarantine" in verdict.reason
    again = federation.records[-1].quarantined[HOSTILE]
    assert again.term == 2 * standing.term, "it lied at the last look, too"


def test_a_node_in_quarantine_is_sent_no_model_to_evaluate_either():
    federation = Federation()
    federation.until_quarantine()
    assert federation.evaluated.count(HOSTILE) == len(federation.records) - 1
    federation.evaluated.clear()
    federation.strategy.held["105"] = None
    federation.rounds(2)
    assert set(federation.evaluated) == set(range(101, 111)) - {HOSTILE, 105}


def test_a_node_that_behaves_comes_back_on_probation_and_is_free_in_the_end():
    federation = Federation()
    federation.until_quarantine()
    federation.lying = False
    federation.rounds(3)
    assert not federation.records[-1].verdicts[HOSTILE].accepted
    assert not federation.records[-1].quarantined
    federation.rounds(1)
    verdict = federation.records[-1].verdicts[HOSTILE]
    assert verdict.accepted
    assert verdict.standing.startswith("on probation")
    federation.rounds(5)
    assert federation.records[-1].verdicts[HOSTILE].standing == ""


def test_a_node_in_quarantine_is_not_listened_to_in_evaluation_either():
    federation = Federation()
    federation.until_quarantine()
    _, result = federation.rounds(1)
    assert HOSTILE not in federation.records[-1].verdicts
    assert result.evaluate_metrics_clientapp[1]["loss"] == pytest.approx(0.5, abs=0.05)


def test_the_operator_releases_a_node():
    federation = Federation()
    federation.until_quarantine()
    federation.lying = False
    federation.strategy.state = released(federation.strategy.state, HOSTILE)
    asked, _ = federation.rounds(1)
    assert HOSTILE in asked[0]
    assert federation.records[-1].verdicts[HOSTILE].accepted


def test_a_resumed_run_goes_on_where_the_last_one_ended():
    first, second = Federation(), Federation()
    first.until_quarantine()
    second.strategy.state = first.strategy.state
    assert [HOSTILE in nodes for nodes in second.rounds(3)[0]] == [False, False, True]


def test_a_node_that_is_not_asked_counts_among_those_that_may_be_rejected():
    federation = Federation(Defense("median", f=1, reputation="sequential(term=3)"))
    federation.until_quarantine()
    honest_app = federation.app

    def another(message, context):
        reply = honest_app(message, context)
        if context.node_id == 105 and message.metadata.message_type == "train":
            (reply,) = with_array(reply, lambda array: -100 * array)
        return reply

    federation.app = another
    federation.rounds(1)
    assert len(federation.records[-1].verdicts) == 9
    assert all(verdict.accepted for verdict in federation.records[-1].verdicts.values())


def test_momentum_measures_the_means_of_rows_that_came_one_by_one():
    plain = Federation(Defense("mean", f=0, policy="none"))
    remembering = Federation(Defense("mean", f=0, policy="none", momentum=0.9))
    for federation in (plain, remembering):
        federation.rounds(1)
        federation.lying = False
        federation.rounds(1)
    first, last = (lengths(record) for record in remembering.records)
    alone = lengths(plain.records[-1])
    assert 0.4 * first[HOSTILE] < last[HOSTILE] < 0.5 * first[HOSTILE] + alone[HOSTILE]
    for node in alone.keys() - {HOSTILE}:  # these send the same in each round
        assert last[node] == pytest.approx(alone[node], rel=1e-5)


def lengths(record):
    return dict(zip(record.verdicts, record.geometry.norms, strict=True))


def test_momentum_over_shards_is_refused_at_start_up():
    with pytest.raises(SettingError, match="leave out momentum, or shards"):
        RobustStrategy(FedAvg(), Defense("mean", momentum=0.9), shards=2)
