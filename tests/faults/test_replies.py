"""Replies that are late, come twice, are too large or unfold without end: refused with a reason, memory bounded."""

import json
import resource
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from flower_rounds import asked, sent_model
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedResponse, PullObjectRequest, PullObjectResponse
from flwr.proto.runtime_pb2 import PullAppMessagesResponse
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.run import Run
from flwr.superlink.grid.http_grid import HttpGrid
from hawthorn.client.attacks.forging import forged, with_array
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.strategies import Defense, RobustStrategy
from hawthorn.strategies.flower.grid import StreamingGrid
from hawthorn.strategies.flower.inflating import BESIDE

MIB = 1 << 20


def peak():
    """The most memory in bytes that this process has taken."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def strategy():
    return RobustStrategy(FedAvg(), Defense("median", f=0.3))


def test_replies_of_an_earlier_round_count_for_nothing():
    robust = strategy()
    late = asked(robust)
    robust.aggregate_train(1, late)
    now = asked(robust, server_round=2)
    fresh = [forged(one, reply_to_message_id=f"{one.metadata.reply_to_message_id}+") for one in late]
    robust.aggregate_train(2, [*fresh, *now])
    assert len(robust.last_round.verdicts) == 10
    assert all("nothing that was asked this round" in reason for reason in robust.last_round.refused.values())
    assert len(robust.last_round.refused) == 10


def test_a_flood_of_copies_is_one_vote():
    robust = strategy()
    replies = asked(robust)
    (poison,) = with_array(replies[0], lambda array: -100 * array)
    robust.aggregate_train(1, [*[forged(poison) for _ in range(500)], *replies[1:]])
    record = robust.last_round
    assert len(record.verdicts) == 10
    assert record.refused == {101: "a second reply; the first one counts"}


class Pulled(InProcessGrid):
    """A grid whose first node's reply is put together from objects as the HTTP grid does."""

    def __init__(self, app, contents):
        super().__init__(app, 3)
        self.contents = contents

    def pull_messages(self, message_ids):
        return [self._rebuilt(reply) for reply in super().pull_messages(message_ids)]

    def _rebuilt(self, reply):
        if reply.metadata.src_node_id != 101:
            return reply
        objects = {name: one.deflate() for name, one in get_all_nested_objects(reply).items()}
        rebuilt = inflate_object_from_contents(reply.object_id, self.contents(objects))
        rebuilt.metadata.__dict__["_message_id"] = reply.metadata.message_id
        return rebuilt


def repeated(times):
    """The objects of a reply in which one chunk of an array is named so many times."""

    def contents(objects):
        for name, content in objects.items():
            if content.startswith(b"Array ") and b"weight" not in content:
                head, _, body = content.partition(b"\0")
                told = json.loads(body)
                told["arraychunk_ids"] = told["arraychunk_ids"] * times
                body = json.dumps(told).encode()
                objects[name] = b"%s %d\0%s" % (head.rpartition(b" ")[0], len(body), body)
                break
        return objects

    return contents


def replying(size):
    def app(message, context):
        arrays = ArrayRecord({"w": Array(np.ones(size, np.float32))})
        return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    return app


@pytest.mark.parametrize("times", [1, 100_000], ids=["once", "a hundred thousand times"])
def test_an_array_whose_chunk_is_named_again_and_again_is_given_up_before_it_unfolds(times):
    size = 250_000  # a chunk of 1 MB: 100 GB
    robust = RobustStrategy(FedAvg(min_available_nodes=3), Defense("median", f=1))
    grid = StreamingGrid(Pulled(replying(size), repeated(times)))
    messages = robust.configure_train(1, ArrayRecord({"w": Array(np.zeros(size, np.float32))}), ConfigRecord(), grid)
    before = peak()
    robust.aggregate_train(1, grid.send_and_receive(messages))
    assert len(robust.last_round.verdicts) == (3 if times == 1 else 2)
    if times > 1:
        assert "unfold" in robust.last_round.refused[101]
        assert peak() - before < 100 * MIB


def test_a_pulled_reply_may_have_a_multiple_of_the_model_and_no_more():
    small = _pulled(kilobytes=1)
    large = _pulled(kilobytes=BESIDE // 1024 + 1000)
    assert small.has_content()
    assert large.has_error()
    assert "larger than" in large.error.reason


def _pulled(kilobytes):
    """What comes of a reply of so many kilobytes, pulled by Flower's own grid from a server that speaks as a SuperLink.

    Flower takes whatever it is sent: the bound is ours.
    """
    grid = InProcessGrid(lambda message, context: message, 1)
    (message,) = [grid.create_message(RecordDict({"arrays": sent_model()}), "train", 101, "1")]
    message.metadata.__dict__["_message_id"] = message.object_id
    content = RecordDict({"arrays": sent_model(), "note": ConfigRecord({"text": b"x" * 1024 * kilobytes})})
    reply = Message(content, reply_to=message)
    objects = {name: one.deflate() for name, one in get_all_nested_objects(reply).items()}
    proto = message_to_proto(reply)
    proto.metadata.message_id = reply.object_id
    proto.ClearField("content")

    class SuperLink(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            answer = ConfirmMessageReceivedResponse()
            if self.path.endswith("pull-messages"):
                trees = [get_object_tree(reply)]
                answer = PullAppMessagesResponse(messages_list=[proto], message_object_trees=trees)
            elif self.path.endswith("pull-object"):
                name = PullObjectRequest.FromString(body).object_id
                answer = PullObjectResponse(object_found=True, object_available=True, object_content=objects[name])
            data = answer.SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    class Asking(HttpGrid):
        def push_messages(self, messages):
            return [one.metadata.message_id for one in messages]

    with ThreadingHTTPServer(("127.0.0.1", 0), SuperLink) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            asking = Asking(f"127.0.0.1:{server.server_address[1]}", insecure=True, token="t")
            asking._retry_invoker.max_tries = 3  # a thread that still pulls when the server is gone must end
            asking.set_run(Run.create_empty(run_id=1))
            (found,) = StreamingGrid(asking).send_and_receive([message])
            asking.close()
        finally:
            server.shutdown()
            thread.join()
    return found


HEADERS = """
import sys, threading
from hawthorn.strategies.flower.arrays import header
def refused(text):
    try:
        header(b"\\x93NUMPY\\x01\\x00" + len(text).to_bytes(2, "little") + text)
    except ValueError:
        print("refused", flush=True)
def all_of_them():
    for text in (b"-" * 3900 + b"1", b"~" * 3900, b"(" * 199 + b")" * 199, b"{1:" * 1000, b"not " * 900 + b"1"):
        refused(text)
        refused(b"{'descr': '<f4', 'fortran_order': False, 'shape': " + text[:3900] + b"}")
threading.stack_size(256 * 1024)
thread = threading.Thread(target=all_of_them)
thread.start()
thread.join()
"""


def test_no_array_header_overflows_the_stack_of_a_thread():
    ended = subprocess.run([sys.executable, "-c", HEADERS], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"ended by signal {-ended.returncode}: {ended.stderr}"
    assert ended.stdout.split() == ["refused"] * 10
