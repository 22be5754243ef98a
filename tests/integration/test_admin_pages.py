"""The screens of administration: every form does what it says, keeps what was typed, and shows no secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from huiying.domain.errors import NotAuthenticated
from huiying.domain.outcome import Accepted, Outcome, Permanent, RateLimited, Transient
from huiying.service import channels, doctor, people, roster_admin, sessions, tokens
from huiying.store import heartbeats
from huiying.store import tables as t
from huiying.web.app import create_app
from tests.fakes.desk import Seat, take_seat
from tests.fakes.house import OPERATOR, House, house, house_template, open_house, run_engine_once

__all__ = ["house", "house_template"]


@pytest.fixture
def client(house: House) -> Iterator[TestClient]:
    with TestClient(create_app(house.services), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def boss(house: House, client: TestClient) -> Seat:
    return take_seat(house.services, client, "boss")


def audited(house: House, action: str) -> int:
    with house.services.store.reading() as tx:
        return int(
            tx.value(sa.select(sa.func.count()).where(t.audit.c.action == action, t.audit.c.actor == "person:boss"))
        )


def options_of(page: str, name: str) -> set[str]:
    field = re.search(rf'<select id="{name}".*?</select>', page, re.DOTALL)
    assert field is not None
    return set(re.findall(r'<option value="([^"]*)"', field.group()))


# -- the state ---------------------------------------------------------------------------------------------------------


def test_the_first_page_says_what_lives_what_waits_and_what_is_missing(boss: Seat, house: House):
    with house.services.store.transaction("test") as tx:
        heartbeats.beat(tx, "test/engine", "b", {"healthy": True})
        tx.audit("backup", "store", {"file": "huiying-1.zip", "sha256": "0", "rows": 12, "audit_count": 1, "ok": True})
    page = boss.get("/admin").text
    assert "test/engine" in page
    assert "huiying-1.zip" in page
    assert "磁盘剩余" in page
    house.clock.advance(timedelta(minutes=5))
    assert "没有心跳" in boss.get("/admin").text


def test_what_is_to_be_done_leads_to_the_screen_on_which_it_is_done(boss: Seat, house: House):
    boss.post("/admin/dispatch/hold", {"reason": "核对"})
    page = boss.get("/admin").text
    for place in ("/admin/channels", "/admin/dispatch", "/roster"):
        assert f'<a href="{place}">' in page.split('class="health-list"')[1]
    for command in ("channel add", "dispatch release", "access grant", "calendar import", "token exchange"):
        assert command not in page
    # Who has no screen before them is told the command.
    said = {finding.message for finding in doctor.examine(house.services)}
    assert "没有任何对外渠道，消息只进站内收件箱。请执行 huiying channel add。" in said
    assert "已暂停，任何提醒都不会发出。核对后执行 huiying dispatch release。" in said


def test_nothing_of_an_incident_is_in_any_page_of_the_administrator(boss: Seat, client: TestClient, house: House):
    body = {"title": "绝密样式标题XYZ", "kind": "opinion", "unit_id": "office"}
    assert client.post("/api/v1/incidents", json=body, headers=house.bearer("zhang")).status_code == 201
    for url in ("/admin", "/admin/people", "/admin/units", "/roster", "/admin/channels", "/admin/tokens",
                "/admin/sessions", "/admin/dispatch", "/rules", "/rules/whatif", "/rules/calendar"):  # fmt: skip
        page = boss.get(url)
        assert page.status_code == 200
        assert "XYZ" not in page.text
    for url in ("/incidents", "/runs", "/audit", "/handover", "/desk/queue", "/incidents/2025-0001"):
        assert boss.get(url).status_code == 403


# -- people and units --------------------------------------------------------------------------------------------------


def test_a_person_is_added_changed_ended_and_brought_back(boss: Seat, house: House):
    form = {"id": "sun", "name": "孙六", "unit_id": "water", "mobile": "13900005678", "email": ""}
    made = boss.post("/admin/people", form)
    assert (made.status_code, made.headers["location"]) == (303, "/admin/people/sun")
    page = boss.get("/admin/people/sun").text
    assert "139****5678" in page
    assert "13900005678" not in page
    assert (
        boss.post("/admin/people/sun", {"name": "孙陆", "unit_id": "health", "email": "sun@example.cn"}).status_code
        == 303
    )
    shown = people.show_person(house.services, OPERATOR, "sun")
    assert (shown["name"], shown["unit_id"], shown["mobile"]) == ("孙陆", "health", "139****5678")
    assert boss.post("/admin/people/sun", {"name": "孙陆", "drop_mobile": "on"}).status_code == 303
    assert people.show_person(house.services, OPERATOR, "sun")["mobile"] == ""
    assert boss.post("/admin/people/sun/end").status_code == 303
    assert "已停用" in boss.get("/admin/people/sun").text
    assert boss.post("/admin/people/sun/return").status_code == 303
    assert audited(house, "person.changed") == 4


def test_a_refused_person_keeps_what_was_typed(boss: Seat):
    form = {"id": "坏 编号", "name": "孙六", "unit_id": "water", "mobile": "13900005678"}
    page = boss.post("/admin/people", form)
    assert page.status_code == 422
    for text in ("坏 编号", "孙六", "13900005678", 'aria-invalid="true"'):
        assert text in page.text
    again = boss.post("/admin/people", {"id": "zhang", "name": "另一人", "unit_id": "water"})
    assert again.status_code == 409
    assert "另一人" in again.text


def test_a_one_time_password_is_shown_once_and_opens(boss: Seat, client: TestClient):
    page = boss.post("/admin/people/zhang/password")
    assert page.status_code == 200
    password = re.search(r'<code class="secret">([a-z0-9-]+)</code>', page.text)
    assert password is not None
    assert password.group(1) not in boss.get("/admin/people/zhang").text
    assert "no-store" in page.headers["cache-control"]
    body = {"person_id": "zhang", "password": password.group(1)}
    assert client.post("/api/v1/tokens/exchange", json=body).status_code == 201


def test_roles_are_granted_and_taken_and_their_separation_is_explained(boss: Seat, house: House):
    grant = {"role": "head", "unit_id": "office"}
    assert boss.post("/admin/people/qian/access", grant).status_code == 303
    mixed = boss.post("/admin/people/qian/access", {"role": "auditor", "unit_id": "office"})
    assert mixed.status_code == 409
    assert "三员分立" in mixed.text
    assert "请为其另设账号" in mixed.text
    own = boss.post("/admin/people/boss/access", {"role": "approver", "unit_id": "office"})
    assert own.status_code == 403
    assert "不能为自己" in own.text
    assert boss.post("/admin/people/qian/access/remove", grant).status_code == 303
    last = boss.post("/admin/people/boss/access/remove", {"role": "administrator", "unit_id": "office"})
    assert last.status_code == 409
    assert "最后一名管理员" in last.text
    assert audited(house, "access.granted") == audited(house, "access.revoked") == 1


def test_duties_of_a_person(boss: Seat, house: House):
    duty = {"role": "supervision_office", "unit_id": "office"}
    assert boss.post("/admin/people/qian/duties", duty).status_code == 303
    assert "督查室" in boss.get("/admin/people/qian").text
    assert boss.post("/admin/people/qian/duties", duty).status_code == 409
    assert boss.post("/admin/people/qian/duties/remove", duty).status_code == 303
    held = {(row["person_id"], row["role"]) for row in roster_admin.list_duties(house.services, OPERATOR)}
    assert ("qian", "supervision_office") not in held


def test_units_make_a_tree(boss: Seat, house: House):
    form = {"id": "river", "name": "河道处", "parent_id": "water", "region_code": "990100"}
    assert boss.post("/admin/units", form).status_code == 303
    page = boss.get("/admin/units").text
    assert page.index("示例市水务局") < page.index("河道处")
    circle = boss.post("/admin/units/water", {"name": "示例市水务局", "parent_id": "river", "active": "on"})
    assert circle.status_code == 422
    assert "上级单位不能是本单位自己或其下级" in circle.text
    used = boss.post("/admin/units/water", {"name": "示例市水务局", "parent_id": "office"})
    assert used.status_code == 409
    assert boss.post("/admin/units/river", {"name": "河道管理处", "parent_id": "water"}).status_code == 303
    units = {unit["id"]: unit for unit in people.list_units(house.services, OPERATOR)}
    assert (units["river"]["name"], units["river"]["active"]) == ("河道管理处", False)
    bad = boss.post("/admin/units", {"id": "x", "name": "", "region_code": "12"})
    assert bad.status_code == 422


def test_a_units_pack_is_chosen_from_the_packs_and_an_unknown_one_stays(boss: Seat, house: House):
    pack = "cn-520100-guiyang-eco-2017"
    assert options_of(boss.get("/admin/units").text, "new-pack_id") >= {"", pack}
    change = {"name": "示例市水务局", "parent_id": "office", "active": "on"}
    assert boss.post("/admin/units/water", {**change, "pack_id": pack}).status_code == 303
    assert f'<option value="{pack}" selected>' in boss.get("/admin/units/water").text
    assert "贵阳市生态文明委2017年政务公开工作要点" in boss.get("/admin/units").text
    people.edit_unit(house.services, OPERATOR, "water", pack_id="own-2031")
    page = boss.get("/admin/units/water").text
    assert '<option value="own-2031" selected>' in page
    assert "own-2031 · 不在用" in page
    assert boss.post("/admin/units/water", {**change, "pack_id": ""}).status_code == 303
    units = {unit["id"]: unit for unit in people.list_units(house.services, OPERATOR)}
    assert units["water"]["pack_id"] == ""


# -- roster ------------------------------------------------------------------------------------------------------------

SHIFT = {
    "unit_id": "office", "role": "duty_officer", "person_id": "zhang",
    "starts_at": "2025-06-03T20:00", "ends_at": "2025-06-04T08:00",
}  # fmt: skip


def test_a_shift_over_midnight_stands_on_both_days_and_can_be_cancelled_once(boss: Seat, house: House):
    done = boss.post("/roster/shifts", SHIFT)
    assert (done.status_code, done.headers["location"]) == (303, "/roster?from=2025-06-03")
    page = boss.get("/roster?from=2025-06-03").text
    assert "20:00–24:00" in page
    assert "00:00–08:00" in page
    twice = boss.post("/roster/shifts", SHIFT)
    assert twice.status_code == 409
    assert 'value="2025-06-03T20:00"' in twice.text
    (shift,) = roster_admin.list_shifts(house.services, OPERATOR)
    assert boss.post(f"/roster/shifts/{shift['id']}/cancel").status_code == 303
    assert boss.post(f"/roster/shifts/{shift['id']}/cancel").status_code == 409
    assert "20:00–24:00" not in boss.get("/roster?from=2025-06-03").text


@pytest.mark.parametrize("missing", ["starts_at", "ends_at", "role", "person_id", "unit_id"])
def test_a_shift_with_something_missing_is_refused(boss: Seat, missing: str):
    page = boss.post("/roster/shifts", {**SHIFT, missing: ""})
    assert page.status_code in {404, 422}
    assert 'role="alert"' in page.text


def test_a_roster_from_a_table_comes_whole_or_not_at_all(boss: Seat, house: House):
    head = "单位,职责,人员,开始,结束\n"
    good = head + "office,值班员,zhang,2025/6/5 8:30,2025/6/5 17:30\n"
    bad = good + "office,值班员,nobody,2025-06-06 08:30,2025-06-06 17:30\n"
    page = boss.post("/roster/import", files={"roster": ("排班.csv", bad.encode("gb18030"))})
    assert page.status_code == 422
    assert "第 3 行" in page.text
    assert roster_admin.list_shifts(house.services, OPERATOR) == []
    done = boss.post("/roster/import", {"roster_text": good})
    assert done.status_code == 303
    assert len(roster_admin.list_shifts(house.services, OPERATOR)) == 1


def test_standing_duties_on_the_roster_page(boss: Seat):
    duty = {"person_id": "wang", "role": "supervision_office", "unit_id": "office"}
    assert boss.post("/roster/duties", duty).status_code == 303
    assert boss.post("/roster/duties", duty).status_code == 409
    assert boss.post("/roster/duties/remove", duty).status_code == 303


def test_the_pickers_offer_who_can_answer_and_keep_who_is_on_the_roster(boss: Seat, house: House):
    """Neither an administrator nor an auditor nor an assessor can act on a reminder."""
    for person, role in (("pruefer", "auditor"), ("extern", "assessor"), ("helfer", "handler")):
        people.add_person(house.services, OPERATOR, person, name=person, unit_id="office")
        roster_admin.grant_access(house.services, OPERATOR, person, role, "office")
    page = boss.get("/roster").text
    for field in ("person_id", "duty-person_id"):
        offered = options_of(page, field)
        assert {"zhang", "wang", "zhao", "helfer"} <= offered
        assert {"li", "qian"} <= offered  # they hold duties already
        assert not {"boss", "pruefer", "extern"} & offered
    assert "此人的权限不能签收提醒" in boss.get("/admin/people/pruefer").text
    assert "此人的权限不能签收提醒" not in boss.get("/admin/people/helfer").text


def test_the_page_says_how_a_table_is_written_with_this_houses_own_names(boss: Seat, house: House):
    page = boss.get("/roster").text
    example = re.search(r'<pre class="example"><code lang="zh-CN">(.*?)</code></pre>', page, re.DOTALL)
    assert example is not None
    assert "<code>duty_officer</code>" in page
    assert "<code>water</code>" in page
    assert boss.post("/roster/import", {"roster_text": example.group(1)}).status_code == 303
    assert len(roster_admin.list_shifts(house.services, OPERATOR)) == 2


# -- channels ----------------------------------------------------------------------------------------------------------

ROBOT = {
    "kind": "dingtalk", "id": "ding", "name": "值班群", "rank": "10", "unit_id": "office",
    "set.access_token": "abcdef0123456789", "set.secret": "SECverysecret", "set.per_minute": "12",
}  # fmt: skip


def test_a_channel_is_added_and_its_secrets_never_come_back(boss: Seat, house: House):
    assert boss.post("/admin/channels", ROBOT).status_code == 303
    for url in ("/admin/channels", "/admin/channels/ding"):
        page = boss.get(url).text
        assert "值班群" in page
        assert "abcdef0123456789" not in page
        assert "SECverysecret" not in page
    change = {"name": "值班群甲", "rank": "11", "unit_id": "office", "enabled": "on", "set.per_minute": "15"}
    assert boss.post("/admin/channels/ding", change).status_code == 303
    row = next(row for row in channels.list_channels(house.services, OPERATOR) if row["id"] == "ding")
    assert (row["name"], row["settings"]["per_minute"]) == ("值班群甲", 15)
    assert set(row["secrets"]) == {"access_token", "secret"}
    assert boss.post("/admin/channels/ding", {**change, "drop.secret": "on"}).status_code == 303
    row = next(row for row in channels.list_channels(house.services, OPERATOR) if row["id"] == "ding")
    assert set(row["secrets"]) == {"access_token"}
    assert boss.post("/admin/channels/ding", {"name": "值班群甲", "rank": "11", "unit_id": "office"}).status_code == 303
    row = next(row for row in channels.list_channels(house.services, OPERATOR) if row["id"] == "ding")
    assert row["enabled"] is False


def test_a_wrong_setting_is_named_and_the_rest_stays_but_no_secret(boss: Seat):
    page = boss.post("/admin/channels", {**ROBOT, "set.per_minute": "viele"})
    assert page.status_code == 422
    assert "值班群" in page.text
    assert 'value="viele"' in page.text
    assert "SECverysecret" not in page.text
    page = boss.post("/admin/channels", {**ROBOT, "set.secret": "file:/etc/passwd"})
    assert page.status_code == 403
    assert "只能在服务器命令行上设置" in page.text


def test_sample_data_says_at_once_that_no_channel_can_be_added(house_template: Path, tmp_path: Path):
    made = open_house(house_template, tmp_path / "demo", demo=True)
    with TestClient(create_app(made.services), raise_server_exceptions=False) as client:
        seat = take_seat(made.services, client, "boss")
        listing, form = seat.get("/admin/channels").text, seat.get("/admin/channels/new?kind=dingtalk").text
        assert "不能添加向外发送的渠道" in listing
        assert "/admin/channels/new" not in listing
        assert "不能添加向外发送的渠道" in form
        assert "<button disabled>新建" in form
    made.services.store.close()


def test_the_inbox_cannot_be_switched_off(boss: Seat):
    page = boss.post("/admin/channels/inbox", {"name": "站内收件箱", "rank": "0"})
    assert page.status_code == 409
    assert "不能停用" in page.text


class Answering:
    """A notifier that answers as it was told."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def send(self, *_: object) -> Outcome:
        return self._outcome

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("accepted", "对方已接收"),
        ("rate_limited", "被限流"),
        ("transient", "连接超时"),
        ("permanent", "关键词不匹配"),
    ],
)
def test_a_test_message_shows_the_typed_outcome(house: House, name: str, words: str):
    outcomes: dict[str, Outcome] = {
        "accepted": Accepted("m-1"),
        "rate_limited": RateLimited(house.clock() + timedelta(minutes=1), "130101"),
        "transient": Transient("连接超时", "timeout"),
        "permanent": Permanent("关键词不匹配", "310000"),
    }
    services = type(house.services)(
        house.services.store, house.services.settings, house.services.sealer, house.services.server_key,
        lambda _config: Answering(outcomes[name]),
    )  # fmt: skip
    with TestClient(create_app(services), raise_server_exceptions=False) as client:
        boss = take_seat(services, client, "boss")
        assert boss.post("/admin/channels", ROBOT).status_code == 303
        page = boss.post("/admin/channels/ding/test")
        assert page.status_code == 200
        assert f'<code class="small muted">{name}' in page.text
        assert words in page.text
    assert audited(house, "channel.tested") == 1


