"""Bad replies: what a broken or hostile client can send in the place of a good one.

Each entry of `MALFORMED` turns one good reply into the list of replies that arrive instead, in memory, so that the same
catalog can be put before any strategy. `fault` holds words that a refusal has to name; None means that the reply can
be read and its update should count, however odd the rest of it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from numpy.lib import format as npy
from numpy.typing import NDArray

from .forging import (
    NUMPY,
    arrays_in,
    forged,
    metrics_in,
    npy_bytes,
    npy_header,
    tampered,
    with_array,
    with_arrays,
    with_data,
    with_examples,
    with_metrics,
)

Forge = Callable[[Message], list[Message]]


@dataclass(frozen=True)
class Malformed:
    """One kind of bad reply: its name, its family, what it makes of a good reply, and what is wrong with it."""

    name: str
    family: str
    forge: Forge
    fault: str | None

    def __call__(self, reply: Message) -> list[Message]:
        """What arrives in the place of `reply`, which stays as it is."""
        return self.forge(reply)


MALFORMED: dict[str, Malformed] = {}


def malformed(family: str, fault: str | None) -> Callable[[Forge], Forge]:
    """The decorator that puts a function into the catalog under its own name."""

    def registered(forge: Forge) -> Forge:
        MALFORMED[forge.__name__] = Malformed(forge.__name__, family, forge, fault)
        return forge

    return registered


# --- names ----------------------------------------------------------------------------------------


@malformed("names", "lacks")
def missing_array(reply: Message) -> list[Message]:
    """A reply without the largest array."""
    return with_arrays(reply, {name: array for name, array in arrays_in(reply).items() if name != tampered(reply)})


@malformed("names", "unexpected")
def extra_array(reply: Message) -> list[Message]:
    """A reply with one array too many."""
    return with_arrays(reply, {**arrays_in(reply), "extra": Array(np.ones(3, np.float32))})


@malformed("names", "lacks")
def renamed_array(reply: Message) -> list[Message]:
    """A reply whose largest array has another name."""
    target = tampered(reply)
    return with_arrays(reply, {f"{n}_" if n == target else n: array for n, array in arrays_in(reply).items()})


@malformed("names", "lacks")
def no_arrays(reply: Message) -> list[Message]:
    """A reply with an empty array record."""
    return with_arrays(reply, {})


@malformed("names", "unexpected")
def thousands_of_arrays(reply: Message) -> list[Message]:
    """A reply with five thousand empty arrays beside its own."""
    empty = Array(np.zeros(0, np.float32))
    return with_arrays(reply, {**arrays_in(reply), **{f"array {i}": empty for i in range(5000)}})


@malformed("names", "unexpected")
def name_that_forges_a_log_line(reply: Message) -> list[Message]:
    """A reply with an array whose name would write a line of its own into a log."""
    return with_arrays(reply, {**arrays_in(reply), "x\nINFO: all clients accepted": Array(np.ones(3, np.float32))})


@malformed("names", None)
def reordered_arrays(reply: Message) -> list[Message]:
    """A good reply with its arrays in the opposite order."""
    return with_arrays(reply, dict(reversed(list(arrays_in(reply).items()))))


# --- records --------------------------------------------------------------------------------------


@malformed("records", "array record")
def empty_content(reply: Message) -> list[Message]:
    """A reply with no records at all."""
    return [forged(reply, RecordDict())]


@malformed("records", "array record")
def two_array_records(reply: Message) -> list[Message]:
    """A reply with its arrays twice, under two names."""
    return [forged(reply, RecordDict({**reply.content, "more": ArrayRecord(dict(arrays_in(reply)))}))]


@malformed("records", "array record")
def arrays_as_a_config(reply: Message) -> list[Message]:
    """A reply with its arrays as raw bytes in a config record."""
    config = ConfigRecord({name: array.data for name, array in arrays_in(reply).items()})
    return [forged(reply, RecordDict({"arrays": config, "metrics": metrics_in(reply)}))]


@malformed("records", None)
def no_metric_record(reply: Message) -> list[Message]:
    """A good update without metrics."""
    return [forged(reply, RecordDict(dict(reply.content.array_records)))]


@malformed("records", None)
def two_metric_records(reply: Message) -> list[Message]:
    """A good update with a second metric record."""
    return [forged(reply, RecordDict({**reply.content, "more": MetricRecord({"seconds": 3.0})}))]


@malformed("records", None)
def extra_config_record(reply: Message) -> list[Message]:
    """A good update with a config record beside it."""
    return [forged(reply, RecordDict({**reply.content, "note": ConfigRecord({"text": "hello"})}))]


# --- shapes ---------------------------------------------------------------------------------------


@malformed("shapes", "shape")
def shape_that_broadcasts(reply: Message) -> list[Message]:
    """One number where a whole array belongs."""
    return with_array(reply, lambda array: np.ones(1, array.dtype))


@malformed("shapes", "shape")
def no_dimensions(reply: Message) -> list[Message]:
    """A number without dimensions where an array belongs."""
    return with_array(reply, lambda array: np.array(1, array.dtype))


@malformed("shapes", "shape")
def no_elements(reply: Message) -> list[Message]:
    """An array of no rows."""
    return with_array(reply, lambda array: array[:0])


@malformed("shapes", "shape")
def flattened(reply: Message) -> list[Message]:
    """The right numbers in one dimension too few."""
    return with_array(reply, lambda array: array.ravel())


@malformed("shapes", "shape")
def extra_axis(reply: Message) -> list[Message]:
    """The right numbers in one dimension too many."""
    return with_array(reply, lambda array: array[None])


@malformed("shapes", "shape")
def one_row_too_many(reply: Message) -> list[Message]:
    """An array that is one row longer."""
    return with_array(reply, lambda array: np.concatenate([array, array[:1]]))


@malformed("shapes", "claimed")
def false_claim_of_shape(reply: Message) -> list[Message]:
    """The right array under a wrong claim."""
    return with_array(reply, lambda array: Array(str(array.dtype), (7, 7, 7), NUMPY, npy_bytes(array)))


# --- dtypes ---------------------------------------------------------------------------------------


@malformed("dtypes", "expected float32")
def integers(reply: Message) -> list[Message]:
    """Whole numbers where fractions belong."""
    return with_array(reply, lambda array: array.astype(np.int64))


@malformed("dtypes", "expected float32")
def booleans(reply: Message) -> list[Message]:
    """Truth values where numbers belong."""
    return with_array(reply, lambda array: array > 0)


@malformed("dtypes", "expected float32")
def complex_numbers(reply: Message) -> list[Message]:
    """Complex numbers where real ones belong."""
    return with_array(reply, lambda array: array + 1j)


@malformed("dtypes", "expected float32")
def strings(reply: Message) -> list[Message]:
    """Text where numbers belong."""
    return with_array(reply, lambda array: array.astype("<U8"))


@malformed("dtypes", "header")
def structures(reply: Message) -> list[Message]:
    """Records of two fields where numbers belong."""
    return with_array(reply, lambda array: np.zeros(array.shape, [("a", np.float32), ("b", np.int8)]))


@malformed("dtypes", "expected float32")
def pickled_objects(reply: Message) -> list[Message]:
    """An array of Python objects, which only unpickling could read."""
    return with_array(reply, lambda array: Array("object", array.shape, NUMPY, npy_bytes(array.astype(object))))


@malformed("dtypes", "expected float32")
def big_endian(reply: Message) -> list[Message]:
    """The right numbers in the other byte order."""
    return with_array(reply, lambda array: array.astype(array.dtype.newbyteorder(">")))


@malformed("dtypes", "claimed")
def false_claim_of_dtype(reply: Message) -> list[Message]:
    """The right array under a wrong claim."""
    return with_array(reply, lambda array: Array("float64", array.shape, NUMPY, npy_bytes(array)))


@malformed("dtypes", None)
def double_precision(reply: Message) -> list[Message]:
    """A good update in float64."""
    return with_array(reply, lambda array: array.astype(np.float64))


@malformed("dtypes", None)
def half_precision(reply: Message) -> list[Message]:
    """A good update in float16."""
    return with_array(reply, lambda array: array.astype(np.float16))


@malformed("dtypes", None)
def fortran_order(reply: Message) -> list[Message]:
    """A good update, written column by column."""
    return with_array(
        reply, lambda array: Array(str(array.dtype), array.shape, NUMPY, npy_bytes(np.asfortranarray(array)))
    )


# --- bytes ----------------------------------------------------------------------------------------


@malformed("bytes", "header")
def no_bytes(reply: Message) -> list[Message]:
    """An array of no bytes at all."""
    return with_data(reply, lambda data: b"")


@malformed("bytes", "header")
def noise(reply: Message) -> list[Message]:
    """Random bytes."""
    return with_data(reply, lambda data: np.random.default_rng(0).bytes(len(data)))


@malformed("bytes", "bytes")
def cut_short(reply: Message) -> list[Message]:
    """An array that lost its last bytes."""
    return with_data(reply, lambda data: data[:-3])


@malformed("bytes", "bytes")
def bytes_left_over(reply: Message) -> list[Message]:
    """An array with bytes behind its end."""
    return with_data(reply, lambda data: data + bytes(1000))


@malformed("bytes", "shape")
def forged_size(reply: Message) -> list[Message]:
    """A header that announces 48 TB."""
    return with_data(reply, lambda data: npy_header("<f4", (2_000_000, 6_000_000)) + bytes(64))


@malformed("bytes", "shape")
def negative_size(reply: Message) -> list[Message]:
    """A header with a negative length."""
    return with_data(reply, lambda data: npy_header("<f4", (-1, 4)) + bytes(64))


@malformed("bytes", "header")
def long_header(reply: Message) -> list[Message]:
    """A header of a million characters."""
    size = 1_000_000
    return with_data(reply, lambda data: npy.magic(2, 0) + size.to_bytes(4, "little") + b"{" + b" " * (size - 1))


@malformed("bytes", "header")
def nested_header(reply: Message) -> list[Message]:
    """A header nested too deeply for a parser."""
    return with_data(reply, lambda data: npy.magic(1, 0) + (2000).to_bytes(2, "little") + b"(" * 2000)


@malformed("bytes", "version")
def unknown_version(reply: Message) -> list[Message]:
    """A file format that does not exist yet."""
    return with_data(reply, lambda data: data[:6] + bytes([9, 0]) + data[8:])


@malformed("bytes", "header")
def zip_archive(reply: Message) -> list[Message]:
    """A compressed archive, which numpy's own loader would open."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, bomb=np.zeros(100_000))
    return with_data(reply, lambda data: buffer.getvalue())


