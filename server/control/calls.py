"""The gate before every call: who calls, how many at once, for how long, and what is answered to whatever fails."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from grpc import StatusCode

from .access import Access, Caller
from .limits import Limits
from .refusal import Gone, Refusal, refusal_of

logger = logging.getLogger(__name__)

ROUND = "/hawthorn.v1.Aggregation/Round"
TICK = 0.25  # seconds between two looks for calls that are stuck


class Call:
    """One call on its way: whose it is, and how long it may take."""

    def __init__(self, context: Any, caller: Caller, method: str, kind: str, seconds: float) -> None:
        asked = context.time_remaining()
        self.context, self.caller, self.method, self.kind = context, caller, method, kind
        self.ends = time.monotonic() + min(seconds, seconds if asked is None else max(asked, 0.0))
        self.sending: float | None = None
        self._over = threading.Event()
        if not context.add_callback(self._over.set):
            self._over.set()

    @property
    def remaining(self) -> float:
        """Seconds that are left; negative afterwards."""
        return self.ends - time.monotonic()

    def check(self) -> None:
        """Raise `Refusal` when the time is over, and `Gone` when the caller has left."""
        if not self.context.is_active():
            raise Gone("the caller has left")
        if self.remaining <= 0:
            raise Refusal(StatusCode.DEADLINE_EXCEEDED, "the call has taken too long")

    def wait(self, seconds: float) -> None:
        """Wait so long, or until the call is over."""
        self._over.wait(min(seconds, max(self.remaining, 0.0)))

    def received(self, requests: Iterator[bytes], stalled: float) -> Generator[bytes]:
        """The requests as they come, one read ahead; raises `Refusal` where none comes for `stalled` seconds."""
        ahead: queue.Queue[bytes | None] = queue.Queue(maxsize=1)
        over = threading.Event()
        arguments = requests, ahead, over
        threading.Thread(target=_read, args=arguments, name="hawthorn-reader", daemon=True).start()
        try:
            while True:
                self.check()
                try:
                    request = ahead.get(timeout=max(min(stalled, self.remaining), 0.001))
                except queue.Empty:
                    self.check()
                    raise Refusal(StatusCode.DEADLINE_EXCEEDED, f"nothing was sent for {stalled:g} seconds") from None
                if request is None:
                    return
                yield request
        finally:
            over.set()


def _read(requests: Iterator[bytes], ahead: queue.Queue[bytes | None], over: threading.Event) -> None:
    """Put requests into the queue as there is room, and None after the last one."""

    def put(request: bytes | None) -> None:
        while not over.is_set():
            try:
                ahead.put(request, timeout=TICK)
                return
            except queue.Full:
                continue

    try:
        for request in requests:
            put(request)
    except Exception as error:  # however a call breaks off, it is over
        error.__traceback__ = None  # gRPC keeps the error with the call, and its frames would keep the call
        logger.debug("a call broke off: %s", type(error).__name__)
    put(None)


class Gate(grpc.ServerInterceptor):
    """Lets a call in if its caller may and there is room for it, and turns whatever it raises into a status.

    Nothing of a call is read before it is let in, so every method is a stream of requests to gRPC, which would wait for
    a single one with a thread of the pool. Methods of ours, whose `requests` are given by full name, get a decoded
    request, or an iterator over them, and a `Call`; those of the health and reflection services get a context of gRPC's
    instead. Use as a context manager: a thread of its own ends calls that are stuck, and calls `sweep` now and then.
    """

    def __init__(
        self, access: Access, limits: Limits, requests: dict[str, type[Message]], sweep: Callable[[], None]
    ) -> None:
        self.access, self.limits, self.requests, self.sweep = access, limits, requests, sweep
        self._most = {"round": limits.rounds, "watch": limits.watches, "call": limits.calls}
        self._calls: set[Call] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._overseer = threading.Thread(target=self._oversee, name="hawthorn-overseer", daemon=True)

    def __enter__(self) -> Gate:
        self._overseer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._overseer.join()

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """The handler of a method behind the gate; None for a method that does not exist."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method = str(handler_call_details.method)
        if handler.response_streaming:
            wrapped, make = self._streaming(method, handler), grpc.stream_stream_rpc_method_handler
        else:
            wrapped, make = self._answering(method, handler), grpc.stream_unary_rpc_method_handler
        return make(wrapped, None, handler.response_serializer)  # pyright: ignore[reportUnknownVariableType] - bytes

    def _answering(self, method: str, handler: Any) -> Callable[[Iterator[bytes], Any], Any]:
        behavior = handler.unary_unary or handler.stream_unary

        def answer(requests: Iterator[bytes], context: Any) -> Any:
            with (
                self._entered(method, context, "call", self.limits.call_seconds) as call,
                self._arguments(handler, requests, call) as arguments,
            ):
                return behavior(*arguments)

        return answer

    def _streaming(self, method: str, handler: Any) -> Callable[[Iterator[bytes], Any], Any]:
        behavior = handler.unary_stream or handler.stream_stream
        kind = "round" if method == ROUND else "watch"
        seconds = self.limits.round_seconds if kind == "round" else self.limits.watch_seconds

        def stream(requests: Iterator[bytes], context: Any) -> Generator[Any]:
            with (
                self._entered(method, context, kind, seconds) as call,
                self._arguments(handler, requests, call) as arguments,
            ):
                for reply in behavior(*arguments):
                    call.sending = time.monotonic()
                    yield reply  # comes back when the reply is on its way: no second one waits in memory
                    call.sending = None

        return stream

    @contextmanager
    def _arguments(self, handler: Any, requests: Iterator[bytes], call: Call) -> Generator[tuple[Any, Any]]:
        """What a method is called with: its one request, or an iterator over them."""
        ours = self.requests.get(call.method)
        parse = handler.request_deserializer if ours is None else ours.FromString
        with closing(call.received(requests, self.limits.stalled_seconds)) as received:
            if handler.request_streaming:
                argument = (_decoded(parse, request) for request in received)
            else:
                request = next(received, None)
                received.close()  # nothing more is waited for
                if request is None:
                    raise Refusal(StatusCode.INVALID_ARGUMENT, "the call ended without a request")
                argument = _decoded(parse, request)
            yield argument, call.context if ours is None else call

    @contextmanager
    def _entered(self, method: str, context: Any, kind: str, seconds: float) -> Generator[Call]:
        """A call that is let in; what goes wrong then or later ends it with a status."""
        try:
            caller = self.access.caller(context, method)
            call = Call(context, caller, method, kind, seconds)
            self._admit(call)
            try:
                yield call
            finally:
                with self._lock:
                    self._calls.discard(call)
        except Exception as error:
            if isinstance(error, Gone) or not context.is_active():
                context.abort(StatusCode.CANCELLED, "the caller has left")  # nobody is told
            context.abort(*_told(method, error))

    def _admit(self, call: Call) -> None:
        """Count a call in; raises `Refusal` where there are too many of its kind, or too many of one caller's."""
        most = self._most[call.kind]
        with self._lock:
            same = [other for other in self._calls if other.kind == call.kind]
            own = sum(other.caller.name == call.caller.name for other in same)
            if len(same) < most and own < self.limits.each(most):
                self._calls.add(call)
                return
        whose = "" if len(same) >= most else f" of {call.caller.name!r}"
        words = f"too many calls of this kind ({call.kind}){whose} at once: try later"
        raise Refusal(StatusCode.RESOURCE_EXHAUSTED, words)

    def _oversee(self) -> None:
        """End calls whose callers take nothing, or that are long over, until the gate is closed."""
        while not self._closed.wait(TICK):
            now = time.monotonic()
            with self._lock:
                calls = list(self._calls)
            for call in calls:
                stuck = call.sending is not None and now - call.sending > self.limits.stalled_seconds
                if stuck or call.remaining < -2 * TICK:
                    logger.warning("%s of %s is ended: it is stuck", call.method, call.caller.name)
                    call.context.cancel()
            try:
                self.sweep()
            except Exception:
                logger.exception("the overseer failed, and goes on")


