"""Working-day calendars from files: the ones in ``config/calendars`` and those an operator imports.

A YAML file holds one year with all its versions, the latest last. A CSV file holds one version: a line per special day,
``date,kind`` with kind ``holiday`` or ``makeup`` (放假 or 上班).
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from config.document import Finding, Form, Node, Section, decode, expand, read_document, read_path, yaml_files
from huiying.domain.sentences import said
from huiying.domain.workdays import WorkCalendar, YearCalendar, year_from_dict, year_to_dict

__all__ = [
    "CALENDARS_DIRECTORY",
    "LoadedCalendars",
    "ParsedCalendar",
    "lint_calendars",
    "load_calendars",
    "parse_calendar_file",
    # For those who keep calendars as JSON.
    "year_from_dict",
    "year_to_dict",
]

CALENDARS_DIRECTORY = Path(__file__).parent / "calendars"

SCHEMA = 1
VERSION = r"[0-9]{4}\.[0-9A-Za-z.-]{1,40}"
VERSION_HINT = "写成 2026.1 的样子"
UNNAMED_SOURCE = "导入文件（未注明来源通知）"

#: A year has at least seven days off by law; more than sixty is a file of something else.
FEWEST_HOLIDAYS = 7
MOST_HOLIDAYS = 60
MOST_CSV_LINES = 400

_CSV_KINDS = {"holiday": True, "放假": True, "makeup": False, "上班": False}


@dataclass(frozen=True, slots=True)
class LoadedCalendars:
    """The calendar in use (the latest version of each year), all versions, and what was found in bad files."""

    calendar: WorkCalendar
    versions: tuple[YearCalendar, ...]
    findings: tuple[Finding, ...]

    @property
    def years(self) -> tuple[YearCalendar, ...]:
        """The latest version of each year."""
        return tuple(self.calendar.years[year] for year in sorted(self.calendar.years))


@dataclass(frozen=True, slots=True)
class ParsedCalendar:
    """What an imported file holds: all its versions, the latest last; none when anything was found."""

    years: tuple[YearCalendar, ...]
    findings: tuple[Finding, ...]


def load_calendars(directory: Path = CALENDARS_DIRECTORY) -> LoadedCalendars:
    """Read all calendars of a directory; a bad file is left out whole, with findings."""
    return _read_all(yaml_files(Path(directory)))


def lint_calendars(paths: Iterable[Path]) -> list[Finding]:
    """Find every fault in these files and directories."""
    return list(_read_all(expand(paths)).findings)


def parse_calendar_file(file: str, data: bytes, source_notice: str = "") -> ParsedCalendar:
    """Read what an operator imports, YAML or CSV; nothing of it is used when there are findings.

    ``source_notice`` names the notice of a CSV file, which has no place for it.
    """
    if _looks_like_csv(data):
        years, findings = _read_csv(file, data, source_notice)
    else:
        years, findings = read_document(file, data, _build)
    return ParsedCalendar(years or (), tuple(findings))


def _read_all(files: Iterable[Path]) -> LoadedCalendars:
    findings: list[Finding] = []
    versions: list[YearCalendar] = []
    taken: set[int] = set()
    for path in files:
        years, faults = read_path(path, _build)
        findings += faults
        if years is None:
            continue
        if years[0].year in taken:
            findings.append(
                Finding(
                    str(path), 1, "year", said("%(year)s 年的日历已在另一个文件中，本文件不采用。", year=years[0].year)
                )
            )
            continue
        taken.add(years[0].year)
        versions += years
    latest = WorkCalendar({year.year: year for year in versions})
    return LoadedCalendars(latest, tuple(versions), tuple(sorted(findings)))


def _build(_form: Form, top: Section) -> tuple[YearCalendar, ...]:
    top.only("schema", "year", "versions")
    top.integer("schema", SCHEMA, SCHEMA)
    number = top.integer("year", 1949, 2199)
    sections = top.sections("versions")
    years = tuple(_version(section, number) for section in sections)
    counts = Counter(year.version for year in years)
    for section, year in zip(sections, years, strict=True):
        if year.version and counts[year.version] > 1:
            section.fail("version", said("版本 %(version)s 重复。", version=year.version))
    return years


def _version(section: Section, number: int) -> YearCalendar:
    section.only("version", "source_notice", "holidays", "makeup_workdays")
    version = section.text("version", pattern=VERSION, hint=VERSION_HINT)
    if version and not version.startswith(f"{number}."):
        section.fail("version", said("版本应以 %(number)s. 开头。", number=number))
    notice = section.section("source_notice")
    notice.only("title", "doc_no", "published", "unverified", "note")
    notice.text("note", required=False)
    title, doc_no = notice.text("title"), notice.text("doc_no", required=False)
    year = YearCalendar(
        year=number,
        version=version,
        source_notice=f"{title}（{doc_no}）" if doc_no else title,
        holidays=_holidays(section),
        makeup_workdays=frozenset(section.days("makeup_workdays", required=False)),
        published=notice.day("published", required=False),
        verified=not notice.flag("unverified", required=False),
    )
    if not section.form.findings:
        for name, sentence in _faults(year):
            section.fail(name, sentence)
    return year


def _holidays(section: Section) -> frozenset[date]:
    """Days off, listed under the name of their festival."""
    festivals = section.section("holidays")
    days = [day for name in festivals.values for day in festivals.days(name)]
    if len(set(days)) != len(days):
        section.fail("holidays", "同一天出现在两个节日下。")
    return frozenset(days)


def _faults(year: YearCalendar) -> list[tuple[str, str]]:
    """What cannot be right in any year, whatever the notice says."""
    faults: list[tuple[str, str]] = []
    strangers = sorted(day for day in year.holidays | year.makeup_workdays if day.year != year.year)
    if strangers:
        faults.append(("holidays", said("%(day)s 不在 %(year)s 年内。", day=strangers[0], year=year.year)))
    faults += [
        ("makeup_workdays", said("%(day)s 不能既放假又上班。", day=day))
        for day in sorted(year.holidays & year.makeup_workdays)
    ]
    weekdays = sorted(day for day in year.makeup_workdays if day.weekday() < 5)
    faults += [("makeup_workdays", said("%(day)s 不是周末，不需要写成调休上班。", day=day)) for day in weekdays]
    if not FEWEST_HOLIDAYS <= len(year.holidays) <= MOST_HOLIDAYS:
        faults.append(
            (
                "holidays",
                said(
                    "放假日共 %(count)s 天，应在 %(fewest)s 到 %(most)s 天之间。",
                    count=len(year.holidays),
                    fewest=FEWEST_HOLIDAYS,
                    most=MOST_HOLIDAYS,
                ),
            )
        )
    return faults


def _looks_like_csv(data: bytes) -> bool:
    first = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:200].split(b"\n", 1)[0].strip().lower()
    return first.replace(b" ", b"") == b"date,kind"


def _read_csv(file: str, data: bytes, source_notice: str) -> tuple[tuple[YearCalendar, ...] | None, list[Finding]]:
    form = Form(file)
    years: tuple[YearCalendar, ...] = ()
    with form.reading():
        years = (_csv_year(form, data, decode(data), source_notice),)
    return (None if form.findings else years), sorted(set(form.findings))


def _csv_year(form: Form, data: bytes, text: str, source_notice: str) -> YearCalendar:
    days: dict[date, bool] = {}
    for line, row in enumerate(_csv_rows(form, text), start=1):
        if line == 1 or not any(cell.strip() for cell in row):
            continue
        day = _csv_day(form, line, row)
        if day is None:
            continue
        if day in days:
            form.fail(line, "date", said("%(day)s 重复出现。", day=day))
        days[day] = _CSV_KINDS[row[1].strip().lower()]
    number = min(days, default=date(1949, 1, 1)).year
    digest = hashlib.sha256(data).hexdigest()[:8]
    year = YearCalendar(
        year=number,
        version=f"{number}.import-{digest}",
        source_notice=source_notice or UNNAMED_SOURCE,
        holidays=frozenset(day for day, off in days.items() if off),
        makeup_workdays=frozenset(day for day, off in days.items() if not off),
        verified=bool(source_notice),
    )
    if not form.findings:
        for name, sentence in _faults(year):
            form.fail(1, name, sentence)
    return year


def _csv_rows(form: Form, text: str) -> list[list[str]]:
    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error:
        form.fail(1, "", "不是合法的 CSV 文件。")
        return []
    if len(rows) > MOST_CSV_LINES:
        form.fail(MOST_CSV_LINES, "", said("超过 %(most)s 行，不予读取。", most=MOST_CSV_LINES))
        return []
    return rows


def _csv_day(form: Form, line: int, row: list[str]) -> date | None:
    if len(row) != 2 or row[1].strip().lower() not in _CSV_KINDS:
        form.fail(line, "kind", "每行写“日期,类型”；类型为 holiday(放假)或 makeup(上班)。")
        return None
    cell = Section(form, "", Node(line, {}), {"date": Node(line, row[0].strip(), line)})
    return cell.day("date")
