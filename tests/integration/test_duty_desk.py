"""The main screen as a browser meets it: order, counts, filters, acknowledging by form, two languages, refusals."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from huiying.domain.errors import NotFound
from huiying.domain.signing import Stage
from huiying.service import desk, incident_desk, queries
from huiying.service.desk import Filters
from huiying.store import tables as t
from huiying.web.app import create_app
from huiying.web.pages import page_routes
from huiying.web.pages.policy import policies_of
from huiying.web.pages.shell import CSP
from huiying.web.pages.words import CATALOGUE
from tests.fakes.desk import Seat, take_seat
from tests.fakes.house import House, acting, cheap_passwords, house, house_template, run_engine_once
from tests.tools import i18n_check

__all__ = ["cheap_passwords", "house", "house_template"]

pytestmark = pytest.mark.usefixtures("cheap_passwords")

HOSTILE = "<img src=x onerror=alert(1)>{{7*7}}%(x)s\"'"


@pytest.fixture
def client(house: House) -> Iterator[TestClient]:
    with TestClient(create_app(house.services), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def zhang(house: House, client: TestClient) -> Seat:
    return take_seat(house.services, client, "zhang")


def incident(house: House, number: int, unit: str = "office", **more: Any) -> int:
    row = {
        "no": f"2025-{number:04d}", "title": f"示例事件{number}", "kind": "emergency", "severity": "major", "state": "graded",
        "unit_id": unit, "registered_at": house.clock(), "registered_by": "person:li", **more,
    }  # fmt: skip
    with house.services.store.transaction("test") as tx:
        return int(tx.run(t.incident.insert().values(**row).returning(t.incident.c.id)).scalar_one())


def clock(house: House, incident_id: int, left: timedelta, rule: str = "authoritative_release", **more: Any) -> int:
    due = house.clock() + left
    row = {
        "incident_id": incident_id, "cycle": 1, "key": f"pack:{incident_id}:{rule}:{left}", "origin": "rule", "rule_id": rule,
        "name": {"authoritative_release": "权威信息发布", "press_conference": "新闻发布会"}[rule], "status": "stipulated",
        "anchor_field": "occurred_at", "started_at": due - timedelta(hours=5), "due_at": due, "state": "running",
        "binding": True, **more,
    }  # fmt: skip
    with house.services.store.transaction("test") as tx:
        return int(tx.run(t.clock.insert().values(**row).returning(t.clock.c.id)).scalar_one())


def numbers(html: str) -> list[str]:
    """The incidents of the queue from top to bottom."""
    return re.findall(r'<tr data-urgency="\w+" data-no="([\w-]+)"', html)


def counts(html: str) -> list[int]:
    return [int(number) for number in re.findall(r'<span class="count">(\d+)</span>', html)]


def rows(house: House, table: sa.Table) -> int:
    with house.services.store.reading() as tx:
        return int(tx.value(sa.select(sa.func.count()).select_from(table)))


# -- the queue ---------------------------------------------------------------------------------------------------------


def test_the_most_overdue_stands_first_and_the_tiles_add_up(house: House, zhang: Seat):
    for number, left in enumerate((9.0, -2.0, 0.5, -0.5, 3.0, 30.0), 1):
        clock(house, incident(house, number), timedelta(hours=left))
    clock(house, incident(house, 7), timedelta(hours=1), state="satisfied")
    clock(house, incident(house, 8), timedelta(hours=1), binding=False)
    html = zhang.get("/").text
    assert numbers(html) == [f"2025-{n:04d}" for n in (2, 4, 3, 5, 1, 6)]
    assert counts(html) == [2, 1, 1, 2]
    assert 'data-active="6"' in html
    assert "超 2 小时 00 分" in html


def test_an_acknowledgement_moves_nothing_that_is_more_urgent_down(house: House, zhang: Seat):
    first = clock(house, incident(house, 1), timedelta(hours=-2))
    clock(house, incident(house, 2), timedelta(hours=-1))
    alike = clock(house, incident(house, 3), timedelta(hours=9))
    clock(house, incident(house, 4), timedelta(hours=9))
    for number in (first, alike):
        assert zhang.post("/acknowledge", {"only": number}).status_code == 303
    wanted = ["2025-0001", "2025-0002", "2025-0004", "2025-0003"]
    assert numbers(zhang.get("/").text) == wanted, "of those due at once, what nobody has acknowledged"
    house.clock.advance(timedelta(hours=13))
    seat = take_seat(house.services, zhang.client, "zhang")
    assert numbers(seat.get("/").text)[2:] == ["2025-0003", "2025-0004"], "an acknowledgement holds for a time only"


def test_what_was_overdue_when_it_was_reported_is_not_called_the_offices_own_lateness(house: House, zhang: Seat):
    clock(house, incident(house, 1), timedelta(hours=-2), on_receipt=True, state="breached")
    clock(house, incident(house, 2), timedelta(hours=-1), state="breached")
    for url in ("/", "/wall", "/desk/queue"):
        page = zhang.get(url).text
        assert page.count('class="chip overdue received"') == 1, url
        assert page.count("<b>接报时已逾期</b>") == 1, url
        assert page.count("<b>已超时</b>") == 1, url
    assert "其中接报时已逾期 1" in zhang.get("/").text


def test_the_navigation_counts_what_waits_for_this_person(house: House, zhang: Seat):
    def waiting(seat: Seat, url: str = "/") -> dict[str, str]:
        found = re.findall(r'id="waiting-(\w+)" class="counter num"( hidden)?[^>]*> ([\d+]+)<', seat.get(url).text)
        return {name: number for name, hidden, number in found if not hidden}

    boss = take_seat(house.services, zhang.client, "wang")
    number = incident(house, 1)
    for seat in (zhang, boss):
        seat.post("/inbox/read")
    assert waiting(zhang) == waiting(boss) == {}
    with house.services.store.transaction("test") as tx:
        request = {
            "incident_id": number, "command": "void", "payload": {}, "reasons": [], "requested_by": "person:zhang",
            "requested_at": house.clock(), "state": "pending",
        }  # fmt: skip
        tx.run(t.change_request.insert().values(**request))
        for place in range(120):
            message = {"notice_no": f"N-{place}", "person_id": "zhang", "created_at": house.clock(), "text": "示例"}
            tx.run(t.inbox_message.insert().values(**message))
    assert waiting(boss) == {"requests": "1"}, "it waits for whoever may decide, not for the applicant"
    assert waiting(zhang) == {"inbox": "99+"}
    assert waiting(zhang, "/desk/queue?auto=1") == {"inbox": "99+"}, "and is renewed with the queue"
    zhang.post("/inbox/read")
    assert waiting(zhang) == {}


def test_the_panel_asks_for_itself_again_when_the_queue_changes(house: House, zhang: Seat):
    clock(house, incident(house, 1), timedelta(hours=1))
    page = zhang.get("/").text
    asked = re.search(r'data-shown="2025-0001" hx-get="([^"]+)" hx-trigger="([^"]+)"', page)
    assert asked is not None
    assert "sse:queue" in asked.group(2)
    assert 'data-shown="2025-0001"' in zhang.get(asked.group(1)).text


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("state=overdue", ["2025-0001"]),
        ("state=hour", ["2025-0002"]),
        ("state=unacked", ["2025-0001", "2025-0002", "2025-0003"]),
        ("state=acked", []),
        ("state=nonsense", ["2025-0001", "2025-0002", "2025-0003"]),
        ("severity=general", ["2025-0003"]),
        ("severity=none", []),
        ("rule=press_conference", ["2025-0002"]),
        ("who=unit", ["2025-0001", "2025-0002"]),
        ("who=mine", ["2025-0002"]),
        ("q=示例事件3", ["2025-0003"]),
        ("q=2025-0002", ["2025-0002"]),
        ("q=%25", []),
    ],
)
def test_filters(house: House, zhang: Seat, query: str, wanted: list[str]):
    clock(house, incident(house, 1), timedelta(hours=-1))
    clock(house, incident(house, 2, registered_by="person:zhang"), timedelta(minutes=30), "press_conference")
    clock(house, incident(house, 3, "water", severity="general"), timedelta(hours=8))
    assert numbers(zhang.get(f"/?{query}").text) == wanted


def test_mine_is_also_what_i_was_asked(house: House, zhang: Seat):
    clock(house, incident(house, 900), timedelta(hours=1))
    body = {"title": "示例", "kind": "emergency", "severity": "major", "criterion": "示例", "unit_id": "office",
            "times": {"occurred_at": {"value": "2025-06-02T08:00:00+08:00", "source": "示例"}}}  # fmt: skip
    no = zhang.client.post("/api/v1/incidents", json=body, headers=house.bearer("zhao")).json()["no"]
    run_engine_once(house.services)
    assert set(numbers(zhang.get("/?who=mine").text)) == {no}
    assert "已送出" in zhang.get("/").text, "the feed tells of messages"


def test_the_feed_tells_of_a_message_that_is_written_down_late(house: House, zhang: Seat):
    """Its attempt had ended before what a page has shown already: the page asks for the list, not for what is later."""
    number = clock(house, incident(house, 900), timedelta(hours=1))
    body = {"title": "示例", "kind": "emergency", "severity": "major", "criterion": "示例", "unit_id": "office",
            "times": {"occurred_at": {"value": "2025-06-02T08:00:00+08:00", "source": "示例"}}}  # fmt: skip
    zhang.client.post("/api/v1/incidents", json=body, headers=house.bearer("zhao"))
    run_engine_once(house.services)
    with house.services.store.transaction("test") as tx:
        tx.run(t.delivery_attempt.update().values(ended_at=tx.now - timedelta(seconds=3)))
    zhang.post("/acknowledge", {"only": number})
    lines = re.findall(r"<li.*?</li>", zhang.get("/desk/feed?auto=1").text, re.DOTALL)
    assert "签收" in lines[0]
    assert any("已送出" in line for line in lines[1:])


def test_a_long_queue_is_paged_on_the_server_and_weighs_little(house: House, zhang: Seat):
    one = incident(house, 1)
    due = house.clock() + timedelta(hours=2)
    values = [
        {"incident_id": one, "cycle": 1, "key": f"k{n}", "origin": "rule", "rule_id": "r", "name": "权威信息发布",
         "status": "stipulated", "anchor_field": "occurred_at", "started_at": house.clock(),
         "due_at": due + timedelta(minutes=7 * n), "state": "running", "binding": True}
        for n in range(450)
    ]  # fmt: skip
    with house.services.store.transaction("test") as tx:
        tx.run(t.clock.insert(), values)
    page = zhang.get("/", headers={"accept-encoding": "gzip"})
    assert len(numbers(page.text)) == 200
    assert page.headers["content-encoding"] == "gzip"
    assets = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text))
    sizes = [int(zhang.get(url, headers={"accept-encoding": "gzip"}).headers["content-length"]) for url in assets]
    assert sum(sizes) + int(page.headers["content-length"]) <= 60 * 1024
    assert len(assets) + 2 <= 8, "the page, its files and the live channel"
    last = zhang.get("/?page=3").text
    assert len(numbers(last)) == 50
    assert sum(counts(last)) == 450
    assert len(numbers(zhang.get("/?page=99").text)) == 50, "a page that is no longer there shows the last one"


def test_the_number_of_questions_does_not_grow_with_the_queue(house: House):
    asked: list[str] = []
    sa.event.listen(
        house.services.store.engine, "before_cursor_execute", lambda _c, _k, statement, *_: asked.append(statement)
    )
    actor = acting("zhang", units=("office",))
    clock(house, incident(house, 1), timedelta(hours=1))
    desk.queue(house.services, actor, "office", Filters())
    few, asked[:] = len(asked), []
    for number in range(2, 40):
        clock(house, incident(house, number, "water"), timedelta(hours=number))
    assert len(desk.queue(house.services, actor, "office", Filters()).lines) == 39
    many = len([statement for statement in asked if statement.startswith("SELECT")])
    assert many <= few


# -- who sees what -----------------------------------------------------------------------------------------------------


def test_a_unit_sees_its_own_clocks_its_tasks_and_where_it_helps(house: House):
    own, task, helped = incident(house, 1, "water"), incident(house, 2), incident(house, 3, co_units=["water"])
    clock(house, own, timedelta(hours=1))
    clock(house, task, timedelta(hours=2), unit_id="water")
    clock(house, helped, timedelta(hours=3))
    clock(house, incident(house, 4, "health"), timedelta(hours=4))
    found = desk.queue(house.services, acting("sun", units=("water",)), "water", Filters())
    assert [line.no for line in found.lines] == ["2025-0001", "2025-0002", "2025-0003"]
    assert found.active == 3
    assert found.lines[1].handler == "示例市水务局"
    assert desk.panel(house.services, acting("sun", units=("water",)), "2025-0002").no == "2025-0002"


def test_who_takes_part_sees_the_incident_everywhere(house: House):
    """Who leads, who helps, who has a task in it; nobody else, and no unit whose id only resembles one of them."""
    own, task, helped = (
        incident(house, 1, "water"),
        incident(house, 2),
        incident(house, 3, co_units=["health", "water"]),
    )
    other, alike = incident(house, 4, "health"), incident(house, 5, co_units=["water2", "_ater"])
    clock(house, own, timedelta(hours=1))
    clock(house, task, timedelta(hours=2), unit_id="water")
    clock(house, helped, timedelta(hours=3))
    with house.services.store.transaction("test") as tx:
        for number in (own, task, helped, other, alike):
            tx.run(
                t.history.insert().values(
                    incident_id=number,
                    cycle=1,
                    seq=1,
                    what="stage",
                    detail={},
                    recorded_at=house.clock(),
                    recorded_by="person:li",
                )
            )
    sun, services = acting("sun", units=("water",)), house.services
    mine = ["2025-0003", "2025-0002", "2025-0001"]
    assert [one["no"] for one in queries.incident_list(services, sun)["incidents"]] == mine
    assert [one["no"] for one in incident_desk.listing(services, sun)["incidents"]] == mine
    assert sorted({one["incident"] for one in queries.clocks(services, "open", sun)["clocks"]}) == sorted(mine)
    assert [event.no for event in desk.feed(services, sun)] == mine
    for hidden in ("2025-0004", "2025-0005"):
        with pytest.raises(NotFound):
            queries.view_incident(services, hidden, sun)
        with pytest.raises(NotFound):
            desk.panel(services, sun, hidden)
    assert len(queries.incident_list(services, acting("li"))["incidents"]) == 5


def test_log_feed_and_queue_are_said_in_english(house: House, zhang: Seat):
    """Our own words are translated; titles, names and what offices call themselves are not."""
    body = {"title": "示例", "kind": "emergency", "severity": "major", "criterion": "示例", "unit_id": "office",
            "times": {"occurred_at": {"value": "2025-06-02T08:00:00+08:00", "source": "示例"}}}  # fmt: skip
    no = zhang.client.post("/api/v1/incidents", json=body, headers=house.bearer("zhao")).json()["no"]
    run_engine_once(house.services)
    zhang.post("/language", {"language": "en", "to": "/"})
    page = zhang.get("/").text
    assert re.search(r"Recorded: [\w ]+ 06-02 08:00", page)
    for fixed in ("权威信息发布", "登记", "起算", "适用规则", "已送出", "记录"):
        assert fixed not in page, fixed
    case = zhang.get(f"/incidents/{no}").text
    assert re.search(r"Authoritative release started, due \d\d-\d\d", case)
    for fixed in ("起算，截止", "记录事发"):
        assert fixed not in case, fixed


def test_nobody_is_shown_anything_before_signing_in(client: TestClient):
    answer = client.get("/?q=x", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2F%3Fq%3Dx")
    assert client.get("/desk/queue", headers={"HX-Request": "true"}).headers["hx-redirect"] == "/login"


def test_an_administrator_is_led_away_from_content(house: House, client: TestClient):
    clock(house, incident(house, 1, title="绝密标题"), timedelta(hours=1))
    boss = take_seat(house.services, client, "boss")
    answer = boss.get("/")
    assert answer.status_code == 303
    assert answer.headers["location"] != "/"
    assert boss.get("/desk/queue").status_code == 403


def test_a_locked_desk_goes_on_ticking_and_does_nothing(house: House, client: TestClient):
    number = clock(house, incident(house, 1, title="绝密标题"), timedelta(hours=-1))
    locked = take_seat(house.services, client, "zhang", Stage.LOCKED)
    html = locked.get("/").text
    assert 'data-due="' in html
    assert "绝密标题" not in html
    assert 'action="/unlock"' in html
    assert "/acknowledge" not in html
    assert locked.post("/acknowledge", {"only": number}).status_code == 403
    assert rows(house, t.acknowledgement) == 0
    assert "绝密标题" not in locked.get("/desk/queue").text
    assert locked.get("/desk/panel/2025-0001").status_code == 303
    found = [numbers(locked.get(f"/desk/queue?q={text}").text) for text in ("绝密", "别的")]
    assert found == [["2025-0001"]] * 2, "a passer-by could try out what the titles say"


# -- acknowledging -----------------------------------------------------------------------------------------------------


def test_ticked_clocks_are_acknowledged_by_a_plain_form(house: House, zhang: Seat):
    ticked = [clock(house, incident(house, number), timedelta(hours=number)) for number in (1, 2)]
    ended = clock(house, incident(house, 3), timedelta(hours=3), state="satisfied")
    answer = zhang.post("/acknowledge", {"clock": [*ticked, ended], "query": "state=four&page=1"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/?state=four")
    after = zhang.client.get("/", headers={"cookie": f"hy_session={zhang.cookie}; {answer.headers['set-cookie']}"})
    assert "已签收 2 个时钟" in after.text
    assert "另有 1 个已结束" in after.text
    assert "hy_flash=" in after.headers["set-cookie"], "said once"
    assert after.text.count('class="chip acked"') == 2
    assert rows(house, t.acknowledgement) == 2


def test_with_htmx_the_answer_is_the_queue_itself(house: House, zhang: Seat):
    number = clock(house, incident(house, 1), timedelta(hours=-1))
    answer = zhang.post("/acknowledge", {"only": number}, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert "<html" not in answer.text
    assert 'id="toasts" hx-swap-oob="beforeend"' in answer.text
    assert "张一" in answer.text


@pytest.mark.parametrize(
    ("headers", "csrf", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, True, 403),
        ({"Sec-Fetch-Site": "same-site"}, True, 403),
        ({"Origin": "https://elsewhere.example"}, True, 403),
        ({"Origin": "null"}, True, 403),
        ({"Sec-Fetch-Site": "same-origin"}, False, 403),
        ({}, False, 403),
        ({"Sec-Fetch-Site": "same-origin"}, True, 303),
        ({"Origin": "http://testserver"}, True, 303),
    ],
)
def test_only_our_own_pages_may_send_forms(house: House, zhang: Seat, headers: dict[str, str], csrf: bool, status: int):
    number = clock(house, incident(house, 1), timedelta(hours=1))
    given = {"only": number, **({} if csrf else {"csrf": "wrong"})}
    answer = zhang.post("/acknowledge", given, headers=headers)
    assert answer.status_code == status
    assert rows(house, t.acknowledgement) == (1 if status == 303 else 0)
    if status == 403:
        assert "操作未执行" in answer.text


def test_the_token_may_stand_in_a_header(house: House, zhang: Seat):
    number = clock(house, incident(house, 1), timedelta(hours=1))
    answer = zhang.post("/acknowledge", {"only": number, "csrf": ""}, headers={"X-CSRF-Token": zhang.csrf})
    assert answer.status_code == 303
    assert rows(house, t.acknowledgement) == 1


def test_nothing_ticked_says_so(zhang: Seat):
    answer = zhang.post("/acknowledge")
    assert answer.status_code == 422
    assert "没有勾选任何时钟" in answer.text


# -- words, headers, refusals ------------------------------------------------------------------------------------------


class _Scripts(HTMLParser):
    """Tags and attributes that must not come out of free text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"img", "iframe"} or any(name.startswith("on") for name, _ in attrs):
            self.found.append(tag)


