"""A year's leaves agree with the calendar they are drawn from, and a changed day shows as exactly that."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from config.calendar_loader import load_calendars
from huiying.domain.calendar_grid import day_changes, kind_of, leaves, plain_year

YEARS = load_calendars().calendar.years


@pytest.mark.parametrize("number", [2016, 2024, 2026])
def test_every_day_of_the_year_stands_on_its_leaf_once_and_under_its_weekday(number: int):
    drawn = [
        (leaf.month, column, day)
        for leaf in leaves(YEARS[number])
        for week in leaf.weeks
        for column, day in enumerate(week)
        if day is not None
    ]
    first = date(number, 1, 1)
    assert [day.date for _, _, day in drawn] == [first + timedelta(n) for n in range(len(drawn))]
    assert drawn[-1][2].date == date(number, 12, 31)
    for month, column, day in drawn:
        assert (day.date.month, day.date.weekday()) == (month, column)
        assert day.is_off is not YEARS[number].is_workday(day.date)


def test_workdays_of_a_month_are_those_of_the_calendar():
    february = leaves(YEARS[2026])[1]
    assert february.month == 2
    assert february.workdays == sum(YEARS[2026].is_workday(date(2026, 2, day)) for day in range(1, 29))


def test_kinds_of_days_around_the_spring_festival():
    year = YEARS[2026]
    kinds = {day: kind_of(year, date(2026, 2, day)) for day in (13, 14, 15, 17, 24, 28)}
    assert kinds == {13: "work", 14: "makeup", 15: "holiday", 17: "holiday", 24: "work", 28: "makeup"}


def test_a_shifted_holiday_shows_both_of_its_days_and_no_others():
    year = YEARS[2026]
    out, into = date(2026, 10, 7), date(2026, 10, 8)
    new = replace(year, holidays=(year.holidays - {out}) | {into})
    assert [(c.date, c.before, c.after) for c in day_changes(year, new)] == [
        (out, "holiday", "work"),
        (into, "work", "holiday"),
    ]
    assert day_changes(year, year) == ()


def test_the_first_notice_of_a_year_shows_against_plain_weeks():
    changes = day_changes(plain_year(2026), YEARS[2026])
    assert {c.date for c in changes} == YEARS[2026].holidays | YEARS[2026].makeup_workdays
