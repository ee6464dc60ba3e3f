"""Updates as they arrive: no reply outlives its row, and memory is what the rows need, or what the operator says."""

import gc
import os
import subprocess
import sys
import tracemalloc
import weakref

import numpy as np
import pytest
from flower_rounds import asked, assert_same_model, honest, sent_model
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.strategies import Defense, RobustStrategy, SettingError
from hawthorn.strategies.flower.arrays import serialized, viewed

CLIENTS, WIDTH = 50, 200_000  # so wide that what is kept of each pair of clients counts for little
MATRIX = CLIENTS * WIDTH * 4


class Arriving(InProcessGrid):
    """Clients that work when their reply is pulled, as if it had only then arrived."""

    def push_messages(self, messages):
        self.waiting = {}
        for message in messages:
            message.metadata.__dict__["_message_id"] = self._new_id()
            self.waiting[message.metadata.message_id] = message
        return list(self.waiting)

    def pull_messages(self, message_ids):
        return [self._reply(self.waiting.pop(name)) for name in list(message_ids) if name in self.waiting]


def large_model():
    return ArrayRecord([np.zeros((WIDTH // 100, 50), np.float32), np.zeros(WIDTH // 2, np.float32)])


def large(message, context):
    """A reply whose arrays are made without temporaries."""
    value = 1 + 0.01 * float(context.node_config["partition-id"])
    arrays = {name: np.full(array.shape, value, np.float32) for name, array in message.content["arrays"].items()}
    record = ArrayRecord({name: serialized(array) for name, array in arrays.items()})
    return Message(RecordDict({"arrays": record, "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)


def strategy(**options):
    return RobustStrategy(FedAvg(fraction_evaluate=0.0), Defense("geometric_median", f=0.2), **options)


def test_no_part_of_a_reply_outlives_its_row():
    seen, held = [], []

    class Watching(Arriving):
        def pull_messages(self, message_ids):
            held.extend(part for part in seen if part() is not None)
            replies = super().pull_messages(message_ids)
            for content in (reply.content for reply in replies):
                seen.extend(map(weakref.ref, [content, *content.values(), *content["arrays"].values()]))
            return replies

    defended = strategy()
    gc.disable()  # what is let go of is gone at once, without a search for cycles
    try:
        defended.start(Watching(honest, 10), sent_model(), num_rounds=2)
    finally:
        gc.enable()
    assert len(defended.last_round.verdicts) == 10
    assert len(seen) == 2 * 10 * 8
    assert held == []


@pytest.fixture
def traced():
    """The most memory that was in use at once since the start, in bytes; what must be compiled is compiled before."""
    strategy().start(Arriving(large, 3), large_model(), num_rounds=1)
    gc.collect()
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def test_a_run_needs_little_more_than_the_matrix_of_one_round(traced):
    defended = strategy()
    defended.start(Arriving(large, CLIENTS), large_model(), num_rounds=2)
    assert len(defended.last_round.verdicts) == CLIENTS
    assert MATRIX <= traced() <= 1.2 * MATRIX


def test_a_run_with_a_budget_needs_no_matrix(traced, tmp_path):
    defended = strategy(memory="1 MB", spool=str(tmp_path))
    defended.start(Arriving(large, CLIENTS), large_model(), num_rounds=2)
    assert len(defended.last_round.verdicts) == CLIENTS
    assert traced() <= 0.25 * MATRIX


def test_replies_that_are_all_there_need_little_more_than_their_matrix(traced):
    defended = strategy()
    replies = asked(defended, large_model(), clients=CLIENTS, app=large)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    defended.aggregate_train(1, replies)
    assert traced() - before <= 0.1 * MATRIX  # the matrix was there before the messages went out


def test_the_outcome_does_not_depend_on_where_the_rows_lie(tmp_path):
    def poisoned(message, context):
        reply = large(message, context)
        if context.node_config["partition-id"] == 3:
            reply.content["arrays"] = ArrayRecord(
                {k: Array(-9 * a.numpy()) for k, a in reply.content["arrays"].items()}
            )
        return reply

    kinds = []
    one = strategy()
    other = strategy(memory=1000, spool=str(tmp_path), observers=[lambda _: kinds.append(type(other._updates.rows))])
    expected = one.start(Arriving(poisoned, 12), large_model(), num_rounds=2)
    found = other.start(Arriving(poisoned, 12), large_model(), num_rounds=2)
    assert_same_model(found.arrays, expected.arrays)
    assert found.train_metrics_clientapp == expected.train_metrics_clientapp
    assert other.last_round.verdicts == one.last_round.verdicts
    assert not other.last_round.verdicts[104].accepted
    assert kinds == [np.memmap, np.memmap]
    assert os.listdir(tmp_path) == []


def test_more_clients_or_another_model_get_other_memory():
    defended = strategy()
    defended.aggregate_train(1, asked(defended))
    first = defended._updates
    defended.aggregate_train(2, asked(defended, clients=12))
    assert (first.capacity, defended._updates.capacity) == (10, 12)
    small = ArrayRecord([np.zeros(5, np.float64)])
    defended.aggregate_train(3, asked(defended, small))
    assert (defended._updates.width, defended._updates.dtype) == (5, np.float64)


def test_a_run_keeps_no_memory_when_it_is_over():
    rows = []
    defended = strategy(observers=[lambda _: rows.append(weakref.ref(defended._updates))])
    for _ in range(2):
        defended.start(Arriving(honest, 10), sent_model(), num_rounds=2)
    assert rows[0] is rows[1]  # one matrix serves all rounds of a run
    assert [row() for row in rows] == [None] * 4


def test_a_full_disk_is_told_before_any_client_is_asked(tmp_path):
    code = f"""
import resource
import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAvg
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.strategies import Defense, RobustStrategy, SettingError
def client(message, context):
    print("asked")
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
strategy = RobustStrategy(FedAvg(), Defense(), memory="1 MB", spool={str(tmp_path)!r})
try:
    strategy.start(InProcessGrid(client, 10), ArrayRecord([np.zeros(1 << 18, np.float32)]), num_rounds=1)
except SettingError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.startswith("no room for the updates of 10 clients: File too large: ")


def test_wrong_budgets_and_spools_say_what_to_write(tmp_path):
    with pytest.raises(SettingError, match="such as '1 GB'"):
        RobustStrategy(FedAvg(), memory="plenty")
    with pytest.raises(SettingError, match="spool must be a directory that can be written to"):
        RobustStrategy(FedAvg(), spool=str(tmp_path / "missing"))
    with pytest.raises(SettingError, match="a number of workers, such as 2, got 0"):
        RobustStrategy(FedAvg(), shards=0)
    with pytest.raises(SettingError, match="either shards, or memory and spool"):
        RobustStrategy(FedAvg(), memory="1 GB", shards=2)


@pytest.mark.parametrize(
    "numbers",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12.0)[::2],
        np.array(7),
        np.zeros((0, 3), np.float16),
        np.array([True, False]),
        np.arange(3, dtype=">i4"),
    ],
    ids=["plain", "fortran", "strided", "scalar", "empty", "bool", "big endian"],
)
def test_arrays_are_made_as_flower_makes_them_and_seen_without_a_copy(numbers):
    array = serialized(numbers)
    assert array == Array(numbers)
    seen = viewed(array)
    np.testing.assert_array_equal(seen, numbers, strict=True)
    assert not seen.size or np.shares_memory(seen, np.frombuffer(array.data, np.uint8))


def test_arrays_of_a_later_npy_version_are_decoded_by_flower():
    numbers = np.zeros(2, np.dtype([("名", "f4")]))  # a name that only version 3 can spell
    with pytest.warns(UserWarning, match="format 3.0"):
        array = Array(numbers)
    np.testing.assert_array_equal(viewed(array), numbers, strict=True)
