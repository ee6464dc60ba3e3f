"""The web application: pages, what they ask for, and the orders that operators give on them."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

from hawthorn.strategies import AuditError, SettingError
from hawthorn.strategies.flower.ledger import Kind
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ..audit import Audit
from ..metrics import Exposed, exposition
from . import telling
from .feed import Feed, News, Viewer
from .following import Following, Snapshot
from .login import Door
from .sessions import Session, Sessions
from .shield import HEADERS, LOOPBACK, Shield, TooLargeError
from .users import Users

logger = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
HEARTBEAT = 15.0  # seconds after which a silent stream says that it is there
RECENT = 5000  # verdicts of a client that its charts are drawn from
VERIFIED = 10.0  # seconds for which a chain that was verified is not verified again
ORDERS: tuple[Kind, ...] = ("quarantine", "release", "pause", "resume", "roll_back")


class Dashboard:
    """What the routes answer, from one audit, to whoever the door lets in."""

    def __init__(self, audit: Audit, door: Door, exposed: Exposed) -> None:
        self.audit, self.door, self.exposed = audit, door, exposed
        self.feed = Feed(audit)
        self._verifying = asyncio.Lock()
        self._verified: dict[int, tuple[float, int, tuple[str, ...]]] = {}

    def routes(self) -> list[Route | Mount]:
        """Every path there is."""
        return [
            Route("/", self.page),
            Route("/login", self.door.page),
            Route("/login", self.door.enter, methods=["POST"]),
            Route("/logout", self.door.leave, methods=["POST"]),
            Route("/events", self.events),
            Route("/metrics", self.metrics),
            Route("/healthz", self.health),
            Route("/api/me", self.me),
            Route("/api/runs", self.runs),
            Route("/api/runs/{run:int}", self.run),
            Route("/api/runs/{run:int}/rounds", self.rounds),
            Route("/api/runs/{run:int}/rounds/{round:int}", self.round),
            Route("/api/runs/{run:int}/rounds/{round:int}/similarity", self.similarity),
            Route("/api/runs/{run:int}/clients", self.clients),
            Route("/api/runs/{run:int}/clients/{client}", self.client),
            Route("/api/runs/{run:int}/orders", self.orders),
            Route("/api/runs/{run:int}/orders", self.order, methods=["POST"]),
            Route("/api/runs/{run:int}/verify", self.verify, methods=["POST"]),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]

    async def page(self, request: Request) -> Response:
        """The page, or where to log in first."""
        if self.door.session(request) is None:
            return RedirectResponse("/login", 303)
        return FileResponse(STATIC / "dashboard.html", headers={"cache-control": "no-store"})

    async def health(self, _request: Request) -> Response:
        """Whether the audit can be read: 200 or 503."""
        return PlainTextResponse(self.feed.fault or "ok", 503 if self.feed.fault else 200)

    async def metrics(self, request: Request) -> Response:
        """What Prometheus asks for."""
        if not self.exposed.admits(request.headers.get("authorization", "")):
            raise HTTPException(401, "a bearer token is asked for", {"www-authenticate": "Bearer"})
        shown = self.exposed.shown(self.feed.runs)

        def exposed() -> tuple[bytes, str]:
            now = [self.feed.followed(run).now for run in shown]
            return exposition(now, self.exposed, fault=self.feed.fault, accept=request.headers.get("accept", ""))

        content, kind = await asyncio.to_thread(exposed)
        return Response(content, media_type=kind)

    async def me(self, request: Request) -> Response:
        """Who asks, and the token that goes with what they order."""
        session = self._session(request)
        return JSONResponse({"name": session.name, "role": session.role, "csrf": session.csrf})

    async def runs(self, request: Request) -> Response:
        """Every run, newest first."""
        self._session(request)
        runs = await asyncio.to_thread(self.audit.runs)
        return JSONResponse({"runs": [telling.run_named(run) for run in reversed(runs)], "fault": self.feed.fault})

    async def run(self, request: Request) -> Response:
        """How a run stands, and its settings."""
        now = await self._now(request)
        return JSONResponse({**await asyncio.to_thread(telling.run_told, now), "settings": dict(now.run.settings)})

    async def rounds(self, request: Request) -> Response:
        """The rounds of a run as columns of points."""
        now = await self._now(request)
        last, points = _number(request, "last", 0, 10**6), _number(request, "points", 400, 2000)
        return JSONResponse(await asyncio.to_thread(telling.rounds_told, now, last=last or None, points=points))

    async def round(self, request: Request) -> Response:
        """A round with every verdict."""
        now, number = await self._now(request), request.path_params["round"]
        found = next((one for one in now.rounds if one.number == number), None)
        if found is None:
            raise HTTPException(404, f"run {now.run.id} has no round {number}")
        told = await asyncio.to_thread(self.audit.contributions, now.run.id, number)
        verdicts = sorted(map(telling.contribution_told, told), key=_worst_first)
        return JSONResponse({**telling.round_told(found), "verdicts": verdicts})

    async def similarity(self, request: Request) -> Response:
        """The heat map of a round: the length of a JSON text, that text, and a byte for each cosine."""
        now, number = await self._now(request), request.path_params["round"]

        def told() -> bytes:
            geometry = self.audit.geometry(now.run.id, number)
            rows = [one for one in self.audit.contributions(now.run.id, number) if one.admitted]
            if geometry is None or len(rows) != geometry.n:
                return struct.pack("<I", 2) + b"{}"
            head, cosines = telling.similarity_told(geometry, rows)
            text = json.dumps(head).encode()
            return struct.pack("<I", len(text)) + text + cosines

        return Response(await asyncio.to_thread(told), media_type="application/octet-stream")

    async def clients(self, request: Request) -> Response:
        """A page of the clients of a run."""
        now = await self._now(request)
        query = request.query_params
        sort = query.get("sort", "trouble")
        if sort not in telling.CLIENT_ORDERS:
            raise HTTPException(400, f"sort must be one of {', '.join(telling.CLIENT_ORDERS)}")
        told = telling.clients_told(
            now,
            sort=sort,
            standing=query.get("standing", ""),
            search=query.get("search", "")[:100],
            offset=_number(request, "offset", 0, 10**6),
            limit=_number(request, "limit", 25, 200),
        )
        return JSONResponse(told)

    async def client(self, request: Request) -> Response:
        """A client with its history."""
        now, identity = await self._now(request), request.path_params["client"]
        found = now.clients.get(identity)
        if found is None:
            raise HTTPException(404, f"run {now.run.id} has seen no such client")
        before = _number(request, "before", 0, 2**31) or None
        told = await asyncio.to_thread(
            lambda: self.audit.contributions(now.run.id, client=identity, before=before, newest=RECENT)
        )
        history = telling.history_told(told, points=300, limit=50)
        total = found.accepted + found.rejected + found.refused
        return JSONResponse({**telling.client_told(found), "history": {**history, "total": total}})

    async def orders(self, request: Request) -> Response:
        """The orders to a run, those of a moment ago among them."""
        now = await self._now(request)
        orders = await asyncio.to_thread(self.audit.orders, now.run.id)
        return JSONResponse(telling.orders_told(orders, now.clients))

    async def order(self, request: Request) -> Response:
        """Place an order."""
        session = self._session(request, csrf=True)
        if not session.operates:
            raise HTTPException(403, "a viewer gives no orders")
        kind, details = _order(await _json(request))
        now = (await self._following(request)).now
        if now.run.status not in ("running", "paused"):
            raise HTTPException(409, f"run {now.run.id} is {now.run.status} and takes no orders")

        def placed() -> int:
            return self.audit.order(now.run.id, kind, by=f"{session.name} (dashboard)", **details)

        try:
            number = await asyncio.to_thread(placed)
        except AuditError as error:
            raise HTTPException(409, str(error)) from error
        logger.warning("order %d: %s %s of run %d, by %s", number, kind, details, now.run.id, session.name)
        return JSONResponse({"order": number}, 201)

    async def verify(self, request: Request) -> Response:
        """Whether the chain of a run holds: the faults that are found, one request at a time."""
        self._session(request, csrf=True)
        run = (await self._following(request)).now.run.id
        loop = asyncio.get_running_loop()
        async with self._verifying:
            at, _, faults = self._verified.get(run, (-VERIFIED, 0, ()))
            if loop.time() - at > VERIFIED:
                faults = await asyncio.to_thread(self.audit.verify, run)
                if faults:  # what a run commits while its tables are read one by one looks like one, but once only
                    again = await asyncio.to_thread(self.audit.verify, run)
                    faults = tuple(fault for fault in faults if fault in again)
                head = await asyncio.to_thread(self.audit.head, run)
                self._verified = {run: (loop.time(), head.number, faults)}
            _, number, faults = self._verified[run]
        return JSONResponse({"entry": number, "faults": list(faults)})

    async def events(self, request: Request) -> Response:
        """News of a run as they come, after the entry that the page has seen last."""
        self._session(request)
        run = _number(request, "run", 0, 2**31)
        await self._follow(run)
        seen = request.headers.get("last-event-id", request.query_params.get("after", ""))
        try:
            viewer, missed = self.feed.joined(run, int(seen) if seen.isdecimal() and len(seen) < 12 else None)
        except OverflowError as error:
            raise HTTPException(503, str(error)) from error
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._stream(request, viewer, missed), media_type="text/event-stream", headers=headers)

    async def _stream(self, request: Request, viewer: Viewer, missed: list[News]) -> AsyncGenerator[str]:
        try:
            yield "retry: 2000\n\n"
            for news in missed:
                yield _event(news)
            if self.feed.fault:
                yield _event(News("fault", {"fault": self.feed.fault}))
            while True:
                try:
                    yield _event(await asyncio.wait_for(viewer.queue.get(), HEARTBEAT))
                except TimeoutError:
                    yield ": \n\n"
                if self.door.session(request) is None:  # logged out, or no user any more
                    yield _event(News("over", {}))
                    return
        except SettingError as error:  # the page asks again, and is told
            logger.warning("%s", error)
        finally:
            self.feed.left(viewer)

    def _session(self, request: Request, *, csrf: bool = False) -> Session:
        session = self.door.session(request)
        if session is None:
            raise HTTPException(401, "log in first")
        if csrf and not self.door.meant(request, session):
            raise HTTPException(403, "the request does not come from the page: load it again")
        return session

    async def _now(self, request: Request) -> Snapshot:
        self._session(request)
        return (await self._following(request)).now

    async def _following(self, request: Request) -> Following:
        return await self._follow(request.path_params["run"])

    async def _follow(self, number: int) -> Following:
        try:
            run = await asyncio.to_thread(self.audit.find_run, number)
        except AuditError as error:
            raise HTTPException(404, str(error)) from error
        return await asyncio.to_thread(self.feed.followed, run)

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncGenerator[None]:
        """Look for news as long as the application is served."""
        task = asyncio.create_task(self.feed.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def dashboard(
    audit: Audit,
    users: Users | None,
    *,
    sessions: Sessions | None = None,
    hosts: Collection[str] | None = LOOPBACK,
    secure: bool = False,
    exposed: Exposed | None = None,
) -> Starlette:
    """The application over an audit: for `users`, and under the names `hosts`; `secure` says that it is behind TLS."""
    sessions = sessions or Sessions(users)
    web = Dashboard(audit, Door(sessions, secure=secure), exposed or Exposed())
    app = Starlette(
        routes=web.routes(),
        lifespan=web.lifespan,
        middleware=[
            Middleware(Shield, hosts=hosts, secure=secure),
            Middleware(GZipMiddleware, minimum_size=1000, compresslevel=5),
        ],
        exception_handlers=cast(
            "Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]]",
            {
                HTTPException: _refusal,
                AuditError: _fault,
                SettingError: _unknown,
                TooLargeError: _too_large,
                ClientDisconnect: _too_large,
                Exception: _broken,
            },
        ),
    )
    app.state.feed = web.feed
    return app


async def _refusal(_request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _fault(_request: Request, error: AuditError) -> Response:
    logger.warning("%s", error)
    return JSONResponse({"error": str(error)}, 503)


async def _unknown(_request: Request, error: SettingError) -> Response:
    logger.warning("%s", error)  # where it lies and what is in it is for whoever serves the page
    return JSONResponse({"error": "the users file cannot be read"}, 503)


async def _broken(_request: Request, _error: Exception) -> Response:
    """What comes from outside the shield, which gives all other answers their headers; the connection ends with it."""
    headers = {**HEADERS, "cache-control": "no-store", "connection": "close"}
    return JSONResponse({"error": "the server failed; its log says how"}, 500, headers)


async def _too_large(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "the body is too large"}, 413)


def _event(news: News) -> str:
    number = "" if news.id is None else f"id: {news.id}\n"
    return f"event: {news.event}\n{number}data: {json.dumps(news.data)}\n\n"


def _number(request: Request, name: str, default: int, most: int) -> int:
    written = request.query_params.get(name, str(default))
    if not (written.isascii() and written.isdecimal() and len(written) < 12 and int(written) <= most):
        raise HTTPException(400, f"{name} must be a number from 0 to {most}, got {written[:20]!r}")
    return int(written)


async def _json(request: Request) -> dict[str, Any]:
    """The body as an object; raises `HTTPException` for anything else."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise HTTPException(415, "an order is JSON")
    try:
        found = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise HTTPException(400, "an order is a JSON object") from None
    if not isinstance(found, dict):
        raise HTTPException(400, "an order is a JSON object")
    return cast("dict[str, Any]", found)


def _order(written: Mapping[str, Any]) -> tuple[Kind, dict[str, Any]]:
    """The kind of an order and its details; raises `HTTPException` naming what is wrong."""
    kind = written.get("kind")
    if kind not in ORDERS:
        raise HTTPException(400, f"an order's kind must be one of {', '.join(ORDERS)}")
    wanted = {"quarantine": {"client", "rounds"}, "release": {"client"}, "roll_back": {"round"}}.get(kind, set[str]())
    unknown = set(written) - wanted - {"kind"}
    if unknown:
        raise HTTPException(400, f"an order to {kind} takes no {', '.join(sorted(map(str, unknown)))[:100]}")
    details = {name: written[name] for name in wanted if written.get(name) is not None}
    for name, value in details.items():
        whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
        if not (isinstance(value, str) and 0 < len(value) <= 64 if name == "client" else whole):
            raise HTTPException(400, f"{name} of an order must be {'a text' if name == 'client' else 'a whole number'}")
    return kind, details


def _worst_first(told: Mapping[str, Any]) -> tuple[bool, bool, float]:
    p = told["p_value"]
    return told["accepted"], told["admitted"], 2.0 if p is None else p
