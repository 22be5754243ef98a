"""The two languages of the desk: Chinese is what the templates say, English comes from a gettext catalogue.

``desk.po`` is compiled in memory when it is first asked for: what is translated and what is shown cannot differ.
"""

from __future__ import annotations

import gettext
import io
import re
from functools import cache
from pathlib import Path

from fastapi import Request

from huiying.domain.sentences import Recorded, Say, Sentence

__all__ = ["CATALOGUE", "LANGUAGES", "LANGUAGE_COOKIE", "Say", "language_of", "speaking", "translations", "words_of"]

CATALOGUE = Path(__file__).parent.parent / "locale" / "en" / "LC_MESSAGES" / "desk.po"
LANGUAGES = {"zh": "zh-CN", "en": "en"}
LANGUAGE_COOKIE = "hy_language"


def language_of(request: Request) -> str:
    """The session's language; before sign-in the one this browser chose; Chinese otherwise."""
    session = getattr(request.state, "session", None)
    chosen = session.language if session is not None else request.cookies.get(LANGUAGE_COOKIE, "")
    return chosen if chosen in LANGUAGES else "zh"


def words_of(request: Request) -> Say:
    """``_`` for code that composes texts: ``_ = words_of(request)``."""
    return speaking(language_of(request))


def speaking(language: str) -> Say:
    """Texts in that language: fixed ones are looked up, sentences made of values are made anew."""
    gettext = translations(language).gettext

    def say(text: str) -> str:
        if isinstance(text, Sentence):
            return text.told(say)
        if isinstance(text, Recorded) and language != "zh":
            return _recalled(str(text), say)
        # The catalogue's own header stands under the empty text.
        return gettext(text) if text else ""

    return say


#: Fewer fixed characters than this could be any text.
_SAYING = 3
#: Our sentences are shorter; what another system answered may be long, and is not worth the search.
_LONGEST = 500
#: Values of a template that are words or sentences of ours; every other value may be what a person typed.
_OURS = frozenset({"clock", "command", "finding", "message", "reason", "role", "why"})
_HOLDER = re.compile(r"%\((\w+)\)s")


def _recalled(text: str, say: Say) -> str:
    """A recorded sentence in the reader's language: the fixed one, or the one whose template it fits best."""
    fixed = say(text)
    if fixed != text or len(text) > _LONGEST:
        return fixed
    for shape, template in _shapes(CATALOGUE.stat().st_mtime_ns):
        found = shape.fullmatch(text)
        if found is not None:
            values = {name: Recorded(value) if name in _OURS else value for name, value in found.groupdict().items()}
            return Sentence(template, values).told(say)
    return text


@cache
def _shapes(_changed_at: int) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Every template of the catalogue as a pattern, the one with the most fixed characters first."""
    found = []
    for template in _compiled(_changed_at).texts():
        fixed = len(re.findall(r"[\u4e00-\u9fff]", _HOLDER.sub("", template)))
        if _HOLDER.search(template) and fixed >= _SAYING:
            found.append((-fixed, template))
    return tuple((re.compile(_pattern(template), re.DOTALL), template) for _, template in sorted(found))


def _pattern(template: str) -> str:
    seen: set[str] = set()

    def holder(name: str) -> str:
        again = name in seen
        seen.add(name)
        return f"(?P={name})" if again else f"(?P<{name}>.+?)"

    parts = _HOLDER.split(template)
    return "".join(holder(part) if at % 2 else re.escape(part.replace("%%", "%")) for at, part in enumerate(parts))


class _Catalogue(gettext.GNUTranslations):
    """A catalogue that can say which texts it knows."""

    _catalog: dict[str | tuple[str, int], str]

    def texts(self) -> list[str]:
        """What is translated, in Chinese."""
        return [text for text in self._catalog if isinstance(text, str)]


def translations(language: str) -> gettext.NullTranslations:
    """The catalogue of a language; Chinese needs none."""
    return _compiled(CATALOGUE.stat().st_mtime_ns) if language == "en" else gettext.NullTranslations()


@cache
def _compiled(_changed_at: int) -> _Catalogue:
    from babel.messages.mofile import write_mo  # noqa: PLC0415 - only who reads English waits for Babel
    from babel.messages.pofile import read_po  # noqa: PLC0415

    compiled = io.BytesIO()
    with CATALOGUE.open("rb") as file:
        write_mo(compiled, read_po(file, locale="en"))
    compiled.seek(0)
    return _Catalogue(compiled)
