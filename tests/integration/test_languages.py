"""English is a complete second language of the desk, and each page says of every part in which language it is.

The whole desk of the sample city is seen by everybody in both languages, with every form refused once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from config.settings import load_settings
from huiying.bootstrap import build
from huiying.service import demo
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.web.app import create_app
from tests import languages
from tests.browser import states
from tests.browser.screens import SCREENS, numbers, path_of
from tests.language_tour import Screen, Tour

#: The first test makes the sample city and walks through it.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

#: Where an element cannot be marked more finely: the title of a window is one text.
ONE_TEXT = re.compile(r"^html head title$")
#: Names and technical words that Chinese pages use as they are.
KNOWN = frozenset(
    {"Prefect", "TOTP", "URL", "API", "HTTP", "HTTPS", "TLS", "UTF", "SHA", "CSV", "YAML", "JSON", "SMTP", "SQLite",
     "MB", "GB", "English", "huiying", "key", "token", "auto", "card", "markdown", "text", "starttls", "implicit",
     "date", "kind", "holiday", "makeup"}
)  # fmt: skip
#: Texts that are commands, ids or what was typed: the audit record, findings of the doctor, sent messages, fields.
AS_IT_IS = re.compile(
    r"audit|health-list|message|@value|dl\.facts dd|tr td\.free|td\.small|tbody tr td$|span\.muted\.small"
)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("languages")
    services = build(
        load_settings(data_dir=folder, prefect_enabled=False, demo=True, public_url="http://127.0.0.1:8765")
    )
    demo.prepare(services, lambda _line: None)
    states.add(services)
    yield services
    services.store.close()


@pytest.fixture(scope="module")
def client(city: Services) -> Iterator[TestClient]:
    with TestClient(create_app(city), raise_server_exceptions=False) as made:
        yield made


def _tour(city: Services, client: TestClient, language: str) -> Tour:
    tour = Tour(city, client, language)
    tour.everything()
    return tour


@pytest.fixture(scope="module")
def chinese(city: Services, client: TestClient) -> Tour:
    return _tour(city, client, "zh")


@pytest.fixture(scope="module")
def english(city: Services, client: TestClient, chinese: Tour) -> Tour:
    _ = chinese  # one after the other: both change things in the end
    return _tour(city, client, "en")


def _told(screens: Iterable[Screen], find: Callable[[languages.Page], Iterable[Any]]) -> list[str]:
    """What was found, each once, with one of the screens where it stands."""
    found: dict[str, str] = {}
    for screen in screens:
        for one in find(screen.page):
            found.setdefault(str(one), screen.name)
    return [f"{text}  [{where}]" for text, where in sorted(found.items())]


def _shown(lines: list[str]) -> str:
    return f"{len(lines)} findings\n" + "\n".join(lines[:60])


def test_every_screen_is_seen_by_whom_it_is_for(city: Services, english: Tour):
    known = numbers(city.settings.data_dir)
    missing = [
        s.name for s in SCREENS if s.role and (s.role, path_of(s, known).partition("?")[0]) not in english.visited
    ]
    assert missing == []
    assert {403, 404, 409, 422, 401} <= {screen.status for screen in english.seen}
    assert len(english.seen) > 600


def test_what_is_chinese_on_an_english_page_says_so(english: Tour):
    def unmarked(page: languages.Page) -> list[languages.Part]:
        return [part for part in languages.unmarked(page) if not ONE_TEXT.match(part.path)]

    found = _told(english.seen, unmarked)
    assert not found, _shown(found)


def _is_data(screen: Screen, text: str) -> bool:
    """A message may carry data: the reason with which something ended, what a pack says of its own sources."""
    return text.startswith("Ended ") or "/rules/cn-gbf" in screen.url


def test_what_the_desk_says_to_somebody_who_reads_english_is_english(english: Tour):
    found = [
        f"{text}  [{screen.name}]"
        for screen in english.seen
        for text in languages.untranslated(screen.page)
        if not _is_data(screen, text)
    ]
    assert not found, _shown(sorted(set(found)))


def test_english_lines_read_as_english(english: Tour):
    literal = {"YAML or CSV (first line “date,kind”"}  # the very line of the file
    found = [line for line in _told(english.seen, languages.clumsy) if not line.startswith(tuple(literal))]
    assert not found, _shown(found)


def test_a_chinese_page_has_no_english_words(city: Services, chinese: Tour):
    with city.store.reading() as tx:
        ids = {str(row.id) for table in (t.person, t.unit, t.channel) for row in tx.all(sa.select(table.c.id))}
    ids |= {"nope", "tomorrow", "soon", "nothing", "none", "at", "all", "x"}  # what the tour asks for
    found = [w for w in _told(chinese.seen, lambda p: languages.latin_words(p, KNOWN | ids)) if not AS_IT_IS.search(w)]
    assert not found, _shown(found)


def test_the_page_behind_a_message_is_chinese_and_says_so(city: Services, client: TestClient):
    with city.store.reading() as tx:
        texts = [row.text for row in tx.all(sa.select(t.inbox_message.c.text))]
    links = sorted({found.group(1) for text in texts if (found := re.search(r"(/a/[\w-]+)", text))})
    assert links
    for link in [*links[:5], "/a/nowhere"]:
        client.cookies.clear()
        page = languages.read(client.get(link, headers={"cookie": "hy_language=en"}).text)
        assert page.stated == "zh-CN"
        assert languages.latin_words(page, KNOWN) == []
