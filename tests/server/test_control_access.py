"""Who gets in, and what is answered to whom does not: certificates, roles, limits, and messages that are none."""

import queue
import re
import socket
import subprocess
import sys
import threading
import time
import zlib
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from controlled import opening, pki, refused, served, service
from google.protobuf import descriptor_pb2
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from hawthorn.server.audit import Audit
from hawthorn.server.certificates import ROLES, Authority, described
from hawthorn.server.control import hawthorn_pb2 as pb
from hawthorn.server.control.access import READING
from hawthorn.server.control.limits import Limits
from hawthorn.server.control.remote import channel
from hawthorn.server.control.serving import serving
from hawthorn.strategies import Defense, SettingError

CONTROL = Path(__file__).parents[2] / "server" / "control"
SERVICES = pb.DESCRIPTOR.services_by_name
METHODS = [
    (f"/hawthorn.v1.{name}/{method.name}", method) for name in sorted(SERVICES) for method in SERVICES[name].methods
]
WHO = {"viewer": "vera", "operator": "otto", "aggregation": "flare"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return pki(tmp_path_factory.mktemp("access") / "pki")


@pytest.fixture(scope="module")
def found(authority, tmp_path_factory):
    audit = tmp_path_factory.mktemp("empty") / "audit.db"
    with Audit.open(audit) as opened, served(authority.folder, audit=opened) as server:
        yield server


@pytest.fixture(scope="module")
def hasty(authority, tmp_path_factory):
    """A server that waits a tenth of a second for what is due."""
    audit = tmp_path_factory.mktemp("hasty") / "audit.db"
    with (
        Audit.open(audit) as opened,
        served(authority.folder, audit=opened, limits=Limits(stalled_seconds=0.1)) as server,
    ):
        yield server


def raw(found, authority, name, method, *requests, metadata=(), **options):
    """The answers to bytes, as somebody sends them."""
    with channel(f"127.0.0.1:{found.port}", authority.folder, name) as opened:
        call = opened.stream_stream(method, request_serializer=None, response_deserializer=None)
        return list(call(iter(requests), timeout=20, metadata=metadata, **options))


def called(found, authority, name, method, request=b""):
    """The status that a request to a method comes to, by default an empty one."""
    try:
        raw(found, authority, name, method, request)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("path", "method"), METHODS, ids=[path for path, _ in METHODS])
def test_a_role_may_call_what_it_may_and_nothing_else(found, authority, role, path, method):
    service = path.split("/")[1].rpartition(".")[2]
    may = (
        role == "aggregation"
        if service == "Aggregation"
        else role == "operator" or (role == "viewer" and method.name in READING)
    )
    status = called(found, authority, WHO[role], path)
    if may:
        # an empty request, or an audit without runs: whatever is wrong, it is not the caller
        assert status in {"OK", "NOT_FOUND", "INVALID_ARGUMENT"}
    else:
        assert status == "PERMISSION_DENIED"


def test_every_method_is_some_roles_and_orders_are_the_operators_alone():
    orders = {method.name for _, method in METHODS if method.output_type.name == "OrderReply"}
    assert orders == {"Quarantine", "Release", "Pause", "Resume", "RollBack", "Stop"}
    assert not orders & READING
    assert {method.name for method in SERVICES["Operator"].methods} == orders | READING


def test_a_certificate_without_a_role_is_nobodys(found, authority):
    pair = authority.server("other-server", ["localhost"])
    with pytest.raises(grpc.RpcError):  # a server's certificate is not for clients: the handshake fails
        raw(found, authority, pair.key.stem, METHODS[0][0], b"")


def test_without_a_certificate_nobody_gets_in(found, authority):
    credentials = grpc.ssl_channel_credentials((authority.folder / "ca.crt").read_bytes())
    with grpc.secure_channel(f"127.0.0.1:{found.port}", credentials) as opened:
        for method in ("/hawthorn.v1.Operator/Runs", "/grpc.health.v1.Health/Check"):
            with refused("UNAVAILABLE"):
                opened.unary_unary(method)(b"", timeout=20)
    with grpc.insecure_channel(f"127.0.0.1:{found.port}") as opened, refused("UNAVAILABLE"):
        opened.unary_unary("/hawthorn.v1.Operator/Runs")(b"", timeout=20)


