"""Requests of every wrong kind, one by one and all at once: a status for each, and a server that stays as it was."""

import gc
import logging
import random
import threading
import zlib
from collections import Counter

import grpc
import numpy as np
import process_memory as memory
import pytest
from controlled import opening, pki, served, service
from hawthorn.server.audit import Audit
from hawthorn.server.control import hawthorn_pb2 as pb
from hawthorn.server.control.limits import Limits
from hawthorn.server.control.remote import Service, received
from hawthorn.strategies import Defense
from hypothesis import given, settings
from hypothesis import strategies as st

SAID = {
    "INVALID_ARGUMENT",
    "FAILED_PRECONDITION",
    "NOT_FOUND",
    "RESOURCE_EXHAUSTED",
    "PERMISSION_DENIED",
    "UNIMPLEMENTED",
    "DEADLINE_EXCEEDED",
}
D = 6
METHODS = [
    (f"/hawthorn.v1.{name}/{method.name}", method)
    for name, found in sorted(pb.DESCRIPTOR.services_by_name.items())
    for method in found.methods
]


@pytest.fixture(scope="module", autouse=True)
def uncollected():
    """No collector comes by, as in a large process, and records of the log are kept: calls that are over are let go."""
    gc.collect()
    gc.disable()
    logger = logging.getLogger("hawthorn")
    level = logger.level
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(level)
    gc.enable()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pki(tmp_path_factory.mktemp("flood") / "pki").folder


@pytest.fixture(scope="module")
def found(folder, tmp_path_factory):
    where = tmp_path_factory.mktemp("flooded") / "audit.db"
    limits = Limits(chunk=64, clients=8, stalled_seconds=5, poll_seconds=0.05, watch_seconds=1.0)
    with Audit.open(where) as audit, served(folder, audit=audit, limits=limits) as server:
        yield server


@pytest.fixture(scope="module")
def aggregation(found, folder):
    with service(found, folder, "flare", "Aggregation") as opened:
        yield opened


def told(call):
    """The answer to a call, or None and the status that it ended with."""
    try:
        return call(), ""
    except grpc.RpcError as error:
        return None, error.code().name


def chunk(data, offset, crc):
    return pb.RoundRequest(chunk=pb.Chunk(offset=offset, data=data, crc32=zlib.crc32(data) if crc is None else crc))


whole = np.arange(D, dtype="<f4").tobytes()
data = st.one_of(st.binary(max_size=80), st.just(whole), st.just(whole[:10]), st.just(whole[10:]))
offset = st.one_of(st.just(0), st.sampled_from([4, 10, 24, 2**40, 2**64 - 1]))
weight = st.one_of(st.none(), st.floats())
part = st.one_of(
    st.builds(chunk, data, offset, st.one_of(st.none(), st.integers(0, 2**32 - 1))),
    st.builds(chunk, st.just(whole), st.just(0), st.none()),
    st.builds(
        lambda name, kind, weight: pb.RoundRequest(update=pb.Update(client=name, kind=kind, weight=weight)),
        st.one_of(st.sampled_from("abcdefghij"), st.text(max_size=210)),
        st.sampled_from([0, 0, 0, 1, 2, 9]),
        weight,
    ),
    st.sampled_from(["a", "b", "c"]).map(lambda name: pb.RoundRequest(update=pb.Update(client=name))),
    st.just(pb.RoundRequest(end=pb.End())),
    st.just(pb.RoundRequest()),
    st.builds(lambda number: pb.RoundRequest(begin=pb.Begin(session="s", round=number)), st.integers(0, 2**64 - 1)),
    st.binary(max_size=40),
)


@settings(max_examples=150)
@given(parts=st.lists(part, max_size=12), weighted=st.booleans())
def test_whatever_a_caller_sends_it_is_told_a_status_or_a_judgement(aggregation, parts, weighted):
    request = opening(defense="median", dimension=D, clients=4)
    if weighted:
        request = opening(defense="mean", dimension=D, clients=4, weighted=True)
    rounds = aggregation.call("Open", request).rounds
    requests = [pb.RoundRequest(begin=pb.Begin(session="s", round=rounds + 1)), *parts]
    sent = [one if isinstance(one, bytes) else one.SerializeToString() for one in requests]
    call = aggregation.channel.stream_stream("/hawthorn.v1.Aggregation/Round", None, pb.RoundReply.FromString)
    judged, refused = told(lambda: received(call(iter(sent), timeout=60), np.dtype("<f4")))
    aggregation.call("Forget", pb.ForgetRequest(session="s"))
    assert refused in SAID if judged is None else judged.aggregate is None or np.isfinite(judged.aggregate).all()