# -- tokens and sessions -----------------------------------------------------------------------------------------------


def test_a_token_is_shown_once_works_and_is_revoked(boss: Seat, house: House):
    page = boss.post("/admin/tokens", {"name": "脚本", "days": "3", "scope.roster": "on"})
    assert page.status_code == 200
    secret = re.search(r'<code class="secret">(hy_[\w-]+)</code>', page.text)
    assert secret is not None
    assert tokens.authenticate(house.services, secret.group(1)).permissions == {"roster"}
    listed = boss.get("/admin/tokens").text
    assert secret.group(1) not in listed
    token_id = next(row["id"] for row in tokens.list_tokens(house.services, OPERATOR) if row["name"] == "脚本")
    assert boss.post(f"/admin/tokens/{token_id}/revoke").status_code == 303
    with pytest.raises(NotAuthenticated):
        tokens.authenticate(house.services, secret.group(1))
    wide = boss.post("/admin/tokens", {"name": "脚本", "scope.read": "on"})
    assert wide.status_code == 403
    assert "不能超出" in wide.text


def test_a_session_is_kicked_out(boss: Seat, house: House, client: TestClient):
    zhang = take_seat(house.services, client, "zhang")
    assert zhang.get("/inbox").status_code == 200
    listed = sessions.list_sessions(house.services, OPERATOR, "*")
    session_id = next(row["id"] for row in listed if row["person_id"] == "zhang")
    assert f"/admin/sessions/{session_id}/revoke" in boss.get("/admin/sessions").text
    assert boss.post(f"/admin/sessions/{session_id}/revoke").status_code == 303
    assert zhang.get("/inbox").headers["location"].startswith("/login")


