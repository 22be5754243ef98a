"""The links behind messages: who opens one sees where the clock stands, who presses its button has acknowledged.

A link is bound to one delivery and thereby to its person. A group robot's link is in many hands: whoever acknowledges
there names one of the people the step was for, which is weaker evidence and recorded as such (``via`` group).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.access import Permission
from huiying.domain.duration import human_left
from huiying.domain.errors import InvalidInput, NotFound, Refused
from huiying.domain.kinds import ClockState, EventKind, IncidentState, Role
from huiying.service.acknowledging import acknowledge_notice
from huiying.service.actor import Actor
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Tx

#: A link outlives its clock by a day, so that whoever was on the road still finds what became of it.
LIVES_ON = timedelta(hours=24)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}")
#: What a digest's page shows of its clocks; the page stays small.
MOST_LINES = 20

UNKNOWN = "链接无效：请核对是否完整复制，或在系统中查看事项。"
EXPIRED = "链接已过期：时钟结束满 24 小时后不再受理签收。"


@dataclass(frozen=True, slots=True)
class Answer:
    """An acknowledgement that was given."""

    person_id: str
    name: str
    at: datetime
    via: str


@dataclass(frozen=True, slots=True)
class AckLink:
    """What a link shows: its clock, or the most urgent of those it speaks of (``lines`` lists those of a digest).

    ``choices`` are the people of a group robot's step; empty where the link is one person's.
    """

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
    lines: tuple[str, ...]
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
        clocks = _clocks(tx, row)
        ended_at = _ended(row, clocks)
        if ended_at is not None and tx.now > ended_at + LIVES_ON:
            raise Refused(EXPIRED)
        return _link(tx, row, clocks, is_open=ended_at is None)


def answer(services: Services, token: str, person_id: str = "", note: str = "") -> AckLink:
    """Acknowledge through a link, once for each person; a second time changes nothing and shows the first."""
    link = look(services, token)
    actor, via = _actor(link, person_id)
    if any(given.person_id == actor.person_id for given in link.answers):
        return link
    acknowledge_notice(services, actor, link.notice_no, via, note)
    return look(services, token)


def _actor(link: AckLink, person_id: str) -> tuple[Actor, str]:
    may = frozenset({Permission.ACKNOWLEDGE.value})
    if not link.is_group:
        return Actor(f"person:{link.person_id}", link.person_id, may), "link"
    if person_id not in {choice for choice, _ in link.choices}:
        raise InvalidInput("person", "请先选择您的姓名，再签收。")
    # Anybody in the group could have pressed the button: the chain names the link, not the person.
    return Actor(f"group:{link.notice_no}", person_id, may), "group"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest() if _TOKEN.fullmatch(token) else ""


def _statement() -> sa.Select[Any]:
    delivery, incident = t.delivery.c, t.incident.c
    return (
        sa.select(
            delivery.notice_no,
            delivery.person_id,
            delivery.detail,
            delivery.incident_id,
            delivery.clock_id,
            delivery.created_at,
            t.timed_action.c.kind.label("event"),
            t.timed_action.c.generation,
            incident.cycle,
            incident.no,
            incident.notice_title,
            incident.state.label("incident_state"),
            incident.ended_at,
            incident.drill,
            t.unit.c.name.label("unit_name"),
            t.person.c.name.label("person_name"),
        )
        .join(t.timed_action, t.timed_action.c.id == delivery.action_id)
        .outerjoin(t.incident, incident.id == delivery.incident_id)
        .outerjoin(t.unit, t.unit.c.id == incident.unit_id)
        .outerjoin(t.person, t.person.c.id == delivery.person_id)
    )


def _clocks(tx: Tx, row: Any) -> list[Any]:
    """The clocks a message speaks of, the one that runs out first in front, open ones before ended ones."""
    clock, listed = t.clock.c, row.detail.get("clocks")
    if row.clock_id is not None:
        wanted = clock.id == row.clock_id
    elif listed or row.incident_id is None:
        wanted = clock.id.in_([int(key) for key in listed or ()])
    else:
        # What a message about the whole incident speaks of are the clocks of the cycle that it was written in.
        wanted = sa.and_(clock.incident_id == row.incident_id, clock.cycle == row.generation, clock.binding)
    rows = tx.all(
        sa.select(t.clock, t.incident.c.no)
        .join(t.incident, t.incident.c.id == clock.incident_id)
        .where(wanted)
        .order_by(clock.due_at, clock.id)
    )
    return sorted(rows, key=lambda found: not ClockState(found.state).is_open)


def _ended(row: Any, clocks: list[Any]) -> datetime | None:
    """When all that the message speaks of had come to its end; None while something is open."""
    if any(ClockState(clock.state).is_open for clock in clocks):
        return None
    ends: list[datetime] = [end for clock in clocks if (end := clock.ended_at or clock.fulfilled_at) is not None]
    if row.incident_state is not None and not ends:
        earlier = row.clock_id is None and row.generation != row.cycle
        if IncidentState(row.incident_state).is_open and not earlier:
            return None
        ends = [row.ended_at or row.created_at]
    return max(ends, default=row.created_at)


def _link(tx: Tx, row: Any, clocks: list[Any], *, is_open: bool) -> AckLink:
    first = clocks[0] if clocks else None
    lone = row.incident_id is not None
    as_list = row.clock_id is None and row.event == EventKind.DIGEST
    return AckLink(
        notice_no=row.notice_no,
        incident_no=row.no if lone else f"{len(clocks)} 个时钟",
        notice_title=row.notice_title or "",
        event=EventKind(row.event).zh,
        clock_name=first.name if first is not None else "",
        state=_state(first, tx.now) if first is not None else IncidentState(row.incident_state).zh if lone else "",
        due_at=first.due_at if first is not None else None,
        is_open=is_open,
        unit_name=row.unit_name or "",
        person_id=row.person_id,
        person_name=row.person_name or "",
        choices=() if row.person_id else _choices(tx, row.detail.get("people", ())),
        answers=_answers(tx, row.notice_no),
        lines=tuple(_line(clock, tx.now) for clock in clocks[:MOST_LINES]) if as_list else (),
        drill=bool(row.drill),
        now=tx.now,
    )


def _state(clock: Any, now: datetime) -> str:
    state = ClockState(clock.state)
    # The stored state lags by the time since the last look.
    return ClockState.BREACHED.zh if state is ClockState.RUNNING and clock.due_at < now else state.zh


def _line(clock: Any, now: datetime) -> str:
    left = human_left(int((clock.due_at - now).total_seconds())) if ClockState(clock.state).is_open else ""
    return f"{clock.no} {clock.name} {_state(clock, now)} {left}".rstrip()


def _choices(tx: Tx, people: Any) -> tuple[tuple[str, str], ...]:
    roles = {person_id: Role(role).zh if role else "" for person_id, role in people}
    rows = tx.all(sa.select(t.person.c.id, t.person.c.name).where(t.person.c.id.in_(roles), t.person.c.active))
    names = {row.id: row.name for row in rows}
    return tuple(
        (person_id, f"{names[person_id]}（{role}）" if role else names[person_id])
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