def test_another_authoritys_certificate_is_not_believed(found, authority, tmp_path):
    other = Authority.made(tmp_path / "other")
    other.client("otto", "operator")
    (other.folder / "ca.crt").write_bytes((authority.folder / "ca.crt").read_bytes())
    with refused("UNAVAILABLE"):
        raw(found, other, "otto", "/hawthorn.v1.Operator/Runs", b"")


def test_a_server_of_another_authority_is_not_believed(found, tmp_path):
    other = pki(tmp_path / "other")
    with refused("UNAVAILABLE"):
        raw(found, other, "otto", "/hawthorn.v1.Operator/Runs", b"")


def test_an_expired_certificate_is_refused_at_the_door(found, authority):
    authority.client("late", "operator", days=-1)
    with refused("UNAVAILABLE"):
        raw(found, authority, "late", "/hawthorn.v1.Operator/Runs", b"")


def test_a_certificate_that_expires_on_an_open_connection_is_refused_there(found, authority):
    pair = authority.client("soon", "viewer", days=4 / 86400)
    with service(found, authority.folder, "soon", "Operator") as opened:
        assert list(opened.call("Runs", pb.RunsRequest()).runs) == []
        while described(pair.certificate).days_left > 0:
            time.sleep(0.1)
        with refused("UNAUTHENTICATED", "'soon' has expired"):
            opened.call("Runs", pb.RunsRequest())


