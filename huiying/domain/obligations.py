"""Due dates of the documents' other duties: working-day, recurring, dated and counted ones.

The documents rarely say more than "每月公开". What is read into them here is the plainest sense (once in each calendar
period, until 24:00 of its last day), and every due date says so in ``note_zh``. Duties without any figure get no
invented date but a sentence why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import cast

from huiying.domain.policy import Policy, WorkdayStep
from huiying.domain.rules import Obligation
from huiying.domain.sentences import Sentence, said, term
from huiying.domain.workdays import SHANGHAI, WorkCalendar, due_text, end_of_day

_DAY = timedelta(days=1)

#: Why a duty has no date, by its kind.
NO_DATE = {
    "vague": "原文只写“定期”“及时”“适时”之类，没有数值，不推定日期。",
    "continuous": "原文要求实时、动态或长期进行，没有期限可算。",
    "sync": "原文要求与另一项工作同步，随该项工作一并完成，没有单独的期限。",
    "kpi": "这是比率要求，按考核期统计，没有单个到期日。",
    "statutory_ref": "原文援引法定时限，每件申请按《政府信息公开条例》分别计算，不在本表推定。",
    "multi_year": "原文写了年数但没有写起点，无法推算到期日。",
    "staffing": "这是人员配备要求，没有期限。",
    "event_then": "原文要求在某事之后“及时”办理，没有数值，不推定日期。",
    "ledger": "这是建立台账的要求，没有期限。",
}

#: What a working-day limit counts from, in the documents' own words.
ANCHOR_ZH = {
    "document_disclosed_on": "文件公开日期",
    "reply_formed_on": "复文形成日期",
    "published_on": "本文件公布日期",
    "issued_on": "本通知印发日期",
    "ranking_method_issued_on": "排名办法发布日期",
}

_PERIOD_ZH = {"day": "日", "week": "周", "month": "月", "quarter": "季度", "year": "年"}


@dataclass(frozen=True, slots=True)
class ObligationDue:
    """One due date of a duty; ``due_date`` None where there is none, and ``note_zh`` says why.

    ``no_workdays`` marks a week of a weekly quota in which nobody works.
    """

    obligation_id: str
    period_label: str
    due_date: date | None
    due_at: datetime | None
    provisional: bool
    note_zh: str
    calendar: tuple[str, ...] = ()
    no_workdays: bool = False

    @property
    def text(self) -> str:
        """The due time in words."""
        if self.due_at is None:
            return "无确定期限"
        return due_text(self.due_at, provisional=self.provisional)


@dataclass(frozen=True, slots=True)
class _Period:
    label: str
    first: date
    last: date


def due_dates(
    obligation: Obligation,
    years: range,
    calendar: WorkCalendar,
    anchors: Mapping[str, date],
    *,
    roll_forward: bool = False,
) -> tuple[ObligationDue, ...]:
    """All due dates of a duty in these years, in order; never empty.

    ``anchors`` gives the days that a document counts from (``document_disclosed_on``, ``reply_formed_on``,
    ``published_on``, ``issued_on``). ``roll_forward`` moves a date that is no working day to the next one: not the
    default, because no document says so. Working-day limits end on a working day anyway.
    """
    if obligation.kind == "workdays":
        return _workdays(obligation, years, calendar, anchors)
    if obligation.kind == "recurring":
        found = _recurring(obligation, years, anchors)
    elif obligation.kind == "quota":
        found = _quota(obligation, years, calendar)
    elif obligation.kind in _DATED:
        found = _dated(obligation, years)
    else:
        return (_none(obligation, NO_DATE[obligation.kind]),)
    if not found:
        return (_none(obligation, "所选年份内没有到期日。"),)
    return tuple(_finish(due, calendar) if roll_forward else due for due in found)


def workday_reminders(policy: Policy, due: date, calendar: WorkCalendar) -> tuple[tuple[WorkdayStep, datetime], ...]:
    """When the steps of a working-day policy fall due: N−3, N−1 counted in working days, on N only if N is one."""
    planned = []
    for step in policy.workday_steps:
        day = calendar.workday_before(due, step.days_before)
        if calendar.is_workday(day):
            planned.append((step, datetime.combine(day, step.at, SHANGHAI).astimezone(UTC)))
    return tuple(sorted(planned, key=lambda item: item[1]))


def _none(obligation: Obligation, why: str) -> ObligationDue:
    return ObligationDue(obligation.id, "", None, None, provisional=False, note_zh=_with_note(obligation, why))


def _due(
    obligation: Obligation,
    label: str,
    day: date,
    note: str,
    *,
    provisional: bool = False,
    versions: tuple[str, ...] = (),
) -> ObligationDue:
    return ObligationDue(
        obligation.id, label, day, end_of_day(day), provisional, _with_note(obligation, note), versions
    )


def _with_note(obligation: Obligation, sentence: str) -> Sentence:
    """Our sentence, and after it what the pack itself says."""
    note = str(obligation.parsed.get("note", ""))
    return said("%(note)s%(more)s", note=term(sentence), more=note) if note else term(sentence)


def _finish(due: ObligationDue, calendar: WorkCalendar) -> ObligationDue:
    """The due date rolled forward to a working day."""
    if due.due_date is None or calendar.is_workday(due.due_date):
        return due
    day = calendar.next_workday(due.due_date)
    return replace(
        due,
        due_date=day,
        due_at=end_of_day(day),
        provisional=calendar.is_provisional(due.due_date, day),
        note_zh=said("%(note)s遇非工作日，按本单位设置顺延至下一工作日。", note=due.note_zh),
        calendar=calendar.versions(due.due_date, day),
    )


def _date(obligation: Obligation, name: str) -> date:
    return date.fromisoformat(str(obligation.parsed[name]))


def _fixed_date(obligation: Obligation) -> tuple[date, str]:
    return _date(obligation, "date"), "文件写明的日期；遇周末、节假日不顺延（本系统理解）。"


def _window_end(obligation: Obligation) -> tuple[date, str]:
    first, last = _date(obligation, "from"), _date(obligation, "to")
    return last, said("文件写明的时段：%(first)s至%(last)s。", first=first, last=last)


_DATED = {"fixed_date": _fixed_date, "window": _window_end, "yearly_date": None}


def _dated(obligation: Obligation, years: range) -> list[ObligationDue]:
    """Dates the document writes out: once, or every year."""
    read = _DATED[obligation.kind]
    if read is not None:
        day, note = read(obligation)
        return [_due(obligation, str(day.year), day, note)] if day.year in years else []
    note = "文件写明每年的日期；遇周末、节假日不顺延（本系统理解）。"
    return [
        _due(obligation, str(year), date.fromisoformat(f"{year}-{obligation.parsed['date']}"), note) for year in years
    ]


def _workdays(
    obligation: Obligation, years: range, calendar: WorkCalendar, anchors: Mapping[str, date]
) -> tuple[ObligationDue, ...]:
    n, anchor = cast("int", obligation.parsed["n"]), str(obligation.parsed["anchor"])
    if anchor == "month_start":
        return tuple(_month_start(obligation, period, n, calendar) for period in _periods("month", years))
    start = anchors.get(anchor)
    if start is None and "anchor_date" in obligation.parsed:
        start = _date(obligation, "anchor_date")
    if start is None:
        return (
            _none(
                obligation,
                said("自%(anchor)s起%(n)s个工作日；该日期尚未登记，登记后计算。", anchor=term(ANCHOR_ZH[anchor]), n=n),
            ),
        )
    due = calendar.add_working_days(start, n)
    note = said(
        "自%(anchor)s%(start)s起%(n)s个工作日，起算当日不计入。", anchor=term(ANCHOR_ZH[anchor]), start=start, n=n
    )
    made = _due(obligation, str(start), due.due_date, note, provisional=due.provisional, versions=due.calendar)
    # Like a week, a limit belongs to the year of its due date alone, so that asking year by year gives it once.
    return (made,) if due.due_date.year in years else (_none(obligation, "所选年份内没有到期日。"),)


def _month_start(obligation: Obligation, period: _Period, n: int, calendar: WorkCalendar) -> ObligationDue:
    day = calendar.first_working_days(period.first.year, period.first.month, n)[-1]
    note = said("每月首个工作日起（含）第%(n)s个工作日。", n=n)
    return _due(
        obligation,
        period.label,
        day,
        note,
        provisional=calendar.is_provisional(period.first, day),
        versions=calendar.versions(period.first, day),
    )


def _recurring(obligation: Obligation, years: range, anchors: Mapping[str, date]) -> list[ObligationDue]:
    condition = str(obligation.parsed.get("after", ""))
    since = anchors.get(condition)
    if condition and since is None:
        return [
            _none(
                obligation,
                said(
                    "前提（%(condition)s）尚未登记，登记后计算。", condition=term(ANCHOR_ZH.get(condition, condition))
                ),
            )
        ]
    found = [
        _recurrence(obligation, every, period)
        for every in cast("list[str]", obligation.parsed["every"])
        for period in _periods(every, years)
        if since is None or period.last >= since
    ]
    return sorted(found, key=lambda due: cast("date", due.due_date))


def _recurrence(obligation: Obligation, every: str, period: _Period) -> ObligationDue:
    times = cast("int", obligation.parsed.get("times", 1))
    if "by" in obligation.parsed:
        day = date.fromisoformat(f"{period.first.year}-{obligation.parsed['by']}")
        return _due(obligation, period.label, day, "每年一次。")
    often = said("一次") if times == 1 else said("%(times)s次", times=times)
    note = said(
        "每%(period)s%(often)s，原文没有写期内日期；%(until)s。",
        period=term(_PERIOD_ZH[every]),
        often=often,
        until=_until(every),
    )
    return _due(obligation, period.label, period.last, note)


def _until(every: str) -> str:
    if every == "day":
        return said("以当日24:00为限（本系统理解）")
    return said("以该%(period)s最后一日24:00为限（本系统理解）", period=term(_PERIOD_ZH[every]))


def _quota(obligation: Obligation, years: range, calendar: WorkCalendar) -> list[ObligationDue]:
    per = str(obligation.parsed["per"])
    note = said(
        "每%(period)s不少于%(times)s次，%(until)s。",
        period=term(_PERIOD_ZH[per]),
        times=obligation.parsed["at_least"],
        until=_until(per),
    )
    if per == "week":
        return [_weekly_quota(obligation, period, note, calendar) for period in _periods(per, years)]
    return [_due(obligation, period.label, period.last, note) for period in _periods(per, years)]


def _weekly_quota(obligation: Obligation, period: _Period, note: str, calendar: WorkCalendar) -> ObligationDue:
    """A week without a single working day is flagged; the pack says whether it still counts."""
    due = _due(
        obligation,
        period.label,
        period.last,
        note,
        provisional=calendar.is_provisional(period.first, period.last),
        versions=calendar.versions(period.first, period.last),
    )
    if calendar.workdays_between(period.first, period.last):
        return due
    if obligation.parsed["weeks_without_workdays"] == "exempt":
        exempt = _with_note(obligation, "本周没有工作日，按本规则包免除。")
        return replace(due, due_date=None, due_at=None, note_zh=exempt, no_workdays=True)
    return replace(due, note_zh=said("%(note)s本周没有工作日。", note=due.note_zh), no_workdays=True)


def _periods(every: str, years: range) -> Iterator[_Period]:
    """The calendar periods that end in these years, in order."""
    for year in years:
        yield from _PERIODS[every](year)


def _days(year: int) -> Iterator[_Period]:
    day = date(year, 1, 1)
    while day.year == year:
        yield _Period(day.isoformat(), day, day)
        day += _DAY


def _weeks(year: int) -> Iterator[_Period]:
    """ISO weeks; a week belongs to the year in which its Sunday lies, where its due date is."""
    sunday = date(year, 1, 1)
    sunday += timedelta(days=6 - sunday.weekday())
    while sunday.year == year:
        iso = sunday.isocalendar()
        yield _Period(f"{iso.year}-W{iso.week:02d}", sunday - timedelta(days=6), sunday)
        sunday += timedelta(days=7)


def _months(year: int) -> Iterator[_Period]:
    for month in range(1, 13):
        yield _Period(f"{year}-{month:02d}", date(year, month, 1), _last_day(year, month))


def _quarters(year: int) -> Iterator[_Period]:
    for quarter in range(1, 5):
        yield _Period(f"{year}-Q{quarter}", date(year, 3 * quarter - 2, 1), _last_day(year, 3 * quarter))


def _whole_year(year: int) -> Iterator[_Period]:
    yield _Period(str(year), date(year, 1, 1), date(year, 12, 31))


def _last_day(year: int, month: int) -> date:
    following = date(year + month // 12, month % 12 + 1, 1)
    return following - _DAY


_PERIODS = {"day": _days, "week": _weeks, "month": _months, "quarter": _quarters, "year": _whole_year}
