"""What waits for a second person: told with its words and its effect, listed where people look, withdrawn by the applicant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from loguru import logger

from huiying.domain.access import AccessRole
from huiying.domain.errors import Forbidden, HuiyingError, NeedsSecondPerson, NotFound, Refused, Unavailable
from huiying.domain.kinds import ContentKind, GradeBasis, Kind, PublicationKind, Review, Severity, TimeKind
from huiying.service import (
    doctor,
    duties,
    incident_desk,
    incidents,
    queries,
    request_facts,
    roster_admin,
    rulebook,
    second_person,
)
from huiying.service.actor import Actor
from huiying.service.audit_view import entries
from huiying.service.changes import COMMANDS, keep_request
from huiying.service.requests import (
    CorrectRequest,
    GradeRequest,
    RegisterRequest,
    ReleaseRequest,
    ReviewRequest,
    TimeInput,
    TransferInput,
)
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Store
from tests.builders import hours
from tests.fakes.clock import FakeClock
from tests.fakes.house import OPERATOR, acting, furnish, make_services
from tests.odd_requests import ODD

ZHANG = acting("zhang", AccessRole.DUTY)
WANG = acting("wang", AccessRole.APPROVER)
ZHAO = acting("zhao", AccessRole.HEAD)
#: Who decides: not who asked.
DECIDER = defaultdict(lambda: WANG, review=ZHAO)


@pytest.fixture
def services(store: Store, tmp_path: Path) -> Services:
    made = make_services(store, tmp_path)
    rulebook.sync(made)
    furnish(made)
    roster_admin.grant_access(made, OPERATOR, "wang", "approver", "office")
    return made


def corrected(services: Services, clock: FakeClock) -> tuple[str, int]:
    """An emergency whose occurrence is said to lie later than stated: the due times would move later."""
    wanted = RegisterRequest(
        title="示例", kind=Kind.EMERGENCY, unit_id="office", severity=Severity.MAJOR, criterion="示例标准",
        times={TimeKind.OCCURRED: TimeInput(clock() - hours(2))},
    )  # fmt: skip
    no = incidents.register(services, ZHANG, wanted)["no"]
    change = CorrectRequest("现场记录写错", TimeKind.OCCURRED, TimeInput(clock() - hours(1)))
    with pytest.raises(NeedsSecondPerson) as refused:
        incidents.correct(services, ZHANG, no, change)
    return no, int(str(refused.value.details["request_id"]))


def test_a_request_shows_the_applicants_words_and_the_due_times_before_and_after(services: Services, clock: FakeClock):
    no, number = corrected(services, clock)
    (found,) = second_person.list_pending(services, ZHANG)["requests"]
    assert (found["id"], found["incident"], found["command_zh"]) == (number, no, "更正时间")
    assert (found["words"], found["requested_by_name"], found["state_zh"]) == ("现场记录写错", "张一", "待复核")
    assert [one["name"] for one in found["may_decide"]] == ["王三"]
    moved = {one["name"]: one for one in found["moved"]}
    release = moved["权威信息发布"]
    assert release["before"]["due_at"] < release["after"]["due_at"]
    assert found["obstacle"] == ""
    # Looking has changed nothing.
    clocks = queries.view_incident(services, no)["clocks"]
    assert release["before"]["due_at"] in {one["due_at"] for one in clocks}
    assert second_person.show_request(services, ZHANG, number) == found


def test_the_desk_the_brief_and_the_doctor_name_what_waits(services: Services, clock: FakeClock):
    no, number = corrected(services, clock)
    (listed,) = queries.duty_now(services)["requests"]
    assert (listed["id"], listed["incident"], listed["command_zh"]) == (number, no, "更正时间")
    with services.store.reading() as tx:
        brief = duties.brief_lines(tx, "office")
    sentence = f"申请 {number}（{no} 更正时间）自 06-02 09:00 待复核，可复核：王三"
    assert sentence in brief
    (finding,) = [found for found in doctor.examine(services) if found.name == "待复核申请"]
    assert (finding.message, finding.level) == (sentence + "。", doctor.Level.NOTE)
    roster_admin.revoke_access(services, OPERATOR, "wang", "approver", "office")
    (finding,) = [found for found in doctor.examine(services) if found.name == "待复核申请"]
    assert finding.level is doctor.Level.DO
    assert second_person.NOBODY_MAY in finding.message


def test_the_applicant_alone_withdraws_and_the_chain_keeps_it(services: Services, clock: FakeClock):
    no, number = corrected(services, clock)
    for other in (WANG, OPERATOR):
        with pytest.raises(Forbidden):
            second_person.withdraw(services, other, number)
    with pytest.raises(Forbidden, match="只能查看"):  # a token of the applicant's that may only read, as a wall's
        second_person.withdraw(services, replace(ZHANG, permissions=frozenset({"read"})), number)
    before = queries.view_incident(services, no)["clocks"]
    done = second_person.withdraw(services, ZHANG, number, "看错了")
    assert (done["state"], done["state_zh"], done["note"]) == ("withdrawn", "已撤回", "看错了")
    assert second_person.list_pending(services, ZHANG)["requests"] == []
    assert queries.view_incident(services, no)["clocks"] == before
    for again in (lambda: second_person.withdraw(services, ZHANG, number), lambda: approve(services, number)):
        with pytest.raises(Refused, match="已撤回"):
            again()
    actions = [entry["action"] for entry in entries(services, OPERATOR, subject=f"incident:{no}")["entries"]]
    assert actions.count("request.withdrawn") == 1


def approve(services: Services, number: int) -> None:
    incidents.approve(services, WANG, number)


def test_requests_of_other_offices_are_not_there(services: Services, clock: FakeClock):
    _, number = corrected(services, clock)
    stranger = Actor("person:sun", "sun", ZHANG.permissions, frozenset({"health"}))
    assert second_person.list_pending(services, stranger)["requests"] == []
    for look in (second_person.show_request, second_person.withdraw):
        with pytest.raises(NotFound):
            look(services, stranger, number)


def left_waiting(services: Services, number: int) -> None:
    """As a former version of the program left requests of ended incidents: to be decided by hand."""
    with services.store.transaction("test") as tx:
        tx.run(t.change_request.update().where(t.change_request.c.id == number).values(state="pending"))


def test_what_cannot_be_carried_out_any_more_says_why(services: Services, clock: FakeClock):
    no, number = corrected(services, clock)
    with pytest.raises(HuiyingError):
        incidents.void(services, ZHANG, no, "误报")
    (void,) = [one for one in second_person.list_pending(services, ZHANG)["requests"] if one["id"] != number]
    incidents.approve(services, WANG, void["id"])
    left_waiting(services, number)
    assert "已结束" in second_person.show_request(services, ZHANG, number)["obstacle"]


@pytest.mark.parametrize("decide", [incidents.approve, incidents.reject])
@pytest.mark.parametrize("name", ["void", "transfer_feedback"])
def test_a_unit_that_helps_decides_no_request_of_the_lead(
    services: Services, clock: FakeClock, name: str, decide: Callable[..., Any]
):
    """Who decides is who is told so: the lead unit's own line."""
    no, number = ASKED[name](services, clock)
    with services.store.transaction("test") as tx:
        tx.run(t.incident.update().where(t.incident.c.no == no).values(co_units=["health"]))
    helper = acting("qian", AccessRole.APPROVER, units=("health",))
    assert second_person.list_pending(services, helper)["requests"] == []
    with pytest.raises(Forbidden, match="由其他单位主办"):
        decide(services, helper, number)
    assert second_person.show_request(services, ZHANG, number)["state"] == "pending"
    decide(services, WANG, number)


