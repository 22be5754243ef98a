"""Acknowledging: by clock, step and person; it stops a step's repetition, never a clock."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.errors import NotFound, Refused
from huiying.domain.freetext import NOTE_LIMIT, checked
from huiying.domain.kinds import (
    EventKind,
)
from huiying.service.actor import Actor
from huiying.service.changes import locked
from huiying.service.requests import (
    AckRequest,
)
from huiying.service.services import Services
from huiying.service.views import incident_view
from huiying.store import incidents as repo
from huiying.store import tables as t
from huiying.store.db import Tx

#: An acknowledgement that answers every step of a clock.
_ACK_EVERYTHING = "*"


def acknowledge(services: Services, actor: Actor, no: str, request: AckRequest) -> dict[str, Any]:
    """Acknowledge by clock, step and person: stops that step's repetition, never a clock; it expires."""
    actor.require("acknowledge")
    note = checked("note", request.note, NOTE_LIMIT, "签收说明")
    who = actor.person_id or actor.id
    with services.store.transaction(actor.id, crash="change") as tx:
        row = locked(tx, actor, no)
        targets = _ack_targets(tx, row, who, request)
        if not targets:
            raise Refused("目前没有需要您签收的提醒,未作任何改动。")
        rows = [
            {
                "incident_id": row.id, "clock_id": clock_id, "step_id": step, "person_id": who, "at": tx.now,
                "expires_at": tx.now + timedelta(seconds=seconds), "via": request.via,
                "notice_no": request.notice_no or None, "note": note,
            }
            for clock_id, step, seconds in targets
        ]  # fmt: skip
        tx.run(t.acknowledgement.insert(), rows)
        repo.append_history(
            tx, row.id, row.cycle, [("acknowledged", {"by": who, "count": len(rows), "via": request.via})], actor.id
        )
        tx.audit(
            "incident.acknowledged", f"incident:{no}",
            {"person": who, "via": request.via, "notice_no": request.notice_no, "steps": sorted({s for _, s, _ in targets})},
        )  # fmt: skip
        return incident_view(tx, no)


_ACK_SECONDS = 12 * 3600


def _ack_targets(tx: Tx, row: Any, who: str, request: AckRequest) -> set[tuple[int | None, str, int]]:
    """(clock, step, seconds until it expires) of everything this acknowledgement answers."""
    clocks = repo.clock_rows(tx, row.id, row.cycle)
    if request.clock_key:
        clock = clocks.get(request.clock_key)
        if clock is None:
            raise NotFound(f"事项 {row.no} 没有时钟「{request.clock_key}」。")
        return {(clock.id, request.step_id or _ACK_EVERYTHING, _ACK_SECONDS)}
    action, delivery = t.timed_action, t.delivery
    statement = (
        sa.select(action.c.id, action.c.clock_id, action.c.step_id, action.c.kind, action.c.detail)
        .join(delivery, delivery.c.action_id == action.c.id)
        .where(delivery.c.incident_id == row.id)
    )
    if request.notice_no:
        statement = statement.where(delivery.c.notice_no == request.notice_no)
    elif not who.startswith("local:"):
        statement = statement.where(delivery.c.person_id == who)
    open_clocks = [clock.id for clock in clocks.values() if clock.state in {"running", "breached", "scheduled"}]
    found: set[tuple[int | None, str, int]] = set()
    for asked in tx.all(statement):
        seconds = int(asked.detail.get("ack_seconds", _ACK_SECONDS))
        if asked.clock_id is not None:
            found.add((asked.clock_id, asked.detail.get("of") or asked.step_id, seconds))
        else:
            # The start message and digests speak of the whole incident: the acknowledgement holds for each open clock.
            step = "start" if asked.kind == EventKind.REGISTERED else _ACK_EVERYTHING
            found |= {(clock_id, step, seconds) for clock_id in open_clocks}
            found.add((None, step, seconds))
    return found
