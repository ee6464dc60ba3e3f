"""Admission: one reply becomes one row of the round's matrix, or is refused with a reason. Never an exception.

Everything in a reply is a claim. Who sent it is read from what was asked of whom; the size of an array is known before
it is decoded; a claimed count must be a number. Nothing here trusts a client enough to allocate memory on its word.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from flwr.app import Array, ArrayRecord, Message, MetricRecord, MetricRecordValues
from numpy.typing import NDArray

from ..kernels.difference import difference, finite
from ..updates import Updates
from .arrays import NPY, header, view
from .layout import FLOATS, Model, Place
from .provenance import Provenance

logger = logging.getLogger(__name__)

SUPERLINK = 1  # the node that answers in the place of clients that died
LONGEST_REASON = 500
MOST_METRICS = 1000  # a round keeps the metrics of all its clients, so each may send a few only
LONGEST_METRIC = 10_000
LONGEST_NAME = 200
MOST_NUMBERS = 20_000  # in all metrics of a reply
LEAST_EXAMPLES, MOST_EXAMPLES = 1e-9, 1e15  # so that no sum of counts, where few clients tell one, is infinite or zero

Claims = dict[str, MetricRecordValues]


class Refused(Exception):  # noqa: N818
    """Why a reply cannot be used; caught where replies are taken in."""


def shown(value: object, length: int = 80) -> str:
    """What a client sent, on one line and short enough for a log.

    >>> shown("two" + chr(10) + "lines")
    "'two\\\\nlines'"
    """
    text = repr(cast(Any, value)[:length] if isinstance(value, (str, bytes, list, tuple)) else value)
    return text if len(text) <= length else f"{text[: length - 3]}..."


class Roll:
    """Who was asked this round and who has answered; tells the sender of each reply.

    A reply is the asked client's if it answers the message that was sent to it and names it as the sender. Where a grid
    tells no message ids, the sender's own word is all there is.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.by_id = {m.metadata.message_id: m for m in messages if m.metadata.message_id}
        self.by_node = {m.metadata.dst_node_id: m for m in messages}
        self.answered: set[int] = set()
        self.refused: dict[int, str] = {}

    def sender(self, reply: Message) -> int:
        """The client a reply comes from, now counted as having answered; raises `Refused`."""
        claimed = reply.metadata.src_node_id
        answers = reply.metadata.reply_to_message_id
        asked = self.by_id.get(answers) if self.by_id else self.by_node.get(claimed)
        if asked is None:
            raise Refused("the reply answers nothing that was asked this round")
        node = asked.metadata.dst_node_id
        if reply.has_error() and claimed in {node, SUPERLINK}:
            # not counted as an answer: were the error forged, the client's own reply is still to come
            raise Refused(f"error {reply.error.code} instead of a reply: {shown(reply.error.reason, 240)}")
        if claimed != node:
            raise Refused(f"the reply names node {shown(claimed)} as sender, but node {node} was asked")
        if node in self.answered:
            raise Refused("a second reply; the first one counts")
        self.answered.add(node)
        if reply.metadata.message_type != asked.metadata.message_type:
            kinds = f"{asked.metadata.message_type!r} message, got one to {shown(reply.metadata.message_type)}"
            raise Refused(f"expected a reply to a {kinds}")
        if reply.metadata.run_id != asked.metadata.run_id:
            raise Refused(f"expected run {asked.metadata.run_id}, got run {shown(reply.metadata.run_id)}")
        return node

    def refuse(self, reply: Message, reason: str) -> str:
        """The reason, recorded against the client that the reply is most surely of, and logged."""
        claimed, answers = reply.metadata.src_node_id, reply.metadata.reply_to_message_id
        asked = self.by_id.get(answers)
        made_up = claimed == SUPERLINK and reply.has_error() and asked is not None
        self._note(asked.metadata.dst_node_id if made_up and asked is not None else claimed, reason)
        return reason

    def close(self, reason: str = "no reply") -> None:
        """Refuse the silence of every client that was asked and has neither answered nor been refused."""
        for node in self.by_node:
            if node not in self.answered and node not in self.refused:
                self._note(node, reason)

    def _note(self, node: int, reason: str) -> None:
        before = self.refused.get(node)
        both = reason if before is None else f"{before}; {reason}"
        if before is None or (reason not in before and len(both) <= LONGEST_REASON):
            self.refused[node] = both
        logger.warning("reply of node %s refused: %s", shown(node), reason)


