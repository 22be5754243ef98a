"""Whoever reads the desk in English reads it whole: refusals, findings and verdicts, and what was typed as it was typed."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from huiying.domain.access import AccessRole
from huiying.domain.kinds import Kind, Severity, TimeKind
from huiying.domain.outcome import Permanent
from huiying.service import channels, incidents
from huiying.service.requests import RegisterRequest, TimeInput
from huiying.store import heartbeats
from huiying.store import tables as t
from huiying.web.app import create_app
from huiying.web.pages.shell import FLASH_COOKIE
from tests.fakes.desk import Seat, take_seat
from tests.fakes.house import OPERATOR, House, acting, house, house_template

__all__ = ["house", "house_template"]

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
HOSTILE = ("%(no)s", "%s", "100%", "{x}", "%(person_id)s%(unit_id)s", "<b>%d</b>")

Sit = Callable[[str], Seat]
Chinese = Callable[[str], set[str]]


@pytest.fixture
def client(house: House) -> Iterator[TestClient]:
    with TestClient(create_app(house.services), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def sit(house: House, client: TestClient) -> Sit:
    def made(person_id: str) -> Seat:
        seat = take_seat(house.services, client, person_id)
        seat.post("/language", {"language": "en", "to": "/"})
        return seat

    return made


@pytest.fixture
def chinese_on(house: House) -> Chinese:
    """The Chinese words of a page that are not the names of this house's people and units."""
    with house.services.store.reading() as tx:
        names = [row.name for table in (t.person, t.unit) for row in tx.all(sa.select(table.c.name))]
    ours = re.compile("|".join(map(re.escape, sorted(filter(None, names), key=len, reverse=True))))

    def found(page: str) -> set[str]:
        rest = re.sub(r'<button[^>]*lang="zh-CN">中文</button>', "", html.unescape(page))
        return set(re.findall(r"[\u4e00-\u9fff]+", ours.sub("", rest))) - {"回应"}

    return found


def alerts(page: str) -> str:
    """What a page says is wrong."""
    return html.unescape("".join(re.findall(r'<div class="notice fault".*?</div>', page, re.DOTALL)))


def flashed(answer: Any) -> str:
    cookie = answer.cookies.get(FLASH_COOKIE) or ""
    return str(json.loads(base64.urlsafe_b64decode(cookie.strip('"')))["text"])


def register(house: House, **more: Any) -> str:
    occurred = {TimeKind.OCCURRED: TimeInput(house.clock() - timedelta(minutes=30), "scene")}
    values = {"title": "Flood", "kind": Kind.OPINION, "unit_id": "office", "times": occurred, **more}
    made = incidents.register(house.services, acting("zhang", AccessRole.DUTY), RegisterRequest(**values))
    return str(made["no"])


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", HOSTILE)
def test_a_refusal_shows_what_was_typed_as_it_was_typed_in_both_languages(
    house: House, client: TestClient, sit: Sit, typed: str
):
    grant = {"role": "head", "unit_id": typed}
    english = html.unescape(sit("boss").post("/admin/people/qian/access", grant).text)
    assert f"No unit has the id “{typed}”." in english
    seat = take_seat(house.services, client, "boss")
    seat.post("/language", {"language": "zh", "to": "/"})
    chinese = html.unescape(seat.post("/admin/people/qian/access", grant).text)
    assert f"没有编号为「{typed}」的单位。" in chinese


@pytest.mark.parametrize(
    ("person", "url", "form", "words"),
    [
        ("boss", "/admin/people", {"id": "zhang", "name": "X", "unit_id": "water"}, "A person has the id “zhang” already"),
        ("boss", "/admin/people/qian/access", {"role": "chief", "unit_id": "office"}, "Role “chief” does not exist; available: duty (Duty officer)"),
        ("boss", "/admin/people", {"id": "sun", "name": "x" * 300, "unit_id": "water"}, "is longer than"),
        ("boss", "/roster/shifts", {"person_id": "ghost", "role": "liaison", "unit_id": "office", "starts_at": "soon"}, "“soon” is not a time"),
        ("boss", "/roster/import", {"roster_text": "unit_id,role\n"}, "Missing headings: person_id, starts_at, ends_at."),
        (
            "boss", "/roster/import",
            {"roster_text": "unit_id,role,person_id,starts_at,ends_at\nnowhere,liaison,zhang,2026-01-01 08:00,2026-01-01 09:00\n"},
            "Row 2: There is no unit with the id or name “nowhere”.",
        ),
        ("boss", "/admin/channels", {"id": "hook", "kind": "webhook", "name": "X", "set.url": "ftp://x"}, "The address must begin with https:// or http://."),
        ("zhang", "/incidents/2025-0001/merge", {"into": "2099-0009", "reason": "same"}, "There is no incident 2099-0009."),
        ("zhang", "/incidents/2025-0001/task", {"unit_id": "%s", "name": "X", "due_at": "2030-01-01T08:00"}, "No unit has the id “%s”."),
    ],
)  # fmt: skip
def test_refusals_with_values_are_english(
    chinese_on: Chinese, house: House, sit: Sit, person: str, url: str, form: dict[str, str], words: str
):
    register(house)
    page = sit(person).post(url, form)
    assert 400 <= page.status_code < 500
    assert words in alerts(page.text)
    assert chinese_on(alerts(page.text)) <= {"单位", "职责", "人员", "开始", "结束"}


