"""What the shipped policies plan for a clock: exactly these reminders at these moments, to these people."""

from __future__ import annotations

from datetime import time
from typing import Any

import pytest

from huiying.domain.kinds import Band, EventKind, Role, TimeKind
from huiying.domain.plan import dedup_key, next_daily, plan_actions, summary_action
from huiying.domain.policy import HOUSE_CLOCKS, policy_for, policy_hash
from tests.builders import (
    CONFERENCE,
    EMERGENCY,
    GENERAL,
    MAJOR,
    OPINION,
    RELEASE,
    all_policies,
    at,
    beijing,
    binding,
    clocks,
    hours,
    incident,
    policy,
    publication,
    publishing,
    restated,
    rule,
    table,
    tasked,
    with_limit,
)

DESK = {"duty_officer", "liaison", "handler"}
#: A moment after the due time by the smallest step there is: the first instant of the breach.
JUST_AFTER = ".000001"


def major(**times):
    """A major emergency of 08:00 that is registered ten minutes later."""
    stated: dict[str, Any] = {
        "occurred": "2026-03-10 08:00",
        "detected": "2026-03-10 08:00",
        "registered": "2026-03-10 08:10",
    }
    return incident(EMERGENCY, MAJOR, **(stated | times))


def opinion():
    """An opinion known at 08:00."""
    return incident(OPINION, detected="2026-03-10 08:00", registered="2026-03-10 08:10")


def planned(clock, policy_id, *, since="2026-03-10 08:10", now="2026-03-10 08:10"):
    """The plan of a clock under a shipped policy."""
    return plan_actions(clock, policy(policy_id), at(since), at(now))


def rows(actions):
    """What a plan says, ready to compare: when, which step, to whom (without the desk's own staff)."""
    short = [(beijing(a.due_at).removesuffix("+08:00"), a.step_id, set(a.detail["to"]) - DESK) for a in actions]
    return [(when.removeprefix("2026-03-"), step, to) for when, step, to in short]


def hourly_and_daily(first_hour, *, day, count, daily, to=frozenset({"supervision_office", "principal"})):
    """The steps after a breach: one an hour, then the first one at a fixed time of day."""
    told = [(f"{day} {hour:02}:00", "overdue_hourly", set(to)) for hour in range(first_hour, first_hour + count)]
    return [*told, (daily, "overdue_daily", set(to))]


# --- the three clocks from their start -------------------------------------------------------------------------------


def test_a_five_hour_clock_has_exactly_these_reminders():
    five = binding(major(), "2026-03-10 08:10")["5h"]
    assert rows(planned(five, "release-5h")) == [
        ("10 09:10", "unacknowledged_1h", {"leader_in_charge"}),
        ("10 10:30", "share_50", set()),
        ("10 12:00", "share_80", {"principal", "leader_in_charge"}),
        ("10 12:30", "left_30m", {"shift_leader", "leader_in_charge"}),
        ("10 12:50", "left_10m", {"shift_leader", "leader_in_charge"}),
        ("10 13:00:00" + JUST_AFTER, "breach", {"supervision_office", "principal"}),
        *hourly_and_daily(14, day="10", count=6, daily="11 09:00"),
    ]


def test_a_24_hour_clock_has_exactly_these_reminders():
    conference = binding(major(), "2026-03-10 08:10")["24h"]
    assert rows(planned(conference, "conference-24h")) == [
        ("10 14:00", "share_25", set()),
        ("10 20:00", "share_50", set()),
        ("11 02:00", "share_75", {"leader_in_charge"}),
        ("11 05:36", "share_90", {"principal", "leader_in_charge"}),
        ("11 06:00", "left_2h", {"shift_leader", "leader_in_charge"}),
        ("11 07:00", "left_1h", {"shift_leader", "leader_in_charge"}),
        ("11 08:00:00" + JUST_AFTER, "breach", {"supervision_office", "principal"}),
        *hourly_and_daily(9, day="11", count=6, daily="11 15:00"),
    ]


