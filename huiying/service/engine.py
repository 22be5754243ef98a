"""The engine: looks, decides, sends, records. It never waits for Prefect and holds no truth of its own.

``tick`` is one look at the queues: expand what is due, claim what is visible, hand it to the sender threads, and say how
long nothing will be due. Somebody else decides when to look (``schedules.ticker``); the senders only ask for another look
when they run low. Every step is a transaction of its own, so that a kill at any point loses nothing.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from loguru import logger

from huiying.domain.compose import Letter, compose
from huiying.domain.errors import Unavailable
from huiying.domain.kinds import Audience, Band, ChannelKind, EventKind
from huiying.domain.retry import BREAKER_AFTER, Breaker
from huiying.now import monotonic
from huiying.service.breaches import sweep_breaches
from huiying.service.claims import Claimed, claim_due
from huiying.service.delivery import SEND_SECONDS, Attempt, give_back, record_outcomes, send_claimed
from huiying.service.expand import MOST_AT_ONCE, Batch, expand_due, stale_after
from huiying.service.hand import new_hand
from huiying.service.lanes import Lanes
from huiying.service.outage import consolidate_backlog
from huiying.service.recorder import Recorder
from huiying.service.senders import Senders
from huiying.service.services import Services
from huiying.service.turns import Turns
from huiying.store import heartbeats, outbox, scenes
from huiying.store import tables as t
from huiying.store.db import Tx
from notifiers.templates import Form, render

#: How long a fresh action is left to a healthy runner.
GUARD = timedelta(seconds=1)
#: More than this many due at once is a storm, which the engine takes at once.
CALM = 3
_NOW = timedelta(0)
_NEVER = float("inf")
_HEARTBEAT_FRESH = timedelta(seconds=3)
_SWEEP_SECONDS = 2.0
_TIDY_SECONDS = 60.0
_BREACH_GRACE = timedelta(seconds=1.5)
#: Nothing waits longer than this: parking and Retry-After are capped at ten minutes.
_LONGEST_WAIT = timedelta(minutes=11)
_MOST_WAITING = 768
#: A look that found everything taken is repeated after this; the senders ask earlier when they run low.
_BUSY_SECONDS = 0.05
_IDLE_SECONDS = 1.0
_INBOX_LATER = 10
#: Whoever watches the looks must see them come back, in a storm too.
_LONGEST_LOOK = 0.5


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at the queues has found, when, and how long fresh actions are left to the runner."""

    found: outbox.Outlook
    now: datetime
    #: When ``now`` was read, on the monotonic clock: what is found lies that much nearer by the time it is used.
    read_at: float
    guard: timedelta
    is_progress: bool = True

    @property
    def until_action(self) -> float:
        at = self.found.next_action_at
        return _NEVER if at is None else (at + self.guard - self.now).total_seconds() - (monotonic() - self.read_at)

    @property
    def until_delivery(self) -> float:
        at = self.found.next_delivery_at
        return _NEVER if at is None else (at - self.now).total_seconds() - (monotonic() - self.read_at)

    @property
    def has_action(self) -> bool:
        return self.until_action <= 0

    @property
    def has_delivery(self) -> bool:
        return self.until_delivery <= 0

    def is_backlog(self, stale: timedelta) -> bool:
        return self.found.next_action_at is not None and self.now - self.found.next_action_at > stale


