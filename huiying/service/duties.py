"""What the system says of itself at fixed times: the daily brief, and warnings about calendars that are missing.

Every function here may be called at any time and as often as one likes: what has been written for a day or a week is
found by its key. A brief that does not come is noticed by people; that is what it is for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.backlog import BRIEF_LIVES
from huiying.domain.compose import by_urgency, line_of
from huiying.domain.kinds import Band, ClockState, DeliveryState, EventKind, IncidentState, Kind, Role
from huiying.domain.plan import SHANGHAI, dedup_key
from huiying.domain.roster import unit_chain
from huiying.service import second_person
from huiying.service.letters import subject_of
from huiying.service.services import Services
from huiying.service.sources import Sources
from huiying.service.workday_duties import ensure_workday_reminders, packs_by_unit
from huiying.store import outbox, scenes
from huiying.store import tables as t
from huiying.store.db import Tx

BRIEF_AT = time(8, 30)
CALENDAR_AT = time(8, 35)
#: Before anything of the day is due: what is to be said at nine is written, and leaves like every other timed action.
WORKDAYS_AT = time(0, 5)
#: From this day on next year's calendar is missed; the notice normally comes in November.
WARN_FROM = (11, 1)
_ACTOR = "system:duties"
_MOST_CLOCKS = 5
_MOST_OBLIGATIONS = 8
_OPEN = [str(state) for state in IncidentState if state.is_open]


@dataclass(frozen=True, slots=True)
class Recurring:
    """A duty at a Shanghai time of day."""

    name: str
    at: time
    run: Callable[[], object]


def recurring(services: Services) -> tuple[Recurring, ...]:
    """Everything the ticker has to call daily."""
    return (
        Recurring("daily_brief", BRIEF_AT, lambda: ensure_daily_brief(services)),
        Recurring("calendar_warning", CALENDAR_AT, lambda: ensure_calendar_warning(services)),
        Recurring("workday_reminders", WORKDAYS_AT, lambda: ensure_workday_reminders(services)),
    )


# -- the daily brief -----------------------------------------------------------------------------------------------------


def ensure_daily_brief(services: Services) -> int:
    """Write today's brief for every office at the top of the tree, once 08:30 has come; gives how many were written."""
    with services.store.transaction(_ACTOR) as tx:
        local = tx.now.astimezone(SHANGHAI)
        due_at = datetime.combine(local.date(), BRIEF_AT, SHANGHAI)
        if not due_at <= tx.now < due_at + BRIEF_LIVES:
            return 0
        made = [_insert_brief(tx, unit_id, due_at) for unit_id in scenes.roots(tx)]
        return sum(made)


def _insert_brief(tx: Tx, unit_id: str, due_at: datetime) -> bool:
    key = dedup_key(f"unit:{unit_id}", f"brief:{due_at:%Y-%m-%d}", 1)
    if tx.value(sa.select(t.timed_action.c.id).where(t.timed_action.c.dedup_key == key)) is not None:
        return False
    detail = {
        "to": [str(Role.DUTY_OFFICER), str(Role.SHIFT_LEADER)],
        "audience": ["personal", "group"],
        "when": "always",
        "of": "daily_brief",
        "band": str(Band.INFO),
        "unit": unit_id,
        "headline": f"{due_at.month}月{due_at.day}日 值班系统正常",
        "lines": brief_lines(tx, unit_id),
    }
    return _insert(tx, key, "daily_brief", due_at, detail)


def _insert(tx: Tx, key: str, step_id: str, due_at: datetime, detail: dict[str, Any]) -> bool:
    values = {
        "dedup_key": key,
        "kind": str(EventKind.DAILY_BRIEF),
        "step_id": step_id,
        "urgency": Band.INFO.urgency,
        "due_at": due_at,
        "detail": detail,
    }
    return outbox.insert_action(tx, values) is not None


def brief_lines(tx: Tx, unit_id: str) -> list[str]:
    """Counts of the office and everything below it, the clocks that press most, and the head of the audit chain."""
    units = _below(tx, unit_id)
    lines = [_incident_line(tx, units), _clock_line(tx, units), _message_line(tx)]
    lines += _pressing(tx, units)
    lines += [second_person.line_of(one) for one in second_person.waiting(tx, units) if not one["drill"]]
    return [*lines, *_troubles(tx), _chain_line(tx)]


def _below(tx: Tx, unit_id: str) -> list[str]:
    parents = {row.id: row.parent_id for row in tx.all(sa.select(t.unit.c.id, t.unit.c.parent_id))}
    return [key for key in parents if unit_id in unit_chain(parents, key)]


def _incident_line(tx: Tx, units: list[str]) -> str:
    i = t.incident.c
    statement = sa.select(i.kind, sa.func.count().label("count")).where(
        i.unit_id.in_(units), i.state.in_(_OPEN), i.drill.is_(sa.false())
    )
    counts = {row.kind: row.count for row in tx.all(statement.group_by(i.kind))}
    kinds = "、".join(f"{kind.zh} {counts[kind]} 件" for kind in Kind if counts.get(kind))
    return f"在办事项 {sum(counts.values())} 件" + (f"（{kinds}）" if kinds else "")


