"""The language of parts (WCAG 3.1.2): what is Chinese by nature says so where the page around it is English.

Titles, names, typed reasons, clauses and the messages that were sent are shown as they are. In an English page a screen
reader would spell them out in English sounds; ``lang="zh-CN"`` makes it change its voice. Chinese pages stay as they are.
"""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup, escape

CHINESE = re.compile(r"[\u2e80-\u303f\u31c0-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff01-\uff65\U00020000-\U0003ffff]")
#: From one Chinese character to the last one that no Latin letter divides from it.
_RUN = re.compile(rf"{CHINESE.pattern}(?:[^A-Za-z]*{CHINESE.pattern})?")
_ATTRIBUTE = Markup(' lang="zh-CN"')
_SPAN = Markup('<span lang="zh-CN">{}</span>')


def data(text: Any, language: str) -> Any:
    """A piece of data as it stands, in an element of its own where its language is not the page's."""
    return _SPAN.format(text) if _is_foreign(text, language) else text


def mixed(text: Any, language: str) -> Any:
    """A sentence of ours with data in it: only the Chinese in it is marked."""
    if not _is_foreign(text, language):
        return text
    found, done, plain = [], 0, str(text)
    for run in _RUN.finditer(plain):
        found += [escape(plain[done : run.start()]), _SPAN.format(run.group())]
        done = run.end()
    return Markup("").join([*found, escape(plain[done:])])


def attribute(text: Any, language: str) -> Markup | str:
    """``lang`` for an element that holds nothing but this piece of data."""
    return _ATTRIBUTE if _is_foreign(text, language) else ""


def _is_foreign(text: Any, language: str) -> bool:
    return language != "zh" and bool(text) and CHINESE.search(str(text)) is not None
