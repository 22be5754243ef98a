"""The calendars in the store, as operators see them: versions, a year's leaves, and what an import would change."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from config.calendar_loader import parse_calendar_file
from huiying.domain.audit_words import actor_zh
from huiying.domain.calendar_grid import KINDS_ZH, DayChange, day_changes, leaves, plain_year
from huiying.domain.errors import NotFound
from huiying.domain.obligations import ObligationDue
from huiying.domain.sentences import said
from huiying.domain.text import line
from huiying.domain.workdays import YearCalendar, due_text, year_from_dict
from huiying.service.obligations import moves
from huiying.service.rulebook import current_calendar
from huiying.service.services import Services
from huiying.service.views import shown
from huiying.store import tables as t
from huiying.store.db import Tx

_MOST_MOVES = 200


def list_calendars(services: Services) -> dict[str, Any]:
    """Every version of every year, the newest year first."""
    table = t.calendar.c
    statement = sa.select(
        table.year, table.version, table.source_notice, table.imported_at, table.imported_by, table.current
    ).order_by(table.year.desc(), table.imported_at.desc())
    with services.store.reading() as tx:
        rows = tx.all(statement)
        names = {row.id: row.name for row in tx.all(sa.select(t.person.c.id, t.person.c.name))}
    return {
        "calendars": [
            {
                "year": row.year,
                "version": row.version,
                "source_notice": row.source_notice,
                "imported_at": shown(row.imported_at),
                "imported_by": row.imported_by,
                "imported_by_name": "" if row.imported_by.startswith("system:") else actor_zh(row.imported_by, names),
                "current": bool(row.current),
            }
            for row in rows
        ]
    }


def show_year(services: Services, year: int, version: str = "") -> dict[str, Any]:
    """A year as twelve leaves, in its present version or a named one."""
    table = t.calendar.c
    wanted = table.version == version if version else table.current
    with services.store.reading() as tx:
        body = tx.value(sa.select(table.body).where(table.year == year, wanted))
    if body is None:
        raise NotFound(said("没有 %(year)s 年的工作日历（或没有这个版本）。请在工作日历页导入。", year=year))
    found = year_from_dict(body)
    return {
        "year": year,
        "version": found.version,
        "source_notice": found.source_notice,
        "published": found.published.isoformat() if found.published else "",
        "verified": found.verified,
        "leaves": leaves(found),
        "workdays": sum(leaf.workdays for leaf in leaves(found)),
        "holidays": len(found.holidays),
        "makeup": len(found.makeup_workdays),
    }


def check_calendar(services: Services, data: bytes, name: str, notice: str = "") -> dict[str, Any]:
    """What importing this file would change: its faults, or the days and the due dates that move. Nothing is written."""
    parsed = parse_calendar_file(name, data, line("notice", notice, 200, "来源通知"))
    if parsed.findings:
        return {"ok": False, "findings": [asdict(finding) for finding in parsed.findings]}
    # Of several versions in one file the last is the one that comes into use.
    latest = {year.year: year for year in parsed.years}
    with services.store.reading() as tx:
        present = current_calendar(tx)
        coming = present
        for year in latest.values():
            coming = coming.with_year(year)
        moved = [_move(row, pack_id, due) for row, pack_id, due in moves(tx, coming)]
    years = [_coming(present.years.get(number), year) for number, year in sorted(latest.items())]
    return {"ok": True, "findings": [], "years": years, "moved": moved[:_MOST_MOVES], "moves": len(moved)}


def _coming(old: YearCalendar | None, new: YearCalendar) -> dict[str, Any]:
    return {
        "year": new.year,
        "version": new.version,
        "source_notice": new.source_notice,
        "verified": new.verified,
        "before": old.version if old else "",
        "same": old is not None and old.version == new.version,
        "changes": [_change(change) for change in day_changes(old or plain_year(new.year), new)],
    }


def _change(change: DayChange) -> dict[str, Any]:
    return {
        "date": change.date,
        "before": change.before,
        "before_zh": KINDS_ZH[change.before],
        "after": change.after,
        "after_zh": KINDS_ZH[change.after],
    }


def _move(row: Any, pack_id: str, due: ObligationDue) -> dict[str, Any]:
    return {
        "pack": pack_id,
        "obligation": due.obligation_id,
        "period": due.period_label,
        "before": due_text(row.due_at, provisional=row.provisional),
        "after": due.text,
    }


def replaced_due_dates(services: Services, limit: int = 50) -> list[dict[str, Any]]:
    """Due dates that an import moved, the latest first, each with the value that holds now."""
    with services.store.reading() as tx:
        return _replaced(tx, limit)


def _replaced(tx: Tx, limit: int) -> list[dict[str, Any]]:
    old, new = t.obligation_due, t.obligation_due.alias("present")
    same = sa.and_(
        new.c.obligation_id == old.c.obligation_id, new.c.period == old.c.period, new.c.replaced_at.is_(None)
    )
    statement = (
        sa.select(old, new.c.due_at.label("now_at"), new.c.provisional.label("now_provisional"))
        .outerjoin(new, same)
        .where(old.c.replaced_at.is_not(None))
        .order_by(old.c.replaced_at.desc(), old.c.id)
        .limit(limit)
    )
    return [
        {
            "pack": row.pack_id,
            "obligation": row.obligation_id,
            "period": row.period,
            "before": due_text(row.due_at, provisional=row.provisional),
            "after": due_text(row.now_at, provisional=row.now_provisional) if row.now_at else "",
            "at": shown(row.replaced_at),
        }
        for row in tx.all(statement)
    ]