def test_who_asked_sees_and_withdraws_it_as_one_of_a_unit_that_only_helps(services: Services, clock: FakeClock):
    no, number = corrected(services, clock)
    helper = acting("qian", AccessRole.APPROVER, units=("health",))
    with services.store.transaction("test") as tx:
        tx.run(t.incident.update().where(t.incident.c.no == no).values(co_units=["health"]))
        tx.run(t.change_request.update().where(t.change_request.c.id == number).values(requested_by=helper.id))
    assert incident_desk.incident_of_request(services, helper, number) == no
    other = acting("sun", AccessRole.APPROVER, units=("health",))
    with pytest.raises(NotFound):
        incident_desk.incident_of_request(services, other, number)
    view = queries.view_incident(services, no)
    for leads in (True, False):
        (shown,) = incident_desk.with_effects(services, other, view["requests"], {}, leads=leads)
        assert (shown["may_approve"], shown["may_reject"]) == (leads, leads)
    assert second_person.withdraw(services, helper, number)["state"] == "withdrawn"


def kept(services: Services, no: str, name: str) -> int:
    """One odd request, kept as if somebody had asked for it."""
    command, payload = ODD[name]
    with services.store.transaction("test") as tx:
        row = tx.one(sa.select(t.incident).where(t.incident.c.no == no))
        return keep_request(tx, row, command, payload, ZHANG.id, ["第二人复核"])


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, level="ERROR", diagnose=False)
    yield lines
    logger.remove(sink)


