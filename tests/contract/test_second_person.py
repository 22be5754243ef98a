"""What waits for a second person: told with its words and its effect, listed where people look, withdrawn by the applicant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from huiying.domain.access import AccessRole
from huiying.domain.errors import Forbidden, HuiyingError, NeedsSecondPerson, NotFound, Refused
from huiying.domain.kinds import Kind, Severity, TimeKind
from huiying.service import doctor, duties, incidents, queries, roster_admin, rulebook, second_person
from huiying.service.actor import Actor
from huiying.service.audit_view import entries
from huiying.service.requests import CorrectRequest, RegisterRequest, TimeInput
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Store
from tests.builders import hours
from tests.fakes.clock import FakeClock
from tests.fakes.house import OPERATOR, acting, furnish, make_services

ZHANG = acting("zhang", AccessRole.DUTY)
WANG = acting("wang", AccessRole.APPROVER)


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
    sentence = f"申请 {number}({no} 更正时间)自 06-02 09:00 待复核,可复核:王三"
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