def _is_healthy(found: outbox.Outlook, now: datetime) -> bool:
    """The runner has said so lately; a heartbeat that lies ahead (clock set back) does not count."""
    if found.runner_at is None or not found.runner_healthy:
        return False
    return -_HEARTBEAT_FRESH < now - found.runner_at < _HEARTBEAT_FRESH


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine works. A second sender process has another name and may leave the expanding to the first."""

    name: str = "engine"
    expand_actions: bool = True
    widest_lane: int = 256
    most_threads: int = 320
    send_seconds: float = SEND_SECONDS


class Engine:
    """One process's share of the work; several engines on one store divide it by claiming."""

    def __init__(self, services: Services, options: EngineOptions | None = None) -> None:
        self._services = services
        self._options = options or EngineOptions()
        self.hand = new_hand(services.settings.node, self._options.name)
        self._senders = Senders(services)
        self._lanes: Lanes[Claimed] = Lanes(
            self._send,
            places=services.settings.sender_threads,
            widest=self._options.widest_lane,
            most_threads=self._options.most_threads,
            on_low=self.wake,
        )
        self._recorder = Recorder(self._record, self._let_go)
        self._ticking = threading.Lock()
        self._turns = Turns()
        self._holding: set[str] = set()
        self._parked: dict[str, tuple[float, datetime]] = {}
        self._awake = threading.Event()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._next_sweep = 0.0
        self._next_tidy = 0.0
        self._runner = f"{services.settings.node}/runner"
        self._expected = _NEVER
        self._held = False
        self._fault = ""

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Void what former lives of this process were holding, then begin to work."""
        with self._services.store.transaction(self.hand.actor) as tx:
            ensure_inbox(tx)
            voided = outbox.release_owned_before(tx, self.hand.process, self.hand.owner)
            if voided:
                tx.audit("leases.voided", "deliveries", {"count": voided})
            self._warm_up(tx)
        self._recorder.start()
        self._threads = [
            threading.Thread(target=self._pump, name="pump", daemon=True),
            threading.Thread(target=self._beat, name="heartbeat", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _warm_up(self, tx: Tx) -> None:
        """Make now what the first due message should not have to wait for: statements, templates, senders."""
        outbox.rehearse(tx)
        scenes.rehearse(tx)
        render(compose(Letter("", EventKind.TEST, Band.INFO), tx.now), Form.PLAIN)
        for row in scenes.channels(tx).values():
            with contextlib.suppress(ValueError):  # a channel that is set up wrongly says so when it is used
                self._senders.windows(row)
                if row.kind != ChannelKind.INBOX:
                    self._senders.notifier(row)

    def stop(self, seconds: float = 5.0) -> None:
        """Begin nothing more, give back what has not begun, record what has been sent."""
        self._stopping.set()
        self._awake.set()
        for lane_id in self._lanes.ids():
            for claimed in self._lanes.take_back(lane_id):
                self._recorder.put(give_back(claimed))
        self._lanes.close(seconds)
        self._recorder.close(seconds)
        for thread in self._threads:
            thread.join(1.0)
        self._senders.close()

    def wake(self) -> None:
        """Ask for a look soon."""
        self._awake.set()

    def is_idle(self) -> bool:
        """True when this process holds nothing."""
        return not self._lanes.waiting() and not self._lanes.busy() and not self._recorder.waiting

    def _pump(self) -> None:
        """Look again when the senders run low or recording made new work; the ticker looks at everything else."""
        while not self._stopping.is_set():
            self._awake.wait()
            self._awake.clear()
            try:
                self.tick()
            except Exception:  # noqa: BLE001 - the ticker says the same; this thread has to go on
                logger.exception("a look failed")

    # -- looking -----------------------------------------------------------------------------------------------------

    def tick(self) -> float:
        """One look; gives the seconds until the next thing is due. Never raises for what the store does."""
        if not self._ticking.acquire(blocking=False):
            return _BUSY_SECONDS
        try:
            pause = self._tick()
            self._fault = ""
        except Unavailable as error:
            self._fault = error.message
            logger.error("the engine cannot look: {}", error.message)
            return _IDLE_SECONDS
        finally:
            self._ticking.release()
        return pause

    def _look(self) -> _Look:
        with self._services.store.reading() as tx:
            read_at = monotonic()
            found = outbox.outlook(tx, self._runner)
            guard = GUARD if _is_healthy(found, tx.now) and outbox.count_due(tx, tx.now, CALM + 1) <= CALM else _NOW
            return _Look(found, tx.now, read_at, guard)

    def _tick(self) -> float:
        if self._stopping.is_set():
            return _IDLE_SECONDS
        until = monotonic() + _LONGEST_LOOK
        # The last look has named this moment: do not ask again first.
        look = self._expand(_NOW) if self._expected <= monotonic() else self._look()
        self._sweep()
        while self._has_work(look) and self._lanes.waiting() < _MOST_WAITING:
            if monotonic() > until:
                return 0.0
            following = self._work(look)
            if following is None:
                break
            look = following
        self._note_held(look.found.held)
        return self._pause(look)

    def _has_work(self, look: _Look) -> bool:
        return not look.found.held and (self._has_action(look) or look.has_delivery)

    def _has_action(self, look: _Look) -> bool:
        return self._options.expand_actions and look.has_action

    def _work(self, look: _Look) -> _Look | None:
        """Do what one look has found; gives the next look, or None when there was nothing this process could take."""
        following = None
        if self._has_action(look):
            backlog = look.is_backlog(stale_after(self._services))
            after = self._consolidate() if backlog else self._expand(look.guard)
            following = after if after.is_progress else None
        if look.has_delivery and self._claim():
            following = self._look()
        return following

    def _consolidate(self) -> _Look:
        with self._turns.turn():
            digest = consolidate_backlog(self._services, self._senders, self.hand, self._lanes.room)
        if digest is not None:
            self._dispatch(digest.claimed)
        return self._look() if digest is not None else self._expand(_NOW)

    def _expand(self, guard: timedelta) -> _Look:
        self._expected = _NEVER
        with self._turns.turn():
            batch: Batch = expand_due(
                self._services,
                self._senders,
                self.hand,
                room=self._lanes.room,
                older_than=guard,
                runner=self._runner,
            )
        self._dispatch(batch.claimed)
        if batch.ahead is None or batch.now is None or _is_healthy(batch.ahead, batch.now):
            return replace(self._look(), is_progress=bool(batch.expansions))
        return _Look(batch.ahead, batch.now, batch.began, _NOW, bool(batch.expansions))

    def _claim(self) -> int:
        with self._turns.turn():
            claimed = claim_due(
                self._services,
                self._senders,
                self.hand,
                room=self._lanes.room,
                most=MOST_AT_ONCE,
                closed=self._lanes.full(),
                holding=self._holding,
            )
        self._dispatch(claimed)
        return len(claimed)

    def _pause(self, look: _Look) -> float:
        """Seconds until there is something to do; what is due and could not be taken is looked at again very soon."""
        if look.found.held:
            self._expected = _NEVER
            return _IDLE_SECONDS
        action = look.until_action if self._options.expand_actions else _NEVER
        self._expected = monotonic() + action if action > 0 and not look.guard else _NEVER
        pause = min(action, look.until_delivery, _IDLE_SECONDS)
        return pause if pause > 0 else _BUSY_SECONDS

    def _note_held(self, held: bool) -> None:  # noqa: FBT001
        if held and not self._held:
            logger.warning("dispatch is held: nothing is sent until somebody confirms")
        self._held = held

    # -- keeping house -----------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Breaches that no action records; and, now and then, what time has made needless."""
        now = monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_SECONDS
            with self._turns.turn():
                sweep_breaches(self._services, self.hand, _BREACH_GRACE)
        if now >= self._next_tidy:
            self._next_tidy = now + _TIDY_SECONDS
            with self._turns.turn(), self._services.store.transaction(self.hand.actor) as tx:
                outbox.sweep_ledger(tx, tx.now - timedelta(hours=1))
                outbox.clamp_waits(tx, tx.now + _LONGEST_WAIT)

    def clock_stepped(self, seconds: float) -> None:
        """The wall clock jumped: the chain keeps it, and no delivery waits for a moment that has moved away."""
        with self._turns.turn(), self._services.store.transaction(self.hand.actor) as tx:
            tx.audit("clock_step", f"process:{self.hand.process}", {"milliseconds": round(seconds * 1000)})
            outbox.clamp_waits(tx, tx.now + _LONGEST_WAIT)
            outbox.sweep_ledger(tx, tx.now - timedelta(hours=1))
        self.wake()

    def _beat(self) -> None:
        while not self._stopping.wait(1.0):
            try:
                with self._turns.turn(), self._services.store.transaction(self.hand.actor) as tx:
                    heartbeats.beat(tx, self.hand.process, self.hand.boot_id, self._state(tx))
            except Unavailable as error:
                logger.warning("no heartbeat: {}", error.message)
            except Exception:  # noqa: BLE001 - the next beat may succeed; a thread that ends here never beats again
                logger.exception("no heartbeat")

    def _state(self, tx: Tx) -> dict[str, Any]:
        look = outbox.outlook(tx, self._runner)
        late = tx.now - look.next_action_at if look.next_action_at is not None else timedelta(0)
        state: dict[str, Any] = {
            "healthy": not self._fault,
            "waiting": self._lanes.waiting(),
            "sending": self._lanes.busy(),
            "late_seconds": max(0, int(late.total_seconds())),
        }
        if look.held:
            state |= {"held": True, "note": "通知已暂停发送：等待确认后放行"}
        if self._fault:
            state["fault"] = self._fault
        return state

    # -- sending -----------------------------------------------------------------------------------------------------

    def _dispatch(self, claimed: Sequence[Claimed]) -> None:
        """What leaves the house goes first; an inbox is in the house and loses nothing by a moment."""
        self._holding.update(item.notice_no for item in claimed)
        for item in {item.channel_id: item for item in claimed}.values():
            if item.is_inbox or item.channel.failures >= BREAKER_AFTER or self._senders.windows(item.channel):
                # A probe goes alone; a robot's messages appear in a chat in the order in which they are sent.
                self._lanes.limit(item.channel_id, 1)
        self._lanes.put(
            (item.channel_id, item.urgency + (_INBOX_LATER if item.is_inbox else 0), item) for item in claimed
        )

    def _send(self, claimed: Claimed) -> None:
        """Send one; what has waited too long for its turn is given back, so that no lease runs out in a queue."""
        trust = max(self._services.settings.lease_seconds - self._options.send_seconds - 2.0, 1.0)
        until = claimed.held_since + trust
        there_is_room = self._recorder.wait_for_room(until - monotonic())
        if self._stopping.is_set() or not there_is_room or monotonic() > until:
            self._recorder.put(give_back(claimed))
        elif (again_at := self._parked_since(claimed)) is not None:
            self._recorder.put(give_back(claimed, again_at))
        else:
            self._recorder.put(send_claimed(self._senders, claimed, self._options.send_seconds))

    def _parked_since(self, claimed: Claimed) -> datetime | None:
        """Until when its channel is parked, if that happened after it was claimed."""
        since, until = self._parked.get(claimed.channel_id, (0.0, claimed.claimed_at))
        return until if claimed.held_since < since else None

    def _record(self, attempts: Sequence[Attempt]) -> None:
        with self._turns.turn(first=True):
            recorded = record_outcomes(self._services, self.hand, attempts)
        self._let_go(attempts)
        for channel_id, breaker in recorded.breakers.items():
            self._mind_breaker(channel_id, breaker)
        if recorded.made or recorded.breakers:
            self.wake()

    def _let_go(self, attempts: Sequence[Attempt]) -> None:
        """What is recorded, or never can be, may be claimed again when its row says so."""
        self._holding.difference_update([attempt.claimed.notice_no for attempt in attempts])

    def _mind_breaker(self, channel_id: str, breaker: Breaker) -> None:
        """A parked channel's queue goes back to the outbox; a recovered one gets its places again."""
        if breaker.failures < BREAKER_AFTER:
            self._parked.pop(channel_id, None)
            self._lanes.usual_places(channel_id)
            return
        if breaker.parked_until is not None:
            self._parked[channel_id] = monotonic(), breaker.parked_until
        self._lanes.limit(channel_id, 1)
        for claimed in self._lanes.take_back(channel_id):
            self._recorder.put(give_back(claimed, breaker.parked_until))


def calm_collector() -> None:
    """For a process that does nothing else: a storm's many short-lived rows need not be searched for cycles so often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def ensure_inbox(tx: Tx) -> None:
    """Deliveries into inboxes name a channel like all others."""
    known = tx.value(sa.select(t.channel.c.id).where(t.channel.c.kind == str(ChannelKind.INBOX)))
    if known is None:
        tx.run(
            t.channel.insert().values(
                id=str(ChannelKind.INBOX),
                name=ChannelKind.INBOX.zh,
                kind=str(ChannelKind.INBOX),
                audience=str(Audience.PERSONAL),
                rank=0,
            )
        )