def test_one_odd_request_hides_no_other(services: Services, clock: FakeClock, logged: list[str]):
    no, first = corrected(services, clock)
    odd = {kept(services, no, name): name for name in ODD}
    last = refused_for_now(lambda: incidents.void(services, ZHANG, no, "误报"))
    found = {one["id"]: one for one in second_person.list_pending(services, ZHANG)["requests"]}
    assert list(found) == [first, *odd, last]
    for number in (first, last):
        assert found[number]["moved"]
        assert found[number]["facts"]
        assert (found[number]["obstacle"], found[number]["unreadable"]) == ("", False)
    readable = [name for number, name in odd.items() if not found[number]["obstacle"]]
    assert readable == []
    unreadable = {number: name for number, name in odd.items() if found[number]["unreadable"]}
    for number in unreadable:
        assert found[number]["obstacle"].startswith(f"系统读取或试算申请 {number} 时出错，此申请不能同意。")
        assert any(f"request {number} cannot be" in line and "Traceback" in line for line in logged)
    assert {"a text", "an empty object", "a command that is not known"} <= set(unreadable.values())
    page = incident_desk.waiting_requests(services, WANG, limit=100)["requests"]
    assert [one["id"] for one in page if one["unreadable"]] == list(unreadable)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_request_is_turned_down_or_withdrawn_and_never_carried_out(
    services: Services, clock: FakeClock, name: str, logged: list[str]
):
    no, _ = corrected(services, clock)
    number = kept(services, no, name)
    before = queries.view_incident(services, no)
    pending = second_person.show_request(services, ZHANG, number)
    with pytest.raises(Refused) as refused:
        approve(services, number)
    assert str(refused.value.message) == str(pending["obstacle"]), "what the page says holds"
    assert second_person.show_request(services, ZHANG, number)["state"] == "pending"
    incidents.reject(services, WANG, number)
    assert second_person.show_request(services, ZHANG, number)["state"] == "rejected"
    assert second_person.withdraw(services, ZHANG, kept(services, no, name))["state"] == "withdrawn"
    after = queries.view_incident(services, no)
    assert (after["clocks"], after["state"], after["title"]) == (before["clocks"], before["state"], before["title"])
    assert bool(logged) is pending["unreadable"]


def test_a_database_that_is_away_is_no_odd_request(services: Services, clock: FakeClock, logged: list[str]):
    _, number = corrected(services, clock)

    @sa.event.listens_for(services.store.engine, "savepoint")
    def _away(*_: object) -> None:
        raise sa.exc.OperationalError("SAVEPOINT", {}, OSError("connection lost"))

    with pytest.raises(Unavailable):
        request_facts.facts_of(services, [number])
    assert logged == []


def test_what_was_asked_for_before_a_flare_up_is_not_done_to_the_new_cycle(services: Services, clock: FakeClock):
    no = incidents.register(services, ZHANG, RegisterRequest(title="示例", kind=Kind.OPINION, unit_id="office"))["no"]
    with pytest.raises(NeedsSecondPerson) as asked:
        incidents.waive(services, ZHANG, no, "研判不予回应")
    number = int(str(asked.value.details["request_id"]))
    with pytest.raises(NeedsSecondPerson) as voided:
        incidents.void(services, ZHANG, no, "误报")
    incidents.approve(services, WANG, int(str(voided.value.details["request_id"])))
    clock.advance(hours(1))
    incidents.reopen(services, ZHANG, no, "复燃")
    left_waiting(services, number)
    assert "重开以前" in second_person.show_request(services, ZHANG, number)["obstacle"]
    with pytest.raises(Refused, match="重开以前"):
        approve(services, number)
    assert {one["state"] for one in queries.view_incident(services, no)["clocks"]} == {"running"}
    incidents.reject(services, WANG, number)
    assert second_person.list_pending(services, ZHANG)["requests"] == []


