"""How to change a reply: copies of it with other arrays, other bytes, other claims or another sender."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, Metadata, MetricRecord, RecordDict
from numpy.lib import format as npy
from numpy.typing import NDArray

NUMPY = "numpy.ndarray"


def forged(reply: Message, content: RecordDict | None = None, **metadata: Any) -> Message:
    """A copy of a reply with other content and other metadata; Flower has no public way to write most of the latter."""
    other = copy.copy(reply)
    other.__dict__["_metadata"] = copy.copy(reply.metadata)
    for name, value in metadata.items():
        other.metadata.__dict__[f"_{name}"] = value
    other.content = RecordDict(dict(reply.content)) if content is None else content
    return other


def sample_reply() -> Message:
    """A reply of one small array, made outside any run, to try an attack on."""
    metadata = Metadata(
        run_id=1,
        message_id="",
        src_node_id=2,
        dst_node_id=1,
        reply_to_message_id="a message",
        group_id="",
        created_at=0.0,
        ttl=1.0,
        message_type="train",
    )
    arrays = ArrayRecord({"weight": Array(np.ones((3, 2), np.float32))})
    metrics = MetricRecord({"num-examples": 100, "train-loss": 0.5})
    content = RecordDict({"arrays": arrays, "metrics": metrics})
    return Message(content=content, metadata=metadata)  # pyright: ignore[reportCallIssue]  # Flower's own way, untold


def arrays_in(reply: Message) -> ArrayRecord:
    """The one array record of a reply."""
    return next(iter(reply.content.array_records.values()))


def metrics_in(reply: Message) -> MetricRecord:
    """The one metric record of a reply."""
    return next(iter(reply.content.metric_records.values()))


def with_arrays(reply: Message, arrays: Mapping[str, Array]) -> list[Message]:
    """The reply with other arrays."""
    content = RecordDict(dict(reply.content))
    content[next(iter(reply.content.array_records))] = ArrayRecord(dict(arrays))
    return [forged(reply, content)]


def with_metrics(reply: Message, **metrics: Any) -> list[Message]:
    """The reply with some metrics changed or added."""
    content = RecordDict(dict(reply.content))
    content[next(iter(reply.content.metric_records))] = MetricRecord({**metrics_in(reply), **metrics})
    return [forged(reply, content)]


def with_examples(reply: Message, examples: Any) -> list[Message]:
    """The reply with another claim of how many examples it stands for."""
    return with_metrics(reply, **{"num-examples": examples})


def tampered(reply: Message) -> str:
    """The name of the array that is tampered with: the largest one of floating-point numbers."""
    arrays = arrays_in(reply)
    floating = [name for name, array in arrays.items() if array.numpy().dtype.kind == "f"]
    return max(floating, key=lambda name: len(arrays[name].data))


def with_array(reply: Message, change: Callable[[NDArray[Any]], NDArray[Any] | Array]) -> list[Message]:
    """The reply with its largest array changed."""
    name = tampered(reply)
    changed = change(arrays_in(reply)[name].numpy().copy())
    return with_arrays(reply, {**arrays_in(reply), name: changed if isinstance(changed, Array) else Array(changed)})


def with_data(reply: Message, change: Callable[[bytes], bytes]) -> list[Message]:
    """The reply with other bytes in its largest array, whose claims stay."""
    array = arrays_in(reply)[tampered(reply)]
    other = Array(array.dtype, tuple(array.shape), NUMPY, change(array.data))
    return with_arrays(reply, {**arrays_in(reply), tampered(reply): other})


def npy_header(descr: Any, shape: tuple[int, ...]) -> bytes:
    """The head of an npy file that announces this dtype and shape."""
    buffer = io.BytesIO()
    npy.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def npy_bytes(array: NDArray[Any]) -> bytes:
    """The npy file of an array, pickled if it holds objects."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()
