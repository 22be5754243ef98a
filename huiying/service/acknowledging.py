"""Acknowledging: by clock, step and person; it stops a step's repetition, never a clock, and it expires."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.errors import NotFound, Refused
from huiying.domain.freetext import NOTE_LIMIT, checked
from huiying.domain.kinds import EVERY_STEP, ClockState, EventKind
from huiying.domain.sentences import said
from huiying.service.actor import Actor
from huiying.service.changes import REQUEST_STEP, in_scope, locked
from huiying.service.requests import AckRequest
from huiying.service.services import Services
from huiying.service.views import incident_view
from huiying.store import incidents as repo
from huiying.store import tables as t
from huiying.store.db import Tx

#: How long an acknowledgement holds where the step does not say.
_ACK_SECONDS = 12 * 3600
_START = "start"
#: Messages that tell of new clocks: acknowledging one is having taken them up.
_TAKEN_UP = frozenset({EventKind.REGISTERED, EventKind.REGRADED, EventKind.CHANGED})
_OPEN = tuple(str(state) for state in ClockState if state.is_open)


@dataclass(frozen=True, slots=True)
class _Target:
    """What one acknowledgement answers: a step of a clock (or of the whole incident), and for how long."""

    incident_id: int
    clock_id: int | None
    step: str
    seconds: int


def acknowledge(services: Services, actor: Actor, no: str, request: AckRequest) -> dict[str, Any]:
    """Acknowledge one clock's step, one message, or everything this person was asked about an incident."""
    actor.require("acknowledge")
    note = checked("note", request.note, NOTE_LIMIT, "签收说明")
    who = actor.person_id or actor.id
    with services.store.transaction(actor.id, crash="change") as tx:
        row = locked(tx, actor, no)
        if request.clock_key:
            targets = {_named(tx, row, request)}
        else:
            targets = _asked(tx, _deliveries(tx, row.id, request.notice_no, "" if actor.id == who else who))
        _write(tx, who, actor.id, targets, request.via, request.notice_no, note)
        return incident_view(tx, no)


def acknowledge_notice(services: Services, actor: Actor, notice_no: str, via: str, note: str = "") -> int:
    """Acknowledge by 通知号 alone, once for each person: a digest may speak of several incidents.

    Gives how many steps were answered; 0 where this person has done so before, which changes nothing.
    """
    actor.require("acknowledge")
    text = checked("note", note, NOTE_LIMIT, "签收说明")
    who = actor.person_id or actor.id
    with services.store.transaction(actor.id, crash="change") as tx:
        if not _is_first(tx, notice_no, who):
            return 0
        targets = _asked(tx, tx.all(_statement().where(t.delivery.c.notice_no == notice_no)))
        _write(tx, who, actor.id, targets, via, notice_no, text)
        return len(targets)


_FIRST = sa.text(
    "INSERT INTO acknowledged_notice (notice_no, person_id, at) VALUES (:notice_no, :person_id, :at)"
    " ON CONFLICT (notice_no, person_id) DO NOTHING"
).bindparams(sa.bindparam("at", type_=t.acknowledged_notice.c.at.type))


def _is_first(tx: Tx, notice_no: str, who: str) -> bool:
    """Take the place of this notice's one acknowledgement by this person.

    The key of the table decides, whatever process or node asks: a second one waits here until the first has ended.
    """
    return tx.run(_FIRST, {"notice_no": notice_no, "person_id": who, "at": tx.now}).rowcount == 1


def acknowledge_clocks(
    services: Services, actor: Actor, clock_ids: Iterable[int], via: str
) -> tuple[list[tuple[str, str]], int]:
    """Acknowledge several open clocks at once, of whichever incidents, in one transaction.

    Gives the acknowledged ones (number of the incident, name of the clock) and how many were not acknowledged: those that
    ended meanwhile or lie outside the actor's scope.
    """
    actor.require("acknowledge")
    wanted = set(clock_ids)
    with services.store.transaction(actor.id, crash="change") as tx:
        rows = tx.all(
            sa.select(
                t.clock.c.id, t.clock.c.incident_id, t.clock.c.unit_id, t.clock.c.name,
                t.incident.c.no, t.incident.c.unit_id.label("lead"), t.incident.c.co_units,
            )
            .join(t.incident, t.incident.c.id == t.clock.c.incident_id)
            .where(t.clock.c.id.in_(wanted), t.clock.c.state.in_(_OPEN))
        )  # fmt: skip
        mine = [row for row in rows if in_scope(tx, actor, [u for u in (row.lead, row.unit_id, *row.co_units) if u])]
        if not mine:
            raise Refused("所选时钟都已结束或不在您的权限范围内，未作任何改动。请刷新页面后重新选择。")
        targets = {_Target(row.incident_id, row.id, EVERY_STEP, _ACK_SECONDS) for row in mine}
        _write(tx, actor.person_id or actor.id, actor.id, targets, via, "", "")
        return [(row.no, row.name) for row in mine], len(wanted) - len(mine)


