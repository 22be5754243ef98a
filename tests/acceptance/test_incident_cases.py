"""The cases that must come out right (docs/readings.md), through the real use cases on both databases.

Numbers are those of the product's case table.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from huiying.domain.errors import Forbidden, InvalidInput, NeedsSecondPerson, Refused
from huiying.domain.kinds import ContentKind, GradeBasis, Kind, PublicationKind, Review, Severity, TimeKind
from huiying.service import incidents, rulebook, second_person
from huiying.service.requests import (
    AckRequest,
    CorrectRequest,
    GradeRequest,
    RegisterRequest,
    ReviewRequest,
    TimeInput,
    TransferInput,
)
from huiying.store import tables as t
from tests.acceptance.conftest import LEADER, LOCAL, OFFICER, Desk, at, due, request_of

RELEASE, CONFERENCE, RESPONSE = "authoritative_release", "press_conference", "authoritative_response"


def test_case_01_holidays_are_not_skipped_by_hour_clocks(desk: Desk) -> None:
    desk.now("2026-02-15 22:40")
    no = desk.register(Severity.MAJOR, occurred="2026-02-15 22:30")
    clocks = desk.binding(no)
    assert clocks[RELEASE]["due_at"] == due("2026-02-16 03:30")
    assert clocks[CONFERENCE]["due_at"] == due("2026-02-16 22:30")
    assert RESPONSE not in clocks


def test_case_02_an_opinion_runs_48_hours_from_knowledge(desk: Desk) -> None:
    desk.now("2026-09-30 18:05")
    no = desk.register(detected="2026-09-30 18:00")
    assert {k: c["due_at"] for k, c in desk.binding(no).items()} == {RESPONSE: due("2026-10-02 18:00")}


def test_case_03_hour_clocks_need_no_calendar_of_the_next_year(desk: Desk) -> None:
    desk.now("2026-12-31 22:10")
    no = desk.register(Severity.MAJOR, occurred="2026-12-31 22:00")
    clocks = desk.binding(no)
    assert clocks[RELEASE]["due_at"] == due("2027-01-01 03:00")
    assert clocks[CONFERENCE]["due_at"] == due("2027-01-01 22:00")


@pytest.mark.parametrize(
    ("published", "state"), [("2026-03-10 13:00:00", "satisfied"), ("2026-03-10 13:00:01", "satisfied_late")]
)
def test_case_04_exactly_at_due_is_on_time(desk: Desk, published: str, state: str) -> None:
    no = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00")
    desk.now("2026-03-10 13:00:01")
    view = desk.publish(no, PublicationKind.RELEASE, published)
    if state == "satisfied":
        # Entered one second after the limit had passed: a second person confirms that it was on time.
        incidents.approve(desk.services, LEADER, view["requests"][0]["id"])
    assert desk.states(no)[RELEASE] == state


def _worsened(desk: Desk, no: str, basis: GradeBasis) -> None:
    incidents.grade(
        desk.services,
        OFFICER,
        no,
        GradeRequest(Kind.EMERGENCY, Severity.MAJOR, basis, "示例依据", at("2026-03-10 20:00"), "现场新情况通报"),
    )


def test_case_22_a_worsened_opinion_starts_at_the_new_fact(desk: Desk) -> None:
    desk.now("2026-03-10 08:10")
    no = desk.register(occurred="2026-03-10 08:00", detected="2026-03-10 08:00")
    desk.now("2026-03-10 20:05")
    _worsened(desk, no, GradeBasis.WORSENED)
    clocks = desk.binding(no)
    assert clocks[RELEASE]["due_at"] == due("2026-03-11 01:00")
    assert clocks[CONFERENCE]["due_at"] == due("2026-03-11 20:00")
    assert clocks[RESPONSE]["state"] == "superseded"
    steps = {action.step_id for action in desk.actions(no)}
    assert "share_50" in steps


def test_case_22_a_corrected_grade_counts_from_the_occurrence_and_is_late_at_once(desk: Desk) -> None:
    desk.now("2026-03-10 08:10")
    no = desk.register(occurred="2026-03-10 08:00", detected="2026-03-10 08:00")
    desk.now("2026-03-10 20:05")
    _worsened(desk, no, GradeBasis.CORRECTION)
    clocks = desk.binding(no)
    assert clocks[RELEASE]["due_at"] == due("2026-03-10 13:00")
    assert (clocks[RELEASE]["state"], clocks[RELEASE]["attribution"]) == ("breached", "late_grading")
    assert clocks[CONFERENCE]["due_at"] == due("2026-03-11 08:00")
    assert clocks["action:authoritative_release"]["status"] == "internal"


def test_case_23_an_earlier_release_counts_only_after_a_reviewers_tick(desk: Desk) -> None:
    desk.now("2026-03-10 08:10")
    no = desk.register(occurred="2026-03-10 08:00", detected="2026-03-10 08:00")
    desk.now("2026-03-10 10:05")
    publication = desk.publish(no, PublicationKind.RELEASE, "2026-03-10 10:00")["publications"][0]["id"]
    desk.now("2026-03-10 20:05")
    _worsened(desk, no, GradeBasis.WORSENED)
    assert desk.states(no)[RELEASE] == "running"
    incidents.review(desk.services, LEADER, no, ReviewRequest(publication, credited=True, review=Review.ACCEPTED))
    assert desk.states(no)[RELEASE] == "satisfied"


def test_case_25_extra_major_after_major_restarts_nothing(desk: Desk) -> None:
    no = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00")
    before = desk.binding(no)
    desk.now("2026-03-10 10:00")
    _grade(desk, no, Severity.EXTRA_MAJOR, GradeBasis.WORSENED)
    after = desk.binding(no)
    assert {k: c["due_at"] for k, c in after.items()} == {k: c["due_at"] for k, c in before.items()}


def _grade(desk: Desk, no: str, severity: Severity, basis: GradeBasis) -> None:
    incidents.grade(
        desk.services,
        OFFICER,
        no,
        GradeRequest(Kind.EMERGENCY, severity, basis, "示例依据", at("2026-03-10 09:00"), "新情况"),
    )


def test_case_26_late_registration_gives_one_alert_and_an_internal_clock(desk: Desk) -> None:
    desk.now("2026-03-10 14:00")
    no = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00", notified="2026-03-10 13:55")
    clocks = desk.binding(no)
    late = clocks[RELEASE]
    assert (late["state"], late["state_zh"], late["attribution"]) == ("breached", "接报时已逾期", "late_report")
    assert clocks["action:authoritative_release"]["due_at"] == due("2026-03-10 18:55")
    assert clocks[CONFERENCE]["remaining_seconds"] == 18 * 3600
    now = [a for a in desk.actions(no) if a.due_at <= desk.clock()]
    assert [(a.kind, a.detail["band"]) for a in now] == [("registered", "overdue")]
    assert not any(a.kind == "breached" and a.clock_id == late["id"] for a in desk.actions(no))


def test_case_28_a_correction_that_turns_a_breach_into_success_needs_a_second_person(desk: Desk) -> None:
    no = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00", detected="2026-03-10 08:30")
    desk.now("2026-03-10 13:30")
    desk.publish(no, PublicationKind.RELEASE, "2026-03-10 13:10")
    assert desk.states(no)[RELEASE] == "satisfied_late"
    fix = CorrectRequest("监控记录显示", TimeKind.OCCURRED, TimeInput(at("2026-03-10 08:15"), "监控"))
    with pytest.raises(NeedsSecondPerson) as caught:
        incidents.correct(desk.services, OFFICER, no, fix)
    assert desk.states(no)[RELEASE] == "satisfied_late"
    request = request_of(caught.value)
    with pytest.raises(Forbidden):
        incidents.approve(desk.services, OFFICER, request)
    with pytest.raises(Forbidden):
        incidents.approve(desk.services, LOCAL, request)
    incidents.approve(desk.services, LEADER, request)
    assert desk.states(no)[RELEASE] == "satisfied"
    times = [x for x in desk.view(no)["times"] if x["kind"] == "occurred_at"]
    assert [x["superseded"] for x in times] == [True, False]


def test_case_28_a_corrected_time_makes_no_publication_late_by_its_entry_and_nobody_a_second_person(desk: Desk) -> None:
    no = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00", detected="2026-03-10 08:30")
    desk.now("2026-03-10 12:30")
    desk.publish(no, PublicationKind.RELEASE, "2026-03-10 11:50")
    fix = CorrectRequest("监控记录显示", TimeKind.OCCURRED, TimeInput(at("2026-03-10 07:00"), "监控"))
    incidents.correct(desk.services, OFFICER, no, fix)
    clock = desk.binding(no)[RELEASE]
    # Published before the earlier limit of 12:00, entered after it: one person alone has made nothing better by that.
    assert (clock["due_at"], clock["state"]) == (due("2026-03-10 12:00"), "satisfied")
    assert desk.view(no)["publications"][0]["confirmed_by"] is None


def test_case_28_a_harmless_correction_does_not_confirm_what_waits_for_a_second_person(desk: Desk) -> None:
    no = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00", detected="2026-03-10 08:30")
    desk.now("2026-03-10 13:30")
    request = desk.publish(no, PublicationKind.RELEASE, "2026-03-10 12:50")["requests"][0]["id"]
    fix = CorrectRequest("核对后的理由", TimeKind.DETECTED, TimeInput(at("2026-03-10 08:20"), "监控"))
    with pytest.raises(NeedsSecondPerson):  # it would settle that the release was on time
        incidents.correct(desk.services, OFFICER, no, fix)
    assert desk.states(no)[RELEASE] == "satisfied_late"
    incidents.approve(desk.services, LEADER, request)
    assert desk.states(no)[RELEASE] == "satisfied"
    assert desk.view(no)["publications"][0]["confirmed_by"] == LEADER.id


def test_case_29_a_repost_never_stops_a_clock_and_a_later_finding_reopens_it(desk: Desk) -> None:
    no = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00")
    desk.now("2026-03-10 10:00")
    desk.publish(no, PublicationKind.RELEASE, "2026-03-10 10:00", content_kind=ContentKind.NEWS_REPORT)
    assert desk.states(no)[RELEASE] == "running"
    own = desk.publish(no, PublicationKind.RELEASE, "2026-03-10 10:00")["publications"][-1]["id"]
    assert desk.states(no)[RELEASE] == "satisfied"
    desk.now("2026-03-10 14:00")
    incidents.review(desk.services, LEADER, no, ReviewRequest(own, content_kind=ContentKind.NEWS_REPORT))
    clock = desk.binding(no)[RELEASE]
    assert (clock["state"], clock["attribution"]) == ("breached", "invalid_response")
    told = [a for a in desk.actions(no) if a.kind == "breached" and a.clock_id == clock["id"]]
    assert len(told) == 1
    assert told[0].due_at <= desk.clock()


def test_case_30_a_conference_in_time_is_also_the_release(desk: Desk) -> None:
    no = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00")
    desk.now("2026-03-10 12:30")
    desk.publish(no, PublicationKind.PRESS_CONFERENCE, "2026-03-10 12:00")
    assert desk.states(no) == {RELEASE: "satisfied", CONFERENCE: "satisfied"}
    assert desk.view(no)["state"] == "responded"


def test_case_31_a_conference_counts_from_its_start_not_its_announcement(desk: Desk) -> None:
    no = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00")
    desk.now("2026-03-11 04:00")
    with pytest.raises(InvalidInput):
        desk.publish(no, PublicationKind.PRESS_CONFERENCE, "2026-03-11 09:00")
    desk.now("2026-03-11 09:30")
    desk.publish(no, PublicationKind.PRESS_CONFERENCE, "2026-03-11 09:00")
    assert desk.states(no)[CONFERENCE] == "satisfied_late"


def test_case_33_a_late_department_leaves_the_document_clock_on_time(desk: Desk) -> None:
    no = desk.register(detected="2026-03-10 08:30")
    incidents.add_task(desk.services, OFFICER, no, "water", "现场核查", at("2026-03-10 12:00"))
    desk.now("2026-03-10 15:00")
    desk.publish(no, PublicationKind.RESPONSE, "2026-03-10 14:50")
    states = desk.states(no)
    assert (states[RESPONSE], states["task:1"]) == ("satisfied", "breached")
    assert desk.binding(no)["task:1"]["status"] == "internal"


def test_case_35_closed_incidents_keep_the_pack_they_were_judged_by(desk: Desk) -> None:
    no = desk.register(detected="2026-03-10 08:30")
    desk.publish(no, PublicationKind.RESPONSE, "2026-03-10 08:50")
    incidents.close(desk.services, OFFICER, no, "已回应")
    before = desk.view(no)
    with desk.services.store.transaction("test") as tx:
        tx.run(t.pack.update().values(current=False))
        row = tx.one(t.pack.select().where(t.pack.c.id == "cn-gbf-2016-61"))
        assert row is not None
        body = dict(row.body)
        body["clocks"] = [{**c, "limit": "PT1H"} if c["limit"] else c for c in body["clocks"]]
        body["version"] = "f" * 64
        tx.run(t.pack.insert().values(id=row.id, version="f" * 64, body=body, loaded_at=tx.now, current=True))
    after = desk.view(no)
    assert [c["due_at"] for c in after["clocks"]] == [c["due_at"] for c in before["clocks"]]
    assert [c["state"] for c in after["clocks"]] == [c["state"] for c in before["clocks"]]


def test_case_36_zhaotongs_48_hours_stand_as_by_reference(desk: Desk) -> None:
    no = desk.register(region="530600", detected="2026-03-10 08:30")
    clock = next(c for c in desk.view(no)["clocks"] if c["pack"].startswith("cn-530600"))
    assert (clock["status"], clock["status_zh"], clock["rule"]) == ("by_reference", "援引规定", RESPONSE)


def test_case_37_a_transferred_notice_without_a_due_time_gets_no_limit(desk: Desk) -> None:
    no = desk.register(detected="2026-03-10 08:30")
    incidents.add_transfer(desk.services, OFFICER, no, TransferInput("示例转〔2026〕1号", at("2026-03-10 08:40")))
    assert not any(c["origin"] == "transfer" for c in desk.view(no)["clocks"])
    named = TransferInput("示例转〔2026〕2号", at("2026-03-10 08:40"), at("2026-03-11 12:00"))
    incidents.add_transfer(desk.services, OFFICER, no, named)
    clock = desk.binding(no)["transfer:2"]
    assert (clock["status"], clock["due_at"]) == ("stipulated", due("2026-03-11 12:00"))


def test_case_41_publications_before_the_event_or_in_the_future_are_refused(desk: Desk) -> None:
    no = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00")
    for moment in ("2026-03-10 07:59", "2026-03-10 09:01"):
        with pytest.raises(InvalidInput) as caught:
            desk.publish(no, PublicationKind.RELEASE, moment)
        assert caught.value.field == "published_at"
    assert desk.view(no)["publications"] == []


def test_case_42_voiding_needs_a_second_person_before_and_after_a_breach(desk: Desk) -> None:
    early = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00")
    late = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00")
    with pytest.raises(NeedsSecondPerson):
        incidents.void(desk.services, OFFICER, early, "误报")
    assert desk.states(early)[RELEASE] == "running"
    desk.now("2026-03-10 13:30")
    with pytest.raises(NeedsSecondPerson) as caught:
        incidents.void(desk.services, OFFICER, late, "误报")
    incidents.approve(desk.services, LEADER, request_of(caught.value))
    view = desk.view(late)
    assert view["state"] == "voided"
    clock = next(c for c in view["clocks"] if c["rule"] == RELEASE and c["binding"])
    assert clock["state"] == "cancelled"
    assert clock["noticed_at"] is not None  # stays listed
    assert not [a for a in desk.actions(late) if a.clock_id]


def test_case_43_a_flare_up_is_a_new_cycle_with_its_own_anchors(desk: Desk) -> None:
    no = desk.register(detected="2026-03-10 08:30")
    desk.publish(no, PublicationKind.RESPONSE, "2026-03-10 08:50")
    incidents.close(desk.services, OFFICER, no, "已回应")
    with pytest.raises(Refused):
        desk.publish(no, PublicationKind.RESPONSE, "2026-03-10 08:55")
    desk.now("2026-03-12 10:00")
    times = {TimeKind.DETECTED: TimeInput(at("2026-03-12 09:30"), "监测")}
    view = incidents.reopen(desk.services, OFFICER, no, "复燃", times)
    assert view["cycle"] == 2
    assert desk.binding(no)[RESPONSE]["due_at"] == due("2026-03-14 09:30")


def test_case_43_what_was_merged_before_the_flare_up_neither_anchors_nor_satisfies_the_new_cycle(desk: Desk) -> None:
    merged = desk.register(detected="2026-03-10 08:00")
    no = desk.register(detected="2026-03-10 08:30")
    desk.publish(merged, PublicationKind.RESPONSE, "2026-03-10 08:50")
    with pytest.raises(NeedsSecondPerson) as asked:
        incidents.merge(desk.services, OFFICER, merged, no, "同一事项")
    incidents.approve(desk.services, LEADER, request_of(asked.value))
    incidents.close(desk.services, OFFICER, no, "已回应")
    desk.now("2026-03-12 10:00")
    times = {TimeKind.DETECTED: TimeInput(at("2026-03-12 09:30"), "监测")}
    incidents.reopen(desk.services, OFFICER, no, "复燃", times)
    clock = desk.binding(no)[RESPONSE]
    assert (clock["state"], clock["due_at"]) == ("running", due("2026-03-14 09:30"))


def test_merging_takes_the_earliest_times_and_unmerging_restores(desk: Desk) -> None:
    first = desk.register(detected="2026-03-10 08:30")
    desk.now("2026-03-10 10:00")
    second = desk.register(detected="2026-03-10 09:50")
    alone = desk.binding(second)[RESPONSE]["due_at"]
    incidents.merge(desk.services, OFFICER, first, second, "同一事项")
    assert desk.binding(second)[RESPONSE]["due_at"] == due("2026-03-12 08:30")
    assert desk.view(first)["state"] == "merged"
    assert {c["state"] for c in desk.view(first)["clocks"]} == {"merged"}
    with pytest.raises(Refused):
        desk.publish(first, PublicationKind.RESPONSE, "2026-03-10 09:55")
    with pytest.raises(Refused, match="已有并入件"):
        incidents.merge(desk.services, OFFICER, second, desk.register(detected="2026-03-10 09:55"), "链式")
    with pytest.raises(NeedsSecondPerson, match="推后") as caught:
        incidents.unmerge(desk.services, OFFICER, first, "并错了")
    incidents.approve(desk.services, LEADER, request_of(caught.value))
    assert desk.binding(second)[RESPONSE]["due_at"] == alone
    assert desk.binding(first)[RESPONSE]["due_at"] == due("2026-03-12 08:30")
    assert desk.states(first) == {RESPONSE: "running"}
    assert alone == due("2026-03-12 09:50")


def test_regrading_down_needs_a_second_person_and_keeps_the_breach(desk: Desk) -> None:
    no = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00", detected="2026-03-10 08:20")
    desk.now("2026-03-10 14:00")
    request = GradeRequest(Kind.EMERGENCY, Severity.GENERAL, GradeBasis.DOWNGRADE, "复核认为不足")
    with pytest.raises(NeedsSecondPerson) as caught:
        incidents.grade(desk.services, OFFICER, no, request)
    incidents.approve(desk.services, LEADER, request_of(caught.value))
    clocks = desk.binding(no)
    assert clocks[RELEASE]["state"] == "breached"
    assert clocks[CONFERENCE]["state"] == "cancelled"
    assert clocks[RESPONSE]["due_at"] == due("2026-03-12 08:20")


def test_an_ungraded_emergency_runs_all_clocks_provisionally(desk: Desk) -> None:
    no = desk.register(kind=Kind.EMERGENCY, occurred="2026-03-10 08:00", detected="2026-03-10 08:20")
    clocks = desk.binding(no)
    assert {RELEASE, CONFERENCE, RESPONSE} == set(clocks)
    assert all(c["provisional"] for c in clocks.values())
    _grade(desk, no, Severity.GENERAL, GradeBasis.INITIAL)
    states = desk.states(no)
    assert (states[RELEASE], states[CONFERENCE], states[RESPONSE]) == ("cancelled", "cancelled", "running")
    told = [a for a in desk.actions(no) if a.kind == "regraded"]
    assert "shift_leader" in told[0].detail["to"]


def test_waiving_closes_the_clocks_as_waived_after_approval(desk: Desk) -> None:
    no = desk.register(detected="2026-03-10 08:30")
    with pytest.raises(NeedsSecondPerson) as caught:
        incidents.waive(desk.services, OFFICER, no, "不属应回应情形")
    incidents.approve(desk.services, LEADER, request_of(caught.value))
    assert desk.states(no) == {RESPONSE: "waived"}


def test_closing_with_an_open_clock_is_refused_and_loses_nothing(desk: Desk) -> None:
    no = desk.register(detected="2026-03-10 08:30")
    with pytest.raises(Refused, match="未完成"):
        incidents.close(desk.services, OFFICER, no, "先结了")
    assert desk.view(no)["state"] == "registered"


def test_an_acknowledgement_stops_no_clock(desk: Desk) -> None:
    no = desk.register(detected="2026-03-10 08:30")
    view = incidents.acknowledge(
        desk.services, OFFICER, no, AckRequest(clock_key=f"cn-gbf-2016-61:{RESPONSE}", step_id="start")
    )
    assert view["acknowledgements"][0]["person"] == "officer"
    assert desk.states(no) == {RESPONSE: "running"}


def test_the_same_key_gives_the_same_incident_and_another_request_is_refused(desk: Desk) -> None:
    def ask(title: str) -> str:
        request = RegisterRequest(title=title, kind=Kind.OPINION, unit_id="office")
        return str(incidents.register(desk.services, OFFICER, request, "key-1")["no"])

    assert ask("同一件") == ask("同一件")
    with pytest.raises(Refused, match="Idempotency-Key"):
        ask("另一件")


@pytest.mark.parametrize("title", ["", "   ", "长" * 201, "含\x00空字符", "坏\ud800字"])
def test_bad_titles_name_the_field_and_write_nothing(desk: Desk, title: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        incidents.register(desk.services, OFFICER, RegisterRequest(title=title, kind=Kind.OPINION, unit_id="office"))
    assert caught.value.field == "title"
    with desk.services.store.reading() as tx:
        assert tx.value(t.incident.select().with_only_columns(t.incident.c.id)) is None


def test_every_change_leaves_an_entry_in_the_audit_chain(desk: Desk) -> None:
    no = desk.register(detected="2026-03-10 08:30")
    desk.publish(no, PublicationKind.RESPONSE, "2026-03-10 08:50")
    incidents.close(desk.services, OFFICER, no, "已回应")
    with desk.services.store.reading() as tx:
        rows = tx.all(t.audit.select().where(t.audit.c.subject == f"incident:{no}").order_by(t.audit.c.seq))
    assert [row.action for row in rows] == ["incident.registered", "incident.release", "incident.close"]
    assert all(row.actor == "person:officer" for row in rows)


def test_replanning_puts_another_policy_in_place_and_keeps_the_clock(desk: Desk) -> None:
    no = desk.register(detected="2026-03-10 08:30")
    key = f"cn-gbf-2016-61:{RESPONSE}"
    before = desk.binding(no)[RESPONSE]
    incidents.replan(desk.services, LEADER, no, key, "conference-24h", "原策略配置有误")
    after = desk.binding(no)[RESPONSE]
    assert before["due_at"] == after["due_at"]
    assert {a.generation for a in desk.actions(no) if a.clock_id} == {2}


def test_a_second_sync_of_the_same_files_changes_nothing(desk: Desk) -> None:
    rulebook.sync(desk.services)  # the first one still dates the other obligations
    with desk.services.store.reading() as tx:
        before = tx.value(t.audit_head.select().with_only_columns(t.audit_head.c.seq))
    rulebook.sync(desk.services)
    with desk.services.store.reading() as tx:
        assert tx.value(t.audit_head.select().with_only_columns(t.audit_head.c.seq)) == before


def test_late_exposure_waits_for_the_shift_leader(desk: Desk) -> None:
    request = RegisterRequest(
        title="旧事新曝",
        kind=Kind.EMERGENCY,
        unit_id="office",
        severity=Severity.MAJOR,
        criterion="示例",
        times={
            TimeKind.OCCURRED: TimeInput(at("2026-03-01 08:00"), "回溯"),
            TimeKind.EXPOSED: TimeInput(at("2026-03-10 08:30"), "监测"),
        },
        late_exposure=True,
    )
    view = incidents.register(desk.services, OFFICER, request)
    assert view["late_exposure"] is False
    no, pending = view["no"], view["requests"][0]["id"]
    assert desk.binding(no)[RELEASE]["on_receipt"] is True
    incidents.approve(desk.services, LEADER, pending)
    clock = desk.binding(no)[RELEASE]
    assert (clock["state"], clock["due_at"]) == ("running", due("2026-03-10 13:30"))
    assert clock["lines"]["按事发"] == due("2026-03-01 13:00")
    assert timedelta(hours=5).total_seconds() == clock["limit_seconds"]


def test_a_superiors_notice_goes_with_a_merge_and_comes_back(desk: Desk) -> None:
    first = desk.register(detected="2026-03-10 08:30")
    second = desk.register(detected="2026-03-10 08:30")
    notice = TransferInput("示例转〔2026〕3号", at("2026-03-10 08:40"), at("2026-03-11 12:00"))
    incidents.add_transfer(desk.services, OFFICER, first, notice)
    incidents.merge(desk.services, OFFICER, first, second, "同一事项")
    key = f"transfer:{first}.1"
    assert desk.binding(second)[key]["due_at"] == due("2026-03-11 12:00")
    incidents.transfer_feedback(desk.services, OFFICER, second, f"{first}.1", at("2026-03-10 08:55"))
    incidents.unmerge(desk.services, OFFICER, first, "并错了")
    assert desk.states(first)["transfer:1"] == "satisfied"
    assert key not in desk.states(second) or desk.states(second)[key] != "running"


def test_an_opinion_may_become_an_emergency_that_nobody_has_graded_yet(desk: Desk) -> None:
    no = desk.register(occurred="2026-03-10 08:00", detected="2026-03-10 08:00")
    desk.now("2026-03-10 10:00")
    request = GradeRequest(Kind.EMERGENCY, None, GradeBasis.WORSENED, "出现伤亡", at("2026-03-10 09:50"), "现场报告")
    incidents.grade(desk.services, OFFICER, no, request)
    clocks = desk.binding(no)
    assert (clocks[RELEASE]["due_at"], clocks[RELEASE]["provisional"]) == (due("2026-03-10 14:50"), True)
    _grade(desk, no, Severity.MAJOR, GradeBasis.INITIAL)
    assert desk.binding(no)[RELEASE]["due_at"] == due("2026-03-10 14:50")


# -- what waits for a second person when an incident ends --------------------------------------------------------------


def correction_asked(desk: Desk, no: str) -> int:
    """A correction that would move the due times later."""
    later = CorrectRequest("现场记录写错", TimeKind.OCCURRED, TimeInput(at("2026-03-10 08:10"), "现场"))
    with pytest.raises(NeedsSecondPerson) as asked:
        incidents.correct(desk.services, OFFICER, no, later)
    return request_of(asked.value)


def requests_by_state(desk: Desk) -> dict[int, str]:
    with desk.services.store.reading() as tx:
        return {row.id: row.state for row in tx.all(t.change_request.select())}


def test_what_waited_lapses_with_the_ending_that_leaves_it_nothing_to_do(desk: Desk) -> None:
    no = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00", detected="2026-03-10 08:20")
    other = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00", detected="2026-03-10 08:20")
    waits, elsewhere = correction_asked(desk, no), correction_asked(desk, other)
    with pytest.raises(NeedsSecondPerson) as asked:
        incidents.void(desk.services, OFFICER, no, "误报")
    ending = request_of(asked.value)
    # Asking for the ending ends nothing.
    assert requests_by_state(desk) == {waits: "pending", elsewhere: "pending", ending: "pending"}
    incidents.approve(desk.services, LEADER, ending, "属实")
    assert requests_by_state(desk) == {waits: "lapsed", elsewhere: "pending", ending: "approved"}
    assert [one["id"] for one in second_person.list_pending(desk.services, LEADER)["requests"]] == [elsewhere]
    gone = second_person.show_request(desk.services, OFFICER, waits)
    assert (gone["state_zh"], gone["decided_by"]) == ("已失效", LEADER.id)
    assert gone["note"] == "事项已结束，申请已无从办理，自动失效。"
    with desk.services.store.reading() as tx:
        noted = tx.all(t.audit.select().where(t.audit.c.action == "request.lapsed"))
        ended = tx.one(t.audit.select().where(t.audit.c.action == "incident.void"))
    assert ended is not None
    assert [(row.subject, row.at) for row in noted] == [(f"incident:{no}", ended.at)]
    for late in (
        lambda: incidents.approve(desk.services, LEADER, waits),
        lambda: incidents.reject(desk.services, LEADER, waits),
        lambda: second_person.withdraw(desk.services, OFFICER, waits),
    ):
        with pytest.raises(Refused, match="已失效"):
            late()


def test_an_ending_that_is_refused_lets_nothing_lapse(desk: Desk) -> None:
    no = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00", detected="2026-03-10 08:20")
    waits = correction_asked(desk, no)
    with pytest.raises(Refused, match="未完成的时钟"):
        incidents.close(desk.services, OFFICER, no, "办结")
    assert requests_by_state(desk) == {waits: "pending"}


def test_a_punctual_release_can_be_confirmed_after_the_archiving(desk: Desk) -> None:
    no = desk.register(detected="2026-03-10 08:30")
    desk.now("2026-03-12 09:00")
    desk.publish(no, PublicationKind.RESPONSE, "2026-03-12 08:00")
    (waits,) = requests_by_state(desk)
    incidents.close(desk.services, OFFICER, no, "已回应")
    assert desk.states(no) == {RESPONSE: "satisfied_late"}
    assert requests_by_state(desk) == {waits: "pending"}
    incidents.approve(desk.services, LEADER, waits)
    assert desk.states(no) == {RESPONSE: "satisfied"}
    assert desk.view(no)["state"] == "closed"


def test_a_flare_up_leaves_no_request_of_the_former_cycle(desk: Desk) -> None:
    no = desk.register(detected="2026-03-10 08:30")
    desk.now("2026-03-12 09:00")
    desk.publish(no, PublicationKind.RESPONSE, "2026-03-12 08:00")
    (waits,) = requests_by_state(desk)
    incidents.close(desk.services, OFFICER, no, "已回应")
    incidents.reopen(desk.services, OFFICER, no, "复燃", {})
    assert requests_by_state(desk) == {waits: "lapsed"}
    assert second_person.show_request(desk.services, OFFICER, waits)["note"].startswith("事项已重开")


def test_what_waited_lapses_with_a_merge(desk: Desk) -> None:
    first = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00", detected="2026-03-10 08:20")
    second = desk.register(Severity.MAJOR, occurred="2026-03-10 08:00", detected="2026-03-10 08:20")
    waits, kept = correction_asked(desk, first), correction_asked(desk, second)
    incidents.merge(desk.services, OFFICER, first, second, "同一事项")
    assert requests_by_state(desk) == {waits: "lapsed", kept: "pending"}
