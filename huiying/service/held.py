"""The way out of a restore: somebody says up to when the former system had sent its messages.

What was due until then is not sent again; what fell due after it goes out as one digest for each recipient and channel,
like after any outage (``huiying.service.outage``). Until then nothing leaves at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from huiying.domain.access import Permission
from huiying.domain.audit import rfc3339
from huiying.domain.errors import Conflict, InvalidInput, Refused
from huiying.domain.expansion import Decision
from huiying.domain.kinds import ActionState, DeliveryState
from huiying.domain.sent_before import SENT_BEFORE, sent_already
from huiying.domain.sentences import said, together
from huiying.service.actor import Actor
from huiying.service.backup import HELD
from huiying.service.breaches import record_breaches
from huiying.service.expand import bare_action, finish, follow_up
from huiying.service.hand import Hand
from huiying.service.scope import require_house
from huiying.service.sources import Sources, gather, to_action
from huiying.store import outbox
from huiying.store import tables as t
from huiying.store.db import Store, Tx

_BATCH = 2000
_LIVE = (str(DeliveryState.PENDING), str(DeliveryState.SENDING))


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What a confirmation did: actions and deliveries closed as sent, breaches noted, and what is left to be sent."""

    actions: int
    deliveries: int
    breaches: int
    left: int
    message: str


def confirm_dispatch(store: Store, actor: Actor, *, sent_until: datetime | None, note: str = "") -> Confirmed:
    """Let dispatch go again after a restore.

    ``sent_until`` is the moment up to which the former system is known to have sent what was due; None: nothing was
    sent since the backup. The engine's own present moment stands for "everything".
    """
    actor.require(Permission.OPERATE)
    with store.transaction(actor.id) as tx:
        require_house(tx, actor)
        held = tx.value(sa.select(t.setting.c.value).where(t.setting.c.key == HELD).with_for_update())
        if not held:
            raise Refused("通知发送并未暂停，无需确认。")
        _check_moment(tx, sent_until)
        tx.run(t.setting.delete().where(t.setting.c.key == HELD))  # seen by others only together with the rest
        actions, breaches = _close_actions(tx, sent_until) if sent_until else (0, 0)
        deliveries = _close_deliveries(tx, sent_until) if sent_until else 0
        left = _left(tx)
        payload = {
            "held": held if isinstance(held, dict) else {},
            "sent_until": rfc3339(sent_until) if sent_until else None,
            "actions": actions,
            "deliveries": deliveries,
            "left": left,
            "note": note,
        }
        tx.audit("dispatch.confirmed", "dispatch", payload)
    return Confirmed(actions, deliveries, breaches, left, _sentence(actions, deliveries, left))


def _check_moment(tx: Tx, sent_until: datetime | None) -> None:
    if sent_until is None:
        return
    if sent_until.tzinfo is None:
        raise InvalidInput("sent_until", "时间须带时区。")
    if sent_until > tx.now:
        raise InvalidInput("sent_until", "该时间晚于现在：只能确认已经过去的发送。")


def _close_actions(tx: Tx, until: datetime) -> tuple[int, int]:
    """Actions due until then, batch by batch; what they record and what follows them is kept."""
    hand = Hand("restore", "confirm")
    closed = breaches = 0
    while rows := outbox.due_actions(tx, until, _BATCH):
        sources = gather(tx, rows)
        decisions = _decisions(sources, rows)
        breaches += len(record_breaches(tx, sources, [d.action.clock_id for d in decisions if d.breach]))
        finish(tx, decisions, hand)
        follow_up(tx, sources, decisions)
        closed += len(rows)
    if _due(tx, until):  # due actions that another process has in its hands would be sent again
        raise Conflict("有到点动作正被其他进程处理，未作任何改动。请稍后重试。")
    return closed, breaches


def _decisions(sources: Sources, rows: Sequence[Any]) -> list[Decision]:
    decisions = []
    for row in rows:
        try:
            action = to_action(row)
        except ValueError:
            decisions.append(Decision(bare_action(row), ActionState.SUPERSEDED, SENT_BEFORE))
        else:
            decisions.append(sent_already(action, sources.scene(action, row.detail.get("unit"))))
    return decisions


def _close_deliveries(tx: Tx, until: datetime) -> int:
    """Deliveries that were on their way at the moment of the backup."""
    numbers = sa.select(t.delivery.c.notice_no).where(t.delivery.c.state.in_(_LIVE), t.delivery.c.created_at <= until)
    found = [row.notice_no for row in tx.all(numbers)]
    for start in range(0, len(found), _BATCH):
        outbox.close_deliveries(tx, found[start : start + _BATCH], DeliveryState.SUPERSEDED, SENT_BEFORE)
    return len(found)


def _left(tx: Tx) -> int:
    waiting = sa.select(sa.func.count()).where(t.delivery.c.state.in_(_LIVE))
    return _due(tx, tx.now) + int(tx.value(waiting))


def _due(tx: Tx, until: datetime) -> int:
    action = t.timed_action.c
    due = sa.select(sa.func.count()).where(action.state == str(ActionState.PENDING), action.due_at <= until)
    return int(tx.value(due))


def _sentence(actions: int, deliveries: int, left: int) -> str:
    done = (
        said(
            "已确认：%(actions)s 项到点动作、%(deliveries)s 条通知按已发送处理，不再重发。",
            actions=actions,
            deliveries=deliveries,
        )
        if actions or deliveries
        else ""
    )
    rest = (
        said("其余 %(left)s 项将立即补发，逾时较久的合并为汇总提醒。", left=left)
        if left
        else said("没有需要补发的提醒。")
    )
    return together(done, rest, said("通知发送已恢复。"))
