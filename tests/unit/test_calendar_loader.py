"""Calendar files: the shipped ones, their lint, and what an operator imports."""

from __future__ import annotations

from datetime import date

import pytest

from config.calendar_loader import CALENDARS_DIRECTORY, lint_calendars, load_calendars, parse_calendar_file
from tests.tools.make_calendars import FIRST, LAST, text_of

GOOD = (CALENDARS_DIRECTORY / "cn-2026.yaml").read_text(encoding="utf-8")
AMENDED = (CALENDARS_DIRECTORY / "cn-2020.yaml").read_text(encoding="utf-8")
CSV = "date,kind\n" + "".join(f"2027-10-0{day},holiday\n" for day in range(1, 8)) + "2027-10-09,makeup\n"


@pytest.mark.parametrize("year", range(FIRST, LAST + 1))
def test_a_shipped_calendar_is_what_the_tool_writes(year):
    written = (CALENDARS_DIRECTORY / f"cn-{year}.yaml").read_text(encoding="utf-8")
    assert written == text_of(year), "run: python -m tests.tools.make_calendars"


def test_all_years_from_2004_to_2026_load_without_a_finding():
    loaded = load_calendars()
    assert loaded.findings == ()
    assert [year.year for year in loaded.years] == list(range(2004, 2027))
    assert all(year.source_notice for year in loaded.versions)


def test_the_latest_version_of_a_year_is_in_use_and_earlier_ones_are_kept():
    loaded = load_calendars()
    assert loaded.calendar.years[2020].version == "2020.2"
    assert [year.version for year in loaded.versions if year.year == 2020] == ["2020.1", "2020.2"]


def test_what_is_not_verified_is_marked():
    unverified = {year.version for year in load_calendars().versions if not year.verified}
    assert unverified == {"2004.1", "2005.1", "2006.1", "2007.1", "2008.1", "2015.2", "2020.1"}


def test_amendments_are_exactly_the_known_ones():
    loaded = load_calendars()
    by_version = {year.version: year for year in loaded.versions}
    old, new = by_version["2020.1"], by_version["2020.2"]
    assert new.holidays - old.holidays == {date(2020, 1, 31), date(2020, 2, 1), date(2020, 2, 2)}
    assert old.makeup_workdays - new.makeup_workdays == {date(2020, 2, 1)}
    assert {year.year for year in loaded.versions if year.version.endswith(".2")} == {2015, 2018, 2019, 2020}


FAULTS = [
    ("year: 2026", "year: 2025", "versions[0].version", "2025"),
    ("year: 2026", "year: twenty", "year", "整数"),
    ("version: '2026.1'", "version: one", "versions[0].version", "格式"),
    ("      title: 国务院", "      titel: 国务院", "versions[0].source_notice.titel", "不认识"),
    ("      published: '2025-11-04'", "      published: '2025-11-34'", "versions[0].source_notice.published", "日期"),
    ("['2026-01-01', ", "['2026-01-01', '2026-01-01', ", "versions[0].holidays.元旦", "重复"),
    ("['2026-01-01', ", "['2026-02-16', ", "versions[0].holidays", "两个节日"),
    ("['2026-01-01', ", "['2025-01-01', ", "versions[0].holidays", "不在 2026 年内"),
    ("makeup_workdays: ['2026-01-04'", "makeup_workdays: ['2026-01-05'", "versions[0].makeup_workdays", "不是周末"),
    ("makeup_workdays: ['2026-01-04'", "makeup_workdays: ['2026-01-03'", "versions[0].makeup_workdays", "既放假又上班"),
]


@pytest.mark.parametrize(("old", "new", "key", "words"), FAULTS, ids=[fault[1].strip()[:30] for fault in FAULTS])
def test_a_fault_is_found_under_its_key_and_nothing_is_taken(old, new, key, words):
    assert old in GOOD
    parsed = parse_calendar_file("cn-2026.yaml", GOOD.replace(old, new, 1).encode())
    assert parsed.years == ()
    assert any(f.key == key and words in f.message_zh for f in parsed.findings), [str(f) for f in parsed.findings]


def test_a_year_with_hardly_a_holiday_is_not_believed():
    few = "schema: 1\nyear: 2027\nversions:\n  - version: '2027.1'\n    source_notice: {title: x}\n    holidays: {元旦: ['2027-01-01']}\n"
    assert [f.key for f in parse_calendar_file("x", few.encode()).findings] == ["versions[0].holidays"]


def test_two_versions_with_one_name_are_refused():
    parsed = parse_calendar_file("x", AMENDED.replace("'2020.2'", "'2020.1'").encode())
    assert [f.key for f in parsed.findings] == ["versions[0].version", "versions[1].version"]


def test_two_files_of_one_year_leave_the_second_out(tmp_path):
    (tmp_path / "a.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "b.yaml").write_text(GOOD, encoding="utf-8")
    assert [f.key for f in lint_calendars([tmp_path])] == ["year"]
    assert [year.version for year in load_calendars(tmp_path).years] == ["2026.1"]


def test_an_import_of_yaml_gives_all_versions():
    parsed = parse_calendar_file("cn-2020.yaml", AMENDED.encode())
    assert [year.version for year in parsed.years] == ["2020.1", "2020.2"]
    assert parsed.findings == ()


def test_an_import_of_csv_names_its_source_and_digest():
    (year,) = parse_calendar_file("2027.csv", CSV.encode(), "国务院办公厅关于2027年部分节假日安排的通知（示例）").years
    assert (year.year, year.verified) == (2027, True)
    assert year.version.startswith("2027.import-")
    assert year.makeup_workdays == {date(2027, 10, 9)}
    assert len(year.holidays) == 7


def test_a_csv_without_a_named_source_is_taken_and_marked():
    (year,) = parse_calendar_file("2027.csv", CSV.encode()).years
    assert not year.verified
    assert "未注明" in year.source_notice


def test_chinese_kinds_a_byte_order_mark_and_blank_lines_are_read():
    text = "\ufeff" + CSV.replace("holiday", "放假").replace("makeup", "上班") + "\r\n\r\n"
    assert parse_calendar_file("2027.csv", text.encode()).findings == ()


@pytest.mark.parametrize(
    ("line", "key", "words"),
    [
        ("2027-13-01,holiday", "date", "日期"),
        ("2027-10-01,holiday", "date", "重复"),
        ("2027-10-16,party", "kind", "类型"),
        ("2027-10-16", "kind", "类型"),
        ("2028-01-01,holiday", "holidays", "不在 2027 年内"),
        ("2027-10-12,makeup", "makeup_workdays", "不是周末"),
    ],
)
def test_a_bad_line_of_csv_refuses_the_file(line, key, words):
    parsed = parse_calendar_file("2027.csv", (CSV + line + "\n").encode())
    assert parsed.years == ()
    assert [(f.key, words in f.message_zh) for f in parsed.findings] == [(key, True)]


def test_a_bad_line_of_csv_is_named_by_its_number():
    (finding,) = parse_calendar_file("2027.csv", (CSV + "nonsense,holiday\n").encode()).findings
    assert finding.line == CSV.count("\n") + 1


def test_a_csv_of_another_kind_of_file_is_refused():
    assert parse_calendar_file("x.csv", b"date,kind\n").findings
    assert parse_calendar_file("x.csv", b"date,kind\n" + b"2027-01-01,holiday\n" * 500).findings
    assert parse_calendar_file("x.csv", b"date,kind\n\xff\xfe\n").findings
