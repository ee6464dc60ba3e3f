"""A round in which three clients of ten send what a fuzzer makes of their replies, on the way that real ones come."""

import functools
import json
import math
import random

import numpy as np
from choices import Choices
from flower_rounds import CLIENTS, honest, layout, sent_model
from flwr.app import ConfigRecord, Error, Message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.server.audit.values import metric_values, round_values, verdict_values
from hawthorn.strategies import Defense, RobustStrategy
from hawthorn.strategies.flower.admission import Admission
from hawthorn.strategies.flower.grid import StreamingGrid
from hawthorn.strategies.flower.layout import Model
from hawthorn.strategies.flower.metrics import capped, merged
from hawthorn.strategies.updates import Updates
from mutation import broken, mutate

HOSTILE = (101, 104, 110)  # first, somewhere and last
HONEST = 105
MODEL = Model.sent(sent_model())
LARGEST = 1 << 16  # of an input


class WireGrid(InProcessGrid):
    """A grid whose hostile nodes answer in bytes, which are decoded as they are pulled; then the SuperLink answers."""

    def __init__(self):
        super().__init__(honest, CLIENTS)
        self.wire = {}

    def push_messages(self, messages):
        return [message.metadata.message_id for message in messages]

    def pull_messages(self, message_ids):
        return [reply for name in message_ids for reply in self.wire[name]()]


class Kind:
    """Training or evaluation: the strategy after it has asked, what it asked, and the honest answers."""

    def __init__(self, kind):
        random.seed(1)
        self.kind, self.grid = kind, WireGrid()
        self.strategy = RobustStrategy(FedAvg(), Defense(f=0.3, reputation="sequential"))
        configure = getattr(self.strategy, f"configure_{kind}")
        self.asked = sorted(configure(1, sent_model(), ConfigRecord(), self.grid), key=lambda m: m.metadata.dst_node_id)
        super(WireGrid, self.grid).push_messages(self.asked)
        self.replies = super(WireGrid, self.grid).pull_messages([m.metadata.message_id for m in self.asked])
        self.protos = [message_to_proto(reply).SerializeToString() for reply in self.replies]
        self.record = None
        self.rows = {}
        if kind == "train":
            self.held({})
            nodes = list(self.strategy.last_round.verdicts)
            self.rows = dict(zip(nodes, self.strategy.rows.copy(), strict=True))
            assert set(nodes) == {message.metadata.dst_node_id for message in self.asked}

    def held(self, hostile):
        """What the strategy makes of the honest replies and of the hostile ones by node: functions that read them."""
        self.strategy.state = None
        return getattr(self.strategy, f"aggregate_{self.kind}")(1, self.pulled(hostile, self.asked))

    def pulled(self, hostile, asked):
        """The replies to some of the messages as they arrive."""
        for message, reply in zip(self.asked, self.replies, strict=True):
            ways = hostile.get(message.metadata.dst_node_id)
            honest = functools.partial(list, [reply])
            self.grid.wire[message.metadata.message_id] = honest if ways is None else _Once(ways, message)
        return StreamingGrid(self.grid).send_and_receive(asked)


class _Once:
    """What a hostile node sends the first time it is looked; after that the SuperLink says that it is dead."""

    def __init__(self, ways, asked):
        self.ways, self.asked = list(ways), asked

    def __call__(self):
        ways, self.ways = self.ways, []
        if not ways:
            return [Message(Error(3, "dead"), reply_to=self.asked)]
        return [way() for way in ways]


@functools.cache
def kind_of(name):
    return Kind(name)


def fuzzed_round(data):
    """Replies taken in, or a whole round; whatever the bytes are, nothing is raised and all that is promised holds."""
    choices = Choices(data[:LARGEST])
    what = choices.below(16)
    kind = kind_of("evaluate" if what == 1 else "train")
    hostile = {node: [_way(kind, node, choices) for _ in range(choices.of((1, 1, 1, 2, 4)))] for node in HOSTILE}
    if what == 0:
        _check(kind, *kind.held(hostile))
    elif what == 1:
        json.dumps(metric_values(1, kind.held(hostile), "clients/"), allow_nan=False).encode()
    else:
        _check_admission(kind, hostile)


