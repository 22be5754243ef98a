"""The links behind messages: who opens one sees where the clock stands, who presses its button has acknowledged.

A link is bound to one delivery and thereby to its person. A group robot's link is in many hands: whoever acknowledges
there names one of the people the step was for, which is weaker evidence and recorded as such (``via`` group).
"""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.access import Permission
from huiying.domain.errors import InvalidInput, NotFound, Refused
from huiying.domain.kinds import ClockState, EventKind, IncidentState, Role
from huiying.service.acknowledging import acknowledge
from huiying.service.actor import Actor
from huiying.service.requests import AckRequest
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Tx

#: A link outlives its clock by a day, so that whoever was on the road still finds what became of it.
LIVES_ON = timedelta(hours=24)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}")
#: A double click must not be two entries; every process has its own, which is enough for one pair of hands.
_STRIPES = tuple(threading.Lock() for _ in range(64))

UNKNOWN = "链接无效:请核对是否完整复制,或在系统中查看事项。"
EXPIRED = "链接已过期:时钟结束满 24 小时后不再受理签收。"


@dataclass(frozen=True, slots=True)
class Answer:
    """An acknowledgement that was given."""

    person_id: str
    name: str
    at: datetime
    via: str


@dataclass(frozen=True, slots=True)
class AckLink:
    """What a link shows. ``choices`` are the people of a group robot's step; empty where the link is one person's."""

    notice_no: str
    incident_no: str
    notice_title: str
    event: str
    clock_name: str
    state: str
    due_at: datetime | None
    is_open: bool
    unit_name: str
    person_id: str
    person_name: str
    choices: tuple[tuple[str, str], ...]
    answers: tuple[Answer, ...]
    drill: bool
    now: datetime

    @property
    def is_group(self) -> bool:
        """True where the link does not say who holds it."""
        return not self.person_id


def look(services: Services, token: str) -> AckLink:
    """Everything the page shows; changes nothing. Raises ``NotFound`` (unknown) or ``Refused`` (expired)."""
    digest = _digest(token)
    with services.store.reading() as tx:
        row = tx.one(_statement().where(t.delivery.c.ack_hash == digest)) if digest else None
        if row is None:
            raise NotFound(UNKNOWN)
        ended_at = _ended(row)
        if ended_at is not None and tx.now > ended_at + LIVES_ON:
            raise Refused(EXPIRED)
        return _link(tx, row)


def answer(services: Services, token: str, person_id: str = "", note: str = "") -> AckLink:
    """Acknowledge through a link, once for each person; a second time changes nothing and shows the first."""
    with _STRIPES[hash(token) % len(_STRIPES)]:
        link = look(services, token)
        actor, via = _actor(link, person_id)
        if any(given.person_id == actor.person_id for given in link.answers):
            return link
        acknowledge(services, actor, link.incident_no, AckRequest(note=note, notice_no=link.notice_no, via=via))
    return look(services, token)


def _actor(link: AckLink, person_id: str) -> tuple[Actor, str]:
    may = frozenset({Permission.ACKNOWLEDGE.value})
    if not link.is_group:
        return Actor(f"person:{link.person_id}", link.person_id, may), "link"
    if person_id not in {choice for choice, _ in link.choices}:
        raise InvalidInput("person", "请先选择您的姓名,再签收。")
    # Anybody in the group could have pressed the button: the chain names the link, not the person.
    return Actor(f"group:{link.notice_no}", person_id, may), "group"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest() if _TOKEN.fullmatch(token) else ""


def _statement() -> sa.Select[Any]:
    delivery, incident, clock = t.delivery.c, t.incident.c, t.clock.c
    return (
        sa.select(
            delivery.notice_no,
            delivery.person_id,
            delivery.detail,
            t.timed_action.c.kind.label("event"),
            incident.no,
            incident.notice_title,
            incident.state.label("incident_state"),
            incident.ended_at.label("incident_ended"),
            incident.drill,
            t.unit.c.name.label("unit_name"),
            clock.name.label("clock_name"),
            clock.state.label("clock_state"),
            clock.due_at,
            clock.ended_at,
            clock.fulfilled_at,
            t.person.c.name.label("person_name"),
        )
        .join(t.timed_action, t.timed_action.c.id == delivery.action_id)
        .join(t.incident, incident.id == delivery.incident_id)
        .join(t.unit, t.unit.c.id == incident.unit_id)
        .outerjoin(t.clock, clock.id == delivery.clock_id)
        .outerjoin(t.person, t.person.c.id == delivery.person_id)
    )


def _ended(row: Any) -> datetime | None:
    """When what the message speaks of came to its end; None while it is open."""
    ended: datetime | None = row.incident_ended
    if row.clock_state is None:
        return None if IncidentState(row.incident_state).is_open else ended
    if ClockState(row.clock_state).is_open:
        return None
    return row.ended_at or row.fulfilled_at or ended


def _link(tx: Tx, row: Any) -> AckLink:
    return AckLink(
        notice_no=row.notice_no,
        incident_no=row.no,
        notice_title=row.notice_title,
        event=EventKind(row.event).zh,
        clock_name=row.clock_name or "",
        state=ClockState(row.clock_state).zh if row.clock_state else IncidentState(row.incident_state).zh,
        due_at=row.due_at,
        is_open=_ended(row) is None,
        unit_name=row.unit_name,
        person_id=row.person_id,
        person_name=row.person_name or "",
        choices=() if row.person_id else _choices(tx, row.detail.get("people", ())),
        answers=_answers(tx, row.notice_no),
        drill=bool(row.drill),
        now=tx.now,
    )


def _choices(tx: Tx, people: Any) -> tuple[tuple[str, str], ...]:
    roles = {person_id: Role(role).zh if role else "" for person_id, role in people}
    rows = tx.all(sa.select(t.person.c.id, t.person.c.name).where(t.person.c.id.in_(roles), t.person.c.active))
    names = {row.id: row.name for row in rows}
    return tuple(
        (person_id, f"{names[person_id]}({role})" if role else names[person_id])
        for person_id, role in roles.items()
        if person_id in names
    )


def _answers(tx: Tx, notice_no: str) -> tuple[Answer, ...]:
    """One acknowledgement may answer several steps; who, when and how is the same for all of them."""
    ack = t.acknowledgement.c
    rows = tx.all(
        sa.select(ack.person_id, ack.at, ack.via, t.person.c.name)
        .outerjoin(t.person, t.person.c.id == ack.person_id)
        .where(ack.notice_no == notice_no)
        .order_by(ack.id)
    )
    found = {(row.person_id, row.at): Answer(row.person_id, row.name or row.person_id, row.at, row.via) for row in rows}
    return tuple(found.values())