@settings(max_examples=100)
@given(
    request=st.builds(
        pb.OpenRequest,
        session=st.one_of(st.just("x"), st.text(max_size=70)),
        defense=st.one_of(
            st.text(max_size=40),
            st.sampled_from(["krum", "nnm | median", "fdr", "krum; f=3; policy=fdr(q=nan)", "|;|"]),
        ),
        share=st.floats(),
        dimension=st.integers(0, 2**64 - 1),
        numbers=st.integers(-5, 5),
        clients=st.integers(0, 2**32 - 1),
        weighted=st.booleans(),
        bounds=st.lists(st.integers(0, 2**64 - 1), max_size=4),
    )
)
def test_whatever_a_session_is_opened_for_it_is_opened_or_refused(aggregation, request):
    opened, refused = told(lambda: aggregation.call("Open", request))
    if opened is None:
        assert refused in SAID
    else:
        aggregation.call("Forget", pb.ForgetRequest(session=request.session))


def garbage(rng):
    """Bytes that are no message, or a message of something else."""
    kind = rng.randrange(3)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:
        return b"\x0a" + bytes([rng.randrange(1, 128)]) + rng.randbytes(rng.randrange(128))
    return pb.RoundRequest(chunk=pb.Chunk(offset=rng.getrandbits(64), data=rng.randbytes(64))).SerializeToString()


def test_a_flood_leaves_the_server_as_it_was(found, folder):
    said = Counter()

    def flood(seed):
        rng = random.Random(seed)
        with service(found, folder, rng.choice(["flare", "otto", "vera"]), "Aggregation") as opened:
            for _ in range(150):
                path, method = rng.choice(METHODS)
                requests = [garbage(rng) for _ in range(rng.randrange(1, 4) if method.client_streaming else 1)]
                call = opened.channel.stream_stream(path)(iter(requests), timeout=30)
                try:
                    for _ in call:
                        if rng.random() < 0.5:
                            call.cancel()
                    said["OK"] += 1
                except grpc.RpcError as error:
                    said[error.code().name] += 1

    def floods(seeds):
        threads = [threading.Thread(target=flood, args=(seed,)) for seed in seeds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    floods(range(4))  # what is loaded once is loaded now
    before, threads = memory.resident(), threading.active_count()
    floods(range(4, 12))
    gc.collect()
    assert said.keys() <= SAID | {"OK", "CANCELLED"}, said
    assert said["INVALID_ARGUMENT"] > 100
    assert said["PERMISSION_DENIED"] > 100
    assert memory.resident() - before < 20e6
    assert threading.active_count() <= threads + 60  # no more than the pool has
    assert not found.sessions
    rows = np.random.default_rng(0).normal(size=(5, D)).astype(np.float32)
    with service(found, folder, "flare", "Aggregation") as opened:
        opened.call("Open", opening(defense="median", dimension=D, clients=5))
        requests = [pb.RoundRequest(begin=pb.Begin(session="s", round=1))]
        for name, row in zip("abcde", rows, strict=True):
            requests += [pb.RoundRequest(update=pb.Update(client=name)), chunk(row.tobytes(), 0, None)]
        judged = received(opened.stream("Round", [*requests, pb.RoundRequest(end=pb.End())]), np.dtype("<f4"))
        opened.call("Forget", pb.ForgetRequest(session="s"))
    assert judged.aggregate.tobytes() == Defense("median")(rows).update.tobytes()


def begun(session):
    return pb.RoundRequest(begin=pb.Begin(session=session, round=1))


JUDGED = [
    begun("s"),
    pb.RoundRequest(update=pb.Update(client="a")),
    chunk(whole, 0, None),
    pb.RoundRequest(end=pb.End()),
]


@pytest.mark.parametrize(
    ("said", "method", "requests"),
    [
        ("", "Round", JUDGED),
        ("INVALID_ARGUMENT", "Round", [pb.RoundRequest()]),
        ("NOT_FOUND", "Round", [begun("none")]),
        ("", "Ask", pb.AskRequest(session="s", clients="a")),
        ("INVALID_ARGUMENT", "Open", pb.OpenRequest()),
        ("NOT_FOUND", "Ask", pb.AskRequest(session="none")),
        ("PERMISSION_DENIED", "Pause", pb.PauseRequest()),
    ],
)
def test_a_call_that_is_over_holds_no_stream_of_its_connection(found, aggregation, said, method, requests):
    aggregation.call("Open", opening(defense="median", dimension=D, clients=1))
    one = Service(aggregation.channel, "Operator") if method == "Pause" else aggregation
    call = (lambda: list(one.stream(method, requests))) if method == "Round" else (lambda: one.call(method, requests))
    for _ in range(3 * found.sessions.limits.calls):  # a connection may have a third of them at once
        assert told(call)[1] == said
    aggregation.call("Forget", pb.ForgetRequest(session="s"))
