"""Admission: what becomes a row, what is refused, and that nothing a client sends raises or allocates."""

import io
import tracemalloc

import numpy as np
import pytest
from flower_rounds import asked, honest, sent_model
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from hawthorn.client.attacks.forging import forged, with_array, with_arrays
from hawthorn.client.attacks.malformed import MALFORMED
from hawthorn.strategies import SettingError, Updates
from hawthorn.strategies.flower.admission import Admission
from hawthorn.strategies.flower.arrays import header
from hawthorn.strategies.flower.layout import Model, middle
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal


class Remembering(FedAvg):
    """FedAvg that keeps the messages it sent."""

    def configure_train(self, *arguments):
        self.sent = list(super().configure_train(*arguments))
        return self.sent


def door(model=None, clients=3, app=honest):
    """An admission, and the replies that stand before it."""
    strategy = Remembering()
    model = sent_model() if model is None else model
    replies = asked(strategy, model, clients=clients, app=app)
    sent = Model.sent(model)
    return Admission(sent, strategy.sent, Updates(clients, len(sent.row), sent.row.dtype), "num-examples"), replies


def first_float(reply):
    return next(iter(reply.content.array_records.values()))["weight"].numpy()


def test_a_row_is_the_difference_from_the_model_sent_in_its_own_order():
    admission, replies = door()
    assert [admission.admit(reply) for reply in replies] == [None, None, None]
    expected = [
        np.concatenate([reply.content["arrays"][name].numpy().ravel() for name in ("weight", "scale", "bias")])
        for reply in replies
    ] - Model.sent(sent_model()).row
    assert_array_equal(admission.rows, expected, strict=True)
    assert np.shares_memory(admission.rows, admission.updates.rows)
    assert [admitted.integers["seen"].item() for admitted in admission.admitted] == [8, 8, 8]


def test_a_refused_reply_leaves_its_row_to_the_next():
    admission, replies = door()
    (bad,) = MALFORMED["one_nan"](replies[0])
    assert "finite" in admission.admit(bad)
    assert admission.admit(replies[1]) is None
    assert admission.rows.shape == (1, 36)
    assert np.isfinite(admission.rows).all()


@pytest.mark.parametrize(
    ("arrays", "dtype"),
    [([np.float32, np.float16], np.float32), ([np.float16], np.float32), ([np.float32, np.float64], np.float64)],
    ids=["mixed", "half", "double"],
)
def test_rows_are_float32_unless_the_model_has_float64(arrays, dtype):
    assert Model.sent(ArrayRecord([np.ones(2, kind) for kind in arrays])).row.dtype == dtype


def test_a_half_precision_model_is_differenced_without_rounding():
    """Differences of float16 numbers need more digits than float16 has."""
    model = ArrayRecord({"w": Array(np.array([1000.0], np.float16))})
    reply = ArrayRecord({"w": Array(np.array([0.1], np.float16))})
    admission, replies = door(model, app=lambda m, _: Message(RecordDict({"arrays": reply}), reply_to=m))
    assert admission.admit(replies[0]) is None
    assert admission.rows[0, 0] == np.float32(np.float16(0.1)) - np.float32(1000)


def test_a_difference_that_overflows_is_refused():
    huge = np.full(2, 3e38, np.float32)
    model = ArrayRecord({"w": Array(huge)})
    reply = ArrayRecord({"w": Array(-huge)})
    admission, replies = door(model, app=lambda m, _: Message(RecordDict({"arrays": reply}), reply_to=m))
    assert "differ from the model by more than float32 can hold" in admission.admit(replies[0])


def test_no_memory_is_allocated_on_a_clients_word():
    admission, replies = door()
    bombs = [MALFORMED[name](replies[0])[0] for name in ("forged_size", "long_header", "zip_archive", "nested_header")]
    tracemalloc.start()
    for bomb in bombs:
        admission.roll.answered.clear()
        assert admission.admit(bomb) is not None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_an_array_is_not_copied_on_its_way_into_the_row():
    size = 1_000_000
    model = ArrayRecord({"w": Array(np.zeros(size, np.float32))})
    reply = ArrayRecord({"w": Array(np.ones(size, np.float32))})
    admission, replies = door(model, app=lambda m, _: Message(RecordDict({"arrays": reply}), reply_to=m))
    assert admission.admit(replies[0]) is None  # what it needs is compiled now
    admission.updates.next.fill(0)
    tracemalloc.start()
    assert admission.admit(replies[1]) is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size  # a copy would take four times that
    assert (admission.rows == 1).all()


def test_the_first_of_two_replies_counts():
    admission, replies = door()
    assert admission.admit(replies[0]) is None
    assert admission.admit(forged(replies[0])) == "a second reply; the first one counts"
    assert admission.refused == {101: "a second reply; the first one counts"}
    assert len(admission.rows) == 1


def test_an_impostor_does_not_silence_the_client_it_answers_for():
    admission, replies = door()
    impostor = forged(replies[0], src_node_id=666)
    assert admission.admit(impostor) == "the reply names node 666 as sender, but node 101 was asked"
    assert admission.admit(replies[0]) is None
    admission.close()
    assert admission.admitted[0].node == 101
    assert admission.refused.keys() == {666, 102, 103}


def test_a_forged_error_does_not_silence_a_client_either():
    admission, replies = door()
    error = Message(Error(2, "node died"), reply_to=asked_message(admission, 101))
    for source in (1, 666):
        error.metadata.__dict__["_src_node_id"] = source
        assert admission.admit(error) is not None
    assert admission.admit(replies[0]) is None
    assert admission.refused.keys() == {101, 666}


