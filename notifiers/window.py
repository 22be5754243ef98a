"""How many messages a robot may take: a pure sliding window, whose memory is the caller's.

Vendors do not say whether they count by sliding or by clock-face minutes; a sliding window is right for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from huiying.domain.kinds import Band

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What one robot may be given; 0 means no limit.

    The last ``reserve_for_overdue`` places of a minute are kept for 超时督办. ``park_seconds`` is how long the robot
    is left alone after the vendor has complained without naming a time.
    """

    per_minute: int = 0
    per_second: int = 0
    reserve_for_overdue: int = 0
    park_seconds: float = 60.0


def may_send(sent_at: Sequence[datetime], limits: RateLimits, band: Band, now: datetime) -> datetime:
    """``now`` where a message of this band may leave, else the next instant at which it may.

    ``sent_at`` is when this robot's recent posts were made, in any order, failed ones included (vendors count them).
    Posts seemingly made more than a minute ahead come from before the wall clock was set back; they do not count,
    or a step of two hours would silence the robot for two hours.
    """
    moments = sorted(moment for moment in sent_at if moment - now <= MINUTE)
    places = limits.per_minute
    if places and band is not Band.OVERDUE:
        places = max(places - limits.reserve_for_overdue, 1)
    return max(
        _next_place(moments, places, MINUTE, now),
        _next_place(moments, limits.per_second, SECOND, now),
    )


def _next_place(moments: Sequence[datetime], places: int, span: timedelta, now: datetime) -> datetime:
    if places <= 0 or len(moments) < places:
        return now
    return max(now, moments[-places] + span)


def off_the_mark(at: datetime, not_after: datetime, key: str) -> datetime:
    """Move a message out of the full and half hour, when vendors are flooded, by one to five minutes that ``key`` fixes.

    The result never lies after ``not_after``; other minutes are left as they are.
    """
    if at.minute not in {0, 30} or at >= not_after:
        return at
    share = int.from_bytes(sha256(key.encode()).digest()[:4]) / 2**32
    return min(at + MINUTE * (1 + 4 * share), not_after)
