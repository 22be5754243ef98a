"""The runner process: carries out incident events through Prefect while Prefect keeps up, and promises nothing else.

It looks at our table for what falls due, starts the event's flow at that instant and says every second whether it can.
What it does not claim in time the engine does; so it never holds work: an event that has waited too long for its turn is
let go, and a call to Prefect that hangs is left behind. What Prefect's calls raise decides nothing but the breaker.

The loop runs in a thread of its own: Prefect puts a handler of its own on SIGTERM while a flow runs in the main thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa
from loguru import logger

from config.settings import Settings
from flows import incident_events, prefect_server, sdk
from flows.account import Account, load_account
from flows.breaker import Breaker
from flows.incident_events import FLOWS, Work
from flows.reconciler import Reconciler
from flows.rest import PrefectApi
from flows.retention import Retention
from flows.warm_up import warm_up
from huiying.domain.errors import HuiyingError, Unavailable
from huiying.domain.kinds import EventKind
from huiying.now import monotonic
from huiying.service.hand import PREFECT, new_hand
from huiying.service.senders import Senders
from huiying.service.services import Services
from huiying.store import heartbeats, outbox
from huiying.store import tables as t
from huiying.store.db import Tx

SLOTS_ON_SQLITE = 1
SLOTS_ON_POSTGRESQL = 4
MOST_WAITING = 3
#: More than this many due at once is a storm, which is the engine's.
CALM = 3
LONGEST_PAUSE = 0.2
#: How long before it is due an event's run is created, so that its body stands ready at the instant.
LEAD_SECONDS = 0.6
#: An event that is later than this is left to the engine, which takes over a second after it was due.
LATEST_START = timedelta(seconds=0.7)
#: How long Prefect may take until a run's body begins, and, once the body has ended, until the run is closed.
START_SECONDS = 1.5
CLOSE_SECONDS = 4.0
#: After this a run that only waits (for a slow receiver) no longer keeps the next one from starting.
PATIENT_SECONDS = 2.0
MOST_OPEN = 8
STOP_SECONDS = 1.8
_DRAIN_SECONDS = 0.4
_HEALTH_EVERY = 2.0
_QUIET = timedelta(seconds=2)
_BEAT_EVERY = 1.0

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Due:
    """An event that falls due at ``start_at`` (monotonic) and may be begun until ``until``."""

    account: Account
    start_at: float
    until: float


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at our table has found."""

    events: list[Due]
    pause: float
    quiet: bool


@dataclass
class Run:
    """One flow run in this process; ``flow_run_id`` once Prefect has created it."""

    work: Work
    flow_run_id: UUID | None = None
    closed: bool = False

    def note_id(self, flow_run_id: UUID) -> None:
        self.flow_run_id = flow_run_id


@dataclass
class _Threads:
    """Threads that cannot be used up by each other's waiting: flows' steps, looking, heartbeats, reconciling."""

    flows: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(24, "flow"))
    look: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "look"))
    beat: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "beat"))
    reconcile: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "reconcile"))

    def close(self) -> None:
        for pool in (self.flows, self.look, self.beat, self.reconcile):
            pool.shutdown(wait=False, cancel_futures=True)


