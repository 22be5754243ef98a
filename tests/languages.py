"""Reading a page as a screen reader hears it: every text with the language that the page gives for it.

WCAG 2.2 asks for the language of the page (3.1.1) and of each part in another one (3.1.2). What is heard is the text of
the elements and what stands in attributes that are shown or read out; ``data-…`` counts where styles or scripts show it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

#: Chinese characters and the signs between them.
CHINESE = re.compile(r"[\u2e80-\u303f\u31c0-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff01-\uff65\U00020000-\U0003ffff]")
HEARD = frozenset({"title", "aria-label", "aria-description", "placeholder", "alt", "label", "summary"})
#: Shown by ``content: attr(data-label)`` and by the scripts.
SHOWN_LATER = frozenset({"data-label", "data-lost", "data-back", "data-full", "data-text"})
#: Fields whose value is text that a person reads.
_FIELDS = frozenset({"", "text", "search", "submit", "button", "reset"})
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
_SILENT = frozenset({"script", "style", "template"})


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of text: where it stands (``title`` for the attribute, empty for text), and in what language."""

    path: str
    attribute: str
    text: str
    language: str

    @property
    def is_chinese(self) -> bool:
        """Whether the page says that this is Chinese."""
        return self.language.lower().partition("-")[0] == "zh"

    def __str__(self) -> str:
        where = f"{self.path} @{self.attribute}" if self.attribute else self.path
        return f"{where}: {self.text}"


@dataclass(slots=True)
class _Open:
    tag: str
    name: str
    language: str


@dataclass
class Page(HTMLParser):
    """All parts of a page or of a fragment; ``language`` is that of whatever a fragment is put into."""

    language: str = ""
    parts: list[Part] = field(default_factory=list)
    stated: str = ""

    def __post_init__(self) -> None:
        HTMLParser.__init__(self, convert_charrefs=True)
        self._open: list[_Open] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        language = given.get("lang", self._language)
        if tag == "html":
            self.stated = language
        opened = _Open(tag, _name(tag, given), language)
        for name, value in given.items():
            if name in HEARD | SHOWN_LATER or (name == "value" and _has_value(tag, given)):
                self._add(f"{self._path} {opened.name}", name, value, language)
        if tag not in _VOID:
            self._open.append(opened)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        for number in range(len(self._open) - 1, -1, -1):
            if self._open[number].tag == tag:
                del self._open[number:]
                return

    def handle_data(self, data: str) -> None:
        if not any(one.tag in _SILENT for one in self._open[-1:]):
            self._add(self._path, "", data, self._language)

    def _add(self, path: str, attribute: str, text: str, language: str) -> None:
        squeezed = " ".join(text.split())
        if squeezed:
            self.parts.append(Part(" ".join(path.split()[-4:]), attribute, squeezed, language))

    @property
    def _language(self) -> str:
        return self._open[-1].language if self._open else self.language

    @property
    def _path(self) -> str:
        return " ".join(one.name for one in self._open[-4:])


def _has_value(tag: str, given: dict[str, str]) -> bool:
    return tag == "input" and given.get("type", "") in _FIELDS and "hidden" not in given


def _name(tag: str, given: dict[str, str]) -> str:
    marks = "".join(f".{word}" for word in given.get("class", "").split()[:2])
    return f"{tag}#{given['id']}" if given.get("id") else f"{tag}{marks}"


def read(html: str, language: str = "") -> Page:
    """A page taken apart; for a fragment with the language of the page that it goes into."""
    page = Page(language)
    page.feed(html)
    page.close()
    return page


def unmarked(page: Page) -> list[Part]:
    """What is Chinese without the page saying so."""
    return [part for part in page.parts if CHINESE.search(part.text) and not part.is_chinese]
