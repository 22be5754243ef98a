"""The inbox inside the product: a delivery that is a row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from huiying.domain.message import Notice
from huiying.domain.outcome import Accepted, Outcome, Permanent
from notifiers.contract import Address
from notifiers.templates import Form, render

#: ``store_message(person_id, notice, text)``
StoreMessage: TypeAlias = Callable[[str, Notice, str], None]


class InboxNotifier:
    """Keeps the message for its reader; what storing raises is our own failure and passes through."""

    def __init__(self, store_message: StoreMessage) -> None:
        self._store_message = store_message

    def send(self, notice: Notice, to: Address, now: datetime, deadline_seconds: float) -> Outcome:
        if not to.person_id:
            return Permanent("没有指明收件人，站内消息未保存。", code="no_recipient")
        self._store_message(to.person_id, notice, render(notice, Form.PLAIN).body)
        return Accepted(notice.notice_no)

    def close(self) -> None:
        """Nothing is held open."""
