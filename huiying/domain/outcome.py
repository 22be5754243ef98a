"""What a channel said about one attempt: typed, never a bool.

A notifier returns exactly one of these; it raises only for our own mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took the whole message; ``provider_id`` is its own reference, where it gives one."""

    provider_id: str = ""


@dataclass(frozen=True, slots=True)
class Partial:
    """The provider took the message for some recipients only; ``refused`` names the others (already masked)."""

    refused: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RateLimited:
    """The provider asks us to stay away until ``until`` (aware UTC); park the robot, fail over now."""

    until: datetime
    code: str = ""


@dataclass(frozen=True, slots=True)
class Transient:
    """Try again later. ``ambiguous``: the message may have arrived. ``retry_after``: seconds the provider asked for."""

    reason: str
    code: str = ""
    ambiguous: bool = False
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Permanent:
    """It will never arrive this way; use another channel. ``reason`` is a Chinese sentence, secrets masked."""

    reason: str
    code: str = ""


Outcome = Accepted | Partial | RateLimited | Transient | Permanent
