"""The door: who asks, by the cookie of their session, and how a session begins and ends."""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from .pages import login_page
from .sessions import Session, Sessions, Throttle
from .users import User, matches, nobody

logger = logging.getLogger(__name__)

AT_ONCE = 2  # passwords that are hashed at the same time
WAITING = 16  # that may wait for it; beyond, who tries is sent away


class Door:
    """Lets people in. `secure` says that the way here is encrypted, so that the cookie may take no other."""

    def __init__(self, sessions: Sessions, *, secure: bool) -> None:
        self.sessions, self.secure = sessions, secure
        clock = sessions.clock
        # A name alone is free to fail more often: nobody is to lock another out from a machine of their own.
        self._limits = {
            "pair": Throttle(5, clock=clock),
            "address": Throttle(20, clock=clock),
            "name": Throttle(50, longest=60, clock=clock),
        }
        self._hashing = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    def session(self, request: Request) -> Session | None:
        """The session of who asks."""
        token = request.cookies.get(self._cookie(request), "")
        return self.sessions.find(token) if token else None

    def meant(self, request: Request, session: Session) -> bool:
        """Whether a request carries the session's own token, which no other site can know."""
        return hmac.compare_digest(request.headers.get("x-csrf-token", "").encode(), session.csrf.encode())

    async def page(self, request: Request) -> Response:
        """The page on which to log in."""
        return RedirectResponse("/", 303) if self.session(request) else HTMLResponse(login_page())

    async def enter(self, request: Request) -> Response:
        """Begin a session for a name and its password, or for the secret of a login link."""
        form = _fields(await request.body())
        address = request.client.host if request.client else ""
        if form.get("once"):
            token = self.sessions.begun_once(form["once"])
            if token is None:
                logger.warning("a login link was refused to %s", address)
                return HTMLResponse(login_page("This link was used already, or is too old."), 401)
            return self._entered(request, token)
        name, password = form.get("name", "")[:64], form.get("password", "")[:1024]
        keys = {"pair": f"{name}\0{address}", "address": address, "name": name}
        wait = max(limit.wait(keys[kind]) for kind, limit in self._limits.items())
        if wait > 0:
            return _later(wait, f"Too many tries. Try again in {math.ceil(wait)} s.")
        if self._waiting >= WAITING:
            return _later(2, "Too many people log in at this moment. Try again.")
        for kind, limit in self._limits.items():  # before it is known, or many could try at the same time
            limit.failed(keys[kind])
        user = await self._known(name, password)
        if user is None:
            logger.warning("a login as %r from %s failed", name, address)
            return HTMLResponse(login_page("Name or password is wrong."), 401)
        for kind, limit in self._limits.items():
            limit.succeeded(keys[kind])
        return self._entered(request, self.sessions.begun(name, user.role, user.hash))

    async def leave(self, request: Request) -> Response:
        """End the session of who asks."""
        session = self.session(request)
        if session is not None and self.meant(request, session):
            self.sessions.end(request.cookies[self._cookie(request)])
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(self._cookie(request), secure=self.secure, httponly=True, samesite="strict")
        return answer

    async def _known(self, name: str, password: str) -> User | None:
        """The user of that name, if the password is right."""
        found = self.sessions.users.find(name) if self.sessions.users else None
        self._waiting += 1
        try:
            async with self._hashing:
                right = await asyncio.to_thread(matches, password, (found or nobody()).hash)
        finally:
            self._waiting -= 1
        return found if right else None

    def _entered(self, request: Request, token: str) -> Response:
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self._cookie(request), token, secure=self.secure, httponly=True, samesite="strict", path="/")
        return answer

    def _cookie(self, request: Request) -> str:
        """A name that only this host can set; cookies of one host are shared by its ports, so it tells them apart."""
        return "__Host-hawthorn" if self.secure else f"hawthorn-{request.url.port or 80}"


def _later(seconds: float, message: str) -> Response:
    return HTMLResponse(login_page(message), 429, {"retry-after": str(math.ceil(seconds))})


def _fields(body: bytes) -> dict[str, str]:
    """The fields of a form; nothing of one that has more than a login has."""
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=8))
    except ValueError:
        return {}
