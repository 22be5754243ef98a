"""The strict line and its own verdict beside the clock that runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from huiying.domain.kinds import TimeKind
from huiying.domain.strictness import LineKind, lines_of, strict_verdict
from tests.builders import MAJOR, RELEASE, at, beijing, binding, hours, incident, publication, publishing, restated

FIVE = hours(5)


def exposed_late():
    """Occurred at 08:00, exposed at 08:30, and counted from there."""
    return incident(
        severity=MAJOR, registered="2026-03-10 09:00", occurred="2026-03-10 08:00", exposed="2026-03-10 08:30",
        detected="2026-03-10 08:50", late_exposure=True,
    )  # fmt: skip


def verdict(facts, now):
    clock = binding(facts, now)["5h"]
    found = strict_verdict(facts, clock.limit, clock.state, clock.fulfilled_at, clock.publication_id, at(now))
    assert found is not None
    return clock.state, found.state, found.margin


def test_every_stated_time_gives_a_line_and_the_occurrence_comes_first():
    assert [(line.kind.zh, beijing(line.due_at)[11:16]) for line in lines_of(exposed_late(), FIVE)] == [
        ("按事发", "13:00"), ("按首发", "13:30"), ("按知悉", "13:50")
    ]  # fmt: skip


def test_without_an_occurrence_the_earliest_line_is_the_strict_one():
    facts = restated(exposed_late(), TimeKind.OCCURRED, None)
    assert lines_of(facts, FIVE)[0].kind is LineKind.EXPOSED
    assert lines_of(restated(facts, TimeKind.EXPOSED, "2026-03-10 08:55"), FIVE)[0].kind is LineKind.KNOWN


def test_of_merged_incidents_the_earliest_time_counts():
    earlier = incident(severity=MAJOR, registered="2026-03-10 09:00", occurred="2026-03-10 07:00")
    assert beijing(lines_of(replace(exposed_late(), members=(earlier,)), FIVE)[0].due_at) == "2026-03-10 12:00+08:00"


@pytest.mark.parametrize(
    ("published", "now", "states", "margin"),
    [
        (None, "2026-03-10 13:00", ("running", "running"), 0),
        (None, "2026-03-10 13:10", ("running", "breached"), -10),
        ("2026-03-10 12:50", "2026-03-10 13:20", ("satisfied", "satisfied"), 10),
        ("2026-03-10 13:10", "2026-03-10 13:20", ("satisfied", "satisfied_late"), -10),
        ("2026-03-10 13:40", "2026-03-10 14:00", ("satisfied_late", "satisfied_late"), -40),
    ],
)
def test_the_strict_line_has_a_verdict_of_its_own(published, now, states, margin):
    facts = exposed_late()
    facts = publishing(facts, publication(RELEASE, published)) if published else facts
    assert verdict(facts, now) == (*states, timedelta(minutes=margin))


def test_entered_after_the_strict_line_it_counts_from_its_entry_until_a_second_person_confirms():
    late = publication(RELEASE, "2026-03-10 12:50", entered="2026-03-10 13:10")
    facts = exposed_late()
    assert verdict(publishing(facts, late), "2026-03-10 13:20")[:2] == ("satisfied", "satisfied_late")
    confirmed = publishing(facts, replace(late, confirmed=True))
    assert verdict(confirmed, "2026-03-10 13:20")[:2] == ("satisfied", "satisfied")


def test_a_clock_that_was_taken_away_has_no_verdict():
    facts = exposed_late()
    clock = binding(facts, "2026-03-10 10:00")["5h"]
    gone = type(clock.state).CANCELLED
    assert strict_verdict(facts, clock.limit, gone, None, None, at("2026-03-10 20:00")) is None
