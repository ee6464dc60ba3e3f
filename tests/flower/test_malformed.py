"""Every kind of bad reply, through RobustStrategy: the round ends, and the model is that of the other clients."""

import functools

import numpy as np
import pytest
from flower_rounds import asked, assert_same_model, layout, sent_model
from flwr.serverapp.strategy import FedAdam, FedAvg
from hawthorn.client.attacks.malformed import MALFORMED
from hawthorn.strategies import Defense, RobustStrategy

KINDS = pytest.mark.parametrize("bad", MALFORMED.values(), ids=MALFORMED)
PLACES = pytest.mark.parametrize("place", [0, 9], ids=["first", "last"])


def aggregated(bad=None, place=0, *, inner=FedAvg, without=False):
    """The strategy after a round in which one reply was made bad, or left out, and what it returned."""
    strategy = RobustStrategy(inner(), Defense("median", f=0.2))
    replies = asked(strategy)
    kept = [] if without else [replies[place]] if bad is None else bad(replies[place])
    arrays, metrics = strategy.aggregate_train(1, [*replies[:place], *kept, *replies[place + 1 :]])
    return strategy, arrays, metrics, replies[place].metadata.src_node_id


@functools.cache
def expected(without=None):
    """The model of the honest replies, or of all but one of them."""
    _, arrays, _, _ = aggregated(place=without or 0, without=without is not None)
    return arrays


@PLACES
@KINDS
def test_a_bad_reply_costs_at_most_itself(bad, place):
    strategy, arrays, metrics, node = aggregated(bad, place)
    record = strategy.last_round
    assert record.skipped is None
    if bad.fault is None:
        assert record.verdicts[node].accepted
        # float16 keeps three digits; everything else about a readable reply is exact
        assert_same_model(arrays, expected(), 1e-3 if bad.name == "half_precision" else 0.0)
    else:
        assert node not in record.verdicts
        assert any(bad.fault in reason for reason in record.refused.values()), record.refused
        assert_same_model(arrays, expected(without=place))
    assert len(record.verdicts) == record.geometry.n
    assert np.isfinite(metrics["loss"])
    assert set(metrics) == {"loss"}


@KINDS
def test_an_optimizer_survives_it_too_and_keeps_the_layout(bad):
    strategy, arrays, _, _ = aggregated(bad, inner=FedAdam)
    assert strategy.last_round.skipped is None
    assert layout(arrays) == layout(sent_model())
    assert list(arrays) == list(sent_model())


@KINDS
def test_nobody_but_bad_clients_leaves_the_model_as_it_was(bad):
    strategy = RobustStrategy(FedAvg(), Defense("median", f=0.2))
    model = sent_model()
    arrays, _ = strategy.aggregate_train(1, [other for reply in asked(strategy, model) for other in bad(reply)])
    if bad.fault is None:
        assert strategy.last_round.skipped is None
        assert layout(arrays) == layout(model)
    else:
        assert arrays is model
        assert "usable reply" in strategy.last_round.skipped


@KINDS
def test_reasons_are_short_lines(bad):
    strategy, _, _, _ = aggregated(bad)
    for reason in strategy.last_round.refused.values():
        assert 0 < len(reason) <= 500
        assert reason.isprintable()


def test_every_refusal_is_logged_once(caplog):
    aggregated(MALFORMED["one_nan"])
    assert [(r.levelname, r.getMessage()) for r in caplog.records if "refused" in r.getMessage()] == [
        ("WARNING", "reply of node 101 refused: array 'weight': the numbers must be finite, got NaN or infinity")
    ]
