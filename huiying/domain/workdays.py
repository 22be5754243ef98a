"""Working days by the State Council's yearly notices, for limits that are counted in working days.

Hour limits never come here. Calendars are data with versions, because notices change after they are published; a year
without a calendar is counted Monday to Friday and the result is flagged provisional until the year is imported. That
date is a floor for practical purposes: holidays push it later, and a make-up Saturday can only rarely pull it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from huiying.domain.sentences import Sentence, said

SHANGHAI = ZoneInfo("Asia/Shanghai")

#: More than the longest limit in any document; beyond it somebody mistook the unit.
MOST_WORKING_DAYS = 1000

_SATURDAY = 5
_DAY = timedelta(days=1)
#: The State Council publishes next year's notice in November or early December.
_NOTICE_MONTH = 11


@dataclass(frozen=True, slots=True)
class YearCalendar:
    """One version of one year: the days off (weekends inside a break included) and the weekend days worked instead."""

    year: int
    version: str
    source_notice: str
    holidays: frozenset[date]
    makeup_workdays: frozenset[date]
    published: date | None = None
    verified: bool = True

    def is_workday(self, day: date) -> bool:
        """Tell whether people work on this day of the year."""
        if day in self.makeup_workdays:
            return True
        return day.weekday() < _SATURDAY and day not in self.holidays


@dataclass(frozen=True, slots=True)
class WorkingDayDue:
    """When a working-day limit ends; ``calendar`` names the versions that were used."""

    due_date: date
    due_at: datetime
    provisional: bool
    calendar: tuple[str, ...]

    @property
    def text(self) -> str:
        """The due time as a duty officer writes it: 2月25日24:00."""
        return due_text(self.due_at, provisional=self.provisional)


@dataclass(frozen=True, slots=True)
class WorkCalendar:
    """The calendars in use, one version per year."""

    years: Mapping[int, YearCalendar] = field(default_factory=dict)

    def with_year(self, year: YearCalendar) -> WorkCalendar:
        """Take a year, or a later version of it, into use."""
        return WorkCalendar({**self.years, year.year: year})

    def knows(self, year: int) -> bool:
        """Tell whether there is a calendar of this year."""
        return year in self.years

    def is_workday(self, day: date) -> bool:
        """Tell whether people work on this day; Monday to Friday where the year has no calendar."""
        year = self.years.get(day.year)
        return day.weekday() < _SATURDAY if year is None else year.is_workday(day)

    def versions(self, first: date, last: date) -> tuple[str, ...]:
        """The versions that speak about these days."""
        known = (self.years.get(year) for year in range(first.year, last.year + 1))
        return tuple(year.version for year in known if year is not None)

    def is_provisional(self, first: date, last: date) -> bool:
        """Tell whether any of these days lies in a year without a calendar."""
        return any(not self.knows(year) for year in range(first.year, last.year + 1))

    def next_year_missing(self, today: date) -> bool:
        """Tell whether the operators should be asked for next year's calendar: from November on."""
        return today.month >= _NOTICE_MONTH and not self.knows(today.year + 1)

    def add_working_days(self, start: date, n: int) -> WorkingDayDue:
        """Count ``n`` working days; the start day itself is not counted. Due at 24:00 of the last one."""
        if not 1 <= n <= MOST_WORKING_DAYS:
            message = f"working days must be 1 to {MOST_WORKING_DAYS}, not {n}"
            raise ValueError(message)
        following = self._workdays_from(start + _DAY)
        last = start
        for _ in range(n):
            last = next(following)
        # A day is always looked at in the direction of counting, so the year of ``start`` matters only from the next day.
        first = start + _DAY
        return WorkingDayDue(last, end_of_day(last), self.is_provisional(first, last), self.versions(first, last))

    def first_working_days(self, year: int, month: int, n: int) -> tuple[date, ...]:
        """The first ``n`` working days of a month (每月初n个工作日内: the first of them is day 1)."""
        following = self._workdays_from(date(year, month, 1))
        return tuple(next(following) for _ in range(n))

    def workday_before(self, day: date, n: int) -> date:
        """The ``n``-th working day before a day; the day itself for 0."""
        while n > 0:
            day -= _DAY
            n -= self.is_workday(day)
        return day

    def next_workday(self, day: date) -> date:
        """This day, or the first working day after it."""
        return next(self._workdays_from(day))

    def workdays_between(self, first: date, last: date) -> int:
        """How many working days there are from one day to another, both included."""
        days = (last - first).days + 1
        return sum(1 for number in range(days) if self.is_workday(first + number * _DAY))

    def _workdays_from(self, day: date) -> Iterator[date]:
        while True:
            if self.is_workday(day):
                yield day
            day += _DAY


def end_of_day(day: date) -> datetime:
    """24:00 of a Shanghai day as a UTC instant.

    Built from the next day's local midnight through the time zone: until 1991 Shanghai had summer time, so no fixed
    offset is right for all days.
    """
    return datetime.combine(day + _DAY, time(0), SHANGHAI).astimezone(UTC)


def due_text(due_at: datetime, *, provisional: bool = False) -> Sentence:
    """A due instant in words; midnight belongs to the day that ends with it: 2月25日24:00."""
    local = due_at.astimezone(SHANGHAI)
    day, hour = (local.date() - _DAY, "24:00") if local.time() == time(0) else (local.date(), f"{local:%H:%M}")
    text = said("%(month)s月%(day)s日%(time)s", month=day.month, day=day.day, time=hour)
    return said("%(due)s（暂定）", due=text) if provisional else text


def year_to_dict(year: YearCalendar) -> dict[str, Any]:
    """Write one version of a year with nothing but what JSON knows."""
    return {
        "year": year.year,
        "version": year.version,
        "source_notice": year.source_notice,
        "published": None if year.published is None else year.published.isoformat(),
        "verified": year.verified,
        "holidays": [day.isoformat() for day in sorted(year.holidays)],
        "makeup_workdays": [day.isoformat() for day in sorted(year.makeup_workdays)],
    }


def year_from_dict(data: Mapping[str, Any]) -> YearCalendar:
    """Read what ``year_to_dict`` wrote."""
    return YearCalendar(
        year=data["year"],
        version=data["version"],
        source_notice=data["source_notice"],
        holidays=frozenset(date.fromisoformat(day) for day in data["holidays"]),
        makeup_workdays=frozenset(date.fromisoformat(day) for day in data["makeup_workdays"]),
        published=None if data["published"] is None else date.fromisoformat(data["published"]),
        verified=data["verified"],
    )
