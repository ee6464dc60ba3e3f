"""A grid around any grid that knows who is hostile: what the hostile send together, or a round without them.

A colluding attack needs the honest clients' updates, which no single client has; so it happens here, between the
clients and the server, the same way whatever grid is underneath. So do attacks on the messages, because a client can
send one reply only. Everything else passes through unchanged.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Error, Message, MessageType, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from hawthorn.client.assignment import server_round
from hawthorn.client.attacks import Knowledge
from hawthorn.client.vectors import moved, vector
from numpy.typing import NDArray

Floats = NDArray[np.float64]
State = Mapping[str, Any] | None
Collusion = Callable[[Floats, Floats, Knowledge], tuple[Floats, State]]
"""Honest updates `(h, d)`, the hostile clients' own `(f, d)` and what they know -> what they send, `(f, d)`, and what
they remember."""

Forge = Callable[[Message, int], list[Message]]
"""A hostile client's reply and the round -> the replies that arrive in its place."""


class SimulatedGrid(Grid):
    """The nodes of `grid`, of which those in `hostile` send what `collude` makes of their updates and the honest ones.

    Without `collude` the hostile reply as they will; what `forge` makes of their replies arrives instead of these; with
    `honest_only` they are not asked at all. Replies come in the order of their nodes once all of a push have arrived,
    so that sums do not depend on who was first.
    """

    def __init__(
        self,
        grid: Grid,
        hostile: frozenset[int],
        *,
        collude: Collusion | None = None,
        forge: Forge | None = None,
        honest_only: bool = False,
    ) -> None:
        self._grid = grid
        self._hostile = hostile
        self._collude = collude
        self._forge = forge
        self._honest_only = honest_only
        self._asked: dict[str, Message] = {}
        self._arrived: dict[str, list[Message]] = {}
        self._ready: dict[str, list[Message]] = {}
        self._remembered: State = None
        self._sent_before: Floats | None = None

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
            for reply in self._grid.pull_messages(waiting):
                self._arrived.setdefault(reply.metadata.reply_to_message_id, []).append(reply)
        if self._asked and len(self._arrived) == len(self._asked):
            self._ready |= self._rewritten(list(self._asked.values()), self._arrived)
            self._asked, self._arrived = {}, {}
        return [reply for message_id in message_ids for reply in self._ready.pop(message_id, [])]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """The replies to `messages`, in the order of their nodes."""
        asked, arrived = list(messages), dict[str, list[Message]]()
        for reply in self._grid.send_and_receive(asked, timeout=timeout):
            arrived.setdefault(reply.metadata.reply_to_message_id, []).append(reply)
        return [reply for replies in self._rewritten(asked, arrived).values() for reply in replies]

    def _rewritten(self, asked: Sequence[Message], arrived: Mapping[str, list[Message]]) -> dict[str, list[Message]]:
        """The replies to each message, in the order of the nodes, once the hostile have had their way with theirs."""
        nodes = {message.metadata.message_id: message.metadata.dst_node_id for message in asked}
        replies = {name: arrived[name] for name in sorted(arrived, key=nodes.__getitem__)}
        if not asked or asked[0].metadata.message_type != MessageType.TRAIN:
            return replies
        if self._collude is not None:
            self._collude_in(asked[0], nodes, replies, self._collude)
        if self._forge is None:
            return replies
        number = server_round(asked[0])
        forged = dict(replies)
        for name, answers in replies.items():
            if nodes[name] in self._hostile:
                found = [lie for reply in answers for lie in self._forge(reply, number)]
                heard = any(lie.metadata.src_node_id == nodes[name] for lie in found)
                forged[name] = found if heard else [*found, _silence(answers[0])]
        return forged

    def _collude_in(
        self, message: Message, nodes: Mapping[str, int], replies: Mapping[str, list[Message]], collude: Collusion
    ) -> None:
        """Put what the colluders send in the round of a message into their replies."""
        sent = arrays_in(message)
        start, before = vector(sent), self._sent_before
        self._sent_before = start
        usable = {nodes[name]: answers[0] for name, answers in replies.items() if not answers[0].has_error()}
        liars = [node for node in usable if node in self._hostile]
        others = [node for node in usable if node not in self._hostile]
        if not liars:
            return
        updates = {node: vector(arrays_in(reply)) - start for node, reply in usable.items()}
        if not all(np.isfinite(update).all() for update in updates.values()):
            return  # a model that has already diverged leaves nothing to collude about
        honest, own = (np.array([updates[node] for node in group]).reshape(-1, len(start)) for group in (others, liars))
        everyone, hostile = sorted(self._grid.get_node_ids()), sorted(self._hostile)
        knowledge = Knowledge(
            round=server_round(message),
            clients=len(everyone),
            hostile=len(hostile),
            members=tuple(hostile.index(node) for node in liars),
            others=tuple(everyone.index(node) for node in others),
            sent=start,
            moved=None if before is None else start - before,
            own=own,
            state=self._remembered,
        )
        lies, self._remembered = collude(honest, own, knowledge)
        for node, lie in zip(liars, lies, strict=True):
            _replace_arrays(usable[node], moved(sent, lie))


def arrays_in(message: Message) -> ArrayRecord:
    """The one array record of a message."""
    return next(iter(message.content.array_records.values()))


def _replace_arrays(reply: Message, arrays: ArrayRecord) -> None:
    key = next(iter(reply.content.array_records))
    reply.content[key] = arrays


def _silence(reply: Message) -> Message:
    """What Flower's SuperLink says once it has waited long enough for a reply that never comes."""
    metadata = copy.copy(reply.metadata)
    error = Error(ErrorCode.MESSAGE_UNAVAILABLE, "no reply")
    return Message(error=error, metadata=metadata)  # pyright: ignore[reportCallIssue]  # Flower's own way, untold
