"""Instants as the desk shows them: always Asia/Shanghai, whatever the host or the browser thinks."""

from __future__ import annotations

from datetime import datetime

from huiying.domain.plan import SHANGHAI

_WEEKDAYS = ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日")
_WEEKDAYS_EN = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def instant(at: datetime | str | None) -> datetime | None:
    """An instant from what the views give: an aware datetime, ISO text with offset, or nothing."""
    if not at:
        return None
    return (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(SHANGHAI)


def when(at: datetime | str | None, now: datetime | str | None) -> str:
    """11-22 13:12, and 2027-01-01 04:00 where that is not the present year."""
    local, present = instant(at), instant(now)
    if local is None:
        return ""
    other_year = present is not None and local.year != present.year
    return f"{local:%Y-%m-%d %H:%M}" if other_year else f"{local:%m-%d %H:%M}"


def clock_time(at: datetime | str | None) -> str:
    """13:12:05."""
    local = instant(at)
    return f"{local:%H:%M:%S}" if local else ""


def when_long(at: datetime | str | None, language: str = "zh") -> str:
    """2026年11月22日 星期日 13:12, or Sun 2026-11-22 13:12."""
    local = instant(at)
    if local is None:
        return ""
    if language == "en":
        return f"{_WEEKDAYS_EN[local.weekday()]} {local:%Y-%m-%d %H:%M}"
    return f"{local.year}年{local.month}月{local.day}日 {_WEEKDAYS[local.weekday()]} {local:%H:%M}"


def epoch(at: datetime | str | None) -> int:
    """Milliseconds since 1970, for the scripts that count down; 0 for nothing."""
    local = instant(at)
    return int(local.timestamp() * 1000) if local else 0
