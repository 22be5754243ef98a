"""Runs, audit, hand-over, wall and inbox through the real application: who sees what, and what a press does."""

from __future__ import annotations

import html
import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from flows.history import History
from flows.rest import PrefectApi
from huiying.domain.access import AccessRole
from huiying.domain.kinds import Kind, PublicationKind, TimeKind
from huiying.domain.outcome import Permanent
from huiying.domain.plan import SHANGHAI
from huiying.service import channels, handover, incidents, people, queries, roster_admin, tokens
from huiying.service.requests import RegisterRequest, ReleaseRequest, TimeInput
from huiying.service.roster_admin import ShiftInput
from huiying.store import tables as t
from huiying.web.app import create_app
from huiying.web.guard import Throttle
from huiying.web.pages import runs as runs_page
from huiying.web.pages import wall
from tests.fakes.desk import Seat, take_seat
from tests.fakes.house import OPERATOR, House, acting, house_template, open_house, run_engine_once
from tests.fakes.prefect_api import AUTH, FakePrefect

__all__ = ["house_template"]

PEOPLE = ("zhang", "wang", "li", "zhao", "boss")
TITLE = "示例：某人家中<script>alert(1)</script>进水"
NOTICE = "示例事项"


class Refusing:
    """A channel whose other side takes nothing."""

    def __call__(self, config: Any) -> Refusing:
        return self

    def send(self, *_: Any) -> Permanent:
        return Permanent("对方拒收", code="410")

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def house(request: pytest.FixtureRequest, house_template: Path, tmp_path: Path) -> Iterator[House]:
    made = open_house(
        house_template, tmp_path / "house", Refusing(), prefect_enabled=request.node.name.startswith("test_prefect")
    )
    yield made
    made.services.store.close()


