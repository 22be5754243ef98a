"""How the house is: what a probe, a monitor and the doctor ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.errors import HuiyingError
from huiying.domain.kinds import ActionState, ClockState, DeliveryState, IncidentState
from huiying.domain.sentences import Recorded, said
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Tx
from huiying.store.schema import check_version

#: The engine says every second that it lives; after this nobody should rely on it.
ENGINE_FRESH = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str = ""


def readiness(services: Services) -> list[Check]:
    """Whether this installation can do its work now: database, schema, a living engine."""
    try:
        check_version(services.store.engine)
        with services.store.reading() as tx:
            beats = {row.process: (row.at, row.detail) for row in tx.all(sa.select(t.heartbeat))}
            now = tx.now
    except HuiyingError as error:
        return [Check("database", ok=False, detail=error.message)]
    return [Check("database", ok=True), _engine(beats, now)]


def _engine(beats: dict[str, Any], now: Any) -> Check:
    engines = [beat for process, beat in beats.items() if process.endswith("/engine")]
    if not engines:
        return Check("engine", ok=False, detail="提醒引擎尚未启动。")
    at, detail = max(engines, key=lambda beat: beat[0])
    age = abs((now - at).total_seconds())
    if age > ENGINE_FRESH.total_seconds():
        return Check(
            "engine", ok=False, detail=said("提醒引擎已 %(age)s 秒没有心跳，提醒可能不会按时发出。", age=int(age))
        )
    if not detail.get("healthy", True):
        return Check("engine", ok=False, detail=Recorded(detail.get("fault") or "提醒引擎报告异常。"))
    return Check("engine", ok=True, detail=str(detail.get("note", "")))


@dataclass(frozen=True, slots=True)
class Sample:
    """One line for a monitor."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


#: Name, kind and what it says, in the order of the page.
FAMILIES = (
    ("huiying_incidents_open", "gauge", "Incidents that are not ended."),
    ("huiying_clocks", "gauge", "Binding clocks by state; running past due counts as breached."),
    ("huiying_actions_due", "gauge", "Timed actions past their due time that nobody has claimed."),
    ("huiying_actions_lateness_seconds", "gauge", "How late the oldest of these is."),
    ("huiying_deliveries", "gauge", "Deliveries that are not finished or have failed, by state."),
    ("huiying_channels_parked", "gauge", "Channels that are parked at the moment."),
    ("huiying_dispatch_held", "gauge", "1 while nothing may leave the house."),
    ("huiying_heartbeat_age_seconds", "gauge", "Seconds since a process said that it lives."),
    ("huiying_audit_entries", "counter", "Entries of the audit chain."),
)


def samples(services: Services) -> list[Sample]:
    """Numbers for a monitor: no text, no person, no incident."""
    with services.store.reading() as tx:
        return [*_work(tx), *_deliveries(tx), *_life(tx)]


def _work(tx: Tx) -> list[Sample]:
    open_states = [state.value for state in IncidentState if state.is_open]
    incidents = tx.value(sa.select(sa.func.count()).where(t.incident.c.state.in_(open_states)))
    clock, action = t.clock.c, t.timed_action.c
    stored = tx.all(
        sa.select(clock.state, sa.func.count().label("n"), sa.func.sum(_past_due(tx)).label("late"))
        .where(clock.binding, clock.state.in_((ClockState.RUNNING, ClockState.BREACHED, ClockState.SCHEDULED)))
        .group_by(clock.state)
    )
    counts = dict.fromkeys((ClockState.SCHEDULED, ClockState.RUNNING, ClockState.BREACHED), 0)
    for row in stored:
        late = int(row.late or 0) if row.state == ClockState.RUNNING else 0
        counts[ClockState(row.state)] += row.n - late
        counts[ClockState.BREACHED] += late
    due = tx.one(
        sa.select(sa.func.count().label("n"), sa.func.min(action.due_at).label("oldest")).where(
            action.state == ActionState.PENDING, action.due_at <= tx.now
        )
    )
    oldest = due.oldest if due is not None else None
    return [
        Sample("huiying_incidents_open", (), incidents),
        *(Sample("huiying_clocks", (("state", state.value),), number) for state, number in counts.items()),
        Sample("huiying_actions_due", (), due.n if due is not None else 0),
        Sample("huiying_actions_lateness_seconds", (), (tx.now - oldest).total_seconds() if oldest else 0.0),
    ]


def _past_due(tx: Tx) -> Any:
    return sa.case((t.clock.c.due_at < tx.now, 1), else_=0)


def _deliveries(tx: Tx) -> list[Sample]:
    delivery = t.delivery.c
    states = (DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.FAILED, DeliveryState.DEAD)
    rows = tx.all(
        sa.select(delivery.state, sa.func.count().label("n")).where(delivery.state.in_(states)).group_by(delivery.state)
    )
    counts = {row.state: row.n for row in rows}
    parked = tx.value(sa.select(sa.func.count()).where(t.channel.c.enabled, t.channel.c.parked_until > tx.now))
    return [
        *(Sample("huiying_deliveries", (("state", state.value),), counts.get(state, 0)) for state in states),
        Sample("huiying_channels_parked", (), parked),
    ]


def _life(tx: Tx) -> list[Sample]:
    held = tx.value(sa.select(t.setting.c.value).where(t.setting.c.key == "dispatch_held"))
    entries = tx.value(sa.select(t.audit_head.c.seq).where(t.audit_head.c.one == 1))
    beats = tx.all(sa.select(t.heartbeat.c.process, t.heartbeat.c.at).order_by(t.heartbeat.c.process))
    return [
        Sample("huiying_dispatch_held", (), 1 if held else 0),
        *(
            Sample("huiying_heartbeat_age_seconds", (("process", row.process),), (tx.now - row.at).total_seconds())
            for row in beats
        ),
        Sample("huiying_audit_entries", (), entries or 0),
    ]