def _told(method: str, error: Exception) -> tuple[StatusCode, str]:
    """The status that an error ends a call with, and its words, logged.

    No frame that the error has passed may keep it, nor a record of the log: that would hold the call's HTTP/2 stream
    until Python's collector comes by, and of a connection that seems to have too many gRPC refuses the next ones.
    """
    refusal = refusal_of(error)
    words = str(refusal)[:1000]
    if refusal.code is StatusCode.INTERNAL:
        logger.error("%s failed", method, exc_info=error)
    else:
        logger.info("%s: %s, %s", method, refusal.code.name, words)
    return refusal.code, words


def _decoded(parse: Callable[[bytes], Any], request: bytes) -> Any:
    """A request as a message; raises `Refusal` for bytes that are none."""
    try:
        return parse(request)
    except (DecodeError, ValueError, RecursionError) as error:
        raise Refusal(StatusCode.INVALID_ARGUMENT, "these bytes are no message that this method takes") from error


def handlers(service: str, descriptor: Any, methods: dict[str, Callable[[Any, Call], Any]]) -> Any:
    """The gRPC handlers of a service: raw bytes in, because the gate decodes, and messages out."""
    made: dict[str, Any] = {}
    for method in descriptor.methods:
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[method.client_streaming, method.server_streaming]
        made[method.name] = make(methods[method.name], None, _serialized)
    return grpc.method_handlers_generic_handler(service, made)


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
