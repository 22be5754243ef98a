"""72 hours without the engine, 500 incidents, each with at least eight messages missed: one digest each, and no replay."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from huiying.domain.kinds import EventKind, Kind, Severity, TimeKind
from huiying.service import incidents
from huiying.service.requests import RegisterRequest, TimeInput
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Store
from tests.trials.judge import Verdict, drain, judge_database
from tests.trials.processes import Cast, wait_until
from tests.trials.receiver import Post, Receiver, wall_now
from tests.trials.setting import Setting
from tests.trials.stage import OPERATOR, PEOPLE, UNIT, furnish, staged
from tests.trials.table import Row

_OUTAGE = timedelta(hours=72)
_OLD = 480
_FRESH = 20  # emergencies whose five-hour clocks are still open when the engine comes back
_LONGEST = 60.0
_STALE = timedelta(minutes=10)
_NUMBER = re.compile(r"\d{4}-\d{4,}")


def outage(setting: Setting) -> Row:
    """Register in the past, start now."""
    with Receiver() as receiver, staged(setting.folder) as stage, Cast(stage) as cast:
        furnish(stage, receiver)
        services = stage.services()
        now = datetime.now(UTC)
        _register_long_ago(setting, services, now)
        due = _missed_by_incident(services)
        began = wall_now()
        engine = cast.engine().start()
        wait_until(lambda: bool(receiver.log.posts), 60.0)
        first = receiver.log.posts[0].at - began if receiver.log.posts else float("inf")
        drain(services, 120.0)
        last = max((post.at for post in receiver.log.posts), default=began) - began
        time.sleep(2.0)
        code = engine.end()
        verdict = _judge(services, receiver, now, last)
        judge_database(stage, services, verdict)
        services.store.close()
    if code:
        verdict.faults.append(f"the engine ended with {code}: {engine.said()}")
    if min(due.values()) < 8 or len(due) != _OLD:
        verdict.faults.append(f"too little was missed: {len(due)} incidents, at least {min(due.values())} each")
    figures = verdict.figures
    return setting.row(
        f"{_OLD + _FRESH} incidents, {sum(due.values())} messages missed: {figures['digests']} digests for"
        f" {figures['pairs']} (recipient, channel), {figures['named']} incidents named or counted, {figures['singles']} stale"
        f" single messages, first after {first:.1f} s, drained in {last:.1f} s",
        verdict.faults,
    )


def _register_long_ago(setting: Setting, services: Services, now: datetime) -> None:
    """The office worked on, the engine did not."""
    clock = [now]
    past = replace(services, store=Store(services.store.engine, lambda: clock[0], fixed_clock=True))
    chance = setting.chance()
    for number in range(_OLD + _FRESH):
        fresh = number >= _OLD
        ago = timedelta(hours=2.8, seconds=number) if fresh else _OUTAGE + timedelta(seconds=chance.uniform(0, 3600))
        clock[0] = now - ago
        stated = {TimeKind.DETECTED: TimeInput(clock[0] - timedelta(minutes=2), "值班记录")}
        emergency = fresh or number % 5 == 0
        request = RegisterRequest(
            title=f"停机期间{number}",
            kind=Kind.EMERGENCY if emergency else Kind.OPINION,
            severity=Severity.MAJOR if emergency else None,
            criterion="示例依据" if emergency else "",
            unit_id=UNIT,
            times=stated,
        )
        incidents.register(past, OPERATOR, request, f"key-{number}")
        if number % 100 == 99:
            setting.say(f"{number + 1} incidents registered in the past")


def _missed_by_incident(services: Services) -> Counter[int]:
    """Due actions of each of the old incidents."""
    a = t.timed_action.c
    with services.store.reading() as tx:
        rows = tx.all(
            sa.select(a.incident_id, sa.func.count().label("n"))
            .where(a.state == "pending", a.due_at <= tx.now, a.incident_id <= _OLD)
            .group_by(a.incident_id)
        )
        return Counter({row.incident_id: row.n for row in rows})


def _judge(services: Services, receiver: Receiver, now: datetime, last: float) -> Verdict:
    verdict = Verdict()
    with services.store.reading() as tx:
        deliveries = {row.notice_no: row for row in tx.all(sa.select(t.delivery))}
        actions = {row.id: row for row in tx.all(sa.select(t.timed_action))}
        numbers = {row.no for row in tx.all(sa.select(t.incident.c.no))}
        inbox = tx.all(sa.select(t.inbox_message))
        late = tx.all(sa.select(t.clock).where(t.clock.c.due_at < tx.now, t.clock.c.state.in_(("running", "breached"))))
    posts = receiver.log.taken()
    of_digest = [post for post in posts if actions[deliveries[post.notice_no].action_id].kind == "digest"]
    pairs = Counter(
        (row.person_id, row.channel_id) for row in deliveries.values() if actions[row.action_id].kind == "digest"
    )
    verdict.blame("more than one digest for a recipient and channel", (pair for pair, n in pairs.items() if n > 1))
    singles = [post for post in posts if post not in of_digest and _is_stale(post, deliveries, actions)]
    verdict.blame("stale single message", (post.notice_no for post in singles))
    due = [row for row in actions.values() if row.due_at <= now]
    verdict.blame("due action unsettled", (row.id for row in due if row.state == "pending"))
    verdict.blame("breach not recorded", (row.key for row in late if row.noticed_at is None))
    reached = {person for person, channel in pairs if channel == "inbox"}
    verdict.blame("nobody told", PEOPLE.keys() - reached)
    named = _judge_page(verdict, of_digest, numbers)
    verdict.blame("digest without inbox copy", (p for p in reached if not any(row.person_id == p for row in inbox)))
    if last > _LONGEST:
        verdict.faults.append(f"drained only after {last:.0f} s")
    verdict.figures |= {"digests": sum(pairs.values()), "pairs": len(pairs), "named": named, "singles": len(singles)}
    return verdict


def _is_stale(post: Post, deliveries: dict[str, object], actions: dict[int, object]) -> bool:
    row = actions[deliveries[post.notice_no].action_id]  # type: ignore[attr-defined]
    if row.kind == EventKind.DAILY_BRIEF:  # type: ignore[attr-defined]
        return False  # due since half past eight, but written at this moment: whatever the time of day, it is no replay
    late: timedelta = datetime.fromtimestamp(post.at, UTC) - row.due_at  # type: ignore[attr-defined]
    return late > _STALE


def _judge_page(verdict: Verdict, digests: list[Post], numbers: set[str]) -> int:
    """The duty officer's page: every incident by name or in the count, five-hour clocks first."""
    pages = [post.data["data"] for post in digests if post.path == "/hook"]
    if not pages:
        verdict.faults.append("no digest arrived on the personal channel")
        return 0
    page = max(pages, key=lambda data: len(data["lines"]) + data["hidden_lines"])
    named = {number for line in page["lines"] for number in _NUMBER.findall(line)}
    counted = len(page["lines"]) + page["hidden_lines"]
    if counted < len(numbers):
        verdict.faults.append(f"only {counted} of {len(numbers)} incidents are named or counted")
    verdict.blame("unknown incident in a digest", named - numbers)
    five = ["权威信息发布" in line for line in page["lines"]]
    if not any(five) or sorted(five, reverse=True) != five:
        verdict.faults.append(f"five-hour clocks do not come first: {page['lines'][:3]}")
    return min(counted, len(numbers))