def test_a_revoked_certificate_ends_with_its_next_call_of_any_service(found, authority):
    authority.client("stolen", "operator")
    with service(found, authority.folder, "stolen", "Operator") as opened:
        assert list(opened.call("Runs", pb.RunsRequest()).runs) == []
        authority.revoke("stolen")
        with refused("UNAUTHENTICATED", "revoked"):
            opened.call("Runs", pb.RunsRequest())
        with refused("UNAUTHENTICATED", "revoked"):
            health_pb2_grpc.HealthStub(opened.channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    for end in ("crt", "key"):
        (authority.folder / f"stolen.{end}").unlink()
    authority.client("stolen", "operator")  # another key
    assert called(found, authority, "stolen", "/hawthorn.v1.Operator/Runs") == "OK"


def test_a_certificate_that_was_renewed_before_it_was_revoked_is_refused_in_every_form(found, authority):
    pair = authority.client("renewed", "operator")
    old = pair.certificate.read_bytes()
    authority.renewed("renewed")
    authority.revoke("renewed")
    assert called(found, authority, "renewed", "/hawthorn.v1.Operator/Runs") == "UNAUTHENTICATED"
    pair.certificate.write_bytes(old)
    assert called(found, authority, "renewed", "/hawthorn.v1.Operator/Runs") == "UNAUTHENTICATED"


def test_a_renewed_server_certificate_is_taken_up_without_a_restart(tmp_path):
    authority = pki(tmp_path / "pki")
    (authority.folder / "server.crt").unlink()
    authority.server("server", ["127.0.0.1"], days=5 / 86400)
    with served(authority.folder) as found:
        while described(authority.folder / "server.crt").days_left > 0:
            time.sleep(0.1)
        assert called(found, authority, "flare", "/hawthorn.v1.Aggregation/Open") == "UNAVAILABLE"
        authority.renewed("server")
        assert called(found, authority, "flare", "/hawthorn.v1.Aggregation/Open") == "INVALID_ARGUMENT"


def test_a_server_warns_of_its_certificates_end_also_while_it_runs(tmp_path, monkeypatch):
    authority = pki(tmp_path / "pki")
    (authority.folder / "server.crt").unlink()
    authority.server("server", ["127.0.0.1"], days=5)
    warned = threading.Semaphore(0)
    monkeypatch.setattr("hawthorn.server.control.serving.LOOKED", 0.0)
    monkeypatch.setattr("hawthorn.server.control.serving.logger.warning", lambda _words: warned.release())
    with served(authority.folder):
        assert all(warned.acquire(timeout=30) for _ in range(3))  # the first is that of the start


GARBAGE = [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x08" * 40, b"\x0b" * 2000, b"\x0a\x02\xc3\x28"]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize(("path", "method"), METHODS, ids=[path for path, _ in METHODS])
def test_bytes_that_are_no_message_are_an_invalid_argument(found, authority, path, method, garbage):
    name = "flare" if "Aggregation" in path else "otto"
    # some of these bytes are an empty request with unknown fields, which is a message
    assert called(found, authority, name, path, garbage) in {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}


def test_an_unknown_method_is_unimplemented(found, authority):
    for path in ("/hawthorn.v1.Operator/Delete", "/hawthorn.v2.Operator/Status", "/"):
        assert called(found, authority, "otto", path) == "UNIMPLEMENTED"


def test_a_server_without_an_audit_has_no_operator_service(authority):
    with served(authority.folder) as found:
        assert called(found, authority, "otto", "/hawthorn.v1.Operator/Runs") == "UNIMPLEMENTED"


def test_what_is_compressed_or_too_large_is_not_unfolded(found, authority):
    path, bomb = "/hawthorn.v1.Aggregation/Open", pb.OpenRequest(defense="x" * (64 << 20)).SerializeToString()
    with pytest.raises(grpc.RpcError) as caught:
        raw(found, authority, "flare", path, bomb, compression=grpc.Compression.Gzip)
    assert caught.value.code().name in {"UNIMPLEMENTED", "INTERNAL", "RESOURCE_EXHAUSTED"}
    assert "ompress" in caught.value.details() or "larger" in caught.value.details()
    with refused("RESOURCE_EXHAUSTED", "larger than max"):
        raw(found, authority, "flare", path, bomb[: 2 << 20])
    with pytest.raises(grpc.RpcError):
        raw(found, authority, "flare", path, b"", metadata=[("x-note", "a" * 100_000)])
    assert called(found, authority, "flare", path) == "INVALID_ARGUMENT"  # it is there still


def test_noise_on_the_port_harms_nobody(found, authority):
    for noise in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\xff\xff" + b"\0" * 5000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", found.port), timeout=20) as open_socket:
            open_socket.sendall(noise)
    assert called(found, authority, "flare", "/hawthorn.v1.Aggregation/Open") == "INVALID_ARGUMENT"


def test_a_fault_of_the_servers_own_is_internal_and_tells_nothing(found, authority, monkeypatch, caplog):
    def broken(*_):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(type(found.sessions), "open", broken)
    with service(found, authority.folder, "flare", "Aggregation") as opened, refused("INTERNAL", "its log says how"):
        opened.call("Open", opening())
    assert "ZeroDivisionError: secret" in caplog.text


def test_streams_that_only_tell_are_limited(authority):
    with (
        served(authority.folder, limits=Limits(watches=2)) as found,
        channel(f"127.0.0.1:{found.port}", authority.folder, "vera") as opened,
        channel(f"127.0.0.1:{found.port}", authority.folder, "otto") as other,
    ):
        health = health_pb2_grpc.HealthStub(opened)
        both = health, health_pb2_grpc.HealthStub(other)
        calls = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=60) for stub in both]
        assert {next(call).status for call in calls} == {health_pb2.HealthCheckResponse.SERVING}
        with refused("RESOURCE_EXHAUSTED", "too many calls of this kind (watch) at once"):
            list(health.Watch(health_pb2.HealthCheckRequest(), timeout=60))
        calls[0].cancel()
        while True:  # the server hears of it a little later
            call = health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
            try:
                next(call)
                break
            except grpc.RpcError:
                time.sleep(0.05)


