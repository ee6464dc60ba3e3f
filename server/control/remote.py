"""The services as a program in Python calls them: a channel with a certificate, methods by name, a remote defense."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hawthorn.strategies import SettingError
from hawthorn.strategies.errors import ServiceError
from numpy.typing import NDArray

from ..certificates import Pair
from . import hawthorn_pb2 as pb
from .chunks import chunks_of
from .plan import DTYPES

SECONDS = 30.0  # that an answer may take
OPTIONS = [
    ("grpc.max_receive_message_length", 32 << 20),
    ("grpc.keepalive_time_ms", 30_000),  # a server that is gone is noticed while nothing is said
    ("grpc.keepalive_timeout_ms", 20_000),
]


@contextmanager
def channel(server: str, certificates: Path | str, name: str) -> Generator[grpc.Channel]:
    """A channel to `HOST:PORT`, as the holder of `NAME.crt` in a folder that has `ca.crt`; raises `SettingError`."""
    pair = Pair.named(certificates, name)
    try:
        root, key, certificate = (
            path.read_bytes() for path in (Path(certificates, "ca.crt"), pair.key, pair.certificate)
        )
    except OSError as error:
        raise SettingError(f"cannot read {error.filename}: {error.strerror}") from error
    credentials = grpc.ssl_channel_credentials(root, key, certificate)
    with grpc.secure_channel(server, credentials, OPTIONS) as opened:
        yield opened


@contextmanager
def explained(server: str = "the server") -> Generator[None]:
    """Turns what gRPC raises into a `ServiceError` in words."""
    try:
        yield
    except grpc.RpcError as error:
        code, details = error.code(), error.details()  # pyright: ignore[reportAttributeAccessIssue] - raised as a Call
        if code is grpc.StatusCode.UNAVAILABLE and "does not count" not in str(details):
            raise ServiceError(f"cannot reach {server}, or it does not take this certificate: {details}") from error
        raise ServiceError(f"{server} refused ({code.name}): {details}") from error


class Service:
    """The methods of one service behind a channel, by name."""

    def __init__(self, channel: grpc.Channel, service: str) -> None:
        self.channel, self.descriptor = channel, pb.DESCRIPTOR.services_by_name[service]

    def call(self, method: str, request: Message, seconds: float | None = SECONDS) -> Any:
        """The answer to one request, or an iterator over them; raises `grpc.RpcError`."""
        return self._method(method)(request, timeout=seconds)

    def stream(self, method: str, requests: Iterable[Message], seconds: float | None = None) -> Any:
        """An iterator over the answers to requests; raises `grpc.RpcError`."""
        return self._method(method)(iter(requests), timeout=seconds)

    def _method(self, name: str) -> Callable[..., Any]:
        method = self.descriptor.methods_by_name[name]
        kinds = {(False, False): "unary_unary", (False, True): "unary_stream", (True, True): "stream_stream"}
        kind = kinds[method.client_streaming, method.server_streaming]
        return getattr(self.channel, kind)(
            f"/{self.descriptor.full_name}/{name}",
            request_serializer=_serialized,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


@dataclass(frozen=True, eq=False)
class Judged:
    """One round as it came back: verdicts in the order of the updates, and the aggregate `(d,)` unless skipped."""

    verdicts: Sequence[pb.Verdict]
    refused: Mapping[str, str]
    aggregate: NDArray[Any] | None
    skipped: str
    quarantined: Sequence[str] = field(default_factory=list[str])


class RemoteDefense:
    """A session of the Aggregation service that goes on where it was, for servers that are written in Python.

    `settings` are the fields of `OpenRequest`, such as `dimension=10, clients=5, numbers=FLOAT32`. A round that broke
    off may be asked for again. Raises `ServiceError`.
    """

    def __init__(self, channel: grpc.Channel, session: str, **settings: Any) -> None:
        self.service, self.session = Service(channel, "Aggregation"), session
        self.dtype = np.dtype(DTYPES.get(settings.get("numbers", 0), "float32")).newbyteorder("<")
        with explained():
            self.opened: pb.OpenReply = self.service.call("Open", pb.OpenRequest(session=session, **settings))
        self.rounds = self.opened.rounds

    def asked(self, clients: Sequence[str]) -> list[str]:
        """Those of the clients that should be asked in the next round."""
        with explained():
            return list(self.service.call("Ask", pb.AskRequest(session=self.session, clients=clients)).clients)

    def round(
        self,
        updates: Iterable[tuple[str, NDArray[Any]]],
        *,
        weights: Mapping[str, float] | None = None,
        trusted: NDArray[Any] | None = None,
        model: NDArray[Any] | None = None,
        seconds: float | None = None,
    ) -> Judged:
        """What the next round came to; updates are taken one by one, as they are sent."""
        rows = {pb.Update.TRUSTED: trusted, pb.Update.MODEL: model}
        own = [(pb.Update(kind=kind), row) for kind, row in rows.items() if row is not None]
        begin = pb.RoundRequest(begin=pb.Begin(session=self.session, round=self.rounds + 1))

        def requests() -> Generator[pb.RoundRequest]:
            yield begin
            for update, row in own:
                yield from self._sent(update, row)
            for client, row in updates:
                weight = None if weights is None else weights[client]
                yield from self._sent(pb.Update(client=client, weight=weight), row)
            yield pb.RoundRequest(end=pb.End())

        with explained():
            judged = received(self.service.stream("Round", requests(), seconds), self.dtype)
        self.rounds += 1
        return judged

    def forget(self) -> None:
        """End the session, of which nothing is remembered."""
        with explained():
            self.service.call("Forget", pb.ForgetRequest(session=self.session))

    def _sent(self, update: pb.Update, row: NDArray[Any]) -> Generator[pb.RoundRequest]:
        yield pb.RoundRequest(update=update)
        for chunk in chunks_of(np.asarray(row, self.dtype), self.opened.chunk_bytes):
            yield pb.RoundRequest(chunk=chunk)


def received(replies: Iterable[pb.RoundReply], dtype: np.dtype[Any]) -> Judged:
    """A round's answer put together; raises `ServiceError` where bytes of it are missing or damaged."""
    judgement, content, there = pb.Judgement(), np.empty(0, np.uint8), 0
    for reply in replies:
        if reply.WhichOneof("part") == "judgement":
            judgement = reply.judgement
            content = np.empty(judgement.aggregate_bytes, np.uint8)
            continue
        data = reply.chunk.data
        if reply.chunk.offset != there or zlib.crc32(data) != reply.chunk.crc32 or there + len(data) > len(content):
            raise ServiceError("the aggregate was damaged on its way")
        content[there : there + len(data)] = np.frombuffer(data, np.uint8)
        there += len(data)
    if there != len(content):
        raise ServiceError(f"the aggregate was cut off after {there} of {len(content)} bytes")
    return Judged(
        judgement.verdicts,
        {one.client: one.reason for one in judgement.refused},
        content.view(dtype) if len(content) else None,
        judgement.skipped,
        list(judgement.quarantined),
    )
