"""A grid around any grid that knows who is hostile: what the hostile send together, or a round without them.

A colluding attack needs the honest clients' updates, which no single client has; so it happens here, between the
clients and the server, the same way whatever grid is underneath. Everything else passes through unchanged.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Collusion = Callable[[Floats, int], Floats]
"""`(h, d)` honest updates and the number f of hostile clients -> `(f, d)` updates for the hostile to send."""


class SimulatedGrid(Grid):
    """The nodes of `grid`, of which those in `hostile` send what `collude` makes of the honest updates.

    Without `collude` the hostile reply as they will; with `honest_only` they are not asked at all. Replies come in the
    order of their nodes once all of a push have arrived, so that sums do not depend on who was first.
    """

    def __init__(
        self, grid: Grid, hostile: frozenset[int], *, collude: Collusion | None = None, honest_only: bool = False
    ) -> None:
        self._grid = grid
        self._hostile = hostile
        self._collude = collude
        self._honest_only = honest_only
        self._asked: dict[str, Message] = {}
        self._arrived: dict[str, Message] = {}
        self._ready: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        """Take `run` as the run of the grid underneath."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """The run of the grid underneath."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """A message to one node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """The ids of the nodes that take part, ascending."""
        nodes = sorted(self._grid.get_node_ids())
        return [node for node in nodes if node not in self._hostile] if self._honest_only else nodes

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """The ids of the messages, sent to the grid underneath."""
        asked = list(messages)
        ids = list(self._grid.push_messages(asked))
        self._asked |= {message.metadata.message_id: message for message in asked}
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies to those messages; none before the last of them all is there, as liars answer last."""
        waiting = [message_id for message_id in self._asked if message_id not in self._arrived]
        if waiting:
            pulled = self._grid.pull_messages(waiting)
            self._arrived |= {reply.metadata.reply_to_message_id: reply for reply in pulled}
        if self._asked and len(self._arrived) == len(self._asked):
            replies = self._rewritten(list(self._asked.values()), list(self._arrived.values()))
            self._ready |= {reply.metadata.reply_to_message_id: reply for reply in replies}
            self._asked, self._arrived = {}, {}
        return [self._ready.pop(message_id) for message_id in message_ids if message_id in self._ready]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """The replies to `messages`, in the order of their nodes."""
        asked = list(messages)
        return self._rewritten(asked, list(self._grid.send_and_receive(asked, timeout=timeout)))

    def _rewritten(self, asked: Sequence[Message], replies: list[Message]) -> list[Message]:
        nodes = {message.metadata.message_id: message.metadata.dst_node_id for message in asked}
        replies.sort(key=lambda reply: nodes[reply.metadata.reply_to_message_id])
        usable = [reply for reply in replies if not reply.has_error()]
        liars = [reply for reply in usable if nodes[reply.metadata.reply_to_message_id] in self._hostile]
        honest = [reply for reply in usable if nodes[reply.metadata.reply_to_message_id] not in self._hostile]
        if self._collude is None or not liars or not honest or asked[0].metadata.message_type != MessageType.TRAIN:
            return replies

        sent = arrays_in(asked[0])
        updates = np.stack([vector(arrays_in(reply)) for reply in honest]) - vector(sent)
        if np.isfinite(updates).all():  # a model that has already diverged leaves nothing to collude about
            for reply, lie in zip(liars, self._collude(updates, len(liars)), strict=True):
                _replace_arrays(reply, moved(sent, lie))
        return replies


def arrays_in(message: Message) -> ArrayRecord:
    """The one array record of a message."""
    return next(iter(message.content.array_records.values()))


def vector(arrays: ArrayRecord) -> Floats:
    """All floating-point parameters of a model in one row, `(d,)`."""
    parameters = [array.numpy() for array in arrays.values()]
    return np.concatenate([p.ravel().astype(np.float64) for p in parameters if np.issubdtype(p.dtype, np.floating)])


def moved(arrays: ArrayRecord, update: Floats) -> ArrayRecord:
    """The model `arrays` with `update`, `(d,)`, added to its floating-point parameters, each in its own dtype."""
    result, start = ArrayRecord(), 0
    for key, array in arrays.items():
        parameter = array.numpy()
        if np.issubdtype(parameter.dtype, np.floating):
            step = update[start : start + parameter.size].reshape(parameter.shape)
            # A lie too long for the dtype becomes infinite, which is what such a client would send.
            with np.errstate(over="ignore"):
                parameter = np.asarray((parameter + step).astype(parameter.dtype))
            start += parameter.size
        result[key] = Array(parameter)
    return result


def _replace_arrays(reply: Message, arrays: ArrayRecord) -> None:
    key = next(iter(reply.content.array_records))
    reply.content[key] = arrays
