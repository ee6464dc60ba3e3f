"""What every request passes: the host and origin it names, the size of its body, and the headers of each answer."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 16 * 1024
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
    ]
)

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Shield:
    """The application behind it sees only requests that may be meant for it.

    `hosts` are the names under which it is reached, None for any. A page of another site, whose requests name another
    origin, may read nothing and change nothing; so may a name that somebody points at this machine.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] | None, secure: bool) -> None:
        self.app = app
        self.hosts = None if hosts is None else {host.casefold() for host in hosts}
        self.secure = secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if self.secure:
                    headers["strict-transport-security"] = "max-age=31536000"
                if "cache-control" not in headers:
                    headers["cache-control"] = "no-store"
            await send(message)

        refused = self._refused(scope["method"], Headers(scope=scope))
        if refused is not None:
            await refused(scope, receive, sending)
            return
        await self.app(scope, _limited(receive), sending)

    def _refused(self, method: str, headers: Headers) -> PlainTextResponse | None:
        host = headers.get("host", "")
        name = re.sub(r":\d+$", "", host).casefold()
        if self.hosts is not None and name not in self.hosts:
            return PlainTextResponse("this host is not served here: start with --public-url", 421)
        if method in ("GET", "HEAD", "OPTIONS"):
            return None
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and _place(origin) != host.casefold():
            return PlainTextResponse("asked by another origin", 403)
        if site not in (None, "same-origin", "none"):
            return PlainTextResponse("asked by another site", 403)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 9 or int(length) > LARGEST_BODY:
            return PlainTextResponse(f"a body has at most {LARGEST_BODY} bytes", 413)
        return None


def _place(origin: str) -> str:
    """The host and port of an origin; empty for what is none."""
    try:
        return urlsplit(origin).netloc.casefold()
    except ValueError:
        return ""


class TooLargeError(Exception):
    """A body that goes on beyond what is taken."""


def _limited(receive: Receive) -> Receive:
    """The same, which gives no more than a body may have: what has no length, or lies about it, ends there."""
    left = LARGEST_BODY

    async def receiving() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise TooLargeError
        return message

    return receiving
