"""Holding dispatch and letting it go: after a restore nothing leaves until somebody has looked at what had been sent."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from huiying.domain.access import Permission
from huiying.domain.errors import Refused
from huiying.domain.kinds import ActionState, DeliveryState
from huiying.domain.text import line
from huiying.service.actor import Actor
from huiying.service.services import Services
from huiying.service.views import shown
from huiying.store import tables as t
from huiying.store.db import Tx

HELD = "dispatch_held"


def status(services: Services) -> dict[str, Any]:
    """Whether dispatch is held and why, how much waits, and which messages were the last to leave."""
    delivery, action = t.delivery, t.timed_action
    with services.store.reading() as tx:
        held = _held(tx)
        due = sa.select(sa.func.count()).where(action.c.state == ActionState.PENDING, action.c.due_at <= tx.now)
        waiting = sa.select(sa.func.count()).where(delivery.c.state.in_((DeliveryState.PENDING, DeliveryState.SENDING)))
        last = tx.all(
            sa.select(delivery.c.notice_no, delivery.c.sent_at, delivery.c.channel_id)
            .where(delivery.c.sent_at.is_not(None))
            .order_by(delivery.c.sent_at.desc())
            .limit(10)
        )
        return {
            "held": held is not None,
            "detail": held or {},
            "due_actions": tx.value(due),
            "waiting_deliveries": tx.value(waiting),
            "last_sent": [
                {"notice_no": row.notice_no, "sent_at": shown(row.sent_at), "channel": row.channel_id} for row in last
            ],
        }


def hold(services: Services, actor: Actor, reason: str) -> dict[str, Any]:
    """Let nothing leave from now on; clocks go on, breaches are recorded, deliveries wait."""
    actor.require(Permission.OPERATE)
    why = line("reason", reason, 500, "理由", required=True)
    with services.store.transaction(actor.id) as tx:
        if _held(tx) is not None:
            raise Refused("通知发送已处于暂停状态,未作改动。")
        value = {"reason": why, "by": actor.id, "at": shown(tx.now)}
        tx.run(t.setting.delete().where(t.setting.c.key == HELD))
        tx.run(t.setting.insert().values(key=HELD, value=value, updated_at=tx.now))
        tx.audit("dispatch.held", "dispatch", {"by": actor.id})
    return status(services)


def release(services: Services, actor: Actor, note: str) -> dict[str, Any]:
    """Let dispatch go again: somebody confirms having looked at what had been sent."""
    actor.require(Permission.OPERATE)
    said = line("note", note, 500, "核对说明", required=True)
    with services.store.transaction(actor.id) as tx:
        if _held(tx) is None:
            raise Refused("通知发送并未暂停,无需放行。")
        tx.run(t.setting.delete().where(t.setting.c.key == HELD))
        tx.audit("dispatch.released", "dispatch", {"by": actor.id, "note": said})
    return status(services)


def _held(tx: Tx) -> Any | None:
    return tx.value(sa.select(t.setting.c.value).where(t.setting.c.key == HELD)) or None
