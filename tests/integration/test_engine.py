"""The whole engine against real little servers: what leaves, when, and what happens when the other side fails."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from huiying.domain.errors import Unavailable
from huiying.domain.kinds import Band, EventKind, Role
from huiying.service import breaches
from huiying.service.delivery import record_outcomes
from huiying.service.duties import ensure_calendar_warning, ensure_daily_brief, recurring
from huiying.service.engine import Engine
from huiying.service.expand import expand_one
from huiying.service.hand import PREFECT, new_hand
from huiying.store import heartbeats
from huiying.store import tables as t
from huiying.store.db import Store
from schedules.ticker import Ticker
from tests.builders import at
from tests.engine_fixtures import World, new_sqlite, real_notifier, services_on, settle, until
from tests.fakes.dingtalk import FakeDingTalk
from tests.fakes.http_server import HttpServer, hang, says, status

SECOND = timedelta(seconds=1)
DESK = (Role.DUTY_OFFICER,)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An office on the real clock and an SQLite file."""
    store = new_sqlite(tmp_path / "huiying.db")
    yield World(services_on(store, tmp_path)).furnish()
    store.close()


@pytest.fixture
def group(world: World) -> Iterator[HttpServer]:
    """A group robot without a rate limit."""
    with HttpServer() as server:
        world.webhook("group", f"{server.base_url}/hook")
        yield server


@pytest.fixture
def personal(world: World) -> Iterator[HttpServer]:
    """A personal channel."""
    with HttpServer() as server:
        world.webhook("personal", f"{server.base_url}/hook", "personal")
        yield server


@contextmanager
def running(world: World, **options: Any) -> Iterator[Engine]:
    """An engine with its ticker."""
    engine = world.engine(**options)
    engine.start()
    ticker = Ticker(engine.tick, on_step=engine.clock_stepped)
    ticker.start()
    try:
        yield engine
    finally:
        ticker.stop()
        engine.stop()


def now() -> datetime:
    return datetime.now(UTC)


def remind(world: World, when: datetime, **more: Any) -> int:
    """A reminder of a clock of its own; to the duty officer, in the group, unless said otherwise."""
    incident = world.incident()
    deadline = world.clock(incident, when + timedelta(hours=2))
    given = {"to": DESK, "audience": ("group",), **more}
    return world.action(when, incident, deadline, **given)


def numbers(server: HttpServer) -> list[str]:
    return [request.headers["webhook-id"] for request in server.requests]


def deliveries(world: World, channel: str) -> list[Any]:
    return world.rows(t.delivery, t.delivery.c.channel_id == channel)


def all_sent(world: World, channel: str, count: int = 1) -> Callable[[], bool]:
    return lambda: [row.state for row in deliveries(world, channel)] == ["sent"] * count


def settled(world: World) -> bool:
    alive = ("pending", "sending")
    return not world.rows(t.delivery, t.delivery.c.state.in_(alive))


# -- in calm -----------------------------------------------------------------------------------------------------------


def test_a_due_reminder_leaves_by_itself_and_is_recorded(world: World, group: HttpServer):
    with running(world):
        action = remind(world, now() + timedelta(milliseconds=300))
        until(all_sent(world, "group"))
        until(lambda: world.rows(t.inbox_message))
    (request,) = group.requests
    body = request.json["data"]
    assert body["incident_no"] == "2026-0001"
    assert body["ack_url"].startswith("https://desk.example/a/")
    assert "绝不外发的标题" not in request.body.decode()
    assert world.action_row(action).mode == "direct"
    assert world.one(t.inbox_message).person_id == "officer"


def test_two_engines_share_a_storm_and_each_message_leaves_once(world: World, group: HttpServer):
    when = now() + SECOND
    for _ in range(60):
        remind(world, when)
    with running(world), running(world, name="sender-1"):
        until(lambda: len(deliveries(world, "group")) == 60 and settled(world), 30)
    assert len(numbers(group)) == len(set(numbers(group))) == 60