@malformed("bytes", "header")
def bare_pickle(reply: Message) -> list[Message]:
    """A pickle, which would run code if anything loaded it."""
    return with_data(reply, lambda data: b"\x80\x04cbuiltins\nprint\n(Vunpickled\ntR.")


@malformed("bytes", "serialization")
def unknown_serialization(reply: Message) -> list[Message]:
    """A serialization nobody agreed on."""
    return with_array(reply, lambda array: Array(str(array.dtype), array.shape, "torch.pickle", npy_bytes(array)))


# --- values ---------------------------------------------------------------------------------------


@malformed("values", "finite")
def all_nan(reply: Message) -> list[Message]:
    """Nothing but NaN."""
    return with_array(reply, lambda array: np.full_like(array, np.nan))


@malformed("values", "finite")
def one_nan(reply: Message) -> list[Message]:
    """One NaN among good numbers."""
    return with_array(reply, lambda array: _first_set(array, np.nan))


@malformed("values", "finite")
def one_infinity(reply: Message) -> list[Message]:
    """One infinity among good numbers."""
    return with_array(reply, lambda array: _first_set(array, -np.inf))


@malformed("values", "hold")
def beyond_float32(reply: Message) -> list[Message]:
    """A finite float64 that no float32 can hold."""
    return with_array(reply, lambda array: _first_set(array.astype(np.float64), 1e300))


