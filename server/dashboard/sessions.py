"""Who is logged in, and how often somebody may try to be."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from .users import User, Users

Clock = Callable[[], float]

IDLE = 12 * 3600.0  # seconds without a request after which a session ends; an open page asks all the time
LONGEST = 7 * 86400.0  # seconds after which it ends in any case
ONCE = 15 * 60.0  # seconds for which a login link works
MOST = 1000  # sessions, tries remembered


@dataclass(frozen=True)
class Session:
    """Somebody who is logged in. `proof` is the password's hash then: a session does not survive another password."""

    name: str
    role: str
    csrf: str
    began: float
    seen: float
    proof: str

    @property
    def operates(self) -> bool:
        """Whether orders are taken from them."""
        return self.role == "operator"


class Sessions:
    """The sessions of a process, found by random tokens of which only digests are kept."""

    def __init__(self, users: Users | None, *, clock: Clock = time.monotonic) -> None:
        self.users, self.clock = users, clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._once: dict[str, tuple[str, float]] = {}

    def begun(self, name: str, role: str, proof: str = "") -> str:
        """The token of a new session; the oldest ends when there are too many."""
        token = secrets.token_urlsafe(32)
        now = self.clock()
        self._sessions[_digest(token)] = Session(name, role, secrets.token_urlsafe(32), now, now, proof)
        while len(self._sessions) > MOST:
            self._sessions.popitem(last=False)
        return token

    def find(self, token: str) -> Session | None:
        """The session of a token, if it still lasts and its user is still allowed what it was."""
        key = _digest(token)
        session = self._sessions.get(key)
        if session is None:
            return None
        now = self.clock()
        if now - session.seen > IDLE or now - session.began > LONGEST or not self._allowed(session):
            del self._sessions[key]
            return None
        self._sessions[key] = replace(session, seen=now)
        return session

    def end(self, token: str) -> None:
        """End a session, if there is one."""
        self._sessions.pop(_digest(token), None)

    def link_token(self, role: str) -> str:
        """A secret with which somebody may log in once, within a quarter of an hour."""
        token = secrets.token_urlsafe(32)
        self._once[_digest(token)] = (role, self.clock() + ONCE)
        return token

    def begun_once(self, token: str) -> str | None:
        """The token of a session that such a secret begins; None where it was used, is too old or was never given."""
        role, end = self._once.pop(_digest(token), ("", 0.0))
        return self.begun("login link", role) if role and self.clock() <= end else None

    def _allowed(self, session: Session) -> bool:
        if not session.proof:
            return True
        user: User | None = self.users.find(session.name) if self.users else None
        return user is not None and user.role == session.role and hmac.compare_digest(user.hash, session.proof)


class Throttle:
    """Tries by key, of which `free` may fail; then each has to wait twice as long as the one before.

    >>> now = [0.0]
    >>> throttle = Throttle(2, clock=lambda: now[0])
    >>> [throttle.wait("eve") for _ in range(3) if throttle.failed("eve") is None]
    [0.0, 1.0, 2.0]
    >>> now[0] = 7200
    >>> throttle.wait("eve")
    0.0
    """

    def __init__(self, free: int, *, longest: float = 900.0, clock: Clock = time.monotonic) -> None:
        self.free, self.longest, self.clock = free, longest, clock
        self._tries: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait(self, key: str) -> float:
        """Seconds until the next try, 0 for now."""
        count, last = self._tries.get(key, (0, 0.0))
        if count < self.free:
            return 0.0
        return max(0.0, last + self._pause(count) - self.clock())

    def failed(self, key: str) -> None:
        """Note a try that failed; those before are forgotten an hour after the last."""
        count, last = self._tries.pop(key, (0, 0.0))
        now = self.clock()
        self._tries[key] = (1 if now - last > 3600 else count + 1, now)
        while len(self._tries) > MOST:
            self._tries.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forget the tries of a key."""
        self._tries.pop(key, None)

    def _pause(self, count: int) -> float:
        return min(2.0 ** min(count - self.free, 30), self.longest)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
