"""Connections: nobody is waited for who sends no request, and no address holds too many."""

from __future__ import annotations

import asyncio
import ipaddress

from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 20.0  # seconds in which a request must be there as a whole
MOST_OF_ONE = 200  # connections of one address that is no proxy's and not this machine's


class Connection(H11Protocol):
    """One that is closed where no whole request comes in time, or at once where its address holds too many."""

    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        if self._too_many():
            transport.close()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what was sent; while a request is being answered, nothing is waited for."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        super().connection_lost(exc)
        self._rest()

    def _watch(self) -> None:
        if self.cycle and not self.cycle.more_body and not self.cycle.response_complete:
            self._rest()
        elif self._end is None:
            self._end = self.loop.call_later(PATIENCE, self.transport.close)

    def _rest(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None

    def _too_many(self) -> bool:
        if self.client is None:
            return False
        address = self.client[0]
        held = sum(other.client is not None and other.client[0] == address for other in self.connections)
        return held > MOST_OF_ONE and not any(
            ipaddress.ip_address(address) in ipaddress.ip_network(proxy) for proxy in self.config.forwarded_allow_ips
        )