def test_a_hostile_title_is_text_everywhere(house: House, zhang: Seat):
    clock(house, incident(house, 1, title=HOSTILE), timedelta(hours=1))
    for url in ("/", "/desk/queue", "/desk/panel/2025-0001", "/?q=%3Cscript%3Ealert(1)%3C/script%3E"):
        html = zhang.get(url).text
        parser = _Scripts()
        parser.feed(html)
        assert parser.found == []
        assert "<script>alert" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;{{7*7}}%(x)s" in zhang.get("/").text


def test_pages_carry_the_strict_policy_and_the_api_keeps_its_own(house: House, zhang: Seat):
    page = zhang.get("/")
    assert page.headers["content-security-policy"] == CSP
    assert "unsafe" not in CSP
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["cache-control"] == "no-store"
    api = zhang.client.get("/api/v1/clocks", headers=house.bearer("zhang"))
    assert api.headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors")


def test_static_files_are_kept_for_a_year_by_content(zhang: Seat):
    url = re.findall(r'href="(/static/desk.css[^"]+)"', zhang.get("/").text)[0]
    assert "immutable" in zhang.get(url).headers["cache-control"]
    plain = zhang.get("/static/desk.css")
    assert plain.headers["cache-control"] == "no-cache"
    assert zhang.get("/static/desk.css", headers={"if-none-match": plain.headers["etag"]}).status_code == 304
    for name in ("../app.py", "vendor/SHA256SUMS", "nothing.css", ""):
        assert zhang.get(f"/static/{name}").status_code == 404