def test_a_stream_that_only_tells_ends_some_day(authority):
    with (
        served(authority.folder, limits=Limits(watch_seconds=0.5)) as found,
        channel(f"127.0.0.1:{found.port}", authority.folder, "vera") as opened,
        refused("CANCELLED"),
    ):
        list(health_pb2_grpc.HealthStub(opened).Watch(health_pb2.HealthCheckRequest()))


@pytest.mark.parametrize("who", WHO.values())
def test_health_is_told_to_every_role(found, authority, who):
    with channel(f"127.0.0.1:{found.port}", authority.folder, who) as opened:
        health = health_pb2_grpc.HealthStub(opened)
        for name in ("", "hawthorn.v1.Operator", "hawthorn.v1.Aggregation"):
            reply = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=20)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        with refused("NOT_FOUND"):
            health.Check(health_pb2.HealthCheckRequest(service="hawthorn.v1.Other"), timeout=20)


def test_a_program_that_knows_only_the_address_holds_a_round_by_reflection(found, authority):
    from google.protobuf.descriptor_pool import DescriptorPool

    rows = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    with channel(f"127.0.0.1:{found.port}", authority.folder, "openfl") as opened:
        database = ProtoReflectionDescriptorDatabase(opened)
        names = {"hawthorn.v1.Operator", "hawthorn.v1.Aggregation", "grpc.health.v1.Health"}
        assert names < set(database.get_services())
        described_service = DescriptorPool(database).FindServiceByName("hawthorn.v1.Aggregation")
        methods = described_service.methods_by_name

        def message(name, **fields):
            return GetMessageClass(methods[name].input_type)(**fields)

        def call(name, kind, request):
            return getattr(opened, kind)(
                f"/hawthorn.v1.Aggregation/{name}",
                lambda one: one.SerializeToString(),
                GetMessageClass(methods[name].output_type).FromString,
            )(request, timeout=20)

        request = message("Open", session="r", defense="median", dimension=7, numbers=1, clients=5)
        call("Open", "unary_unary", request)
        parts = [{"begin": {"session": "r", "round": 1}}]
        for place, row in enumerate(rows):
            data = row.tobytes()
            parts += [{"update": {"client": str(place)}}, {"chunk": {"data": data, "crc32": zlib.crc32(data)}}]
        parts += [{"end": {}}]
        judged, chunk = call("Round", "stream_stream", iter([message("Round", **part) for part in parts]))
    assert [verdict.client for verdict in judged.judgement.verdicts] == list("01234")
    assert chunk.chunk.data == Defense("median")(rows).update.tobytes()


def test_the_generated_code_is_that_of_the_proto(tmp_path):
    grpc_tools = pytest.importorskip("grpc_tools", reason="grpcio-tools compiles the proto")
    assert grpc_tools
    arguments = [
        "-I",
        str(CONTROL),
        f"--python_out={tmp_path}",
        f"--pyi_out={tmp_path}",
        str(CONTROL / "hawthorn.proto"),
    ]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=True)
    for name in ("hawthorn_pb2.py", "hawthorn_pb2.pyi"):
        assert (tmp_path / name).read_text() == (CONTROL / name).read_text(), "run `make proto`"


def test_the_proto_gives_no_number_twice_and_says_what_its_units_are():
    file = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    for message in file.message_type:
        numbers = [field.number for field in message.field]
        assert sorted(numbers) == list(range(1, len(numbers) + 1)), message.name
    text = (CONTROL / "hawthorn.proto").read_text()
    assert not re.search(r"= \d+;.*\t", text)


@pytest.mark.parametrize(
    ("listen", "words"),
    [
        ("9443", "HOST:PORT"),
        ("localhost:x", "HOST:PORT"),
        ("127.0.0.1:99999", "HOST:PORT"),
        ("192.0.2.1:0", "cannot listen"),
    ],
)
def test_an_address_that_cannot_be_is_refused_at_the_start(authority, listen, words):
    with pytest.raises(SettingError, match=words), serving(listen, authority.folder):
        pass


