"""How many messages a robot may take: the figures behind its sliding windows."""

from __future__ import annotations

from dataclasses import dataclass


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