def _named(tx: Tx, row: Any, request: AckRequest) -> _Target:
    clock = repo.clock_rows(tx, row.id, row.cycle).get(request.clock_key)
    if clock is None:
        raise NotFound(said("事项 %(no)s 没有时钟「%(key)s」。", no=row.no, key=request.clock_key))
    return _Target(row.id, clock.id, request.step_id or EVERY_STEP, _ACK_SECONDS)


def _statement() -> sa.Select[Any]:
    action, delivery = t.timed_action, t.delivery
    return sa.select(
        action.c.clock_id, action.c.step_id, action.c.kind, action.c.detail, action.c.incident_id, action.c.generation,
        t.incident.c.cycle, delivery.c.detail.label("said"),
    ).join(delivery, delivery.c.action_id == action.c.id).outerjoin(t.incident, t.incident.c.id == action.c.incident_id)  # fmt: skip


def _deliveries(tx: Tx, incident_id: int, notice_no: str, person_id: str) -> list[Any]:
    """Messages about an incident: the one named, else all to this person (all of them for the local command line)."""
    statement = _statement().where(t.delivery.c.incident_id == incident_id)
    if notice_no:
        statement = statement.where(t.delivery.c.notice_no == notice_no)
    elif person_id:
        statement = statement.where(t.delivery.c.person_id == person_id)
    return tx.all(statement)


def _asked(tx: Tx, rows: Iterable[Any]) -> set[_Target]:
    """Every step that these messages asked somebody to acknowledge."""
    found: set[_Target] = set()
    for row in rows:
        seconds = int(row.detail.get("ack_seconds", _ACK_SECONDS))
        if row.clock_id is not None:
            found.add(_Target(row.incident_id, row.clock_id, row.detail.get("of") or row.step_id, seconds))
        elif row.kind == EventKind.DIGEST:
            named = t.clock.c.id.in_(row.said.get("clocks") or [])
            found |= {_Target(c.incident_id, c.id, EVERY_STEP, seconds) for c in _open_clocks(tx, named)}
        elif row.detail.get("of") == REQUEST_STEP:
            found.add(_Target(row.incident_id, None, REQUEST_STEP, seconds))
        elif row.incident_id is not None and row.generation == row.cycle:
            # A message about a whole incident speaks of the cycle it was written in: what was said before a flare-up
            # (its generation is that cycle) takes up none of the clocks that have begun since. The start message speaks of the whole incident: its acknowledgement holds for each open clock.
            step = _START if row.kind in _TAKEN_UP else row.step_id
            named = row.detail.get("clocks")
            own = t.clock.c.incident_id == row.incident_id if named is None else t.clock.c.id.in_(named)
            found |= {_Target(c.incident_id, c.id, step, seconds) for c in _open_clocks(tx, own)}
            found.add(_Target(row.incident_id, None, step, seconds))
    return found


def _open_clocks(tx: Tx, condition: sa.ColumnElement[bool]) -> list[Any]:
    return tx.all(sa.select(t.clock.c.id, t.clock.c.incident_id).where(condition, t.clock.c.state.in_(_OPEN)))


def _write(tx: Tx, who: str, by: str, targets: set[_Target], via: str, notice_no: str, note: str) -> None:
    if not targets:
        raise Refused("目前没有需要您签收的提醒，未作任何改动。")
    ordered = sorted(targets, key=lambda target: (target.incident_id, target.clock_id or 0, target.step))
    rows = [
        {
            "incident_id": target.incident_id, "clock_id": target.clock_id, "step_id": target.step, "person_id": who,
            "at": tx.now, "expires_at": tx.now + timedelta(seconds=target.seconds), "via": via,
            "notice_no": notice_no or None, "note": note,
        }
        for target in ordered
    ]  # fmt: skip
    tx.run(t.acknowledgement.insert(), rows)
    for incident_id in sorted({target.incident_id for target in targets}):
        statement = (
            sa.select(t.incident.c.no, t.incident.c.cycle).where(t.incident.c.id == incident_id).with_for_update()
        )
        incident: Any = tx.one(statement)
        steps = sorted({target.step for target in targets if target.incident_id == incident_id})
        detail = {"by": who, "steps": steps, "via": via}
        repo.append_history(tx, incident_id, incident.cycle, [("acknowledged", detail)], by)
        tx.audit(
            "incident.acknowledged", f"incident:{incident.no}",
            {"person": who, "via": via, "notice_no": notice_no, "steps": steps},
        )  # fmt: skip
