"""The cases of the domain's list that concern incident clocks, on the pure core; the number stands in the test's name.

Every table reads: what was stated and done, the moment of asking, and the binding clock of each milestone in Beijing
time. Cases about working days, deliveries and the roster are tested where those live.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, time
from typing import Any

import pytest

from huiying.domain.clock import derive_clocks, earliest_open_due, second_person_reasons, untimed_duties
from huiying.domain.errors import InvalidInput
from huiying.domain.folding import Entry, fold, unite
from huiying.domain.incident import TimeFact, check_times, to_precision
from huiying.domain.kinds import Attribution, ClockOrigin, ClockState, ContentKind, LimitStatus, Review, TimeKind
from huiying.domain.plan import next_daily, plan_actions
from tests.builders import (
    CONFERENCE,
    CONSIDERABLE,
    CORRECTION,
    DOWNGRADE,
    EMERGENCY,
    EXTRA_MAJOR,
    GENERAL,
    INITIAL,
    MAJOR,
    OPINION,
    RELEASE,
    RESPONSE,
    WORSENED,
    at,
    beijing,
    binding,
    clocks,
    ended,
    graded,
    hours,
    incident,
    national,
    pack,
    policy,
    publication,
    publishing,
    restated,
    rule,
    rules_for,
    rules_of,
    table,
    tasked,
    transferred,
    with_limit,
)


def reasons(before, after, now, *, first_grading=False):
    """Why the change from one set of facts to the other needs a second person."""
    return second_person_reasons(clocks(before, now), clocks(after, now), first_grading=first_grading)


def major(**times):
    """A major emergency that occurred and was known at 08:00 on 10 March and registered ten minutes later."""
    stated: dict[str, Any] = {
        "occurred": "2026-03-10 08:00",
        "detected": "2026-03-10 08:00",
        "registered": "2026-03-10 08:10",
    }
    return incident(EMERGENCY, MAJOR, **(stated | times))


def opinion(**times):
    """The opinion of cases 22 and 23: occurred and known at 08:00 on 10 March."""
    stated: dict[str, Any] = {
        "occurred": "2026-03-10 08:00",
        "detected": "2026-03-10 08:00",
        "registered": "2026-03-10 08:00",
    }
    return incident(OPINION, **(stated | times))


# --- where the hours run ---------------------------------------------------------------------------------------------


def test_case_01_holidays_are_not_skipped():
    facts = incident(EMERGENCY, MAJOR, occurred="2026-02-15 22:30", registered="2026-02-15 22:40")
    assert table(facts, "2026-02-15 22:40") == {
        "5h": "2026-02-16 03:30+08:00 running",
        "24h": "2026-02-16 22:30+08:00 running",
    }


def test_case_02_an_opinion_without_severity_has_48_hours_from_knowledge():
    facts = incident(OPINION, detected="2026-09-30 18:00", registered="2026-09-30 18:20")
    assert table(facts, "2026-09-30 18:20") == {"48h": "2026-10-02 18:00+08:00 running"}


def test_case_02_the_capture_by_a_machine_starts_nothing():
    facts = incident(
        OPINION, captured="2026-09-29 03:00", notified="2026-09-30 19:00", detected="2026-09-30 18:00",
        registered="2026-09-30 19:20",
    )  # fmt: skip
    assert table(facts, "2026-09-30 19:20") == {"48h": "2026-10-02 18:00+08:00 running"}


def test_case_03_new_years_eve_needs_no_calendar_of_the_next_year():
    facts = incident(EMERGENCY, MAJOR, occurred="2026-12-31 22:00", registered="2026-12-31 22:05")
    assert table(facts, "2026-12-31 22:05") == {
        "5h": "2027-01-01 03:00+08:00 running",
        "24h": "2027-01-01 22:00+08:00 running",
    }


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ("2026-03-10 12:59:59", "2026-03-10 13:00+08:00 satisfied"),
        ("2026-03-10 13:00:00", "2026-03-10 13:00+08:00 satisfied"),
        ("2026-03-10 13:00:01", "2026-03-10 13:00+08:00 satisfied_late"),
    ],
)
def test_case_04_a_release_exactly_at_the_due_time_is_on_time_and_a_second_later_is_not(published, expected):
    facts = publishing(major(), publication(RELEASE, published))
    assert table(facts, "2026-03-10 14:00")["5h"] == expected


@pytest.mark.parametrize(
    ("now", "state"),
    [("2026-03-10 13:00:00", "running"), ("2026-03-10 13:00:00.000001", "breached")],
)
def test_case_04_the_due_instant_itself_is_not_yet_a_breach(now, state):
    assert binding(major(), now)["5h"].state == state


def test_case_04_a_time_given_to_the_minute_counts_as_its_first_second():
    assert to_precision(at("2026-03-10 13:00:59"), "minute") == at("2026-03-10 13:00:00")


@pytest.mark.parametrize(
    ("times", "due", "taken_from"),
    [
        ({"exposed": "2026-03-10 07:00", "detected": "2026-03-10 07:30"}, "12:00", "first_exposed_at"),
        ({"detected": "2026-03-10 07:30"}, "12:30", "detected_at"),
        ({"notified": "2026-03-10 07:40"}, "12:40", "notified_at"),
        ({}, "13:00", "registered_at"),
    ],
)
def test_case_04_an_unknown_occurrence_is_estimated_by_the_earliest_known_time(times, due, taken_from):
    facts = incident(EMERGENCY, MAJOR, registered="2026-03-10 08:00", **times)
    clock = binding(facts, "2026-03-10 08:00")["5h"]
    assert (beijing(clock.due_at), clock.anchor_field, clock.anchor_estimated) == (
        f"2026-03-10 {due}+08:00", taken_from, True,
    )  # fmt: skip


# --- grading ---------------------------------------------------------------------------------------------------------


def test_case_22_a_worsened_opinion_starts_its_new_clocks_at_the_new_fact():
    facts = graded(opinion(), MAJOR, WORSENED, "2026-03-10 20:30", effective="2026-03-10 20:00")
    assert table(facts, "2026-03-10 20:30") == {
        "5h": "2026-03-11 01:00+08:00 running",
        "24h": "2026-03-11 20:00+08:00 running",
        "48h": "2026-03-12 08:00+08:00 superseded",
    }
    assert binding(facts, "2026-03-10 20:30")["48h"].superseded_by.endswith(":authoritative_release")
    assert reasons(opinion(), facts, "2026-03-10 20:30") == ()


def test_case_22_a_corrected_grade_counts_from_the_occurrence_and_names_late_grading():
    facts = graded(opinion(), MAJOR, CORRECTION, "2026-03-10 20:00")
    assert table(facts, "2026-03-10 20:00") == {
        "5h": "2026-03-10 13:00+08:00 breached",
        "5h内部": "2026-03-11 01:00+08:00 running",
        "24h": "2026-03-11 08:00+08:00 running",
        "48h": "2026-03-12 08:00+08:00 superseded",
    }
    five = binding(facts, "2026-03-10 20:00")["5h"]
    assert (five.attribution, five.on_receipt) == (Attribution.LATE_GRADING, False)


def test_case_22_an_upgrade_keeps_the_48_hour_clock_where_it_is_the_tighter_one():
    facts = graded(opinion(), MAJOR, WORSENED, "2026-03-12 07:00")
    assert table(facts, "2026-03-12 07:00") == {
        "5h": "2026-03-12 12:00+08:00 running",
        "24h": "2026-03-13 07:00+08:00 running",
        "48h": "2026-03-12 08:00+08:00 running",
    }
    assert table(facts, "2026-03-12 08:01")["48h"] == "2026-03-12 08:00+08:00 breached"


def test_case_22_an_upgrade_does_not_wash_away_a_breached_48_hour_clock():
    facts = graded(opinion(), MAJOR, WORSENED, "2026-03-12 09:00")
    assert table(facts, "2026-03-12 09:00")["48h"] == "2026-03-12 08:00+08:00 breached"


@pytest.mark.parametrize(
    ("credited", "five", "forty_eight"),
    [
        (False, "2026-03-11 01:00+08:00 running", "2026-03-12 08:00+08:00 satisfied"),
        (True, "2026-03-11 01:00+08:00 satisfied", "2026-03-12 08:00+08:00 satisfied"),
    ],
)
def test_case_23_an_earlier_release_counts_only_after_a_reviewer_credits_it(credited, five, forty_eight):
    earlier = publication(RELEASE, "2026-03-10 10:00", credited=credited)
    facts = graded(publishing(opinion(), earlier), MAJOR, WORSENED, "2026-03-10 20:00")
    found = table(facts, "2026-03-10 20:10")
    assert (found["5h"], found["48h"]) == (five, forty_eight)
    assert found["24h"] == "2026-03-11 20:00+08:00 running"


@pytest.mark.parametrize("credited", [False, True])
def test_case_23_after_a_corrected_grade_the_earlier_release_needs_the_same_credit(credited):
    earlier = publication(RELEASE, "2026-03-10 10:00", credited=credited)
    facts = graded(publishing(opinion(), earlier), MAJOR, CORRECTION, "2026-03-10 20:00")
    assert binding(facts, "2026-03-10 20:00")["5h"].state == ("satisfied" if credited else "breached")


def test_case_25_from_major_to_extra_major_nothing_restarts():
    facts = graded(major(), EXTRA_MAJOR, WORSENED, "2026-03-10 10:00")
    assert table(facts, "2026-03-10 10:00") == table(major(), "2026-03-10 10:00")


@pytest.mark.parametrize(
    ("first", "second", "basis"),
    [
        (EXTRA_MAJOR, MAJOR, DOWNGRADE),
        (MAJOR, EXTRA_MAJOR, WORSENED),
        (MAJOR, MAJOR, WORSENED),
    ],
)
def test_case_25_between_major_and_extra_major_clocks_started_by_a_new_fact_stay(first, second, basis):
    worsened = graded(opinion(), first, WORSENED, "2026-03-10 20:00")
    facts = graded(worsened, second, basis, "2026-03-10 21:00")
    assert table(facts, "2026-03-10 21:00") == table(worsened, "2026-03-10 21:00")


@pytest.mark.parametrize("severity", [EXTRA_MAJOR, MAJOR])
def test_a_correction_after_a_worsening_anchors_at_the_occurrence_whichever_grave_grade_it_names(severity):
    """It was grave from the start: the strict line holds from the start, whether or not the grade itself changes."""
    worsened = graded(opinion(), MAJOR, WORSENED, "2026-03-10 20:00")
    facts = graded(worsened, severity, CORRECTION, "2026-03-10 21:00")
    assert table(facts, "2026-03-10 21:30") == {
        "5h": "2026-03-10 13:00+08:00 breached",
        "24h": "2026-03-11 08:00+08:00 running",
        "48h": "2026-03-12 08:00+08:00 superseded",
        "5h内部": "2026-03-11 02:00+08:00 running",
    }
    assert binding(facts, "2026-03-10 21:30")["5h"].attribution is Attribution.LATE_GRADING
    assert reasons(worsened, facts, "2026-03-10 21:00") == ()  # earlier due times need nobody


def continuous(*intervals):
    """Intervals set one after another, as (moment, hours)."""
    history = [Entry("registered", at("2026-03-10 08:00"), "duty", {"kind": "emergency", "severity": "major"})]
    history += [Entry("continuous", at(when), "duty", {"every_hours": every}) for when, every in intervals]
    return fold(history, [], ())


def intervals(facts, now):
    return {c.key: (beijing(c.due_at), str(c.state), c.was_breached) for c in clocks(facts, now)}


def test_setting_another_interval_takes_no_earlier_breach_away():
    facts = continuous(("2026-03-10 09:00", 2), ("2026-03-10 12:00", 6))
    found = intervals(facts, "2026-03-10 12:30")
    assert found["continuous:1"] == ("2026-03-10 11:00+08:00", "breached", True)
    assert found["continuous:2.1"] == ("2026-03-10 18:00+08:00", "running", False)
    released = publishing(facts, publication(RELEASE, "2026-03-10 13:00"))
    found = intervals(released, "2026-03-10 14:00")
    assert found["continuous:1"][1:] == ("satisfied_late", True)
    assert found["continuous:2.1"][1] == "satisfied"
    assert found["continuous:2.2"] == ("2026-03-10 19:00+08:00", "running", False)


def test_an_interval_in_time_gives_way_to_another_and_a_stop_ends_it_with_its_breach_on_record():
    replaced = intervals(continuous(("2026-03-10 09:00", 4), ("2026-03-10 12:00", 6)), "2026-03-11 12:00")
    assert replaced["continuous:1"] == ("2026-03-10 13:00+08:00", "cancelled", False)
    stopped = continuous(("2026-03-10 09:00", 2), ("2026-03-10 12:00", 0))
    assert intervals(stopped, "2026-03-11 12:00")["continuous:1"][1:] == ("cancelled", True)
    again = continuous(("2026-03-10 09:00", 2), ("2026-03-10 12:00", 0), ("2026-03-10 15:00", 3))
    found = intervals(again, "2026-03-10 16:00")
    assert found["continuous:1"][1:] == ("cancelled", True)
    assert found["continuous:2.1"] == ("2026-03-10 18:00+08:00", "running", False)


def test_downgrading_cancels_what_is_pending_and_runs_48_hours_from_the_first_knowledge():
    facts = graded(major(detected="2026-03-10 08:05"), GENERAL, DOWNGRADE, "2026-03-10 12:00")
    assert table(facts, "2026-03-10 12:00") == {
        "5h": "2026-03-10 13:00+08:00 cancelled",
        "24h": "2026-03-11 08:00+08:00 cancelled",
        "48h": "2026-03-12 08:05+08:00 running",
    }
    assert reasons(major(), facts, "2026-03-10 12:00")


def test_a_breach_of_the_provisional_time_is_not_washed_away_by_grading_low_and_worsening():
    """Each step is allowed alone; together they would start a run-out limit anew, so the last needs a second person."""
    ungraded = incident(EMERGENCY, None, occurred="2026-03-10 08:00", registered="2026-03-10 08:10")
    low = graded(ungraded, GENERAL, INITIAL, "2026-03-10 14:00")
    high = graded(low, MAJOR, WORSENED, "2026-03-10 15:00")
    assert table(high, "2026-03-10 15:00")["5h"] == "2026-03-10 20:00+08:00 running"
    assert reasons(low, high, "2026-03-10 15:00")


def test_downgrading_leaves_a_breach_and_what_was_satisfied():
    late = graded(major(), GENERAL, DOWNGRADE, "2026-03-10 14:00")
    assert table(late, "2026-03-10 14:00")["5h"] == "2026-03-10 13:00+08:00 breached"
    released = publishing(major(), publication(RELEASE, "2026-03-10 09:00"))
    done = graded(released, GENERAL, DOWNGRADE, "2026-03-10 14:00")
    assert table(done, "2026-03-10 14:00")["5h"] == "2026-03-10 13:00+08:00 satisfied"


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param((), id="five-hours-breached"),
        pytest.param(("2026-03-10 12:00",), id="five-hours-satisfied"),
    ],
)
def test_downgrading_never_cancels_the_24_hour_clock_without_a_second_person(stage):
    """Pending clocks are cancelled with approval: also where an older breach is still the earliest open due time."""
    before = publishing(major(), *(publication(RELEASE, when) for when in stage))
    after = graded(before, GENERAL, DOWNGRADE, "2026-03-10 14:00")
    assert binding(after, "2026-03-10 14:00")["24h"].state == "cancelled"
    assert reasons(before, after, "2026-03-10 14:00")


def test_downgrading_needs_a_second_person_even_where_the_48_hours_are_due_first():
    before = publishing(
        incident(
            EMERGENCY, MAJOR, detected="2026-03-08 20:00", occurred="2026-03-10 08:00", registered="2026-03-10 08:10"
        ),
        publication(RELEASE, "2026-03-10 09:00"),
    )
    after = graded(before, CONSIDERABLE, DOWNGRADE, "2026-03-10 10:00")
    assert table(after, "2026-03-10 10:00")["48h"] == "2026-03-10 20:00+08:00 satisfied"
    assert binding(after, "2026-03-10 10:00")["24h"].state == "cancelled"
    assert reasons(before, after, "2026-03-10 10:00")


def test_regrading_down_and_up_again_keeps_the_earlier_anchor():
    facts = graded(major(), GENERAL, DOWNGRADE, "2026-03-10 09:00")
    facts = graded(facts, MAJOR, WORSENED, "2026-03-10 12:00")
    assert table(facts, "2026-03-10 12:00")["5h"] == "2026-03-10 13:00+08:00 running"


def test_a_grade_taken_back_to_none_and_given_again_as_general_does_not_wash_away_a_breach():
    """Once graded, a clock is not provisional any more: breached ones stay, whatever the detour."""
    facts = graded(major(), None, CORRECTION, "2026-03-10 14:00")
    facts = graded(facts, GENERAL, INITIAL, "2026-03-10 14:01")
    assert table(facts, "2026-03-10 14:01")["5h"] == "2026-03-10 13:00+08:00 breached"


def test_a_grade_taken_back_to_none_general_and_up_again_keeps_the_earlier_anchor():
    facts = graded(major(), None, CORRECTION, "2026-03-10 09:00")
    facts = graded(facts, GENERAL, INITIAL, "2026-03-10 09:01")
    facts = graded(facts, MAJOR, WORSENED, "2026-03-10 12:00")
    assert table(facts, "2026-03-10 12:00")["5h"] == "2026-03-10 13:00+08:00 running"


def test_an_ungraded_emergency_runs_all_three_clocks_provisionally_and_grading_settles_which_stay():
    facts = incident(
        EMERGENCY, None, occurred="2026-03-10 08:00", detected="2026-03-10 08:30", registered="2026-03-10 08:40"
    )
    assert table(facts, "2026-03-10 09:00") == {
        "5h": "2026-03-10 13:00+08:00 running",
        "24h": "2026-03-11 08:00+08:00 running",
        "48h": "2026-03-12 08:30+08:00 running",
    }
    assert {clock.provisional for clock in clocks(facts, "2026-03-10 09:00")} == {True}
    grave = graded(facts, MAJOR, INITIAL, "2026-03-10 10:00")
    assert table(grave, "2026-03-10 10:00") == {
        "5h": "2026-03-10 13:00+08:00 running",
        "24h": "2026-03-11 08:00+08:00 running",
        "48h": "2026-03-12 08:30+08:00 cancelled",
    }
    assert not any(clock.provisional for clock in clocks(grave, "2026-03-10 10:00") if clock.state.is_open)
    minor = graded(facts, CONSIDERABLE, INITIAL, "2026-03-10 10:00")
    assert [binding(minor, "2026-03-10 10:00")[name].state for name in ("5h", "24h", "48h")] == [
        "cancelled", "cancelled", "running",
    ]  # fmt: skip
    assert reasons(facts, minor, "2026-03-10 10:00", first_grading=True) == ()


def test_the_first_grading_settles_a_provisional_clock_that_was_already_breached():
    ungraded = incident(
        EMERGENCY, None, occurred="2026-03-10 08:00", detected="2026-03-10 08:00", registered="2026-03-10 08:10"
    )
    assert table(ungraded, "2026-03-10 14:00")["5h"] == "2026-03-10 13:00+08:00 breached"
    settled = binding(graded(ungraded, GENERAL, INITIAL, "2026-03-10 14:00"), "2026-03-10 14:00")["5h"]
    assert (settled.state, settled.was_breached) == (ClockState.CANCELLED, True)


def test_an_ungraded_emergency_runs_a_local_rule_for_the_considerable_grade_too():
    local = rule("5h")
    local = replace(
        with_limit(local, hours(12), "local"),
        applies_to=replace(
            local.applies_to, include=replace(local.applies_to.include, severity=frozenset({CONSIDERABLE}))
        ),
    )
    facts = incident(EMERGENCY, None, occurred="2026-03-10 08:00", registered="2026-03-10 08:10", rules=[local])
    assert table(facts, "2026-03-10 09:00") == {"5h": "2026-03-10 20:00+08:00 running"}


def test_an_opinion_that_worsens_into_an_ungraded_emergency_starts_at_the_new_fact():
    """Worsened anchors at the moment of the new fact, whether the grade is known at once or a little later."""
    facts = graded(opinion(), None, WORSENED, "2026-03-10 20:00")
    assert table(facts, "2026-03-10 20:00")["5h"] == "2026-03-11 01:00+08:00 running"
    facts = graded(facts, MAJOR, INITIAL, "2026-03-10 20:30")
    assert table(facts, "2026-03-10 20:30")["5h"] == "2026-03-11 01:00+08:00 running"


# --- late registration, corrections -------------------------------------------------------------------------------------


def test_case_26_a_major_emergency_registered_six_hours_late_is_overdue_on_receipt():
    facts = major(detected=None, notified="2026-03-10 13:50", registered="2026-03-10 14:00")
    assert table(facts, "2026-03-10 14:00") == {
        "5h": "2026-03-10 13:00+08:00 breached",
        "5h内部": "2026-03-10 18:50+08:00 running",
        "24h": "2026-03-11 08:00+08:00 running",
    }
    found = binding(facts, "2026-03-10 14:00")
    assert (found["5h"].on_receipt, found["5h"].attribution) == (True, Attribution.LATE_REPORT)
    assert (found["5h内部"].status, found["5h内部"].origin) == (LimitStatus.INTERNAL, ClockOrigin.ACTION)
    assert found["24h"].due_at - at("2026-03-10 14:00") == hours(18)
    assert plan_actions(found["5h"], policy("release-5h"), at("2026-03-10 14:00"), at("2026-03-10 14:00")) == ()


def test_case_26_registered_exactly_at_the_due_time_is_not_overdue_on_receipt():
    facts = major(registered="2026-03-10 13:00")
    assert table(facts, "2026-03-10 13:00")["5h"] == "2026-03-10 13:00+08:00 running"
    five = binding(facts, "2026-03-10 13:01")["5h"]
    assert (five.state, five.on_receipt, five.attribution) == (
        ClockState.BREACHED, False, Attribution.LATE_RESPONSE,
    )  # fmt: skip


def test_case_26_several_packs_overdue_on_receipt_give_one_internal_clock_for_the_milestone():
    rules = [*national(), with_limit(rule("5h"), hours(5.5), "local")]
    found = clocks(major(registered="2026-03-10 14:00", rules=rules), "2026-03-10 14:00")
    assert [c.key for c in found if c.origin is ClockOrigin.ACTION] == ["action:authoritative_release"]


def test_case_26_a_grade_corrected_after_a_late_registration_is_late_grading():
    late = graded(opinion(registered="2026-03-10 14:00"), MAJOR, CORRECTION, "2026-03-10 15:00")
    five = binding(late, "2026-03-10 15:00")["5h"]
    assert (five.on_receipt, five.attribution) == (False, Attribution.LATE_GRADING)


@pytest.mark.parametrize(
    ("known", "attribution", "internal_due"),
    [
        ({"notified": "2026-03-10 13:50"}, Attribution.LATE_REPORT, "2026-03-10 18:50+08:00"),
        ({"detected": "2026-03-10 13:30"}, Attribution.LATE_DETECTION, "2026-03-10 18:30+08:00"),
        ({"detected": "2026-03-10 12:00"}, Attribution.LATE_REGISTRATION, "2026-03-10 17:00+08:00"),
        # The five hours from the first knowledge are over as well: the internal clock runs from the registration.
        ({"detected": "2026-03-10 08:30"}, Attribution.LATE_REGISTRATION, "2026-03-10 19:00+08:00"),
    ],
)
def test_case_26_the_suggested_attribution_says_who_was_late(known, attribution, internal_due):
    facts = incident(EMERGENCY, MAJOR, occurred="2026-03-10 08:00", registered="2026-03-10 14:00", **known)
    found = binding(facts, "2026-03-10 14:00")
    assert found["5h"].attribution == attribution
    assert beijing(found["5h内部"].due_at) == internal_due


def test_case_26_a_release_stops_the_strict_and_the_internal_clock():
    facts = publishing(
        major(detected=None, notified="2026-03-10 13:50", registered="2026-03-10 14:00"),
        publication(RELEASE, "2026-03-10 16:00"),
    )
    found = binding(facts, "2026-03-10 17:00")
    assert (found["5h"].state, found["5h"].on_receipt) == (ClockState.SATISFIED_LATE, True)
    assert found["5h内部"].state == ClockState.SATISFIED


def test_case_28_a_correction_that_turns_a_breach_into_a_success_needs_a_second_person():
    before = publishing(major(), publication(RELEASE, "2026-03-10 14:00"))
    after = restated(before, TimeKind.OCCURRED, "2026-03-10 09:30")
    assert binding(before, "2026-03-10 15:00")["5h"].state == "satisfied_late"
    assert binding(after, "2026-03-10 15:00")["5h"].state == "satisfied"
    assert reasons(before, after, "2026-03-10 15:00")


def test_case_28_an_on_time_release_entered_after_the_breach_counts_late_until_a_second_person_confirms():
    entered = publication(RELEASE, "2026-03-10 12:00", entered="2026-03-10 16:00")
    before = publishing(major(), entered)
    after = publishing(major(), replace(entered, confirmed=True))
    assert table(before, "2026-03-10 17:00")["5h"] == "2026-03-10 13:00+08:00 satisfied_late"
    assert binding(before, "2026-03-10 17:00")["5h"].fulfilled_at == at("2026-03-10 16:00")
    assert table(after, "2026-03-10 17:00")["5h"] == "2026-03-10 13:00+08:00 satisfied"
    assert reasons(before, after, "2026-03-10 17:00")


@pytest.mark.parametrize(
    "mended",
    [
        {"content": ContentKind.ORIGINAL},
        {"review": Review.ACCEPTED, "content": ContentKind.ORIGINAL},
        {"evidence": True, "content": ContentKind.ORIGINAL},
    ],
    ids=["reclassified", "accepted", "evidenced"],
)
def test_case_28_mending_a_publication_after_the_breach_needs_a_second_person(mended):
    broken: dict[str, Any] = {"content": ContentKind.NEWS_REPORT, "evidence": False, "review": Review.REJECTED}
    broken = {key: value for key, value in broken.items() if key in mended}
    before = publishing(major(), publication(RELEASE, "2026-03-10 12:00", **broken))
    after = publishing(major(), publication(RELEASE, "2026-03-10 12:00", **mended))
    assert binding(before, "2026-03-10 15:00")["5h"].state == "breached"
    assert reasons(before, after, "2026-03-10 15:00")


@pytest.mark.parametrize(("corrected", "due"), [("2026-03-10 07:00", "12:00"), ("2026-03-10 09:00", "14:00")])
def test_case_28_a_later_entry_of_a_time_takes_the_place_of_the_earlier_one(corrected, due):
    def entry(what, when, **detail):
        return Entry(what, at(when), "duty", detail)

    history = [
        entry("registered", "2026-03-10 09:10", kind="emergency", severity="major"),
        entry("time_fact", "2026-03-10 09:10", kind="occurred_at", value=at("2026-03-10 08:00").isoformat()),
        entry("time_fact", "2026-03-10 10:00", kind="occurred_at", value=at(corrected).isoformat()),
    ]
    five = binding(fold(history, [], national()), "2026-03-10 10:00")["5h"]
    assert beijing(five.due_at) == f"2026-03-10 {due}+08:00"


def test_case_28_only_what_stood_in_the_record_when_a_time_was_corrected_counts_from_its_own_time():
    def entry(what, when, **detail):
        return Entry(what, at(when), "duty", detail)

    early, late = (publication(RELEASE, f"2026-03-10 11:{minute}", entered="2026-03-10 12:30") for minute in (40, 50))
    history = [
        entry("registered", "2026-03-10 08:10", kind="emergency", severity="major"),
        entry("time_fact", "2026-03-10 08:10", kind="occurred_at", value=at("2026-03-10 08:00").isoformat()),
        entry("publication", "2026-03-10 12:30", id=early.id),
        entry("time_fact", "2026-03-10 12:30", kind="occurred_at", value=at("2026-03-10 07:00").isoformat(), was=""),
        entry("publication", "2026-03-10 12:30", id=late.id),
    ]
    found = fold(history, [early, late], national())
    assert [p.as_published for p in found.publications] == [True, False]
    assert binding(fold(history, [early], national()), "2026-03-10 13:00")["5h"].state == "satisfied"
    assert binding(fold(history, [late], national()), "2026-03-10 13:00")["5h"].state == "satisfied_late"


@pytest.mark.parametrize("now", ["2026-03-10 12:50", "2026-03-10 13:10"], ids=["still-running", "breached"])
def test_case_28_back_dating_the_occurrence_into_overdue_on_receipt_needs_a_second_person(now):
    """Otherwise a department at its limit turns 超时 into 接报时已逾期 and its escalation into an internal one."""
    before = major(registered="2026-03-10 10:00", detected="2026-03-10 08:30")
    after = restated(before, TimeKind.OCCURRED, "2026-03-10 04:00")
    assert binding(after, now)["5h"].on_receipt
    assert reasons(before, after, now)


def test_case_28_moving_the_48_hours_later_behind_an_earlier_clock_needs_a_second_person():
    """Else the first grading as general, which is exempt, leaves the moved clock as the only one."""
    before = incident(
        EMERGENCY, None, occurred="2026-03-10 08:00", detected="2026-03-10 08:00", registered="2026-03-10 08:10"
    )
    after = restated(before, TimeKind.DETECTED, "2026-03-10 11:00")
    # Whoever registers knows: a detection stated later than the registration counts as the registration.
    assert table(after, "2026-03-10 12:00")["48h"] == "2026-03-12 08:10+08:00 running"
    assert reasons(before, after, "2026-03-10 12:00")


def test_case_28_a_correction_to_an_earlier_time_needs_nobody_and_keeps_the_breach():
    before, after = major(), restated(major(), TimeKind.OCCURRED, "2026-03-10 07:30")
    assert reasons(before, after, "2026-03-10 14:00") == ()
    assert table(after, "2026-03-10 14:00")["5h"] == "2026-03-10 12:30+08:00 breached"


# --- what counts as a release ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ContentKind.NEWS_REPORT, ContentKind.WORK_DYNAMICS_REPOST, ContentKind.COMMENTARY])
def test_case_29_a_repost_is_recorded_and_the_clock_keeps_running(kind):
    facts = publishing(major(), publication(RELEASE, "2026-03-10 10:00", content=kind))
    assert table(facts, "2026-03-10 11:00")["5h"] == "2026-03-10 13:00+08:00 running"


def test_case_29_reclassifying_as_a_repost_after_the_limit_is_a_breach_in_retrospect():
    entered = publication(RELEASE, "2026-03-10 10:00")
    before = publishing(major(), entered)
    after = publishing(major(), replace(entered, content_kind=ContentKind.NEWS_REPORT))
    assert binding(before, "2026-03-10 14:00")["5h"].state == "satisfied"
    five = binding(after, "2026-03-10 14:00")["5h"]
    assert (five.state, five.fulfilled_at, five.attribution) == (
        ClockState.BREACHED, None, Attribution.INVALID_RESPONSE,
    )  # fmt: skip


def test_case_29_a_repost_found_out_after_the_archiving_is_a_breach_in_retrospect_too():
    """Closing ends no clock: else an early archiving would make a repost pass for good."""
    entered = publication(CONFERENCE, "2026-03-10 09:00")
    closed = ended(publishing(major(), entered), "closed", "2026-03-10 10:00")
    assert table(closed, "2026-03-12 10:00")["5h"] == "2026-03-10 13:00+08:00 satisfied"
    found_out = replace(closed, publications=(replace(entered, content_kind=ContentKind.NEWS_REPORT),))
    assert table(found_out, "2026-03-12 10:00")["5h"] == "2026-03-10 13:00+08:00 breached"


@pytest.mark.parametrize(
    "refused",
    [{"review": Review.REJECTED}, {"withdrawn": True}, {"evidence": False}],
    ids=["rejected", "withdrawn", "without-evidence"],
)
def test_case_29_what_is_rejected_withdrawn_or_without_evidence_stops_nothing(refused):
    facts = publishing(major(), publication(RELEASE, "2026-03-10 10:00", **refused))
    assert binding(facts, "2026-03-10 14:00")["5h"].state == "breached"


@pytest.mark.parametrize(
    ("kind", "five", "twenty_four", "forty_eight"),
    [
        (RELEASE, "satisfied", "running", "satisfied"),
        (RESPONSE, "running", "running", "satisfied"),
        (CONFERENCE, "satisfied", "satisfied", "satisfied"),
    ],
)
def test_case_30_each_publication_satisfies_its_milestones(kind, five, twenty_four, forty_eight):
    ungraded = incident(
        EMERGENCY, None, occurred="2026-03-10 08:00", detected="2026-03-10 08:00", registered="2026-03-10 08:10"
    )
    facts = publishing(ungraded, publication(kind, "2026-03-10 12:00"))
    found = binding(facts, "2026-03-10 12:30")
    assert [found[name].state for name in ("5h", "24h", "48h")] == [five, twenty_four, forty_eight]


def test_case_30_of_several_publications_the_first_valid_one_counts():
    first, repost = publication(RELEASE, "2026-03-10 11:00"), ContentKind.WORK_DYNAMICS_REPOST
    facts = publishing(
        major(),
        publication(RELEASE, "2026-03-10 15:00"),
        publication(RELEASE, "2026-03-10 09:00", content=repost),
        first,
        publication(CONFERENCE, "2026-03-10 12:00"),
    )
    five = binding(facts, "2026-03-10 16:00")["5h"]
    assert (five.state, five.fulfilled_at, five.publication_id) == (
        ClockState.SATISFIED, at("2026-03-10 11:00"), first.id,
    )  # fmt: skip


def test_case_31_a_conference_counts_from_its_start_not_from_its_announcement():
    late = publication(CONFERENCE, "2026-03-11 09:00", entered="2026-03-11 04:00")
    facts = publishing(major(), late)
    assert table(facts, "2026-03-11 07:00")["24h"] == "2026-03-11 08:00+08:00 running"
    assert table(facts, "2026-03-11 08:30")["24h"] == "2026-03-11 08:00+08:00 breached"
    assert table(facts, "2026-03-11 09:30")["24h"] == "2026-03-11 08:00+08:00 satisfied_late"


def test_case_33_a_late_co_organiser_is_an_internal_matter_only():
    facts = tasked(
        publishing(major(), publication(RELEASE, "2026-03-10 12:00")),
        "co-organiser", "2026-03-10 08:30", "2026-03-10 11:00", done="2026-03-10 12:30",
    )  # fmt: skip
    assert table(facts, "2026-03-10 12:40")["5h"] == "2026-03-10 13:00+08:00 satisfied"
    task = next(clock for clock in clocks(facts, "2026-03-10 12:40") if clock.origin is ClockOrigin.TASK)
    assert (task.state, task.status, task.unit_id, task.is_internal) == (
        ClockState.SATISFIED_LATE, LimitStatus.INTERNAL, "co-organiser", True,
    )  # fmt: skip
    assert binding(facts, "2026-03-10 12:40")["5h"].unit_id == "lead"


# --- packs -----------------------------------------------------------------------------------------------------------


def test_case_34_the_daqing_pack_alone_has_a_24_hour_clock_and_nothing_for_a_general_emergency():
    rules = rules_of("cn-230600-daqing-2016")
    times: dict[str, Any] = {"occurred": "2026-03-10 08:00", "registered": "2026-03-10 08:10", "rules": rules}
    assert table(incident(EMERGENCY, MAJOR, **times), "2026-03-10 09:00") == {
        "24h": "2026-03-11 08:00+08:00 running",
    }
    assert clocks(incident(EMERGENCY, GENERAL, **times), "2026-03-10 09:00") == ()
    assert clocks(incident(OPINION, **times), "2026-03-10 09:00") == ()
    assert [r.rule_id for r in untimed_duties(incident(OPINION, **times))] == ["prompt_intervention"]


@pytest.mark.parametrize(
    ("on", "grave", "minor"),
    [
        (date(2016, 6, 26), set(), set()),
        (date(2016, 7, 1), {"24h"}, set()),
        (date(2016, 7, 30), {"24h"}, {"48h"}),
        (date(2016, 11, 10), {"5h", "24h"}, {"48h"}),
    ],
)
def test_case_35_the_packs_in_force_on_the_day_decide(on, grave, minor):
    rules = rules_for("230600", on)
    times: dict[str, Any] = {
        "occurred": f"{on} 08:00",
        "detected": f"{on} 08:00",
        "registered": f"{on} 08:10",
        "rules": rules,
    }
    assert set(table(incident(EMERGENCY, MAJOR, **times), f"{on} 09:00")) == grave
    assert set(table(incident(EMERGENCY, GENERAL, **times), f"{on} 09:00")) == minor


@pytest.mark.parametrize(
    ("region", "bound"),
    [("230600", True), ("230604", True), ("230000", False), ("230100", False), ("321300", False)],
)
def test_case_35_a_citys_pack_binds_the_city_and_what_lies_below_it(region, bound):
    found = {rule.pack_id for rule in rules_for(region, date(2016, 12, 1))}
    assert ("cn-230600-daqing-2016" in found) == bound
    assert "cn-gbf-2016-61" in found


def test_case_35_the_bureaus_pack_does_not_bind_its_city():
    assert "cn-520100-guiyang-eco-2017" not in {rule.pack_id for rule in rules_for("520100", date(2018, 1, 1))}


def test_case_35_a_yearly_pack_stays_and_waits_for_confirmation_after_its_year():
    daqing = pack("cn-230600-daqing-2016")
    assert daqing.in_force(date(2026, 3, 10))
    assert not daqing.awaits_confirmation(date(2016, 12, 31))
    assert daqing.awaits_confirmation(date(2017, 1, 1))


def test_case_36_zhaotongs_48_hours_are_by_reference_and_the_stipulated_clock_binds():
    times: dict[str, Any] = {"detected": "2026-03-10 08:00", "registered": "2026-03-10 08:10"}
    alone = incident(OPINION, **times, rules=rules_of("cn-530600-zhaotong-2017"))
    assert [(c.status, c.binding) for c in clocks(alone, "2026-03-10 09:00")] == [(LimitStatus.BY_REFERENCE, True)]
    together = incident(OPINION, **times, rules=rules_for("530600", date(2026, 3, 10)))
    found = {clock.pack_id: clock for clock in clocks(together, "2026-03-10 09:00")}
    assert {(pack_id, c.status, c.binding) for pack_id, c in found.items()} == {
        ("cn-gbf-2016-61", LimitStatus.STIPULATED, True),
        ("cn-530600-zhaotong-2017", LimitStatus.BY_REFERENCE, False),
    }


def test_several_packs_demand_one_milestone_and_the_tightest_binds_in_any_order():
    """The six hours of another city beside the five: one milestone, two rows, one binding."""
    six = with_limit(rule("5h"), hours(6), "aa-first-by-name")
    for rules in ([*national(), six], [six, *national()]):
        facts = replace(major(), rules=tuple(rules))
        rows = {c.pack_id: c.binding for c in clocks(facts, "2026-03-10 09:00") if c.rule_id == six.rule_id}
        assert rows == {"aa-first-by-name": False, "cn-gbf-2016-80": True}
        released = publishing(facts, publication(RELEASE, "2026-03-10 13:30"))
        assert table(released, "2026-03-10 13:40")["5h"] == "2026-03-10 13:00+08:00 satisfied_late"


def test_a_cancelled_tighter_clock_does_not_bind_beside_a_looser_one_that_still_stands():
    five, six = rule("5h"), with_limit(rule("5h"), hours(6), "local")
    for_all = replace(
        six, applies_to=replace(six.applies_to, include=replace(six.applies_to.include, severity=frozenset()))
    )
    facts = graded(major(rules=[five, for_all]), GENERAL, DOWNGRADE, "2026-03-10 09:00")
    assert table(facts, "2026-03-10 09:00") == {"5h": "2026-03-10 14:00+08:00 running"}


def test_case_37_a_notice_without_a_due_time_gets_no_invented_limit():
    notice = transferred(
        opinion(source="state_council_transfer", rules=rules_of("cn-530600-zhaotong-2017")), "2026-03-10 09:00", None
    )
    assert [c.origin for c in clocks(notice, "2026-03-10 09:10")] == [ClockOrigin.RULE]
    assert "state_council_transfer" in {duty.rule_id for duty in untimed_duties(notice)}
    target = tasked(notice, "office", "2026-03-10 09:00", "2026-03-10 17:00")
    house = [c for c in clocks(target, "2026-03-10 09:10") if c.origin is not ClockOrigin.RULE]
    assert [c.status for c in house] == [LimitStatus.INTERNAL]


def test_case_37_a_notice_that_names_its_due_time_runs_a_stipulated_clock_until_the_feedback():
    facts = transferred(opinion(), "2026-03-10 09:00", "2026-03-10 17:00")
    notice = next(c for c in clocks(facts, "2026-03-10 17:01") if c.origin is ClockOrigin.TRANSFER)
    assert (notice.status, notice.state, beijing(notice.due_at)) == (
        LimitStatus.STIPULATED, ClockState.BREACHED, "2026-03-10 17:00+08:00",
    )  # fmt: skip
    answered = transferred(opinion(), "2026-03-10 09:00", "2026-03-10 17:00", feedback="2026-03-10 17:00")
    assert (
        next(c for c in clocks(answered, "2026-03-10 18:00") if c.origin is ClockOrigin.TRANSFER).state == "satisfied"
    )


def test_case_38_after_an_outage_the_breach_stands_at_its_true_due_time_and_is_told_once():
    facts = major()
    assert binding(facts, "2026-03-10 10:00")["5h"].state == "running"
    five = binding(facts, "2026-03-10 16:00")["5h"]
    assert (five.state, beijing(five.due_at)) == (ClockState.BREACHED, "2026-03-10 13:00+08:00")
    planned = plan_actions(five, policy("release-5h"), at("2026-03-10 08:10"), at("2026-03-10 16:00"))
    assert [beijing(a.due_at) for a in planned if a.kind == "breached"] == ["2026-03-10 16:00+08:00"]


# --- times that cannot be --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ([(TimeKind.OCCURRED, "2026-03-10 12:00:01")], "occurred_at"),
        ([(TimeKind.NOTIFIED, "2026-03-11 08:00")], "notified_at"),
        ([(TimeKind.OCCURRED, "2026-03-10 09:00"), (TimeKind.EXPOSED, "2026-03-10 08:59")], "occurred_at"),
    ],
    ids=["a-second-ahead", "tomorrow", "exposed-before-it-occurred"],
)
def test_case_41_times_that_cannot_be_are_refused_by_name(facts, field):
    stated = [TimeFact(kind, at(value), "值班记录") for kind, value in facts]
    with pytest.raises(InvalidInput) as refusal:
        check_times(stated, at("2026-03-10 12:00"))
    assert refusal.value.field == field


def test_case_41_a_time_without_offset_is_refused():
    naive = at("2026-03-10 08:00").replace(tzinfo=None)
    with pytest.raises(InvalidInput) as refusal:
        check_times([TimeFact(TimeKind.OCCURRED, naive, "值班记录")], at("2026-03-10 12:00"))
    assert refusal.value.field == "occurred_at"


def test_case_41_possible_times_pass_up_to_the_present_instant():
    stated = [
        TimeFact(TimeKind.OCCURRED, at("2026-03-10 08:00"), "值班记录"),
        TimeFact(TimeKind.EXPOSED, at("2026-03-10 08:00"), "平台"),
        TimeFact(TimeKind.NOTIFIED, at("2026-03-10 12:00"), "来电"),
    ]
    check_times(stated, at("2026-03-10 12:00"))


@pytest.mark.parametrize("published", ["2026-03-10 07:00", "2026-03-10 12:30"], ids=["before-it-occurred", "future"])
def test_case_41_a_publication_before_the_occurrence_or_in_the_future_stops_no_clock(published):
    facts = publishing(major(), publication(RELEASE, published, entered="2026-03-10 09:00"))
    assert table(facts, "2026-03-10 12:00")["5h"] == "2026-03-10 13:00+08:00 running"


# --- endings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "state"), [("voided", "cancelled"), ("handed_over", "cancelled"), ("waived", "waived")]
)
@pytest.mark.parametrize(("when", "breached"), [("2026-03-10 09:00", False), ("2026-03-10 14:00", True)])
def test_case_42_ending_needs_a_second_person_and_a_breach_before_it_stays_listed(what, state, when, breached):
    facts = ended(major(), what, when)
    five = binding(facts, when)["5h"]
    assert (five.state, five.was_breached, five.ended_at) == (state, breached, at(when))
    assert reasons(major(), facts, when)


@pytest.mark.parametrize("what", ["voided", "handed_over", "waived"])
def test_case_42_what_was_voided_in_time_is_not_a_breach_when_somebody_looks_later(what):
    """Out of rates: the clocks ran until the ending and no longer."""
    facts = ended(major(), what, "2026-03-10 09:00")
    assert clocks(facts, "2026-03-20 09:00") == clocks(facts, "2026-03-10 09:00")


def test_case_42_a_release_after_the_ending_changes_no_verdict():
    facts = ended(major(), "voided", "2026-03-10 09:00")
    later = publishing(facts, publication(RELEASE, "2026-03-10 10:00"))
    assert binding(later, "2026-03-10 11:00")["5h"].state == "cancelled"


def test_case_42_what_was_satisfied_before_the_ending_stays():
    facts = publishing(major(), publication(RELEASE, "2026-03-10 09:00"))
    assert table(ended(facts, "voided", "2026-03-10 10:00"), "2026-03-10 20:00") == {
        "5h": "2026-03-10 13:00+08:00 satisfied",
        "24h": "2026-03-11 08:00+08:00 cancelled",
    }


def test_case_43_a_flare_up_is_a_new_cycle_with_its_own_anchors():
    def entry(what, when, **detail):
        return Entry(what, at(when), "duty", detail)

    def time_fact(kind, value, when):
        return entry("time_fact", when, kind=kind, value=at(value).isoformat(), source="值班记录")

    emergency = {"kind": "emergency", "severity": "major"}
    first = [
        entry("registered", "2026-03-10 08:10", **emergency),
        time_fact("occurred_at", "2026-03-10 08:00", "2026-03-10 08:10"),
        entry("closed", "2026-03-15 09:00", reason="办结"),
    ]
    again = [
        entry("registered", "2026-04-01 10:10", **emergency),
        time_fact("occurred_at", "2026-04-01 10:00", "2026-04-01 10:10"),
    ]
    done = fold(first, [publication(CONFERENCE, "2026-03-10 09:00")], national())
    flared = fold(again, [], national())
    assert table(done, "2026-04-01 10:10") == {
        "5h": "2026-03-10 13:00+08:00 satisfied",
        "24h": "2026-03-11 08:00+08:00 satisfied",
    }
    assert table(flared, "2026-04-01 10:10") == {
        "5h": "2026-04-01 15:00+08:00 running",
        "24h": "2026-04-02 10:00+08:00 running",
    }


def test_case_44_the_interpretation_duty_asks_for_the_site_and_the_media():
    duty = next(o for o in pack("cn-230600-daqing-2016").obligations if o.id == "DQ-07")
    assert duty.parsed["all_of"] == ["government_website", "media"]
    assert duty.parsed["n"] == 3


def test_case_47_daylight_saving_of_1988_is_known():
    moment = next_daily(at("1988-07-01 00:00"), (time(9),))
    assert moment.isoformat() == "1988-07-01T09:00:00+09:00"
    assert moment.astimezone(UTC).isoformat() == "1988-07-01T00:00:00+00:00"


def test_case_47_hours_across_the_change_to_daylight_saving_are_natural_hours():
    facts = incident(EMERGENCY, MAJOR, occurred="1988-04-16 23:00", registered="1988-04-16 23:05")
    five = binding(facts, "1988-04-16 23:05")["5h"]
    assert five.due_at - at("1988-04-16 23:00") == hours(5)
    assert table(facts, "1988-04-16 23:05")["5h"] == "1988-04-17 05:00+09:00 running"


# --- merging ---------------------------------------------------------------------------------------------------------


def test_merging_takes_the_earliest_times_and_can_shorten_a_running_clock():
    primary = major(occurred="2026-03-10 09:00", detected="2026-03-10 09:10", registered="2026-03-10 09:20")
    child = major()
    assert table(unite(primary, [child]), "2026-03-10 10:00") == {
        "5h": "2026-03-10 13:00+08:00 running",
        "24h": "2026-03-11 08:00+08:00 running",
    }


def test_merging_into_a_late_duplicate_does_not_make_a_breach_overdue_on_receipt():
    late = major(registered="2026-03-10 14:00")
    assert binding(late, "2026-03-10 14:10")["5h"].on_receipt
    five = binding(unite(late, [major()]), "2026-03-10 14:10")["5h"]
    assert (five.state, five.on_receipt) == (ClockState.BREACHED, False)


def test_merging_unites_the_publications():
    child = publishing(major(), publication(RELEASE, "2026-03-10 11:00"))
    assert binding(unite(major(), [child]), "2026-03-10 14:00")["5h"].state == "satisfied"


def test_merging_never_forgets_when_the_primary_was_first_known():
    """Knowledge that rests on the registration alone is knowledge: a child with a later detection moves nothing."""
    primary = incident(OPINION, registered="2026-03-10 08:00")
    child = incident(OPINION, detected="2026-03-10 10:00", registered="2026-03-10 11:00")
    assert table(unite(primary, [child]), "2026-03-10 12:00") == {"48h": "2026-03-12 08:00+08:00 running"}
    assert table(unite(child, [primary]), "2026-03-10 12:00") == {"48h": "2026-03-12 08:00+08:00 running"}


def test_merging_into_a_late_exposure_does_not_move_the_childs_clocks_later():
    """What the shift leader confirmed for one incident is no reading of another one's occurrence."""
    old = incident(
        EMERGENCY, MAJOR, occurred="2024-03-10 08:00", exposed="2026-03-10 12:00", registered="2026-03-10 12:30",
        late_exposure=True,
    )  # fmt: skip
    united = unite(old, [major()])
    assert binding(united, "2026-03-10 12:30")["5h"].due_at <= at("2026-03-10 13:00")


