"""The two languages of the desk: Chinese is what the templates say, English comes from a gettext catalogue.

``desk.po`` is compiled in memory when it is first asked for: what is translated and what is shown cannot differ.
"""

from __future__ import annotations

import gettext
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

from fastapi import Request

CATALOGUE = Path(__file__).parent.parent / "locale" / "en" / "LC_MESSAGES" / "desk.po"
LANGUAGES = {"zh": "zh-CN", "en": "en"}
LANGUAGE_COOKIE = "hy_language"

Say = Callable[[str], str]


def language_of(request: Request) -> str:
    """The session's language; before sign-in the one this browser chose; Chinese otherwise."""
    session = getattr(request.state, "session", None)
    chosen = session.language if session is not None else request.cookies.get(LANGUAGE_COOKIE, "")
    return chosen if chosen in LANGUAGES else "zh"


def words_of(request: Request) -> Say:
    """``_`` for code that composes texts: ``_ = words_of(request)``."""
    return say_in(language_of(request))


def say_in(language: str) -> Say:
    """``_`` for a language. Nothing stays nothing: a catalogue answers the empty text with its own head."""
    return lambda text: translations(language).gettext(text) if text else ""


def translations(language: str) -> gettext.NullTranslations:
    """The catalogue of a language; Chinese needs none."""
    return _compiled(CATALOGUE.stat().st_mtime_ns) if language == "en" else gettext.NullTranslations()


@cache
def _compiled(_changed_at: int) -> gettext.GNUTranslations:
    from babel.messages.mofile import write_mo  # noqa: PLC0415 - only who reads English waits for Babel
    from babel.messages.pofile import read_po  # noqa: PLC0415

    compiled = io.BytesIO()
    with CATALOGUE.open("rb") as file:
        write_mo(compiled, read_po(file, locale="en"))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
