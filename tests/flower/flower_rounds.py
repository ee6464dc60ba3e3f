"""Rounds with real Flower messages: a small model with every odd kind of array, and honest clients for it."""

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from hawthorn.scripts.in_process import InProcessGrid

CLIENTS = 10


def sent_model():
    rng = np.random.default_rng(0)
    return ArrayRecord(
        {
            "weight": Array(rng.normal(size=(6, 5)).astype(np.float32)),
            "seen": Array(np.array(7)),
            "scale": Array(np.array(1.5, np.float32)),
            "none": Array(np.zeros((0, 3), np.float32)),
            "bias": Array(np.zeros(5, np.float32)),
        }
    )


def honest(message, context):
    """The reply of a client whose model moved by a common step, and a noise of its own."""
    rng = np.random.default_rng(int(context.node_config["partition-id"]))
    metrics = MetricRecord({"loss": 0.5 + rng.normal(0, 0.01), "num-examples": 100})
    if message.metadata.message_type == "evaluate":
        return Message(RecordDict({"metrics": metrics}), reply_to=message)
    moved = {}
    for name, array in message.content["arrays"].items():
        array = array.numpy()
        step = 1 if array.dtype.kind == "i" else 0.5 + rng.normal(0, 0.1, array.shape)
        moved[name] = Array(np.asarray(array + step).astype(array.dtype))
    return Message(RecordDict({"arrays": ArrayRecord(moved), "metrics": metrics}), reply_to=message)


def asked(strategy, model=None, server_round=1, clients=CLIENTS, app=honest):
    """The replies to what the strategy asks in one round, in the order of their nodes."""
    grid = InProcessGrid(app, clients)
    messages = strategy.configure_train(server_round, sent_model() if model is None else model, ConfigRecord(), grid)
    return sorted(grid.send_and_receive(messages), key=lambda reply: reply.metadata.src_node_id)


def layout(arrays):
    return {name: (array.numpy().dtype, array.numpy().shape) for name, array in arrays.items()}


def numbers(arrays):
    return {name: array.numpy() for name, array in arrays.items()}


def assert_same_model(found, expected, tolerance=0.0):
    assert list(found) == list(expected)
    assert layout(found) == layout(expected)
    for name, array in numbers(expected).items():
        np.testing.assert_allclose(found[name].numpy(), array, rtol=0, atol=tolerance, err_msg=name)