def test_a_48_hour_clock_has_exactly_these_reminders():
    response = binding(opinion(), "2026-03-10 08:10")["48h"]
    assert rows(planned(response, "response-48h")) == [
        ("11 08:00", "share_50", set()),
        ("11 20:00", "share_75", {"leader_in_charge"}),
        ("12 03:12", "share_90", {"principal", "leader_in_charge"}),
        ("12 04:00", "left_4h", {"shift_leader", "leader_in_charge"}),
        ("12 08:00:00" + JUST_AFTER, "breach", {"supervision_office", "principal"}),
        *hourly_and_daily(9, day="12", count=6, daily="12 15:00"),
    ]


def test_the_start_is_told_once_per_incident_and_never_by_a_clocks_plan():
    for name, policy_id in (("5h", "release-5h"), ("24h", "conference-24h")):
        clock = binding(major(), "2026-03-10 08:10")[name]
        assert "start" not in {action.step_id for action in planned(clock, policy_id)}


def test_the_call_of_the_last_ten_minutes_goes_by_phone():
    five = binding(major(), "2026-03-10 08:10")["5h"]
    last = next(action for action in planned(five, "release-5h") if action.step_id == "left_10m")
    assert last.detail["audience"] == ["personal", "phone"]


def test_only_the_leaders_call_stops_at_an_acknowledgement_and_it_is_that_of_the_start():
    five = binding(major(), "2026-03-10 08:10")["5h"]
    waiting = {a.step_id: a.detail["of"] for a in planned(five, "release-5h") if a.detail["when"] != "always"}
    assert waiting == {"unacknowledged_1h": "start"}


def test_each_action_of_a_plan_has_an_identity_of_its_own():
    five = binding(major(), "2026-03-10 08:10")["5h"]
    actions = planned(five, "release-5h")
    assert len({dedup_key("clock:7", a.step_id, 1, a.repetition) for a in actions}) == len(actions)
    assert dedup_key("clock:7", "breach", 1) == dedup_key("clock:7", "breach", 1, 0)
    assert len({dedup_key(s, "breach", g) for s in ("clock:7", "clock:8") for g in (1, 2)}) == 4


# --- late, moved, over -----------------------------------------------------------------------------------------------


def test_nothing_past_is_replayed_for_an_emergency_registered_late_but_in_time():
    five = binding(major(registered="2026-03-10 12:15"), "2026-03-10 12:15")["5h"]
    steps = [step for _, step, _ in rows(planned(five, "release-5h", since="2026-03-10 12:15", now="2026-03-10 12:15"))]
    assert steps[:3] == ["left_30m", "left_10m", "breach"]


def test_a_step_at_the_moment_of_planning_is_past():
    five = binding(major(registered="2026-03-10 12:00"), "2026-03-10 12:00")["5h"]
    steps = [step for _, step, _ in rows(planned(five, "release-5h", since="2026-03-10 12:00", now="2026-03-10 12:00"))]
    assert steps[0] == "left_30m"


def test_an_hour_to_sign_counts_from_when_the_clock_was_taken_up_and_never_passes_the_due_time():
    taken_up = binding(major(registered="2026-03-10 10:45"), "2026-03-10 10:45")["5h"]
    plan = rows(planned(taken_up, "release-5h", since="2026-03-10 10:45", now="2026-03-10 10:45"))
    assert plan[0] == ("10 11:45", "unacknowledged_1h", {"leader_in_charge"})
    late = binding(major(registered="2026-03-10 12:20"), "2026-03-10 12:20")["5h"]
    plan = rows(planned(late, "release-5h", since="2026-03-10 12:20", now="2026-03-10 12:20"))
    assert "unacknowledged_1h" not in [step for _, step, _ in plan]


def test_overdue_on_receipt_plans_nothing_for_the_strict_clock_and_an_internal_one_for_those_who_act():
    facts = major(detected=None, notified="2026-03-10 13:50", registered="2026-03-10 14:00")
    found = binding(facts, "2026-03-10 14:00")
    assert planned(found["5h"], "release-5h", since="2026-03-10 14:00", now="2026-03-10 14:00") == ()
    house = {"shift_leader", "leader_in_charge"}
    assert rows(planned(found["5h内部"], "internal", since="2026-03-10 14:00", now="2026-03-10 14:00")) == [
        ("10 16:20", "share_50", set()),
        ("10 17:50", "share_80", {"shift_leader"}),
        ("10 18:50:00" + JUST_AFTER, "breach", house),
        ("10 19:50", "overdue_hourly", house),
        ("10 20:50", "overdue_hourly", house),
        ("11 09:00", "overdue_daily", house),
    ]


