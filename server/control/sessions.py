"""Sessions of the Aggregation service: each has room for a round's updates and remembers what its defense does."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from grpc import StatusCode
from hawthorn.strategies import SettingError
from hawthorn.strategies.reputation import most_rejected, unasked
from hawthorn.strategies.updates import Updates

from .keeping import Kept, Shelf
from .limits import Limits
from .plan import Plan
from .refusal import Refusal


class Session:
    """One federation's rounds, one at a time."""

    def __init__(self, owner: str, name: str, plan: Plan, kept: Kept, limits: Limits) -> None:
        self.owner, self.name, self.plan, self.kept = owner, name, plan, kept
        try:
            self.updates = Updates(plan.clients, plan.dimension, plan.dtype, memory=limits.memory, spool=limits.spool)
        except SettingError as error:  # the disk is full, which is not the caller's mistake
            raise Refusal(StatusCode.RESOURCE_EXHAUSTED, str(error)) from error
        self.left_out: frozenset[str] = frozenset()
        self.touched = time.monotonic()
        self.over = False
        self._busy = threading.Lock()

    @property
    def busy(self) -> bool:
        """Whether somebody is at it now."""
        return self._busy.locked()

    @contextmanager
    def held(self) -> Generator[None]:
        """Nobody else's for a while; raises `Refusal` where it is somebody's already."""
        if not self._busy.acquire(blocking=False):
            raise Refusal(StatusCode.FAILED_PRECONDITION, f"session {self.name!r} is busy: a round of it is being held")
        try:
            if self.over:  # while whoever calls was on the way here
                raise Refusal(StatusCode.NOT_FOUND, f"session {self.name!r} was forgotten")
            yield
        finally:
            self.touched = time.monotonic()
            self._busy.release()

    def ask(self, clients: Sequence[str]) -> list[str]:
        """Those of the clients that should be asked in the next round, in the order given."""
        defense = self.plan.defense
        most = most_rejected(defense.policy, defense.f, len(clients))
        self.left_out = unasked(self.kept.state, clients, most)
        return [client for client in clients if client not in self.left_out]


class Sessions:
    """All open sessions, by owner and name, within the limits of the server."""

    def __init__(self, limits: Limits, shelf: Shelf | None = None) -> None:
        self.limits, self.shelf = limits, shelf
        self._open: dict[tuple[str, str], Session] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, owner: str, name: str, plan: Plan) -> Session:
        """The session of that name, a new one where there is none; raises `Refusal`."""
        with self._lock:
            session = self._open.get((owner, name))
            if session is None:
                self._check_room(owner, plan)
                kept = Kept() if self.shelf is None else self.shelf.load(owner, name, plan)
                session = self._open[owner, name] = Session(owner, name, plan, kept, self.limits)
            if session.plan != plan:
                raise Refusal(
                    StatusCode.FAILED_PRECONDITION,
                    f"session {name!r} is open for {session.plan}: forget it first, or write another name",
                )
            session.touched = time.monotonic()
            return session

    def of(self, owner: str, name: str) -> Session:
        """An open session of the owner's; raises `Refusal`."""
        with self._lock:
            session = self._open.get((owner, name))
            if session is None:
                raise Refusal(StatusCode.NOT_FOUND, f"no session named {name!r} is open: open it (idle ones are ended)")
            session.touched = time.monotonic()
            return session

    def forget(self, owner: str, name: str) -> int:
        """The rounds that a session held, which is forgotten, open or only kept; raises `Refusal` while one is held."""
        with self._lock:
            session = self._open.get((owner, name))
            if session is None:
                rounds = None if self.shelf is None else self.shelf.forget(owner, name)
                if rounds is None:
                    raise Refusal(StatusCode.NOT_FOUND, f"no session named {name!r} is open or kept")
                return rounds
        with session.held(), self._lock:
            session.over = True
            self._open.pop((owner, name), None)
            if self.shelf is not None:
                self.shelf.forget(owner, name)
        return session.kept.rounds

    def sweep(self) -> None:
        """Give up the room of sessions that have been idle for too long; what is kept of them stays on the disk."""
        end = time.monotonic() - self.limits.idle_seconds
        with self._lock:
            for key, session in list(self._open.items()):
                if session.touched < end and not session.busy:
                    session.over = True
                    del self._open[key]

    def _check_room(self, owner: str, plan: Plan) -> None:
        if len(self._open) >= self.limits.sessions:
            raise Refusal(StatusCode.RESOURCE_EXHAUSTED, f"{len(self._open)} sessions are open, and no more can be")
        mine = sum(session.owner == owner for session in self._open.values())
        if mine >= self.limits.sessions_each:
            raise Refusal(StatusCode.RESOURCE_EXHAUSTED, f"{mine} sessions of {owner!r} are open: forget one first")
        left = self.limits.room - sum(session.plan.room for session in self._open.values())
        if plan.room > left:
            raise Refusal(StatusCode.RESOURCE_EXHAUSTED, f"{plan.room} bytes are needed, and {left} are left")
