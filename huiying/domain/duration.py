"""Time left and time over, in the words a duty officer reads.

Two forms: ``human_left`` for lists and screens (down to the second within the last hour), ``words_left`` for messages,
which are read minutes after they were written and therefore name minutes. Time left is rounded down, so nobody is told
of time that is no longer there; time over counts up in whole units.
"""

from __future__ import annotations

from huiying.domain.sentences import Sentence, said

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


def words_left(seconds: int) -> Sentence:
    """The message's form: 剩余 1 小时 58 分, 剩余不足 1 分钟, 已到期, 已超时 12 分钟."""
    if seconds == 0:
        return said("已到期")
    if abs(seconds) < _MINUTE:
        return said("剩余不足 1 分钟") if seconds > 0 else said("已超时不足 1 分钟")
    span = words_for(abs(seconds))
    return said("剩余 %(span)s", span=span) if seconds > 0 else said("已超时 %(span)s", span=span)


def _parts(size: int) -> str:
    if size >= _DAY:
        return f"{size // _DAY} 天 {size % _DAY // _HOUR:02} 小时"
    if size >= _HOUR:
        return f"{size // _HOUR} 小时 {size % _HOUR // _MINUTE:02} 分"
    return f"{size // _MINUTE} 分 {size % _MINUTE:02} 秒"


def words_for(size: int) -> Sentence:
    """A length of time in seconds, in the words of messages: 3 天 00 小时, 1 小时 58 分, 12 分钟."""
    days, hours, minutes = size // _DAY, size // _HOUR, size // _MINUTE
    if size >= _HOURS_IN_WORDS_UNTIL:
        return said("%(days)s 天 %(hours)s 小时", days=days, hours=f"{hours % 24:02}")
    if size >= _HOUR:
        return said("%(hours)s 小时 %(minutes)s 分", hours=hours, minutes=f"{minutes % 60:02}")
    return said("%(minutes)s 分钟", minutes=minutes)


def words_laid_down(size: int) -> Sentence:
    """A length of time that a rule or a policy lays down: 5 小时, 1 小时 30 分, 10 分钟; without what is nothing."""
    if size > _HOURS_IN_WORDS_UNTIL and not size % _DAY:
        return said("%(days)s 天", days=size // _DAY)
    if size % _MINUTE:
        hours, minutes, seconds = size // _HOUR, size % _HOUR // _MINUTE, size % _MINUTE
        return said("%(hours)s 小时 %(minutes)s 分 %(seconds)s 秒", hours=hours, minutes=minutes, seconds=seconds)
    if size >= _HOUR and not size % _HOUR:
        return said("%(hours)s 小时", hours=size // _HOUR)
    if size >= _HOUR:
        return said("%(hours)s 小时 %(minutes)s 分", hours=size // _HOUR, minutes=size % _HOUR // _MINUTE)
    return said("%(minutes)s 分钟", minutes=size // _MINUTE)
