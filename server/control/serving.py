"""A server of the control services: TLS with client certificates, health checking and reflection."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import OVERALL_HEALTH, SERVICE_NAME, HealthServicer
from grpc_reflection.v1alpha import reflection
from hawthorn.strategies import SettingError

from ..audit import Audit
from ..certificates import Pair, remark
from .access import Access
from .aggregation import Aggregation
from .calls import Gate, handlers
from .hawthorn_pb2 import DESCRIPTOR
from .keeping import Shelf
from .limits import Limits
from .operating import Operator
from .sessions import Sessions

logger = logging.getLogger(__name__)

LOOKED = 86400.0  # seconds between two looks at when the certificates end
GRACE = 5.0  # seconds that calls have to end when the server stops


@dataclass(frozen=True)
class Served:
    """A server that answers at `port`; `sessions` are those of its Aggregation service."""

    port: int
    server: grpc.Server
    sessions: Sessions


@contextmanager
def serving(
    listen: str,
    certificates: Path | str,
    *,
    audit: Audit | None = None,
    name: str = "server",
    state: Path | str | None = None,
    limits: Limits | None = None,
) -> Generator[Served]:
    """A server at `HOST:PORT` (port 0: any that is free) until the context ends; raises `SettingError`.

    `certificates` is a folder with `ca.crt`, `NAME.crt` and `NAME.key`; renewed ones are taken up by new connections.
    Operator is served where there is an `audit`; sessions of Aggregation outlive the server in the folder `state`.
    """
    limits = limits or Limits()
    pair, authority = Pair.named(certificates, name), Path(certificates, "ca.crt")
    _warn(pair, authority)
    shelf = None if state is None else Shelf(state)
    sessions = Sessions(limits, shelf)
    methods: dict[str, dict[str, Any]] = {"Aggregation": Aggregation(sessions, limits).methods()}
    if audit is not None:
        methods["Operator"] = Operator(audit, limits).methods()
    gate = Gate(Access(certificates), limits, _requests(methods), _sweeping(sessions, pair, authority))
    most = limits.calls + limits.watches + limits.rounds
    with shelf or nullcontext(), gate, ThreadPoolExecutor(most, thread_name_prefix="hawthorn-call") as pool:
        server = grpc.server(pool, interceptors=[gate], options=limits.options(), maximum_concurrent_rpcs=most)
        health = _add_services(server, methods)
        port = _bound(server, listen, _credentials(pair, authority))
        server.start()
        try:
            yield Served(port, server, sessions)
        finally:
            health.enter_graceful_shutdown()
            server.stop(GRACE).wait()


def _warn(pair: Pair, authority: Path) -> None:
    for path in (pair.certificate, authority):
        if told := remark(path):
            logger.warning(told)


def _sweeping(sessions: Sessions, pair: Pair, authority: Path) -> Callable[[], None]:
    """What is done now and then: idle sessions end, and once a day certificates are looked at again."""
    looked = time.monotonic()

    def sweep() -> None:
        nonlocal looked
        sessions.sweep()
        if time.monotonic() - looked >= LOOKED:
            looked = time.monotonic()
            _warn(pair, authority)

    return sweep


def _requests(methods: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The class of each method's requests, by full method name."""
    return {
        f"/{DESCRIPTOR.package}.{service}/{method.name}": GetMessageClass(method.input_type)
        for service in methods
        for method in DESCRIPTOR.services_by_name[service].methods
    }


def _add_services(server: grpc.Server, methods: dict[str, dict[str, Any]]) -> HealthServicer:
    names = [f"{DESCRIPTOR.package}.{service}" for service in methods]
    for service, full in zip(methods, names, strict=True):
        made = handlers(full, DESCRIPTOR.services_by_name[service], methods[service])
        server.add_generic_rpc_handlers((made,))
    health = HealthServicer(experimental_non_blocking=False)  # its streams go through the gate like all others
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    for name in (OVERALL_HEALTH, *names):
        health.set(name, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection((*names, SERVICE_NAME, reflection.SERVICE_NAME), server)
    return health


def _bound(server: grpc.Server, listen: str, credentials: grpc.ServerCredentials) -> int:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise SettingError(f"listen must be HOST:PORT, such as 127.0.0.1:0, got {listen!r}")
    try:
        bound = server.add_secure_port(listen, credentials)
    except RuntimeError as error:
        raise SettingError(f"cannot listen at {listen}: is the port taken, or the host not this machine's?") from error
    return bound


def _credentials(pair: Pair, authority: Path) -> grpc.ServerCredentials:
    """Credentials that ask for a client certificate, from files that are read again when they were replaced."""
    read = _read(pair, authority)
    latest = [read[0]]

    def renewed() -> Any:
        try:
            stamp, configuration = _read(pair, authority)
        except SettingError as error:
            logger.error("the certificates stay as they were: %s", error)
            return None
        if stamp == latest[0]:
            return None
        latest[0] = stamp
        return configuration

    return grpc.dynamic_ssl_server_credentials(read[1], renewed, require_client_authentication=True)


def _read(pair: Pair, authority: Path) -> tuple[tuple[bytes, ...], Any]:
    """The files' content and what gRPC makes of it; raises `SettingError`."""
    try:
        key, certificate, root = (path.read_bytes() for path in (pair.key, pair.certificate, authority))
    except OSError as error:
        raise SettingError(f"cannot read {error.filename}: {error.strerror}") from error
    return (key, certificate, root), grpc.ssl_server_certificate_configuration([(key, certificate)], root)
