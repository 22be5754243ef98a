"""What the main screen asks for: the queue of running clocks, its counts, one incident's lanes, the latest events."""

from __future__ import annotations

import sqlalchemy as sa

from huiying.service.services import Services
from huiying.store import tables as t


def unit_name(services: Services, unit_id: str) -> str:
    """A unit's name; empty where it does not exist."""
    with services.store.reading() as tx:
        return str(tx.value(sa.select(t.unit.c.name).where(t.unit.c.id == unit_id)) or "")
