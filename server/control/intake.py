"""The updates of a round as their chunks come: each becomes a row, or is refused with a reason."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from grpc import StatusCode
from hawthorn.strategies.kernels.difference import finite
from numpy.typing import NDArray

from .hawthorn_pb2 import Chunk, Refused, Update
from .limits import Limits
from .refusal import Refusal
from .sessions import Session

LONGEST_NAME = 200  # characters of a client's name
SERVERS_OWN = {Update.TRUSTED: "trusted", Update.MODEL: "model"}


@dataclass
class Coming:
    """A row of which some bytes are there; `of` is its client, or the kind of the server's own row."""

    of: str
    row: NDArray[Any]
    weight: float = 1.0
    own: bool = False
    there: int = 0


class Intake:
    """The rows of one round: clients' go into the session's room, the server's own into memory beside it.

    What is wrong with an update is its own loss: it is refused, and the round goes on. What cannot come of a client,
    such as a chunk without an update, ends the call.
    """

    def __init__(self, session: Session, limits: Limits) -> None:
        self.session, self.plan, self.limits = session, session.plan, limits
        self.clients: list[str] = []
        self.weights: list[float] = []
        self.refused: list[Refused] = []
        self.own: dict[str, NDArray[Any]] = {}
        self._coming: Coming | None = None
        self._begun = False
        session.updates.clear()

    def begin(self, update: Update) -> None:
        """Begin an update; the one before is over, and refused if bytes of it are missing. Raises `Refusal`."""
        self.finish()
        self._begun = True
        if update.kind != Update.CLIENT:
            return self._begin_own(update)
        name = update.client
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            raise Refusal(StatusCode.INVALID_ARGUMENT, f"a client's name must be 1 to {LONGEST_NAME} characters")
        if len(self.clients) + len(self.refused) >= 2 * self.plan.clients:
            raise Refusal(StatusCode.RESOURCE_EXHAUSTED, f"more updates than {self.plan.clients} clients can have sent")
        if update.HasField("weight") and not self.plan.weighted:
            raise Refusal(StatusCode.INVALID_ARGUMENT, "the session was opened without weights")
        if name in self.clients:
            return self._refuse(name, "a second update; the first one counts")
        if len(self.clients) == self.plan.clients:
            raise Refusal(StatusCode.RESOURCE_EXHAUSTED, f"the session was opened for {self.plan.clients} clients")
        if self._is_one_too_many(name):
            return self._refuse(name, f"the session knows {self.plan.names} clients, and takes no other names")
        if self.plan.weighted and not (math.isfinite(update.weight) and update.weight > 0):
            return self._refuse(name, f"the weight must be a finite positive number, got {update.weight:g}")
        self._coming = Coming(name, self.session.updates.next, update.weight)
        return None

    def take(self, chunk: Chunk) -> None:
        """Take the next bytes of the update; those of one that is refused already go nowhere. Raises `Refusal`."""
        if not self._begun:
            raise Refusal(StatusCode.INVALID_ARGUMENT, "a chunk must follow the update that it is of")
        if len(chunk.data) > self.limits.chunk:
            raise Refusal(StatusCode.RESOURCE_EXHAUSTED, f"a chunk has at most {self.limits.chunk} bytes")
        coming = self._coming
        if coming is None:
            return
        fault = self._fault(coming, chunk)
        if fault is None:
            coming.there += len(chunk.data)
            if coming.there == self.plan.update_bytes:
                self._complete(coming)
        else:
            self._refuse(coming.of, fault, own=coming.own)

    def finish(self) -> None:
        """No more chunks of the update before: it is refused if bytes of it are missing."""
        coming, self._coming, self._begun = self._coming, None, False
        if coming is not None:
            told = f"expected {self.plan.update_bytes} bytes, got {coming.there}"
            self._refuse(coming.of, told, own=coming.own)

    def _is_one_too_many(self, name: str) -> bool:
        known: Mapping[str, Any] = (self.session.kept.state or {}).get("clients", {})
        if self.plan.names is None or name in known:
            return False
        return len(known) + sum(client not in known for client in self.clients) >= self.plan.names

    def _begin_own(self, update: Update) -> None:
        name = SERVERS_OWN.get(update.kind, "")
        if name not in self.plan.defense.asked:
            raise Refusal(StatusCode.INVALID_ARGUMENT, f"the defense {self.plan.defense} asks for no such row {name!r}")
        if name in self.own:
            raise Refusal(StatusCode.INVALID_ARGUMENT, f"the {name} row was sent already")
        self._coming = Coming(name, np.empty(self.plan.dimension, self.plan.dtype), own=True)

    def _fault(self, coming: Coming, chunk: Chunk) -> str | None:
        """What is wrong with the chunk, whose bytes are in the row if nothing is."""
        size = len(chunk.data)
        if chunk.offset != coming.there:
            return f"expected the bytes from {coming.there} on, got those from {chunk.offset} on"
        if size == 0:
            return "an empty chunk"
        if coming.there + size > self.plan.update_bytes:
            return f"expected {self.plan.update_bytes} bytes, got at least {coming.there + size}"
        if zlib.crc32(chunk.data) != chunk.crc32:
            return f"the bytes from {chunk.offset} on do not have the checksum that was sent with them"
        stop = coming.there + size
        coming.row.view(np.uint8)[coming.there : stop] = np.frombuffer(chunk.data, np.uint8)
        width = coming.row.itemsize  # a number that began in the chunk before is whole now
        if not finite(coming.row[coming.there // width : stop // width]):
            return "the numbers must be finite, got NaN or infinity"
        return None

    def _complete(self, coming: Coming) -> None:
        self._coming = None
        if coming.own:
            self.own[coming.of] = coming.row
            return
        self.session.updates.keep()
        self.clients.append(coming.of)
        self.weights.append(coming.weight)

    def _refuse(self, name: str, reason: str, *, own: bool = False) -> None:
        self._coming = None
        if own:
            raise Refusal(StatusCode.INVALID_ARGUMENT, f"the {name} row: {reason}")
        self.refused.append(Refused(client=name, reason=reason))
