"""What one server takes at most: calls, bytes, sessions and time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Limits of a server; sizes in bytes, times in seconds.

    `calls` are served at once, beside them `watches` that only tell and `rounds` that are being held, and no caller has
    more than half of each. A call without a deadline, or a later one, ends after `call_seconds`, or `round_seconds` or
    `watch_seconds` where it streams. A caller that neither sends what is due nor takes what it is sent for
    `stalled_seconds` loses its call, and a session without a round its room after `idle_seconds`. `room` is for the
    updates of all sessions together; of a session's, those above `memory` lie in a file in the directory `spool`.
    """

    calls: int = 48
    watches: int = 16
    rounds: int = 8
    connections: int = 256
    chunk: int = MIB
    call_seconds: float = 30.0
    round_seconds: float = 3600.0
    watch_seconds: float = 3600.0
    stalled_seconds: float = 60.0
    idle_seconds: float = 3600.0
    poll_seconds: float = 0.5
    sessions: int = 16
    sessions_each: int = 8
    clients: int = 1000
    room: int = 8 << 30
    memory: int | None = None
    spool: str | None = None
    page: int = 500

    @staticmethod
    def each(most: int) -> int:
        """How many calls of a kind one caller may have at once where there may be `most`."""
        return max(1, most // 2)

    @property
    def message(self) -> int:
        """The bytes of the largest message that is read: a chunk and what is around it."""
        return self.chunk + (64 << 10)

    def options(self) -> list[tuple[str, Any]]:
        """The same as options of a gRPC server."""
        return [
            ("grpc.max_receive_message_length", self.message),
            ("grpc.max_send_message_length", 16 * MIB),
            ("grpc.max_metadata_size", 16 << 10),
            ("grpc.absolute_max_metadata_size", 32 << 10),
            ("grpc.max_concurrent_streams", self.calls),
            ("grpc.max_allowed_incoming_connections", self.connections),
            ("grpc.server_handshake_timeout_ms", 20_000),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.http2.max_ping_strikes", 2),
            # a message of 64 KiB could unfold to one of 64 MiB; updates hardly compress
            ("grpc.compression_enabled_algorithms_bitset", 1),
            ("grpc.so_reuseport", 0),
        ]
