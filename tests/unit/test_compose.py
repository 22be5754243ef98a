"""What a message says: the words, the order, and what never leaves the house."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from huiying.domain.compose import (
    MOST_LINES,
    Ground,
    Letter,
    Matter,
    Next,
    Subject,
    basis_text,
    by_urgency,
    compose,
    grade_text,
    line_of,
    moment,
)
from huiying.domain.kinds import Band, ClockState, EventKind, Kind, LimitStatus, Role, Severity
from huiying.service.letters import ack_hash, ack_token
from tests.builders import at, hours

NOW = at("2026-11-22 16:42")
MATTER = Matter("2026-0117", "示例园区异味", Kind.OPINION, None, "示例市生态环境局")
GROUND = Ground("示例要点", "68", "其他政务舆情48小时内予以权威回应", no_repost=True)
CLOCK = Subject(
    MATTER,
    "48小时回应",
    LimitStatus.STIPULATED,
    at("2026-11-20 18:40"),
    at("2026-11-22 18:40"),
    ClockState.RUNNING,
    ground=GROUND,
)
LETTER = Letter(
    "N-20261122-0107",
    EventKind.REMINDER,
    Band.WARNING,
    MATTER,
    (CLOCK,),
    (Role.HANDLER, Role.DUTY_OFFICER),
    next=Next(at("2026-11-22 18:10"), (Role.LEADER_IN_CHARGE,)),
    ordinal=3,
)


def notice(**changes: Any):
    return compose(replace(LETTER, **changes), NOW)


def test_a_warning_says_everything_in_its_place():
    made = notice()
    assert (made.incident_no, made.notice_title, made.grade_text) == ("2026-0117", "示例园区异味", "一般政务舆情")
    assert (made.clock_name, made.status_text) == ("48小时回应", "文件明定")
    assert (made.remaining_seconds, made.share_used) == (7080, 95)
    assert made.responsible == "示例市生态环境局"  # whose matter it is, not what the reader's duty is
    assert made.state_text == "尚未登记有效回应"
    assert made.next_step == "11月22日（周日）18:10仍未登记有效回应，将提醒分管领导"
    assert made.basis == "《示例要点》第68条“其他政务舆情48小时内予以权威回应”"
    assert made.content_rule
    assert (made.ordinal, made.composed_at, made.layout) == (3, NOW, "")
    assert made.headline == ""  # the band and the remaining time are the title


@pytest.mark.parametrize(
    ("now", "remaining"),
    [
        ("2026-11-22 18:39:01", 59),
        ("2026-11-22 18:40:00", 0),
        ("2026-11-22 18:40:01", -1),
    ],
)
def test_the_remaining_time_is_that_of_the_moment_of_sending(now: str, remaining: int):
    assert compose(LETTER, at(now)).remaining_seconds == remaining


def test_remaining_time_is_rounded_down_on_either_side():
    assert compose(LETTER, CLOCK.due_at - timedelta(seconds=59.5)).remaining_seconds == 59
    assert compose(LETTER, CLOCK.due_at + timedelta(seconds=0.5)).remaining_seconds == -1


def test_past_due_a_running_clock_is_called_overdue():
    assert compose(LETTER, CLOCK.due_at + timedelta(seconds=1)).state_text == "已超时，尚未登记有效回应"
    received = replace(CLOCK, on_receipt=True, state=ClockState.BREACHED)
    assert notice(subjects=(received,)).state_text == "接报时已逾期"


def test_after_due_the_next_step_urges():
    later = Next(at("2026-11-22 19:40"), (Role.PRINCIPAL, Role.SUPERVISION))
    assert notice(next=later).next_step == "11月22日（周日）19:40仍未登记有效回应，将督办主要负责人、督查室"


@pytest.mark.parametrize(
    ("name", "notice_does", "warned", "overdue", "still"),
    [
        ("权威信息发布", "报审发布稿", "立即报审发布稿", "立即发布权威信息并登记", "仍未登记有效发布"),
        (
            "24小时新闻发布会",
            "确定发布会时间、地点和发布人",
            "立即落实发布会",
            "立即举行新闻发布会并登记",
            "仍未举行发布会",
        ),
        ("48小时回应", "报审回应稿", "立即报审回应稿", "立即发布权威回应并登记", "仍未登记有效回应"),
        ("转办通知反馈", "准备反馈材料", "立即反馈转办单位", "立即反馈并登记", "仍未反馈"),
    ],
)
def test_what_to_do_and_what_comes_next_are_said_in_the_words_of_the_limit(
    name: str, notice_does: str, warned: str, overdue: str, still: str
):
    subject = replace(CLOCK, name=name)
    assert notice_does in notice(subjects=(subject,), band=Band.NOTICE).must_do
    assert notice(subjects=(subject,)).must_do[0].startswith(warned)
    late = notice(subjects=(subject,), band=Band.OVERDUE)
    assert late.must_do == (overdue, "在系统说明原因")
    assert still in late.next_step


def test_a_recorded_release_names_first_what_it_has_ended():
    conference = replace(CLOCK, name="新闻发布会", due_at=at("2026-11-22 17:00"))
    done = replace(CLOCK, name="权威信息发布", due_at=at("2026-11-22 18:00"), state=ClockState.SATISFIED)
    made = notice(kind=EventKind.RELEASE_RECORDED, band=Band.INFO, subjects=(done, conference))
    assert made.clock_name == "权威信息发布"
    assert made.state_text == "已按时完成（截止 11月22日（周日）18:00）"
    assert (made.due_at, made.remaining_seconds, made.share_used, made.must_do) == (None, None, None, ())
    assert [line.partition("（")[2].partition("）")[0] for line in made.lines] == ["权威信息发布", "新闻发布会"]


def test_with_several_clocks_the_next_step_names_the_clock_it_belongs_to():
    conference = replace(CLOCK, name="新闻发布会", due_at=at("2026-11-22 17:00"))
    coming = Next(at("2026-11-22 16:50"), (Role.SHIFT_LEADER,), "新闻发布会", conference.due_at)
    made = notice(kind=EventKind.REGISTERED, subjects=(CLOCK, conference), next=coming)
    assert made.next_step == "11月22日（周日）16:50「新闻发布会」仍未举行发布会，将提醒带班领导"


def test_several_clocks_are_listed_and_the_most_pressing_leads():
    conference = replace(CLOCK, name="新闻发布会", due_at=at("2026-11-22 17:00"))
    made = notice(kind=EventKind.REGISTERED, subjects=(CLOCK, conference))
    assert made.clock_name == "新闻发布会"
    assert made.lines == (
        "剩 18 分 00 秒 2026-0117 示例园区异味（新闻发布会）|示例市生态环境局",
        "剩 1 小时 58 分 2026-0117 示例园区异味（48小时回应）|示例市生态环境局",
    )
    assert made.headline == "新事项已登记，时限开始计时"
    assert made.must_do[0] == "签收"


def test_a_digest_of_many_is_about_no_single_clock_and_counts_what_it_hides():
    subjects = tuple(replace(CLOCK, matter=replace(MATTER, no=f"2026-{n:04d}")) for n in range(500))
    made = notice(kind=EventKind.DIGEST, subjects=subjects, as_list=True)
    assert (len(made.lines), made.hidden_lines) == (MOST_LINES, 500 - MOST_LINES)
    assert (made.clock_name, made.due_at, made.layout) == ("", None, "digest")
    assert made.headline == "系统中断后的汇总提醒，共500项"


def test_a_digest_of_one_reads_like_the_reminder_it_replaces():
    made = notice(kind=EventKind.DIGEST, as_list=True, band=Band.OVERDUE)
    assert (made.clock_name, made.layout, made.headline) == ("48小时回应", "", "系统中断后的提醒")


def test_five_hour_clocks_come_first_then_the_earlier_due():
    def clock(name: str, limit: float, due: str, state: ClockState = ClockState.RUNNING) -> Subject:
        end = at(due)
        return replace(CLOCK, name=name, started_at=end - hours(limit), due_at=end, state=state)

    given = [
        clock("48h late", 48, "2026-11-20 10:00", ClockState.BREACHED),
        clock("5h soon", 5, "2026-11-22 17:00"),
        clock("24h", 24, "2026-11-22 16:50"),
        clock("5h late", 5, "2026-11-22 10:00", ClockState.BREACHED),
        clock("5h done", 5, "2026-11-21 10:00", ClockState.SATISFIED_LATE),
    ]
    assert [subject.name for subject in by_urgency(given)] == ["5h late", "5h soon", "48h late", "24h", "5h done"]


def test_a_line_says_how_late_how_long_or_how_it_ended():
    assert line_of(CLOCK, CLOCK.due_at).startswith("已到期 2026-0117")
    assert line_of(CLOCK, CLOCK.due_at + timedelta(minutes=12)).startswith("超 12 分 00 秒")
    assert line_of(replace(CLOCK, state=ClockState.SATISFIED), NOW).startswith("已按时完成")
    assert line_of(replace(CLOCK, matter=replace(MATTER, notice_title="")), NOW).count("2026-0117（") == 1


@pytest.mark.parametrize(
    ("kind", "severity", "text"),
    [
        (Kind.OPINION, None, "一般政务舆情"),
        (Kind.EMERGENCY, Severity.MAJOR, "突发事件·重大"),
        (Kind.EMERGENCY, None, "突发事件·待定级"),
    ],
)
def test_the_grade_is_named(kind: Kind, severity: Severity | None, text: str):
    assert grade_text(replace(MATTER, kind=kind, severity=severity)) == text


def test_without_a_document_there_is_no_ground_and_a_long_quote_is_shortened():
    assert basis_text(Ground()) == ""
    assert basis_text(Ground("示例要点", "五（三）3")) == "《示例要点》五（三）3"
    assert basis_text(replace(GROUND, quote="字" * 100)).endswith("…”")


def test_a_moment_is_shown_in_beijing():
    assert moment(at("2026-11-22 18:40")) == "11月22日（周日）18:40"


def test_what_failed_before_and_what_is_missing_is_said():
    assert notice(previous_failed="前一渠道未送达", note="电话短信渠道未配置").previous_failed == (
        "前一渠道未送达；电话短信渠道未配置"
    )
    assert notice(resend=True).resend
    assert compose(replace(LETTER, matter=replace(MATTER, drill=True)), NOW).drill


def test_a_brief_is_its_lines():
    made = compose(Letter("N-1", EventKind.DAILY_BRIEF, Band.INFO, lines=("在办事项 3 件",), headline="正常"), NOW)
    assert (made.layout, made.lines, made.must_do, made.headline) == ("brief", ("在办事项 3 件",), (), "正常")
    assert made.incident_no == made.grade_text == ""


def test_the_free_text_title_has_no_way_in():
    assert not any("title" in name and name != "notice_title" for name in Matter.__slots__)


def test_acknowledge_tokens_are_short_secret_and_made_again():
    token = ack_token(b"k" * 32, "N-20261122-0107")
    assert len(token) == 22
    assert token == ack_token(b"k" * 32, "N-20261122-0107")
    assert len({token, ack_token(b"k" * 32, "N-20261122-0108"), ack_token(b"j" * 32, "N-20261122-0107")}) == 3
    assert len(ack_hash(b"k" * 32, "N-20261122-0107")) == 64
