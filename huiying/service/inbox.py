"""The inbox channel as its owner reads it: unread first, to be acknowledged by a press, read or not.

Reading and acknowledging are two things: a read message has been seen, an acknowledged one has been taken up.
"""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

from huiying.domain.errors import NotFound
from huiying.domain.kinds import EventKind
from huiying.service.acknowledging import acknowledge_notice
from huiying.service.actor import Actor
from huiying.service.services import Services
from huiying.service.views import shown, zh
from huiying.store import tables as t
from huiying.store.db import Tx

MOST_ROWS = 200
#: Messages that ask for an acknowledgement.
_ASKING = frozenset(
    {EventKind.REGISTERED, EventKind.REMINDER, EventKind.ESCALATION, EventKind.BREACHED, EventKind.DIGEST}
)
_M = t.inbox_message.c
#: In the desk itself the message stands beside its button: the phone's link would only be a secret on the screen.
_ACK_LINE = re.compile(r"^.*https?://\S+/a/[A-Za-z0-9_-]{22}\S*.*$\n?", re.MULTILINE)


def messages(
    services: Services, actor: Actor, *, unread: bool = False, before: int = 0, limit: int = 30
) -> dict[str, Any]:
    """The person's messages, unread ones in front and newest first; ``before`` skips that many rows."""
    most = min(limit, MOST_ROWS)
    mine = [_M.person_id == (actor.person_id or "-")]
    wanted = [*mine, _M.read_at.is_(None)] if unread else mine
    statement = (
        sa.select(t.inbox_message)
        .where(*wanted)
        .order_by(sa.case((_M.read_at.is_(None), 0), else_=1), _M.id.desc())
        .offset(before)
        .limit(most + 1)
    )
    with services.store.reading() as tx:
        rows = tx.all(statement)
        page = rows[:most]
        about = _about(tx, [row.notice_no for row in page])
        given = _given(tx, [row.notice_no for row in page], actor.person_id)
        count = tx.value(sa.select(sa.func.count()).select_from(t.inbox_message).where(*mine, _M.read_at.is_(None)))
    return {
        "unread": int(count or 0),
        "messages": [_view(row, about.get(row.notice_no), given.get(row.notice_no)) for row in page],
        "next": before + most if len(rows) > most else None,
        "before": before,
    }


def unread_count(services: Services, actor: Actor) -> int:
    """How many messages the person has not read."""
    statement = sa.select(sa.func.count()).where(_M.person_id == (actor.person_id or "-"), _M.read_at.is_(None))
    with services.store.reading() as tx:
        return int(tx.value(statement) or 0)


def _about(tx: Tx, numbers: list[str]) -> dict[str, Any]:
    delivery, action = t.delivery.c, t.timed_action.c
    statement = (
        sa.select(delivery.notice_no, delivery.band, action.kind, t.incident.c.no, t.clock.c.due_at, t.clock.c.name)
        .join(t.timed_action, action.id == delivery.action_id)
        .outerjoin(t.incident, t.incident.c.id == delivery.incident_id)
        .outerjoin(t.clock, t.clock.c.id == delivery.clock_id)
        .where(delivery.notice_no.in_(numbers))
    )
    return {row.notice_no: row for row in tx.all(statement)}


def _given(tx: Tx, numbers: list[str], person_id: str) -> dict[str, Any]:
    """When this person acknowledged which message."""
    ack = t.acknowledgement.c
    rows = tx.all(sa.select(ack.notice_no, ack.at).where(ack.notice_no.in_(numbers), ack.person_id == person_id))
    return {row.notice_no: row.at for row in rows}


def _view(row: Any, about: Any | None, acked_at: Any | None) -> dict[str, Any]:
    kind = about.kind if about is not None else ""
    return {
        "id": row.id,
        "notice_no": row.notice_no,
        "subject": row.subject,
        "text": _body(row),
        "created_at": shown(row.created_at),
        "read_at": shown(row.read_at),
        "drill": row.drill,
        "incident": about.no if about is not None else None,
        "event_zh": zh(EventKind, kind) if kind else "",
        "band": about.band if about is not None else "",
        "due_at": shown(about.due_at) if about is not None else None,
        "asks": kind in _ASKING and acked_at is None,
        "acked_at": shown(acked_at),
    }


def _body(row: Any) -> str:
    """The text without what the page shows beside it: the phone's link, the first line's subject, the number."""
    text = _ACK_LINE.sub("", row.text).strip()
    lines = text.splitlines()
    if lines and lines[0].strip() and lines[0].strip() in row.subject:
        lines = lines[1:]
    if lines and lines[-1].startswith(f"通知号 {row.notice_no}"):
        lines = lines[:-1]
    return "\n".join(lines).strip() or text


def mark_read(services: Services, actor: Actor, notice_no: str = "") -> int:
    """Mark one message, or all of them, as read; gives how many were unread. No acknowledgement."""
    mine = [_M.person_id == (actor.person_id or "-"), _M.read_at.is_(None)]
    if notice_no:
        _own(services, actor, notice_no)
        mine.append(_M.notice_no == notice_no)
    with services.store.transaction(actor.id) as tx:
        return tx.run(t.inbox_message.update().where(*mine).values(read_at=tx.now)).rowcount


def acknowledge(services: Services, actor: Actor, notice_no: str) -> int:
    """Acknowledge one of the person's own messages, once; it counts as read, too."""
    _own(services, actor, notice_no)
    answered = acknowledge_notice(services, actor, notice_no, "desk")
    mark_read(services, actor, notice_no)
    return answered


def _own(services: Services, actor: Actor, notice_no: str) -> None:
    statement = sa.select(_M.id).where(_M.notice_no == notice_no, _M.person_id == (actor.person_id or "-"))
    with services.store.reading() as tx:
        if tx.value(statement) is None:
            raise NotFound("您的收件箱中没有这条通知，未作改动。")
