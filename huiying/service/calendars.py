"""The calendars in the store, as operators see them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from huiying.service.services import Services
from huiying.service.views import shown
from huiying.store import tables as t


def list_calendars(services: Services) -> dict[str, Any]:
    """Every version of every year, the newest year first."""
    table = t.calendar.c
    statement = sa.select(
        table.year, table.version, table.source_notice, table.imported_at, table.imported_by, table.current
    ).order_by(table.year.desc(), table.imported_at.desc())
    with services.store.reading() as tx:
        rows = tx.all(statement)
    return {
        "calendars": [
            {
                "year": row.year,
                "version": row.version,
                "source_notice": row.source_notice,
                "imported_at": shown(row.imported_at),
                "imported_by": row.imported_by,
                "current": bool(row.current),
            }
            for row in rows
        ]
    }
