"""RobustStrategy around every stock strategy: layout, metrics, memory, observers, evaluation, skipped rounds."""

import logging
import re

import numpy as np
import pytest
from flower_rounds import asked, assert_same_model, honest, layout, numbers, sent_model
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedXgbBagging,
    FedYogi,
    Krum,
    MultiKrum,
    QFedAvg,
    Strategy,
)
from hawthorn.client.attacks.forging import forged, with_array, with_examples
from hawthorn.client.attacks.malformed import MALFORMED
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.strategies import AuditError, Defense, RobustStrategy, RoundRecord, SettingError

MEDIAN = Defense("median", f=0.2)
PRIVATE = {"noise_multiplier": 0.01, "num_sampled_clients": 10}
INNER = {
    "FedAvg": FedAvg,
    "FedProx": lambda: FedProx(proximal_mu=0.1),
    "FedAvgM": lambda: FedAvgM(server_learning_rate=0.5, server_momentum=0.9),
    "FedAdam": FedAdam,
    "FedYogi": FedYogi,
    "FedAdagrad": FedAdagrad,
    "FedMedian": FedMedian,
    "FedTrimmedAvg": FedTrimmedAvg,
    "Krum": lambda: Krum(num_malicious_nodes=2),
    "MultiKrum": lambda: MultiKrum(num_malicious_nodes=2, num_nodes_to_select=3),
    "Bulyan": lambda: Bulyan(num_malicious_nodes=1),
    "QFedAvg": lambda: QFedAvg(client_learning_rate=0.1, train_loss_key="loss"),
    "DP server fixed": lambda: DifferentialPrivacyServerSideFixedClipping(FedAvg(), clipping_norm=9.0, **PRIVATE),
    "DP client fixed": lambda: DifferentialPrivacyClientSideFixedClipping(FedAvg(), clipping_norm=9.0, **PRIVATE),
    "DP server adaptive": lambda: DifferentialPrivacyServerSideAdaptiveClipping(FedAvg(), **PRIVATE),
    "DP client adaptive": lambda: DifferentialPrivacyClientSideAdaptiveClipping(FedAvg(), **PRIVATE),
}


def flagged(message, context):
    """An honest reply with what Flower's adaptive clipping wants to know; one client poisons, one sends nonsense."""
    reply = honest(message, context)
    next(iter(reply.content.metric_records.values()))["norm_bit"] = int(context.node_config["partition-id"] % 2)
    if message.metadata.message_type == "train" and context.node_config["partition-id"] == 3:
        (reply,) = with_array(reply, lambda array: -100 * array)
    if message.metadata.message_type == "train" and context.node_config["partition-id"] == 4:
        (reply,) = MALFORMED["shape_that_broadcasts"](reply)
    return reply