def test_while_dispatch_is_held_nothing_leaves_but_breaches_are_recorded_and_the_heartbeat_says_so(
    world: World, group: HttpServer
):
    with world.store.transaction("test") as tx:
        tx.run(t.setting.insert().values(key="dispatch_held", value={"reason": "x"}, updated_at=tx.now))
    incident = world.incident()
    world.breach(incident, world.clock(incident, now() - SECOND), now() - SECOND)
    with running(world) as engine:
        until(lambda: world.one(t.clock).state == "breached")
        beat = until(lambda: [b for b in world.rows(t.heartbeat) if b.detail.get("held")])[0]
        assert beat.process == engine.hand.process
        assert group.requests == []
        assert world.rows(t.delivery) == []
        with world.store.transaction("test") as tx:
            tx.run(t.setting.delete())
        until(lambda: world.rows(t.delivery))


def test_the_engine_looks_again_after_the_store_was_away(
    world: World, group: HttpServer, monkeypatch: pytest.MonkeyPatch
):
    away = threading.Event()
    away.set()
    reading = Store.reading

    def sometimes(self: Store) -> Any:
        if away.is_set():
            raise Unavailable("数据库暂时不可用")
        return reading(self)

    remind(world, now())
    monkeypatch.setattr(Store, "reading", sometimes)
    with running(world):
        time.sleep(0.6)
        assert group.requests == []
        away.clear()
        until(lambda: len(group.requests) == 1)


def test_outcomes_wait_until_the_store_takes_them(world: World, group: HttpServer, monkeypatch: pytest.MonkeyPatch):
    refused: list[int] = []

    def refuse_twice(*args: Any) -> Any:
        if len(refused) < 2:
            refused.append(1)
            raise Unavailable("数据库暂时不可用")
        return record_outcomes(*args)

    monkeypatch.setattr("huiying.service.engine.record_outcomes", refuse_twice)
    remind(world, now())
    with running(world):
        until(all_sent(world, "group"))
    assert len(group.requests) == 1
    assert len(refused) == 2


# -- beside Prefect ----------------------------------------------------------------------------------------------------


def runner_says(world: World, *, healthy: bool = True, age: float = 0.0) -> None:
    with world.store.transaction("test") as tx:
        heartbeats.beat(tx, "n1/runner", "boot", {"healthy": healthy})
        tx.run(
            t.heartbeat.update().values(at=tx.now - timedelta(seconds=age)).where(t.heartbeat.c.process == "n1/runner")
        )


def lateness(world: World, action: int) -> float:
    row = until(lambda: [r for r in world.rows(t.delivery, t.delivery.c.action_id == action) if r.sent_at], 5)[0]
    return float((row.sent_at - world.action_row(action).due_at).total_seconds())


@pytest.mark.parametrize(("healthy", "age", "left"), [(True, 0.0, True), (False, 0.0, False), (True, 3.5, False)])
def test_a_fresh_action_is_left_to_a_healthy_runner_for_one_second(
    world: World, group: HttpServer, healthy: bool, age: float, left: bool
):
    runner_says(world, healthy=healthy, age=age)
    with running(world):
        action = remind(world, now() + timedelta(milliseconds=200))
        late = lateness(world, action)
    assert (late >= 1.0) is left
    assert late < 2.5  # 1.5 s on a machine that does nothing else


def test_a_storm_is_not_left_to_the_runner(world: World, group: HttpServer):
    runner_says(world)
    when = now()
    actions = [remind(world, when) for _ in range(10)]
    with running(world):
        until(lambda: len(deliveries(world, "group")) == 10, 5)
    taken = [world.action_row(action).claimed_at for action in actions]
    assert max(taken) - when < timedelta(seconds=4)
    assert {world.action_row(action).mode for action in actions} == {"direct"}


def test_the_engine_sends_what_a_stalled_flow_has_expanded(world: World, group: HttpServer):
    runner_says(world)
    action = remind(world, now())
    assert expand_one(world.services, world.senders, action, new_hand("n1", "runner", PREFECT)) is not None
    with running(world):
        assert 1.2 <= lateness(world, action) < 3.0
    assert world.action_row(action).mode == "prefect"
    assert len(group.requests) == 1


# -- the other side fails ----------------------------------------------------------------------------------------------


