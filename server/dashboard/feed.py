"""News of runs for every page that is open, asked of the audit once for all of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hawthorn.strategies import AuditError

from ..audit import Audit
from ..audit.records import Entry, Run
from . import telling
from .following import Following, Snapshot

logger = logging.getLogger(__name__)

POLL = 0.4  # seconds between two looks
QUEUE = 256  # news that a page may be behind by; it then loads everything again
MOST_VIEWERS = 500
MOST_KEPT = 16  # runs that are followed after nobody looks at them any more


@dataclass(frozen=True)
class News:
    """One server-sent event; `id` is the number of the entry that it tells of, None for other news."""

    event: str
    data: Mapping[str, Any]
    id: int | None = None


@dataclass(eq=False)
class Viewer:
    """An open page: the run that it shows, and the news that wait for it."""

    run: int
    queue: asyncio.Queue[News]

    def tell(self, news: News) -> None:
        """Let it wait for the page; one that is far behind is told to load everything again instead."""
        if self.queue.full():
            while not self.queue.empty():
                self.queue.get_nowait()
            news = News("reload", {})
        self.queue.put_nowait(news)


class Feed:
    """All runs that anybody looks at, and the newest ones. Everything but `followed` belongs to one event loop."""

    def __init__(self, audit: Audit) -> None:
        self.audit = audit
        self.viewers: set[Viewer] = set()
        self.fault = ""  # why the audit cannot be read
        self.runs: tuple[Run, ...] = ()
        self._following: dict[int, Following] = {}
        self._told: dict[int, tuple[Snapshot, Mapping[str, Any]]] = {}  # of which moment, and what

    def followed(self, run: Run) -> Following:
        """A run with everything that is known of it; read now if it is followed from now on."""
        following = self._following.get(run.id) or self._following.setdefault(run.id, Following(self.audit, run))
        following.begin(run)  # whoever comes while another reads it for the first time waits for that
        return following

    def joined(self, run: int, after: int | None) -> tuple[Viewer, list[News]]:
        """A new viewer of a run, and what it missed after an entry; raises `OverflowError` where there are too many."""
        if len(self.viewers) >= MOST_VIEWERS:
            raise OverflowError(f"{MOST_VIEWERS} pages are open")
        viewer = Viewer(run, asyncio.Queue(QUEUE))
        self.viewers.add(viewer)
        following = self._following.get(run)
        missed: list[News] = []
        if following is not None and after is not None:
            now = following.now
            if now.tail and now.tail[0].number > after + 1:
                missed = [News("reload", {})]
            else:
                missed = [self._entry(following, entry) for entry in now.tail if entry.number > after]
        return viewer, missed

    def left(self, viewer: Viewer) -> None:
        """Forget a viewer."""
        self.viewers.discard(viewer)

    async def run(self) -> None:
        """Look for news until cancelled; whatever goes wrong is told, and tried again."""
        while True:
            try:
                await self.look()
                self._fault("")
            except AuditError as error:
                self._fault(str(error))
            except Exception as error:  # without another look every page would show what was, as if it were
                self._fault(f"cannot look for news: {error!r}", error)
            await asyncio.sleep(POLL)

    async def look(self) -> None:
        """Ask the audit once, and tell viewers what is new."""
        runs = await asyncio.to_thread(self.audit.runs)
        if [run.id for run in runs] != [run.id for run in self.runs]:
            for viewer in self.viewers:
                viewer.tell(News("runs", {"newest": runs[-1].id if runs else None}))
        self.runs = runs
        watched = {viewer.run for viewer in self.viewers}
        for run in runs:
            if run.id in watched or run.id in self._following or run.id == runs[-1].id:
                await self._look_at(run)
        idle = [number for number in tuple(self._following) if number not in watched]  # requests add to it in threads
        for number in idle[: max(0, len(idle) - MOST_KEPT)]:
            del self._following[number]
            self._told.pop(number, None)

    async def _look_at(self, run: Run) -> None:
        following = await asyncio.to_thread(self.followed, run)
        entries = await asyncio.to_thread(following.news, run)
        now, (before, last) = following.now, self._told.get(run.id, (None, None))
        if now is before:
            return
        told = await asyncio.to_thread(telling.run_told, now)  # which looks through all rounds
        self._told[run.id] = (now, told)
        viewers = [viewer for viewer in self.viewers if viewer.run == run.id]
        news = [self._entry(following, entry) for entry in entries] if viewers else []
        if told != last:
            news.append(News("run", told))
        for viewer in viewers:
            for one in news:
                viewer.tell(one)

    def _entry(self, following: Following, entry: Entry) -> News:
        return News("entry", telling.entry_told(following.now, entry), entry.number)

    def _fault(self, fault: str, cause: Exception | None = None) -> None:
        if fault == self.fault:
            return
        self.fault = fault
        logger.warning("%s", fault or "the audit can be read again", exc_info=cause)
        for viewer in self.viewers:
            viewer.tell(News("fault", {"fault": fault}))