# -- dispatch ----------------------------------------------------------------------------------------------------------


def test_channels_of_the_last_messages_are_named(boss: Seat, house: House, client: TestClient):
    people.edit_person(house.services, OPERATOR, "zhang", email="zhang@example.cn")
    body = {"title": "示例路段积水", "kind": "opinion", "unit_id": "office"}
    assert client.post("/api/v1/incidents", json=body, headers=house.bearer("zhang")).status_code == 201
    channels.edit_channel(house.services, OPERATOR, "inbox", name="站内收件箱甲")
    run_engine_once(house.services)
    assert '<td>站内收件箱甲 <code class="small muted">inbox</code></td>' in boss.get("/admin/dispatch").text


def test_dispatch_is_held_with_a_reason_and_released_with_a_moment(boss: Seat):
    assert "通知发送正常" in boss.get("/admin/dispatch").text
    assert boss.post("/admin/dispatch/hold", {"reason": ""}).status_code == 422
    assert boss.post("/admin/dispatch/hold", {"reason": "核对恢复的数据"}).status_code == 303
    page = boss.get("/admin/dispatch").text
    assert "核对恢复的数据" in page
    undecided = boss.post("/admin/dispatch/release", {"sent": "until", "sent_until": "", "note": "说明甲"})
    assert undecided.status_code == 422
    assert "说明甲" in undecided.text
    future = boss.post("/admin/dispatch/release", {"sent": "until", "sent_until": "2030-01-01T00:00"})
    assert future.status_code == 422
    assert "晚于现在" in future.text
    assert boss.post("/admin/dispatch/release", {"sent": "everything"}).status_code == 303
    assert "通知发送正常" in boss.get("/admin/dispatch").text
    assert boss.post("/admin/dispatch/release", {"sent": "nothing"}).status_code == 409
