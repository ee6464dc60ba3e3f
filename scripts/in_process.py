"""A Flower grid whose nodes live in this process: the real ClientApp, no network, the same bits every time."""

from collections.abc import Callable, Iterable
from logging import getLogger

from flwr.app import Context, Error, Message, RecordDict
from flwr.app.user_config import UserConfig
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

_log = getLogger(__name__)

# Any id but the SuperLink's own (1): errors made up for dead nodes carry that one.
_FIRST_NODE_ID = 101


class InProcessGrid(Grid):
    """A grid of `nodes` clients, each a call of `app`; node ids ascend with the partition ids.

    Messages are answered one after the other as they are pushed. As in Flower, a node keeps its `Context` from message
    to message, and an exception in the app becomes an error reply (code 2), never an exception here.
    """

    def __init__(
        self, app: Callable[[Message, Context], Message], nodes: int, run_config: UserConfig | None = None
    ) -> None:
        self._app = app
        self._run = Run.create_empty(run_id=1)
        self._replies: dict[str, Message] = {}
        self._sent = 0
        # Outside a run, no message can be made until these are set; the attributes are Flower's, and private.
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = self._run.run_id, 1, SUPERLINK_NODE_ID
        self._contexts = {
            _FIRST_NODE_ID + partition: Context(
                run_id=self._run.run_id,
                node_id=_FIRST_NODE_ID + partition,
                node_config={"partition-id": partition, "num-partitions": nodes},
                state=RecordDict(),
                run_config=dict(run_config or {}),
            )
            for partition in range(nodes)
        }

    def set_run(self, run: Run) -> None:
        """Take `run` as the run that is answered for."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run that is answered for."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """A message to one node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """The ids of all nodes, in the order of their partitions."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """The ids of the messages, each answered by the time this returns."""
        ids: list[str] = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = self._new_id()
            ids.append(message.metadata.message_id)
            self._replies[message.metadata.message_id] = self._reply(message)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies to those messages, each handed out once."""
        return [self._replies.pop(message_id) for message_id in message_ids if message_id in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """The replies to `messages`, in their order; `timeout` is moot, as nobody can be late."""
        return self.pull_messages(self.push_messages(messages))

    def _new_id(self) -> str:
        self._sent += 1
        return f"message-{self._sent}"

    def _reply(self, message: Message) -> Message:
        context = self._contexts[message.metadata.dst_node_id]
        try:
            reply = self._app(message, context)
        except Exception as error:  # whatever a client's code does wrong is that client's error, as in Flower
            _log.debug("the client app failed on node %d", context.node_id, exc_info=error)
            reply = Message(
                Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, f"{type(error)}:<'{error}'>"), reply_to=message
            )
        reply.metadata.__dict__["_message_id"] = self._new_id()
        return reply
