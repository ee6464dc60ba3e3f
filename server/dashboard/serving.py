"""The application on a port, with TLS or on this machine alone."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from hawthorn.strategies.errors import SettingError

from ..audit import Audit
from ..certificates import Pair, remark
from ..metrics import Exposed
from .app import dashboard
from .connections import Connection
from .sessions import Sessions
from .shield import LOOPBACK
from .users import Users

STOPPING = 3  # seconds that answers have to end in


@dataclass(frozen=True)
class Place:
    """Where the page is: the address to listen at, its certificate, and the address by which browsers reach it.

    `public` is that of a proxy in front, such as https://fl.example.org; empty without one. `open` lets a port without
    TLS be reached from other machines, which otherwise is refused. `proxies` are addresses or networks of proxies on
    other machines that are believed from where a request came.
    """

    host: str
    port: int
    pair: Pair | None = None
    public: str = ""
    open: bool = False
    proxies: tuple[str, ...] = ()

    @classmethod
    def at(
        cls,
        listen: str,
        *,
        pair: Pair | None = None,
        public: str = "",
        open: bool = False,
        proxies: Collection[str] = (),
    ) -> Place:
        """The place that is written HOST:PORT; raises `SettingError` for one that is not safe."""
        host, _, port = listen.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not (port.isascii() and port.isdecimal() and int(port) < 2**16):
            raise SettingError(f"listen must be HOST:PORT, such as 127.0.0.1:8080, got {listen!r}")
        if public and not _is_origin(public):
            raise SettingError(f"public-url must be such as https://fl.example.org, without a path, got {public!r}")
        if pair is None and not open and not _is_loopback(host):
            raise SettingError(
                f"without TLS the page is for this machine alone, not for {host}: give --certificates DIR, listen at "
                "127.0.0.1, or write --without-tls where something else encrypts the way here"
            )
        if proxies and not public:
            raise SettingError("trusted-proxy goes with public-url, the address by which browsers come to the proxy")
        for proxy in proxies:
            if not _is_network(proxy):
                raise SettingError(f"trusted-proxy must be such as 10.0.0.2 or 10.0.0.0/24, got {proxy!r}")
        return cls(host, int(port), pair, public, open, tuple(proxies))

    @property
    def secure(self) -> bool:
        """Whether browsers come over TLS."""
        return self.pair is not None or self.public.startswith("https://")

    @property
    def hosts(self) -> Collection[str] | None:
        """The host names that browsers may ask for; None for any, where a certificate says which are right."""
        if self.public:
            return (*LOOPBACK, re.sub(r":\d+$", "", urlsplit(self.public).netloc))
        return LOOPBACK if _is_loopback(self.host) and self.pair is None else None

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        return _is_loopback(self.host) and not self.public

    @property
    def warning(self) -> str:
        """What is less safe about it than it could be; empty for nothing."""
        if self.hosts is None and self.pair is None:
            return "requests are answered under any host name: say with --public-url by which address browsers come"
        if self.public and not self.proxies and not _is_loopback(self.host):
            return "all who come through the proxy count as one when they log in: name its address with --trusted-proxy"
        return ""


class Served:
    """The dashboard, listening; `run` answers until `stop`, or until a signal comes."""

    def __init__(
        self, audit: Audit, users: Users | None, place: Place, sessions: Sessions, exposed: Exposed | None = None
    ) -> None:
        self._socket = _listening(place)
        self.port: int = self._socket.getsockname()[1]
        shown = f"[{place.host}]" if ":" in place.host else place.host
        self.url = place.public.rstrip("/") or f"{'https' if place.pair else 'http'}://{shown}:{self.port}"
        app = dashboard(audit, users, sessions=sessions, hosts=place.hosts, secure=place.secure, exposed=exposed)
        config = uvicorn.Config(
            app,
            http=Connection,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(place.public),
            forwarded_allow_ips=["127.0.0.1", "::1", *place.proxies],
            timeout_keep_alive=20,
            timeout_graceful_shutdown=STOPPING,
            limit_concurrency=1000,
            h11_max_incomplete_event_size=32 * 1024,
            ws="none",
        )
        config.load()
        if place.pair is not None:
            config.ssl = _context(place.pair)
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Answer until told to stop."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Let `run` return."""
        self._server.should_exit = True


def pair_of(certificates: str, name: str, certificate: str, key: str) -> Pair | None:
    """The certificate and key that options name: in a folder, or as two files; None where they name none."""
    if certificates and (certificate or key):
        raise SettingError("write either --certificates or --certificate with --key, not both")
    if bool(certificate) != bool(key):
        raise SettingError("--certificate and --key go together")
    if certificates:
        return Pair.named(certificates, name)
    return Pair(Path(certificate), Path(key)) if certificate else None


def expiry(pair: Pair | None) -> str:
    """What to know about the end of a certificate; empty for nothing."""
    return remark(pair.certificate) if pair else ""


def _context(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(pair.certificate, pair.key)
    except OSError as error:
        raise SettingError(f"cannot use the certificate {pair.certificate} with {pair.key}: {error}") from error
    return context


def _listening(place: Place) -> socket.socket:
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        opened = socket.socket(found[0], found[1])
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(found[4])
        opened.listen(256)
    except OSError as error:
        raise SettingError(f"cannot listen at {place.host}:{place.port}: {error.strerror or error}") from error
    return opened


def _is_origin(written: str) -> bool:
    """Whether it is the address of a whole host, which the page is served at the root of."""
    try:
        found = urlsplit(written)
        whole = found._replace(path="").geturl() == f"{found.scheme}://{found.netloc}" and found.port != 0
    except ValueError:
        return False
    return found.scheme in ("http", "https") and bool(found.hostname) and whole and found.path in ("", "/")


def _is_network(written: str) -> bool:
    try:
        ipaddress.ip_network(written)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
