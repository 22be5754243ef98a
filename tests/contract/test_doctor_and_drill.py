"""Looking the installation over, playing a drill, holding dispatch, an office's own policies."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from config.policy_loader import POLICIES_DIRECTORY
from huiying.domain.errors import BadRulePack, Forbidden, NotFound, Refused
from huiying.domain.kinds import Kind
from huiying.service import (
    channels,
    dispatch,
    doctor,
    drill,
    first_run,
    incidents,
    people,
    policies,
    roster_admin,
    rulebook,
)
from huiying.service.doctor import Level
from huiying.service.drill_script import read_script
from huiying.service.held import confirm_dispatch
from huiying.service.requests import RegisterRequest
from huiying.service.roster_admin import ShiftInput
from huiying.service.running import note_running
from huiying.service.services import Services
from huiying.store import heartbeats
from huiying.store import tables as t
from huiying.store.db import Store
from tests.fakes.clock import FakeClock
from tests.fakes.house import (
    OPERATOR,
    House,
    acting,
    cheap_passwords,
    furnish,
    house,
    house_template,
    make_services,
)

__all__ = ["cheap_passwords", "house", "house_template"]

pytestmark = pytest.mark.usefixtures("cheap_passwords")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def services(store: Store, tmp_path: Path) -> Services:
    made = make_services(store, tmp_path)
    rulebook.sync(made)
    furnish(made)
    return made


def todo(services: Services) -> dict[str, list[str]]:
    """What somebody has to see to, by name."""
    found: dict[str, list[str]] = {}
    for finding in doctor.examine(services):
        if finding.level is Level.DO:
            found.setdefault(finding.name, []).append(finding.message)
    return found


# -- the doctor ----------------------------------------------------------------------------------------------------


def test_the_doctor_looks_on_both_stores_and_names_what_is_missing(services: Services):
    found = todo(services)
    assert "提醒引擎尚未启动" in found["提醒引擎"][0]
    assert any("督查室" in message for message in found["值班"])
    assert "没有任何对外渠道" in found["联系方式"][0]
    assert {"没有在用的管理员账号。请执行 huiying access grant。"} < set(found["账号"])
    assert "数据库" not in found


def test_a_gap_in_the_roster_is_named_to_the_minute(services: Services, clock: FakeClock):
    roster_admin.remove_duty(services, OPERATOR, "zhang", "duty_officer", "office")
    now = clock()
    for begin, end in ((0, 8), (10, 30)):
        wanted = ShiftInput("office", "duty_officer", "zhang", now + timedelta(hours=begin), now + timedelta(hours=end))
        roster_admin.add_shift(services, OPERATOR, wanted)
    gaps = [message for message in todo(services)["值班"] if "值班员" in message]
    assert gaps == ["office 的值班员在未来 24 小时内有空缺：06-02 17:00–06-02 19:00。"]


def test_two_shifts_that_touch_leave_no_gap_and_two_gaps_that_touch_are_one(services: Services, clock: FakeClock):
    roster_admin.remove_duty(services, OPERATOR, "zhang", "duty_officer", "office")
    now = clock()
    for person, begin, end in (("zhang", 0, 8), ("li", 8, 12)):
        wanted = ShiftInput("office", "duty_officer", person, now + timedelta(hours=begin), now + timedelta(hours=end))
        roster_admin.add_shift(services, OPERATOR, wanted)
    gaps = [message for message in todo(services)["值班"] if "值班员" in message]
    assert gaps == ["office 的值班员在未来 24 小时内有空缺：06-02 21:00–06-03 09:00。"]


def test_a_healthy_engine_a_reachable_address_and_a_robot_are_no_findings(services: Services):
    settings = {"url": "https://hook.example.cn/x", "secret": "whsec_" + "QUJD" * 8}
    channels.add_channel(services, OPERATOR, "robot", kind="webhook", settings=settings)
    with services.store.transaction("test") as tx:
        heartbeats.beat(tx, "test/engine", "b", {"healthy": True})
    found = todo(services)
    assert not {"提醒引擎", "访问地址"} & set(found)
    with services.store.transaction("test") as tx:
        until = tx.now + timedelta(hours=1)
        tx.run(t.channel.update().where(t.channel.c.id == "robot").values(parked_until=until, parked_reason="熔断"))
    assert "熔断" in todo(services)["渠道"][0]


def test_an_office_with_only_a_robot_is_told_that_a_breach_reaches_nobody_in_person(services: Services):
    settings = {"url": "https://oapi.dingtalk.com/robot/send?access_token=x", "secret": "SECx"}
    channels.add_channel(services, OPERATOR, "robot", kind="dingtalk", settings=settings)
    people.edit_person(services, OPERATOR, "li", im={"robot": "li-1"})  # to be mentioned, not to be reached
    found = todo(services)
    assert "没有个人渠道" in found["个人渠道"][0]
    assert any("li" in message and "zhang" in message for message in found["联系方式"])
    assert any(message.startswith("office 的「5小时权威信息发布」超时时，") for message in found["超时督办"])
    assert all("只能改发工作群" in message for message in found["超时督办"])
    mail = {"host": "mail.example.cn", "from": "desk@example.cn"}
    channels.add_channel(services, OPERATOR, "mail", kind="email", settings=mail)
    for person in ("li", "zhao"):
        people.edit_person(services, OPERATOR, person, email=f"{person}@example.cn")
    found = todo(services)
    assert not {"个人渠道", "超时督办"} & set(found)
    assert all("zhang" in message and "李" not in message for message in found["联系方式"])


def test_a_webhook_reaches_nobody_in_particular_and_the_doctor_says_so(services: Services):
    settings = {"url": "https://hook.example.cn/x", "secret": "whsec_" + "QUJD" * 8}
    channels.add_channel(services, OPERATOR, "hook", kind="webhook", audience="personal", settings=settings)
    assert any("无从得知" in message for message in todo(services)["超时督办"])


def test_keys_that_others_can_read_are_named(house: House):
    key = house.services.settings.data_dir / "secret.key"
    house.services.settings.data_dir.chmod(0o700)
    key.write_text("x")
    key.chmod(0o644)
    assert str(key) in todo(house.services)["文件权限"][0]


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("", Level.DO),
        ("http://127.0.0.1:8765", Level.DO),
        ("http://localhost", Level.DO),
        ("http://desk.example", Level.NOTE),
        ("https://desk.example", Level.OK),
    ],
)
def test_the_address_in_the_messages_must_open_on_a_telephone(
    sqlite_store: Store, tmp_path: Path, url: str, level: Level
):
    made = make_services(sqlite_store, tmp_path, public_url=url)
    (finding,) = [finding for finding in doctor.examine(made) if finding.name == "访问地址"]
    assert finding.level is level


def test_the_address_is_the_running_products_and_not_this_shells(sqlite_store: Store, tmp_path: Path):
    serving = make_services(sqlite_store, tmp_path, public_url="https://desk.example")
    note_running(serving)
    shell = make_services(sqlite_store, tmp_path, public_url="")

    def found() -> dict[str, tuple[Level, str]]:
        return {one.name: (one.level, one.message) for one in doctor.examine(shell)}

    assert found()["访问地址"][0] is Level.DO  # nobody runs: what this shell says is all there is
    with sqlite_store.transaction("test") as tx:
        heartbeats.beat(tx, "test/engine", "b", {"healthy": True})
    assert found()["访问地址"] == (Level.OK, "https://desk.example")
    assert found()["访问地址设置"][0] is Level.NOTE


def test_a_drills_number_is_plainly_a_drills_and_leaves_no_gap_among_the_real_ones(services: Services):
    def registered(*, drill: bool) -> str:
        wanted = RegisterRequest(title="示例", kind=Kind.OPINION, unit_id="office", drill=drill)
        return str(incidents.register(services, OPERATOR, wanted)["no"])

    assert [registered(drill=drill) for drill in (False, True, True, False)] == [
        "2025-0001", "YL-2025-0001", "YL-2025-0002", "2025-0002",
    ]  # fmt: skip


# -- a drill -------------------------------------------------------------------------------------------------------


def script(name: str = "reservoir.yaml") -> Any:
    return read_script(name, (ROOT / "docs" / "examples" / name).read_bytes())


def test_a_drill_leaves_marked_copies_in_one_inbox_and_nothing_else(services: Services):
    progress: list[tuple[float, float]] = []
    made = drill.play(services, OPERATOR, script(), to="li", progress=lambda *step: progress.append(step))
    assert made["refusals"] == []
    assert progress[-1] == (48 * 3600, 48 * 3600)
    assert progress == sorted(progress)
    with services.store.reading() as tx:
        rows = tx.all(sa.select(t.inbox_message))
        assert tx.value(sa.select(sa.func.count()).select_from(t.incident)) == 0
        assert tx.value(sa.select(sa.func.count()).select_from(t.delivery)) == 0
    assert len(rows) == made["copied"] == made["messages"] > 10
    assert {row.person_id for row in rows} == {"li"}
    assert all(row.drill and row.subject.startswith("【演练】") and "【演练】致" in row.text for row in rows)
    assert "绝不" not in "".join(row.text for row in rows)


def test_a_drill_tells_the_story_of_the_clause(house: House):
    made = drill.play(house.services, OPERATOR, script())
    story = [(item["at"][5:16], item["zh"]) for item in made["timeline"]["items"]]
    assert ("03-10T12:25", "权威信息发布 按时完成") in story
    assert ("03-11T07:10", "新闻发布会 按时完成") in story
    assert ("03-12T07:40", "办结归档") in story
    assert made["copied_to"] is None


def test_a_drill_without_a_response_breaches_at_the_due_instant(house: House):
    made = drill.play(house.services, OPERATOR, replace(script(), deeds=()))
    story = {item["zh"]: item["at"] for item in made["timeline"]["items"] if item["what"] == "breached"}
    assert story["权威信息发布 超时"].startswith("2026-03-10T13:00:00")
    assert story["新闻发布会 超时"].startswith("2026-03-11T08:00:00")


def test_a_drill_needs_a_known_inbox_and_the_right_to_register(house: House):
    with pytest.raises(NotFound):
        drill.play(house.services, OPERATOR, script(), to="nobody")
    with pytest.raises(Forbidden):
        drill.play(house.services, acting("boss"), script())


# -- holding dispatch ----------------------------------------------------------------------------------------------


def test_dispatch_is_held_by_hand_and_goes_on_after_a_word(services: Services):
    assert dispatch.status(services)["held"] is False
    dispatch.hold(services, OPERATOR, "更换渠道")
    shown = dispatch.status(services)
    assert (shown["held"], shown["reason"]) == (True, "更换渠道")
    with pytest.raises(Refused):
        dispatch.hold(services, OPERATOR, "再来")
    with pytest.raises(Forbidden):
        dispatch.hold(services, acting("zhang"), "无权")
    assert any("已暂停" in message for message in todo(services)["通知发送"])
    confirm_dispatch(services.store, OPERATOR, sent_until=None)
    assert dispatch.status(services)["held"] is False


# -- policies ------------------------------------------------------------------------------------------------------


def shipped_policy() -> tuple[str, bytes]:
    path = min(POLICIES_DIRECTORY.glob("*.yaml"))
    return path.stem, path.read_bytes()


def test_an_office_keeps_its_own_policy_when_the_shipped_ones_are_taken_in_again(services: Services):
    policy_id, data = shipped_policy()
    before = {row["id"]: row for row in policies.list_policies(services)}
    own = data.replace(b"\nname: ", b"\nname: \xe6\x9c\xac\xe5\x8d\x95\xe4\xbd\x8d", 1)
    made = policies.import_policy(services, OPERATOR, own, "own.yaml")
    assert made["hash"] != before[policy_id]["hash"]
    rulebook.sync(services)
    policies.restore_own(services)
    shown = {row["id"]: row for row in policies.list_policies(services)}
    assert (shown[policy_id]["hash"], shown[policy_id]["own"]) == (made["hash"], True)
    assert policies.show_policy(services, policy_id)["steps"]
    assert policies.reset_policy(services, OPERATOR, policy_id)["shipped"] is True
    assert {row["id"]: row["hash"] for row in policies.list_policies(services)}[policy_id] == before[policy_id]["hash"]


def test_two_policies_for_one_rule_are_refused_and_so_is_a_bad_file(house: House):
    policy_id, data = shipped_policy()
    with pytest.raises(Refused, match="只能有一个方案"):
        policies.import_policy(
            house.services, OPERATOR, data.replace(f"id: {policy_id}".encode(), b"id: another", 1), "x.yaml"
        )
    with pytest.raises(BadRulePack):
        policies.import_policy(house.services, OPERATOR, b"id: x", "x.yaml")
    with pytest.raises(NotFound):
        policies.show_policy(house.services, "nothing")
    with pytest.raises(Refused):
        policies.reset_policy(house.services, OPERATOR, policy_id)
    assert not any(row["own"] for row in policies.list_policies(house.services))


# -- the first run -------------------------------------------------------------------------------------------------


def test_an_empty_system_is_seeded_once(store: Store, tmp_path: Path):
    made = make_services(store, tmp_path)
    password = first_run.seed(made)
    assert password is not None
    assert first_run.seed(made) is None
    assert [unit["id"] for unit in people.list_units(made, OPERATOR)] == ["main"]
    assert [row["role"] for row in roster_admin.list_access(made, OPERATOR)] == ["administrator"]
    assert [channel["id"] for channel in channels.list_channels(made, OPERATOR)] == ["inbox", "console"]
    assert [channel["enabled"] for channel in channels.list_channels(made, OPERATOR)] == [True, False]