def _first_set(array: NDArray[Any], value: float) -> NDArray[Any]:
    array.flat[0] = value
    return array


# --- counts and metrics ---------------------------------------------------------------------------


@malformed("counts", "num-examples")
def no_examples(reply: Message) -> list[Message]:
    """A claim to have trained on nothing."""
    return with_examples(reply, 0)


@malformed("counts", "num-examples")
def negative_examples(reply: Message) -> list[Message]:
    """A negative claim, which turns a weighted mean around."""
    return with_examples(reply, -850)


@malformed("counts", "num-examples")
def nan_examples(reply: Message) -> list[Message]:
    """A claim that is no number."""
    return with_examples(reply, float("nan"))


@malformed("counts", "num-examples")
def infinite_examples(reply: Message) -> list[Message]:
    """A claim without end."""
    return with_examples(reply, float("inf"))


@malformed("counts", "num-examples")
def list_of_examples(reply: Message) -> list[Message]:
    """A list where one number belongs."""
    return with_examples(reply, [100, 100])


@malformed("counts", None)
def trillion_examples(reply: Message) -> list[Message]:
    """A good update that claims to stand for all the others."""
    return with_examples(reply, 10**12)


@malformed("metrics", None)
def nan_metric(reply: Message) -> list[Message]:
    """A good update with a loss of NaN."""
    return with_metrics(reply, **{name: float("nan") for name in metrics_in(reply) if name != "num-examples"})


