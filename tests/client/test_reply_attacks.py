"""That attacks on the messages reach a server without a defense."""

from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.exception import InconsistentMessageReplies
from flwr.serverapp.strategy import FedAvg
from hawthorn.client.attacks import Recipe, lie_about_counts
from hawthorn.client.attacks.forging import metrics_in, sample_reply
from hawthorn.client.attacks.malformed import MALFORMED
from hawthorn.client.vectors import vector
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.strategies import SettingError


def honest(message: Message, context: Context) -> Message:
    """A model of ones, from 100 examples; of minus fifties from the client that attacks, the last one."""
    value = -50.0 if context.node_config["partition-id"] == 9 else 1.0
    arrays = ArrayRecord({"w": Array(np.full((2, 3), value, np.float32))})
    return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 100})}), reply_to=message)


def averaged(text: str) -> np.ndarray:
    """What stock FedAvg makes of ten replies of which the last is attacked."""
    grid = InProcessGrid(honest, 10)
    content = RecordDict({"arrays": ArrayRecord({"w": Array(np.zeros((2, 3), np.float32))})})
    *good, bad = grid.send_and_receive([Message(content, node, "train") for node in grid.get_node_ids()])
    arrays, _ = FedAvg().aggregate_train(1, [*good, *Recipe.parse(text).replied(bad)])
    assert arrays is not None
    return vector(arrays)


def test_stock_fedavg_believes_any_count() -> None:
    np.testing.assert_allclose(averaged(""), 0.9 - 5)
    np.testing.assert_allclose(averaged("lie_about_counts(count=1)"), (900 - 50) / 901, rtol=1e-5)
    np.testing.assert_allclose(averaged("lie_about_counts"), -50, atol=0.1)


def test_stock_fedavg_takes_nan_for_an_answer() -> None:
    assert np.isnan(averaged("malformed")).all()


def test_stock_fedavg_dies_of_one_missing_array() -> None:
    with pytest.raises(InconsistentMessageReplies):
        averaged("malformed(case='renamed_array')")


def test_a_claim_changes_the_count_and_nothing_else() -> None:
    reply = sample_reply()
    (lie,) = lie_about_counts(reply, count=7)
    assert metrics_in(reply)["num-examples"] == 100
    assert dict(metrics_in(lie)) == {"num-examples": 7, "train-loss": 0.5}
    assert np.array_equal(vector(lie.content.array_records["arrays"]), vector(reply.content.array_records["arrays"]))


@pytest.mark.parametrize("case", MALFORMED)
def test_the_whole_catalog_can_be_written_in_a_recipe(case: str) -> None:
    reply = sample_reply()
    recipe = Recipe.parse(f"malformed(case='{case}')")
    assert recipe.forges
    assert len(recipe.replied(reply)) == len(MALFORMED[case](reply))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("malformed(case='all_nans')", "did you mean 'all_nan'"),
        ("malformed(case=3)", "malformed has no case 3"),
        ("lie_about_counts(count='many')", "needs a number as count"),
    ],
)
def test_an_attack_on_a_reply_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Recipe.parse(text).replied(sample_reply())


def test_attacks_on_replies_are_carried_out_one_after_the_other() -> None:
    replies = Recipe.parse("malformed(case='twice') + lie_about_counts(count=7)").replied(sample_reply())
    assert [metrics_in(reply)["num-examples"] for reply in replies] == [7, 7]
    bare = Recipe.parse("malformed(case='no_metric_record') + lie_about_counts").replied(sample_reply())
    assert not bare[0].content.metric_records


@pytest.mark.parametrize("forge", [MALFORMED["error_reply"], MALFORMED["long_error"]], ids=["short", "long"])
def test_an_error_stays_an_error(forge: Callable[[Message], list[Message]]) -> None:
    (failed,) = forge(sample_reply())
    assert Recipe.parse("lie_about_counts + malformed").replied(failed) == [failed]
