"""Due dates of the documents' other duties."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from config.calendar_loader import load_calendars
from config.loader import COMPUTED_KINDS, load_packs
from config.policy_loader import load_policies
from huiying.domain.obligations import ObligationDue, due_dates, workday_reminders
from huiying.domain.rules import Obligation

CALENDAR = load_calendars().calendar
ITEMS = {item.id: item for pack in load_packs().packs for item in pack.obligations}
WORKDAYS_POLICY = next(policy for policy in load_policies().policies if policy.id == "workdays")


def dues(item: str, year: int, **anchors: str) -> tuple[ObligationDue, ...]:
    given = {name: date.fromisoformat(text) for name, text in anchors.items()}
    return due_dates(ITEMS[item], range(year, year + 1), CALENDAR, given)


def days(item: str, year: int, **anchors: str) -> list[str]:
    return [due.due_date.isoformat() for due in dues(item, year, **anchors) if due.due_date]


def made(kind: str, **parsed: object) -> Obligation:
    return Obligation("zz", "ZZ-01", "一", kind, "原文", "-", "-", "-", "示例", "-", parsed)


@pytest.mark.parametrize("item", sorted(ITEMS))
def test_every_duty_has_a_date_or_a_reason(item):
    for year in (2016, 2017, 2026):
        found = dues(item, year)
        assert found
        for due in found:
            assert due.obligation_id == item
            assert due.note_zh
            assert (due.due_date is None) == (due.due_at is None)
            assert due.due_at is None or due.due_at.tzinfo is UTC


@pytest.mark.parametrize("item", sorted(name for name in ITEMS if ITEMS[name].kind not in COMPUTED_KINDS))
def test_a_duty_without_a_figure_gets_no_invented_date(item):
    (due,) = dues(item, 2017)
    assert due.due_date is None
    assert due.text == "无确定期限"


def test_the_first_three_working_days_of_each_month_end_on_the_third():
    assert days("SQ-17", 2026)[0:10:4] == ["2026-01-06", "2026-05-08", "2026-09-03"]
    assert days("SQ-17", 2026)[9] == "2026-10-10"
    assert [due.period_label for due in dues("SQ-17", 2026)][:2] == ["2026-01", "2026-02"]
    assert dues("SQ-17", 2026)[0].calendar == ("2026.1",)


def test_case_16_zhaotongs_own_publication_counts_from_its_issue():
    (due,) = dues("ZT-02", 2017)
    assert due.due_date == date(2017, 7, 11)
    assert due.due_at == datetime(2017, 7, 11, 16, tzinfo=UTC)
    # A stated anchor goes before the one written in the pack.
    assert days("ZT-02", 2017, issued_on="2017-06-16") == ["2017-07-28"]


def test_the_four_anchors_of_working_day_limits_are_different_ones():
    assert days("DQ-07", 2026, document_disclosed_on="2026-02-13") == ["2026-02-25"]
    assert days("LPS-13", 2026, reply_formed_on="2026-02-10") == ["2026-03-02"]
    assert days("LPS-24", 2026, published_on="2026-09-01") == ["2026-09-21"]
    assert days("DQ-07", 2026, reply_formed_on="2026-02-13") == []


def test_a_working_day_limit_without_its_anchor_says_what_is_missing():
    (due,) = dues("SQ-36", 2017)
    assert due.due_date is None
    assert "公布日期" in due.note_zh


def test_a_working_day_limit_into_an_unknown_year_is_provisional_and_given_in_the_year_of_its_due_date_only():
    (due,) = dues("ZT-02", 2027, issued_on="2026-11-20")
    assert due.provisional
    assert "暂定" in due.text
    assert dues("ZT-02", 2026, issued_on="2026-11-20")[0].due_date is None


def test_channels_that_must_all_be_used_are_kept_for_whoever_checks_fulfilment():
    assert ITEMS["DQ-07"].parsed["all_of"] == ITEMS["ZT-31"].parsed["all_of"] == ["government_website", "media"]


@pytest.mark.parametrize(("item", "year"), [("ZT-21", 2018), ("ZT-21", 2029)])
def test_case_20_a_yearly_date_on_a_weekend_is_not_rolled_forward(item, year):
    assert date(year, 3, 31).weekday() >= 5
    assert days(item, year) == [f"{year}-03-31"]


def test_case_20_dates_on_sundays_of_2026_stay_and_roll_only_where_the_office_says_so():
    for text, rolled in (("2026-05-31", "2026-06-01"), ("2026-11-15", "2026-11-16")):
        item = made("fixed_date", date=text)
        assert date.fromisoformat(text).weekday() == 6
        (stays,) = due_dates(item, range(2026, 2027), CALENDAR, {})
        (moves,) = due_dates(item, range(2026, 2027), CALENDAR, {}, roll_forward=True)
        assert (str(stays.due_date), str(moves.due_date)) == (text, rolled)
        assert "顺延" in moves.note_zh
        assert moves.calendar == ("2026.1",)


def test_rolling_forward_leaves_working_days_alone_and_crosses_years_provisionally():
    (same,) = due_dates(made("fixed_date", date="2026-06-01"), range(2026, 2027), CALENDAR, {}, roll_forward=True)
    assert str(same.due_date) == "2026-06-01"
    (later,) = due_dates(made("fixed_date", date="2027-01-02"), range(2027, 2028), CALENDAR, {}, roll_forward=True)
    assert (str(later.due_date), later.provisional) == ("2027-01-04", True)


def test_fixed_dates_appear_in_their_year_only():
    assert days("DQ-16", 2016) == ["2016-12-20"]
    assert days("DQ-16", 2017) == []
    assert days("ZT-28", 2017) == ["2017-11-15"]
    assert days("LPS-04", 2017) == ["2017-05-31"]


def test_a_window_is_due_at_its_end():
    assert days("DQ-15", 2016) == ["2016-12-31"]
    assert days("DQ-15", 2017) == []


def test_case_21_two_updates_a_week_in_a_week_without_working_days():
    weeks = {due.period_label: due for due in dues("GY-14", 2026)}
    empty = weeks["2026-W08"]
    assert empty.no_workdays
    assert empty.due_date == date(2026, 2, 22)
    assert "没有工作日" in empty.note_zh
    assert [label for label, due in weeks.items() if due.no_workdays] == ["2026-W08"]


def test_case_21_a_pack_may_exempt_such_weeks_and_the_calendar_says_so():
    item = made("quota", at_least=2, per="week", weeks_without_workdays="exempt")
    weeks = {due.period_label: due for due in due_dates(item, range(2026, 2027), CALENDAR, {})}
    assert weeks["2026-W08"].due_date is None
    assert weeks["2026-W08"].no_workdays
    assert "免除" in weeks["2026-W08"].note_zh
    assert weeks["2026-W07"].due_date == date(2026, 2, 15)


def test_weeks_are_counted_once_across_the_years():
    labels = [due.period_label for year in range(2015, 2030) for due in dues("SQ-07", year)]
    assert len(labels) == len(set(labels))
    assert {"2015-W53", "2020-W53", "2026-W53"} <= set(labels)


@pytest.mark.parametrize(
    ("item", "count", "first", "last"),
    [
        ("SQ-06", 365, "2026-01-01", "2026-12-31"),
        ("SQ-07", 52, "2026-01-04", "2026-12-27"),
        ("SQ-01", 12, "2026-01-31", "2026-12-31"),
        ("SQ-02", 4, "2026-03-31", "2026-12-31"),
        ("SQ-09", 1, "2026-12-31", "2026-12-31"),
        ("ZT-06", 16, "2026-01-31", "2026-12-31"),
        ("LPS-14", 1, "2026-12-31", "2026-12-31"),
    ],
)
def test_recurring_duties_fall_due_at_the_end_of_their_period(item, count, first, last):
    found = days(item, 2026)
    assert (len(found), found[0], found[-1]) == (count, first, last)
    assert found == sorted(found)


def test_february_of_a_leap_year_has_its_last_day():
    assert days("SQ-01", 2028)[1] == "2028-02-29"


def test_a_yearly_duty_with_a_date_in_the_regulation_is_due_then():
    assert days("DQ-19", 2016) == ["2016-03-31"]


def test_a_duty_with_a_condition_waits_for_it():
    (waiting,) = dues("ZT-20", 2018)
    assert waiting.due_date is None
    assert "前提" in waiting.note_zh
    assert days("ZT-20", 2018, ranking_method_issued_on="2018-05-01") == ["2018-12-31"]
    assert days("ZT-20", 2017, ranking_method_issued_on="2018-05-01") == []


def test_several_years_are_given_in_order():
    found = due_dates(ITEMS["ZT-21"], range(2016, 2019), CALENDAR, {})
    assert [str(due.due_date) for due in found] == ["2016-03-31", "2017-03-31", "2018-03-31"]


def test_working_day_reminders_fall_on_working_days_only():
    planned = workday_reminders(WORKDAYS_POLICY, date(2026, 2, 25), CALENDAR)
    assert [(step.id, at.isoformat()) for step, at in planned] == [
        ("n_minus_3", "2026-02-13T01:00:00+00:00"),
        ("n_minus_1", "2026-02-24T01:00:00+00:00"),
        ("n_morning", "2026-02-25T01:00:00+00:00"),
        ("n_afternoon", "2026-02-25T07:00:00+00:00"),
    ]


def test_a_date_on_a_sunday_is_reminded_of_on_the_working_days_before():
    planned = workday_reminders(WORKDAYS_POLICY, date(2026, 5, 31), CALENDAR)
    assert [(step.id, f"{at:%m-%d}") for step, at in planned] == [("n_minus_3", "05-27"), ("n_minus_1", "05-29")]
