"""Texts that somebody may type to harm whoever reads them: one JSON string a line in ``tests/data/hostile.txt``.

Every text carries ``zq7`` where it would act, so that a page can be searched for anything that came alive.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

from huiying.domain.errors import InvalidInput, Refused
from huiying.domain.kinds import Kind, PublicationKind
from huiying.service import channels, incidents, people, roster_admin
from huiying.service.actor import Actor
from huiying.service.requests import AckRequest, RegisterRequest, ReleaseRequest, TransferInput
from huiying.service.services import Services
from tests.fakes.house import OPERATOR

FILE = Path(__file__).parent / "data" / "hostile.txt"
MARK = "zq7"


def texts() -> list[str]:
    """All of them."""
    return [json.loads(line) for line in FILE.read_text("ascii").splitlines()]


@dataclass
class Stored:
    """What was taken in: the numbers of the incidents, and how often a text was refused by name of its field."""

    numbers: list[str] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)


def one_line(text: str) -> str:
    """What is left of a text in a field of one line."""
    return re.sub(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+", " ", text).strip()


def store(services: Services, actor: Actor, unit_id: str) -> Stored:
    """Every text as title, body, notice title, note, name, reason and address, through the use cases."""
    made = Stored()
    for number, text in enumerate(texts()):
        line = one_line(text)
        request = RegisterRequest(
            line[:200], Kind.OPINION, unit_id, body=text, notice_title=line[:60], category=line[:40],
            source_detail={"platform": line[:100]},
            transfer=TransferInput(line[:60], services.store.now(), from_org=line[:60]),
        )  # fmt: skip
        view = incidents.register(services, actor, request)
        made.numbers.append(view["no"])
        with _counting(made, "note"):
            clock = next(clock["key"] for clock in view["clocks"] if clock["binding"])
            incidents.acknowledge(services, actor, view["no"], AckRequest(clock, note=line[:500]))
        _annotate(services, actor, view["no"], text, made)
        _names(services, number, line, made)
    return made


def _annotate(services: Services, actor: Actor, no: str, text: str, made: Stored) -> None:
    line, now = one_line(text), services.store.now()
    for url in (text, f"https://www.example.gov.cn/{line}"):
        release = ReleaseRequest(PublicationKind.RELEASE, now, title=line[:200], url=url, text=text, channel=line[:100])
        with _counting(made, "url"):
            incidents.record_release(services, actor, no, release)
    with _counting(made, "task"):
        incidents.add_task(services, actor, no, "water", line[:40], now.replace(year=now.year + 1))
    with _counting(made, "stage"):
        incidents.enter_stage(services, actor, no, "收集", line[:500])
    with _counting(made, "reason"):
        incidents.void(services, actor, no, line[:500])
    with _counting(made, "details"):
        incidents.update_details(services, actor, no, {"body": f"{text}\n"}, line[:500])


class _counting(suppress):  # noqa: N801 - reads as a statement
    """Counts a refusal of a field; anything else fails the test."""

    def __init__(self, made: Stored, name: str) -> None:
        super().__init__(InvalidInput, Refused)
        self._made, self._name = made, name

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> bool:
        if kind is not None and issubclass(kind, InvalidInput | Refused):
            self._made.refused[self._name] = self._made.refused.get(self._name, 0) + 1
        return super().__exit__(kind, *rest)  # type: ignore[arg-type]


def _names(services: Services, number: int, line: str, made: Stored) -> None:
    with _counting(made, "unit"):
        people.add_unit(services, OPERATOR, f"u{number}", name=line[:200], parent_id="water", kind=line[:32])
    with _counting(made, "person"):
        people.add_person(services, OPERATOR, f"p{number}", name=line[:80], unit_id="water")
        roster_admin.add_duty(services, OPERATOR, f"p{number}", "handler", "water")
    with _counting(made, "channel"):
        channels.add_channel(services, OPERATOR, f"c{number}", kind="console", name=line[:120], unit_id="water")


# -- reading pages -----------------------------------------------------------------------------------------------------

#: Attributes in which a text may stand, because a browser does nothing with it there but show it or send it back.
HARMLESS = frozenset({"title", "value", "aria-label", "alt", "placeholder", "content", "label"})
ADDRESSES = frozenset(
    {"href", "src", "action", "formaction", "data", "xlink:href", "poster", "srcset", "hx-get", "hx-post"}
)
_SCHEMES = frozenset({"", "http", "https"})


class Reader(HTMLParser):
    """Collects what came alive in a page, and its text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if MARK in tag or tag in {"iframe", "object", "embed", "base", "marquee", "video", "math"}:
            self.faults.append(f"<{tag}>")
        given = dict(attrs)
        if tag in {"script", "link", "meta"} and MARK in repr(given):
            self.faults.append(f"<{tag} {given}>")
        if tag == "style" or (tag == "script" and not given.get("src")):
            self.faults.append(f"inline <{tag}>")
        for name, value in attrs:
            self._attribute(tag, name, value or "")

    def _attribute(self, tag: str, name: str, value: str) -> None:
        where = f"<{tag} {name}={value!r}>"
        if MARK in name or name.startswith(("on", "hx-on")) or name == "style":
            self.faults.append(where)
        if name in ADDRESSES:
            self._address(where, name, value)
        elif MARK in value and name not in HARMLESS:
            self.faults.append(where)

    def _address(self, where: str, name: str, value: str) -> None:
        scheme = urlsplit(re.sub(r"[\x00-\x20]", "", value)).scheme.lower()
        if scheme not in _SCHEMES or value.startswith(("//", "/\\")):
            self.faults.append(where)
        # A search that is repeated in a link of ours stands behind the question mark, well quoted.
        ours = value.startswith(("/", "?")) and MARK not in urlsplit(value).path
        to_the_web = name == "href" and scheme in {"http", "https"}
        if MARK in value and not ours and not to_the_web:
            self.faults.append(where)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(html: str) -> Reader:
    """A page taken apart."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader
