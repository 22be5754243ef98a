"""Write ``config/calendars`` from the package chinesecalendar: ``python -m tests.tools.make_calendars``.

The package gives the days as they stand after all amendments; it does not give the notices. Their titles and dates of
publication are listed here where they are known, and what an earlier version of a year said is spelt out by hand.
A test compares the files with what this script would write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from chinese_calendar import constants

from config.calendar_loader import CALENDARS_DIRECTORY

FIRST, LAST = 2004, 2026

TITLE = "国务院办公厅关于{year}年部分节假日安排的通知"

#: When the notice of a year was published; missing where we could not confirm it.
PUBLISHED = {
    2009: "2008-12-10",
    2010: "2009-12-08",
    2011: "2010-12-10",
    2012: "2011-12-06",
    2013: "2012-12-10",
    2014: "2013-12-11",
    2015: "2014-12-16",
    2016: "2015-12-10",
    2017: "2016-12-01",
    2018: "2017-11-30",
    2019: "2018-12-06",
    2020: "2019-11-21",
    2021: "2020-11-25",
    2022: "2021-10-25",
    2023: "2022-12-08",
    2024: "2023-10-25",
    2025: "2024-11-12",
    2026: "2025-11-04",
}
DOC_NO = {2016: "国办发明电〔2015〕18号", 2026: "国办发明电〔2025〕7号"}

#: Days at the end of a year are sometimes moved by the next year's notice.
NOTES = {
    2005: "年末的调休由2006年的通知安排;本版本未收录(来源数据没有)。",
    2006: "12月30日、31日上班由2007年的通知安排。",
    2007: "12月29日上班、12月30日至31日的安排来自2008年的通知。",
    2011: "12月31日上班由2012年的通知安排。",
}


@dataclass(frozen=True)
class Amendment:
    """A notice that changed a year after it had been published, and by which days the version before it differed."""

    title: str
    published: str
    added: tuple[str, ...]
    made_up: tuple[str, ...]
    dropped_made_up: tuple[str, ...] = ()
    unverified: bool = False
    original_unverified: bool = False


AMENDED = {
    2015: Amendment(
        title="国务院关于中国人民抗日战争暨世界反法西斯战争胜利70周年纪念日调休放假的通知",
        published="2015-05-13",
        added=("2015-09-03", "2015-09-04"),
        made_up=("2015-09-06",),
        unverified=True,
    ),
    2018: Amendment(
        title=TITLE.format(year=2019),
        published="2018-12-06",
        added=("2018-12-30", "2018-12-31"),
        made_up=("2018-12-29",),
    ),
    2019: Amendment(
        title="国务院办公厅关于调整2019年劳动节假期安排的通知",
        published="2019-03-22",
        added=("2019-05-02", "2019-05-03", "2019-05-04"),
        made_up=("2019-04-28", "2019-05-05"),
    ),
    2020: Amendment(
        title="国务院办公厅关于延长2020年春节假期的通知",
        published="2020-01-27",
        added=("2020-01-31", "2020-02-01", "2020-02-02"),
        made_up=(),
        dropped_made_up=("2020-02-01",),
        original_unverified=True,
    ),
}

FESTIVALS = {festival.value: festival.chinese for festival in constants.Holiday}


def holidays_of(year: int) -> dict[date, str]:
    """Days off of a year with the festival they belong to."""
    return {day: FESTIVALS[name] for day, name in sorted(constants.holidays.items()) if day.year == year}


def makeups_of(year: int) -> set[date]:
    """Weekend days of a year on which people work."""
    return {day for day in constants.workdays if day.year == year}


def _dates(texts: Iterable[str]) -> set[date]:
    return {date.fromisoformat(text) for text in texts}


def _list(days: Iterable[date]) -> str:
    return "[" + ", ".join(f"'{day}'" for day in sorted(days)) + "]"


def _notice(title: str, published: str, doc_no: str, note: str, *, unverified: bool) -> list[str]:
    lines = ["    source_notice:", f"      title: {title}"]
    lines += [f"      doc_no: {doc_no}"] if doc_no else []
    lines += [f"      published: '{published}'"] if published else []
    lines += ["      unverified: true"] if unverified else []
    lines += [f"      note: {note}"] if note else []
    return lines


def _version(label: str, notice: list[str], days: dict[date, str], makeups: set[date]) -> list[str]:
    festivals = [
        f"      {festival}: {_list(day for day, name in days.items() if name == festival)}"
        for festival in dict.fromkeys(days.values())
    ]
    return [f"  - version: '{label}'", *notice, "    holidays:", *festivals, f"    makeup_workdays: {_list(makeups)}"]


def text_of(year: int) -> str:
    """The whole file of a year."""
    days, makeups = holidays_of(year), makeups_of(year)
    title, published, doc_no = TITLE.format(year=year), PUBLISHED.get(year, ""), DOC_NO.get(year, "")
    lines = ["schema: 1", f"year: {year}", "versions:"]
    amendment = AMENDED.get(year)
    if amendment is None:
        notice = _notice(title, published, doc_no, NOTES.get(year, ""), unverified=not published)
        return "\n".join([*lines, *_version(f"{year}.1", notice, days, makeups), ""])
    before = {day: name for day, name in days.items() if day not in _dates(amendment.added)}
    worked = (makeups - _dates(amendment.made_up)) | _dates(amendment.dropped_made_up)
    original = _notice(title, published, doc_no, "", unverified=amendment.original_unverified)
    amended = _notice(amendment.title, amendment.published, "", "", unverified=amendment.unverified)
    lines += _version(f"{year}.1", original, before, worked)
    lines += _version(f"{year}.2", amended, days, makeups)
    return "\n".join([*lines, ""])


def main(directory: Path = CALENDARS_DIRECTORY) -> None:
    """Write all files."""
    for year in range(FIRST, LAST + 1):
        (directory / f"cn-{year}.yaml").write_text(text_of(year), encoding="utf-8")


if __name__ == "__main__":
    main()