@dataclass(frozen=True)
class Admitted:
    """What is kept of a reply beside its row; `names` are those of its array and metric records."""

    node: int
    integers: dict[str, NDArray[Any]]
    claims: Claims
    examples: float | None
    names: tuple[str, str]


class Admission:
    """One round's door: `admit` takes each reply; `rows`, `admitted` and `refused` tell what came of them.

    `manifests` are what the admitted said of their data, by node, where `provenance` looks at that.
    """

    def __init__(
        self,
        model: Model,
        asked: Sequence[Message],
        updates: Updates,
        counted_by: str,
        provenance: Provenance | None = None,
    ) -> None:
        self.model = model
        self.roll = Roll(asked)
        self.updates = updates
        self.counted_by = counted_by
        self.admitted: list[Admitted] = []
        self.provenance = provenance
        self.manifests: dict[int, Mapping[str, Any]] = {}

    @property
    def rows(self) -> NDArray[Any]:
        """The updates `(n, d)` of the admitted clients, in the order of `admitted`."""
        return self.updates.rows

    @property
    def refused(self) -> dict[int, str]:
        """Why replies were refused, by node; a client of which another reply counted can be among them."""
        return self.roll.refused

    def admit(self, reply: Message) -> str | None:
        """The reason why the reply was refused, or None: its update is now the last of `rows`.

        Raises `LostColumnsError`, which is no client's doing, where a cluster that holds the rows has lost some.
        """
        try:
            node = self.roll.sender(reply)
            arrays_name, arrays = one_array_record(reply)
            metrics_name, claims = metrics_of(reply)
            examples = claimed_examples(claims, self.counted_by)
            integers = self._absorb(arrays, self.updates.next)
            manifest = self._manifest(node, reply, arrays)
        except Refused as refusal:
            return self.roll.refuse(reply, str(refusal))
        except Exception as error:  # whatever a client can make go wrong is its own loss
            return self.roll.refuse(reply, f"the reply cannot be read: {type(error).__name__}: {shown(str(error))}")
        self.updates.keep()
        if manifest is not None:
            self.manifests[node] = manifest
        self.admitted.append(Admitted(node, integers, claims, examples, (arrays_name, metrics_name)))
        return None

    def close(self, reason: str = "no reply") -> None:
        """Refuse the silence of every client that was asked and never heard of."""
        self.roll.close(reason)

    def _manifest(self, node: int, reply: Message, arrays: ArrayRecord) -> Mapping[str, Any] | None:
        """What a client said of its data; raises `Refused` where that is required and cannot be believed."""
        if self.provenance is None:
            return None
        found = self.provenance.manifest(node, reply, arrays)
        if self.provenance.required and (found is None or not found["verified"]):
            fault = "the reply has none" if found is None else found["fault"]
            raise Refused(f"expected a signed manifest of the data: {shown(fault, 240)}")
        return found

    def _absorb(self, arrays: ArrayRecord, row: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The integer arrays of a reply; its other numbers, less the model sent, are written to `row`."""
        check_names(set(arrays), set(self.model.places))
        integers: dict[str, NDArray[Any]] = {}
        for name, place in self.model.places.items():
            try:
                numbers = decoded(arrays[name], place)
                if place.columns is None:
                    integers[name] = numbers.copy()
                else:
                    sent = self.model.row[place.columns].reshape(place.shape)
                    _subtract(numbers, sent, row[place.columns].reshape(place.shape))
            except Refused as refusal:
                raise Refused(f"array {name!r}: {refusal}") from None
        return integers


def _subtract(numbers: NDArray[Any], sent: NDArray[Any], out: NDArray[Any]) -> None:
    if difference(numbers, sent, out):
        return
    if finite(numbers):
        raise Refused(f"the numbers differ from the model by more than {out.dtype} can hold")
    raise Refused("the numbers must be finite, got NaN or infinity")


def one_array_record(reply: Message) -> tuple[str, ArrayRecord]:
    """The name and the arrays of the one array record that a reply must have; raises `Refused`."""
    found = [(name, record) for name, record in _records(reply) if isinstance(record, ArrayRecord)]
    if len(found) != 1:
        raise Refused(f"expected one array record, got {len(found)}")
    return found[0]


def metrics_of(reply: Message) -> tuple[str, Claims]:
    """The name of a reply's first metric record, and the metrics of all its records; of two with one name the first."""
    found = [(name, record) for name, record in _records(reply) if isinstance(record, MetricRecord)]
    claims: Claims = {}
    room = MOST_NUMBERS
    for name, value in (item for _, record in found for item in record.items()):
        size = len(value) if isinstance(value, list) else 1
        fits = len(claims) < MOST_METRICS and len(name) <= LONGEST_NAME and size <= min(LONGEST_METRIC, room)
        if fits and name not in claims:
            claims[name] = value
            room -= size
    return found[0][0] if found else "metrics", claims


def _records(reply: Message) -> Iterable[tuple[str, object]]:
    if not reply.has_content():
        raise Refused("the reply has no content")
    return reply.content.items()


def claimed_examples(claims: Claims, counted_by: str) -> float | None:
    """How many examples a client claims, None if it does not say; raises `Refused` unless it is finite and positive."""
    if counted_by not in claims:
        return None
    value = number(claims[counted_by])
    if value is None or value <= 0:
        raise Refused(f"{counted_by} must be a finite positive number, got {shown(claims[counted_by])}")
    if not LEAST_EXAMPLES <= value <= MOST_EXAMPLES:
        raise Refused(f"{counted_by} must be from {LEAST_EXAMPLES:g} to {MOST_EXAMPLES:g}, got {value:g}")
    return value


def number(value: object) -> float | None:
    """The value as a float, or None unless it is a finite number.

    >>> number(3), number(float("nan")), number("3"), number(10**400)
    (3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def check_names(found: set[str], expected: set[str]) -> None:
    """Raise `Refused` naming the arrays that are missing or too many."""
    faults = (("lacks", expected - found), ("has unexpected", found - expected))
    told = [f"{fault} {', '.join(map(shown, sorted(names)[:3]))}" for fault, names in faults if names]
    if told:
        raise Refused(f"the array record {' and '.join(told)}")


def decoded(array: Array, place: Place) -> NDArray[Any]:
    """The numbers of an array as a view of its bytes; raises `Refused` unless it is what belongs in its place.

    Nothing is allocated before the header has been found to tell the truth about the size of the data.
    """
    if array.stype != NPY:
        raise Refused(f"expected serialization {NPY!r}, got {shown(array.stype)}")
    if not isinstance(array.data, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]  # a dataclass checks nothing
        raise Refused(f"expected bytes, got {type(array.data).__name__}")
    try:
        dtype, shape, fortran, start = header(array.data)
    except ValueError as error:
        raise Refused(f"no readable npy header: {shown(str(error), 240)}") from None
    if dtype != place.dtype and not (place.columns is not None and dtype in FLOATS):
        raise Refused(f"expected {place.dtype}, got {shown(str(dtype))}")
    if shape != place.shape:
        raise Refused(f"expected shape {place.shape}, got {shown(shape)}")
    if array.dtype != str(dtype) or tuple(array.shape) != shape:
        claim = f"{shown(array.dtype)} of shape {shown(array.shape)}"
        raise Refused(f"claimed to be {claim}, but its header says {dtype} of shape {shape}")
    size = math.prod(shape)
    if len(array.data) != start + size * dtype.itemsize:
        raise Refused(f"expected {start + size * dtype.itemsize} bytes, got {len(array.data)}")
    return view(array.data, dtype, shape, fortran, start)
