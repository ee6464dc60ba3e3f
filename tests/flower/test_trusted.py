"""RobustStrategy and an update of the server's own: how it is made, and what happens where it cannot be."""

import numpy as np
import pytest
from flower_rounds import asked, assert_same_model, honest, layout, numbers, sent_model
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import FedAdam, FedAvg
from hawthorn.client.attacks.forging import with_array
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.strategies import Defense, RobustStrategy, SettingError
from hawthorn.strategies.rules.trust import fltrust

FLTRUST = Defense("fltrust", policy="none")


def own(server_round, arrays):
    """The server's model after a step that goes where honest clients go, half as far; its counter goes astray."""
    assert server_round >= 1
    moved = {name: array.numpy() + (1 if array.numpy().dtype.kind == "i" else 0.25) for name, array in arrays.items()}
    return ArrayRecord(
        {name: Array(np.asarray(array).astype(arrays[name].numpy().dtype)) for name, array in moved.items()}
    )


def mostly_hostile(message, context):
    """An honest reply, or from six of ten clients one that goes the other way."""
    reply = honest(message, context)
    if context.node_config["partition-id"] >= 4 and message.metadata.message_type == "train":
        (reply,) = with_array(reply, lambda array: -9 * array)
    return reply


def rows(replies):
    sent = numbers(sent_model())
    keys = [key for key in sent if sent[key].dtype.kind == "f"]
    found = [numbers(reply.content["arrays"]) for reply in replies]
    return np.array([np.concatenate([(one[key] - sent[key]).ravel() for key in keys]) for one in found])


def test_the_defense_compares_with_what_the_server_trained():
    strategy = RobustStrategy(FedAvg(), FLTRUST, trusted=own)
    replies = asked(strategy, app=mostly_hostile)
    expected = fltrust(rows(replies), trusted=np.full(36, 0.25, np.float32))
    arrays, _ = strategy.aggregate_train(1, iter(replies))
    sent, found = numbers(sent_model()), numbers(arrays)
    update = np.concatenate([(found[key] - sent[key]).ravel() for key in sent if sent[key].dtype.kind == "f"])
    np.testing.assert_allclose(update, expected, atol=1e-6)
    assert np.all(update > 0.1)  # six of ten went the other way
    assert layout(arrays) == layout(sent_model())


def test_it_is_asked_once_a_round_with_the_model_that_was_sent():
    seen = []

    def watched(server_round, arrays):
        seen.append((server_round, numbers(arrays)))
        return own(server_round, arrays)

    strategy = RobustStrategy(FedAdam(), FLTRUST, trusted=watched)
    result = strategy.start(InProcessGrid(honest, 5), sent_model(), num_rounds=3)
    assert [number for number, _ in seen] == [1, 2, 3]
    for name, array in numbers(sent_model()).items():
        np.testing.assert_array_equal(seen[0][1][name], array)
    assert not np.array_equal(seen[1][1]["weight"], seen[0][1]["weight"])
    assert not np.array_equal(seen[2][1]["weight"], numbers(result.arrays)["weight"])


def raising(_round, _arrays):
    raise RuntimeError("no room on the card")


def without_bias(server_round, arrays):
    return ArrayRecord({name: array for name, array in own(server_round, arrays).items() if name != "bias"})


def transposed(server_round, arrays):
    return ArrayRecord({**own(server_round, arrays), "weight": Array(arrays["weight"].numpy().T)})


def infinite(server_round, arrays):
    return ArrayRecord({**own(server_round, arrays), "bias": Array(np.full(5, np.inf, np.float32))})


@pytest.mark.parametrize(
    ("trained", "reason"),
    [
        (raising, "RuntimeError: no room on the card"),
        (lambda _round, _arrays: None, "the server made no update of its own"),
        (lambda _round, _arrays: 7, "failed"),
        (without_bias, "expected the arrays"),
        (transposed, "shape"),
        (infinite, "infinity"),
    ],
    ids=["raises", "none", "a number", "an array is missing", "another shape", "infinite"],
)
def test_a_round_without_it_is_skipped_and_says_why(trained, reason):
    strategy = RobustStrategy(FedAvg(), FLTRUST, trusted=trained)
    replies = asked(strategy)
    arrays, _ = strategy.aggregate_train(1, iter(replies))
    assert_same_model(arrays, sent_model())
    assert strategy.last_round is not None
    assert reason in strategy.last_round.skipped
    assert strategy.last_round.verdicts == {}

    strategy.trusted = own  # and the next round is one like any other
    replies = asked(strategy, server_round=2)
    arrays, _ = strategy.aggregate_train(2, iter(replies))
    assert strategy.last_round.skipped is None
    assert not np.array_equal(numbers(arrays)["weight"], numbers(sent_model())["weight"])


def test_who_was_refused_is_told_of_such_a_round_too():
    def one_odd(message, context):
        reply = honest(message, context)
        if context.node_config["partition-id"] == 2:
            (reply,) = with_array(reply, lambda array: array * np.nan)
        return reply

    strategy = RobustStrategy(FedAvg(), FLTRUST, trusted=raising)
    strategy.aggregate_train(1, iter(asked(strategy, app=one_odd)))
    assert strategy.last_round is not None
    assert list(strategy.last_round.refused) == [103]


def test_what_does_not_go_together_is_refused_at_once():
    with pytest.raises(SettingError, match=r"write trusted=\.\.\., a function of the round"):
        RobustStrategy(FedAvg(), FLTRUST)
    with pytest.raises(SettingError, match="write trusted="):
        RobustStrategy(FedAvg(), FLTRUST, trusted=np.zeros(36))  # pyright: ignore[reportArgumentType]
    with pytest.raises(SettingError, match="leave trusted out"):
        RobustStrategy(FedAvg(), Defense("median"), trusted=own)
