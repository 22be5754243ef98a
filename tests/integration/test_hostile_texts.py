"""Hostile texts in every field, every screen fetched: they are text and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from huiying.domain.access import AccessRole
from huiying.service import queries, roster_admin
from huiying.web.app import create_app
from huiying.web.pages import page_routes
from tests import hostile
from tests.fakes.desk import Seat, take_seat
from tests.fakes.house import OPERATOR, House, acting, house_template, open_house, run_engine_once

__all__ = ["house_template"]

#: The first test fills the house, another opens every screen.
pytestmark = pytest.mark.timeout(400)

#: Pages without free text or that lead elsewhere; a stream has no end.
ELSEWHERE = {"/static/{name:path}", "/live", "/live/state", "/login/oidc", "/login/oidc/back", "/enrol/qr.svg"}
PARTS = {
    "pack": ["cn-gbf-2016-61"], "policy": ["release-5h"], "person": ["p2", "p28"], "unit": ["u2", "u28"],
    "channel": ["c2", "c28"], "word": ["approve", "reject", "withdraw"], "number": ["1", "3", "29"], "handover_id": ["1"],
}  # fmt: skip


class Everything:
    """A house full of such texts and somebody of each kind to look at it."""

    def __init__(self, house: House, client: TestClient) -> None:
        actor = acting("zhao", AccessRole.HEAD)
        self.house, self.client = house, client
        self.stored = hostile.store(house.services, actor, "office")
        roster_admin.grant_access(house.services, OPERATOR, "qian", "assessor", "office")
        run_engine_once(house.services)
        self.seats = {name: take_seat(house.services, client, name) for name in ("zhao", "wang", "boss", "li", "zhang")}

    @cached_property
    def details(self) -> dict[str, httpx.Response]:
        """The page of every incident, as who reads all of it sees it; fetched once."""
        return {no: self.seats["zhao"].get(f"/incidents/{no}") for no in self.stored.numbers}

    def pages(self) -> Iterator[tuple[Seat, str]]:
        """Every screen: for one who reads all of it with every incident, for the others with a few."""
        for route in page_routes():
            if "GET" not in (route.methods or ()) or route.path in ELSEWHERE:
                continue
            for name, seat in self.seats.items():
                for url in self._urls(route.path, thorough=name == "zhao"):
                    yield seat, url

    def _urls(self, path: str, *, thorough: bool) -> list[str]:
        own_page = path in {"/incidents/{no}", "/incidents/{no}/runs", "/desk/panel/{no}"}
        numbers = self.stored.numbers if thorough and own_page else self.stored.numbers[2:40:36]
        found = [path]
        for name in re.findall(r"\{([^}]+)\}", path):
            values = numbers if name == "no" else PARTS.get(name, ["0"])
            found = [url.replace(f"{{{name}}}", value) for url in found for value in values]
        return found


@pytest.fixture(scope="module")
def everything(house_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    house = open_house(house_template, tmp_path_factory.mktemp("hostile") / "house")
    with TestClient(create_app(house.services), raise_server_exceptions=False) as client:
        yield Everything(house, client)
    house.services.store.close()


def test_the_corpus_is_large_and_has_every_kind():
    found = hostile.texts()
    assert len(set(found)) == len(found) >= 60
    assert all(hostile.MARK in text or "base64" in text for text in found)
    for needed in (
        "<script",
        "onerror",
        "javascript:",
        "data:",
        "{{",
        "\u202e",
        "\u200b",
        "<svg",
        "<style",
        "\r\n",
        "](",
        "\U0001f468",
    ):
        assert any(needed in text for text in found), needed
    assert any(len(text) == 200 for text in found)


def test_the_reader_of_this_test_sees_what_comes_alive():
    for text in ("<img src=x onerror=zq7()>", "<a href=' javascript:zq7()'>", "<zq7>", "<p title=x zq7=1>", "<p style='x'>",
                 "<script>zq7()</script>", "<iframe>", "<a href='//zq7.example'>", "<p class='zq7'>"):  # fmt: skip
        assert hostile.read(text).faults, text
    assert not hostile.read("<p title='zq7'>&lt;zq7&gt;</p><a href='https://zq7.example/'>zq7</a>").faults


@pytest.mark.slow
def test_on_every_screen_they_are_text(everything: Everything):
    faults, seen = [], 0
    for seat, url in everything.pages():
        answer = seat.get(url)
        assert answer.status_code < 500, f"{url}: {answer.status_code}"
        if "text/html" not in answer.headers.get("content-type", ""):
            continue
        reader = hostile.read(answer.text)
        seen += hostile.MARK in "".join(reader.words)
        faults += [f"{url}: {fault}" for fault in reader.faults]
    assert not faults, "\n" + "\n".join(sorted(set(faults))[:40])
    assert seen > 2 * len(everything.stored.numbers)


def test_enough_of_it_was_taken_in(everything: Everything):
    number = len(hostile.texts())
    refused = everything.stored.refused
    assert len(everything.stored.numbers) == number
    # Each text is tried as an address of its own, too; few of them are one.
    assert number // 2 < refused.pop("url") < 2 * number
    refused.pop("reason")  # kept for a second person, which is a refusal as well
    assert all(count < number // 4 for count in refused.values()), refused


def test_an_incident_shows_its_title_and_body_unchanged(everything: Everything):
    lost = []
    for no, text in zip(everything.stored.numbers, hostile.texts(), strict=True):
        shown = _squeezed("".join(hostile.read(everything.details[no].text).words))
        if _squeezed(hostile.one_line(text)[:200]) not in shown or _squeezed(text) not in shown:
            lost.append((no, text))
    assert lost == []


def _squeezed(text: str) -> str:
    """Blanks do not count, nor do marks that only say how to read."""
    return re.sub(r"[\s\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]+", "", text)


def test_no_header_was_split_and_no_template_came_alive(everything: Everything):
    for answer in everything.details.values():
        assert "set-cookie" not in answer.headers or "hy_session=1" not in answer.headers["set-cookie"]
        assert "content-security-policy" in answer.headers
        assert " 49 zq7" not in answer.text


def test_addresses_become_links_only_for_the_web(everything: Everything):
    for answer in everything.details.values():
        for href in re.findall(r'<a\b[^>]*href="([^"]*)"', answer.text):
            assert re.match(r"(?:/(?![/\\])|#|\?|https?://)", href), href


def test_the_page_behind_a_message_and_the_json_api_are_text_as_well(everything: Everything):
    links = {
        link
        for person in ("zhang", "li", "wang")
        for message in queries.inbox(everything.house.services, person, 1000)["messages"]
        for link in re.findall(r"https://desk\.example(/a/[\w-]+)", message["text"])
    }
    assert len(links) > 20
    for link in sorted(links)[:60]:
        everything.client.cookies.clear()
        answer = everything.client.get(link)
        reader = hostile.read(answer.text)
        reader.faults = [fault for fault in reader.faults if fault != "inline <style>"]  # hashed in its own policy
        assert reader.faults == []
    answer = everything.client.get("/api/v1/incidents?limit=200", headers=everything.house.bearer("zhang"))
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-content-type-options"] == "nosniff"