@pytest.fixture
def client(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(wall, "_OPENINGS", Throttle(10))
    with TestClient(create_app(house.services), follow_redirects=False) as made:
        yield made


@pytest.fixture
def seats(house: House, client: TestClient) -> dict[str, Seat]:
    return {person: take_seat(house.services, client, person) for person in PEOPLE}


def register(house: House, title: str = TITLE, **more: Any) -> str:
    occurred = {TimeKind.OCCURRED: TimeInput(house.clock() - timedelta(minutes=30), "现场")}
    values = {"kind": Kind.OPINION, "unit_id": "office", "times": occurred, "notice_title": NOTICE, **more}
    return str(
        incidents.register(house.services, acting("zhang", AccessRole.DUTY), RegisterRequest(title=title, **values))[
            "no"
        ]
    )


@pytest.fixture
def no(house: House) -> str:
    made = register(house)
    run_engine_once(house.services)
    return made


def everything(house: House) -> str:
    """All rows but the sessions', whose last use moves with every look."""
    with house.services.store.reading() as tx:
        rows = [
            str(tuple(r))
            for table in t.metadata.sorted_tables
            if table.name != "session"
            for r in tx.all(sa.select(table))
        ]
    return "\n".join(rows)


def audited(house: House, action: str) -> list[Any]:
    with house.services.store.reading() as tx:
        return tx.all(sa.select(t.audit).where(t.audit.c.action == action).order_by(t.audit.c.seq))


# -- who may -------------------------------------------------------------------------------------------------------------

_OPEN_TO = {
    "/runs": {"zhang", "wang", "li", "zhao"},
    "/admin/runs": {"boss"},
    "/audit": {"li"},
    "/audit/chain": {"li"},
    "/handover": {"zhang", "wang", "li", "zhao"},
    "/inbox": set(PEOPLE),
    "/wall": {"zhang", "wang", "li", "zhao"},
    "/wall/cards": {"zhang", "wang", "li", "zhao"},
}


@pytest.mark.parametrize("url", _OPEN_TO)
def test_each_screen_opens_for_whom_it_is_meant_and_for_nobody_else(seats: dict[str, Seat], no: str, url: str):
    found = {person: seat.get(url).status_code for person, seat in seats.items()}
    assert found == {person: 200 if person in _OPEN_TO[url] else 403 for person in PEOPLE}


@pytest.mark.parametrize("url", [*_OPEN_TO, "/handover/1", "/incidents/2025-0001/runs"])
def test_without_a_session_there_is_only_the_way_to_sign_in(client: TestClient, no: str, url: str):
    answer = client.get(url, headers={"accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login")


@pytest.mark.parametrize("url", ["/audit/verify", "/audit/export", "/handover", "/inbox/read", "/inbox/X/ack"])
def test_a_form_that_is_not_ours_changes_nothing(house: House, seats: dict[str, Seat], no: str, url: str):
    seat, before = seats["li" if "audit" in url else "zhang"], everything(house)
    assert seat.post(url, {"csrf": "of another session"}).status_code == 403
    assert seat.post(url, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert everything(house) == before


# -- runs ----------------------------------------------------------------------------------------------------------------


def robot(house: House) -> None:
    settings = {"url": "https://hook.example.cn/x", "secret": "whsec_" + "QUJD" * 8}
    channels.add_channel(house.services, OPERATOR, "robot", kind="webhook", audience="group", settings=settings)


def test_the_runs_of_the_day_name_what_was_not_delivered(house: House, seats: dict[str, Seat]):
    robot(house)
    no = register(house)
    run_engine_once(house.services)
    house.clock.advance(timedelta(hours=30))  # beyond every reminder
    run_engine_once(house.services)
    seats["zhang"] = take_seat(house.services, seats["zhang"].client, "zhang")
    day = queries.runs(house.services)["runs"][0]["ended_at"][:10]
    page = seats["zhang"].get(f"/runs?day={day}").text
    assert no in page
    assert "未送达" in page
    assert "对方拒收" in page
    assert "未启用流程引擎" in page
    assert "<script>alert" not in page
    failed = seats["zhang"].get(f"/runs?day={day}&state=failed").text
    assert failed.count('class="panel run bad"') == failed.count('class="panel run')
    assert failed.count('class="panel run bad"') > 0
    assert seats["zhang"].get(f"/incidents/{no}/runs").text.count('class="panel run') >= 1


def test_filters_that_match_nothing_say_so_and_odd_ones_do_no_harm(seats: dict[str, Seat], no: str):
    assert "没有符合条件的运行记录" in seats["zhang"].get("/runs?day=2020-01-01").text
    for odd in ("day=tomorrow", "kind=%3Cb%3E", "state=%27+OR+1", "incident=%00", "incident=2099-1", "after=999"):
        assert seats["zhang"].get(f"/runs?{odd}").status_code == 200
    assert seats["zhang"].get("/incidents/2099-9999/runs").status_code == 404


def test_the_runs_of_another_unit_stay_there(house: House, client: TestClient, no: str):
    roster_admin.grant_access(house.services, OPERATOR, "qian", "duty", "health")
    stranger = take_seat(house.services, client, "qian")
    assert no not in stranger.get("/runs").text
    assert stranger.get(f"/incidents/{no}/runs").status_code == 404


def test_who_operates_sees_runs_without_recipients(seats: dict[str, Seat], no: str):
    page = seats["boss"].get("/admin/runs").text
    assert no in page
    assert "张一" not in page
    assert "工作群" not in page


def test_trouble_is_counted_for_the_whole_day_and_comes_first(
    house: House, seats: dict[str, Seat], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(runs_page, "_ON_A_PAGE", 2)
    numbers = []
    for _ in range(4):
        numbers.append(register(house))
        run_engine_once(house.services)
        house.clock.advance(timedelta(minutes=1))
    with house.services.store.transaction("test") as tx:
        first = sa.select(t.incident.c.id).where(t.incident.c.no == numbers[0]).scalar_subquery()
        second = sa.select(t.incident.c.id).where(t.incident.c.no == numbers[1]).scalar_subquery()
        tx.run(t.delivery.update().where(t.delivery.c.incident_id == first).values(state="failed"))
        tx.run(t.delivery.update().where(t.delivery.c.incident_id == second).values(attempts=2))
    day = house.clock().astimezone(SHANGHAI).date().isoformat()
    page, following = (seats["zhang"].get(f"/runs?day={day}&after={after}").text for after in (0, 2))
    for text in (page, following):
        assert "未送达或失败 1" in text
        assert "有重试 1" in text
        assert "全部正常" not in text
    listed = re.findall(r'<b class="num">([^<]+)</b>', page)
    assert listed == numbers[:2]  # the oldest of all, because of what became of them
    assert page.count('class="panel run bad"') == 1
    of_one = seats["zhang"].get(f"/incidents/{numbers[3]}/runs").text
    assert "全部正常 1" in of_one


def test_what_became_needless_before_it_ran_is_counted_and_listed_only_on_request(house: House, seats: dict[str, Seat]):
    no = register(house)
    run_engine_once(house.services)
    release = ReleaseRequest(PublicationKind.RESPONSE, house.clock(), url="https://www.example.cn/1")
    incidents.record_release(house.services, acting("zhang", AccessRole.DUTY), no, release)
    run_engine_once(house.services)
    needless = queries.run_sums(house.services, no)["needless"]
    assert needless > 1
    for url in (f"/incidents/{no}/runs", f"/runs?incident={no}"):
        page = seats["zhang"].get(url).text
        assert 'class="chip off"' not in page
        assert f"另有 {needless} 条在执行以前已失效" in page
        link = re.search(r'href="([^"]+)">列出已失效的', page)
        assert link
        shown = seats["zhang"].get(html.unescape(link[1])).text
        assert shown.count('class="panel run"') == shown.count('class="chip off"') == needless
        assert "另有" not in shown


def test_prefect_beside_our_own_record_and_a_failed_delivery_under_a_completed_flow(
    house: House, client: TestClient, seats: dict[str, Seat]
):
    robot(house)
    no = register(house)
    run_engine_once(house.services)
    house.clock.advance(timedelta(hours=3))
    run_engine_once(house.services)
    seats["zhang"] = take_seat(house.services, client, "zhang")
    failed = next(run for run in queries.runs(house.services, no)["runs"] if run["failed_deliveries"])
    with house.services.store.transaction("test") as tx:
        tx.run(t.timed_action.update().where(t.timed_action.c.id == failed["id"]).values(flow_run_id="run-1"))
    with FakePrefect() as prefect:
        api = PrefectApi(prefect.url, AUTH)
        prefect.flows.append({"id": "f", "name": "提醒"})
        prefect.runs.append(_flow_run())
        prefect.task_runs.append(_task_run())
        prefect.artifacts.append(
            {"flow_run_id": "run-1", "data": "# 页\n\n| 项目 | 内容 |\n| --- | --- |\n| 结果 | <b>甲\\|乙</b> |\n"}
        )
        client.app.state.prefect_history = History(api)  # type: ignore[attr-defined]
        page = seats["zhang"].get(f"/incidents/{no}/runs").text
    assert "流程已走完，但有通知未送达" in page
    assert "送达·值班员·签名网络回调" in page
    assert "&lt;b&gt;甲|乙&lt;/b&gt;" in page
    assert "Prefect 暂不可用" not in page
    # The server is gone now: our own record stays.
    page = seats["zhang"].get(f"/incidents/{no}/runs").text
    assert "Prefect 暂不可用" in page
    assert "未送达" in page


def _flow_run() -> dict[str, Any]:
    return {
        "id": "run-1", "flow_id": "f", "name": "x", "state_type": "COMPLETED", "state_name": "已办理", "state": {"message": ""},
        "tags": [], "parameters": {}, "start_time": "2025-06-02T02:00:00Z", "end_time": "2025-06-02T02:00:01Z",
    }  # fmt: skip


def _task_run() -> dict[str, Any]:
    return {
        "id": "t", "flow_run_id": "run-1", "name": "送达·值班员·签名网络回调", "state_type": "FAILED", "state_name": "未送达",
        "state": {"message": "第1次"}, "run_count": 3, "start_time": None, "end_time": None,
    }  # fmt: skip


# -- audit ---------------------------------------------------------------------------------------------------------------


def settled(seat: Seat, house: House) -> str:
    """The audit page once no check is under way any more."""
    app: Any = seat.client.app
    page = seat.get("/audit").text
    app.state.chain_check._ended.wait(30)
    return page if "正在校验" not in page else seat.get("/audit").text


def test_the_chain_comes_first_and_the_newest_entry_next(house: House, seats: dict[str, Seat], no: str):
    page = settled(seats["li"], house)
    assert re.search(r"链完整 ✓ 已校验 \d+ 条", page)
    numbers = [int(n) for n in re.findall(r'<td class="num" data-label="序号">(\d+)', page)]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] >= 10
    assert page.index("链完整") < page.index("事项·登记")


def test_a_broken_chain_names_its_first_bad_row(house: House, seats: dict[str, Seat], no: str):
    with house.services.store.engine.begin() as conn:
        conn.exec_driver_sql("DROP TRIGGER audit_no_update")
        conn.exec_driver_sql("UPDATE audit SET actor = 'person:somebody' WHERE seq = 7")
    page = settled(seats["li"], house)
    assert "链不完整 ✗ 第 7 条" in page.replace("</strong>", "")
    assert "链完整 ✓" not in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("who=张一", True), ("who=person:zhang", True), ("who=nobody", False), ("what=incident.", True), ("what=backup", False),
        ("what=事项·登记", True), ("what=登记", True), ("what=交接班", False),
        ("subject=incident:", True), ("since=2030-01-01", False), ("until=2000-01-01", False), ("since=junk", True),
    ],
)  # fmt: skip
def test_filters_find_by_person_action_subject_and_day(
    house: House, seats: dict[str, Seat], no: str, query: str, found: bool
):
    page = seats["li"].get(f"/audit?{query}").text
    assert ("没有符合条件的审计记录" not in page) == found


def test_the_words_of_actions_are_offered_and_found_in_english(house: House, seats: dict[str, Seat], no: str):
    assert '<option value="登录·锁定">session.locked</option>' in seats["li"].get("/audit").text
    seats["li"].post("/language", {"to": "/", "language": "en"})
    page = seats["li"].get("/audit?what=Incident%20registered").text
    assert '<option value="Sign-in·locked">session.locked</option>' in page
    assert re.search(r'data-label="Action">Incident·registered<br><span class="muted small">incident.registered', page)
    assert "Sign-in·started" not in page.partition("<tbody>")[2]


def test_pages_go_on_where_the_last_one_ended(house: House, seats: dict[str, Seat], no: str):
    for number in range(40):
        register(house, f"示例{number}")
    seen: list[int] = []
    url = "/audit"
    while url:
        page = seats["li"].get(url).text
        seen += [int(n) for n in re.findall(r'<td class="num" data-label="序号">(\d+)', page)]
        following = re.search(r'rel="next" href="([^"]+)"', page)
        url = following.group(1).replace("&amp;", "&") if following else ""
    assert seen == list(range(seen[0], 0, -1))
    assert re.search(r'rel="first" href="/audit\?">« 第一页', page)


def test_a_units_auditor_is_told_what_the_page_leaves_out_and_takes_no_export(
    house: House, client: TestClient, no: str
):
    people.add_person(house.services, OPERATOR, "ren", name="任八", unit_id="water")
    roster_admin.grant_access(house.services, OPERATOR, "ren", "auditor", "water")
    seat = take_seat(house.services, client, "ren")
    page = settled(seat, house)
    assert re.search(r"链完整 ✓ 已校验 \d+ 条", page)
    assert "此处仅列与您单位有关的" in page
    assert f"incident:{no}" not in page.replace('placeholder="incident:2026-0001"', "")
    assert 'action="/audit/export"' not in page
    assert "链条须整体导出" in page
    answer = seat.post("/audit/export", {"since": "0"})
    assert answer.status_code == 403
    assert "链条须整体导出" in answer.text
    assert audited(house, "audit.export") == []


def test_the_export_is_verified_by_its_own_program(house: House, seats: dict[str, Seat], no: str, tmp_path: Path):
    answer = seats["li"].post("/audit/export", {"since": "0"})
    assert answer.status_code == 200
    assert "attachment" in answer.headers["content-disposition"]
    zipfile.ZipFile(io.BytesIO(answer.content)).extractall(tmp_path / "taken")
    done = subprocess.run(
        [sys.executable, "verify_audit.py"], cwd=tmp_path / "taken", capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout.decode()
    assert [entry.actor for entry in audited(house, "audit.export")] == ["person:li"]
    assert list(house.services.settings.data_dir.glob("audit-export-*")) == []


def test_an_export_from_a_number_that_is_not_there_leaves_nothing_behind(house: House, seats: dict[str, Seat], no: str):
    answer = seats["li"].post("/audit/export", {"since": "999999"})
    assert answer.status_code == 422
    assert "没有第 999999 条" in answer.text
    assert list(house.services.settings.data_dir.glob("audit-export-*")) == []
    assert audited(house, "audit.export") == []


# -- hand-over -----------------------------------------------------------------------------------------------------------


def prepared(seat: Seat, to: str = "zhao", notes: str = "等水务局回电") -> str:
    answer = seat.post("/handover", {"unit": "office", "to": to, "notes": notes})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def hash_of(seat: Seat, url: str) -> str:
    found = re.search(r'name="hash" value="([0-9a-f]{64})"', seat.get(url).text)
    assert found is not None
    return found.group(1)


def test_both_sign_the_same_paper_each_in_their_own_session(house: House, seats: dict[str, Seat], no: str):
    out, into = seats["zhang"], seats["zhao"]
    url = prepared(out)
    paper = out.get(url).text
    # A number alone says nothing to the one who takes over: it stands above its title in every list.
    assert len(re.findall(rf'href="/incidents/{no}">{no}</a><br><span class="free small">示例', paper)) >= 3
    for words in (no, "等水务局回电", "尚未签收的提醒", "下一班内到期", "尚未签字"):
        assert words in paper
    assert "<script>alert" not in paper
    assert into.get(url).status_code == 404  # a draft is its author's
    digest = hash_of(out, url)
    assert out.post(f"{url}/sign-out", {"hash": digest}).status_code == 303
    assert "请阅读后签字接班" in into.get("/handover").text
    assert into.post(f"{url}/take", {"hash": digest, "remark": "已知"}).status_code == 303
    assert "已交接" in out.get("/handover").text
    assert [
        (entry.action, entry.actor)
        for entry in audited(house, "handover.signed_out") + audited(house, "handover.signed_in")
    ] == [
        ("handover.signed_out", "person:zhang"),
        ("handover.signed_in", "person:zhao"),
    ]
    assert all(json.loads(e.payload)["snapshot_hash"] == digest for e in audited(house, "handover.signed_in"))
    assert "等水务局回电" not in "".join(e.payload for e in audited(house, "handover.prepared"))


def test_nobody_signs_for_the_other_or_twice_or_another_paper(house: House, seats: dict[str, Seat], no: str):
    out, into, other = seats["zhang"], seats["zhao"], seats["wang"]
    url = prepared(out)
    digest = hash_of(out, url)
    assert into.post(f"{url}/take", {"hash": digest}).status_code == 404  # not offered yet
    assert out.post(f"{url}/sign-out", {"hash": "0" * 64}).status_code == 409
    assert out.post(f"{url}/sign-out", {"hash": digest}).status_code == 303
    assert out.post(f"{url}/sign-out", {"hash": digest}).status_code == 409
    for seat in (out, other, seats["li"]):
        assert seat.post(f"{url}/take", {"hash": digest}).status_code == 403
    assert into.post(f"{url}/take", {"hash": digest}).status_code == 303
    assert into.post(f"{url}/take", {"hash": digest}).status_code == 409
    assert out.post(f"{url}/withdraw").status_code == 409
    assert len(audited(house, "handover.signed_in")) == 1


def test_a_paper_that_lay_too_long_is_made_anew_and_a_changed_one_is_not_signed(
    house: House, seats: dict[str, Seat], no: str
):
    url = prepared(seats["zhang"])
    digest = hash_of(seats["zhang"], url)
    house.clock.advance(timedelta(minutes=31))
    seats["zhang"] = take_seat(house.services, seats["zhang"].client, "zhang")
    refused = seats["zhang"].post(f"{url}/sign-out", {"hash": digest})
    assert refused.status_code == 409
    assert "请重新生成" in refused.text
    url = prepared(seats["zhang"])
    digest = hash_of(seats["zhang"], url)
    with house.services.store.transaction("test") as tx:
        tx.run(t.handover.update().values(snapshot={"unit": "别的"}))
    assert seats["zhang"].post(f"{url}/sign-out", {"hash": digest}).status_code == 409


@pytest.mark.parametrize("to", ["", "zhang", "boss", "nobody", "li"])
def test_only_somebody_who_may_sign_can_take_over(house: House, seats: dict[str, Seat], no: str, to: str):
    answer = seats["zhang"].post("/handover", {"unit": "office", "to": to, "notes": "不能丢的话"})
    assert answer.status_code == 422
    assert "不能丢的话" in answer.text
    with house.services.store.reading() as tx:
        assert tx.all(sa.select(t.handover)) == []


def test_a_change_of_shift_that_nobody_signed_is_told_at_the_desk(house: House, seats: dict[str, Seat], no: str):
    now = house.clock()
    for person, start, end in (("zhang", -8, 0), ("zhao", 0, 12)):
        shift = ShiftInput("office", "duty_officer", person, now + timedelta(hours=start), now + timedelta(hours=end))
        roster_admin.add_shift(house.services, OPERATOR, shift)
    leader = acting("wang", AccessRole.APPROVER, units=("office",))
    (missing,) = handover.pending(house.services, leader)
    assert missing["kind"] == "missing"
    assert "张一→赵四" in missing["text"]
    for screen in ("/handover", "/"):
        assert "换班未交接" in seats["wang"].get(screen).text
    url = prepared(seats["zhang"])
    digest = hash_of(seats["zhang"], url)
    seats["zhang"].post(f"{url}/sign-out", {"hash": digest})
    assert [item["kind"] for item in handover.pending(house.services, acting("zhao", AccessRole.HEAD))] == ["sign_in"]
    seats["zhao"].post(f"{url}/take", {"hash": digest})
    assert handover.pending(house.services, leader) == []
    assert "换班未交接" not in seats["wang"].get("/").text
    assert handover.pending(house.services, acting("wang", AccessRole.APPROVER, units=("health",))) == []


def test_the_form_proposes_who_has_the_same_duty_next_and_nobody_where_nobody_has(
    house: House, seats: dict[str, Seat], no: str
):
    now = house.clock()
    turns = [("zhang", "duty_officer", -4, 8), ("wang", "shift_leader", -4, 8), ("zhao", "duty_officer", 8, 20)]
    for person, role, start, end in turns:
        shift = ShiftInput("office", role, person, now + timedelta(hours=start), now + timedelta(hours=end))
        roster_admin.add_shift(house.services, OPERATOR, shift)
    page = seats["zhang"].get("/handover").text
    assert re.findall(r'<option value="(\w+)" selected>([^<]*)', page.partition('id="to"')[2]) == [
        ("zhao", "赵四（下一班）")
    ]
    assert "下一班" not in re.search(r'value="wang">([^<]*)', page)[1]  # type: ignore[index]
    paper = seats["zhang"].get(prepared(seats["zhang"])).text
    assert "下一班至</span>" not in paper
    assert re.search(r'下一班至 <span class="num">2025年6月3日 星期二 05:00', paper)
    alone = seats["wang"].get("/handover").text.partition('id="to"')[2].partition("</select>")[0]
    assert "selected" not in alone
    assert "下一班" not in alone


def test_a_hand_over_says_first_what_was_said_and_is_made_of_cards_on_a_telephone(seats: dict[str, Seat], no: str):
    paper = seats["zhang"].get(prepared(seats["zhang"])).text
    order = [
        paper.index(word)
        for word in ('class="signatures"', "<h2>交班说明</h2>", "<h2>下一班内到期", "<h2>计时中的时钟")
    ]
    assert order == sorted(order)
    tables = re.findall(r'(?s)<table class="([^"]*)">.*?</table>', paper)
    assert tables
    assert set(tables) == {"list cards"}
    cells = re.findall(r"<td([^>]*)>", paper)
    assert [cell for cell in cells if "data-label=" not in cell] == []


# -- wall ----------------------------------------------------------------------------------------------------------------


def wall_token(house: House, *scopes: str) -> str:
    password = tokens.issue_password(house.services, OPERATOR, "zhang")["password"]
    made = tokens.exchange_password(house.services, "zhang", password, name="大屏", scopes=scopes, days=30)
    return str(made["token"])


def open_wall(client: TestClient, token: str) -> str:
    """Exchange a token; gives the cookie."""
    client.cookies.clear()
    answer = client.get("/wall", params={"token": token}, headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers.get("location")) == (303, "/wall"), answer.text
    cookie = answer.headers["set-cookie"]
    client.cookies.clear()
    for part in ("HttpOnly", "SameSite=lax", "Path=/wall"):
        assert part in cookie
    found = re.search(r"hy_wall=([^;]+)", cookie)
    assert found is not None
    return found.group(1)


def test_a_wall_token_leaves_the_address_at_once_and_opens_the_wall_alone(house: House, client: TestClient, no: str):
    token = wall_token(house, "read")
    cookie = open_wall(client, token)
    headers = {"cookie": f"hy_wall={cookie}", "accept": "text/html"}
    page = client.get("/wall", headers=headers)
    assert page.status_code == 200
    assert token not in page.text
    for words in (no, NOTICE, "截止"):
        assert words in page.text
    assert "某人家中" not in page.text  # what was typed about people is for the desk
    assert "style=" not in page.text
    assert client.get("/wall/cards", headers=headers).status_code == 200
    for other in ("/runs", "/handover", "/inbox", f"/incidents/{no}/runs", "/audit"):
        assert client.get(other, headers=headers).status_code == 303


@pytest.mark.parametrize("scopes", [("read", "acknowledge"), ("acknowledge",)])
def test_a_token_that_may_do_more_than_look_opens_no_wall(
    house: House, client: TestClient, no: str, scopes: tuple[str, ...]
):
    answer = client.get("/wall", params={"token": wall_token(house, *scopes)}, headers={"accept": "text/html"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_dead_wall_says_what_to_do_and_who_tries_tokens_is_slowed_down(house: House, client: TestClient, no: str):
    cookie = open_wall(client, wall_token(house, "read"))
    house.clock.advance(timedelta(days=31))
    dead = client.get("/wall", headers={"cookie": f"hy_wall={cookie}", "accept": "text/html"})
    assert dead.status_code == 403
    assert "另办大屏令牌" in dead.text
    codes = [
        client.get("/wall", params={"token": f"t{n}"}, headers={"accept": "text/html"}).status_code for n in range(12)
    ]
    assert codes == [403] * 9 + [429] * 3


def test_the_wall_counts_everything_and_turns_pages(house: House, seats: dict[str, Seat]):
    for number in range(14):
        register(house, f"示例{number}")
    page = seats["zhang"].get("/wall").text
    counts = [int(n) for n in re.findall(r'<b class="num">(\d+)</b>', page)]
    cards = page.count('<li class="wall-card')
    assert sum(counts) == cards
    assert cards > 12
    assert page.count('<ol class="wall-cards"') == -(-cards // 12)
    assert page.count('" hidden>') >= 1
    dues = [int(ms) for ms in re.findall(r'data-due="(\d+)"', page)]
    assert dues == sorted(dues)


# -- inbox ---------------------------------------------------------------------------------------------------------------


def test_looking_at_the_inbox_changes_nothing_and_reading_is_not_acknowledging(
    house: House, seats: dict[str, Seat], no: str
):
    seat, before = seats["zhang"], everything(house)
    page = seat.get("/inbox").text
    assert everything(house) == before
    notice = re.search(r'action="/inbox/([^/"]+)/ack"', page)
    assert notice is not None
    assert "待签收" in page
    assert f"/incidents/{no}" in page
    assert "/a/" not in page  # the phone's secret is not needed here
    assert seat.post(f"/inbox/{notice.group(1)}/read").status_code == 303
    page = seat.get("/inbox").text
    assert "待签收" in page
    with house.services.store.reading() as tx:
        assert tx.all(sa.select(t.acknowledgement)) == []


def test_a_press_in_the_inbox_counts_once_and_is_the_persons(house: House, seats: dict[str, Seat], no: str):
    seat = seats["zhang"]
    notice = re.findall(r'action="/inbox/([^/"]+)/ack"', seat.get("/inbox").text)[0]
    assert seats["wang"].post(f"/inbox/{notice}/ack").status_code == 404
    assert seat.post(f"/inbox/{notice}/ack").status_code == 303
    assert seat.post(f"/inbox/{notice}/ack").status_code == 303
    (entry,) = audited(house, "incident.acknowledged")
    assert entry.actor == "person:zhang"
    assert json.loads(entry.payload)["via"] == "desk"
    page = seat.get("/inbox").text
    assert f"/inbox/{notice}/ack" not in page
    assert "已签收" in page


def test_unread_ones_come_first(house: House, seats: dict[str, Seat], no: str):
    second = register(house, "另一件")
    run_engine_once(house.services)
    seat = seats["zhang"]
    newest = re.findall(r'action="/inbox/([^/"]+)/read"', seat.get("/inbox").text)[0]
    seat.post(f"/inbox/{newest}/read")
    order = re.findall(r"通知号 <span class=\"num\">([^<]+)<", seat.get("/inbox").text)
    assert order[-1] == newest
    assert order[0] != newest
    assert second
    assert newest not in seat.get("/inbox?only=unread").text
    assert seat.post("/inbox/read").status_code == 303
    assert "没有未读通知" in seat.get("/inbox?only=unread").text