def test_server_errors_are_tried_again_under_the_same_number(world: World, group: HttpServer):
    group.fail_with(status(500), status(503, Retry_After="1"))
    remind(world, now())
    with running(world):
        until(all_sent(world, "group"), 20)
    assert len(numbers(group)) == 3
    assert len(set(numbers(group))) == 1
    assert [a.outcome for a in world.rows(t.delivery_attempt) if a.notice_no == numbers(group)[0]] == [
        "transient", "transient", "accepted",
    ]  # fmt: skip


def test_a_timeout_may_have_arrived_so_the_second_copy_says_resent(world: World, group: HttpServer):
    group.fail_with(hang(5))
    remind(world, now())
    with running(world, send_seconds=0.5):
        until(all_sent(world, "group"), 20)
    first, second = [request.json["data"] for request in group.requests]
    assert first["notice_no"] == second["notice_no"]
    assert (first["resend"], second["resend"]) == (False, True)


def test_a_short_rate_limit_is_waited_out(world: World, group: HttpServer):
    group.fail_with(status(429, Retry_After="1"))
    remind(world, now())
    with running(world):
        until(all_sent(world, "group"), 20)
    assert group.requests[1].at - group.requests[0].at >= 0.9


def test_success_in_the_status_line_alone_is_no_success(world: World, personal: HttpServer):
    with FakeDingTalk() as robot:
        robot.fail_with(says({"errcode": 310000, "errmsg": "sign not match"}))
        dingtalk(world, robot)
        remind(world, now(), audience=("group",))
        with running(world):
            until(all_sent(world, "personal"), 20)
    assert deliveries(world, "robot")[0].state == "failed"
    assert "前一渠道" in personal.requests[0].json["data"]["previous_failed"]


def test_one_hanging_channel_holds_up_no_other_and_is_parked_after_three_failures(world: World, group: HttpServer):
    with HttpServer() as tarpit:
        tarpit.fail_with(*[hang(20)] * 200)
        world.webhook("tarpit", f"{tarpit.base_url}/hook", rank=100)
        for _ in range(40):
            remind(world, now(), band=Band.NOTICE)
        with running(world, send_seconds=1.0):
            until(all_sent(world, "group", 40), 10)
            until(lambda: world.one(t.channel, t.channel.c.id == "tarpit").parked_until, 10)
            time.sleep(1.0)  # what was on its way when the channel was parked still arrives
            asked = len(tarpit.requests)
            time.sleep(1.0)
            assert len(tarpit.requests) == asked
    sent = [row.sent_at - row.created_at for row in deliveries(world, "group")]
    assert max(sent) < timedelta(seconds=5)
    assert asked <= 2 * world.services.settings.sender_threads


def test_a_message_that_breaks_our_own_code_holds_up_no_other(world: World, group: HttpServer, personal: HttpServer):
    bad = remind(world, now(), audience=("personal",), must_do=7)  # a number where a list belongs
    good = remind(world, now())
    with running(world):
        until(all_sent(world, "group"), 10)
        until(lambda: [r for r in world.rows(t.delivery, t.delivery.c.action_id == bad) if r.attempts])
    assert world.action_row(good).state == "done"
    assert {row.outcome for row in world.rows(t.delivery, t.delivery.c.action_id == bad)} == {"transient"}


# -- robots ------------------------------------------------------------------------------------------------------------


def dingtalk(world: World, robot: FakeDingTalk) -> None:
    """A DingTalk robot as the operator would enter it."""
    secrets = {key: world.services.sealer.seal(value) for key, value in (("url", robot.url), ("secret", robot.secret))}
    settings = {"base_url": robot.base_url}
    from notifiers.registry import validate_settings

    if any(finding.key == "base_url" for finding in validate_settings("dingtalk", settings)):  # type: ignore[arg-type]
        settings = {}
    world.channel("robot", "dingtalk", "group", settings, secrets)