def test_a_port_is_served_once(found, authority):
    with pytest.raises(SettingError, match="cannot listen"), serving(f"127.0.0.1:{found.port}", authority.folder):
        pass


def test_certificates_that_are_not_there_are_missed_at_the_start(tmp_path, authority):
    with pytest.raises(SettingError, match=r"cannot read .*server\.crt"), serving("127.0.0.1:0", tmp_path):
        pass
    with pytest.raises(SettingError, match="cannot read"), channel("127.0.0.1:1", authority.folder, "nobody"):
        pass


def test_connections_are_limited(authority):
    with served(authority.folder, limits=Limits(connections=2)) as found, ExitStack() as held:
        status = []
        for who in ("vera", "otto", "flare", "openfl"):  # a channel each, and a connection each
            opened = held.enter_context(channel(f"127.0.0.1:{found.port}", authority.folder, who))
            try:
                health_pb2_grpc.HealthStub(opened).Check(health_pb2.HealthCheckRequest(), timeout=20)
                status.append("OK")
            except grpc.RpcError as error:
                status.append(error.code().name)
        assert status == ["OK", "OK", "UNAVAILABLE", "UNAVAILABLE"]


SILENT = [*(path for path, _ in METHODS), "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"]
SILENT += ["/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"]


@contextmanager
def silent(found, authority, name, method, number=1):
    """Calls of somebody who sends nothing, not even that there is nothing to come."""
    go_on = threading.Event()

    def nothing():
        go_on.wait(60)
        yield from ()

    with channel(f"127.0.0.1:{found.port}", authority.folder, name) as opened:
        calls = [opened.stream_stream(method)(nothing(), timeout=60) for _ in range(number)]
        yield calls
        go_on.set()


@pytest.mark.parametrize("path", SILENT)
def test_who_may_not_call_is_told_before_anything_is_sent(found, authority, path):
    name = path.replace("/", "-").strip("-")
    authority.client(name, "viewer")
    authority.revoke(name)
    with silent(found, authority, name, path) as (call,), refused("UNAUTHENTICATED", "revoked"):
        next(call)


@pytest.mark.parametrize("path", SILENT)
def test_who_may_call_and_sends_nothing_loses_its_call(hasty, authority, path):
    name = "flare" if "Aggregation" in path else "otto"
    with silent(hasty, authority, name, path) as (call,), refused("DEADLINE_EXCEEDED", "nothing was sent"):
        next(call)


@pytest.mark.parametrize("path", [path for path in SILENT if not path.endswith(("Round", "Info"))])
def test_a_call_that_ends_without_a_request_is_told_so(found, authority, path):
    with refused("INVALID_ARGUMENT", "without a request"):
        raw(found, authority, "flare" if "Aggregation" in path else "otto", path)


def test_garbage_for_the_health_and_reflection_services_is_an_invalid_argument(found, authority):
    for path in SILENT[-3:]:
        assert called(found, authority, "vera", path, b"\xff") == "INVALID_ARGUMENT"


def test_nobody_has_more_than_half_of_the_calls(authority, tmp_path):
    limits = Limits(calls=4, watches=2, rounds=2)
    with Audit.open(tmp_path / "audit.db") as audit, served(authority.folder, audit=audit, limits=limits) as found:
        for path, who, other, least in [
            ("/hawthorn.v1.Operator/Runs", "vera", "otto", 2),
            ("/hawthorn.v1.Operator/Watch", "vera", "otto", 1),
            ("/hawthorn.v1.Aggregation/Round", "flare", "openfl", 1),
        ]:
            with silent(found, authority, who, path, least + 1) as calls:
                first = queue.SimpleQueue()
                for call in calls:
                    call.add_done_callback(first.put)
                over = first.get(timeout=30)
                assert over.code().name == "RESOURCE_EXHAUSTED"
                assert f"of '{who}' at once" in over.details()
                assert called(found, authority, other, path) in {"OK", "NOT_FOUND", "INVALID_ARGUMENT"}
