"""联系电话 on an incident: who has to ring finds the number there, nobody else does, and every look is written down."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from huiying.service import people, roster_admin
from huiying.store import tables as t
from huiying.web.app import create_app
from tests.fakes.desk import Seat, take_seat
from tests.fakes.house import OPERATOR, House, house, house_template

__all__ = ["house", "house_template"]

Sit = Callable[[str], Seat]
HANDLERS_NUMBER = "13900007788"
HELPERS_NUMBER = "0991-7654321"


@pytest.fixture
def client(house: House) -> Iterator[TestClient]:
    with TestClient(create_app(house.services), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def sit(house: House, client: TestClient) -> Sit:
    return lambda person: take_seat(house.services, client, person)


@pytest.fixture
def no(house: House, client: TestClient) -> str:
    """An incident that 水务局 leads and 卫健委 helps with, each with a handler."""
    for person, name, unit, mobile in (
        ("sun", "孙六", "water", HANDLERS_NUMBER),
        ("zhou", "周七", "health", HELPERS_NUMBER),
    ):
        people.add_person(house.services, OPERATOR, person, name=name, unit_id=unit, mobile=mobile)
        roster_admin.add_duty(house.services, OPERATOR, person, "handler", unit)
        roster_admin.grant_access(house.services, OPERATOR, person, "handler", unit)
    body = {"title": "示例路段积水", "kind": "opinion", "unit_id": "water", "co_units": ["health"]}
    answer = client.post("/api/v1/incidents", json=body, headers=house.bearer("zhang"))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["no"])


def looks(house: House) -> list[tuple[str, str, list[str]]]:
    with house.services.store.reading() as tx:
        rows = tx.all(sa.select(t.audit).where(t.audit.c.action == "person.revealed").order_by(t.audit.c.seq))
    return [(row.actor, row.subject, json.loads(row.payload)["people"]) for row in rows]


def test_the_numbers_stand_masked_on_the_page_and_in_clear_after_the_button(sit: Sit, house: House, no: str):
    page = sit("zhang").get(f"/incidents/{no}").text
    assert "联系电话" in page
    for name in ("张一", "孙六", "周七"):
        assert name in page
    for number in (HANDLERS_NUMBER, HELPERS_NUMBER, "13800001234"):
        assert number not in page
    assert "139****7788" in page
    assert '<b>孙六</b></td><td data-label="单位">示例市水务局</td>' in page
    assert '<b>张一</b></td><td data-label="单位">示例市政务公开办</td>' in page
    assert looks(house) == []

    shown = sit("zhang").post(f"/incidents/{no}/contacts")
    assert shown.status_code == 200
    assert f'href="tel:{HANDLERS_NUMBER}"' in shown.text
    assert 'href="tel:09917654321"' in shown.text
    assert "no-store" in shown.headers["cache-control"]
    ((actor, subject, named),) = looks(house)
    assert (actor, subject) == ("person:zhang", f"incident:{no}")
    assert {"sun", "zhou", "zhang"} <= set(named)


def test_in_the_page_only_the_section_is_exchanged(sit: Sit, no: str):
    part = sit("zhang").post(f"/incidents/{no}/contacts", headers={"hx-request": "true"}).text
    assert part.lstrip().startswith("<section")
    assert HANDLERS_NUMBER in part


def test_a_shift_comes_before_a_standing_duty(sit: Sit, house: House, no: str):
    now = house.services.store.now()
    turn = roster_admin.ShiftInput("office", "duty_officer", "li", now, now.replace(hour=now.hour + 1))
    roster_admin.add_shift(house.services, OPERATOR, turn)
    page = sit("zhang").get(f"/incidents/{no}/contacts").text
    assert page.count('<td data-label="职责">值班员</td><td><b>李二</b></td>') == 1
    assert "<b>张一</b>" not in page


@pytest.mark.parametrize("person", ["sun", "li", "boss"])
def test_who_has_nobody_to_ring_sees_no_numbers(sit: Sit, house: House, no: str, person: str):
    seat = sit(person)
    assert 'id="contacts"' not in seat.get(f"/incidents/{no}").text
    assert seat.post(f"/incidents/{no}/contacts").status_code == 403
    assert looks(house) == []


def test_the_number_of_somebody_of_another_unit_is_not_shown(sit: Sit, house: House, no: str):
    people.add_person(house.services, OPERATOR, "wu", name="吴八", unit_id="water", mobile="13900001111")
    roster_admin.grant_access(house.services, OPERATOR, "wu", "duty", "water")
    shown = sit("wu").post(f"/incidents/{no}/contacts").text
    assert HANDLERS_NUMBER in shown
    for number in (HELPERS_NUMBER, "13800001234"):
        assert number not in shown
    assert "不在您的权限范围内" in shown
    assert [named for _, _, named in looks(house)] == [["sun"]]


def test_the_panel_beside_the_queue_leads_to_the_numbers(sit: Sit, no: str):
    assert f'href="/incidents/{no}#contacts"' in sit("zhang").get(f"/desk/panel/{no}").text
    assert "#contacts" not in sit("li").get(f"/desk/panel/{no}").text
