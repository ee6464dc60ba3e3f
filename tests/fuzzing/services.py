"""Calls of the Operator and Aggregation services with what a fuzzer makes of requests, over a real connection."""

import atexit
import contextlib
import functools
import tempfile
import zlib
from pathlib import Path

import grpc
import numpy as np
from audit_rounds import SETTINGS, record_of, strange_record
from choices import Choices
from controlled import opening, pki, served
from google.protobuf.message_factory import GetMessageClass
from hawthorn.server.audit import Audit
from hawthorn.server.control import hawthorn_pb2 as pb
from hawthorn.server.control.limits import Limits
from hawthorn.server.control.remote import channel
from mutation import broken, mutate

DIMENSION = 6
SECONDS = 20.0
# what a caller may be told: never that the server does not know what happened, or that it is broken
TOLD = {
    *("OK", "CANCELLED", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED"),
    *("RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNAUTHENTICATED", "DATA_LOSS"),
}
ORDERS = {"Quarantine", "Release", "Pause", "Resume", "RollBack", "Stop"}  # each is written down, and stays


@functools.cache
def connected():
    """A server over an audit of two rounds, and a connection for each role; they end with the process."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    certificates = pki(folder / "pki").folder
    audit = stack.enter_context(Audit.open(folder / "audit.db"))
    with audit.run(SETTINGS, name="fuzzed") as run:
        run(record_of(1))
        run(strange_record(2))
    limits = Limits(chunk=1 << 12, clients=20, poll_seconds=0.01, watch_seconds=0.05, room=1 << 24)
    found = stack.enter_context(served(certificates, audit=audit, limits=limits))
    people = {"operator": "otto", "viewer": "vera", "aggregation": "flare"}
    return {
        role: stack.enter_context(channel(f"127.0.0.1:{found.port}", certificates, name))
        for role, name in people.items()
    }


def _methods():
    return [
        (service, method)
        for service in ("Operator", "Aggregation")
        for method in pb.DESCRIPTOR.services_by_name[service].methods
    ]


def fuzzed_calls(data):
    """Some calls of any methods; each is answered with a status that says what is wrong with the request."""
    choices = Choices(data)
    for _ in range(1 + choices.below(3)):
        service, method = choices.of(_methods())
        if method.name in ORDERS and choices.below(8):
            continue
        role = choices.of(("aggregation",) * 6 + ("viewer",)) if service == "Aggregation" else None
        opened = connected()[role or choices.of(("operator", "operator", "viewer", "aggregation"))]
        _call(opened, method, choices)


def _call(opened, method, choices):
    path, told = f"/hawthorn.v1.{method.containing_service.name}/{method.name}", None
    try:
        if method.name == "Round":
            _serialized_call(opened, "unary_unary", "/hawthorn.v1.Aggregation/Open", _open().SerializeToString())
            requests = [_bytes(one, choices) for one in _round(choices)]
            list(_serialized_call(opened, "stream_stream", path, iter(requests)))
        elif method.server_streaming:
            list(_serialized_call(opened, "unary_stream", path, _bytes(_request(method), choices)))
        else:
            _serialized_call(opened, "unary_unary", path, _bytes(_request(method), choices))
    except grpc.RpcError as error:
        told = error
    if told is not None:
        assert told.code().name in TOLD, f"{path}: {told.code().name}, {told.details()}"
        assert told.details() is None or len(told.details()) <= 2000


def _serialized_call(opened, kind, path, request):
    """A call with bytes as they are."""
    return getattr(opened, kind)(path)(request, timeout=SECONDS)


def _open():
    return opening(dimension=DIMENSION, clients=5)


def _request(method):
    if method.name == "Open":
        return _open()
    request = GetMessageClass(method.input_type)()
    for name, value in (("session", "s"), ("client", "3"), ("round", 1), ("rounds", 2)):
        field = method.input_type.fields_by_name.get(name)
        if field is not None and not field.is_repeated:
            setattr(request, name, value)
    return request


def _round(choices):
    """The requests of an honest round, in which some are gone, doubled or in another place."""
    rng = np.random.default_rng(1)
    requests = [pb.RoundRequest(begin=pb.Begin(session="s", round=choices.of((1, 2, 3))))]
    for client in range(5):
        data = rng.normal(size=DIMENSION).astype(np.float32).tobytes()
        requests.append(pb.RoundRequest(update=pb.Update(client=f"site-{client}")))
        requests.append(pb.RoundRequest(chunk=pb.Chunk(offset=0, data=data, crc32=zlib.crc32(data))))
    requests.append(pb.RoundRequest(end=pb.End()))
    for _ in range(choices.below(3)):
        at, to = choices.below(len(requests)), choices.below(len(requests))
        requests.insert(to, requests[at] if choices.below(2) else requests.pop(at))
    return requests


def _bytes(request, choices):
    """A request as it is sent: often as it should be, otherwise changed in its parts or in its bytes."""
    what = choices.below(6)
    if what < 4:
        for _ in range(what):
            mutate(request, choices)
        return request.SerializeToString()
    return broken(request.SerializeToString(), choices) if what == 4 else choices.bytes(choices.of((10, 100, 10_000)))
