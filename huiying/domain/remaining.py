"""How urgent a clock is and how its remaining time reads, the same on the server and in ``static/clock.js``.

``tests/data/human_left.json`` holds the vectors that both must give.
"""

from __future__ import annotations

from huiying.domain import duration
from huiying.domain.kinds import Word

HOUR = 3600
WITHIN_4_HOURS = 4 * HOUR


class Urgency(Word):
    """The four bands of a running clock, most urgent first."""

    OVERDUE = "overdue", "已超时"
    HOUR = "hour", "1小时内"
    FOUR = "four", "4小时内"
    NORMAL = "normal", "正常"

    @property
    def icon(self) -> str:
        """A sign that can be told apart without colour."""
        return {"overdue": "■", "hour": "▲", "four": "◆", "normal": "●"}[self.value]


def urgency(seconds: int) -> Urgency:
    """The band of a clock with so many whole seconds left; 0 is the due instant itself and not yet overdue."""
    if seconds < 0:
        return Urgency.OVERDUE
    if seconds < HOUR:
        return Urgency.HOUR
    return Urgency.FOUR if seconds < WITHIN_4_HOURS else Urgency.NORMAL


def human_left(seconds: int, language: str = "zh") -> str:
    """剩 1 小时 05 分 / 1 h 05 min left; 超 53 分 03 秒 / 53 min 03 s over; two units, never more."""
    if language != "en":
        return duration.human_left(seconds)
    if seconds == 0:
        return "due now"
    return f"{_english(abs(seconds))} {'left' if seconds > 0 else 'over'}"


def _english(size: int) -> str:
    minutes, hours, days = size // 60, size // HOUR, size // (24 * HOUR)
    if days:
        return f"{days} d {hours % 24:02} h"
    if hours:
        return f"{hours} h {minutes % 60:02} min"
    return f"{minutes} min {size % 60:02} s"
