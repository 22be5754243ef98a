"""From a clock and its escalation policy to timed actions: everything that will have to happen, written down at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import cast
from zoneinfo import ZoneInfo

from huiying.domain.clock import Clock
from huiying.domain.kinds import Audience, Band, EventKind, Role
from huiying.domain.policy import Policy, Step

SHANGHAI = ZoneInfo("Asia/Shanghai")
#: A clock is breached when ``now > due``: the first instant after it.
AFTER_DUE = timedelta(microseconds=1)


def dedup_key(scope: str, step_id: str, generation: int, repetition: int = 0) -> str:
    """Identity of a timed action: planning the same thing twice gives one row. ``scope`` is "clock:7" or "incident:3"."""
    return hashlib.sha256(f"{scope}|{step_id}|{generation}|{repetition}".encode()).hexdigest()


def next_daily(after: datetime, at: Sequence[time]) -> datetime:
    """The first of these Shanghai times of day strictly after ``after`` (aware), as an aware instant."""
    local = after.astimezone(SHANGHAI)
    for days in (0, 1):
        day = local.date() + timedelta(days=days)
        for moment in sorted(at):
            candidate = datetime.combine(day, moment, SHANGHAI)
            if candidate > after:
                return candidate
    message = "no time of day given"
    raise ValueError(message)


@dataclass(frozen=True, slots=True)
class PlannedAction:
    """A timed action that is to be written: when, what for, and everything the engine needs to carry it out."""

    kind: EventKind
    step_id: str
    due_at: datetime
    repetition: int
    urgency: int
    detail: dict[str, object]


def _detail(step: Step, **more: object) -> dict[str, object]:
    return {
        "to": [str(role) for role in step.to],
        "audience": [str(audience) for audience in step.audience],
        "when": step.when,
        "of": step.of or step.id,
        "band": str(step.band),
        "ack_seconds": int(step.ack_expires.total_seconds()),
        **more,
    }


def _instant(step: Step, clock: Clock, since: datetime) -> datetime:
    """When a step falls due. ``after`` counts from when the clock was taken up, so that nobody is called at once."""
    if step.trigger == "after":
        return max(clock.started_at, since) + cast("timedelta", step.value)
    if step.trigger == "share":
        return clock.started_at + clock.limit * cast("float", step.value)
    if step.trigger == "left":
        return clock.due_at - cast("timedelta", step.value)
    return clock.due_at + AFTER_DUE + cast("timedelta", step.value)


def _kind_of(step: Step) -> EventKind:
    if step.trigger == "breach":
        return EventKind.ESCALATION if step.value else EventKind.BREACHED
    return EventKind.ESCALATION if any(role.is_leader for role in step.to) else EventKind.REMINDER


def _occurrences(step: Step, clock: Clock, since: datetime) -> list[PlannedAction]:
    first, kind = _instant(step, clock, since), _kind_of(step)
    made = [PlannedAction(kind, step.id, first, 0, step.band.urgency, _detail(step))]
    if step.repeat_every:
        for number in range(1, step.repeat_times + 1):
            again = _detail(step, repeated=True) | {"when": "unacknowledged", "of": step.id}
            made.append(
                PlannedAction(kind, step.id, first + number * step.repeat_every, number, step.band.urgency, again)
            )
    return made


def _after_breach(policy: Policy, clock: Clock, now: datetime) -> list[PlannedAction]:
    """Hourly for some hours, then at fixed times of day until the clock closes (each is written by the one before)."""
    breach = next((step for step in policy.steps if step.trigger == "breach" and not step.value), None)
    if breach is None:
        return []
    roles = dict.fromkeys([Role.DUTY_OFFICER, Role.LIAISON, *breach.to])
    detail = _detail(breach) | {"to": [str(role) for role in roles], "when": "always"}
    made = [
        PlannedAction(
            EventKind.ESCALATION,
            "overdue_hourly",
            clock.due_at + timedelta(hours=hour),
            hour,
            Band.OVERDUE.urgency,
            dict(detail),
        )
        for hour in range(1, policy.after_breach_hourly + 1)
    ]
    if policy.after_breach_daily_at:
        last = max(now, clock.due_at + timedelta(hours=policy.after_breach_hourly))
        times = [moment.isoformat("minutes") for moment in policy.after_breach_daily_at]
        first = next_daily(last, policy.after_breach_daily_at)
        made.append(
            PlannedAction(
                EventKind.ESCALATION, "overdue_daily", first, 0, Band.OVERDUE.urgency, detail | {"daily_at": times}
            )
        )
    return made


def plan_actions(clock: Clock, policy: Policy, since: datetime, now: datetime) -> tuple[PlannedAction, ...]:
    """All future actions of a clock that was taken up at ``since`` and is planned at ``now``.

    What is already past is not replayed; a breach nobody has been told of yet is told at once. A clock that was overdue
    on receipt, is not binding or no longer open has no actions of its own.
    """
    if not clock.state.is_open or not clock.binding or clock.on_receipt:
        return ()
    made = [action for step in policy.steps if step.trigger != "start" for action in _occurrences(step, clock, since)]
    made = [action for action in made if action.kind is EventKind.BREACHED or _inside(action, clock)]
    made += _after_breach(policy, clock, now)
    planned = []
    for action in made:
        if action.due_at > now:
            planned.append(action)
        elif action.kind is EventKind.BREACHED:
            planned.append(replace(action, due_at=now))
    return tuple(sorted(planned, key=lambda action: action.due_at))


def _inside(action: PlannedAction, clock: Clock) -> bool:
    """A step before the due time lies between start and due; overdue steps lie after it."""
    if action.detail["band"] == Band.OVERDUE:
        return True
    return clock.started_at <= action.due_at < clock.due_at


def summary_action(
    kind: EventKind, now: datetime, roles: Sequence[Role], band: Band, **detail: object
) -> PlannedAction:
    """An incident event that is told at once: registered, release recorded, regraded, closed, changed."""
    body: dict[str, object] = {
        "to": [str(role) for role in roles],
        # The group hears of it for those who are no leaders; routing never addresses a leader in a group.
        "audience": [str(Audience.PERSONAL), str(Audience.GROUP)],
        "when": "always",
        "of": str(kind),
        "band": str(band),
        "ack_seconds": 12 * 3600,
        **detail,
    }
    return PlannedAction(kind, str(kind), now, 0, band.urgency, body)
