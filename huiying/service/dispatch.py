"""Whether anything may leave the house, and stopping it by hand; letting it go again is ``huiying.service.held``."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from huiying.domain.access import Permission
from huiying.domain.audit import rfc3339
from huiying.domain.errors import Refused
from huiying.domain.kinds import ActionState, DeliveryState
from huiying.domain.text import line
from huiying.service.actor import Actor
from huiying.service.backup import HELD
from huiying.service.scope import require_house
from huiying.service.services import Services
from huiying.service.views import shown
from huiying.store import tables as t
from huiying.store.db import Tx

_REASONS = {"restored": "从备份恢复后等待确认"}


def status(services: Services) -> dict[str, Any]:
    """Whether dispatch is held and why, how much waits, and which messages were the last to leave."""
    delivery, action = t.delivery, t.timed_action
    with services.store.reading() as tx:
        held = _held(tx)
        detail: dict[str, Any] = held if isinstance(held, dict) else {}
        due = sa.select(sa.func.count()).where(action.c.state == ActionState.PENDING, action.c.due_at <= tx.now)
        waiting = sa.select(sa.func.count()).where(delivery.c.state.in_((DeliveryState.PENDING, DeliveryState.SENDING)))
        last = tx.all(
            sa.select(delivery.c.notice_no, delivery.c.sent_at, delivery.c.channel_id)
            .where(delivery.c.sent_at.is_not(None))
            .order_by(delivery.c.sent_at.desc())
            .limit(10)
        )
        names = {row.id: row.name for row in tx.all(sa.select(t.channel.c.id, t.channel.c.name))}
        return {
            "held": held is not None,
            "reason": _REASONS.get(detail.get("reason", ""), detail.get("reason", "")),
            "since": detail.get("since", ""),
            "due_actions": tx.value(due),
            "waiting_deliveries": tx.value(waiting),
            "last_sent": [
                {
                    "notice_no": row.notice_no,
                    "sent_at": shown(row.sent_at),
                    "channel": row.channel_id,
                    "channel_name": names.get(row.channel_id, ""),
                }
                for row in last
            ],
        }


def hold(services: Services, actor: Actor, reason: str) -> dict[str, Any]:
    """Let nothing leave from now on; clocks go on, breaches are recorded, deliveries wait."""
    actor.require(Permission.OPERATE)
    why = line("reason", reason, 500, "理由", required=True)
    with services.store.transaction(actor.id) as tx:
        require_house(tx, actor)
        if _held(tx) is not None:
            raise Refused("通知发送已处于暂停状态，未作改动。")
        value = {"held": True, "since": rfc3339(tx.now), "reason": why, "by": actor.id}
        tx.run(t.setting.delete().where(t.setting.c.key == HELD))
        tx.run(t.setting.insert().values(key=HELD, value=value, updated_at=tx.now))
        tx.audit("dispatch.held", "dispatch", {"by": actor.id})
    return status(services)


def _held(tx: Tx) -> Any | None:
    return tx.value(sa.select(t.setting.c.value).where(t.setting.c.key == HELD)) or None
