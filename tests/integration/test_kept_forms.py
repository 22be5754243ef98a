"""What somebody was writing when the desk locked: kept through the lock, for that person alone, sent by one press."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from huiying.domain.kinds import Kind
from huiying.service import accounts, hashing, incidents, sessions
from huiying.service.requests import RegisterRequest
from huiying.store import tables as t
from huiying.web.app import create_app
from huiying.web.pages import kept
from tests.fakes.desk import Seat, take_seat
from tests.fakes.house import OPERATOR, House, cheap_passwords, house_template, open_house

__all__ = ["cheap_passwords", "house_template"]

pytestmark = pytest.mark.usefixtures("cheap_passwords")
PASSWORD = "Lake-7-lantern"
HERE = {"sec-fetch-site": "same-origin"}
NOTE = "写了一刻钟的说明 <b>&"
SENT = {"body": NOTE, "reason": "补充"}
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)"(?: id="kept")? value="([^"]*)"[^>]*>')


@pytest.fixture
def house(house_template: Path, tmp_path: Path) -> Iterator[House]:
    made = open_house(house_template, tmp_path / "house")
    yield made
    made.services.store.close()


@pytest.fixture
def client(house: House) -> Iterator[TestClient]:
    with TestClient(create_app(house.services), base_url="http://desk.example") as made:
        yield made


@pytest.fixture
def no(house: House) -> str:
    wanted = RegisterRequest(title="示例事项", kind=Kind.OPINION, unit_id="office")
    return str(incidents.register(house.services, OPERATOR, wanted)["no"])


def seat_of(house: House, client: TestClient, person_id: str = "zhang") -> Seat:
    seat = take_seat(house.services, client, person_id)
    with house.services.store.transaction("test") as tx:
        digest = hashing.hash_password(PASSWORD)
        tx.run(t.account.update().where(t.account.c.person_id == person_id).values(password_hash=digest))
    return seat


def hidden(page: str, form: str) -> dict[str, str]:
    """The hidden fields of the form with this action."""
    found = re.search(rf'<form[^>]*action="{re.escape(form)}"[^>]*>(.*?)</form>', page, re.DOTALL)
    assert found is not None, form
    return {name: html.unescape(value) for name, value in _HIDDEN.findall(found.group(1))}


def unlock(seat: Seat, page: str, password: str = PASSWORD) -> tuple[Seat, httpx.Response]:
    """Press 解锁 on a page; gives the seat with its new cookie and the answer."""
    answer = seat.post("/unlock", {**hidden(page, "/unlock"), "password": password}, headers=HERE)
    return replace(seat, cookie=answer.cookies.get("hy_session") or seat.cookie), answer


def noted(house: House) -> list[str]:
    """What stands in the incident by now."""
    with house.services.store.reading() as tx:
        return [row.body for row in tx.all(sa.select(t.incident.c.body)) if row.body]


def test_a_form_sent_at_a_locked_desk_is_sent_by_one_press_after_unlocking(house: House, client: TestClient, no: str):
    zhang = seat_of(house, client)
    house.clock.advance(timedelta(minutes=15))
    path = f"/incidents/{no}/details"
    from_page = {**HERE, "referer": f"http://desk.example/incidents/{no}?open=details"}
    locked = zhang.post(path, {"body": NOTE, "reason": "补充", "key": "k-1"}, headers=from_page)
    assert locked.status_code == 403
    assert kept.LOCKED_KEPT in locked.text
    assert 'id="board"' in locked.text, "the clocks stay in sight"
    assert "一刻钟" not in locked.text, "a passer-by reads none of it"
    assert 'http-equiv="refresh"' not in locked.text, "and it does not go by itself"
    zhang, wrong = unlock(zhang, locked.text, "wrong")
    assert wrong.status_code == 401
    zhang, page = unlock(zhang, wrong.text)
    assert page.status_code == 200
    assert '<dt>情况说明</dt><dd class="free">写了一刻钟的说明 &lt;b&gt;&amp;</dd>' in page.text
    assert "key</dt>" not in page.text, "no names that only a program knows"
    assert f'href="/incidents/{no}?open=details"' in page.text
    assert noted(house) == [], "unlocking carries nothing out"
    again = hidden(page.text, path)
    assert again["csrf"] != zhang.csrf
    assert zhang.post(path, again, headers=HERE).status_code == 303
    assert noted(house) == [NOTE]


def test_what_is_kept_is_for_its_person_and_its_day_alone(house: House, client: TestClient, no: str):
    zhang = seat_of(house, client)
    sessions.lock(house.services, zhang.cookie)
    locked = zhang.post(f"/incidents/{no}/details", SENT, headers=HERE)
    zhao = seat_of(house, client, "zhao")
    sessions.lock(house.services, zhao.cookie)
    theirs = hidden(locked.text, "/unlock") | {"csrf": zhao.csrf}
    stolen = zhao.post("/unlock", {**theirs, "password": PASSWORD}, headers=HERE)
    assert stolen.status_code == 303
    assert "一刻钟" not in stolen.text
    me = sessions.look(house.services, zhang.cookie)
    assert me is not None
    sealed = hidden(locked.text, "/unlock")["kept"]
    assert kept.unseal(house.services, me, sealed) is not None
    assert kept.unseal(house.services, me, sealed[:-4] + "AAAA") is None
    assert kept.unseal(house.services, me, house.services.sealer.seal('{"what": "else"}')) is None
    house.clock.advance(timedelta(hours=24, seconds=1))
    assert kept.unseal(house.services, me, sealed) is None


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/acknowledge", {"only": "1"}),
        ("/devices/forget", {"x": "1"}),
        ("/admin/channels/inbox", {"name": "收件箱"}),
        ("/incidents/2025-0001/details", {"body": "长" * 60_000}),
    ],
)
def test_what_holds_secrets_or_is_too_much_is_not_kept(house: House, client: TestClient, path: str, fields: Any):
    zhang = seat_of(house, client)
    sessions.lock(house.services, zhang.cookie)
    answer = zhang.post(path, fields, headers=HERE)
    assert answer.status_code in {403, 404, 405, 413}
    assert 'name="kept"' not in answer.text


def test_a_form_with_a_file_or_a_secret_is_shown_again_but_not_sent(house: House, client: TestClient, no: str):
    zhang = seat_of(house, client)
    sessions.lock(house.services, zhang.cookie)
    locked = zhang.post(f"/incidents/{no}/details", {**SENT, "secret": "geheim"}, headers=HERE)
    zhang, page = unlock(zhang, locked.text)
    assert "写了一刻钟的说明" in page.text
    assert "geheim" not in page.text
    assert "请回到原页面重新填写" in page.text
    assert not re.search(r"<button>\s*提交", page.text)


def test_a_form_from_before_an_unlocking_elsewhere_is_sent_by_one_press(house: House, client: TestClient, no: str):
    """The desk was locked and unlocked in another tab: this tab's form still holds the token of before."""
    zhang = seat_of(house, client)
    sessions.lock(house.services, zhang.cookie)
    zhang = replace(zhang, cookie=sessions.unlock(house.services, zhang.cookie, PASSWORD)[0])
    path = f"/incidents/{no}/details"
    answer = zhang.post(path, SENT, headers=HERE)
    assert answer.status_code == 409
    assert noted(house) == []
    assert zhang.post(path, hidden(answer.text, path), headers=HERE).status_code == 303
    assert noted(house) == [NOTE]
    # The token of somebody else, or one that was never ours, is no such thing.
    zhao = take_seat(house.services, client, "zhao")
    for token in (zhao.csrf, "x" * 32, "", f"{'x' * 32}.{'0' * 16}"):
        refused = zhang.post(path, {**SENT, "csrf": token}, headers=HERE)
        assert refused.status_code == 403
        assert 'id="kept-form"' not in refused.text
        assert "写了一刻钟的说明" in refused.text, "to be copied"
        assert "body</dt>" not in refused.text