def test_the_language_is_kept_with_the_person(house: House, zhang: Seat):
    clock(house, incident(house, 1), timedelta(minutes=30))
    assert '<html lang="zh-CN">' in zhang.get("/").text
    assert zhang.post("/language", {"language": "en", "to": "/?state=hour"}).headers["location"] == "/?state=hour"
    html = zhang.get("/").text
    assert '<html lang="en">' in html
    assert "30 min 00 s left" in html
    assert "Within 1 h" in html
    assert zhang.post("/language", {"language": "en", "to": "//elsewhere.example/"}).headers["location"] == "/"
    assert zhang.post("/language", {"language": "xx"}).status_code == 422


def test_the_main_screen_has_no_chinese_left_in_english(house: House, zhang: Seat):
    zhang.post("/language", {"language": "en"})
    html = re.sub(r'lang="zh-CN">[^<]*<', "<", zhang.get("/?q=x").text)
    shown = re.sub(r"示例市政务公开办|张一|王三", "", html)
    assert not re.findall(r"[\u4e00-\u9fff]+", shown)


def test_the_catalogue_has_every_text_of_the_shell_and_the_main_screen():
    from babel.messages.pofile import read_po

    with CATALOGUE.open("rb") as file:
        catalogue = read_po(file, locale="en")
    ours = ("pages/duty", "pages/faults", "pages/navigation", "pages/shell", "templates/duty", "templates/base.html",
            "templates/fault", "templates/parts.html", "huiying/")  # fmt: skip
    wanted = {text: place for text, place in i18n_check.texts().items() if place.startswith(ours)}
    assert len(wanted) > 150
    missing = [line for line in i18n_check.findings(catalogue, wanted) if "nobody says" not in line]
    assert missing == []


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [("/nothing", 404, "没有这个地址"), ("/desk/panel/2020-0001", 404, "没有编号为 2020-0001 的事项")],
)
def test_refusals_are_pages_for_people(zhang: Seat, path: str, status: int, words: str):
    answer = zhang.get(path)
    assert answer.status_code == status
    assert words in answer.text
    assert "回到值班台" in answer.text
    assert answer.headers["content-security-policy"] == CSP


