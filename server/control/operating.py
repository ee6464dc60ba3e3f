"""The Operator service: what the audit has to tell of runs, and orders to them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, TypeVar

from grpc import StatusCode
from hawthorn.strategies import AuditError

from ..audit import Audit, Census
from ..audit.records import ClientRecord, Entry, Run
from . import hawthorn_pb2 as pb
from .calls import Call
from .limits import Limits
from .refusal import Refusal
from .telling import client_told, news_told, order_told, round_told, run_told, verdict_told

MOST_ORDERS = 1000
LARGEST = 2**53  # of a number in a request: no database, nor JavaScript, is asked to hold more
MOST_COUNTED = 16  # runs whose clients are counted on

Record = TypeVar("Record")


class Operator:
    """The methods of the service, over one audit database."""

    def __init__(self, audit: Audit, limits: Limits) -> None:
        self.audit, self.limits = audit, limits
        self._counted: dict[int, Census] = {}
        self._lock = threading.Lock()

    def methods(self) -> dict[str, Callable[[Any, Call], Any]]:
        """The methods by their names in the service."""
        methods: dict[str, Callable[[Any, Call], Any]] = {
            "Status": self.status,
            "Runs": self.runs,
            "Rounds": self.rounds,
            "Clients": self.clients,
            "History": self.history,
            "Orders": self.orders,
            "Watch": self.watch,
            "Quarantine": self.quarantine,
            "Release": self.release,
            "Pause": lambda request, call: self._ordered(request.run, "pause", call),
            "Resume": lambda request, call: self._ordered(request.run, "resume", call),
            "RollBack": self.roll_back,
            "Stop": lambda request, call: self._ordered(request.run, "stop", call),
        }
        return {name: _with_possible_numbers(method) for name, method in methods.items()}

    def status(self, request: pb.StatusRequest, _call: Call) -> pb.StatusReply:
        """How a run stands."""
        run = self._run(request.run)
        last = self.audit.rounds(run.id, after=self.audit.last_round(run.id) - 1, most=1)
        clients = self._clients(run).values()
        head = self._head(run.id)
        return pb.StatusReply(
            run=run_told(run),
            last_round=round_told(last[0]) if last else None,
            clients=len(clients),
            quarantined=sum(_in_quarantine(client) for client in clients),
            open_orders=sum(order.result is None for order in self.audit.orders(run.id)),
            entry=-1 if head is None else head.number,
            digest="" if head is None else head.digest,
            server_version=version("hawthorn"),
        )

    def runs(self, request: pb.RunsRequest, _call: Call) -> pb.RunsReply:
        """The runs, oldest first."""
        found = sorted((run for run in self.audit.runs() if run.id > request.after), key=lambda run: run.id)
        page, more = _page(found, self._size(request.most))
        return pb.RunsReply(runs=map(run_told, page), more=more)

    def rounds(self, request: pb.RoundsRequest, _call: Call) -> pb.RoundsReply:
        """The rounds of a run after some round."""
        run = self._run(request.run)
        size = self._size(request.most)
        page, more = _page(self.audit.rounds(run.id, after=request.after, most=size + 1), size)
        return pb.RoundsReply(run=run.id, rounds=map(round_told, page), more=more)

    def clients(self, request: pb.ClientsRequest, _call: Call) -> pb.ClientsReply:
        """The clients of a run and where they stand."""
        run = self._run(request.run)
        found = sorted(self._clients(run).values(), key=lambda client: client.identity)
        found = [client for client in found if client.identity > request.after]
        page, more = _page(found, self._size(request.most))
        return pb.ClientsReply(run=run.id, clients=map(client_told, page), more=more)

    def history(self, request: pb.HistoryRequest, _call: Call) -> pb.HistoryReply:
        """What became of a client's updates, round by round."""
        run = self._run(request.run)
        client = self._client(run, request.client)
        size = self._size(request.most)
        told = self.audit.contributions(run.id, client=client.identity, after=request.after, most=size + 1)
        page, more = _page(told, size)
        if more:  # whole rounds, or the next page would begin within one
            page = [one for one in page if one.round < told[len(page)].round] or page
        return pb.HistoryReply(run=run.id, client=client_told(client), verdicts=map(verdict_told, page), more=more)

    def orders(self, request: pb.OrdersRequest, _call: Call) -> pb.OrdersReply:
        """The orders to a run and what became of them."""
        run = self._run(request.run)
        return pb.OrdersReply(run=run.id, orders=map(order_told, self.audit.orders(run.id)[-MOST_ORDERS:]))

    def watch(self, request: pb.WatchRequest, call: Call) -> Generator[pb.News]:
        """What is committed, as it is; the stream ends with the run."""
        run = self._run(request.run)
        after = request.after if request.HasField("after") else self.audit.head(run.id).number
        while True:
            for entry in self.audit.entries(run.id, after=after, most=self.limits.page):
                call.check()
                after = entry.number
                yield news_told(self.audit, entry)
            if self._ended(run.id, after):
                return
            call.check()
            call.wait(self.limits.poll_seconds)

    def quarantine(self, request: pb.QuarantineRequest, call: Call) -> pb.OrderReply:
        """The order to keep a client out."""
        client = self._client(self._run(request.run), request.client)
        return self._ordered(request.run, "quarantine", call, client=client.identity, rounds=request.rounds or None)

    def release(self, request: pb.ReleaseRequest, call: Call) -> pb.OrderReply:
        """The order to have nothing speak against a client any more."""
        client = self._client(self._run(request.run), request.client)
        return self._ordered(request.run, "release", call, client=client.identity)

    def roll_back(self, request: pb.RollBackRequest, call: Call) -> pb.OrderReply:
        """The order to go back to the model after a round; raises `AuditError` where that was not kept."""
        if request.from_run:
            self._run(request.from_run)
        return self._ordered(request.run, "roll_back", call, round=request.round, other=request.from_run or None)

    def _ordered(self, number: int, kind: Any, call: Call, **details: Any) -> pb.OrderReply:
        run = self._run(number)
        if run.status not in ("running", "paused"):
            raise Refusal(StatusCode.FAILED_PRECONDITION, f"run {run.id} is {run.status} and takes no orders")
        return pb.OrderReply(run=run.id, order=self.audit.order(run.id, kind, by=call.caller.name, **details))

    def _run(self, number: int) -> Run:
        try:
            return self.audit.find_run(number) if number else self.audit.newest()
        except AuditError as error:
            raise Refusal(StatusCode.NOT_FOUND, str(error)) from error

    def _client(self, run: Run, written: str) -> ClientRecord:
        clients = self._clients(run).values()
        found = [one for one in clients if one.identity == written] or [one for one in clients if one.name == written]
        if not written or not found:
            raise Refusal(StatusCode.NOT_FOUND, f"run {run.id} has no client {written!r}")
        if len(found) > 1:
            raise Refusal(StatusCode.INVALID_ARGUMENT, f"{len(found)} clients are named {written!r}: write an identity")
        return found[0]

    def _head(self, run: int) -> Entry | None:
        """The last entry of a run; None of one that an older version wrote, which has no chain."""
        try:
            return self.audit.head(run)
        except AuditError:
            return None

    def _ended(self, run: int, after: int) -> bool:
        """Whether a run is over, and everything of it was told."""
        over = self.audit.find_run(run).status in ("finished", "failed")
        return over and self.audit.head(run).number <= after

    def _size(self, most: int) -> int:
        """How many one answer takes where `most` are asked for."""
        return min(most or self.limits.page, self.limits.page)

    def _clients(self, run: Run) -> Mapping[str, ClientRecord]:
        """The clients of a run by identity, counted on from the last time that somebody asked."""
        with self._lock:
            census = self._counted.pop(run.id, None) or Census(self.audit, run.id)
            self._counted[run.id] = census  # asked for last, forgotten last
            while len(self._counted) > MOST_COUNTED:
                del self._counted[next(iter(self._counted))]
        return census.clients()


def _with_possible_numbers(method: Callable[[Any, Call], Any]) -> Callable[[Any, Call], Any]:
    """The same method, which refuses requests with numbers that nothing can have."""

    def checked(request: Any, call: Call) -> Any:
        for field, value in request.ListFields():
            if isinstance(value, int) and abs(value) > LARGEST:
                raise Refusal(StatusCode.INVALID_ARGUMENT, f"{field.name} must be at most 2**53, got {value}")
        return method(request, call)

    return checked


def _page(found: Sequence[Record], size: int) -> tuple[Sequence[Record], bool]:
    """The first of what was found, and whether there is more."""
    return found[:size], len(found) > size


def _in_quarantine(client: ClientRecord) -> bool:
    return client.held or (client.standing is not None and client.standing.name == "quarantine")