def test_a_page_that_locks_hands_over_what_was_being_written(house: House, client: TestClient, no: str):
    zhang = seat_of(house, client)
    house.clock.advance(timedelta(minutes=15))
    fields = [["csrf", "x"], ["password", "geheim"], ["body", NOTE], ["broken"], "no pair"]
    draft = {"to": f"/incidents/{no}/details", "page": f"/incidents/{no}", "fields": json.dumps(fields)}
    locked = zhang.post("/kept", draft, headers=HERE)
    assert locked.status_code == 200
    assert kept.LOCKED_DRAFT in locked.text
    assert "一刻钟" not in locked.text
    zhang, page = unlock(zhang, locked.text)
    assert "data-draft" in page.text
    assert "geheim" not in page.text
    assert not re.search(r"<button>\s*提交", page.text), "nobody has sent it yet"
    assert noted(house) == []


def test_what_a_locked_page_held_is_shown_after_another_way_in(house: House, client: TestClient, no: str):
    """By the unit's own sign-in, say, which does not carry the form of the locked page."""
    zhang = seat_of(house, client)
    sessions.lock(house.services, zhang.cookie)
    locked = zhang.post(f"/incidents/{no}/details", {"body": NOTE, "reason": "补充"}, headers=HERE)
    sealed = hidden(locked.text, "/unlock")["kept"]
    still = zhang.post("/kept/again", {"sealed": sealed}, headers=HERE)
    assert still.status_code == 403
    assert "一刻钟" not in still.text
    zhang, _page = unlock(zhang, locked.text.replace('id="kept"', 'id="gone"'))
    fresh = {"sealed": sealed, "csrf": hidden(zhang.get("/incidents").text, "/logout")["csrf"]}
    li = seat_of(house, client, "li")
    assert li.post("/kept/again", {"sealed": sealed}, headers=HERE).headers["location"] == "/"
    assert zhang.post("/kept/again", {**fresh, "sealed": "x"}, headers=HERE).headers["location"] == "/"
    page = zhang.post("/kept/again", fresh, headers=HERE)
    assert page.status_code == 200
    assert "写了一刻钟" in page.text
    assert noted(house) == []


