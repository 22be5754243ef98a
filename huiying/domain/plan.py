"""From a clock and its escalation policy to timed actions: everything that will have to happen, written down at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

SHANGHAI = ZoneInfo("Asia/Shanghai")
#: A clock is breached when ``now > due``: the first instant after it.
AFTER_DUE = timedelta(microseconds=1)


def dedup_key(scope: str, step_id: str, generation: int, repetition: int = 0) -> str:
    """Identity of a timed action: planning the same thing twice gives one row. ``scope`` is "clock:7" or "incident:3"."""
    return hashlib.sha256(f"{scope}|{step_id}|{generation}|{repetition}".encode()).hexdigest()


def next_daily(after: datetime, at: Sequence[time]) -> datetime:
    """The first of these Shanghai times of day strictly after ``after`` (aware), as an aware instant."""
    local = after.astimezone(SHANGHAI)
    for days in (0, 1):
        day = local.date() + timedelta(days=days)
        for moment in sorted(at):
            candidate = datetime.combine(day, moment, SHANGHAI)
            if candidate > after:
                return candidate
    message = "no time of day given"
    raise ValueError(message)
