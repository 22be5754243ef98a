"""Working days against the State Council's calendars: the cases of the domain notes, and what a calendar may not do."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import chinese_calendar
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.calendar_loader import load_calendars
from config.loader import load_packs
from huiying.domain.clock import derive_clocks
from huiying.domain.incident import Facts, TimeFact
from huiying.domain.kinds import Kind, Severity, TimeKind
from huiying.domain.workdays import (
    MOST_WORKING_DAYS,
    SHANGHAI,
    WorkCalendar,
    YearCalendar,
    due_text,
    end_of_day,
    year_from_dict,
    year_to_dict,
)

LOADED = load_calendars()
CALENDAR = LOADED.calendar
VERSIONS = {year.version: year for year in LOADED.versions}
ALL_DAYS = [date(2004, 1, 1) + timedelta(days=number) for number in range((date(2027, 1, 1) - date(2004, 1, 1)).days)]


def due(text: str, n: int) -> str:
    found = CALENDAR.add_working_days(date.fromisoformat(text), n)
    assert not found.provisional
    return found.due_date.isoformat()


def shanghai(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=SHANGHAI)  # type: ignore[misc,arg-type]


def test_every_day_from_2004_to_2026_is_as_the_package_says():
    wrong = [day for day in ALL_DAYS if CALENDAR.is_workday(day) != chinese_calendar.is_workday(day)]
    assert wrong == []


def test_case_3_hour_clocks_cross_into_a_year_without_a_calendar():
    assert not CALENDAR.knows(2027)
    rules = next(pack for pack in load_packs().packs if pack.id == "cn-520200-liupanshui-2017").clocks
    occurred = shanghai(2026, 12, 31, 22)
    facts = Facts(
        kind=Kind.EMERGENCY,
        severity=Severity.MAJOR,
        source="monitoring",
        registered_at=occurred,
        times=(TimeFact(TimeKind.OCCURRED, occurred, "110"),),
        rules=rules,
    )
    dues = {clock.rule_id: clock.due_at for clock in derive_clocks(facts, occurred)}
    assert dues["authoritative_release"] == shanghai(2027, 1, 1, 3)
    assert dues["press_conference"] == shanghai(2027, 1, 1, 22)


def test_case_5_three_working_days_over_the_spring_festival_with_a_worked_saturday():
    found = CALENDAR.add_working_days(date(2026, 2, 13), 3)
    assert found.due_date == date(2026, 2, 25)
    assert found.due_at == datetime(2026, 2, 25, 16, tzinfo=UTC)
    assert found.calendar == ("2026.1",)
    assert not found.provisional


def test_case_6_start_on_a_make_up_saturday():
    assert due("2026-02-14", 3) == "2026-02-26"


def test_case_7_start_on_a_holiday():
    assert due("2026-02-17", 3) == "2026-02-26"


def test_case_9_two_starts_around_the_national_day_end_on_the_same_worked_saturday():
    assert due("2026-09-30", 3) == due("2026-10-01", 3) == "2026-10-10"


def test_case_11_around_labour_day():
    assert due("2026-04-30", 3) == "2026-05-08"
    assert due("2026-05-07", 3) == "2026-05-11"


def test_case_12_ten_working_days_from_the_reply():
    assert [due(start, 10) for start in ("2026-02-10", "2026-09-18", "2026-09-25")] == [
        "2026-03-02",
        "2026-10-09",
        "2026-10-15",
    ]


def test_case_15_thirty_working_days_reach_the_end_of_the_known_calendars():
    assert due("2026-09-01", 30) == "2026-10-19"
    assert due("2026-11-19", 30) == "2026-12-31"
    beyond = CALENDAR.add_working_days(date(2026, 11, 20), 30)
    assert beyond.provisional
    assert beyond.due_date >= date(2027, 1, 1)
    assert "暂定" in beyond.text


def test_case_16_zhaotongs_thirty_days_from_issue_and_from_publication():
    assert CALENDAR.is_workday(date(2017, 5, 27))
    assert due("2017-05-27", 30) == "2017-07-11"
    assert due("2017-06-16", 30) == "2017-07-28"


@pytest.mark.parametrize(
    ("month", "expected"),
    [(1, ["01-04", "01-05", "01-06"]), (5, ["05-06", "05-07", "05-08"]), (10, ["10-08", "10-09", "10-10"]),
     (8, ["08-03", "08-04", "08-05"])],
)  # fmt: skip
def test_case_17_the_first_three_working_days_of_a_month(month, expected):
    assert [f"{day:%m-%d}" for day in CALENDAR.first_working_days(2026, month, 3)] == expected


def test_case_19_a_calendar_amended_in_mid_flight_moves_the_date():
    # That the old value is kept beside the new one is shown with the store (tests/integration/test_pack_admin.py).
    before = CALENDAR.with_year(VERSIONS["2020.1"])
    assert before.add_working_days(date(2020, 1, 22), 3).due_date == date(2020, 2, 1)
    after = before.with_year(VERSIONS["2020.2"]).add_working_days(date(2020, 1, 22), 3)
    assert (after.due_date, after.calendar) == (date(2020, 2, 4), ("2020.2",))
    assert not VERSIONS["2020.1"].verified


def test_the_missing_year_settles_a_provisional_date():
    year = YearCalendar(2027, "2027.1", "示例", frozenset({date(2027, 1, 1)}), frozenset({date(2027, 1, 2)}))
    settled = CALENDAR.with_year(year).add_working_days(date(2026, 11, 20), 30)
    assert (settled.due_date, settled.provisional, settled.calendar) == (date(2027, 1, 2), False, ("2026.1", "2027.1"))
    amended = CALENDAR.with_year(YearCalendar(2027, "2027.2", "示例", year.holidays, frozenset()))
    assert amended.add_working_days(date(2026, 11, 20), 30).due_date == date(2027, 1, 4)


def test_case_46_midnight_is_written_as_24_hours_of_the_day_that_ends():
    assert CALENDAR.add_working_days(date(2026, 2, 13), 3).text == "2月25日24:00"
    assert due_text(shanghai(2026, 2, 26, 0)) == "2月25日24:00"
    assert due_text(shanghai(2026, 1, 1, 0)) == "12月31日24:00"
    assert due_text(shanghai(2026, 2, 25, 9, 5)) == "2月25日09:05"


def test_case_47_summer_time_in_1988_is_honoured():
    assert end_of_day(date(1988, 6, 30)) == datetime(1988, 6, 30, 15, tzinfo=UTC)
    assert end_of_day(date(1988, 6, 30)).astimezone(SHANGHAI).utcoffset() == timedelta(hours=9)
    assert end_of_day(date(1988, 12, 31)) == datetime(1988, 12, 31, 16, tzinfo=UTC)
    assert due_text(end_of_day(date(1988, 6, 30))) == "6月30日24:00"


def test_counting_into_a_year_nobody_knows_is_flagged_and_names_what_it_used():
    found = WorkCalendar().add_working_days(date(2030, 1, 1), 1)
    assert (found.due_date, found.provisional, found.calendar) == (date(2030, 1, 2), True, ())


def test_a_start_on_the_last_day_of_an_unknown_year_needs_only_the_next():
    later = WorkCalendar({2027: YearCalendar(2027, "2027.1", "示例", frozenset({date(2027, 1, 1)}), frozenset())})
    assert not later.add_working_days(date(2026, 12, 31), 1).provisional


@pytest.mark.parametrize("n", [0, -1, MOST_WORKING_DAYS + 1])
def test_a_number_of_days_that_cannot_be_meant_is_refused(n):
    with pytest.raises(ValueError, match="working days"):
        CALENDAR.add_working_days(date(2026, 1, 1), n)


def test_stepping_back_and_forward():
    assert CALENDAR.workday_before(date(2026, 2, 25), 0) == date(2026, 2, 25)
    assert CALENDAR.workday_before(date(2026, 2, 25), 2) == date(2026, 2, 14)
    assert CALENDAR.next_workday(date(2026, 2, 15)) == date(2026, 2, 24)
    assert CALENDAR.workdays_between(date(2026, 2, 16), date(2026, 2, 22)) == 0
    assert CALENDAR.workdays_between(date(2026, 2, 9), date(2026, 2, 15)) == 6


def test_operators_are_asked_for_next_years_calendar_from_november():
    assert not CALENDAR.next_year_missing(date(2026, 10, 31))
    assert CALENDAR.next_year_missing(date(2026, 11, 1))
    assert not CALENDAR.next_year_missing(date(2025, 12, 1))


@pytest.mark.parametrize("year", LOADED.versions, ids=lambda year: year.version)
def test_a_year_survives_json(year: YearCalendar):
    assert year_from_dict(json.loads(json.dumps(year_to_dict(year)))) == year


@given(st.sampled_from(ALL_DAYS[:-120]), st.integers(1, 40), st.integers(1, 40))
def test_counting_in_two_legs_is_counting_once(start, first, second):
    halfway = CALENDAR.add_working_days(start, first).due_date
    assert (
        CALENDAR.add_working_days(halfway, second).due_date == CALENDAR.add_working_days(start, first + second).due_date
    )


@given(st.sampled_from(ALL_DAYS[:-120]), st.integers(1, 40))
def test_a_due_day_is_a_working_day_and_exactly_n_of_them_lie_behind_the_start(start, n):
    found = CALENDAR.add_working_days(start, n)
    assert CALENDAR.is_workday(found.due_date)
    assert CALENDAR.workdays_between(start + timedelta(days=1), found.due_date) == n
    assert found.due_at > datetime.combine(found.due_date, datetime.min.time(), SHANGHAI)


@given(st.dates(date(1949, 10, 1), date(2100, 1, 1)))
def test_the_end_of_a_day_is_the_next_days_midnight_in_shanghai(day):
    local = end_of_day(day).astimezone(SHANGHAI)
    assert local.date() == day + timedelta(days=1)
    assert due_text(end_of_day(day)) == f"{day.month}月{day.day}日24:00"
