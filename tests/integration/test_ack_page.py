"""The page behind a message's link: looking changes nothing, the button acts once, nobody learns the address."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from huiying.domain.access import AccessRole
from huiying.domain.kinds import ContentKind, PublicationKind
from huiying.domain.outcome import Accepted
from huiying.service import channels, incidents, queries
from huiying.service.delivery import record_outcomes, send_claimed
from huiying.service.hand import Hand
from huiying.service.letters import ack_token
from huiying.service.outage import consolidate_backlog
from huiying.service.requests import ReleaseRequest
from huiying.service.senders import Senders
from huiying.store import tables as t
from huiying.web import ack
from huiying.web.app import create_app
from huiying.web.guard import Throttle
from tests.fakes.house import OPERATOR, House, acting, house_template, open_house, run_engine_once

__all__ = ["house_template"]

BROWSER = {"Sec-Fetch-Site": "same-origin"}
TITLE = "绝不外发的标题"


class Postbox:
    def __init__(self) -> None:
        self.notices: list[Any] = []

    def __call__(self, config):
        return self

    def send(self, notice, to, now, deadline_seconds):
        self.notices.append(notice)
        return Accepted()

    def close(self):
        pass


@pytest.fixture
def postbox() -> Postbox:
    return Postbox()


@pytest.fixture
def house(house_template: Path, tmp_path: Path, postbox: Postbox) -> Iterator[House]:
    made = open_house(house_template, tmp_path / "house", postbox, desk_phone="0858-0000000")
    yield made
    made.services.store.close()


@pytest.fixture
def client(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    for name, most in (("_LOOKS", 60), ("_MISSES", 20), ("_PRESSES", 20)):
        monkeypatch.setattr(ack, name, Throttle(most))
    with TestClient(create_app(house.services), follow_redirects=False) as made:
        yield made


def register(client: TestClient, house: House) -> str:
    body = {
        "title": TITLE,
        "notice_title": "示例事项",
        "kind": "emergency",
        "severity": "major",
        "criterion": "对照标准",
        "unit_id": "office",
        "times": {"occurred_at": {"value": "2025-06-02T08:30:00+08:00", "source": "现场"}},
    }
    return str(client.post("/api/v1/incidents", json=body, headers=house.bearer("zhang")).json()["no"])


@pytest.fixture
def no(client: TestClient, house: House) -> str:
    made = register(client, house)
    run_engine_once(house.services)
    return made


def link_of(house: House, person_id: str) -> str:
    """The address in the newest message to a person ("" for a group robot)."""
    delivery = t.delivery.c
    with house.services.store.reading() as tx:
        number = tx.value(
            sa.select(delivery.notice_no).where(delivery.person_id == person_id).order_by(delivery.notice_no.desc())
        )
    return f"/a/{ack_token(house.services.server_key, number)}"


def everything(house: House) -> str:
    with house.services.store.reading() as tx:
        return "\n".join(str(tuple(row)) for table in t.metadata.sorted_tables for row in tx.all(sa.select(table)))


def acknowledgements(house: House) -> list[Any]:
    with house.services.store.reading() as tx:
        return tx.all(sa.select(t.acknowledgement))


def press(client: TestClient, link: str, **form: str) -> httpx.Response:
    response: httpx.Response = client.post(link, data=form, headers=BROWSER)
    return response


def test_looking_changes_nothing_however_often(client: TestClient, house: House, no: str):
    link = link_of(house, "zhang")
    before = everything(house)
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"User-Agent": "link preview"}):
        assert client.get(link, headers=headers).status_code == 200
    assert client.head(link).status_code == 405
    assert everything(house) == before


def test_the_page_says_what_a_person_must_know_and_is_small(client: TestClient, house: House, no: str):
    house.clock.advance(timedelta(hours=1))
    page = client.get(link_of(house, "zhang"))
    text = page.text
    for words in (no, "示例事项", "权威信息发布", "计时中", "剩 3 小时 30 分", "06-02 13:30", "张一", "0858-0000000"):
        assert words in text
    assert TITLE not in text
    assert "签收（我已知悉并承办）" in text
    assert len(page.content) <= 10_000
    assert "<script" not in text
    assert not re.search(r"(src|href)=\"https?:", text)
    assert "min-height:52px" in text


def test_the_headers_keep_the_address_to_itself(client: TestClient, house: House, no: str):
    page = client.get(link_of(house, "zhang"))
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "noindex" in page.headers["x-robots-tag"]
    assert page.headers["cache-control"] == "no-store"
    match = re.search(r"<style>(.*?)</style>", page.text, re.DOTALL)
    assert match is not None
    digest = base64.b64encode(hashlib.sha256(match.group(1).encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in page.headers["content-security-policy"]


def test_the_button_acknowledges_once_and_a_replay_shows_by_whom(client: TestClient, house: House, no: str):
    link = link_of(house, "zhang")
    first = press(client, link)
    assert (first.status_code, first.headers["location"]) == (303, link)
    rows = acknowledgements(house)
    assert {row.person_id for row in rows} == {"zhang"}
    assert {row.via for row in rows} == {"link"}
    house.clock.advance(timedelta(minutes=5))
    before = everything(house)
    assert press(client, link).status_code == 303
    assert everything(house) == before
    page = client.get(link).text
    assert "已由 张一 于 06-02 09:00" in page
    assert "<button" not in page
    # The clock runs on: an acknowledgement is no response.
    assert "计时中" in page


def test_the_chain_names_the_person_and_the_link_is_in_no_table(client: TestClient, house: House, no: str):
    link = link_of(house, "zhang")
    press(client, link)
    with house.services.store.reading() as tx:
        entry = tx.one(sa.select(t.audit).where(t.audit.c.action == "incident.acknowledged"))
    assert entry is not None
    assert entry.actor == "person:zhang"
    secret = link.removeprefix("/a/")
    with house.services.store.reading() as tx:
        for table in t.metadata.sorted_tables:
            if table.name != "inbox_message":  # the message itself carries the link to its reader
                assert secret not in str(tx.all(sa.select(table))), table.name


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
    ],
)
def test_another_site_cannot_press_the_button(client: TestClient, house: House, no: str, headers: dict[str, str]):
    response = client.post(link_of(house, "zhang"), headers=headers)
    assert response.status_code == 403
    assert acknowledgements(house) == []


@pytest.mark.parametrize("headers", [{}, {"Origin": "null"}, {"Origin": "http://testserver"}])
def test_older_browsers_that_say_less_still_can(client: TestClient, house: House, no: str, headers: dict[str, str]):
    assert client.post(link_of(house, "zhang"), headers=headers).status_code == 303
    assert len(acknowledgements(house)) > 0


@pytest.mark.parametrize("token", ["x", "a" * 22, "../../etc", "%00" * 22, "a" * 5000, "签收签收签收签收签收签收签收"])
def test_an_unknown_address_is_one_page_and_no_more(client: TestClient, house: House, no: str, token: str):
    for method in ("GET", "POST"):
        response = client.request(method, f"/a/{token}", headers=BROWSER)
        assert response.status_code == 404
        assert "text/html" in response.headers["content-type"] or token == "../../etc"
    assert acknowledgements(house) == []


def test_who_tries_addresses_is_slowed_down(client: TestClient, house: House, no: str):
    codes = [client.get(f"/a/{n:022}").status_code for n in range(25)]
    assert codes == [404] * 20 + [429] * 5
    # A good link of the same office still opens, as often as a person opens it.
    link = link_of(house, "zhang")
    assert [client.get(link).status_code for _ in range(61)] == [200] * 60 + [429]
    assert client.get(link_of(house, "li")).status_code == 200


def publish_everything(house: House, no: str) -> None:
    actor = acting("zhang", AccessRole.DUTY)
    for kind in (PublicationKind.RELEASE, PublicationKind.PRESS_CONFERENCE):
        wanted = ReleaseRequest(kind, house.clock(), ContentKind.ORIGINAL, url="https://example.cn/1")
        incidents.record_release(house.services, actor, no, wanted)


def test_a_link_ends_a_day_after_its_clock(client: TestClient, house: House, no: str):
    link = link_of(house, "zhang")
    house.clock.advance(timedelta(hours=1))
    publish_everything(house, no)
    house.clock.advance(timedelta(hours=24))
    assert client.get(link).status_code == 200
    house.clock.advance(timedelta(seconds=1))
    gone = client.get(link)
    assert gone.status_code == 410
    assert "已过期" in gone.text
    assert press(client, link).status_code == 410
    assert acknowledgements(house) == []


def group(house: House) -> None:
    settings = {"url": "https://hook.example.cn/x", "secret": "whsec_" + "QUJD" * 8}
    channels.add_channel(house.services, OPERATOR, "robot", kind="webhook", audience="group", settings=settings)


def test_in_a_group_a_person_names_themselves_and_it_is_recorded_as_weaker(
    client: TestClient, house: House, no: str, postbox: Postbox
):
    group(house)
    house.clock.advance(timedelta(hours=2))
    run_engine_once(house.services)
    link = link_of(house, "")
    assert [notice.ack_url.endswith(link) for notice in postbox.notices if notice.ack_url][-1:] == [True]
    page = client.get(link).text
    assert 'type="radio"' in page
    assert "张一（值班员）" in page
    assert "钱五" not in page
    refused = press(client, link)
    assert refused.status_code == 422
    assert "请先选择您的姓名" in refused.text
    assert press(client, link, person="qian").status_code == 422
    assert press(client, link, person="' OR 1=1").status_code == 422
    assert acknowledgements(house) == []
    assert press(client, link, person="li").status_code == 303
    assert {(row.person_id, row.via) for row in acknowledgements(house)} == {("li", "group")}
    with house.services.store.reading() as tx:
        entry = tx.one(sa.select(t.audit).where(t.audit.c.action == "incident.acknowledged"))
    assert entry is not None
    assert entry.actor.startswith("group:")
    page = client.get(link).text
    assert "已由 李二 于" in page
    assert "在群内签收" in page
    assert press(client, link, person="zhang").status_code == 303
    assert {row.person_id for row in acknowledgements(house)} == {"li", "zhang"}


def test_a_digest_after_an_outage_lists_its_clocks_and_is_acknowledged_for_all(
    client: TestClient, house: House, no: str
):
    other = register(client, house)
    run_engine_once(house.services)
    house.clock.advance(timedelta(hours=5))
    senders, hand = Senders(house.services), Hand("test/engine", "t")
    batch = consolidate_backlog(house.services, senders, hand, lambda _: 500)
    assert batch is not None
    record_outcomes(house.services, hand, [send_claimed(senders, one) for one in batch.claimed])
    link = link_of(house, "zhang")
    page = client.get(link)
    assert page.status_code == 200
    for each in (no, other):
        assert f"{each} 权威信息发布 已超时 超 30 分" in page.text
    assert len(page.content) <= 10_000
    assert press(client, link).status_code == 303
    assert {row.person_id for row in acknowledgements(house)} == {"zhang"}
    assert "已由 张一" in client.get(link).text


def test_acknowledging_a_request_for_a_second_person_takes_up_no_clock(client: TestClient, house: House, no: str):
    house.clock.advance(timedelta(minutes=5))
    refused = client.post(f"/api/v1/incidents/{no}/void", json={"reason": "误报"}, headers=house.bearer("zhang"))
    assert refused.json()["code"] == "needs_second_person"
    run_engine_once(house.services)
    with house.services.store.reading() as tx:
        before = queries.unacknowledged(tx)
    assert {row["event"] for row in before} == {"registered"}
    assert press(client, link_of(house, "zhao")).status_code == 303
    assert [(row.person_id, row.clock_id, row.step_id) for row in acknowledgements(house)] == [
        ("zhao", None, "request")
    ]
    with house.services.store.reading() as tx:
        assert queries.unacknowledged(tx) == before
    # Nobody on duty has signed: the one in charge is told after an hour.
    house.clock.advance(timedelta(hours=1))
    run_engine_once(house.services)
    with house.services.store.reading() as tx:
        step = tx.one(sa.select(t.timed_action).where(t.timed_action.c.step_id == "unacknowledged_1h"))
    assert step is not None
    assert step.state == "done"


def test_what_was_said_before_a_flare_up_takes_up_none_of_its_clocks(client: TestClient, house: House, no: str):
    actor = acting("zhang", AccessRole.DUTY)
    merged = register(client, house)
    run_engine_once(house.services)
    incidents.merge(house.services, actor, merged, no, "同一事项")
    run_engine_once(house.services)
    merging = link_of(house, "zhang")
    assert "并入本事项" in everything(house)
    house.clock.advance(timedelta(hours=1))
    publish_everything(house, no)
    incidents.close(house.services, actor, no, "已回应")
    incidents.reopen(house.services, actor, no, "复燃")
    fresh = queries.view_incident(house.services, no)["clocks"]
    assert [clock["state"] for clock in fresh if clock["binding"]] != []
    run_engine_once(house.services)
    waiting = queries.duty_now(house.services)["unacknowledged"]
    (mine,) = {one["notice_no"] for one in waiting if one["person"] == "zhang" and one["event"] == "registered"}
    assert client.get(merging).status_code == 200
    assert press(client, merging).status_code == 409
    assert acknowledgements(house) == []
    assert queries.duty_now(house.services)["unacknowledged"] == waiting
    # The message of the new cycle does.
    assert press(client, f"/a/{ack_token(house.services.server_key, mine)}").status_code == 303
    assert {given.clock_id for given in acknowledgements(house)} > {None}