def test_merging_an_estimated_occurrence_with_a_stated_one_keeps_the_earlier():
    unknown = incident(EMERGENCY, MAJOR, detected="2026-03-10 08:00", registered="2026-03-10 08:10")
    stated = incident(EMERGENCY, MAJOR, occurred="2026-03-10 09:00", registered="2026-03-10 09:10")
    for united in (unite(stated, [unknown]), unite(unknown, [stated])):
        assert table(united, "2026-03-10 10:00")["5h"] == "2026-03-10 13:00+08:00 running"


def merge_reasons(primary, child, now):
    """As the use case asks: both incidents before, both after, the primary's keys marked."""

    def marked(found, mark):
        return [replace(clock, key=f"{mark}/{clock.key}") for clock in found]

    merged = replace(child, merged_into="2026-0001", merged_at=at(now))
    before = marked(clocks(primary, now), "p") + marked(clocks(child, now), "c")
    after = marked(clocks(unite(primary, [child]), now), "p") + marked(clocks(merged, now), "c")
    return second_person_reasons(before, after)


def test_merging_a_grave_emergency_into_an_opinion_does_not_silently_end_its_clocks():
    """The opinion's 48 hours are due first, so the earliest open due time does not move; 5 h and 24 h still vanish."""
    primary = incident(OPINION, detected="2026-03-08 09:00", registered="2026-03-08 09:00")
    kept = binding(unite(primary, [major()]), "2026-03-10 08:40")
    assert {"5h", "24h"} <= set(kept) or merge_reasons(primary, major(), "2026-03-10 08:40")