def test_after_re_anchoring_only_what_lies_ahead_of_the_new_due_time_is_planned():
    moved = restated(major(), TimeKind.OCCURRED, "2026-03-10 07:30")
    five = binding(moved, "2026-03-10 11:35")["5h"]
    assert rows(planned(five, "release-5h", now="2026-03-10 11:35"))[:3] == [
        ("10 12:00", "left_30m", {"shift_leader", "leader_in_charge"}),
        ("10 12:20", "left_10m", {"shift_leader", "leader_in_charge"}),
        ("10 12:30:00" + JUST_AFTER, "breach", {"supervision_office", "principal"}),
    ]


def test_re_anchoring_into_a_breach_tells_it_at_once_and_replays_nothing():
    moved = restated(major(), TimeKind.OCCURRED, "2026-03-10 04:30")
    # Registered at 08:10, due at 09:30: it was no late registration, so the breach is told like any other.
    five = binding(moved, "2026-03-10 11:35")["5h"]
    assert not five.on_receipt
    assert rows(planned(five, "release-5h", now="2026-03-10 11:35")) == [
        ("10 11:35", "breach", {"supervision_office", "principal"}),
        ("10 12:30", "overdue_hourly", {"supervision_office", "principal"}),
        ("10 13:30", "overdue_hourly", {"supervision_office", "principal"}),
        ("10 14:30", "overdue_hourly", {"supervision_office", "principal"}),
        ("10 15:30", "overdue_hourly", {"supervision_office", "principal"}),
        ("11 09:00", "overdue_daily", {"supervision_office", "principal"}),
    ]


def test_days_after_the_breach_one_message_now_and_the_next_fixed_time_of_day():
    five = binding(major(), "2026-03-13 10:00")["5h"]
    assert rows(planned(five, "release-5h", now="2026-03-13 10:00")) == [
        ("13 10:00", "breach", {"supervision_office", "principal"}),
        ("13 15:00", "overdue_daily", {"supervision_office", "principal"}),
    ]


@pytest.mark.parametrize("now", ["2026-03-10 09:00", "2026-03-10 14:00"], ids=["in-time", "late"])
def test_a_fulfilled_clock_plans_nothing(now):
    facts = publishing(major(), publication(CONFERENCE, now))
    assert planned(binding(facts, now)["5h"], "release-5h", now=now) == ()


def test_only_the_binding_clock_has_actions():
    six = with_limit(rule("5h"), hours(6), "local")
    facts = major(rules=[rule("5h"), six])
    plans = {clock.pack_id: planned(clock, "release-5h") for clock in clocks(facts, "2026-03-10 08:10")}
    assert plans["local"] == ()
    assert plans["cn-gbf-2016-80"]


def test_a_downgraded_breach_goes_on_being_told():
    facts = publishing(major(), publication(RELEASE, "2026-03-10 14:00"))
    late = binding(facts, "2026-03-10 13:30")["5h"]
    assert rows(planned(late, "release-5h", now="2026-03-10 13:30"))[0][1] == "breach"


# --- who hears of what -----------------------------------------------------------------------------------------------


def every_plan():
    """All actions of every shipped policy, each on a clock of its length and on a short and a long one."""
    graves = [incident(EMERGENCY, severity, occurred="2026-03-10 08:00", registered="2026-03-10 08:10")
              for severity in (MAJOR, GENERAL, None)]  # fmt: skip
    facts = [*graves, tasked(opinion(), "office", "2026-03-10 08:10", "2026-03-10 09:10")]
    for one in facts:
        for clock in clocks(one, "2026-03-10 08:10"):
            for chosen in all_policies():
                for now in ("2026-03-10 08:10", "2026-03-14 08:10"):
                    for action in plan_actions(clock, chosen, at("2026-03-10 08:10"), at(now)):
                        yield chosen, action


def test_leaders_are_never_addressed_in_a_group():
    leaders = {str(role) for role in Role if role.is_leader}
    seen = [action for _, action in every_plan() if leaders & set(action.detail["to"])]
    assert seen
    assert not [action for action in seen if "group" in action.detail["audience"]]