def refused_for_now(ask: Callable[[], object]) -> int:
    """The number of the request that is kept instead."""
    with pytest.raises(NeedsSecondPerson) as asked:
        ask()
    return int(str(asked.value.details["request_id"]))


def major(services: Services, clock: FakeClock, *, hours_ago: float = 2, by: Actor = ZHANG, **more: Any) -> str:
    times = {TimeKind.OCCURRED: TimeInput(clock() - hours(hours_ago)), **more.pop("times", {})}
    wanted = RegisterRequest(
        title="示例", kind=Kind.EMERGENCY, unit_id="office", severity=Severity.MAJOR, criterion="示例标准", times=times,
        **more,
    )  # fmt: skip
    return str(incidents.register(services, by, wanted)["no"])


def _correct(services: Services, clock: FakeClock) -> tuple[str, int]:
    return corrected(services, clock)


def _downgrade(services: Services, clock: FakeClock) -> tuple[str, int]:
    no = major(services, clock)
    wanted = GradeRequest(Kind.EMERGENCY, Severity.GENERAL, GradeBasis.DOWNGRADE, "示例标准")
    return no, refused_for_now(lambda: incidents.grade(services, ZHANG, no, wanted))


def _merge(services: Services, clock: FakeClock) -> tuple[str, int]:
    into = incidents.register(services, ZHANG, RegisterRequest(title="主件", kind=Kind.OPINION, unit_id="office"))["no"]
    no = major(services, clock)
    grave = GradeRequest(Kind.EMERGENCY, Severity.GENERAL, GradeBasis.CORRECTION, "示例标准")
    incidents.grade(services, ZHANG, into, grave)
    clock.advance(hours(4))  # the merged incident's release is overdue, and the primary has no such clock
    return no, refused_for_now(lambda: incidents.merge(services, ZHANG, no, into, "同一事件"))


def _unmerge(services: Services, clock: FakeClock) -> tuple[str, int]:
    into, no = major(services, clock, hours_ago=1), major(services, clock, hours_ago=2)
    incidents.merge(services, ZHANG, no, into, "同一事件")
    return no, refused_for_now(lambda: incidents.unmerge(services, ZHANG, no, "不是同一事件"))


def _void(services: Services, clock: FakeClock) -> tuple[str, int]:
    no = major(services, clock)
    return no, refused_for_now(lambda: incidents.void(services, ZHANG, no, "误报"))


def _confirm(services: Services, clock: FakeClock) -> tuple[str, int]:
    no = major(services, clock)
    clock.advance(hours(4))
    release = ReleaseRequest(PublicationKind.RELEASE, clock() - hours(2), url="https://www.example.cn/1", title="通报")
    return no, int(incidents.record_release(services, ZHANG, no, release)["requests"][0]["id"])


def _review(services: Services, clock: FakeClock) -> tuple[str, int]:
    no = major(services, clock)
    release = ReleaseRequest(PublicationKind.RELEASE, clock(), ContentKind.NEWS_REPORT, url="https://www.example.cn/1")
    made = incidents.record_release(services, ZHANG, no, release)["publications"][0]["id"]
    clock.advance(hours(4))
    wanted = ReviewRequest(made, Review.ACCEPTED, ContentKind.ORIGINAL, note="原文为本机关发布")
    return no, refused_for_now(lambda: incidents.review(services, WANG, no, wanted))


def _feedback(services: Services, clock: FakeClock) -> tuple[str, int]:
    no = major(services, clock, transfer=TransferInput("国办转1号", clock() - hours(1), clock() + hours(3)))
    clock.advance(hours(4))
    at = clock() - hours(2)
    return no, refused_for_now(lambda: incidents.transfer_feedback(services, ZHANG, no, "1", at))


#: Whatever a second person is asked for: how it comes about.
ASKED = {"correct": _correct, "grade": _downgrade, "merge": _merge, "unmerge": _unmerge, "void": _void,
         "confirm_publication": _confirm, "review": _review, "transfer_feedback": _feedback}  # fmt: skip