def test_merging_does_not_silently_drop_a_superiors_notice():
    primary = incident(OPINION, detected="2026-03-08 09:00", registered="2026-03-08 09:00")
    child = transferred(
        incident(OPINION, detected="2026-03-08 10:00", registered="2026-03-08 10:00"),
        "2026-03-08 10:00", "2026-03-12 10:00",
    )  # fmt: skip
    kept = [c for c in clocks(unite(primary, [child]), "2026-03-10 08:40") if c.origin is ClockOrigin.TRANSFER]
    assert kept or merge_reasons(primary, child, "2026-03-10 08:40")


def test_another_notice_of_a_superior_is_not_the_same_duty():
    """Both carry the same rule id and the primary's is due first; the child's must not vanish by that."""
    primary = transferred(major(), "2026-03-10 08:20", "2026-03-10 12:00")
    child = transferred(major(), "2026-03-10 08:30", "2026-03-11 12:00")
    before = [replace(c, key=f"c/{c.key}") for c in clocks(child, "2026-03-10 09:00")]
    gone = replace(child, merged_into="2026-0001", merged_at=at("2026-03-10 09:00"))
    after = [replace(c, key=f"c/{c.key}") for c in clocks(gone, "2026-03-10 09:00")]
    kept = [replace(c, key=f"p/{c.key}") for c in clocks(primary, "2026-03-10 09:00")]
    found = second_person_reasons([*kept, *before], [*kept, *after])
    assert found == ("未完成的「转办通知反馈」将因并案消失",)


