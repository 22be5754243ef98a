"""Working-day duties: which unit each document binds, and the reminders of a day.

A duty belongs to the topmost unit that its document binds. Its reminders follow the policy for working days: one message
per unit and moment, a line for each duty, so that nobody reads five messages at nine o'clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.kinds import Audience, EventKind
from huiying.domain.obligations import workday_reminders
from huiying.domain.plan import SHANGHAI, dedup_key
from huiying.domain.policy import WORKDAYS, WorkdayStep
from huiying.domain.rules import Obligation, RulePack, packs_in_force
from huiying.domain.workdays import due_text
from huiying.service.rulebook import current_calendar, current_packs, current_policies
from huiying.service.services import Services
from huiying.store import outbox
from huiying.store import tables as t
from huiying.store.db import Tx

_ACTOR = "system:duties"
#: How far ahead a due date can be whose reminder falls today: three working days across the longest holidays.
_AHEAD = timedelta(days=21)
_LONGEST_QUOTE = 40


def packs_by_unit(tx: Tx, today: date) -> dict[str, tuple[RulePack, ...]]:
    """The documents in force for each unit in use, each document at the topmost unit that it binds."""
    units = {row.id: row for row in tx.all(sa.select(t.unit).where(t.unit.c.active))}
    packs = current_packs(tx)
    bound = {key: packs_in_force(packs, row.region_code, row.pack_id, today) for key, row in units.items()}
    found = {}
    for key, row in units.items():
        above = {pack.id for pack in bound.get(row.parent_id, ())}
        own = tuple(pack for pack in bound[key] if pack.id not in above)
        if own:
            found[key] = own
    return found


def ensure_workday_reminders(services: Services) -> int:
    """Write what is still to be said today of working-day duties; gives how many messages were written."""
    with services.store.transaction(_ACTOR) as tx:
        today = tx.now.astimezone(SHANGHAI).date()
        return sum(
            _insert(tx, unit_id, at, steps)
            for unit_id, packs in packs_by_unit(tx, today).items()
            for at, steps in _of_today(tx, packs, today).items()
            if at >= tx.now
        )


def _of_today(
    tx: Tx, packs: tuple[RulePack, ...], today: date
) -> dict[datetime, list[tuple[WorkdayStep, RulePack, Obligation, Any]]]:
    policy = next((one for one in current_policies(tx) if WORKDAYS in one.applies), None)
    if policy is None:
        return {}
    calendar = current_calendar(tx)
    found: dict[datetime, list[tuple[WorkdayStep, RulePack, Obligation, Any]]] = {}
    for pack, duty, row in _due_soon(tx, packs, today):
        day = _last_day(row.due_at)
        for step, at in workday_reminders(policy, day, calendar):
            if at.astimezone(SHANGHAI).date() == today:
                found.setdefault(at, []).append((step, pack, duty, row))
    return found


def _due_soon(tx: Tx, packs: tuple[RulePack, ...], today: date) -> Iterator[tuple[RulePack, Obligation, Any]]:
    duties = {(pack.id, duty.id): (pack, duty) for pack in packs for duty in pack.obligations if duty.kind == WORKDAYS}
    due = t.obligation_due.c
    begin = datetime.combine(today, datetime.min.time(), SHANGHAI)
    rows = tx.all(
        sa.select(t.obligation_due)
        .where(due.replaced_at.is_(None), due.due_at > begin, due.due_at <= begin + _AHEAD)
        .where(due.obligation_id.in_({duty for _, duty in duties}))
        .order_by(due.due_at, due.id)
    )
    for row in rows:
        if (row.pack_id, row.obligation_id) in duties:
            yield *duties[row.pack_id, row.obligation_id], row


def _last_day(due_at: datetime) -> date:
    """The day at whose 24:00 a limit ends."""
    return (due_at - timedelta(microseconds=1)).astimezone(SHANGHAI).date()


def _insert(tx: Tx, unit_id: str, at: datetime, steps: list[tuple[WorkdayStep, RulePack, Obligation, Any]]) -> bool:
    key = dedup_key(f"unit:{unit_id}", f"workdays:{at:%Y-%m-%dT%H:%M}", 1)
    if tx.value(sa.select(t.timed_action.c.id).where(t.timed_action.c.dedup_key == key)) is not None:
        return False
    band = min((step.band for step, *_ in steps), key=lambda one: one.urgency)
    audience = dict.fromkeys(one for step, *_ in steps for one in step.audience)
    detail = {
        "to": [str(role) for role in dict.fromkeys(role for step, *_ in steps for role in step.to)],
        "audience": [str(one) for one in audience or (Audience.PERSONAL,)],
        "when": "always",
        "of": WORKDAYS,
        "band": str(band),
        "unit": unit_id,
        "headline": f"工作日任务将到期，共{len(steps)}项",
        "must_do": ["核对办理情况，按期公开或报送"],
        "lines": [_line(pack, duty, row) for _, pack, duty, row in steps],
    }
    values = {
        "dedup_key": key,
        "kind": str(EventKind.DAILY_BRIEF),
        "step_id": WORKDAYS,
        "urgency": band.urgency,
        "due_at": at,
        "detail": detail,
    }
    return outbox.insert_action(tx, values) is not None


def _line(pack: RulePack, duty: Obligation, row: Any) -> str:
    quote = duty.quote if len(duty.quote) <= _LONGEST_QUOTE else duty.quote[: _LONGEST_QUOTE - 1] + "…"
    provisional = "（暂定）" if row.provisional else ""
    who = f"|{duty.who}" if duty.who else ""
    return f"{due_text(row.due_at)}{provisional}到期：《{pack.title}》{duty.clause}“{quote}”{who}"
