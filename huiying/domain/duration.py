"""Time left and time over, in the words a duty officer reads.

Two forms: ``human_left`` for lists and screens (down to the second within the last hour), ``words_left`` for messages,
which are read minutes after they were written and therefore name minutes. Time left is rounded down, so nobody is told
of time that is no longer there; time over counts up in whole units.
"""

from __future__ import annotations

_MINUTE = 60
_HOUR = 3600
_DAY = 86400
# Officers speak of 48 and 72 hours, not of two days: messages change to days only beyond the longest hour limit.
_HOURS_IN_WORDS_UNTIL = 72 * _HOUR


def human_left(seconds: int) -> str:
    """剩 1 天 03 小时, 剩 1 小时 05 分, 剩 4 分 27 秒; 超 53 分 03 秒 when past due; 已到期 at the instant itself."""
    if seconds == 0:
        return "已到期"
    return f"{'剩' if seconds > 0 else '超'} {_parts(abs(seconds))}"


def words_left(seconds: int) -> str:
    """The message's form: 剩余 1 小时 58 分, 剩余不足 1 分钟, 已到期, 已超时 12 分钟."""
    if seconds == 0:
        return "已到期"
    mark, size = ("剩余", seconds) if seconds > 0 else ("已超时", -seconds)
    if size < _MINUTE:
        return f"{mark}不足 1 分钟"
    return f"{mark} {_words(size)}"


def _parts(size: int) -> str:
    if size >= _DAY:
        return f"{size // _DAY} 天 {size % _DAY // _HOUR:02} 小时"
    if size >= _HOUR:
        return f"{size // _HOUR} 小时 {size % _HOUR // _MINUTE:02} 分"
    return f"{size // _MINUTE} 分 {size % _MINUTE:02} 秒"


def _words(size: int) -> str:
    if size >= _HOURS_IN_WORDS_UNTIL:
        return f"{size // _DAY} 天 {size % _DAY // _HOUR:02} 小时"
    if size >= _HOUR:
        return f"{size // _HOUR} 小时 {size % _HOUR // _MINUTE:02} 分"
    return f"{size // _MINUTE} 分钟"
