"""The wall: four counts and the cards of one unit's running clocks, most urgent first.

It hangs where visitors pass: of what people typed it shows nothing but the incident's number and its ``notice_title``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from huiying.domain.access import Permission
from huiying.domain.kinds import ClockState, LimitStatus, Severity
from huiying.domain.remaining import Urgency, urgency
from huiying.service.actor import Actor
from huiying.service.scope import concerned
from huiying.service.services import Services
from huiying.service.views import unit_names, zh
from huiying.store import tables as t
from huiying.store.db import Tx

#: Three rows of four fill a screen.
CARDS_ON_A_PAGE = 12
#: A wall that has more to show goes on turning pages, but nobody waits for the twenty-first.
MOST_PAGES = 20
_RUNNING = (str(ClockState.RUNNING), str(ClockState.BREACHED))


@dataclass(frozen=True, slots=True)
class Card:
    """One running clock; ``seconds`` are left as of the wall's ``now`` (negative: over)."""

    no: str
    notice_title: str
    severity: str
    clock: str
    status: str
    unit: str
    due_at: datetime
    seconds: int
    urgency: Urgency
    acked: bool
    drill: bool
    received: bool  # 接报时已逾期


@dataclass(frozen=True, slots=True)
class Wall:
    """What the wall shows; ``counts`` are over all clocks, also those that no page has room for."""

    now: datetime
    counts: dict[Urgency, int]
    pages: tuple[tuple[Card, ...], ...]
    hidden: int
    unit: str


def show(services: Services, actor: Actor, unit_id: str = "") -> Wall:
    """Everything the wall needs, from one snapshot."""
    actor.require(Permission.READ)
    with services.store.reading() as tx:
        rows = _rows(tx, actor)
        counts = dict.fromkeys(Urgency, 0)
        for row in rows:
            counts[_band(row, tx.now)] += 1
        first = rows[: CARDS_ON_A_PAGE * MOST_PAGES]
        cards = _cards(tx, first)
        name = unit_names(tx, [unit_id]).get(unit_id, "")
        now = tx.now
    pages = tuple(tuple(cards[start : start + CARDS_ON_A_PAGE]) for start in range(0, len(cards), CARDS_ON_A_PAGE))
    return Wall(now, counts, pages, len(rows) - len(first), name)


def _band(row: Any, now: datetime) -> Urgency:
    return urgency(int((row.due_at - now).total_seconds()))


def _rows(tx: Tx, actor: Actor) -> list[Any]:
    clock, incident = t.clock.c, t.incident.c
    statement = (
        sa.select(
            clock.id,
            clock.incident_id,
            clock.name,
            clock.status,
            clock.due_at,
            clock.unit_id,
            clock.on_receipt,
            incident.no,
            incident.notice_title,
            incident.severity,
            incident.drill,
            incident.unit_id.label("lead"),
        )
        .join(t.incident, incident.id == clock.incident_id)
        .where(clock.binding, clock.state.in_(_RUNNING))
        .order_by(clock.due_at, clock.id)
    )
    return tx.all(statement.where(concerned(tx, actor)))


def _cards(tx: Tx, rows: Iterable[Any]) -> list[Card]:
    found = list(rows)
    names = unit_names(tx, {row.unit_id or row.lead for row in found})
    acked = _acknowledged(tx, {row.incident_id for row in found})
    return [
        Card(
            no=row.no,
            notice_title=row.notice_title,
            severity=zh(Severity, row.severity),
            clock=row.name,
            status=LimitStatus(row.status).zh,
            unit=names.get(row.unit_id or row.lead, ""),
            due_at=row.due_at,
            seconds=int((row.due_at - tx.now).total_seconds()),
            urgency=_band(row, tx.now),
            acked=row.id in acked,
            drill=row.drill,
            received=bool(row.on_receipt) and row.due_at < tx.now,
        )
        for row in found
    ]


def _acknowledged(tx: Tx, incident_ids: set[int]) -> set[int]:
    """Clocks that somebody has taken up and whose acknowledgement still holds."""
    ack = t.acknowledgement.c
    found: set[int] = set()
    ids = sorted(incident_ids)
    for start in range(0, len(ids), 400):
        wanted = (ack.incident_id.in_(ids[start : start + 400]), ack.clock_id.is_not(None), ack.expires_at > tx.now)
        found |= {row.clock_id for row in tx.all(sa.select(ack.clock_id).where(*wanted))}
    return found