@malformed("metrics", None)
def extra_metric(reply: Message) -> list[Message]:
    """A good update with a metric nobody else has."""
    return with_metrics(reply, extra=1.0)


@malformed("metrics", None)
def missing_metric(reply: Message) -> list[Message]:
    """A good update with nothing but its count."""
    content = RecordDict(dict(reply.content))
    content[next(iter(reply.content.metric_records))] = MetricRecord(
        {"num-examples": metrics_in(reply)["num-examples"]}
    )
    return [forged(reply, content)]


@malformed("metrics", None)
def metric_of_another_length(reply: Message) -> list[Message]:
    """A good update with lists where the others have numbers."""
    return with_metrics(reply, **{name: [1.0] * 1000 for name in metrics_in(reply) if name != "num-examples"})


# --- senders and errors ---------------------------------------------------------------------------


@malformed("senders", "sender")
def impostor(reply: Message) -> list[Message]:
    """A good reply that names another node as its sender."""
    return [forged(reply, src_node_id=reply.metadata.src_node_id + 1000)]


@malformed("senders", "nothing that was asked")
def unasked(reply: Message) -> list[Message]:
    """A reply to a message that was never sent, or not in this round."""
    return [forged(reply, reply_to_message_id="another round's message")]


@malformed("senders", "message")
def answer_to_another_kind(reply: Message) -> list[Message]:
    """The answer to an evaluation where training was asked for."""
    return [forged(reply, message_type="evaluate")]


@malformed("senders", "run")
def another_run(reply: Message) -> list[Message]:
    """A reply out of another run."""
    return [forged(reply, run_id=reply.metadata.run_id + 1)]


@malformed("senders", None)
def twice(reply: Message) -> list[Message]:
    """A good reply, sent twice."""
    return [reply, forged(reply)]


@malformed("senders", None)
def good_then_bad(reply: Message) -> list[Message]:
    """A good reply, and a ruinous one after it."""
    return [reply, *all_nan(reply)]


@malformed("errors", "error 2")
def error_reply(reply: Message) -> list[Message]:
    """What Flower sends for a client that raised an exception."""
    return _failed(reply, Error(2, "<class 'ValueError'>:<'bad data'>"))


@malformed("errors", "error 0")
def long_error(reply: Message) -> list[Message]:
    """An error with a megabyte of explanation."""
    return _failed(reply, Error(0, "out of memory\n" * 75_000))


@malformed("errors", "content")
def neither_content_nor_error(reply: Message) -> list[Message]:
    """A message with nothing in it."""
    other = forged(reply)
    other.__dict__["_content"] = None
    return [other]


@malformed("errors", "no reply")
def silence(reply: Message) -> list[Message]:
    """No reply at all."""
    return []


def _failed(reply: Message, error: Error) -> list[Message]:
    other = forged(reply)
    other.__dict__.update(_content=None, _error=error)
    return [other]
