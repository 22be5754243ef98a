"""The live channel: one look at the store for everybody, a short message to each page when something has changed.

A message says *that* something changed and what time it is at the server; the page then asks for what it shows, with its
own filters and its own rights. A burst of changes is told at most once a second, and less often while it lasts.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from loguru import logger
from starlette.concurrency import run_in_threadpool

from huiying.domain.access import Permission
from huiying.domain.errors import Unavailable
from huiying.domain.signing import Stage
from huiying.now import monotonic
from huiying.service import marks, sessions
from huiying.service.marks import Mark
from huiying.service.services import Services
from huiying.service.sessions import Session
from huiying.web.callers import House
from huiying.web.pages.policy import COOKIE, allow
from huiying.web.pages.shell import Guarded
from huiying.web.pages.shown_times import epoch

router = APIRouter(include_in_schema=False)

_LOOK_EVERY = 0.5  # seconds
_BEAT_EVERY = 5.0  # seconds; a page that hears nothing for three beats says that the channel is lost
_TELL_EVERY, _TELL_EVERY_IN_A_STORM = 1.0, 4.0  # seconds
_STORM_FROM = 5  # changes told one right after the other
_MOST_PAGES = 300
#: Of one sign-in: whoever opens more must not take the others' places.
_MOST_PAGES_OF_ONE = 12
_FULL = "实时通道已满，页面每分钟自动刷新。请关闭不用的页面。"


@dataclass(frozen=True, slots=True)
class _News:
    """How often the queue and the feed have changed since this process began."""

    queue: int = 0
    feed: int = 0


class Watcher:
    """Looks at the store while at least one page listens, and wakes the pages; one per web process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._news = _News()
        self._mark = Mark()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening: Counter[str] = Counter()
        self._in_a_row, self._told_at = 0, 0.0
        self.is_closing = False

    def is_full(self, session_id: str) -> bool:
        """Whether another page of this sign-in would be one too many."""
        return self._listening[session_id] >= _MOST_PAGES_OF_ONE or self._listening.total() >= _MOST_PAGES

    @property
    def news(self) -> _News:
        """What has been told so far."""
        return self._news

    def close(self) -> None:
        """End every stream; may be called from a signal handler or another thread."""
        self.is_closing = True
        if self._loop is not None:
            # The loop may have ended before the last stream was forgotten.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake)

    async def join(self, session_id: str) -> None:
        """A page begins to listen; the first one starts the looking."""
        self._loop = asyncio.get_running_loop()
        self._listening[session_id] += 1
        if self._task is None or self._task.done():
            found = await self._look() or self._mark
            # Of several that come at once one sets the mark: another's later look would pass over news that nobody told.
            if self._task is None or self._task.done():
                self._mark = found
                self._task = asyncio.create_task(self._watch())

    def leave(self, session_id: str) -> None:
        """A page has gone; the last one ends the looking."""
        self._listening -= Counter([session_id])  # and who has none left is forgotten
        if not self._listening and self._task is not None:
            self._task.cancel()
            self._task = None

    def missed_since(self, seen: Mark | None) -> list[str]:
        """What came into sight between the making of a page and its stream; what comes later is told as news."""
        if seen is None or not self._mark.is_news_after(seen):
            return []
        return ["queue", "feed"] if self._mark.changes_queue(seen) else ["feed"]

    async def wait(self, known: _News, seconds: float) -> None:
        """Until there is other news than the known, the end, or the time is over."""
        if self.is_closing or self._news != known:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    async def _watch(self) -> None:
        while not self.is_closing:
            await asyncio.sleep(_LOOK_EVERY)
            if monotonic() - self._told_at < self._pause():
                continue
            found = await self._look()
            if found is not None and found.is_news_after(self._mark):
                self._tell(found)
            else:
                self._in_a_row = 0

    def _pause(self) -> float:
        return _TELL_EVERY_IN_A_STORM if self._in_a_row >= _STORM_FROM else _TELL_EVERY

    def _tell(self, found: Mark) -> None:
        self._news = _News(self._news.queue + found.changes_queue(self._mark), self._news.feed + 1)
        self._mark = found
        self._in_a_row, self._told_at = self._in_a_row + 1, monotonic()
        self._wake()

    def _wake(self) -> None:
        """Everybody who waits goes on; whoever waits from now on waits for the next news."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _look(self) -> Mark | None:
        """The end of the tables; while the store cannot answer nothing is known to have changed."""
        try:
            return await run_in_threadpool(marks.mark, self._services)
        except Unavailable as error:
            logger.warning("the live channel cannot read the store: {}", error.message)
            return None


@router.get("/live", response_class=EventSourceResponse)
async def live(
    request: Request,
    services: House,
    session: Annotated[Session, allow(Permission.READ, locked_too=True)],
    seen: Annotated[str, Query(max_length=100)] = "",
) -> AsyncIterator[ServerSentEvent]:
    """Messages: ``beat`` (time only), ``queue`` and ``feed`` (ask again), ``locked``, ``ended``, ``closing``, ``full``.

    ``seen`` is the mark of the page that listens.
    """
    watcher: Watcher = request.app.state.live
    if watcher.is_full(session.id):
        yield ServerSentEvent(event="full", data={"text": _FULL}, retry=60_000)
        return
    secret, known = request.cookies.get(COOKIE, ""), watcher.news
    try:
        await watcher.join(session.id)
        yield await _message(services, "beat", retry=1000)
        for name in watcher.missed_since(Mark.parse(seen)):
            yield await _message(services, name)
        while not watcher.is_closing:
            await watcher.wait(known, _BEAT_EVERY)
            ending = await _ending(watcher, services, secret, session)
            if ending:
                yield await _message(services, ending)
                return
            news = watcher.news
            for name in _names(known, news):
                yield await _message(services, name)
            known = news
    finally:
        watcher.leave(session.id)


def _names(known: _News, news: _News) -> list[str]:
    found = [
        name for name, changed in (("queue", news.queue != known.queue), ("feed", news.feed != known.feed)) if changed
    ]
    return found or ["beat"]


async def _ending(watcher: Watcher, services: Services, secret: str, session: Session) -> str:
    """Why a stream ends: the server stops, or its session was ended or locked. Listening keeps nobody awake."""
    if watcher.is_closing:
        return "closing"
    try:
        now = await run_in_threadpool(sessions.look, services, secret, touch=False)
    except Unavailable:
        return ""  # the store cannot say; the stream tells no content by itself
    if now is None or now.stage not in {Stage.OPEN, Stage.LOCKED}:
        return "ended"
    # A locked page must learn, too, that it now has to ask for everything.
    newly = now.stage == Stage.LOCKED and (session.stage, session.spent) != (now.stage, now.spent)
    return "locked" if newly else ""


async def _message(services: Services, name: str, retry: int | None = None) -> ServerSentEvent:
    """An event with the server's time in milliseconds."""
    try:
        at = await run_in_threadpool(services.store.now)
    except Unavailable:
        return ServerSentEvent(event=name, data={}, retry=retry)
    return ServerSentEvent(event=name, data={"now": epoch(at)}, retry=retry)


@router.get("/live/state")
def state(session: Annotated[Session, allow(locked_too=True)]) -> Response:
    """How it stands with the session behind a page; a browser is led to the sign-in where there is none.

    A page that asks with ``?auto=1`` keeps nobody awake.
    """
    return _state(session)


@router.post("/live/awake", dependencies=[Guarded])
def awake(session: Annotated[Session, allow(locked_too=True)]) -> Response:
    """Somebody is typing or pressing at a page: a sign of life like a request of theirs, and no more than that."""
    return _state(session)


def _state(session: Session) -> Response:
    """With the token for forms: it has changed when the desk was locked and unlocked in another tab."""
    told = {"stage": session.stage.value, "person": session.person_id, "csrf": session.csrf}
    return JSONResponse(told, headers={"Cache-Control": "no-store"})
