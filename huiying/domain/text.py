"""Short texts that operators enter: one line each, and ids fit for an address and a command line."""

from __future__ import annotations

import re

from huiying.domain.errors import InvalidInput
from huiying.domain.freetext import checked

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NOT_ONE_LINE = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")


def line(field: str, value: str, longest: int, name: str = "", *, required: bool = False) -> str:
    """A single-line text without blanks around it; ``InvalidInput`` names the field otherwise."""
    text = checked(field, value, longest, name, required=required)
    if _NOT_ONE_LINE.search(text):
        raise InvalidInput(field, f"{name or field}只能写一行,不能含换行或控制字符。内容未登记。")
    return text


def identifier(field: str, value: str) -> str:
    """An id chosen by the operator: ASCII, at most 64 characters."""
    if not _ID.fullmatch(value):
        raise InvalidInput(field, "编号只用英文字母、数字、点、下划线和连字符,以字母或数字开头,最多 64 个字符。")
    return value