def _clock_line(tx: Tx, units: list[str]) -> str:
    c, i = t.clock.c, t.incident.c
    statement = (
        sa.select(c.state, sa.func.count().label("count"))
        .join(t.incident, i.id == c.incident_id)
        .where(i.unit_id.in_(units), i.state.in_(_OPEN), i.drill.is_(sa.false()), c.binding.is_(sa.true()))
        .where(c.state.in_([str(ClockState.RUNNING), str(ClockState.BREACHED)]))
        .group_by(c.state)
    )
    counts = {row.state: row.count for row in tx.all(statement)}
    return f"计时中 {counts.get(ClockState.RUNNING, 0)} 个，超时未办结 {counts.get(ClockState.BREACHED, 0)} 个"


def _message_line(tx: Tx) -> str:
    d = t.delivery.c
    since = tx.now - timedelta(hours=24)
    statement = sa.select(d.state, sa.func.count().label("count")).where(d.created_at > since).group_by(d.state)
    counts = {row.state: row.count for row in tx.all(statement)}
    sent = sum(counts.get(state, 0) for state in (DeliveryState.SENT, DeliveryState.PARTIAL, DeliveryState.BUNDLED))
    failed = sum(counts.get(state, 0) for state in (DeliveryState.FAILED, DeliveryState.DEAD))
    return f"过去24小时通知：送出 {sent} 条，未送达 {failed} 条"


def _pressing(tx: Tx, units: list[str]) -> list[str]:
    c, i = t.clock.c, t.incident.c
    statement = (
        sa.select(c.id)
        .join(t.incident, i.id == c.incident_id)
        .where(i.unit_id.in_(units), i.state.in_(_OPEN), i.drill.is_(sa.false()), c.binding.is_(sa.true()))
        .where(c.state.in_([str(ClockState.RUNNING), str(ClockState.BREACHED)]))
        .order_by(c.due_at)
        .limit(_MOST_CLOCKS)
    )
    sources = Sources(tx)
    sources.need_matters((), [row.id for row in tx.all(statement)])
    subjects = [subject_of(sources, row) for row in sources.clocks.values()]
    return [line_of(subject, tx.now) for subject in by_urgency(subjects)]


def _troubles(tx: Tx) -> list[str]:
    c = t.channel.c
    parked = tx.all(sa.select(c.name).where(c.enabled.is_(sa.true()), c.parked_until > tx.now).order_by(c.rank, c.id))
    lines = [f"渠道暂停：{'、'.join(row.name for row in parked)}"] if parked else []
    if outbox.is_held(tx):
        lines.append("通知发送处于暂停状态，等待确认后放行")
    return lines


def _chain_line(tx: Tx) -> str:
    row = tx.one(sa.select(t.audit_head))
    return f"审计链：共 {row.seq} 条，末条 {row.hash}" if row is not None else "审计链：尚无记录"


# -- calendars -----------------------------------------------------------------------------------------------------------


def ensure_calendar_warning(services: Services) -> bool:
    """Once a week: tell the administrators that next year's calendar is missing or due dates are provisional."""
    with services.store.transaction(_ACTOR) as tx:
        local = tx.now.astimezone(SHANGHAI)
        lines = _calendar_lines(tx, local)
        people = scenes.administrators(tx)
        if not lines or not people:
            return False
        week = local.isocalendar()
        key = dedup_key("calendar", f"{week.year}-W{week.week:02d}", 1)
        detail = {
            "to": [],
            "persons": list(people),
            "audience": ["personal"],
            "when": "always",
            "of": "calendar",
            "band": str(Band.INFO),
            "headline": "工作日历待更新",
            "must_do": [
                "收到国务院办公厅放假通知后，在“规则与日历 → 工作日历”中导入（或运行 huiying calendar import）"
            ],
            "lines": lines,
        }
        return _insert(tx, key, "calendar", tx.now, detail)


def _calendar_lines(tx: Tx, local: datetime) -> list[str]:
    known = {row.year for row in tx.all(sa.select(t.calendar.c.year).where(t.calendar.c.current.is_(sa.true())))}
    wanted = [local.year] + ([local.year + 1] if (local.month, local.day) >= WARN_FROM else [])
    lines = [f"缺少 {year} 年工作日历：涉及该年的工作日期限只能暂定" for year in wanted if year not in known]
    o = t.obligation_due.c
    # Only of the documents that bind a unit here: the product knows those of other cities as well.
    in_use = {pack.id for packs in packs_by_unit(tx, local.date()).values() for pack in packs}
    provisional = (o.provisional.is_(sa.true()), o.replaced_at.is_(None), o.due_at > tx.now, o.pack_id.in_(in_use))
    count = tx.value(sa.select(sa.func.count()).select_from(t.obligation_due).where(*provisional))
    if count:
        statement = sa.select(o.obligation_id, o.due_at).where(*provisional).order_by(o.due_at).limit(_MOST_OBLIGATIONS)
        named = "、".join(
            f"{row.obligation_id}（{row.due_at.astimezone(SHANGHAI):%Y-%m-%d}）" for row in tx.all(statement)
        )
        more = f"等 {count} 项" if count > _MOST_OBLIGATIONS else ""
        lines.append(f"暂定期限：{named}{more}")
    return lines
