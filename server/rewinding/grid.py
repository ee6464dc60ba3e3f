"""A Flower grid whose nodes are an archive: each answers with what its client sent in a round that is long over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flwr.app import ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from hawthorn.strategies import UpdateError
from hawthorn.strategies.flower import RoundRecord
from hawthorn.strategies.flower.layout import Model
from hawthorn.strategies.flower.record import Client

from ..audit import Audit
from .planning import Plan


@dataclass(frozen=True)
class Node:
    """A node as a grid tells of it; `row` is its client's place among the round's updates."""

    node_id: int
    client: Client
    row: int
    examples: float = 1.0


class ArchiveGrid(Grid):
    """The clients of a plan's steps, one step after the other: each answers what it is sent plus its retained update.

    Told of a round that is over (it is an observer of the strategy), it goes on to the next step.
    """

    def __init__(self, audit: Audit, plan: Plan) -> None:
        self.audit, self.plan = audit, plan
        self.place = 0
        self._run = Run.create_empty(run_id=1)
        self._sent = 0
        self._nodes = self._present()
        # Outside a run, no message can be made until these are set; the attributes are Flower's, and private.
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = self._run.run_id, 1, SUPERLINK_NODE_ID

    def __call__(self, record: RoundRecord) -> None:
        """Go on to the next step."""
        self.place += 1
        self._nodes = self._present()

    def _present(self) -> dict[int, Node]:
        """Who took part in the step and is not left out, by node."""
        if self.place >= len(self.plan.steps):
            return {}
        step = self.plan.steps[self.place]
        evidence = self.audit.evidence(step.run, step.round) or {}
        weights = evidence.get("weights")
        admitted = [one for one in self.audit.contributions(step.run, step.round) if one.admitted]
        nodes: dict[int, Node] = {}
        for row, one in enumerate(admitted):
            if one.client in step.without.union(self.plan.without):
                continue
            node = int(one.node) if one.node.isdecimal() else row + 2
            examples = 1.0 if weights is None else float(weights[row])
            nodes[node] = Node(node, Client(one.client, one.name), row, examples)
        return nodes

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """The replies to `messages`, one by one."""
        asked = list(messages)
        if not asked:
            return
        rows = self.plan.updates(self.audit, self.plan.steps[self.place])
        name, sent = next(iter(asked[0].content.array_records.items()))
        model = Model.sent(sent)
        for message in asked:
            node = self._nodes[message.metadata.dst_node_id]
            message.metadata.__dict__["_message_id"] = self._new_id()
            try:
                arrays = model.lawful(model.moved(rows[node.row]))
                reply = Message(_content(name, arrays, node), reply_to=message)
            except UpdateError as error:
                reply = Message(Error(ErrorCode.UNKNOWN, f"the update does not fit: {error}"), reply_to=message)
            reply.metadata.__dict__["_message_id"] = self._new_id()
            yield reply

    def get_nodes(self) -> list[Node]:  # pyright: ignore[reportIncompatibleMethodOverride]  # no keys, but who they are
        """The nodes of the step."""
        return list(self._nodes.values())

    def get_node_ids(self) -> list[int]:
        """Their ids."""
        return list(self._nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Not to be used: an archive answers at once."""
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Not to be used: an archive answers at once."""
        raise NotImplementedError

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """A message to one node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def set_run(self, run: Run) -> None:
        """Take `run` as the run that is answered for."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run that is answered for."""
        return self._run

    def _new_id(self) -> str:
        self._sent += 1
        return f"message-{self._sent}"


def _content(name: str, arrays: ArrayRecord, node: Node) -> RecordDict:
    return RecordDict({name: arrays, "metrics": MetricRecord({"num-examples": node.examples})})
