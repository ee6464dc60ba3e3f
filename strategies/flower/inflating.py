"""Replies unfolded within bounds, where Flower itself has none.

A reply travels as a tree of objects, and an array in it may name one chunk of bytes again and again: ten megabytes sent
can stand for terabytes. Nor does anything count what a client sends in all. Both are counted here, while a reply is
pulled, and what exceeds its allowance is given up before it has been unfolded.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from flwr.app import Array, Message
from flwr.supercore.inflatable.inflatable_object import get_object_body, get_object_children_ids_from_object_content
from flwr.supercore.inflatable.inflatable_utils import inflatable_class_registry

BESIDE = 16 << 20  # bytes of names, metrics and configuration, which unfold to some ten times as much
WIDEST = 4  # a model of float16 may come back as float64


class Oversized(Exception):  # noqa: N818
    """Why a reply is given up; caught where replies are pulled."""


class Allowance:
    """The bytes that one reply may take: so many to be sent, and as many again as its arrays are put together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._sent = self._unfolded = 0
        self._lock = threading.Lock()  # Flower pulls several objects at once

    @classmethod
    def of(cls, asked: Message) -> Allowance:
        """What the reply to a message may take: as much as what was sent, wider numbers and all that is beside them."""
        records = asked.content.array_records.values() if asked.has_content() else ()
        size = sum(len(array.data) for record in records for array in record.values())
        return cls(WIDEST * size + BESIDE)

    def send(self, size: int) -> None:
        """Count bytes that came; raises `Oversized`."""
        with self._lock:
            self._sent += size
            if self._sent > self.most:
                raise Oversized(f"the reply is larger than the {self.most} bytes that it may have")

    def unfold(self, size: int) -> None:
        """Count bytes that an array is about to take; raises `Oversized`."""
        with self._lock:
            self._unfolded += size
            if self._unfolded > self.most:
                raise Oversized(f"the reply's arrays unfold to more than the {self.most} bytes that they may have")


class _BoundedArray:
    """What Flower unfolds arrays with, once the allowance of this thread's reply has been asked."""

    current = threading.local()

    @classmethod
    def inflate(cls, object_content: bytes, children: dict[str, Any] | None = None) -> Array:
        allowance: Allowance | None = getattr(cls.current, "allowance", None)
        if allowance is not None:
            allowance.unfold(_size(object_content, children or {}))
        return Array.inflate(object_content, children)


def _size(content: bytes, children: dict[str, Any]) -> int:
    """The bytes of an array whose chunks are put together."""
    names = get_object_children_ids_from_object_content(content)
    places = json.loads(get_object_body(content, Array))["arraychunk_ids"]
    return sum(len(children[names[place]].data) for place in places)


@contextmanager
def bounded(grid: object, allowance: Allowance) -> Generator[None]:
    """Within this, what `grid` pulls in this thread is held to the allowance."""
    # stays there, and does nothing to threads without an allowance: two grids could not put it back in turn
    inflatable_class_registry[Array.__qualname__] = cast("Any", _BoundedArray)
    client = getattr(grid, "_runtime_client", None)  # of grids that talk to a SuperLink
    pull: Any = getattr(client, "PullObject", None)

    def counted(request: Any) -> Any:
        response = pull(request)
        allowance.send(len(response.object_content))
        return response

    _BoundedArray.current.allowance = allowance
    if pull is not None:
        cast("Any", client).PullObject = counted
    try:
        yield
    finally:
        _BoundedArray.current.allowance = None
        if pull is not None:
            cast("Any", client).PullObject = pull
