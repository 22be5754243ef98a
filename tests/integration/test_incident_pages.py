"""登记事件, 事件, 事件详情 and 待确认 through the real application, with the sessions of real accounts."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from huiying.service import changes, people, roster_admin, sessions
from huiying.store import tables as t
from huiying.store.db import Store
from huiying.web.app import create_app
from huiying.web.pages.incident_actions import ACTIONS
from tests.fakes.desk import Seat, take_seat
from tests.fakes.house import OPERATOR, House, cheap_passwords, house, house_template, run_engine_once
from tests.odd_requests import ODD

__all__ = ["cheap_passwords", "house", "house_template"]

pytestmark = pytest.mark.usefixtures("cheap_passwords")

NEW = {
    "title": "示例路段积水",
    "grade": "emergency:major",
    "criterion": "对照示例市分级标准",
    "unit_id": "office",
    "occurred_at": "2025-06-02T08:00",
    "occurred_at_source": "现场报告",
    "key": "k-1",
}
Sit = Callable[..., Seat]


@pytest.fixture
def client(house: House) -> Iterator[TestClient]:
    with TestClient(create_app(house.services), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def sit(house: House, client: TestClient) -> Sit:
    """A fresh session of a person: sessions fall idle when a test lets hours pass."""
    return lambda person="zhang": take_seat(house.services, client, person)


def register(seat: Seat, **more: Any) -> str:
    answer = seat.post("/incidents", {**NEW, **more})
    assert answer.status_code == 303, answer.text
    place: str = answer.headers["location"]
    return place


def flashed(answer: httpx.Response) -> str:
    """The text that the next page will show once."""
    found = re.search(r'hy_flash="?([^";]+)', answer.headers["set-cookie"])
    assert found
    return str(json.loads(base64.urlsafe_b64decode(found.group(1)))["text"])


def flash_kind(answer: httpx.Response) -> str:
    """How loud the next page will say it."""
    found = re.search(r'hy_flash="?([^";]+)', answer.headers["set-cookie"])
    assert found
    return str(json.loads(base64.urlsafe_b64decode(found.group(1)))["kind"])


def rows(house: House, table: sa.Table) -> int:
    with house.services.store.reading() as tx:
        return int(tx.value(sa.select(sa.func.count()).select_from(table)))


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def values(self) -> dict[str, str]:
        """What stands in the inputs, by name."""
        return {a["name"] or "": a.get("value") or "" for tag, a in self.found if tag == "input" and a.get("name")}


def version_of(page: str) -> str:
    return Elements(page).values()["version"]


# -- registering -------------------------------------------------------------------------------------------------------


def test_an_incident_is_registered_and_the_next_page_names_the_clocks(sit: Sit):
    seat = sit()
    answer = seat.post("/incidents", NEW)
    assert (answer.status_code, answer.headers["location"]) == (303, "/incidents/2025-0001")
    said = flashed(answer)
    assert "2025-0001" in said
    assert "权威信息发布（06-02 13:00 止）" in said
    assert "新闻发布会（06-03 08:00 止）" in said
    page = seat.get("/incidents/2025-0001")
    assert page.status_code == 200
    assert "示例路段积水" in page.text
    assert "剩 4 小时 00 分" in page.text


def test_the_same_form_sent_twice_makes_one_incident(sit: Sit, house: House):
    seat = sit()
    assert register(seat) == register(seat)
    assert rows(house, t.incident) == 1


def test_the_key_of_a_form_is_new_each_time_and_kept_after_an_error(sit: Sit):
    seat = sit()
    one, other = (Elements(seat.get("/incidents/new").text).values()["key"] for _ in range(2))
    assert len(one) >= 32
    assert one != other
    refused = seat.post("/incidents", {**NEW, "key": one, "title": ""})
    assert Elements(refused.text).values()["key"] == one


def test_everything_wrong_is_named_at_once_and_everything_typed_is_kept(sit: Sit, house: House):
    typed = {
        **NEW,
        "title": "",
        "criterion": "",
        "grade": "emergency:major",
        "occurred_at": "昨天",
        "detected_at": "2025-06-02T08:40",
        "detected_at_source": "监测<平台>",
        "transfer_from": "示例省政务公开办",
        "body": "第一行\n第二行",
        "url": "https://example.cn/1",
    }
    answer = sit().post("/incidents", typed)
    assert answer.status_code == 422
    for field in ("title", "criterion", "occurred_at", "transfer_no", "transfer_received"):
        assert f'href="#new-{field}"' in answer.text
        assert f'id="new-{field}"' in answer.text
    kept = Elements(answer.text).values()
    assert kept["occurred_at"] == "昨天"
    assert kept["detected_at"] == "2025-06-02T08:40"
    assert kept["detected_at_source"] == "监测<平台>"
    assert kept["transfer_from"] == "示例省政务公开办"
    assert "第一行\n第二行" in answer.text
    checked = [a.get("value") for tag, a in Elements(answer.text).found if tag == "input" and "checked" in a]
    assert checked == ["emergency:major"]
    assert rows(house, t.incident) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grade": ""}, "请选择级别"),
        ({"grade": "emergency:fire"}, "请选择级别"),
        ({"occurred_at": "2025-06-02T10:00"}, "晚于"),
        ({"first_exposed_at": "2025-06-02T07:00"}, "晚于"),
        ({"occurred_at_exact": "roughly"}, "精确程度"),
        ({"unit_id": ""}, "主办单位"),
        ({"unit_id": "nowhere"}, "没有编号为"),
        ({"title": "示" * 201}, "200"),
        ({"body": "含\x00空"}, "NUL"),
        ({"transfer_no": "1号", "transfer_received": "2025-06-02T08:30", "transfer_due": "2025-06-02T08:00"}, "早于"),
    ],
)
def test_what_cannot_be_registered_is_said_in_chinese(sit: Sit, house: House, change: dict[str, str], words: str):
    answer = sit().post("/incidents", {**NEW, **change})
    assert answer.status_code == 422
    assert words in answer.text
    assert rows(house, t.incident) == 0


def test_an_ungraded_emergency_an_opinion_and_a_transferred_notice(sit: Sit):
    seat = sit()
    page = seat.get(register(seat, grade="emergency:", criterion="")).text
    assert "待定级" in page
    page = seat.get(register(seat, key="k-2", grade="opinion:", criterion="", title="网民咨询政策")).text
    assert "一般政务舆情" in page
    place = register(seat, key="k-3", transfer_no="示办转〔2025〕1号", transfer_received="2025-06-02T08:30", transfer_due="2025-06-03T18:00")  # fmt: skip
    page = seat.get(place).text
    assert "示办转〔2025〕1号" in page
    assert "06-03 18:00" in page


def test_an_approximate_time_is_shown_as_an_estimate(sit: Sit):
    seat = sit()
    page = seat.get(register(seat, occurred_at_exact="about")).text
    assert re.search(r"2025年6月2日 星期一 08:00\s*<span class=\"mark\">估计</span>", page)


def test_the_preview_shows_clocks_clauses_and_reminders_and_writes_nothing(sit: Sit, house: House):
    seat = sit()
    before = rows(house, t.audit)
    part = seat.post("/incidents/preview", NEW, headers={"hx-request": "true"})
    assert part.status_code == 200
    assert "<html" not in part.text
    for words in (
        "权威信息发布",
        "06-02 13:00",
        "文件明定",
        "国办发〔2016〕80号",
        "最紧",
        "06-02 12:30",
        "剩 4 小时 00 分",
        "超时 → ",
        "督查室",
    ):
        assert words in part.text
    first = re.search(r"提醒与升级 (\d+) 次</summary>\s*<ol[^>]*>(.*?)</ol>", part.text, re.DOTALL)
    assert first is not None
    assert int(first.group(1)) == first.group(2).count("<li") > 4, "every message that would be sent, none left out"
    assert rows(house, t.incident) == 0
    assert rows(house, t.audit) == before


def test_the_preview_without_a_script_is_the_form_again(sit: Sit):
    page = sit().post("/incidents/preview", {**NEW, "title": "预览<标题>"})
    assert page.status_code == 200
    assert "<html" in page.text
    assert "06-02 13:00" in page.text
    assert Elements(page.text).values()["title"] == "预览<标题>"


def test_half_a_form_gives_half_a_preview(sit: Sit):
    seat = sit()
    empty = seat.post("/incidents/preview", {"title": "x"}, headers={"hx-request": "true"})
    assert "请先选定级别" in empty.text
    wrong = seat.post("/incidents/preview", {**NEW, "occurred_at": "xx"}, headers={"hx-request": "true"})
    assert wrong.status_code == 200
    assert "不是时间" in wrong.text
    assert "权威信息发布" in wrong.text


def test_a_likely_duplicate_is_hinted_at_for_three_days(sit: Sit, house: House):
    register(sit(), title="示例市某小区自来水发黄", url="https://example.cn/p/9?spm=1")
    ask = {**NEW, "title": "网传示例市某小区自来水发黄"}
    hint = sit().post("/incidents/preview", ask, headers={"hx-request": "true"}).text
    assert "2025-0001" in hint
    assert "标题相近" in hint
    same = {**NEW, "title": "水的颜色", "url": "https://www.example.cn/p/9"}
    assert "链接相同" in sit().post("/incidents/preview", same, headers={"hx-request": "true"}).text
    house.clock.advance(timedelta(hours=73))
    assert "2025-0001" not in sit().post("/incidents/preview", ask, headers={"hx-request": "true"}).text


def test_nobody_is_hinted_at_what_another_unit_keeps(sit: Sit, house: House):
    clerk(house, "health-clerk", "health", "duty")
    register(sit(), title="示例市某小区自来水发黄", unit_id="water")
    ask = {**NEW, "title": "示例市某小区自来水发黄", "unit_id": "health"}
    assert "2025-0001" not in sit("health-clerk").post("/incidents/preview", ask, headers={"hx-request": "true"}).text


def clerk(house: House, person_id: str, unit_id: str, role: str) -> None:
    people.add_person(house.services, OPERATOR, person_id, name=f"{person_id}同志", unit_id=unit_id)
    roster_admin.grant_access(house.services, OPERATOR, person_id, role, unit_id)


def test_only_units_of_ones_own_are_offered(sit: Sit, house: House):
    clerk(house, "water-clerk", "water", "duty")
    page = sit("water-clerk").get("/incidents/new").text
    assert 'value="water"' in page
    assert 'value="health"' not in page
    refused = sit("water-clerk").post("/incidents", {**NEW, "unit_id": "health"})
    assert refused.status_code == 403
    assert "内容未登记" in refused.text
    assert Elements(refused.text).values()["title"] == NEW["title"]


# -- every form --------------------------------------------------------------------------------------------------------

REASON = {"reason": "核对后的理由"}
RELEASE = {
    "kind": "release",
    "content_kind": "original",
    "published_at": "2025-06-02T09:00",
    "url": "https://example.cn/1",
}


def scene(house: House, sit: Sit, name: str) -> str:
    """An incident in which the action of that name has something to do."""
    place = register(sit())
    if name in {"review", "late-exposure"}:
        assert sit().post(f"{place}/release", RELEASE).status_code == 303
    if name == "task-done":
        task = {"unit_id": "water", "name": "提供数据", "due_at": "2025-06-02T12:00", "key": "t"}
        assert sit().post(f"{place}/task", task).status_code == 303
    if name == "feedback":
        notice = {"notice_no": "1号", "received_at": "2025-06-02T09:00", "due_at": "2025-06-03T09:00", "key": "n"}
        assert sit().post(f"{place}/transfer", notice).status_code == 303
    if name == "attribution":
        house.clock.advance(timedelta(hours=4, minutes=1))
        run_engine_once(house.services)
    if name == "acknowledge":
        run_engine_once(house.services)
    if name == "unmerge":
        register(sit(), key="k-9", title="主件")
        assert sit().post(f"{place}/merge", {"into": "2025-0002", **REASON}).status_code == 303
    if name == "close":
        held = {
            "kind": "press_conference",
            "content_kind": "original",
            "published_at": "2025-06-02T09:00",
            "text": "实录",
        }
        assert sit().post(f"{place}/release", held).status_code == 303
    if name == "merge":
        register(sit(), key="k-9", title="主件")
    return place


#: name: (who, what is typed, what the next page says)
DONE: dict[str, tuple[str, dict[str, str], str]] = {
    "acknowledge": ("zhang", {"note": "已知悉"}, "已签收"),
    "release": ("zhang", {**RELEASE, "channel": "政府网站", "leader_voice": "1", "checked_by": "李审"}, "已停止：权威信息发布"),
    "review": ("zhao", {"publication": "1", "review": "accepted", "substantive": "yes", "note": "属实"}, "已核验发布记录 1"),
    "stage": ("zhang", {"stage": "研判"}, "已进入「研判」阶段"),
    "grade": ("zhang", {"grade": "emergency:extra_major", "basis": "correction", "criterion": "伤亡数更正"}, "已定级：特别重大"),
    "correct": ("zhang", {"kind": "occurred_at", "value": "2025-06-02T07:30", **REASON}, "已更正事发时间"),
    "details": ("zhang", {"title": "新标题", "body": "新说明", "notice_title": "", "category": "内涝", **REASON}, "已修改内容"),
    "task": ("zhang", {"unit_id": "water", "name": "提供数据", "due_at": "2025-06-02T12:00"}, "已交办：提供数据"),
    "task-done": ("zhang", {"task": "1", "at": "2025-06-02T09:00"}, "已登记任务完成"),
    "transfer": ("zhang", {"notice_no": "1号", "received_at": "2025-06-02T08:50"}, "不设时钟"),
    "feedback": ("zhang", {"transfer": "1", "at": "2025-06-02T09:00"}, "已登记向上级反馈"),
    "continuous": ("zhang", {"every_hours": "6"}, "6 小时"),
    "reassign": ("zhang", {"unit_id": "water", **REASON}, "示例市水务局"),
    "attribution": ("zhao", {"clock_key": "cn-gbf-2016-80:authoritative_release", "attribution": "late_response", "note": "处置迟缓"}, "处置超时"),
    "replan": ("zhao", {"clock_key": "cn-gbf-2016-80:authoritative_release", "policy_id": "response-48h", **REASON}, "已更换督办方案"),
    "merge": ("zhang", {"into": "2025-0002", **REASON}, "已并入 2025-0002，主件的时钟已按最早的时间重新计算。正在计时："),
    "unmerge": ("zhang", REASON, "已拆出"),
    "close": ("zhang", REASON, "已办结归档"),
}  # fmt: skip
#: Actions that always need somebody else, and the one that needs an ended incident.
TWO_PERSONS = {
    "void": REASON,
    "waive": REASON,
    "hand-over": REASON,
    "late-exposure": {"confirmed": "yes", **REASON},
}


def test_no_action_is_left_out_of_these_tests():
    assert set(ACTIONS) == set(DONE) | set(TWO_PERSONS) | {"reopen"}


@pytest.mark.parametrize("name", DONE)
def test_a_form_does_its_work_and_leads_back(house: House, sit: Sit, name: str):
    place = scene(house, sit, name)
    person, typed, words = DONE[name]
    page = sit(person).get(place).text
    assert f'action="{place}/{name}"' in page
    answer = sit(person).post(
        f"{place}/{name}", {**typed, "version": version_of(page) if ACTIONS[name].decisive else ""}
    )
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"] == {"merge": "/incidents/2025-0002"}.get(name, place)
    assert words in flashed(answer)
    assert sit(person).get(place).status_code == 200


def test_an_ended_incident_is_reopened(house: House, sit: Sit):
    place = scene(house, sit, "close")
    sit().post(f"{place}/close", REASON)
    page = sit().get(place).text
    assert f'action="{place}/release"' not in page
    assert f'action="{place}/reopen"' in page
    answer = sit().post(f"{place}/reopen", {**REASON, "occurred_at": "2025-06-02T08:55"})
    assert answer.status_code == 303
    assert "第 2 轮" in flashed(answer)


@pytest.mark.parametrize("name", TWO_PERSONS)
def test_what_needs_a_second_person_says_so_before_and_gives_its_number_after(house: House, sit: Sit, name: str):
    place = register(sit(), first_exposed_at="2025-06-02T08:30")
    page = sit().get(place).text
    assert ACTIONS[name].second
    assert ACTIONS[name].second in page
    answer = sit().post(f"{place}/{name}", TWO_PERSONS[name])
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{place}#requests"
    assert "待复核申请 1" in flashed(answer)
    page = sit().get(place).text
    assert 'id="request-1"' in page
    assert "/requests/1/approve" not in page  # one's own
    approved = sit("wang").post("/requests/1/approve", {"note": "同意", "from": "incident"})
    assert (approved.status_code, approved.headers["location"]) == (303, place)


@pytest.mark.parametrize("name", [name for name in ACTIONS if name not in {"acknowledge", "stage", "continuous"}])
def test_an_empty_form_comes_back_open_with_what_is_wrong(house: House, sit: Sit, name: str):
    place = scene(house, sit, name)
    person = DONE[name][0] if name in DONE else "zhang"
    if name == "reopen":
        scene_end(sit, place)
    if name == "late-exposure":
        sit().post(f"{place}/correct", {"kind": "first_exposed_at", "value": "2025-06-02T08:30", **REASON})
    answer = sit(person).post(f"{place}/{name}", {"note": "还在<这里>", "channel": "还在<这里>"})
    assert answer.status_code == 422, answer.text
    assert re.search(rf'id="act-{name}"[^>]* open', answer.text)
    links = re.findall(rf'href="#({name}-[a-z_]+)"', answer.text)
    assert links
    assert all(f'id="{link}"' in answer.text for link in links)
    if name in {"review", "attribution", "release"}:
        assert "还在&lt;这里&gt;" in answer.text


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_the_address_of_a_form_opens_it(house: House, sit: Sit, name: str):
    place = register(sit())
    answer = sit().get(f"{place}/{name}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{place}?open={name}#act-{name}")
    if f'id="act-{name}"' in (page := sit().get(f"{place}?open={name}").text):
        assert re.search(rf'id="act-{name}"[^>]* open', page)
        assert len(re.findall(r'<details class="act[^>]* open', page)) == 1


def test_a_refused_registration_still_belongs_to_registering(sit: Sit):
    refused = sit().post("/incidents", {**NEW, "title": ""}).text
    assert re.findall(r'<a href="([^"]+)" aria-current="page"', refused) == ["/incidents/new"]


def scene_end(sit: Sit, place: str) -> None:
    sit().post(f"{place}/void", REASON)
    assert sit("wang").post("/requests/1/approve", {}).status_code == 303


@pytest.mark.parametrize("name", ACTIONS)
def test_without_the_permission_or_the_token_nothing_is_sent(sit: Sit, house: House, name: str):
    place = register(sit())
    before = rows(house, t.history)
    assert sit("li").post(f"{place}/{name}", REASON).status_code == 403
    assert sit("boss").post(f"{place}/{name}", REASON).status_code == 403
    assert sit("zhao").post(f"{place}/{name}", {**REASON, "csrf": "other"}).status_code == 403
    foreign = sit("zhao").post(f"{place}/{name}", REASON, headers={"sec-fetch-site": "cross-site"})
    assert foreign.status_code == 403
    assert rows(house, t.history) == before


def test_registering_and_previewing_need_the_token_and_the_permission(sit: Sit, house: House):
    for path in ("/incidents", "/incidents/preview"):
        assert sit().post(path, {**NEW, "csrf": ""}).status_code == 403
        assert sit("li").post(path, NEW).status_code == 403
    assert sit("li").get("/incidents/new").status_code == 403
    assert rows(house, t.incident) == 0


def test_only_what_a_role_may_do_is_offered(sit: Sit):
    place = register(sit())
    assert f'action="{place}/' not in sit("li").get(place).text
    for_duty = sit().get(place).text
    for name in ("release", "grade", "correct", "merge", "void"):
        assert f'action="{place}/{name}"' in for_duty
    for name in ("replan", "unmerge", "reopen", "task-done", "feedback"):
        assert f'action="{place}/{name}"' not in for_duty
    assert f'action="{place}/replan"' in sit("zhao").get(place).text


def test_another_unit_sees_nothing_and_a_co_organiser_does_not_decide(sit: Sit, house: House):
    clerk(house, "health-clerk", "health", "duty")
    place = register(sit(), unit_id="water")
    assert sit("health-clerk").get(place).status_code == 404
    assert place not in sit("health-clerk").get("/incidents").text
    helped = register(sit(), key="k-2", unit_id="water", co_units="health")
    page = sit("health-clerk").get(helped).text
    assert f'action="{helped}/release"' in page
    assert f'action="{helped}/void"' not in page
    assert sit("health-clerk").post(f"{helped}/void", REASON).status_code == 403


# -- content kinds, conflicts, second persons --------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["work_dynamics_repost", "news_report", "commentary"])
def test_a_repost_is_recorded_explained_and_stops_nothing(sit: Sit, content: str):
    place = register(sit())
    assert "不得以转载工作动态、新闻报道、评论文章等充当回应内容" in sit().get(place).text
    answer = sit().post(f"{place}/release", {**RELEASE, "content_kind": content})
    assert "不能充当回应" in flashed(answer)
    assert "剩 4 小时 00 分" in sit().get(place).text


def test_a_release_without_evidence_or_with_a_strange_address_is_refused(sit: Sit, house: House):
    place = register(sit())
    for typed in ({"url": ""}, {"url": "javascript:alert(1)"}, {"url": "ftp://example.cn"}):
        answer = sit().post(f"{place}/release", {**RELEASE, **typed})
        assert answer.status_code == 422
        assert 'href="#release-url"' in answer.text
    assert rows(house, t.publication) == 0


def test_a_release_sent_twice_is_one(sit: Sit, house: House):
    place = register(sit())
    seat = sit()
    for _ in range(2):
        assert seat.post(f"{place}/release", {**RELEASE, "key": "r-1"}).status_code == 303
    assert rows(house, t.publication) == 1


def test_an_on_time_release_entered_late_says_that_it_waits_for_a_second_person(sit: Sit, house: House):
    place = register(sit())
    house.clock.advance(timedelta(hours=5))  # 14:00; the limit was 13:00
    answer = sit().post(f"{place}/release", {**RELEASE, "published_at": "2025-06-02T12:30", "key": "k-6"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{place}#requests")
    said = flashed(answer)
    assert "已停止：权威信息发布" in said
    assert "待第二人确认（申请 1）" in said
    assert flash_kind(answer) == "warn"
    late = sit().post(f"{place}/release", {**RELEASE, "published_at": "2025-06-02T13:30", "key": "k-7"})
    assert flash_kind(late) == "done"


def test_due_times_of_the_next_year_are_shown_with_it(sit: Sit, house: House):
    house.clock.set(datetime(2025, 12, 31, 23, 30, tzinfo=ZoneInfo("Asia/Shanghai")))
    answer = sit().post("/incidents", {**NEW, "occurred_at": "2025-12-31T23:00"})
    assert "权威信息发布（2026-01-01 04:00 止）" in flashed(answer)
    page = sit().get(answer.headers["location"]).text
    assert re.search(r'<b class="num nowrap">2026-01-01 04:00</b>', page)
    assert "12-31 23:00 → 2026-01-01 04:00" in page
    assert "2025-12-31 23:00" not in re.sub(r"title=.*?>", "", page)


def test_duties_without_a_figure_name_their_documents(sit: Sit):
    page = sit().get(register(sit())).text
    assert re.search(r"<li>持续发布权威信息 · [^<]*国办发〔2016〕61号", page)
    assert re.search(r"<li>持续发布权威信息 · [^<]*国办发〔2016〕80号", page)


def test_the_course_of_an_incident_names_what_was_done_on_the_page_and_beside_the_queue(sit: Sit):
    place = register(sit())
    sit().post(f"{place}/release", {**RELEASE, "channel": "政府网站"})
    sit().post(f"{place}/stage", {"stage": "研判"})
    sit().post(f"{place}/continuous", {"every_hours": "6"})
    sit().post(f"{place}/reassign", {"unit_id": "water", **REASON})
    history = sit().get(place).text.partition('id="history"')[2]
    told = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", history))
    said = (
        "登记发布：权威信息发布 · 本机关权威信息 · 发布于 06-02 09:00 · 政府网站 · https://example.cn/1",
        "进入阶段：研判", "持续发布间隔：每 6 小时", "变更主办单位：示例市水务局 · 核对后的理由",
    )  # fmt: skip
    assert [line for line in said if line not in told] == []
    assert 'href="https://example.cn/1"' in history
    beside = sit().get(f"/desk/panel/{place.rpartition('/')[2]}").text
    assert "进入阶段：研判" in beside
    assert "变更主办单位：示例市水务局" in beside


def test_an_auditor_reads_the_strict_line_first_with_its_own_verdict(sit: Sit, house: House):
    place = register(sit(), first_exposed_at="2025-06-02T08:30", detected_at="2025-06-02T08:50", late_exposure="1")
    assert sit("wang").post("/requests/1/approve", {}).status_code == 303
    house.clock.advance(timedelta(hours=4, minutes=10))  # 13:10: over by the occurrence, not yet by the exposure
    clocks = sit("li").get(place).text.partition('id="clocks"')[2].partition("</table>")[0]
    assert clocks.index("严格口径在前") < clocks.index(">状态<")
    first = clocks.partition("<tbody>")[2].partition("</td>")[0]
    assert re.search(
        r'<b><span class="nowrap">按事发 <span class="num">06-02 13:00</span>.*已超时 超 10 分 00 秒.*</b>',
        first,
        re.DOTALL,
    )
    assert "按首发" in first
    assert "计时中" in clocks
    beside = sit("li").get(f"/desk/panel/{place.rpartition('/')[2]}").text
    assert re.search(r"<b>.*按事发.*06-02 13:00.*已超时 超 10 分", beside)
    for word in ("按事发", "按知悉"):  # once for each of the two limits; from 按首发 they run
        assert beside.count(word) == 2
    plain = sit().get(place).text.partition('id="clocks"')[2].partition("</table>")[0]
    assert "严格口径在前" not in plain
    assert plain.index(">截止<") < plain.index("其他口径")
    beside = sit().get(f"/desk/panel/{place.rpartition('/')[2]}").text
    assert "按事发 06-02 13:00" in beside
    assert "按事发 06-03 08:00" in beside
    assert "已超时 超 10 分" not in beside


def test_a_form_from_before_somebody_elses_change_is_not_carried_out(sit: Sit):
    place = register(sit())
    seen = version_of(sit().get(place).text)
    assert sit("zhao").post(f"{place}/correct", {"kind": "occurred_at", "value": "2025-06-02T07:00", **REASON}).status_code == 303  # fmt: skip
    typed = {"grade": "emergency:general", "basis": "downgrade", "criterion": "我的依据", "version": seen}
    answer = sit().post(f"{place}/grade", typed)
    assert answer.status_code == 409
    assert "您打开页面之后事项已有变更" in answer.text
    assert "我的依据" in answer.text
    assert "06-02 12:00" in answer.text  # the due time as it stands now
    assert version_of(answer.text) != seen


def test_a_request_shows_before_and_after_and_is_decided_on_the_list(sit: Sit):
    place = register(sit())
    typed = {"kind": "occurred_at", "value": "2025-06-02T08:50", **REASON}
    assert "待复核申请 1" in flashed(sit().post(f"{place}/correct", typed))
    page = sit("wang").get("/requests").text
    assert "核对后的理由" in page
    assert re.search(r"06-02 13:00.*06-02 13:50", page, re.DOTALL)
    assert "06-02 13:50" not in re.sub(
        r'(?s)<section class="panel" id="requests".*?</section>', "", sit().get(place).text
    )
    done = sit("wang").post("/requests/1/approve", {"note": "已核对"})
    assert (done.status_code, done.headers["location"]) == (303, "/requests")
    assert "06-02 13:50" in sit().get(place).text
    again = sit("wang").post("/requests/1/approve", {})
    assert again.status_code == 409
    assert "已经办理" in again.text


def test_a_request_is_turned_down_or_taken_back(sit: Sit):
    place = register(sit())
    sit().post(f"{place}/void", REASON)
    sit().post(f"{place}/waive", REASON)
    assert "未同意" in flashed(sit("wang").post("/requests/1/reject", {"note": "须回应"}))
    assert sit("zhao").post("/requests/2/withdraw", {}).status_code == 403
    assert "已撤回" in flashed(sit().post("/requests/2/withdraw", {}))
    assert "没有待确认的变更" in sit("wang").get("/requests").text


def test_who_may_not_approve_cannot(sit: Sit):
    place = register(sit())
    sit().post(f"{place}/void", REASON)
    for person in ("zhang", "li", "boss"):
        assert sit(person).post("/requests/1/approve", {}).status_code == 403
    assert sit("wang").post("/requests/1/approve", {"csrf": ""}).status_code == 403
    assert sit("wang").post("/requests/77/approve", {}).status_code == 404
    assert 'id="request-1"' in sit("wang").get("/requests").text


def test_an_applicant_who_may_approve_does_not_approve_their_own(sit: Sit):
    place = register(sit("zhao"))
    sit("zhao").post(f"{place}/void", REASON)
    page = sit("zhao").get("/requests").text
    assert "/requests/1/approve" not in page
    assert "/requests/1/withdraw" in page
    assert sit("zhao").post("/requests/1/approve", {}).status_code == 403


def test_what_can_no_longer_be_carried_out_is_said_and_not_offered(sit: Sit, house: House):
    place = register(sit())
    sit().post(f"{place}/void", REASON)
    sit().post(f"{place}/hand-over", REASON)
    assert sit("wang").post("/requests/1/approve", {}).status_code == 303
    assert "没有待确认的变更" in sit("wang").get("/requests").text
    lapsed = sit().get(place).text
    assert "已失效" in lapsed
    assert "事项已结束，申请已无从办理，自动失效。" in lapsed
    with house.services.store.transaction("test") as tx:  # as a former version of the program left it
        tx.run(t.change_request.update().where(t.change_request.c.id == 2).values(state="pending"))
    page = sit("wang").get("/requests").text
    assert "按现在的情形已不能执行" in page
    assert "/requests/2/approve" in page  # the form's own address; its button is not there
    assert ">同意</button>" not in page
    assert "不同意</button>" in page


@pytest.mark.parametrize("name", ODD)
def test_an_odd_request_is_shown_as_such_beside_the_others(sit: Sit, house: House, name: str):
    place = register(sit())
    sit().post(f"{place}/void", REASON)
    with house.services.store.transaction("test") as tx:
        row = tx.one(sa.select(t.incident))
        odd = changes.keep_request(tx, row, *ODD[name], "person:zhang", ["第二人复核"])
    sit().post(f"{place}/waive", REASON)
    for address in ("/requests", place):
        answer = sit("wang").get(address)
        assert answer.status_code == 200
        cards = re.findall(r'(?s)<article class="request" id="request-(\d+)">(.*?)</article>', answer.text)
        assert [number for number, _ in cards] == ["1", str(odd), "3"]
        for number, card in cards:
            assert (">同意</button>" in card) == (number != str(odd))
            assert ("同意后，时钟的变化" in card) == (number != str(odd))
            assert ">不同意</button>" in card
    assert ">撤回申请</button>" in sit().get("/requests").text
    assert "未同意" in flashed(sit("wang").post(f"/requests/{odd}/reject", {"note": "内容有误"}))


def test_an_odd_request_says_in_either_language_what_can_be_done(sit: Sit, house: House):
    place = register(sit())
    with house.services.store.transaction("test") as tx:
        odd = changes.keep_request(tx, tx.one(sa.select(t.incident)), "grade", {}, "person:zhang", ["第二人复核"])
    seat = sit("wang")
    for address in ("/requests", place):
        assert f"系统读取或试算申请 {odd} 时出错，此申请不能同意。申请原样保留" in seat.get(address).text
    reader = sessions.look(house.services, seat.cookie)
    assert reader is not None
    sessions.set_language(house.services, reader, "en")
    page = seat.get("/requests").text
    assert f"Request {odd} could not be read or tried out, so it cannot be agreed to." in page
    assert "按现在的情形已不能执行" not in page
    assert "As things stand" not in page


def test_looking_at_a_request_leaves_everything_as_it_is(sit: Sit, house: House):
    place = register(sit())
    sit().post(f"{place}/void", REASON)
    before = [rows(house, table) for table in (t.history, t.audit, t.clock_event, t.timed_action)]
    sit("wang").get("/requests")
    sit("wang").get(place)
    assert [rows(house, table) for table in (t.history, t.audit, t.clock_event, t.timed_action)] == before


def test_the_second_person_reads_what_they_approve(sit: Sit, house: House):
    place = register(sit())
    sit().post(
        f"{place}/correct", {"kind": "occurred_at", "value": "2025-06-02T08:50", "value_source": "监控", **REASON}
    )
    house.clock.advance(timedelta(hours=5))
    published = {
        **RELEASE,
        "published_at": "2025-06-02T11:00",
        "url": "https://www.example.cn/tb?a=1&b=2",
        "key": "k-5",
    }
    sit().post(f"{place}/release", published)
    for page in (sit("wang").get("/requests").text, sit("wang").get(place).text):
        assert re.search(r"<dt>事发时间</dt><dd>.*2025年6月2日 星期一 08:00.*→.*2025年6月2日 星期一 08:50", page)
        assert re.search(r"<dt>来源</dt><dd>.*现场报告.*→.*监控", page)
        assert 'href="https://www.example.cn/tb?a=1&amp;b=2"' in page
        assert f'<a href="{place}#publication-1">1 · 权威信息发布</a>' in page
        assert re.search(r"<dt>内容类型</dt><dd><b>本机关权威信息", page)


def test_pages_with_requests_take_no_turn_to_write(sit: Sit, house: House, monkeypatch: pytest.MonkeyPatch):
    place = register(sit())
    for name in ("void", "waive", "hand-over"):
        assert sit().post(f"{place}/{name}", REASON).status_code == 303
    seat = sit("wang")
    assert seat.get("/requests").text.count("同意后，时钟的变化") == 3
    writes: list[str] = []
    begin = Store.transaction

    def counted(store: Store, actor: str, *more: str) -> Any:
        writes.append(actor)
        return begin(store, actor, *more)

    monkeypatch.setattr(Store, "transaction", counted)
    for page in ("/requests", place):
        assert seat.get(page).status_code == 200
    own = [actor for actor in writes if actor != "system:rehearsal"]  # that one fills the copy in memory
    assert own == []


# -- the list ----------------------------------------------------------------------------------------------------------


def test_the_list_filters_by_state_kind_severity_unit_and_text(sit: Sit):
    register(sit())
    register(sit(), key="k-2", grade="opinion:", criterion="", title="网民咨询政策", unit_id="water")
    register(sit(), key="k-3", grade="emergency:", criterion="", title="不明气味")
    for query, wanted in (
        ("", {1, 2, 3}),
        ("kind=opinion", {2}),
        ("severity=major", {1}),
        ("severity=ungraded", {3}),
        ("unit=water", {2}),
        ("text=气味", {3}),
        ("text=2025-0002", {2}),
        ("state=open", {1, 2, 3}),
        ("state=closed", set()),
        ("kind=opinion&unit=office", set()),
        ("text=%00", {1, 2, 3}),
        ("severity=%3Cscript%3E", set()),
    ):
        page = sit().get(f"/incidents?{query}")
        assert page.status_code == 200
        assert {int(no) for no in re.findall(r'href="/incidents/2025-(\d{4})"', page.text)} == wanted, query
    assert "没有符合条件的事件" in sit().get("/incidents?state=closed").text


def test_the_list_is_paged_and_keeps_its_filters(sit: Sit, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huiying.web.pages.incident_list._PAGE", 2)
    for number in range(3):
        register(sit(), key=f"k-{number}")
    first = sit().get("/incidents?kind=emergency").text
    assert "2025-0003" in first
    assert "2025-0001" not in first
    following = next(a["href"] for tag, a in Elements(first).found if tag == "a" and a.get("rel") == "next")
    assert following
    second = sit().get(following).text
    assert "2025-0001" in second
    assert "kind=emergency" in following


def test_an_empty_list_says_so(sit: Sit):
    assert "还没有登记过事件" in sit().get("/incidents").text
    assert "没有待确认的变更" in sit("wang").get("/requests").text


# -- the drawing, hostile texts, languages -----------------------------------------------------------------------------


def test_the_timeline_has_words_and_no_styles(sit: Sit, house: House):
    place = register(sit())
    run_engine_once(house.services)
    page = sit().get(place).text
    drawing = page[page.index("<svg") : page.index("</svg>")]
    assert "<title" in drawing
    assert "<desc" in drawing
    assert "现在 06-02 09:00" in drawing
    assert drawing.count('class="tl-name"') == 2
    assert "tl-tick planned" in drawing
    assert not [a for _tag, a in Elements(page).found if "style" in a]


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "[x](javascript:alert(1))",
    "</textarea></title></desc><script>alert(2)</script>",
    "<!-- --><a href=javascript:alert(1)>x</a>",
    "＜script＞ \u202eevil\u202c \u200b零宽\u2066",
    "😀" * 50,
    "长" * 200,
    "&lt;b&gt; &amp; %0d%0aSet-Cookie: x=1",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_texts_on_every_screen(sit: Sit, house: House, text: str):
    place = register(sit(), title=text, body=text * 3, url=text, platform=text, occurred_at_source=text[:200], category=text[:40], notice_title=text[:60])  # fmt: skip
    sit().post(f"{place}/release", {**RELEASE, "title": text, "text": text, "channel": text[:120], "checked_by": text})
    sit().post(f"{place}/task", {"unit_id": "water", "name": text[:80], "due_at": "2025-06-02T12:00"})
    sit().post(f"{place}/stage", {"stage": text[:40]})
    sit().post(f"{place}/void", {"reason": text})
    sit().post(f"{place}/acknowledge", {"note": text})
    pages = [
        sit().get(place),
        sit("wang").get(place),
        sit().get("/incidents"),
        sit().get(f"/incidents?{httpx.QueryParams(text=text[:200])}"),
        sit("wang").get("/requests"),
        sit().post("/incidents/preview", {**NEW, "title": text, "body": text}),
        sit().post("/incidents", {**NEW, "title": text, "body": text, "occurred_at": text, "key": "k-2"}),
        sit().post(f"{place}/details", {"title": text, "body": text}),
    ]
    for page in pages:
        assert page.status_code in {200, 422}, page.text
        found = Elements(page.text).found
        scripts = [a for tag, a in found if tag == "script"]
        assert all((a.get("src") or "").startswith("/static/") for a in scripts)
        assert not [name for _tag, a in found for name in a if name.startswith("on")]
        links = [a.get("href") or "" for tag, a in found if tag == "a"]
        assert not [link for link in links if link.lower().startswith(("javascript:", "data:", "vbscript:"))]
        assert not [tag for tag, a in found if tag == "img"]
        assert "set-cookie: x" not in str(page.headers).lower()


def test_a_link_goes_to_web_addresses_only_and_tells_nobody_where_from(sit: Sit):
    place = register(sit(), url="https://example.cn/1")
    links = [
        a for tag, a in Elements(sit().get(place).text).found if tag == "a" and a.get("href") == "https://example.cn/1"
    ]
    assert [link["rel"] for link in links] == ["noreferrer noopener"]
    plain = register(sit(), key="k-2", url="javascript:alert(1)")
    page = sit().get(plain).text
    assert "javascript:alert(1)" in page
    assert not [a for tag, a in Elements(page).found if (a.get("href") or "").startswith("javascript")]


def test_a_page_hears_what_has_been_done_since_it_was_made(sit: Sit, house: House):
    place = register(sit())
    run_engine_once(house.services)
    page = sit("zhao").get(place).text
    asked = re.search(rf'hx-get="({place}/news\?seen=\d+&amp;auto=1)" hx-trigger="every 15s"', page)
    assert asked is not None
    address = asked.group(1).replace("&amp;", "&")
    assert sit("zhao").get(address).status_code == 204
    assert sit().post(f"{place}/acknowledge", {}).status_code == 303
    told = sit("zhao").get(address)
    assert told.status_code == 200
    assert "签收 张一" in told.text
    assert f'href="{place}"' in told.text
    assert sit("zhao").get("/incidents/2099-0001/news?seen=0").status_code == 404


def test_an_unknown_incident_is_a_page_that_says_so(sit: Sit):
    answer = sit().get("/incidents/2025-0099")
    assert answer.status_code == 404
    assert "没有编号为 2025-0099 的事项" in answer.text


def test_the_administrator_reads_no_content(sit: Sit):
    place = register(sit())
    for path in (place, "/incidents", "/requests"):
        assert sit("boss").get(path).status_code == 403


def chinese_on(page: str) -> set[str]:
    """The Chinese words of a page that are not the names of this house."""
    rest = re.sub(r'<button[^>]*lang="zh-CN">中文</button>', "", page)
    return set(re.findall(r"[\u4e00-\u9fff]+", rest)) - {
        "示例市政务公开办",
        "示例市水务局",
        "示例市卫健委",
        "张一",
        "回应",
    }


def test_in_english_the_forms_the_flash_and_the_errors_are_english(sit: Sit):
    seat = sit()
    seat.post("/language", {"language": "en", "to": "/incidents"})
    for path in ("/incidents/new", "/incidents", "/requests"):
        page = seat.get(path)
        assert '<html lang="en">' in page.text
        assert chinese_on(page.text) == set(), path
    refused = seat.post("/incidents", {"title": "Flooded road", "occurred_at": "soon", "grade": ""})
    assert chinese_on(refused.text) == set()
    answer = seat.post("/incidents", {**NEW, "title": "Flooded road"})
    assert chinese_on(flashed(answer)) == set()
    assert "clocks started (2)" in flashed(answer)
    shown = seat.get("/incidents/2025-0001").text
    for words in ("Timeline", "Press conference", "Stipulated", "Record a release, response or press conference"):
        assert words in shown