def _check_admission(kind, hostile):
    """The hostile replies and one honest one, without the judgement of a whole round, which takes ten times as long."""
    asked = [message for message in kind.asked if message.metadata.dst_node_id in (*HOSTILE, HONEST)]
    admission = Admission(MODEL, asked, Updates(len(asked), len(MODEL.row)), "num-examples")
    for reply in kind.pulled(hostile, asked):
        admission.admit(reply)
    admission.close()
    assert np.isfinite(admission.rows).all()
    rows = {one.node: row for one, row in zip(admission.admitted, admission.rows, strict=True)}
    assert np.array_equal(rows[HONEST], kind.rows[HONEST]), "the row of an honest node was changed"
    assert set(rows) | set(admission.refused) >= set(HOSTILE)
    _check_reasons(admission.refused)
    metrics = merged(
        [one.claims for one in admission.admitted], capped([one.examples for one in admission.admitted]), "n"
    )
    json.dumps(metric_values(1, metrics, "training/"), allow_nan=False).encode()
    assert math.isfinite(metrics["n"])


def _check_reasons(refused):
    assert all(0 < len(reason) <= 500 and reason.isprintable() for reason in refused.values()), refused


def _check(kind, arrays, metrics):
    strategy, record = kind.strategy, kind.strategy.last_round
    assert record.skipped is None, record.skipped
    assert layout(arrays) == layout(sent_model())
    assert all(np.isfinite(array.numpy()).all() for array in arrays.values())
    found = dict(zip(record.verdicts, strategy.rows, strict=True))
    assert np.isfinite(strategy.rows).all()
    for node, row in kind.rows.items():
        if node not in HOSTILE:
            assert np.array_equal(found[node], row), f"the row of honest node {node} was changed"
    _check_reasons(record.refused)
    # it can be written down, whatever clients said
    rounds = {name: one for name, one in round_values(record).items() if not isinstance(one, bytes)}
    json.dumps([rounds, verdict_values(record, None), metric_values(1, metrics, "training/")], allow_nan=False).encode()


def _way(kind, node, choices):
    """How one hostile reply is read: from the bytes of a message, or of the objects that it is made of."""
    place = node - kind.asked[0].metadata.dst_node_id
    what = choices.below(10)
    if what == 0:
        return functools.partial(_decoded, choices.bytes(choices.of((100, 1000, 10_000))))
    proto = ProtoMessage.FromString(choices.of((kind.protos[place], kind.protos[(place + 1) % CLIENTS])))
    for _ in range(choices.below(6)):
        mutate(proto, choices)
    if what < 6:
        return functools.partial(_decoded, proto.SerializeToString())
    if what == 6:
        return functools.partial(_decoded, broken(proto.SerializeToString(), choices))
    return functools.partial(_inflated, proto, choices.bytes(64))


def _decoded(data):
    return message_from_proto(ProtoMessage.FromString(data))


def _inflated(proto, changes):
    """The reply as the HTTP grid puts it together, after changes of the objects that it is made of."""
    message = message_from_proto(proto)
    contents = {name: one.deflate() for name, one in get_all_nested_objects(message).items()}
    choices = Choices(changes)
    for _ in range(choices.below(4)):
        name = choices.of(list(contents))
        content = contents[name]
        if b"arraychunk_ids" in content and choices.often():
            many = b"[%s0]" % (b"0, " * choices.of((0, 1, 50, 60_000)))
            body = content[: content.index(b"\0")], content.partition(b"\0")[2].replace(b"[0]", many)
            content = b"%s %d\0%s" % (body[0].rpartition(b" ")[0], len(body[1]), body[1])
        contents[name] = content if choices.often() else broken(content, choices)
    return inflate_object_from_contents(message.object_id, contents)