def test_case_27_a_storm_on_one_dingtalk_robot_stays_below_its_limit_with_what_is_overdue_first(world: World):
    with FakeDingTalk() as robot:
        dingtalk(world, robot)
        when = now()
        for number in range(300):
            overdue = number % 30 == 0
            incident = world.incident()
            deadline = world.clock(
                incident, when + timedelta(hours=-1 if overdue else 2), state="breached" if overdue else "running"
            )
            band = Band.OVERDUE if overdue else Band.NOTICE
            world.action(when, incident, deadline, EventKind.ESCALATION, DESK, ("group",), band)
        with running(world):
            until(lambda: len(deliveries(world, "robot")) == 300 and settled(world), 60, 0.1)
        posts = [request.json["markdown"]["text"] for request in robot.requests]
    assert len(posts) <= 18
    assert posts[0].count("- 超 ") == 10
    assert not any("- 超 " in post for post in posts[1:])
    rows = deliveries(world, "robot")
    assert {row.state for row in rows} == {"sent", "bundled"}
    carriers = {row.notice_no for row in rows if row.state == "sent"}
    assert all(row.bundle_no in carriers for row in rows if row.state == "bundled")
    assert len({number for post in posts for number in re.findall(r"2026-\d{4}", post)}) == 300


# -- restarts ----------------------------------------------------------------------------------------------------------


def test_a_restart_sends_again_at_once_what_its_former_life_was_holding(world: World, group: HttpServer):
    group.fail_with(hang(20))
    remind(world, now())
    first = world.engine()
    first.start()
    until(lambda: first.tick() and len(group.requests) == 1)
    began = time.monotonic()
    with running(world):
        until(all_sent(world, "group"), 10)
    assert time.monotonic() - began < 5
    assert len(set(numbers(group))) == 1
    assert group.requests[1].json["data"]["resend"]
    assert [entry.payload for entry in world.audited("leases.voided")] == ['{"count":1}']


def test_a_process_that_was_frozen_through_its_lease_changes_nothing_when_it_wakes(world: World, group: HttpServer):
    frozen, thawed = threading.Event(), threading.Event()

    class Freezing:
        def __init__(self, real: Any) -> None:
            self._real = real

        def send(self, *args: Any) -> Any:
            outcome = self._real.send(*args)
            frozen.set()
            thawed.wait(20)
            return outcome

        def close(self) -> None:
            self._real.close()

    remind(world, now())
    sleeper = World(services_on(world.store, world.services.settings.data_dir, lambda c: Freezing(real_notifier(c))))
    first = sleeper.engine()
    first.start()
    first.tick()
    frozen.wait(10)
    with world.store.transaction("test") as tx:  # thirty seconds later
        tx.run(t.delivery.update().values(visible_at=tx.now - SECOND).where(t.delivery.c.state == "sending"))
    with running(world, name="engine-2") as second:
        until(all_sent(world, "group"), 10)
        until(second.is_idle)
    before = world.rows(t.delivery)
    thawed.set()
    until(first.is_idle)
    assert world.rows(t.delivery) == before
    assert len(numbers(group)) == 2
    first.stop()


def test_stopping_gives_back_what_has_not_begun(world: World, group: HttpServer):
    group.fail_with(*[hang(0.3)] * 16)
    for _ in range(60):
        remind(world, now())
    engine = world.engine(widest_lane=16)
    engine.start()
    engine.tick()
    until(lambda: len(group.requests) >= 16)
    engine.stop()
    rows = deliveries(world, "group")
    assert "sending" not in {row.state for row in rows}
    assert "pending" in {row.state for row in rows}


def test_after_an_outage_of_days_with_many_incidents_everything_is_settled_in_one_go(world: World, group: HttpServer):
    start = now() - timedelta(hours=72)
    with world.store.transaction("test") as tx:
        backlog(tx, start, 120)
    began = time.monotonic()
    with running(world):
        until(lambda: world.rows(t.delivery) and settled(world), 60, 0.1)
    assert time.monotonic() - began < 60
    assert {row.state for row in world.rows(t.timed_action)} == {"bundled", "done"}
    rows = world.rows(t.delivery)
    assert len(rows) == len({(row.person_id, row.channel_id) for row in rows})
    (post,) = group.requests
    assert len(post.json["data"]["lines"]) + post.json["data"]["hidden_lines"] == 120