def test_a_part_of_a_page_puts_its_refusal_where_notices_go(zhang: Seat):
    answer = zhang.get("/desk/panel/2020-0001", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-retarget"]) == (404, "#notices")
    assert "<html" not in answer.text


def test_what_was_typed_is_given_back_without_secrets(zhang: Seat):
    answer = zhang.post("/acknowledge", {"query": "写了很久的内容", "password": "geheim", "csrf": "old"})
    assert answer.status_code == 403
    assert "写了很久的内容" in answer.text
    assert "geheim" not in answer.text


def test_an_unexpected_failure_is_a_page_with_a_number(zhang: Seat, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: Any) -> None:
        raise RuntimeError("inner words")

    monkeypatch.setattr(desk, "queue", broken)
    answer = zhang.get("/")
    assert answer.status_code == 500
    assert "系统内部出错" in answer.text
    assert re.search(r"<code>[0-9a-f]{8}</code>", answer.text)
    assert "inner words" not in answer.text


def test_programs_go_on_getting_problem_details(client: TestClient):
    assert client.get("/nothing").headers["content-type"] == "application/problem+json"
    answer = client.get("/api/v1/nothing", headers={"accept": "text/html"})
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_page_that_works_without_a_script(house: House, zhang: Seat):
    clock(house, incident(house, 1), timedelta(hours=2))
    html = zhang.get("/").text
    assert '<noscript><meta http-equiv="refresh" content="60;url=/?auto=1"></noscript>' in html
    assert '<form method="post" action="/acknowledge"' in html
    assert "剩 2 小时 00 分" in html
    assert 'href="/?incident=2025-0001#panel"' in html


def test_every_route_of_the_main_screen_declares_one_policy():
    ours = [route for route in page_routes() if route.endpoint.__module__.endswith((".duty", ".language", ".live"))]
    assert len(ours) == 9
    for route in ours:
        assert len(policies_of(route)) == 1, route.path


def test_compressed_pages_are_what_they_were(zhang: Seat):
    with zhang.client.stream(
        "GET", "/", headers={"cookie": f"hy_session={zhang.cookie}", "accept-encoding": "gzip"}
    ) as answer:
        raw = b"".join(answer.iter_raw())
    assert gzip.decompress(raw).startswith(b"<!doctype html>")
