"""Hundreds of hours in half a minute: the real core, store and delivery against a virtual clock, with crashes anywhere.

One thread, one source of chance, so that a seed makes everything again. The desk registers, grades, releases,
acknowledges and assigns; the engine's own functions expand, claim, send and record; either of them may die at any named
crash point, the engine may be down for minutes or for days, and the other side refuses, drops answers or parks. After
every step the invariants are asked: nothing early, nothing forgotten, nothing told about a clock that had ended.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import sqlalchemy as sa

from config.sealed import Sealer
from config.settings import Settings
from huiying.domain.errors import HuiyingError
from huiying.domain.expansion import CLOCK_KINDS
from huiying.domain.kinds import (
    ClockState,
    GradeBasis,
    Kind,
    PublicationKind,
    Severity,
    TimeKind,
)
from huiying.domain.message import Notice
from huiying.domain.outcome import Accepted, Outcome, Permanent, RateLimited, Transient
from huiying.service import audit as audit_service
from huiying.service import claims, delivery, expand, incidents, rulebook
from huiying.service.breaches import sweep_breaches
from huiying.service.engine import ensure_inbox
from huiying.service.hand import Hand
from huiying.service.outage import consolidate_backlog
from huiying.service.requests import (
    AckRequest,
    GradeRequest,
    RegisterRequest,
    ReleaseRequest,
    TimeInput,
    TransferInput,
)
from huiying.service.senders import Senders
from huiying.service.services import Services
from huiying.store import db, outbox
from huiying.store import tables as t
from huiying.store.db import Store, open_engine
from huiying.store.schema import upgrade
from notifiers.contract import Address, ChannelConfig
from tests.fakes.clock import FakeClock
from tests.trials import stage
from tests.trials.setting import Setting
from tests.trials.table import Row

_BEGIN = datetime(2026, 9, 28, 1, 0, tzinfo=UTC)
#: An engine that has been up this long, with every channel well for as long, has nothing overdue.
_SETTLED_AFTER = timedelta(minutes=12)
_MOST_LATE = timedelta(seconds=90)
_MOST_ROUNDS = 60


class Killed(BaseException):
    """The process died here; nothing that only it knew is left."""


@dataclass
class World:
    """Everything that outlives a process, the virtual outside included."""

    chance: random.Random
    clock: FakeClock
    services: Services
    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)
    known: dict[str, int] = field(default_factory=dict)
    well_since: datetime = _BEGIN
    up_since: datetime | None = None
    crash_share: float = 0.0
    ill: str = ""

    def blame(self, what: str) -> None:
        """An invariant does not hold."""
        self.faults.append(f"at {self.clock().isoformat()}: {what}")

    def crash_point(self, name: str) -> None:
        """Where the product may be killed."""
        self.counts["points"] += 1
        if self.chance.random() < self.crash_share:
            self.counts[f"killed at {name}"] += 1
            raise Killed(name)


class Outside:
    """The other side of a channel."""

    def __init__(self, world: World, channel: str) -> None:
        self._world = world
        self._channel = channel

    def send(self, notice: Notice, to: Address, now: datetime, deadline_seconds: float) -> Outcome:
        """Mostly well; ill when the world says so; never the same twice."""
        world = self._world
        chance = world.chance.random()
        if world.ill == self._channel:
            return Transient("无法连接", code="connect")
        if chance < 0.01:
            return Transient("对方繁忙", code="500")
        if chance < 0.015:
            return RateLimited(now + timedelta(seconds=20), "429")
        if chance < 0.017:
            return Permanent("对方拒收", code="410")
        world.received[notice.notice_no] += 1
        _judge_message(world, notice.notice_no)
        return Transient("没有回答", code="timeout", ambiguous=True) if chance < 0.03 else Accepted(notice.notice_no)

    def close(self) -> None:
        """Nothing is held."""


def _judge_message(world: World, number: str) -> None:
    """At the moment of arrival: due, and not about something that had ended before it was claimed."""
    with world.services.store.reading() as tx:
        row = tx.one(
            sa.select(t.timed_action.c.due_at, t.timed_action.c.kind, t.clock.c.state, t.delivery.c.state.label("own"))
            .select_from(t.delivery.join(t.timed_action, t.timed_action.c.id == t.delivery.c.action_id))
            .outerjoin(t.clock, t.clock.c.id == t.timed_action.c.clock_id)
            .where(t.delivery.c.notice_no == number)
        )
    world.counts["messages"] += 1
    if row is None:
        world.blame(f"{number} is in no table")
    elif row.due_at > world.clock():
        world.blame(f"{number} left {row.due_at - world.clock()} early")
    elif row.own != "sending":
        world.blame(f"{number} was sent while it was {row.own}")
    elif row.kind in CLOCK_KINDS and row.state is not None and not ClockState(row.state).is_open:
        world.blame(f"{number} speaks of a clock that is {row.state}")


# -- the engine ----------------------------------------------------------------------------------------------------------


class Life:
    """One life of the engine, in turns instead of threads."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self._services = world.services
        self._hand = Hand("sim/engine", f"{number:08x}")
        self._senders = Senders(world.services)
        with world.services.store.transaction(self._hand.actor) as tx:
            ensure_inbox(tx)
            outbox.release_owned_before(tx, self._hand.process, self._hand.owner)

    def turn(self) -> None:
        """Look, decide, send, record, until nothing is left to do at this moment."""
        for _ in range(_MOST_ROUNDS):
            held = self._take()
            if not held:
                break
            while held:
                size = self._world.chance.randint(1, 12)
                batch, held = held[:size], held[size:]
                attempts = [delivery.send_claimed(self._senders, claimed) for claimed in batch]
                delivery.record_outcomes(self._services, self._hand, attempts)
        sweep_breaches(self._services, self._hand, timedelta(seconds=1.5))

    def _take(self) -> list[Any]:
        def room(_channel: str) -> int:
            return 32

        with self._services.store.reading() as tx:
            if outbox.is_held(tx):
                return []
        digest = consolidate_backlog(self._services, self._senders, self._hand, room)
        if digest is not None:
            self._world.counts["digests"] += 1
            return digest.claimed
        batch = expand.expand_due(self._services, self._senders, self._hand, room=room, older_than=timedelta(0))
        return batch.claimed or claims.claim_due(self._services, self._senders, self._hand, room=room, most=64)


