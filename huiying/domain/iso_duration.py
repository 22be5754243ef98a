"""Natural durations as ISO 8601 text: hours, minutes and seconds only.

Days are refused on purpose: a day could be meant as a calendar day or a working day, and a limit must not be guessed.
"""

from __future__ import annotations

import re
from datetime import timedelta

#: A limit longer than a year is a typing error, not a rule.
LONGEST = timedelta(days=366)

_PATTERN = re.compile(r"PT(?:(\d{1,5})H)?(?:(\d{1,5})M)?(?:(\d{1,5})S)?", re.ASCII)


def parse_duration(text: str) -> timedelta | None:
    """Read ``PT5H``, ``PT30M``, ``PT1H30M``; None when the text is anything else, zero or longer than a year."""
    match = _PATTERN.fullmatch(text)
    if match is None or text == "PT":
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    value = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return value if timedelta(0) < value <= LONGEST else None


def format_duration(value: timedelta) -> str:
    """Write a duration the way ``parse_duration`` reads it."""
    total = int(value.total_seconds())
    hours, rest = divmod(total, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = ((hours, "H"), (minutes, "M"), (seconds, "S"))
    return "PT" + ("".join(f"{number}{unit}" for number, unit in parts if number) or "0S")