def backlog(tx: Any, start: datetime, count: int) -> None:
    """Incidents whose five-hour clock ran out days ago, each with a reminder and a breach that nobody sent."""
    for number in range(count):
        values = {"no": f"2026-9{number:03d}", "kind": "emergency", "state": "graded", "unit_id": "office"}
        incident = tx.run(
            t.incident.insert().values(registered_at=start, registered_by="x", **values).returning(t.incident.c.id)
        ).scalar_one()
        due_at = start + timedelta(hours=5)
        limit = {"cycle": 1, "key": "p:r", "origin": "rule", "rule_id": "r", "name": "权威信息发布"}
        limit |= {"status": "stipulated"}
        more = {"anchor_field": "x", "started_at": start, "due_at": due_at, "state": "running", "binding": True}
        clock = tx.run(
            t.clock.insert().values(incident_id=incident, **limit, **more).returning(t.clock.c.id)
        ).scalar_one()
        for kind, moment, to, audience in (
            ("reminder", start + timedelta(hours=2), ["duty_officer"], ["group"]),
            ("breached", due_at + timedelta(microseconds=1), ["principal"], ["personal"]),
        ):
            detail = {"to": to, "audience": audience, "when": "always", "of": kind, "band": "overdue"}
            row = {"dedup_key": f"{number}-{kind}", "kind": kind, "step_id": kind, "urgency": 0, "due_at": moment}
            tx.run(
                t.timed_action.insert().values(
                    incident_id=incident, clock_id=clock, state="pending", detail=detail, created_at=start, **row
                )
            )


# -- the ticker --------------------------------------------------------------------------------------------------------


def test_a_look_that_fails_is_not_the_last_one():
    looks: list[float] = []

    def look() -> float:
        looks.append(time.monotonic())
        if len(looks) < 4:
            raise RuntimeError("a database error inside the look")
        return 1.0

    ticker = Ticker(look, sweep_seconds=0.05)
    ticker.start()
    until(lambda: len(looks) > 6)
    ticker.stop()
    assert ticker.rescues == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_watchdog_looks_itself_when_the_schedulers_thread_is_dead():
    looks: list[str] = []

    def look() -> float:
        looks.append(threading.current_thread().name)
        return 1.0

    ticker = Ticker(look, sweep_seconds=0.05, silence_seconds=0.3)
    ticker.start()
    until(lambda: looks)
    scheduler = ticker._scheduler
    scheduler._process_jobs = _die  # what an OperationalError in a job store does to APScheduler
    scheduler.wakeup()
    until(lambda: not scheduler._thread.is_alive())
    assert scheduler.running  # it does not even know
    until(lambda: ticker.rescues == 1 and "watchdog" in looks)
    looks.clear()
    until(lambda: len(looks) > 3)  # a new scheduler has taken over
    ticker.stop()


def _die() -> None:
    raise RuntimeError("a database error in the scheduler's own thread")


def test_a_step_of_the_wall_clock_is_audited_once_and_nothing_stops(world: World, group: HttpServer):
    ahead = [timedelta(0)]
    engine = world.engine()
    engine.start()
    ticker = Ticker(engine.tick, on_step=engine.clock_stepped, wall=lambda: now() + ahead[0])
    ticker.start()
    remind(world, now())
    until(all_sent(world, "group"))
    ahead[0] = timedelta(hours=-2)
    until(lambda: world.audited("clock_step"), 10)
    remind(world, now())
    until(all_sent(world, "group", 2))
    time.sleep(0.7)
    ticker.stop()
    engine.stop()
    assert len(world.audited("clock_step")) == 1
    assert len(numbers(group)) == 2


def test_a_delivery_does_not_wait_for_a_moment_that_a_set_back_clock_has_moved_away(world: World, group: HttpServer):
    engine = world.engine()
    remind(world, now())
    with world.store.transaction("test") as tx:
        tx.run(t.setting.insert().values(key="dispatch_held", value={"reason": "x"}, updated_at=tx.now))
    engine.start()
    engine.tick()
    with world.store.transaction("test") as tx:
        tx.run(t.setting.delete())
    group.fail_with(status(500))
    until(lambda: engine.tick() and deliveries(world, "group") and deliveries(world, "group")[0].attempts == 1)
    with world.store.transaction("test") as tx:
        tx.run(
            t.delivery.update().values(visible_at=tx.now + timedelta(hours=2)).where(t.delivery.c.state == "pending")
        )
    engine.clock_stepped(-7200.0)
    settle(engine)
    assert deliveries(world, "group")[0].state == "sent"
    engine.stop()


