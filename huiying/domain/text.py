"""Short texts from outside: single lines, ids fit for an address and a command line, instants with their offset."""

from __future__ import annotations

import re
from datetime import datetime

from huiying.domain.errors import InvalidInput
from huiying.domain.freetext import checked
from huiying.domain.sentences import said, term

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: What an incident can be about; also keeps every instant inside what the databases hold.
_EARLIEST_YEAR, _LATEST_YEAR = 1949, 2199
_NOT_ONE_LINE = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")


def line(field: str, value: str, longest: int, name: str = "", *, required: bool = False) -> str:
    """A single-line text without blanks around it; ``InvalidInput`` names the field otherwise."""
    text = checked(field, value, longest, name, required=required)
    if _NOT_ONE_LINE.search(text):
        raise InvalidInput(
            field, said("%(name)s只能写一行，不能含换行或控制字符。内容未登记。", name=term(name or field))
        )
    return text


def identifier(field: str, value: str) -> str:
    """An id chosen by the operator: ASCII, at most 64 characters."""
    if not _ID.fullmatch(value):
        raise InvalidInput(field, "编号只用英文字母、数字、点、下划线和连字符，以字母或数字开头，最多 64 个字符。")
    return value


def moment(field: str, text: str) -> datetime:
    """An instant written as ISO 8601 with its offset; one without offset is refused, never guessed."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidInput(
            field, said("「%(text)s」不是时间，请写成 2026-11-22T08:30:00+08:00。", text=_short(text))
        ) from None
    if at.tzinfo is None:
        raise InvalidInput(
            field, said("「%(text)s」缺少时区，请写明如 2026-11-22T08:30:00+08:00（北京时间）。", text=_short(text))
        )
    if not _EARLIEST_YEAR <= at.year <= _LATEST_YEAR:
        raise InvalidInput(field, said("「%(text)s」的年份不合理，请核对。", text=_short(text)))
    return at


def _short(text: str) -> str:
    return "".join(character if character.isprintable() else "·" for character in text[:40])
