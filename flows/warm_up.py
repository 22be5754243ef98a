"""Done once while the runner waits for Prefect: what the first event would otherwise wait for (half a second)."""

from __future__ import annotations

import contextlib

import sqlalchemy as sa

# The SDK imports these when the first task is called.
from prefect import task_engine as _task_engine  # noqa: F401
from prefect.utilities import visualization as _visualization  # noqa: F401

from huiying.domain.kinds import Band
from huiying.domain.message import Notice
from huiying.service.senders import NoSender, Senders
from huiying.service.services import Services
from huiying.store import tables as t
from notifiers.templates import Form, render


def warm_up(services: Services, senders: Senders) -> None:
    """Compile the message templates and build the channels' senders; nothing is sent."""
    with services.store.reading() as tx:
        channels, now = tx.all(sa.select(t.channel).where(t.channel.c.enabled)), tx.now
    blank = Notice(
        notice_no="",
        band=Band.INFO,
        incident_no="",
        notice_title="",
        grade_text="",
        clock_name="",
        status_text="",
        due_at=None,
        remaining_seconds=None,
        share_used=None,
        responsible="",
        state_text="",
        must_do=(),
        next_step="",
        basis="",
        ordinal=1,
        composed_at=now,
    )
    for form in Form:
        render(blank, form)
    for channel in channels:
        with contextlib.suppress(NoSender):
            senders.notifier(channel)