@pytest.mark.parametrize(
    "to", ["//evil.example/x", "https://evil.example/", "/password", "/", "/admin/channels/x", "x"]
)
def test_a_draft_goes_nowhere_but_to_a_form_of_ours(house: House, client: TestClient, to: str):
    zhang = seat_of(house, client)
    sessions.lock(house.services, zhang.cookie)
    draft = {"to": to, "page": "/incidents/new", "fields": json.dumps([["body", NOTE]])}
    answer = zhang.post("/kept", draft, headers=HERE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/?next=%2Fincidents%2Fnew")
    assert zhang.post("/kept", {**draft, "page": "//evil.example"}, headers=HERE).headers["location"] == "/"


def test_a_part_of_a_page_is_told_of_the_lock_and_the_page_stays_with_what_it_holds(house: House, client: TestClient):
    zhang = seat_of(house, client)
    sessions.lock(house.services, zhang.cookie)
    answer = zhang.post("/incidents/preview", {"title": NOTE}, headers={**HERE, "hx-request": "true"})
    assert (answer.status_code, answer.headers["hx-trigger"]) == (204, "huiying:locked")
    assert "hx-redirect" not in answer.headers


def test_after_twelve_hours_a_complete_sign_in_brings_it_back_as_well(house: House, client: TestClient, no: str):
    zhang = seat_of(house, client)
    with house.services.store.transaction("test") as tx:
        tx.run(t.account.update().where(t.account.c.person_id == "zhang").values(totp_since=None))
    house.clock.advance(timedelta(hours=12))
    locked = zhang.post(f"/incidents/{no}/details", SENT, headers=HERE)
    assert "重新登录" in locked.text
    zhang, page = unlock(zhang, locked.text)
    assert "写了一刻钟的说明" in page.text


def test_a_reset_of_the_account_ends_it_too(house: House, client: TestClient, no: str):
    zhang = seat_of(house, client)
    sessions.lock(house.services, zhang.cookie)
    locked = zhang.post(f"/incidents/{no}/details", SENT, headers=HERE)
    accounts.reset_password(house.services, OPERATOR, "zhang")
    assert unlock(zhang, locked.text)[1].headers["location"].startswith("/login?")