def test_house_policies_never_reach_the_principal_or_the_supervision_office():
    above = {"principal", "supervision_office"}
    seen = [(p.id, set(action.detail["to"])) for p, action in every_plan() if HOUSE_CLOCKS & set(p.applies)]
    assert {policy_id for policy_id, _ in seen} == {"internal", "task"}
    assert not [to for _, to in seen if above & to]


def test_a_breach_of_a_document_reaches_the_principal_and_the_supervision_office_personally():
    told = [(p.id, a) for p, a in every_plan() if a.kind is EventKind.BREACHED and not HOUSE_CLOCKS & set(p.applies)]
    assert {policy_id for policy_id, _ in told} == {"release-5h", "conference-24h", "response-48h", "other"}
    for _, action in told:
        assert {"principal", "supervision_office"} <= set(action.detail["to"])
        assert action.detail["audience"] == ["personal"]
        assert (action.urgency, action.detail["band"]) == (0, str(Band.OVERDUE))


@pytest.mark.parametrize(
    ("rule_id", "chosen"),
    [
        ("authoritative_release", "release-5h"),
        ("press_conference", "conference-24h"),
        ("authoritative_response", "response-48h"),
        ("internal", "internal"),
        ("task", "task"),
        ("a_rule_of_a_new_pack", "other"),
    ],
)
def test_each_kind_of_clock_finds_its_policy(rule_id, chosen):
    found = policy_for(all_policies(), rule_id)
    assert found is not None
    assert found.id == chosen


def test_a_policy_that_a_pack_names_and_nobody_has_is_not_replaced_in_silence():
    assert policy_for(all_policies(), "authoritative_release", "missing") is None


@pytest.mark.parametrize("shipped", all_policies(), ids=lambda shipped: shipped.id)
def test_a_policy_carries_the_hash_of_its_content(shipped):
    assert shipped.hash == policy_hash(shipped)


@pytest.mark.parametrize("role", [role for role in Role if role.is_leader], ids=str)
def test_what_is_told_at_once_reaches_the_group_too_whoever_else_hears_of_it(role):
    """A leader is never addressed in the group (routes see to that), but the group must not miss the gravest news."""
    alone = summary_action(EventKind.REGISTERED, at("2026-03-10 08:10"), [Role.DUTY_OFFICER, role], Band.NOTICE)
    desk = summary_action(EventKind.REGISTERED, at("2026-03-10 08:10"), [Role.DUTY_OFFICER], Band.NOTICE)
    assert alone.detail["audience"] == ["personal", "group"]
    assert desk.detail["audience"] == ["personal", "group"]


# --- the fixed times of day ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("2026-03-10 08:59:59", "2026-03-10 09:00+08:00"),
        ("2026-03-10 09:00", "2026-03-10 15:00+08:00"),
        ("2026-03-10 14:59", "2026-03-10 15:00+08:00"),
        ("2026-03-10 15:00", "2026-03-11 09:00+08:00"),
        ("2026-03-10 23:59", "2026-03-11 09:00+08:00"),
        ("2026-03-11 00:00", "2026-03-11 09:00+08:00"),
        ("2026-12-31 15:00", "2027-01-01 09:00+08:00"),
    ],
)
def test_the_daily_reminder_goes_on_at_nine_and_at_three(after, expected):
    assert beijing(next_daily(at(after), (time(15), time(9)))) == expected


def test_without_a_time_of_day_there_is_no_next_one():
    with pytest.raises(ValueError, match="no time of day"):
        next_daily(at("2026-03-10 08:00"), ())


def test_the_daily_reminder_carries_its_times_so_that_the_next_one_can_be_written():
    five = binding(major(), "2026-03-10 08:10")["5h"]
    daily = planned(five, "release-5h")[-1]
    assert (daily.step_id, daily.detail["daily_at"]) == ("overdue_daily", ["09:00", "15:00"])


def test_the_golden_clock_of_these_tests():
    assert table(major(), "2026-03-10 08:10") == {
        "5h": "2026-03-10 13:00+08:00 running",
        "24h": "2026-03-11 08:00+08:00 running",
    }
