"""Reading a page as a screen reader hears it: every text with the language that the page gives for it.

WCAG 2.2 asks for the language of the page (3.1.1) and of each part in another one (3.1.2). What is heard is the text of
the elements and what stands in attributes that are shown or read out; ``data-…`` counts where styles or scripts show it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

#: Chinese characters and the signs between them; curly quotation marks are English as well.
CHINESE = re.compile(r"[\u2e80-\u303f\u31c0-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff01-\uff65\U00020000-\U0003ffff]")
HEARD = frozenset({"title", "aria-label", "aria-description", "placeholder", "alt", "label"})
#: Shown by ``content: attr(data-label)`` and by the scripts.
SHOWN_LATER = frozenset(
    {"data-label", "data-lost", "data-back", "data-full", "data-text", "data-refused", "data-unanswered"}
)
#: Fields whose value is text that a person reads.
_FIELDS = frozenset({"", "text", "search", "submit", "button", "reset"})
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
_INLINE = frozenset(
    {"a", "b", "i", "em", "strong", "span", "small", "code", "kbd", "q", "s", "del", "ins", "time", "u"}
)
#: Inline elements that stand apart as boxes.
_APART = frozenset({"chip", "mark", "tag", "count", "name", "cut", "num"})
_TECHNICAL = frozenset({"code", "pre", "kbd", "textarea"})
#: Where the product says what happened or what is wrong; each is one message.
_SAYS = frozenset({"alert", "status"})
_SAYING = frozenset({"notice", "field-error", "verdict", "findings", "health-list"})
#: Stands for a part that is marked as Chinese when a line is judged as English.
FOREIGN = "\u2042"


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of text: where it stands, in which attribute (none: it is text), in what language."""

    path: str
    attribute: str
    text: str
    language: str
    message: str = ""  # the place of the message it belongs to
    number: int = 0  # which message of the page that is
    technical: bool = False
    line: int = 0

    @property
    def is_chinese(self) -> bool:
        """Whether the page says that this is Chinese."""
        return self.language.lower().partition("-")[0] == "zh"

    def __str__(self) -> str:
        where = f"{self.path} @{self.attribute}" if self.attribute else self.path
        return f"{where}: {' '.join(self.text.split())[:120]}"


@dataclass(slots=True)
class _Open:
    tag: str
    name: str
    language: str
    message: str
    number: int
    technical: bool
    line: int


@dataclass
class Page(HTMLParser):
    """All parts of a page or of a fragment; ``language`` is that of whatever a fragment is put into."""

    language: str = ""
    parts: list[Part] = field(default_factory=list)
    stated: str = ""

    def __post_init__(self) -> None:
        HTMLParser.__init__(self, convert_charrefs=True)
        self._numbers = itertools.count(1)
        self._open = [_Open("", "", self.language, "", 0, technical=False, line=0)]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        above, name, classes = self._open[-1], _name(tag, given), set(given.get("class", "").split())
        opened = _Open(
            tag,
            f"{above.name} {name}".strip(),
            given.get("lang", above.language),
            above.message,
            above.number,
            technical=above.technical or tag in _TECHNICAL or bool({"hash", "agent", "payload"} & classes),
            line=above.line,
        )
        if tag == "html":
            self.stated = opened.language
        says = given.get("role") in _SAYS or bool(classes & _SAYING)
        if says or above.tag == "ul":  # each point of a list is a message of its own
            opened.number = next(self._numbers)
        if says:
            opened.message = ".".join([tag, *given.get("class", "").split()])
        if tag not in _INLINE or classes & _APART:
            opened.line = next(self._numbers)
        if tag == "br":
            above.line = next(self._numbers)
        for attribute, value in given.items():
            if attribute in HEARD | SHOWN_LATER or (attribute == "value" and _has_value(tag, given)):
                self._add(opened, attribute, value)
        if tag not in _VOID:
            self._open.append(opened)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        for number in range(len(self._open) - 1, 0, -1):
            if self._open[number].tag == tag:
                del self._open[number:]
                return

    def handle_data(self, data: str) -> None:
        if self._open[-1].tag not in {"script", "style"}:
            self._add(self._open[-1], "", data)

    def _add(self, at: _Open, attribute: str, text: str) -> None:
        line = next(self._numbers) if attribute else at.line
        self.parts.append(Part(" ".join(at.name.split()[-4:]), attribute, text, at.language, at.message, at.number, at.technical, line))  # fmt: skip

    def lines(self) -> Iterator[tuple[int, str]]:
        """The text line by line as it reads, with a sign for every part that is marked as Chinese."""
        found: dict[int, list[str]] = {}
        for part in self.parts:
            if not part.technical:
                marked = part.is_chinese and part.text.strip()
                found.setdefault(part.line, []).append(FOREIGN if marked else part.text)
        for number, words in found.items():
            if line := " ".join("".join(words).split()):
                yield number, line


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


#: A sentence of ours, as against a name or a title: it has the signs of one.
_SENTENCE = re.compile(r"[\u3001\u3002\uff0c\uff1b\u300c\u300d]|(?<=[\u4e00-\u9fff]),")


def untranslated(page: Page) -> list[str]:
    """Messages that an English page gives in Chinese; marking them does not make them readable."""
    return ["".join(part.text for part in parts) for parts in _untranslated(page)]


def _untranslated(page: Page) -> list[list[Part]]:
    said: dict[int, list[Part]] = {}
    for part in page.parts:
        if part.message and not part.attribute and part.text.strip():
            said.setdefault(part.number, []).append(part)
    return [parts for parts in said.values() if _is_chinese(parts)]


def _is_chinese(parts: list[Part]) -> bool:
    chinese = [part for part in parts if part.is_chinese and CHINESE.search(part.text)]
    spoken = [part for part in parts if re.search(r"\w", part.text)]
    return bool(chinese) and (chinese == spoken or any(_SENTENCE.search(part.text) for part in chinese))


#: What no English line looks like: a sign without its blank, a blank too many, one of many, words that touch data.
_CLUMSY = re.compile(
    rf"[a-z)][:;,](?=[A-Z{FOREIGN}(])(?![A-Z]{{2}}-)|[a-z)][;,](?=[a-z])|[A-Za-z0-9]\((?!s\))|\)(?=[A-Za-z0-9])"
    rf"| [,.;:!?](?= |$)|\b1 [a-z]{{2,}}(?<!s)s\b|[a-z]{FOREIGN}|{FOREIGN}[a-z]"
)


def clumsy(page: Page) -> list[str]:
    """Lines that do not read as English is written; a message that is not English yet is not judged."""
    to_come = {part.line for parts in _untranslated(page) for part in parts}
    return [line for number, line in page.lines() if number not in to_come and _CLUMSY.search(line)]


#: Commands, and ids with their word behind them: ``webhook(签名网络回调)``.
_COMMAND = re.compile(r"huiying(?: [a-z-]+)+|[a-z_]+(?=[（(][\u4e00-\u9fff])")
_WORD = re.compile(r"(?<![\w./@:+={-])[A-Za-z]{2,}(?![\w/@=-]|[.:][\w/])")


def latin_words(page: Page, known: frozenset[str]) -> list[str]:
    """Words in Latin letters on a Chinese page that are neither known names nor ids, addresses, commands or code."""
    found = []
    for part in page.parts:
        if not part.technical and part.language != "en":
            words = _WORD.findall(_COMMAND.sub(" ", part.text))
            found += [f"{word} in {part}" for word in words if word not in known]
    return found