class Runner:
    """One life of the runner; ``run`` returns after ``stop``."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._senders = Senders(services)
        self.hand = new_hand(services.settings.node, "runner", PREFECT)
        self._writing = threading.Lock()
        self._breaker = Breaker()
        api = make_api(services.settings)
        self._reconciler = Reconciler(services, api)
        self._retention = Retention(services.store, api, services.settings.prefect_history_days)
        self._pace = 0.2 if on_postgresql(services.settings) else 1.0
        self._flow_ids: dict[EventKind, UUID] = {}
        self._seen: dict[int, float] = {}
        self._waiting: set[int] = set()
        self._open: set[int] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._attending: set[asyncio.Task[None]] = set()
        #: Calls into Prefect, those included that were left behind and have not come back yet.
        self._passages: set[asyncio.Task[None]] = set()
        self._quiet = False
        self._taken_up = False

    # -- life --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until ``stop``; everything this touches belongs to this loop."""
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._beat_now = asyncio.Event()
        self._check_now = asyncio.Event()
        self._slots = asyncio.Semaphore(
            SLOTS_ON_POSTGRESQL if on_postgresql(self._services.settings) else SLOTS_ON_SQLITE
        )
        self._threads = _Threads()
        self._loop.set_default_executor(self._threads.flows)
        async with sdk.connected() as client:
            self._client = client
            self._keep(asyncio.to_thread(warm_up, self._services, self._senders))
            turns = (self._look, self._beat, self._watch, self._reconcile)
            loops = [self._keep(self._repeat(turn)) for turn in turns]
            await self._stopping.wait()
            await self._end()
            for task in loops:
                task.cancel()
            await asyncio.wait(loops, timeout=0.2)
        self._threads.close()

    def stop(self) -> None:
        """End soon; may be called from any thread."""
        with contextlib.suppress(AttributeError, RuntimeError):  # the loop has not begun or has ended
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def _end(self) -> None:
        """Promise nothing more, and let what has begun send and record."""
        farewell = self._keep(self._in(self._threads.beat, self._write_beat, False))  # noqa: FBT003 - not healthy
        await asyncio.wait([farewell, *self._attending], timeout=STOP_SECONDS)

    def _keep(self, work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        """Start a task that nobody waits for."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            logger.opt(exception=fault).error("a task of the runner failed")

    async def _repeat(self, turn: Callable[[], Coroutine[Any, Any, float]]) -> None:
        """Do something again and again; a turn gives the seconds to wait, and no fault of one turn ends the others."""
        while True:
            try:
                pause = await turn()
            except Unavailable as error:
                logger.warning("{}: {}", turn.__name__, error.message)
                pause = LONGEST_PAUSE
            except Exception:  # noqa: BLE001 - the next turn may succeed
                logger.exception("{} failed", turn.__name__)
                pause = 1.0
            await asyncio.sleep(pause)

    async def _in(self, pool: ThreadPoolExecutor, function: Callable[..., R], *arguments: object) -> R:
        return await self._loop.run_in_executor(pool, function, *arguments)

    # -- looking -----------------------------------------------------------------------------------------------------

    async def _look(self) -> float:
        look = await self._in(self._threads.look, self._read)
        self._quiet = look.quiet
        for event in look.events:
            self._take(event)
        return look.pause

    def _read(self) -> Look:
        """What is to be prepared before the next look, each with its instant on the monotonic clock."""
        with self._store.reading() as tx:
            if outbox.is_held(tx):
                return Look([], LONGEST_PAUSE, quiet=True)
            now, since = tx.now, monotonic()
            ahead = timedelta(seconds=LEAD_SECONDS + LONGEST_PAUSE)
            rows = tx.all(_NEXT, {"after": now - LATEST_START, "most": CALM + MOST_WAITING + 1})
            if outbox.count_due(tx, now, CALM + 1) > CALM:
                return Look([], LONGEST_PAUSE, quiet=False)
            near = [row for row in rows if row.due_at <= now + ahead and row.id not in self._seen]
            events = [event for row in near if (event := _due(tx, row, now, since)) is not None]
            soon = any(row.due_at <= now + _QUIET for row in rows)
        return Look(events, LONGEST_PAUSE, quiet=not soon)

    def _take(self, event: Due) -> None:
        action_id = event.account.action_id
        if not self._breaker.closed or len(self._waiting) >= MOST_WAITING or len(self._open) >= MOST_OPEN:
            return
        self._seen[action_id] = event.until + 60.0
        for old in [key for key, until in self._seen.items() if until < monotonic()]:
            del self._seen[old]
        self._waiting.add(action_id)
        task = self._keep(self._attend(event))
        self._attending.add(task)
        task.add_done_callback(self._attending.discard)

    # -- one event ---------------------------------------------------------------------------------------------------

    async def _attend(self, event: Due) -> None:
        """Wait for the time and for a free slot, then carry the event out; too late is the engine's."""
        try:
            await asyncio.sleep(max(0.0, event.start_at - LEAD_SECONDS - monotonic()))
            async with asyncio.timeout(max(0.0, event.until - monotonic())):
                await self._slots.acquire()
        except TimeoutError:
            return
        finally:
            self._waiting.discard(event.account.action_id)
        slot = _Slot(self._slots)
        try:
            if self._breaker.closed and not self._stopping.is_set():
                await self._carry_out(event, slot)
        finally:
            slot.release()

    async def _carry_out(self, event: Due, slot: _Slot) -> None:
        account = event.account
        work = Work(self._services, self._senders, self.hand, account.action_id, event.start_at, self._writing)
        run = Run(work)
        self._open.add(account.action_id)
        passage = self._keep(self._pass(account, run))
        self._passages.add(passage)
        passage.add_done_callback(self._passages.discard)
        try:
            in_time = await self._see_through(passage, work, slot)
        finally:
            self._open.discard(account.action_id)
        self._note(succeeded=in_time and (run.closed or work.stalled))
        slot.release()
        if work.expansion is not None:
            await self._settle(run)

    async def _see_through(self, passage: asyncio.Task[None], work: Work, slot: _Slot) -> bool:
        """Wait until the run is closed; False when Prefect took too long before the body began or after it had ended."""
        begun = self._loop.create_task(work.begun.wait())
        idle = self._loop.create_task(work.waits.wait())
        ended = self._loop.create_task(work.ended.wait())
        try:
            await _first(START_SECONDS, passage, begun)
            if not passage.done() and not work.begun.is_set():
                passage.cancel()
                return False
            await _first(max(0.0, work.start_at - monotonic()) + PATIENT_SECONDS, passage, idle, ended)
            if not work.ended.is_set():
                slot.release()
            await _first(None, passage, ended)
            await _first(CLOSE_SECONDS, passage)
            if passage.done():
                return True
            passage.cancel()
            return False
        finally:
            for waiter in (begun, idle, ended):
                waiter.cancel()

    async def _pass(self, account: Account, run: Run) -> None:
        """Through Prefect, from the creation of the run to its final state; its faults end here."""
        incident_events.give(run.work)
        try:
            flow_id = await self._flow_id(account.kind)
            order = sdk.Order(flow_id, account.key, account.name, account.tags, account.parameters)
            state = await sdk.run(FLOWS[account.kind], order, run.note_id)
            run.closed = state.is_completed() or state.is_cancelled()
        except sdk.AlreadyMade:  # by another node's runner, or in a former life of ours
            run.closed = True
        except Exception as fault:  # noqa: BLE001 - whatever Prefect raises says only that Prefect failed
            self._flow_ids.clear()  # its database may be another one now
            logger.warning("Prefect failed for action {}: {}", account.action_id, type(fault).__name__)

    async def _flow_id(self, kind: EventKind) -> UUID:
        if kind not in self._flow_ids:
            self._flow_ids[kind] = await self._client.create_flow(FLOWS[kind])
        return self._flow_ids[kind]

    async def _settle(self, run: Run) -> None:
        """Note the flow run of an event that was claimed; without a closed one its history is owed."""
        done = str(run.flow_run_id) if run.closed and run.flow_run_id else None
        while not self._stopping.is_set():
            try:
                await asyncio.to_thread(self._write_settled, run.work.action_id, done)
            except Unavailable as error:
                logger.warning("history of action {} not noted: {}", run.work.action_id, error.message)
                await asyncio.sleep(1.0)
            else:
                return

    def _write_settled(self, action_id: int, flow_run_id: str | None) -> None:
        with self._writing:
            self._reconciler.settle(self.hand.actor, action_id, flow_run_id)

    def _note(self, *, succeeded: bool) -> None:
        self._breaker.note_run(monotonic(), succeeded=succeeded)
        if not succeeded:
            self._check_now.set()
        if not self._breaker.closed:
            self._beat_now.set()

    # -- signs of life -----------------------------------------------------------------------------------------------

    async def _beat(self) -> float:
        """Say every second, and at once when it changes, whether events may be left to us for a second."""
        self._beat_now.clear()
        await self._in(self._threads.beat, self._write_beat, self._breaker.closed and not self._stopping.is_set())
        await _wait(self._beat_now, _BEAT_EVERY)
        return 0.0

    def _write_beat(self, healthy: bool) -> None:  # noqa: FBT001 - handed through an executor
        with self._store.transaction(self.hand.actor) as tx:
            heartbeats.beat(tx, self.hand.process, self.hand.boot_id, {"healthy": healthy, "open": len(self._open)})

    async def _watch(self) -> float:
        """Ask Prefect how it is: often enough that a dead server is known before an event falls due."""
        self._check_now.clear()
        if self._breaker.probe_due(monotonic()):
            answered = await self._answers(self._probe())
            self._breaker.note_probe(monotonic(), answered=answered)
            if answered:
                logger.info("Prefect answers: events run through it")
                self._beat_now.set()
        elif self._breaker.closed and not await self._answers(self._client.request("GET", "/health")):
            self._note(succeeded=False)
        await _wait(self._check_now, _HEALTH_EVERY if self._breaker.closed else 0.25)
        return 0.0

    async def _probe(self) -> None:
        """Something that needs the server, our credentials and its database, and leaves nothing behind."""
        self._flow_ids.clear()
        await self._flow_id(EventKind.REMINDER)

    async def _answers(self, question: Coroutine[Any, Any, Any]) -> bool:
        try:
            async with asyncio.timeout(START_SECONDS):
                await question
        except Exception:  # noqa: BLE001 - whatever it is, it is no answer
            return False
        return True

    # -- history -----------------------------------------------------------------------------------------------------

    async def _reconcile(self) -> float:
        """Fill in the history of what the engine did alone, and cut its old end, when nothing else is going on."""
        if not self._taken_up:
            await self._in(self._threads.reconcile, self._reconciler.take_up, self.hand)
            self._taken_up = True
        if self._breaker.closed and self._quiet and not self._passages and not self._waiting:
            told = await self._in(self._threads.reconcile, self._reconciler.step, self.hand.actor)
            if not told:
                await self._in(self._threads.reconcile, self._retention.step)
        return self._pace


@dataclass
class _Slot:
    """A place among the concurrent runs, given back once."""

    slots: asyncio.Semaphore
    held: bool = True

    def release(self) -> None:
        if self.held:
            self.held = False
            self.slots.release()


_A = t.timed_action.c
_NEXT = (
    sa.select(_A.id, _A.due_at)
    .where(sa.text("timed_action.state = 'pending'"), _A.due_at > sa.bindparam("after"))
    .order_by(_A.due_at, _A.urgency, _A.id)
    .limit(sa.bindparam("most"))
)


def _due(tx: Tx, row: Any, now: datetime, since: float) -> Due | None:
    """An event with its instant; None for one that cannot be shown, which the engine carries out all the same."""
    try:
        account = load_account(tx, row.id)
    except (HuiyingError, ValueError) as error:
        logger.error("action {} cannot be shown: {}", row.id, type(error).__name__)
        return None
    start_at = since + (row.due_at - now).total_seconds()
    return Due(account, start_at, start_at + LATEST_START.total_seconds())


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


async def _first(seconds: float | None, *tasks: asyncio.Task[Any]) -> None:
    await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


def on_postgresql(settings: Settings) -> bool:
    """Where Prefect keeps its history decides how much it can take."""
    return bool(settings.prefect_database_url)


def make_api(settings: Settings) -> PrefectApi:
    """The plain caller of this installation's Prefect server."""
    auth = prefect_server.load_or_create_auth_string(settings.data_dir)
    return PrefectApi(prefect_server.api_url(settings.prefect_port), auth)


# -- the process -----------------------------------------------------------------------------------------------------


def main(services: Services) -> None:
    """Run until SIGTERM or Ctrl-C. Never returns: Prefect's own ending waits for a server that may not answer."""
    logging.getLogger("prefect").setLevel(logging.WARNING)
    for told_by_our_tables in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(told_by_our_tables).setLevel(logging.CRITICAL)
    ends: queue.SimpleQueue[int] = queue.SimpleQueue()  # may be used inside a signal handler
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ends.put(0))
    runner = Runner(services)
    thread = threading.Thread(target=_run, args=(runner, ends), name="runner", daemon=True)
    thread.start()
    code = ends.get()
    runner.stop()
    thread.join(STOP_SECONDS + 0.4)
    sdk.drain(_DRAIN_SECONDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(runner: Runner, ends: queue.SimpleQueue[int]) -> None:
    try:
        asyncio.run(runner.run())
    except BaseException:  # noqa: BLE001 - the process must end, so that the supervisor starts another
        logger.exception("the runner failed")
        ends.put(1)