def test_an_unknown_incident_and_a_broken_file_are_english(chinese_on: Chinese, sit: Sit):
    page = sit("zhang").get("/incidents/2025-0999")
    assert "There is no incident 2025-0999." in page.text
    assert chinese_on(page.text) == set()
    looked = sit("boss").post("/rules/upload", {"pack_text": "schema: 1\nid: Ä\nid: b\n", "do": "check"})
    assert "is repeated" in html.unescape(looked.text)
    assert chinese_on(looked.text) == set()


# -- findings and verdicts ---------------------------------------------------------------------------------------------


def test_the_doctors_findings_are_english(chinese_on: Chinese, house: House, sit: Sit):
    with house.services.store.transaction("test") as tx:
        heartbeats.beat(tx, "test/engine", "b", {"healthy": False, "fault": "通知已暂停发送：等待确认后放行"})
    channels.add_channel(
        house.services,
        OPERATOR,
        "hook",
        kind="webhook",
        name="Hook",
        settings={"url": "https://x.example/", "secret": SECRET},
    )
    register(house, kind=Kind.EMERGENCY, severity=Severity.MAJOR, criterion="3")
    page = sit("boss").get("/admin").text
    for words in (
        "GB free.",
        "Sending is on hold until somebody confirms (start it with huiying serve)",
        "nobody holds the duty",
    ):
        assert words in page
    assert chinese_on(page) == set()
    house.clock.advance(timedelta(minutes=5))
    assert re.search(
        r"No heartbeat of the reminder engine for \d+ s; reminders may not leave on time\.",
        sit("boss").get("/admin").text,
    )


def test_the_verdict_on_a_broken_chain_is_english(chinese_on: Chinese, house: House, sit: Sit):
    register(house)
    with house.services.store.engine.begin() as conn:
        conn.exec_driver_sql("DROP TRIGGER audit_no_update")
        conn.exec_driver_sql("UPDATE audit SET actor = 'person:somebody' WHERE seq = 7")
    auditor: Any = sit("li")
    page = auditor.get("/audit").text
    auditor.client.app.state.chain_check._ended.wait(30)
    page = auditor.get("/audit").text
    verdict = re.search(r'<section id="chain".*?</section>', page, re.DOTALL)
    assert verdict is not None
    assert (
        "Entry 7 was altered: time, person, action, subject, hash or link differ from when it was written."
        in verdict.group()
    )
    assert chinese_on(verdict.group()) == set()


def test_a_request_for_a_second_person_is_english_from_its_reasons_to_its_end(
    chinese_on: Chinese, house: House, sit: Sit
):
    no = register(house, kind=Kind.EMERGENCY, severity=Severity.MAJOR, criterion="3")
    seat = sit("zhang")
    later = (house.clock() - timedelta(minutes=5)).astimezone().isoformat()
    form = {"kind": "occurred_at", "value": later, "value_source": "scene", "reason": "%(no)s", "version": ""}
    answer = seat.post(f"/incidents/{no}/correct", form)
    if answer.status_code == 409:  # a form of another version of the page
        raise AssertionError(chinese_on(answer.text))
    assert "This change needs another person: The earliest open due time would move later" in flashed(answer)
    assert chinese_on(flashed(answer)) == set()
    page = sit("zhao").get("/requests").text
    assert re.search(r"“[\w ]+” would fall due later", page)
    assert "%(no)s" in page
    assert chinese_on(page) == set()
    again = sit("zhao").post("/requests/99/approve")
    assert "No request 99 waits for a second person." in again.text


def test_what_a_test_of_a_channel_answers_is_english(
    chinese_on: Chinese, house: House, sit: Sit, monkeypatch: pytest.MonkeyPatch
):
    channels.add_channel(
        house.services,
        OPERATOR,
        "hook",
        kind="webhook",
        name="Hook",
        settings={"url": "https://x.example/", "secret": SECRET},
    )
    monkeypatch.setattr(channels, "_send", lambda *_: Permanent("公网地址必须使用 https://。", code="x"), raising=False)
    page = sit("boss").post("/admin/channels/hook/test", {"person_id": ""})
    assert chinese_on(page.text) == set()


def test_releasing_dispatch_answers_in_english(sit: Sit):
    seat = sit("boss")
    assert seat.post("/admin/dispatch/hold", {"reason": "restore"}).status_code == 303
    answer = seat.post("/admin/dispatch/release", {"sent": "nothing"})
    assert flashed(answer) == "Nothing needs to be sent afterwards. Sending has been resumed."


def test_policies_duties_and_calendars_are_explained_in_english(chinese_on: Chinese, sit: Sit):
    seat = sit("boss")
    listing = seat.get("/rules/policies").text
    policy = re.search(r'class="main" href="(/rules/policies/[\w-]+)"', listing)
    assert policy is not None
    page = seat.get(policy.group(1)).text
    steps = re.search(r"<table.*?</table>", page, re.DOTALL)
    assert steps is not None
    assert chinese_on(steps.group()) == set()
    assert "at the breach" in steps.group()


def test_the_program_still_reads_chinese(house: House, client: TestClient):
    answer = client.get("/api/v1/incidents/2025-0999", headers=house.bearer("zhang"))
    assert answer.json()["detail"] == "没有编号为 2025-0999 的事项。"
    assert (
        client.get("/api/v1/incidents/%25s", headers=house.bearer("zhang")).json()["detail"] == "没有编号为 %s 的事项。"
    )
