"""A year of working days as twelve leaves, and what differs between two versions of a year."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date
from typing import Literal

from huiying.domain.workdays import YearCalendar

DayKind = Literal["work", "weekend", "holiday", "makeup"]
KINDS_ZH: dict[DayKind, str] = {"work": "上班", "weekend": "周末", "holiday": "放假", "makeup": "调休上班"}

_MONDAY_FIRST = calendar.Calendar(calendar.MONDAY)


@dataclass(frozen=True, slots=True)
class Day:
    """One day of a leaf."""

    date: date
    kind: DayKind

    @property
    def is_off(self) -> bool:
        """Nobody is expected at work."""
        return self.kind in {"weekend", "holiday"}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A month: weeks from Monday to Sunday, None where a week belongs to the neighbours."""

    month: int
    weeks: tuple[tuple[Day | None, ...], ...]
    workdays: int


@dataclass(frozen=True, slots=True)
class DayChange:
    """A day that two versions see differently."""

    date: date
    before: DayKind
    after: DayKind


def kind_of(year: YearCalendar, day: date) -> DayKind:
    """What a day is; a weekend inside a holiday counts as the holiday it was announced as."""
    if day in year.makeup_workdays:
        return "makeup"
    if day in year.holidays:
        return "holiday"
    return "work" if day.weekday() < 5 else "weekend"


def leaves(year: YearCalendar) -> tuple[Leaf, ...]:
    """The twelve months."""
    return tuple(_leaf(year, month) for month in range(1, 13))


def _leaf(year: YearCalendar, month: int) -> Leaf:
    weeks = tuple(
        tuple(Day(day, kind_of(year, day)) if day.month == month else None for day in week)
        for week in _MONDAY_FIRST.monthdatescalendar(year.year, month)
    )
    return Leaf(month, weeks, sum(1 for week in weeks for day in week if day is not None and not day.is_off))


def plain_year(year: int) -> YearCalendar:
    """A year nobody has published a notice for: Monday to Friday."""
    return YearCalendar(year, "", "", frozenset(), frozenset(), verified=False)


def day_changes(before: YearCalendar, after: YearCalendar) -> tuple[DayChange, ...]:
    """The days of a year that the two versions see differently, in order."""
    special = before.holidays | before.makeup_workdays | after.holidays | after.makeup_workdays
    found = (DayChange(day, kind_of(before, day), kind_of(after, day)) for day in sorted(special))
    return tuple(change for change in found if change.before != change.after)
