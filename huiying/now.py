"""The only place that reads a clock (ruff's TID251 bans it everywhere else)."""

import time
from datetime import UTC, datetime


def utc_now() -> datetime:
    """The wall clock, aware, in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds on a clock that is never set; only differences mean something."""
    return time.monotonic()
