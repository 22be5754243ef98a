"""Recording breaches: each exactly once, with the true due time and the moment it was noticed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.kinds import Attribution, ClockState
from huiying.service.hand import Hand
from huiying.service.services import Services
from huiying.service.sources import Sources
from huiying.store import scenes
from huiying.store import tables as t
from huiying.store.db import Tx

_C = t.clock.c
_NOT_YET = (str(ClockState.RUNNING), str(ClockState.SCHEDULED))


def record_breaches(tx: Tx, sources: Sources, clock_ids: Iterable[int | None]) -> set[int]:
    """Mark these clocks breached where they are past due and nobody has yet; gives those it marked."""
    wanted = sorted({key for key in clock_ids if key is not None})
    if not wanted:
        return set()
    before = {key: sources.clocks[key] for key in wanted}
    statement = (
        t.clock.update()
        .where(_C.id.in_(wanted), _C.state.in_(_NOT_YET), _C.due_at < tx.now)
        .values(
            state=str(ClockState.BREACHED),
            noticed_at=sa.func.coalesce(_C.noticed_at, sa.literal(tx.now, _C.noticed_at.type)),
            attribution=sa.func.coalesce(_C.attribution, str(Attribution.LATE_RESPONSE)),
        )
        .returning(_C.id)
    )
    marked = sorted(row.id for row in tx.run(statement))
    if marked:
        tx.run(t.clock_event.insert(), [_event(tx, before[key]) for key in marked])
        sources.clocks.update(scenes.clocks(tx, marked))
    for key in marked:
        row = before[key]
        tx.audit(
            "clock.breached",
            f"incident:{sources.incidents[row.incident_id].no}",
            {"clock": row.key, "clock_id": key, "due_at": row.due_at.isoformat(), "noticed_at": tx.now.isoformat()},
        )
    return set(marked)


def _event(tx: Tx, row: Any) -> dict[str, Any]:
    return {
        "clock_id": row.id,
        "incident_id": row.incident_id,
        "at": tx.now,
        "what": "breached",
        "state_from": row.state,
        "state_to": str(ClockState.BREACHED),
        "due_from": row.due_at,
        "due_to": row.due_at,
        "detail": {"noticed_at": tx.now.isoformat()},
    }


def sweep_breaches(services: Services, hand: Hand, grace: timedelta, most: int = 500) -> int:
    """Record what no action records: clocks that do not bind have none, and one may have been lost."""
    late = sa.select(_C.id).where(_C.state == str(ClockState.RUNNING), _C.due_at < sa.bindparam("before"))
    with services.store.reading() as tx:
        found = [row.id for row in tx.all(late.order_by(_C.due_at).limit(most), {"before": tx.now - grace})]
    if not found:
        return 0
    with services.store.transaction(hand.actor) as tx:
        sources = Sources(tx)
        sources.need_matters((), found)
        return len(record_breaches(tx, sources, found))
