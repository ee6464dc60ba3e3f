from collections.abc import Iterable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from hawthorn.scripts.collusion import Floats, SimulatedGrid, moved, vector
from hawthorn.scripts.in_process import InProcessGrid

SENT = ArrayRecord({"w": Array(np.array([[1.0, 2.0]], np.float32)), "count": Array(np.array([4], np.int64))})


def honest(message: Message, context: Context) -> Message:
    """A reply whose update is (p, 10 p) for partition p, with 100 + p examples."""
    p = int(str(context.node_config["partition-id"]))
    w = np.array([[1.0 + p, 2.0 + 10 * p]], np.float32)
    arrays = ArrayRecord({"w": Array(w), "count": Array(np.array([5 + p], np.int64))})
    content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 100 + p})})
    return Message(content, reply_to=message)


def failing(message: Message, context: Context) -> Message:
    if context.node_config["partition-id"] == 3:
        raise RuntimeError("out of memory")
    return honest(message, context)


def diverged(message: Message, context: Context) -> Message:
    reply = honest(message, context)
    if context.node_config["partition-id"] == 0:
        reply.content["arrays"] = ArrayRecord(
            {"w": Array(np.array([[np.nan, 0.0]], np.float32)), "count": SENT["count"]}
        )
    return reply


def minus_mean(updates: Floats, f: int) -> Floats:
    return np.tile(-updates.mean(axis=0), (f, 1))


class OneAtATime(InProcessGrid):
    """A grid that hands out one reply per look, the last one first."""

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return super().pull_messages(sorted(self._replies, reverse=True)[:1])


def asked(grid: SimulatedGrid, kind: str = "train") -> list[Message]:
    # Sent in the wrong order, as Flower's sampling does.
    return [Message(RecordDict({"arrays": SENT}), node, kind) for node in reversed(grid.get_node_ids())]


def updates(replies: Iterable[Message]) -> list[list[float]]:
    return [(vector(reply.content.array_records["arrays"]) - vector(SENT)).tolist() for reply in replies]


def simulated(grid: InProcessGrid, hostile: set[int], **options: object) -> SimulatedGrid:
    nodes = grid.get_node_ids()
    return SimulatedGrid(grid, frozenset(nodes[p] for p in hostile), **options)  # type: ignore[arg-type]


def test_the_hostile_send_what_they_make_of_the_honest_updates():
    grid = simulated(InProcessGrid(honest, 4), {1, 3}, collude=minus_mean)
    replies = grid.send_and_receive(asked(grid))
    assert updates(replies) == [[0, 0], [-1, -10], [2, 20], [-1, -10]]
    lie = replies[1].content
    assert lie.metric_records["metrics"]["num-examples"] == 101
    assert lie.array_records["arrays"]["count"].numpy().tolist() == [4]
    assert lie.array_records["arrays"]["w"].dtype == "float32"


def test_without_collusion_the_hostile_reply_as_they_will():
    grid = simulated(InProcessGrid(honest, 3), {1})
    assert updates(grid.send_and_receive(asked(grid))) == [[0, 0], [1, 10], [2, 20]]


def test_pulled_one_by_one_nothing_comes_before_the_last_and_all_is_the_same():
    grid = simulated(OneAtATime(honest, 4), {1, 3}, collude=minus_mean)
    messages = asked(grid)
    ids = grid.push_messages(messages)
    for _ in range(3):
        assert grid.pull_messages(ids[:1]) == []
    found = [reply for name in ids for reply in grid.pull_messages([name])]
    assert [reply.metadata.reply_to_message_id for reply in found] == ids
    assert updates(found) == [[-1, -10], [2, 20], [-1, -10], [0, 0]]
    assert grid.pull_messages(ids) == []


def test_only_training_is_attacked():
    grid = simulated(InProcessGrid(honest, 3), {1}, collude=minus_mean)
    assert updates(grid.send_and_receive(asked(grid, "evaluate"))) == [[0, 0], [1, 10], [2, 20]]


def test_a_hostile_client_that_failed_stays_failed():
    grid = simulated(InProcessGrid(failing, 4), {1, 3}, collude=minus_mean)
    replies = grid.send_and_receive(asked(grid))
    assert replies[3].has_error()
    assert updates(replies[:3]) == [[0, 0], [-1, -10], [2, 20]]


def test_there_is_nothing_to_collude_about_once_the_model_has_diverged():
    grid = simulated(InProcessGrid(diverged, 3), {1}, collude=minus_mean)
    assert updates(grid.send_and_receive(asked(grid)))[1] == [1, 10]


def test_a_grid_of_the_honest_knows_nobody_else():
    whole = InProcessGrid(honest, 4)
    grid = simulated(whole, {1, 3}, honest_only=True)
    assert grid.get_node_ids() == [whole.get_node_ids()[0], whole.get_node_ids()[2]]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_model_is_moved_in_its_own_dtype_and_counters_stay(dtype: str):
    model = ArrayRecord({"a": Array(np.ones(2, dtype)), "n": SENT["count"], "b": Array(np.array(1.0, dtype))})
    found = moved(model, np.array([1.0, 2.0, 3.0]))
    assert [array.numpy().tolist() for array in found.values()] == [[2, 3], [4], 4]
    assert [array.dtype for array in found.values()] == [dtype, "int64", dtype]
    assert vector(found).tolist() == [2, 3, 4]