@pytest.mark.parametrize("make", INNER.values(), ids=INNER)
def test_every_stock_strategy_runs_and_keeps_the_layout(make):
    strategy = RobustStrategy(make(), MEDIAN)
    records: list[RoundRecord] = []
    strategy.observers = (records.append,)
    result = strategy.start(InProcessGrid(flagged, 10), sent_model(), num_rounds=2)
    assert list(result.arrays) == list(sent_model())
    assert layout(result.arrays) == layout(sent_model())
    assert [record.skipped for record in records] == [None, None]
    assert all(not record.verdicts[104].accepted for record in records)
    assert [list(record.refused) for record in records] == [[105], [105]]
    assert result.arrays["seen"].numpy() == 9  # counters count, whatever an optimizer makes of them
    moved = numbers(result.arrays)["weight"] - numbers(sent_model())["weight"]
    assert 0 < moved.mean() < 2
    assert set(result.evaluate_metrics_clientapp) == {1, 2}
    assert result.train_metrics_clientapp[2]["loss"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("name", ["FedAvg", "FedAvgM", "FedAdam", "FedMedian", "MultiKrum", "Bulyan"])
def test_the_wrapped_strategy_sees_the_robust_update_as_its_only_client(name):
    """What it makes of it is what it makes, alone, of clients that all sent that model."""
    wrapped = RobustStrategy(INNER[name](), Defense("mean", f=0, policy="none"))
    arrays, _ = wrapped.aggregate_train(1, asked(wrapped))
    middle = RobustStrategy(FedAvg(), Defense("mean", f=0, policy="none"))
    trusted, _ = middle.aggregate_train(1, asked(middle))
    alone = INNER[name]()
    replies = asked(alone)
    for reply in replies:
        reply.content["arrays"] = ArrayRecord(dict(trusted))
    expected = numbers(alone.aggregate_train(1, replies)[0])
    for key, array in numbers(arrays).items():
        if key != "seen":
            np.testing.assert_allclose(array, expected[key], rtol=1e-6)


def test_flowers_own_loop_drives_it_as_well():
    robust, driven = RobustStrategy(FedAvg(), MEDIAN), RobustStrategy(FedAvg(), MEDIAN)
    expected = robust.start(InProcessGrid(flagged, 10), sent_model(), num_rounds=2)
    found = Strategy.start(driven, InProcessGrid(flagged, 10), sent_model(), num_rounds=2)
    assert_same_model(found.arrays, expected.arrays)
    assert found.train_metrics_clientapp == expected.train_metrics_clientapp
    assert found.evaluate_metrics_clientapp == expected.evaluate_metrics_clientapp


def test_replies_may_come_as_a_generator_in_any_order():
    first, second = RobustStrategy(FedAvg(), MEDIAN), RobustStrategy(FedAvg(), MEDIAN)
    expected, _ = first.aggregate_train(1, asked(first))
    replies = asked(second)
    found, _ = second.aggregate_train(1, (reply for reply in reversed(replies)))
    assert_same_model(found, expected)
    assert list(second.last_round.verdicts) == list(range(110, 100, -1))


def test_the_record_tells_what_happened_in_the_order_of_the_geometry():
    strategy = RobustStrategy(FedAvg(), MEDIAN)
    replies = asked(strategy)
    (replies[2],) = with_array(replies[2], lambda array: 50 * array)
    strategy.aggregate_train(4, replies)
    record = strategy.last_round
    assert (record.round, record.skipped, record.refused) == (4, None, {})
    assert record.geometry.n == 10
    assert list(record.verdicts)[int(record.geometry.norms.argmax())] == 103
    assert not record.verdicts[103].accepted
    assert record.verdicts[103].reason
    assert 0 < record.seconds < 60


def test_memory_across_rounds_is_keyed_by_node_id():
    strategy = RobustStrategy(FedAvg(), MEDIAN)
    assert strategy.state is None
    for server_round in (1, 2):
        strategy.aggregate_train(server_round, asked(strategy, server_round=server_round)[:7])
    assert strategy.state is not None
    assert all(str(node) in repr(strategy.state) for node in range(101, 108))
    assert "108" not in repr(strategy.state)


def test_the_matrix_of_the_round_is_allocated_once():
    strategy = RobustStrategy(FedAvg(), MEDIAN)
    strategy.aggregate_train(1, asked(strategy))
    rows = strategy._updates.rows
    strategy.aggregate_train(2, asked(strategy, clients=7))
    assert np.shares_memory(strategy._updates.rows, rows)


@pytest.mark.parametrize(
    ("defense", "kept", "told"),
    [
        (Defense("krum", f=4, policy="none"), 10, "krum"),
        (MEDIAN, 0, "none of the 10 clients asked sent a usable reply"),
    ],
    ids=["too few for the rule", "nobody"],
)
def test_a_skipped_round_returns_the_arrays_as_sent(defense, kept, told):
    strategy = RobustStrategy(FedAvg(), defense)
    model = sent_model()
    arrays, metrics = strategy.aggregate_train(1, asked(strategy, model)[:kept])
    assert arrays is model
    assert metrics is None
    assert told in strategy.last_round.skipped


def test_nobody_asked_is_a_skipped_round():
    strategy = RobustStrategy(FedAvg(fraction_train=0.0), MEDIAN)
    strategy.aggregate_train(1, asked(strategy))
    assert strategy.last_round.skipped == "no client was asked"


class Broken(FedAvg):
    """A strategy that returns what it is told to."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def aggregate_train(self, server_round, replies):
        arrays, metrics = super().aggregate_train(server_round, replies)
        return self.change(arrays), metrics


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda arrays: None, "Broken returned no arrays"),
        (lambda arrays: ArrayRecord({**arrays, "bias": Array(np.full(5, np.nan))}), "'bias' holds NaN"),
        (lambda arrays: ArrayRecord({**arrays, "bias": Array(np.full(5, 1e300))}), "float32 cannot hold"),
        (lambda arrays: ArrayRecord({**arrays, "bias": Array(np.zeros(6))}), r"'bias' of shape \(5,\), got \(6,\)"),
        (lambda arrays: ArrayRecord({"bias": Array(np.zeros(5))}), "expected the arrays"),
    ],
    ids=["none", "nan", "overflow", "shape", "missing"],
)
def test_what_does_not_fit_the_model_never_gets_into_it(change, told):
    strategy = RobustStrategy(Broken(change), MEDIAN)
    model = sent_model()
    arrays, _ = strategy.aggregate_train(1, asked(strategy, model))
    assert arrays is model
    assert re.search(told, strategy.last_round.skipped)


def test_counts_weigh_metrics_only_and_are_capped():
    strategy = RobustStrategy(FedAvg(), MEDIAN)
    replies = asked(strategy)
    plain, _ = strategy.aggregate_train(1, replies)
    assert_same_model(strategy.aggregate_train(1, [*replies[:9], *with_examples(replies[9], 10**12)])[0], plain)

    def loss(claimed, **options):
        strategy = RobustStrategy(FedAvg(), MEDIAN, **options)
        replies = asked(strategy)
        (liar,) = with_examples(replies[9], claimed)
        liar.content["metrics"]["loss"] = 100.0
        others = [reply.content["metrics"]["loss"] for reply in replies[:9]]
        return strategy.aggregate_train(1, [*replies[:9], liar])[1]["loss"], others

    found, others = loss(10**12)
    assert found == pytest.approx((sum(others) + 4 * 100) / 13)
    found, others = loss(10**12, most_examples=100)
    assert found == pytest.approx((sum(others) + 100) / 10)


def test_capped_claims_weigh_clients_where_that_is_asked_for():
    quiet = Defense("mean", f=0, scores=(), policy="none")

    def moved(claims, **options):
        strategy = RobustStrategy(FedAvg(), quiet, **options)
        replies = asked(strategy)
        for k, claim in enumerate(claims):
            (replies[k],) = with_examples(replies[k], claim)
        updates = [numbers(next(iter(r.content.array_records.values())))["weight"] for r in replies]
        arrays, _ = strategy.aggregate_train(1, replies)
        weights = [strategy.last_round.verdicts[reply.metadata.src_node_id].weight for reply in replies]
        np.testing.assert_allclose(numbers(arrays)["weight"], np.tensordot(weights, updates, axes=1), rtol=1e-5)
        return weights

    claims = [10, 20, 10, 10, 10, 10, 10, 10, 10, 10**12]
    capped = np.array([*claims[:9], 40.0])
    np.testing.assert_allclose(moved(claims), 0.1)  # nobody's claim counts unless that is asked for
    np.testing.assert_allclose(moved(claims, weighted_by="examples"), capped / capped.sum())
    capped = np.minimum(claims, 15.0)
    np.testing.assert_allclose(moved(claims, weighted_by="examples", most_examples=15), capped / capped.sum())
    own = np.array([3.0, 1, 2, *[1] * 7])  # nodes that are not listed weigh as little as the least
    np.testing.assert_allclose(moved(claims, weighted_by={101: 3, 102: 1, 103: 2}), own / own.sum())


def test_a_round_in_which_f_clients_hold_half_of_the_weight_is_skipped():
    strategy = RobustStrategy(FedAvg(), Defense("median", f=2, policy="none"), weighted_by={101: 9, 102: 9, 103: 2})
    strategy.aggregate_train(1, asked(strategy))
    assert "f=2 of 10 may hold 53% of it" in strategy.last_round.skipped


@pytest.mark.parametrize(
    ("weighted_by", "defense", "told"),
    [
        ("counts", "median", "must be 'examples', or a mapping"),
        ({}, "median", "got {}"),
        (None, "median", "got None"),
        ([1.0, 2.0], "median", "a mapping from node ids"),
        ({"a": 1.0}, "median", "mapping from node ids"),
        ({1: 0.0}, "median", "finite and positive"),
        ({1: float("nan")}, "median", "finite and positive"),
        ("examples", "krum", "krum takes no weights of clients: write one of"),
        ("examples", "nnm | median", "nnm mixes the rows"),
        ({1: 2.0}, "nnm | median", "nnm mixes the rows"),
    ],
)
def test_weights_that_cannot_be_are_refused_at_once(weighted_by, defense, told):
    with pytest.raises(SettingError, match=told):
        RobustStrategy(FedAvg(), Defense.parse(defense, f=2), weighted_by=weighted_by)


def test_metrics_are_of_accepted_clients():
    strategy = RobustStrategy(FedAvg(), MEDIAN)
    replies = asked(strategy)
    (replies[0],) = with_array(replies[0], lambda array: -50 * array)
    for reply in replies:
        reply.content["metrics"]["loss"] = 1000.0 if reply is replies[0] else 1.0
    _, metrics = strategy.aggregate_train(1, replies)
    assert metrics["loss"] == pytest.approx(1.0)


def test_a_custom_metric_function_gets_the_merged_metrics():
    seen = []

    def aggregate(contents, weighted_by):
        seen.extend((dict(next(iter(c.metric_records.values()))), weighted_by) for c in contents)
        return MetricRecord({"done": 1})

    strategy = RobustStrategy(FedAvg(train_metrics_aggr_fn=aggregate, weighted_by_key="n"), MEDIAN)
    replies = asked(strategy)
    for reply in replies:
        reply.content["metrics"] = MetricRecord({"loss": 2.0, "curve": [1.0, 2.0], "n": 5})
    assert dict(strategy.aggregate_train(1, replies)[1]) == {"done": 1}
    assert seen == [({"curve": [1.0, 2.0], "loss": 2.0, "n": 50}, "n")]


def test_the_trusted_reply_is_named_as_most_clients_name_theirs():
    class Named(FedAvg):
        def aggregate_train(self, server_round, replies):
            replies = list(replies)
            assert [set(reply.content) for reply in replies] == [{"model", "figures"}]
            return super().aggregate_train(server_round, replies)

    strategy = RobustStrategy(Named(), MEDIAN)
    replies = asked(strategy)
    for reply in replies[1:]:
        reply.content = RecordDict({"model": reply.content["arrays"], "figures": reply.content["metrics"]})
    strategy.aggregate_train(1, replies)
    assert strategy.last_round.skipped is None


def test_observers_see_every_round_and_their_mistakes_are_logged(caplog):
    records = []

    def careless(record):
        raise KeyError("oops")

    strategy = RobustStrategy(FedAvg(), MEDIAN, observers=[careless, records.append])
    strategy.aggregate_train(1, asked(strategy))
    assert records == [strategy.last_round]
    assert "an observer failed in round 1" in caplog.text
    assert "oops" in caplog.text


def test_an_audit_that_fails_ends_the_run():
    def audit(record):
        raise AuditError("disk full")

    strategy = RobustStrategy(FedAvg(), MEDIAN, observers=[audit])
    with pytest.raises(AuditError, match="disk full"):
        strategy.aggregate_train(1, asked(strategy))


def evaluated(strategy, change, clients=10):
    """What the strategy makes of the evaluation replies after `change`."""
    grid = InProcessGrid(honest, clients)
    replies = grid.send_and_receive(strategy.configure_evaluate(1, sent_model(), ConfigRecord(), grid))
    replies = sorted(replies, key=lambda reply: reply.metadata.src_node_id)
    return strategy.aggregate_evaluate(1, change(replies)), replies


BAD_EVALUATIONS = [
    *(name for name, bad in MALFORMED.items() if bad.family in {"counts", "metrics", "senders", "errors"}),
    "empty_content",
    "no_metric_record",
]


def with_arrays_too(reply):
    """An evaluation reply dressed up as a training reply, so that the catalog can forge it."""
    return forged(reply, RecordDict({"arrays": sent_model(), **reply.content}))


def answer_to_training(reply):
    return [forged(reply, message_type="train")]


@pytest.mark.parametrize("name", BAD_EVALUATIONS)
def test_a_bad_evaluation_is_left_out(name):
    strategy = RobustStrategy(FedAvg(), MEDIAN)
    forge = {"answer_to_another_kind": answer_to_training}.get(name, MALFORMED[name])
    metrics, replies = evaluated(strategy, lambda replies: [*forge(with_arrays_too(replies[0])), *replies[1:]])
    losses = [reply.content["metrics"]["loss"] for reply in replies]
    own_counts = {
        "extra_metric": 1,
        "two_metric_records": 1,
        "twice": 1,
        "good_then_bad": 1,
        "trillion_examples": 4,
    }.get(name, 0)
    assert set(metrics) == {"loss"}
    assert metrics["loss"] == pytest.approx((own_counts * losses[0] + sum(losses[1:])) / (own_counts + 9))


def test_evaluations_that_are_all_bad_are_none():
    metrics, _ = evaluated(RobustStrategy(FedAvg(), MEDIAN), lambda replies: [])
    assert metrics is None
    metrics, _ = evaluated(
        RobustStrategy(FedAvg(), MEDIAN), lambda replies: [e for r in replies for e in MALFORMED["nan_examples"](r)]
    )
    assert metrics is None


def test_evaluations_without_counts_are_averaged_one_by_one():
    def without_counts(replies):
        for reply in replies:
            del reply.content["metrics"]["num-examples"]
        return replies

    metrics, replies = evaluated(RobustStrategy(FedAvg(), MEDIAN), without_counts)
    assert metrics["loss"] == pytest.approx(np.mean([reply.content["metrics"]["loss"] for reply in replies]))


def test_one_of_two_evaluations_cannot_make_the_other_look_incomplete():
    def padded(replies):
        replies[0].content["metrics"]["extra"] = 1.0
        return replies

    metrics, replies = evaluated(RobustStrategy(FedAvg(), MEDIAN), padded, clients=2)
    assert set(metrics) == {"loss"}
    assert metrics["loss"] == pytest.approx(np.mean([reply.content["metrics"]["loss"] for reply in replies]))


def test_a_client_rejected_this_round_is_not_listened_to_in_evaluation():
    strategy = RobustStrategy(FedAvg(), MEDIAN)
    replies = asked(strategy)
    (replies[0],) = with_array(replies[0], lambda array: -50 * array)
    strategy.aggregate_train(1, replies)
    metrics, replies = evaluated(strategy, lambda replies: replies)
    assert metrics["loss"] == pytest.approx(np.mean([reply.content["metrics"]["loss"] for reply in replies[1:]]))


def test_wrong_settings_say_what_to_write():
    with pytest.raises(SettingError, match="such as FedAvg"):
        RobustStrategy(FedAvg)
    with pytest.raises(SettingError, match=re.escape("write Defense.parse('krum', f=...)")):
        RobustStrategy(FedAvg(), "krum")
    with pytest.raises(SettingError, match="finite positive"):
        RobustStrategy(FedAvg(), most_examples=0)
    with pytest.raises(SettingError, match="call configure_train"):
        RobustStrategy(FedAvg()).aggregate_train(1, [])


def test_tree_ensembles_are_refused_before_anything_is_sent():
    strategy = RobustStrategy(FedXgbBagging(), MEDIAN)
    with pytest.raises(SettingError, match="tree ensembles"):
        strategy.start(InProcessGrid(honest, 10), ArrayRecord([np.zeros(0, np.uint8)]))


def test_privacy_accounting_is_refused_and_lost_privacy_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        RobustStrategy(INNER["DP server fixed"]())
    assert "guarantees no privacy" in caplog.text
    private = INNER["DP server fixed"]()
    private.accountant = object()
    with pytest.raises(SettingError, match="accountant=None"):
        RobustStrategy(private)


def test_a_strategy_that_asks_with_a_generator_is_heard():
    class Lazy(FedAvg):
        def configure_train(self, *arguments):
            yield from super().configure_train(*arguments)

    strategy = RobustStrategy(Lazy(), MEDIAN)
    strategy.aggregate_train(1, asked(strategy))
    assert len(strategy.last_round.verdicts) == 10


def test_one_node_asked_twice_has_one_vote():
    class Twice(FedAvg):
        def configure_train(self, *arguments):
            messages = list(super().configure_train(*arguments))
            again = Message(messages[0].content, messages[0].metadata.dst_node_id, "train")
            return [*messages, again]

    strategy = RobustStrategy(Twice(), MEDIAN)
    strategy.aggregate_train(1, asked(strategy))
    assert len(strategy.last_round.verdicts) == 10
    assert list(strategy.last_round.refused.values()) == ["a second reply; the first one counts"]
