from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.common.constant import ErrorCode
from hawthorn.scripts.in_process import InProcessGrid


def counting(message: Message, context: Context) -> Message:
    """A reply with the client's partition, a run setting, and how many messages it has had."""
    seen = int(str(context.state.config_records.get("memory", ConfigRecord({"seen": 0}))["seen"])) + 1
    context.state["memory"] = ConfigRecord({"seen": seen})
    if context.node_config["partition-id"] == 2:
        raise ValueError("no data here")
    told = {"partition": context.node_config["partition-id"], "of": context.node_config["num-partitions"], "seen": seen}
    return Message(RecordDict({"told": ConfigRecord({**told, "seed": context.run_config["seed"]})}), reply_to=message)


def messages(grid: InProcessGrid) -> list[Message]:
    return [Message(RecordDict(), node, "train") for node in grid.get_node_ids()]


def test_every_node_answers_for_its_partition_and_remembers():
    grid = InProcessGrid(counting, 2, {"seed": 7})
    grid.send_and_receive(messages(grid))
    replies = list(grid.send_and_receive(messages(grid)))
    told = [dict(reply.content.config_records["told"]) for reply in replies]
    assert told == [{"partition": p, "of": 2, "seen": 2, "seed": 7} for p in (0, 1)]
    assert [reply.metadata.src_node_id for reply in replies] == grid.get_node_ids()


def test_an_exception_in_the_app_is_an_error_reply_as_in_flower():
    grid = InProcessGrid(counting, 3, {"seed": 7})
    good, _, bad = grid.send_and_receive(messages(grid))
    assert not good.has_error()
    assert bad.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION == 2
    assert bad.error.reason == "<class 'ValueError'>:<'no data here'>"
    assert bad.metadata.src_node_id == grid.get_node_ids()[2]


def test_a_reply_is_pulled_once_and_by_its_message():
    grid = InProcessGrid(counting, 2, {"seed": 7})
    asked = messages(grid)
    first, second = grid.push_messages(asked)
    assert [asked[0].metadata.message_id, asked[1].metadata.message_id] == [first, second]
    (reply,) = grid.pull_messages([second])
    assert reply.metadata.reply_to_message_id == second
    assert grid.pull_messages([second]) == []
    assert len(grid.pull_messages([first, second])) == 1