def test_an_internal_clock_takes_no_stipulated_duty_over():
    was = clocks(major(), "2026-03-10 09:00")
    merged = [replace(c, state=ClockState.MERGED) for c in was]
    house = [replace(c, key=f"action:{c.rule_id}", origin=ClockOrigin.ACTION, status=LimitStatus.INTERNAL) for c in was]
    assert len(second_person_reasons(was, [*merged, *house])) > len(was) - 1
    assert "将因并案消失" in second_person_reasons(was, [*merged, *house])[-1]


def test_merging_into_a_body_with_a_looser_limit_needs_a_second_person():
    six = with_limit(rule("5h"), hours(6), "local")
    primary = transferred(major(rules=[six]), "2026-03-10 08:10", "2026-03-10 12:00")
    assert table(unite(primary, [major()]), "2026-03-10 09:00")["5h"] == "2026-03-10 14:00+08:00 running"
    assert merge_reasons(primary, major(rules=[rule("5h")]), "2026-03-10 09:00")


def test_merging_two_equal_incidents_needs_nobody():
    assert merge_reasons(major(), major(), "2026-03-10 10:00") == ()


def test_a_merged_incidents_clocks_end_as_they_stood_at_the_merge():
    facts = replace(major(), merged_into="2026-0001", merged_at=at("2026-03-10 10:00"))
    assert {c.state for c in clocks(facts, "2026-03-10 10:00")} == {ClockState.MERGED}
    assert clocks(facts, "2026-03-20 10:00") == clocks(facts, "2026-03-10 10:00")


def test_un_merging_restores_both():
    def entry(what, when, **detail):
        return Entry(what, at(when), "duty", detail)

    history = [
        entry("registered", "2026-03-10 08:00", kind="opinion"),
        entry("merged", "2026-03-10 09:00", into="2026-0001"),
        entry("unmerged", "2026-03-10 10:00"),
    ]
    alone = fold(history[:1], [], national())
    assert clocks(fold(history, [], national()), "2026-03-10 11:00") == clocks(alone, "2026-03-10 11:00")


@pytest.mark.parametrize("now", ["2026-03-10 12:00", "2026-03-10 14:00"], ids=["still-running", "breached"])
def test_un_merging_needs_a_second_person_where_the_primarys_clocks_move_later_again(now):
    primary = major(occurred="2026-03-10 10:00", detected="2026-03-10 10:00", registered="2026-03-10 10:10")
    assert reasons(unite(primary, [major()]), primary, now)


def test_the_earliest_open_due_time_looks_at_documents_and_not_at_house_targets():
    facts = tasked(major(), "office", "2026-03-10 08:10", "2026-03-10 09:00")
    assert earliest_open_due(derive_clocks(facts, at("2026-03-10 08:30"))) == at("2026-03-10 13:00")