def test_an_error_made_up_by_the_superlink_is_the_dead_clients():
    admission, _ = door()
    error = Message(Error(3, "node unavailable"), reply_to=asked_message(admission, 102))
    error.metadata.__dict__["_src_node_id"] = 1
    error.metadata.__dict__["_message_type"] = "system"
    assert admission.admit(error) == "error 3 instead of a reply: 'node unavailable'"
    assert admission.refused == {102: "error 3 instead of a reply: 'node unavailable'"}


def asked_message(admission, node):
    return next(message for message in admission.roll.messages if message.metadata.dst_node_id == node)


def test_without_message_ids_senders_are_taken_at_their_word():
    admission, replies = door()
    for message in admission.roll.messages:
        message.metadata.__dict__["_message_id"] = ""
    admission = Admission(admission.model, admission.roll.messages, admission.updates, "num-examples")
    assert admission.admit(forged(replies[0], reply_to_message_id="")) is None
    assert "second reply" in admission.admit(forged(replies[0], reply_to_message_id=""))
    assert "nothing that was asked" in admission.admit(forged(replies[0], src_node_id=666))


def test_one_clients_refusals_are_kept_together_and_short():
    admission, replies = door()
    for number in range(100):
        admission.admit(forged(replies[0], src_node_id=666, reply_to_message_id=f"unknown {number}"))
        admission.admit(forged(replies[0], src_node_id=666, message_type="evaluate"))
    assert set(admission.refused) == {666}
    assert admission.refused[666].count("nothing that was asked") == 1
    assert len(admission.refused[666]) <= 500


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_column_order_is_read_right(dtype):
    admission, replies = door()
    (reply,) = with_array(replies[0], lambda array: np.asfortranarray(array.astype(dtype)))
    assert b"'fortran_order': True" in next(iter(reply.content.array_records.values()))["weight"].data
    assert admission.admit(reply) is None
    np.testing.assert_allclose(admission.rows[0, :30].reshape(6, 5), first_float(replies[0]) - first_sent(), atol=2e-3)


def first_sent():
    return sent_model()["weight"].numpy()


def test_a_counter_must_keep_its_dtype():
    admission, replies = door()
    arrays = {**replies[0].content["arrays"], "seen": Array(np.array(8, np.int32))}
    assert "array 'seen': expected int64, got 'int32'" in admission.admit(with_arrays(replies[0], arrays)[0])


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ([np.zeros(100, np.uint8)], "must have floating-point arrays"),
        ([], "must have floating-point arrays"),
        ([np.array([1.0, np.nan], np.float32)], "must be finite"),
        ([np.array([1j])], "must hold numbers"),
        ([np.array(["a"])], "must hold numbers"),
    ],
    ids=["trees", "nothing", "nan", "complex", "text"],
)
def test_a_model_that_cannot_be_aggregated_is_refused_before_it_is_sent(arrays, told):
    with pytest.raises(SettingError, match=told):
        Model.sent(ArrayRecord(arrays))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64])
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 9))
def test_the_middle_of_integers_is_exact(dtype, seed, n):
    limits = np.iinfo(dtype)
    rows = np.random.default_rng(seed).integers(limits.min, limits.max, (n, 4), dtype=dtype, endpoint=True)
    ordered = [sorted(int(value) for value in column) for column in rows.T]
    expected = [(column[(n - 1) // 2] + column[n // 2]) // 2 for column in ordered]
    found = middle(rows)
    assert found.dtype == dtype
    assert found.tolist() == expected


ARRAY = np.arange(12, dtype=np.float32).reshape(3, 4)


@given(
    data=st.one_of(
        st.binary(max_size=300),
        st.tuples(st.integers(0, 175), st.binary(min_size=1, max_size=8)),
    )
)
def test_no_bytes_whatever_raise(data):
    """Random bytes, and the bytes of a good array with some overwritten."""
    if isinstance(data, tuple):
        place, patch = data
        good = npy(ARRAY)
        data = good[:place] + patch + good[place + len(patch) :]
    model = ArrayRecord({"w": Array(ARRAY)})
    reply = ArrayRecord({"w": Array("float32", (3, 4), "numpy.ndarray", data)})
    admission, replies = door(model, clients=2, app=lambda m, _: Message(RecordDict({"arrays": reply}), reply_to=m))
    reason = admission.admit(replies[0])
    assert reason is None or reason.startswith("array 'w': ")
    assert np.isfinite(admission.rows).all()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_the_header_tells_where_the_numbers_start():
    dtype, shape, fortran, start = header(npy(ARRAY))
    assert (dtype, shape, fortran) == (np.float32, (3, 4), False)
    assert_array_equal(np.frombuffer(npy(ARRAY), np.float32, offset=start), ARRAY.ravel())


class Hostile:
    """Something that raises whatever is asked of it."""

    def __getattr__(self, name):
        raise RuntimeError(name)


def test_even_a_reply_that_raises_is_only_refused():
    admission, replies = door()
    reply = forged(replies[0])
    reply.__dict__["_content"] = Hostile()
    assert "cannot be read: RuntimeError" in admission.admit(reply)


def test_metrics_beyond_belief_do_not_cost_the_update():
    admission, replies = door()
    reply = forged(replies[0])
    reply.content["metrics"] = MetricRecord({"num-examples": 3, "loss": 10**300, "curve": [0.5] * 100_000})
    reply.content["more"] = MetricRecord({f"metric {number}": number for number in range(5000)})
    assert admission.admit(reply) is None
    assert admission.admitted[0].examples == 3
    assert "curve" not in admission.admitted[0].claims
    assert len(admission.admitted[0].claims) == 1000
