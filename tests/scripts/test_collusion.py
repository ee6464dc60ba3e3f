from collections.abc import Iterable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from hawthorn.client.attacks import Knowledge
from hawthorn.client.attacks.malformed import MALFORMED
from hawthorn.client.vectors import moved, vector
from hawthorn.scripts.collusion import Floats, SimulatedGrid
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


def minus_mean(honest: Floats, own: Floats, knowledge: Knowledge) -> tuple[Floats, None]:
    return np.tile(-honest.mean(axis=0), (len(own), 1)), None


class OneAtATime(InProcessGrid):
    """A grid that hands out one reply per look, the last one first."""

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return super().pull_messages(sorted(self._replies, reverse=True)[:1])


def asked(grid: SimulatedGrid, kind: str = "train", number: int = 1, skipped: int = 0) -> list[Message]:
    # Sent in the wrong order, as Flower's sampling does.
    config = ConfigRecord({"server-round": number})
    arrays = moved(SENT, np.full(2, float(number - 1)))  # the model moves by one a round
    content = RecordDict({"arrays": arrays, "config": config})
    return [Message(content, node, kind) for node in reversed(grid.get_node_ids()[skipped:])]


def updates(replies: Iterable[Message]) -> list[list[float]]:
    """The updates that replies of the first round hold."""
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


def told(
    rounds: int, partitions: int = 4, skipped: int = 0
) -> tuple[list[tuple[Floats, Floats, Knowledge]], SimulatedGrid]:
    """What partitions 1 and 3 learn in so many rounds, in which the first `skipped` partitions are not asked."""
    seen: list[tuple[Floats, Floats, Knowledge]] = []

    def remembering(honest: Floats, own: Floats, knowledge: Knowledge) -> tuple[Floats, dict[str, int]]:
        seen.append((honest, own, knowledge))
        return own, {"rounds": len(seen)}

    grid = simulated(InProcessGrid(honest, partitions), {1, 3}, collude=remembering)
    for number in range(1, rounds + 1):
        grid.send_and_receive(asked(grid, number=number, skipped=skipped))
        grid.send_and_receive(asked(grid, "evaluate", number=number))
    return seen, grid


def test_colluders_know_the_round_who_takes_part_and_how_the_model_moved():
    (first, second), _ = told(2)
    assert first[0].tolist() == [[0, 0], [2, 20]]
    assert first[1].tolist() == [[1, 10], [3, 30]]
    for number, (_, own, knowledge) in enumerate((first, second), 1):
        assert (knowledge.round, knowledge.clients, knowledge.hostile) == (number, 4, 2)
        assert (knowledge.members, knowledge.others) == ((0, 1), (0, 2))
        assert np.array_equal(knowledge.own, own)
        assert knowledge.sent.tolist() == [number, number + 1]
    assert first[2].moved is None
    assert second[2].moved.tolist() == [1, 1]
    assert (first[2].state, second[2].state) == (None, {"rounds": 1})


def test_colluders_of_a_round_are_the_hostile_among_those_asked():
    ((seen, own, knowledge),), _ = told(1, skipped=2)
    assert (len(seen), len(own)) == (1, 1)
    assert (knowledge.clients, knowledge.hostile) == (4, 2)
    assert (knowledge.members, knowledge.others) == ((1,), (2,))


def test_colluders_hear_of_rounds_without_honest_replies():
    ((seen, own, knowledge),), _ = told(1, skipped=3)
    assert seen.shape == (0, 2)
    assert own.tolist() == [[3, 30]]
    assert knowledge.others == ()


def forged(case: str):
    return lambda reply, number: MALFORMED[case](reply) if number > 1 else [reply]


def test_forged_replies_arrive_in_the_place_of_the_hostile_ones_in_their_rounds():
    grid = simulated(InProcessGrid(honest, 4), {1, 3}, forge=forged("all_nan"))
    assert updates(grid.send_and_receive(asked(grid))) == [[0, 0], [1, 10], [2, 20], [3, 30]]
    found = [vector(r.content.array_records["arrays"]) for r in grid.send_and_receive(asked(grid, number=2))]
    assert [bool(np.isnan(row).all()) for row in found] == [False, True, False, True]
    found = grid.send_and_receive(asked(grid, "evaluate", number=2))
    assert not any(np.isnan(vector(r.content.array_records["arrays"])).any() for r in found)


@pytest.mark.parametrize("grid_of", [InProcessGrid, OneAtATime])
def test_one_message_can_have_two_replies(grid_of: type[InProcessGrid]):
    grid = simulated(grid_of(honest, 3), {1}, forge=forged("twice"))
    ids = grid.push_messages(asked(grid, number=2))
    found = [reply for _ in ids for name in ids for reply in grid.pull_messages([name])]
    answered = [reply.metadata.reply_to_message_id for reply in found]
    assert sorted(answered) == sorted([*ids, ids[1]])
    assert grid.pull_messages(ids) == []


def test_silence_is_told_as_an_error_once_nobody_waits_any_longer():
    grid = simulated(InProcessGrid(honest, 3), {1}, forge=forged("silence"))
    replies = grid.send_and_receive(asked(grid, number=2))
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert replies[1].error.reason == "no reply"


def test_a_reply_forged_to_answer_nothing_is_found_by_the_message_it_was_meant_for():
    grid = simulated(InProcessGrid(honest, 3), {1}, forge=forged("unasked"))
    ids = grid.push_messages(asked(grid, number=2))
    found = grid.pull_messages(ids)
    assert len(found) == 3
    assert sum(reply.metadata.reply_to_message_id in ids for reply in found) == 2


def test_colluders_can_forge_what_they_made_up_together():
    grid = simulated(InProcessGrid(honest, 4), {1, 3}, collude=minus_mean, forge=forged("twice"))
    found = [vector(r.content.array_records["arrays"]) - [2, 3] for r in grid.send_and_receive(asked(grid, number=2))]
    lie = [-0.0, -9.0]  # the honest updates of a model that has moved by one: (-1, -1) and (1, 19)
    assert [row.tolist() for row in found] == [[-1, -1], lie, lie, [1, 19], lie, lie]


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