@pytest.mark.parametrize("command", ASKED)
def test_what_a_request_would_do_is_what_its_approval_does(services: Services, clock: FakeClock, command: str):
    no, number = ASKED[command](services, clock)
    shown = second_person.show_request(services, ZHANG, number)
    assert (shown["command"], shown["obstacle"]) == (command, "")
    clocks = incidents.approve(services, DECIDER[command], number)["clocks"]
    became = {(one["name"], one["due_at"], one["state"]) for one in clocks}
    assert shown["moved"]
    for one in shown["moved"]:
        if one["after"] is not None:
            assert (one["name"], one["after"]["due_at"], one["after"]["state"]) in became
    assert no == shown["incident"]


def test_looking_at_what_waits_takes_no_turn_to_write(
    services: Services, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
):
    numbers = [ASKED[command](services, clock)[1] for command in ("void", "merge", "confirm_publication")]
    monkeypatch.setattr(services.store, "transaction", lambda *_: pytest.fail("a write transaction"))
    assert len(second_person.list_pending(services, ZHANG)["requests"]) == len(numbers)
    for number in numbers:
        assert second_person.show_request(services, ZHANG, number)["moved"]
    waiting = incident_desk.waiting_requests(services, ZHANG)["requests"]
    assert all(one["moved"] and not one["obstacle"] for one in waiting)


#: Of each command: what the second person must be able to read, as (label, old value, new value).
SHOWN = {
    "correct": [("事发时间", "2025-06-02T07:00:00+08:00", "2025-06-02T08:00:00+08:00"), ("理由", "", "现场记录写错")],
    "grade": [("定级", "重大", "一般"), ("理由", "", "降级"), ("定级依据", "", "示例标准")],
    "merge": [("并入主件", "", "2025-0001"), ("理由", "", "同一事件")],
    "unmerge": [("主件", "", "2025-0001"), ("理由", "", "不是同一事件")],
    "void": [("理由", "", "误报")],
    "confirm_publication": [
        ("发布记录", "", "1"), ("发布时间", "", "2025-06-02T11:00:00+08:00"), ("网址", "", "https://www.example.cn/1"),
        ("发布标题", "", "通报"), ("登记时间", "", "2025-06-02T13:00:00+08:00"), ("登记人", "", "张一"),
        ("内容类型", "", "本机关权威信息"), ("保密审查", "", "未登记"),
    ],
    "review": [
        ("核验结论", "待核", "已核"), ("内容类型", "转载新闻报道", "本机关权威信息"), ("网址", "", "https://www.example.cn/1"),
        ("核验意见", "", "原文为本机关发布"),
    ],
    "transfer_feedback": [
        ("来文号", "", "国办转1号"), ("反馈时限", "", "2025-06-02T12:00:00+08:00"),
        ("反馈时间", "", "2025-06-02T11:00:00+08:00"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("command", ASKED)
def test_a_request_says_what_is_asked_for_with_old_and_new_values(services: Services, clock: FakeClock, command: str):
    _, number = ASKED[command](services, clock)
    found = [(f["label"], f["was"], f["now"]) for f in second_person.show_request(services, ZHANG, number)["facts"]]
    assert [line for line in SHOWN[command] if line not in found] == []
    incidents.approve(services, DECIDER[command], number)
    decided = second_person.show_request(services, ZHANG, number)["facts"]
    assert not any(fact["was"] for fact in decided)  # what holds now is no old value any more


def test_whatever_can_be_asked_for_is_told_in_words():
    assert set(request_facts.TOLD) == set(COMMANDS)


def test_another_unit_and_another_reading_of_a_time_are_named(services: Services, clock: FakeClock):
    no = major(services, clock)
    with services.store.transaction("test") as tx:
        row = tx.one(sa.select(t.incident).where(t.incident.c.no == no))
        assert row is not None
        asked: dict[str, dict[str, Any]] = {
            "reassign": {"unit_id": "water", "reason": "职责所在"},
            "correct": {"reason": "旧事新曝", "late_exposure": True},
            "continuous": {"every_hours": 6},
        }
        numbers = {name: keep_request(tx, row, name, payload, ZHANG.id, ["x"]) for name, payload in asked.items()}
    facts = request_facts.facts_of(services, numbers.values())
    told = {name: (facts[n][0]["label"], facts[n][0]["was"], facts[n][0]["now"]) for name, n in numbers.items()}
    assert told == {
        "reassign": ("新的主办单位", "示例市政务公开办", "示例市水务局"),
        "correct": ("起算口径", "按事发", "按首发"),
        "continuous": ("持续发布间隔（小时）", "0", "6"),
    }
