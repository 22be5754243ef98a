"""Inboxes are in the house: a message for one is written in the very transaction that decides on it.

So it is there as soon as the decision is, no kill can repeat it, and a storm does not pay for its way through senders and
recorder. One that cannot be composed goes that way all the same, where its fault becomes an outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loguru import logger

from huiying.domain.compose import compose
from huiying.domain.outcome import Accepted
from huiying.domain.retry import judge
from huiying.service.claims import Claimed
from huiying.store import outbox
from huiying.store.db import Tx
from notifiers.templates import Form, render

_LONGEST_SUBJECT = 200


def deliver_inside(tx: Tx, claimed: Sequence[Claimed]) -> list[Claimed]:
    """Write what goes into inboxes and was claimed here for the first time; gives what is left to be sent."""
    left, messages = [], []
    for item in claimed:
        row = _message(tx, item) if item.is_inbox and item.token == 1 else None
        if row is None:
            left.append(item)
        else:
            messages.append(row)
    if messages:
        _write(tx, messages, {item.notice_no: item.mode for item in claimed})
    return left


def _message(tx: Tx, item: Claimed) -> dict[str, Any] | None:
    try:
        if isinstance(item.letter, Exception):
            return None  # told when it is sent
        notice = compose(item.letter, tx.now)
        message = render(notice, Form.PLAIN)
    except Exception:  # noqa: BLE001 - one that cannot be composed must not hold up the others
        logger.exception("{} cannot be composed", item.notice_no)
        return None
    return {
        "notice_no": item.notice_no,
        "person_id": item.person_id,
        "subject": message.title[:_LONGEST_SUBJECT],
        "text": message.body,
        "created_at": tx.now,
        "drill": notice.drill,
    }


def _write(tx: Tx, messages: Sequence[dict[str, Any]], modes: dict[str, str]) -> None:
    verdict = judge(Accepted(), 1, tx.now, 0.0)
    numbers = [row["notice_no"] for row in messages]
    outbox.insert_inbox(tx, messages)
    outbox.record_arrived(
        tx,
        [{"key": no, "new_state": str(verdict.state), "at": tx.now, "new_outcome": verdict.outcome} for no in numbers],
        [
            {
                "notice_no": no,
                "number": 1,
                "started_at": tx.now,
                "ended_at": tx.now,
                "outcome": verdict.outcome,
                "code": verdict.code,
                "reason": verdict.reason,
                "mode": modes[no],
            }
            for no in numbers
        ],
    )
    tx.audit("deliveries.recorded", "deliveries", {"outcomes": dict.fromkeys(numbers, verdict.outcome)})
