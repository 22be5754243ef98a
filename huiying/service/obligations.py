"""Due dates of the documents' other duties, kept in the store; a value that changes stays beside the new one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

import sqlalchemy as sa

from huiying.domain.obligations import ObligationDue, due_dates
from huiying.domain.plan import SHANGHAI
from huiying.domain.rules import Obligation, RulePack
from huiying.domain.workdays import WorkCalendar
from huiying.service.rulebook import current_calendar, current_packs
from huiying.store import tables as t
from huiying.store.db import Tx


def years_of(pack: RulePack, today: date) -> tuple[int, ...]:
    """The years a pack's duties are dated for: its own, this one and the next."""
    return tuple(sorted({pack.nominal_year or pack.effective_from.year, today.year, today.year + 1}))


def anchors_of(pack: RulePack) -> dict[str, date]:
    """The days a pack itself states that its working-day limits count from."""
    found = {"issued_on": pack.issued, "published_on": pack.published}
    return {name: day for name, day in found.items() if day is not None}


def dated(obligation: Obligation, pack: RulePack, years: Iterable[int], calendar: WorkCalendar) -> list[ObligationDue]:
    """Every due date of a duty in these years."""
    found: list[ObligationDue] = []
    for year in years:
        found += due_dates(obligation, range(year, year + 1), calendar, anchors_of(pack))
    return found


def compute(tx: Tx) -> int:
    """Date what has no date yet; gives how many rows were added."""
    today, calendar = tx.now.astimezone(SHANGHAI).date(), current_calendar(tx)
    table = t.obligation_due
    have = {(row.obligation_id, row.period) for row in tx.all(sa.select(table.c.obligation_id, table.c.period))}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for pack in current_packs(tx):
        for obligation in pack.obligations:
            for due in dated(obligation, pack, years_of(pack, today), calendar):
                key = (due.obligation_id, due.period_label)
                if due.due_at is not None and key not in have:
                    rows.setdefault(key, _row(pack.id, due, tx))
    if rows:
        tx.run(table.insert(), list(rows.values()))
    return len(rows)


def _row(pack_id: str, due: ObligationDue, tx: Tx) -> dict[str, Any]:
    return {
        "pack_id": pack_id,
        "obligation_id": due.obligation_id,
        "period": due.period_label,
        "due_at": due.due_at,
        "provisional": due.provisional,
        "calendar": list(due.calendar),
        "computed_at": tx.now,
    }


def moves(tx: Tx, calendar: WorkCalendar) -> Iterator[tuple[Any, str, ObligationDue]]:
    """What would be dated otherwise under another calendar: the present row, its pack, the new due date."""
    today, table = tx.now.astimezone(SHANGHAI).date(), t.obligation_due
    present = {
        (row.obligation_id, row.period): row for row in tx.all(sa.select(table).where(table.c.replaced_at.is_(None)))
    }
    for pack in current_packs(tx):
        for obligation in pack.obligations:
            for due in dated(obligation, pack, years_of(pack, today), calendar):
                # A row is moved once, whichever pack names the duty again.
                old = present.get((due.obligation_id, due.period_label))
                if old is None or due.due_at is None:
                    continue
                if (old.due_at, old.provisional) != (due.due_at, due.provisional):
                    del present[(due.obligation_id, due.period_label)]
                    yield old, pack.id, due


def recompute(tx: Tx, calendar: WorkCalendar) -> int:
    """Date again under another calendar; the old value is kept as replaced. Gives how many due dates moved or settled."""
    found = list(moves(tx, calendar))
    for old, pack_id, due in found:
        tx.run(t.obligation_due.update().where(t.obligation_due.c.id == old.id).values(replaced_at=tx.now))
        tx.run(t.obligation_due.insert().values(**_row(pack_id, due, tx)))
    if found:
        tx.audit("obligations.recomputed", "calendar", {"moved": len(found)})
    return len(found)