# -- what the system says of itself ------------------------------------------------------------------------------------


def brief_world(tmp_path: Path, moment: str) -> World:
    when = at(moment)
    store = new_sqlite(tmp_path / "brief.db", lambda: when)
    return World(services_on(store, tmp_path)).furnish()


def test_the_daily_brief_is_written_once_a_day_from_half_past_eight(tmp_path: Path):
    early = brief_world(tmp_path, "2026-03-10 08:29:59")
    assert ensure_daily_brief(early.services) == 0
    early.store.close()
    (tmp_path / "brief.db").unlink()
    world = brief_world(tmp_path, "2026-03-10 08:30:00")
    incident = world.incident()
    world.clock(incident, at("2026-03-10 12:00"))
    assert ensure_daily_brief(world.services) == 1
    assert ensure_daily_brief(world.services) == 0
    engine = world.engine()
    engine.start()
    settle(engine)
    message = world.one(t.inbox_message, t.inbox_message.c.person_id == "officer")
    assert "每日简报" in message.subject
    assert "在办事项 1 件（突发事件 1 件）" in message.text
    assert "计时中 1 个" in message.text
    assert "2026-0001" in message.text
    assert "审计链" in message.text
    engine.stop()
    world.store.close()


def test_from_november_a_missing_calendar_is_said_once_a_week(tmp_path: Path):
    calendar = {"version": "v", "body": {}, "imported_by": "x"}
    world = brief_world(tmp_path, "2026-11-02 09:00")
    with world.store.transaction("test") as tx:
        tx.run(t.calendar.insert().values(year=2026, imported_at=tx.now, **calendar))
    assert ensure_calendar_warning(world.services)
    assert not ensure_calendar_warning(world.services)
    assert "缺少 2027 年工作日历" in world.one(t.timed_action).detail["lines"][0]
    world.store.close()
    (tmp_path / "brief.db").unlink()
    october = brief_world(tmp_path, "2026-10-31 09:00")
    with october.store.transaction("test") as tx:
        tx.run(t.calendar.insert().values(year=2026, imported_at=tx.now, **calendar))
    assert not ensure_calendar_warning(october.services)
    october.store.close()


def test_the_ticker_calls_its_duties_at_the_start(world: World):
    ran: list[str] = []

    class Noted:
        def __init__(self, duty: Any) -> None:
            self.name, self.at, self._run = duty.name, duty.at, duty.run

        @property
        def run(self) -> Callable[[], object]:
            ran.append(self.name)
            return self._run

    ticker = Ticker(lambda: 1.0, duties=[Noted(duty) for duty in recurring(world.services)])
    ticker.start()
    until(lambda: sorted(ran) == ["calendar_warning", "daily_brief", "workday_reminders"], 5)
    ticker.stop()


def test_the_sweep_notices_breaches_that_no_action_records(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huiying.service.engine._BREACH_GRACE", timedelta(0))
    world.clock(world.incident(), now() - SECOND, binding=False)
    with running(world):
        until(lambda: world.one(t.clock).state == "breached")
    assert breaches.sweep_breaches(world.services, world.hand, timedelta(0)) == 0


def test_the_first_look_reads_no_table_from_end_to_end(world: World):
    """Its plan must use the partial indexes; how long it takes with 100,000 clocks is the bench's business."""
    from huiying.store.outbox import _OUTLOOK

    bound = _OUTLOOK.statement.params(runner="x")
    compiled = str(bound.compile(world.store.engine, compile_kwargs={"literal_binds": True}))
    with world.store.reading() as tx:
        plan = " ".join(str(row) for row in tx.all(sa.text(f"EXPLAIN QUERY PLAN {compiled}")))
    assert "ix_timed_action_pending" in plan
    assert "ix_delivery_visible" in plan