# -- the desk ------------------------------------------------------------------------------------------------------------


class Desk:
    """What people do, at random; what they were told is remembered."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._number = 0

    def act(self) -> None:
        """One command; whatever the rules refuse is refused."""
        world = self._world
        actions: list[tuple[float, Callable[[str], Any]]] = [
            (0.25, self._release),
            (0.15, self._grade),
            (0.15, self._acknowledge),
            (0.15, self._task),
            (0.1, self._transfer),
            (0.2, self._close),
        ]
        world.counts["commands"] += 1
        if not world.known or world.chance.random() < 0.3:
            self._register()
            return
        no = world.chance.choice(sorted(world.known))
        action = world.chance.choices([entry[1] for entry in actions], [entry[0] for entry in actions])[0]
        with suppress(HuiyingError):
            action(no)

    def _register(self) -> None:
        world = self._world
        self._number += 1
        now = world.clock()
        kind = world.chance.choice(list(Kind))
        severity = world.chance.choice([None, *Severity]) if kind is Kind.EMERGENCY else None
        seen = now - timedelta(minutes=world.chance.choice([1, 20, 150, 400]))
        transfer = None
        if world.chance.random() < 0.3:
            due = now + timedelta(minutes=world.chance.choice([15, 120, 1500]))
            transfer = TransferInput(f"示{self._number}", now, due)
        request = RegisterRequest(
            title=f"模拟{self._number}",
            kind=kind,
            severity=severity,
            criterion="示例依据" if severity else "",
            unit_id=stage.UNIT,
            times={TimeKind.DETECTED: TimeInput(seen, "值班记录", "minute")},
            transfer=transfer,
        )
        key = f"sim-{self._number}"
        while True:
            try:
                view = incidents.register(world.services, stage.OPERATOR, request, key)
            except Killed:
                world.counts["desk killed"] += 1
            else:
                break
        if view["title"] != request.title:
            world.blame(f"{key} was answered with {view['no']}")
        world.known[view["no"]] = len(view["clocks"])

    def _release(self, no: str) -> None:
        kind = self._world.chance.choice(list(PublicationKind))
        request = ReleaseRequest(kind, self._world.clock(), title="示例发布", url="https://news.example/1")
        incidents.record_release(self._world.services, stage.OPERATOR, no, request)

    def _grade(self, no: str) -> None:
        severity = self._world.chance.choice(list(Severity))
        basis = self._world.chance.choice([GradeBasis.INITIAL, GradeBasis.WORSENED, GradeBasis.CORRECTION])
        at = self._world.clock() if basis is GradeBasis.WORSENED else None
        request = GradeRequest(Kind.EMERGENCY, severity, basis, "示例依据", at)
        incidents.grade(self._world.services, stage.OPERATOR, no, request)

    def _acknowledge(self, no: str) -> None:
        incidents.acknowledge(self._world.services, stage.OPERATOR, no, AckRequest())

    def _task(self, no: str) -> None:
        due = self._world.clock() + timedelta(minutes=self._world.chance.choice([10, 90, 600]))
        incidents.add_task(self._world.services, stage.OPERATOR, no, "water", "核查", due)

    def _transfer(self, no: str) -> None:
        now = self._world.clock()
        request = TransferInput("示转", now, now + timedelta(minutes=self._world.chance.choice([30, 300])))
        incidents.add_transfer(self._world.services, stage.OPERATOR, no, request)

    def _close(self, no: str) -> None:
        incidents.close(self._world.services, stage.OPERATOR, no, "示例办结")
        self._world.known.pop(no)


# -- invariants ----------------------------------------------------------------------------------------------------------


def _judge_now(world: World) -> None:
    """What must hold whenever the engine has been up for a while and the outside is well."""
    now = world.clock()
    since = max(world.well_since, world.up_since or now)
    if world.up_since is None or now - since < _SETTLED_AFTER:
        return
    a, d = t.timed_action.c, t.delivery.c
    with world.services.store.reading() as tx:
        late = tx.all(sa.select(a.id, a.kind).where(a.state == "pending", a.due_at < now - _MOST_LATE).limit(3))
        stuck = tx.all(
            sa.select(d.notice_no, d.channel_id, d.visible_at)
            .where(
                d.state.in_(("pending", "sending")),
                d.created_at < now - _SETTLED_AFTER,
                d.visible_at < now - _MOST_LATE,
            )
            .limit(3)
        )
        unnoticed = tx.all(
            sa.select(t.clock.c.key).where(t.clock.c.state == "running", t.clock.c.due_at < now - _MOST_LATE).limit(3)
        )
    for row in late:
        world.blame(f"action {row.id} ({row.kind}) is overdue although the engine is up")
    for row in stuck:
        world.blame(f"{row.notice_no} on {row.channel_id} is stuck although all is well")
    for row in unnoticed:
        world.blame(f"the breach of {row.key} is not recorded")
    world.counts["judged"] += 1


def _judge_end(world: World) -> None:
    """After a last quiet stretch: nothing lost, nothing recorded twice, the chain whole."""
    with world.services.store.reading() as tx:
        numbers = {row.no for row in tx.all(sa.select(t.incident.c.no))}
        clocks = Counter(
            row.no for row in tx.all(sa.select(t.incident.c.no).join(t.clock, t.clock.c.incident_id == t.incident.c.id))
        )
        deliveries = tx.all(sa.select(t.delivery))
        became = sa.select(t.clock_event).where(
            t.clock_event.c.what == "breached", t.clock_event.c.state_from.in_(("running", "scheduled"))
        )
        breaches = Counter((row.clock_id, row.due_to) for row in tx.all(became))
        sound = tx.conn.exec_driver_sql("PRAGMA integrity_check").scalar()
    for no in world.known.keys() - numbers:
        world.blame(f"{no} was acknowledged and is lost")
    for no, count in world.known.items():
        if clocks[no] < count:
            world.blame(f"{no} has lost clocks")
    told = {row.notice_no for row in deliveries if row.state == "sent" and row.channel_id == stage.HOOK}
    for number in told - world.received.keys():
        world.blame(f"{number} is recorded as sent and was never received")
    for (clock, due), count in breaches.items():
        if count > 1:
            world.blame(f"the breach of clock {clock} at {due} was recorded {count} times")
    verdict = audit_service.verify(world.services.store)
    if sound != "ok" or not verdict.ok:
        world.blame(f"integrity {sound}, audit {verdict}")


# -- running -------------------------------------------------------------------------------------------------------------


def simulation(setting: Setting) -> Row:
    """520 simulated hours in ci, 10,000 in the long run, in stretches of 65 hours with a seed each."""
    stretches = 154 if setting.is_long else 8
    counts: Counter[str] = Counter()
    faults: list[str] = []
    for number in range(stretches):
        seed = setting.seed * 1000 + number
        world = simulate(seed, 65.0)
        counts += world.counts
        faults += [f"seed {seed}: {fault}" for fault in world.faults]
        setting.say(f"stretch {number + 1}/{stretches}, seed {seed}: {world.counts['messages']} messages")
    kills = sum(count for name, count in counts.items() if name.startswith("killed"))
    places = sum(name.startswith("killed") for name in counts)
    if kills < 5 * stretches or counts["judged"] < 50 * stretches or counts["digests"] < stretches / 2:
        faults.append(f"too little was tried: {dict(counts)}")
    return setting.row(
        f"{stretches * 65} hours, {counts['commands']} commands, {counts['messages']} messages, {kills} kills at {places}"
        f" points, {counts['digests']} digests, {counts['judged']} judgements, seeds {setting.seed}000–{stretches - 1}:"
        f" {len(faults)} violations",
        faults,
    )


def simulate(seed: int, hours: float) -> World:
    """One stretch; everything that happens follows from the seed."""
    chance = random.Random(seed)
    random.seed(seed)
    base = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=base if base.is_dir() else None) as folder:
        clock = FakeClock(_BEGIN)
        store = Store(open_engine(f"sqlite:///{Path(folder) / 'huiying.db'}"), clock, fixed_clock=True)
        upgrade(store.engine)
        settings = Settings(data_dir=Path(folder), node="sim", prefect_enabled=False)
        services = Services(store, settings, Sealer(Path(folder) / "seal.key"), b"k" * 32, None)
        world = World(chance, clock, services)

        def make(config: ChannelConfig) -> Outside:
            return Outside(world, config.channel_id)

        world.services = Services(store, settings, services.sealer, b"k" * 32, make)
        rulebook.sync(world.services)
        stage.furnish_with(world.services)
        stage.add_hook(world.services, stage.HOOK, "https://receiver.example/hook")
        stage.add_robot(world.services, stage.ROBOT, "https://receiver.example/robot?key=k")
        with _bent(world):
            _run(world, hours)
        store.close()
    return world


@contextmanager
def _bent(world: World) -> Iterator[None]:
    """Every clock and every crash point of the product follows the world."""

    def elapsed() -> float:
        return (world.clock() - _BEGIN).total_seconds()

    places: list[Any] = [mock.patch.object(module, "monotonic", elapsed) for module in (claims, delivery, expand)]
    places += [mock.patch.object(module, "crash_point", world.crash_point) for module in (db, delivery)]
    places.append(mock.patch.object(delivery, "utc_now", world.clock))
    for place in places:
        place.start()
    try:
        yield
    finally:
        for place in places:
            place.stop()


def _run(world: World, hours: float) -> None:
    desk, chance = Desk(world), world.chance
    end = _BEGIN + timedelta(hours=hours)
    life: Life | None = None
    lives, rises_at, acts_at, moods_at = 0, _BEGIN, _BEGIN, _BEGIN + timedelta(hours=1)
    while world.clock() < end and len(world.faults) < 10:
        now = world.clock()
        if now >= moods_at:
            _change_mood(world)
            moods_at = now + timedelta(minutes=chance.uniform(5, 240))
        if now >= acts_at:
            with suppress(Killed):
                desk.act()
            acts_at = now + timedelta(minutes=chance.choice([0.05, 1, 10, 45, 180]))
        if life is None and now >= rises_at:
            lives += 1
            world.up_since = now
            with suppress(Killed):
                life = Life(world, lives)
        if life is not None:
            try:
                life.turn()
            except Killed:
                life = None
        if life is None and rises_at <= now:
            world.up_since = None
            rises_at = now + timedelta(seconds=chance.choice([0.3, 2, 5, 40, 900, 8 * 3600]))
        _judge_now(world)
        world.clock.set(min(end, _next(world, life, [rises_at if life is None else end, acts_at, moods_at])))
    _rest(world, lives)
    _judge_end(world)


def _rest(world: World, lives: int) -> None:
    """A quiet end: nobody is killed, everything is well, and what is open comes through."""
    world.crash_share, world.ill = 0.0, ""
    world.well_since = world.up_since = world.clock()
    life = Life(world, lives + 1)
    for _ in range(40):
        world.clock.advance(timedelta(seconds=30))
        life.turn()
        _judge_now(world)


def _change_mood(world: World) -> None:
    """Quiet stretches, stormy ones, and ones in which a channel is ill."""
    mood = world.chance.random()
    world.crash_share = 0.02 if mood < 0.3 else 0.001
    before = world.ill
    world.ill = world.chance.choice([stage.HOOK, stage.ROBOT]) if mood > 0.85 else ""
    if before and not world.ill:
        world.well_since = world.clock()
    elif world.ill:
        world.well_since = datetime.max.replace(tzinfo=UTC)
    elif world.well_since > world.clock():
        world.well_since = world.clock()


def _next(world: World, life: Life | None, others: list[datetime]) -> datetime:
    """The next moment at which anything can happen."""
    soonest = min(moment for moment in others if moment > world.clock()) if others else world.clock()
    if life is not None:
        with world.services.store.reading() as tx:
            ahead = outbox.outlook(tx, "sim/runner")
        due = [moment for moment in (ahead.next_action_at, ahead.next_delivery_at) if moment is not None]
        soonest = min([soonest, *due])
    return max(soonest, world.clock() + timedelta(milliseconds=50))
