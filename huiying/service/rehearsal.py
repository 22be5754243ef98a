"""What pending requests would do to the clocks if they were approved now.

Each is carried out on a copy of what it concerns, in memory and of one instant, and thrown away: looking at a request
never waits for its turn to write, and nothing of it can stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from loguru import logger

from huiying.domain.clock import Clock
from huiying.domain.errors import HuiyingError
from huiying.service import incidents
from huiying.service.actor import EVERYWHERE, Actor
from huiying.service.changes import incident_of, pending_request, perform
from huiying.service.clockwork import snapshot
from huiying.service.services import Services
from huiying.service.views import shown
from huiying.store import tables as t
from huiying.store.db import Store, Tx, open_memory

#: Importing them is what makes every command known by its name.
_COMMANDS = incidents.__all__
_ANYBODY = Actor("system:rehearsal", units=EVERYWHERE)
#: What a command reads of the incidents it changes, and what holds for all of them.
_OF_INCIDENTS = (t.history, t.publication, t.clock, t.incident_pack, t.stage_log, t.change_request)
_OF_THE_HOUSE = (t.unit, t.pack, t.policy)


@dataclass(frozen=True, slots=True)
class Moved:
    """A clock before and after a change; a clock that begins or goes has no other side."""

    before: Clock | None
    after: Clock | None


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What would become of the clocks, or why the request cannot be carried out any more."""

    moved: tuple[Moved, ...] = ()
    obstacle: str = ""

    def view(self) -> dict[str, Any]:
        """Plain values for the faces."""
        return {"moved": [_moved_view(one) for one in self.moved], "obstacle": self.obstacle}


def rehearse(services: Services, request_ids: Collection[int]) -> dict[int, Rehearsal | None]:
    """What each pending request would do now, by its number; one read of the store for all of them.

    None for one that cannot be tried out: the log says why, and what becomes of the others does not depend on it.
    """
    if not request_ids:
        return {}
    with services.store.reading() as tx:
        rows, now = _copied(tx, request_ids), tx.now
    with _scratch(rows, now) as copy:
        return {request_id: _tried(copy, request_id) for request_id in request_ids}


def _copied(tx: Tx, request_ids: Collection[int]) -> dict[sa.Table, list[dict[str, Any]]]:
    requests = tx.all(sa.select(t.change_request).where(t.change_request.c.id.in_(request_ids)))
    concerned = _concerned(tx, requests)
    found = {table: _rows(tx, sa.select(table)) for table in _OF_THE_HOUSE}
    found[t.incident] = _rows(tx, sa.select(t.incident).where(t.incident.c.id.in_(concerned)))
    for table in _OF_INCIDENTS:
        found[table] = _rows(tx, sa.select(table).where(table.c.incident_id.in_(concerned)))
    return found


def _rows(tx: Tx, statement: sa.Select[Any]) -> list[dict[str, Any]]:
    return [row._asdict() for row in tx.all(statement)]


def _concerned(tx: Tx, requests: Iterable[Any]) -> set[int]:
    """The incidents of the requests, those they would be merged into, and all that is merged with any of them."""
    incident = t.incident.c
    asked = list(requests)
    ids = {row.incident_id for row in asked}
    numbers = {
        str(row.payload["into"]) for row in asked if isinstance(row.payload, Mapping) and row.payload.get("into")
    }
    known = -1
    while known != len(ids):
        known = len(ids)
        own = sa.or_(incident.id.in_(ids), incident.merged_into.in_(ids), incident.no.in_(numbers))
        for row in tx.all(sa.select(incident.id, incident.merged_into).where(own)):
            ids |= {row.id} if row.merged_into is None else {row.id, row.merged_into}
    return ids


@contextmanager
def _scratch(rows: Mapping[sa.Table, list[dict[str, Any]]], now: datetime) -> Iterator[Store]:
    store = Store(open_memory(), lambda: now, fixed_clock=True)
    try:
        with store.transaction(_ANYBODY.id) as tx:
            t.metadata.create_all(tx.conn, checkfirst=False)
            for table, found in rows.items():
                if found:
                    tx.run(table.insert(), found)
        yield store
    finally:
        store.close()


def _tried(store: Store, request_id: int) -> Rehearsal | None:
    """Carried out in a transaction that is never committed; its rights apart, what refuses it refuses the approval."""
    try:
        with store.reading() as tx:
            return Rehearsal(tuple(moved for moved in _performed(tx, request_id) if _is_news(moved)))
    except HuiyingError as error:
        return Rehearsal(obstacle=error.message)
    except Exception:  # noqa: BLE001 - one odd request must not hide the others
        logger.exception("request {} cannot be tried out; it is shown without its effect", request_id)
        return None


def _performed(tx: Tx, request_id: int) -> list[Moved]:
    request = pending_request(tx, request_id)
    row = incident_of(tx, request)
    before = {clock.key: clock for clock in snapshot(tx, row).clocks}
    # The request itself waits on: what it would do must not let it lapse before it is done.
    after = perform(
        tx, _ANYBODY, request.requested_by, _ANYBODY.id, request.command, row.no, request.payload, deciding=request_id
    )
    if after.row.cycle != row.cycle:
        before = {}
    kept = {clock.key for clock in after.clocks}
    found = [Moved(before.get(clock.key), clock) for clock in after.clocks]
    return found + [Moved(clock, None) for key, clock in before.items() if key not in kept]


def _is_news(moved: Moved) -> bool:
    if moved.before is None or moved.after is None:
        return True
    old, new = moved.before, moved.after
    return (old.due_at, old.state, old.binding) != (new.due_at, new.state, new.binding)


def _moved_view(moved: Moved) -> dict[str, Any]:
    clock = moved.after or moved.before
    return {"name": clock.name if clock else "", "before": _side(moved.before), "after": _side(moved.after)}


def _side(clock: Clock | None) -> dict[str, Any] | None:
    if clock is None:
        return None
    return {"due_at": shown(clock.due_at), "state": str(clock.state), "state_zh": clock.state.zh}
