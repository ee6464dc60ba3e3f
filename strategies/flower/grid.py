"""A grid that hands over replies one by one as they arrive, so that a round holds one of them at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import Any

import httpx
from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid

from .admission import SUPERLINK, shown
from .inflating import Allowance, bounded

logger = logging.getLogger(__name__)

SHORTEST_PAUSE = 0.02  # seconds between two looks for replies, doubled while none comes
LONGEST_PAUSE = 2.0
UNREADABLE = 0  # flwr's code for an unknown error


class StreamingGrid(Grid):
    """A Flower grid whose `send_and_receive` yields each reply as it arrives; all else is the wrapped grid's.

    Flower's own grids collect the whole round first, and pull all that is ready in one call, in which one malformed
    reply loses the others. Here each reply is pulled alone, and one that cannot be read, or is several times as large
    as what was sent, becomes an error reply. A grid that cannot push and pull is asked through its own
    `send_and_receive`.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """The replies to `messages` as they arrive, until all have come or `timeout` seconds have passed."""
        sent = list(messages)  # a generator would be empty the second time a grid walks it
        if not sent:
            return iter(())
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            pushed = list(self.grid.push_messages(sent) or ())
        except NotImplementedError:
            pushed = []
        if not pushed:
            return iter(self.grid.send_and_receive(sent, timeout=timeout))
        by_id = {message.metadata.message_id: message for message in sent}
        return self._replies({name: by_id[name] for name in pushed if name in by_id}, deadline)

    def _replies(self, waiting: dict[str, Message], deadline: float | None) -> Iterator[Message]:
        pause = SHORTEST_PAUSE
        while waiting and (deadline is None or time.monotonic() < deadline):
            arrived = False
            for name in list(waiting):
                asked = waiting[name]
                for reply in self._pulled(asked):  # several can lie there
                    arrived = True
                    if _is_final(reply, asked):
                        waiting.pop(name, None)
                    yield reply
                    del reply  # the next one must not arrive beside it
            pause = SHORTEST_PAUSE if arrived else min(2 * pause, LONGEST_PAUSE)
            if waiting and not arrived:
                time.sleep(pause)

    def _pulled(self, asked: Message) -> Iterable[Message]:
        """What has come in answer to one message, an error reply in the place of one that cannot be read."""
        try:
            with bounded(self.grid, Allowance.of(asked)):
                return [_of(reply, asked) for reply in self.grid.pull_messages([asked.metadata.message_id])]
        except (httpx.TransportError, ConnectionError):
            raise  # the SuperLink is gone, which is no client's doing
        except Exception as error:  # whatever a client's bytes can make go wrong while they are read
            text = f"the reply cannot be read: {type(error).__name__}: {shown(str(error))}"
            return [Message(Error(UNREADABLE, text), reply_to=asked)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def set_run(self, run: Any) -> None:
        """Set the run of the wrapped grid."""
        self.grid.set_run(run)

    @property
    def run(self) -> Any:
        """The run of the wrapped grid."""
        return self.grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """A message made by the wrapped grid."""
        return self.grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """The ids of the connected nodes."""
        return self.grid.get_node_ids()

    def get_nodes(self) -> Any:
        """What is known of the connected nodes."""
        return self.grid.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """The ids of the messages, which are now on their way."""
        return self.grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that have come to the named messages."""
        return self.grid.pull_messages(message_ids)


def _of(reply: Message, asked: Message) -> Message:
    """The reply, or an error of the same sender in the place of one that says to answer another message.

    What is inside a reply is its sender's word, and with the number of another client's message it would be that one's.
    """
    if reply.metadata.reply_to_message_id == asked.metadata.message_id:
        return reply
    stray = Message(Error(UNREADABLE, "the reply answers another message than the one it came for"), reply_to=asked)
    stray.metadata.__dict__["_src_node_id"] = reply.metadata.src_node_id
    return stray


def _is_final(reply: Message, asked: Message) -> bool:
    """Whether no other reply to the same message has to be waited for: the client or the SuperLink has answered."""
    claimed = reply.metadata.src_node_id
    return claimed == asked.metadata.dst_node_id or (claimed == SUPERLINK and reply.has_error())
