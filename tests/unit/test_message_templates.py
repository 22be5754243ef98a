"""Message texts: golden for every occasion and format, byte limits, truncation, marks, and what never leaves the house.

The golden texts stand in ``tests/unit/golden/messages``; after an intended change write them anew with
``python -m tests.unit.test_message_templates`` and read the difference.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from huiying.domain.kinds import Band
from huiying.domain.message import Notice
from notifiers.templates import MOST_LINES, Form, cut, inert, json_size, link, render, title_of, utf8_size, visible
from tests.fakes.notices import a_notice

GOLDEN = Path(__file__).parent / "golden" / "messages"
_AT = datetime(2026, 11, 22, 8, 42, tzinfo=UTC)
_DIGEST_LINES = (
    "🔴超时12分 2026-0117 48小时回应｜示例市生态环境局",
    "🟠剩余28分 2026-0121 5小时发布｜示例市应急管理局",
    "🔵剩余24小时02分 2026-0125 48小时回应｜示例市教育局",
)

SAMPLES: dict[str, Notice] = {
    "a-notice": a_notice(
        band=Band.NOTICE,
        notice_no="N-20261121-0042",
        remaining_seconds=86520 + 59,
        share_used=50,
        state_text="",
        must_do=(),
        next_step="11月22日16:40仍未办结，将提醒分管负责人",
        ordinal=1,
        composed_at=_AT - timedelta(hours=22, minutes=4),
        detail_url="https://duty.example.gov.cn/i/2026-0117",
    ),
    "b-warning": a_notice(),
    "c-overdue": a_notice(
        band=Band.OVERDUE,
        notice_no="N-20261122-0133",
        remaining_seconds=-12 * 60 - 30,
        state_text="",
        responsible="示例市生态环境局（主办）",
        must_do=("立即发布权威回应并登记", "19:10前在系统说明原因"),
        next_step="20:40仍未登记，报请督查室研究",
        content_rule="",
        ordinal=5,
        composed_at=_AT + timedelta(hours=2, minutes=10),
    ),
    "due-now": a_notice(remaining_seconds=0, composed_at=_AT + timedelta(minutes=118)),
    "drill-resend": a_notice(drill=True, resend=True, notice_title="某化工园区异味舆情", previous_failed="前一渠道未签收"),
    "info-regraded": a_notice(
        band=Band.INFO,
        headline="定级变更：较大 → 重大（更正定级）",
        clock_name="",
        status_text="",
        due_at=None,
        remaining_seconds=None,
        share_used=None,
        state_text="5小时发布、24小时发布会两项时限已起算",
        must_do=(),
        next_step="",
        basis="",
        content_rule="",
        ordinal=0,
    ),
    "info-registered": a_notice(
        band=Band.INFO,
        headline="新事项已登记，时限已起算",
        remaining_seconds=4 * 3600 + 1800,
        share_used=10,
        clock_name="5小时发布权威信息",
        due_at=_AT + timedelta(hours=4, minutes=30),
        must_do=("签收", "组织核实"),
    ),
    "info-closed": a_notice(
        band=Band.INFO, headline="事项已办结", clock_name="", due_at=None, remaining_seconds=None, share_used=None,
        state_text="全部时限已办结", must_do=(), next_step="", basis="", content_rule="", ack_url="",
    ),
    "late-registration": a_notice(
        band=Band.OVERDUE,
        headline="接报时已逾期，请立即处置",
        remaining_seconds=-3600,
        due_at=_AT - timedelta(hours=1),
        lines=("5小时发布权威信息：接报时已逾期1小时", "24小时发布会：剩余18小时00分（11-23 10:42）"),
    ),
    "digest": a_notice(
        layout="digest", incident_no="", grade_text="", clock_name="", status_text="", due_at=None,
        remaining_seconds=None, share_used=None, responsible="", state_text="", must_do=(), next_step="", basis="",
        content_rule="", lines=_DIGEST_LINES, hidden_lines=4, detail_url="https://duty.example.gov.cn/i",
    ),
    "brief": a_notice(
        layout="brief", band=Band.INFO, incident_no="", grade_text="", clock_name="", status_text="", due_at=None,
        remaining_seconds=None, share_used=None, responsible="", state_text="在办 3 项：超时 1、临期 1、正常 1",
        must_do=(), next_step="", basis="", content_rule="", lines=_DIGEST_LINES, ack_url="",
    ),
    "workday-clock": a_notice(
        clock_name="3个工作日内公开解读", remaining_seconds=5 * 86400 + 7200, due_at=datetime(2027, 2, 25, 16, tzinfo=UTC)
    ),
}  # fmt: skip


def golden_text(name: str) -> str:
    """One file for each occasion: all formats below each other."""
    notice = SAMPLES[name]
    parts = [f"title: {title_of(notice)}"]
    parts += [f"--- {form.name.lower()}\n{render(notice, form).body}" for form in Form if form is not Form.EMAIL_HTML]
    return "\n".join(parts) + "\n"


@pytest.mark.parametrize("name", SAMPLES)
def test_texts_are_as_agreed(name: str):
    assert golden_text(name) == (GOLDEN / f"{name}.txt").read_text("utf-8")


def test_html_of_the_warning_is_as_agreed():
    assert render(SAMPLES["b-warning"], Form.EMAIL_HTML).body + "\n" == (GOLDEN / "b-warning.html").read_text("utf-8")


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Shanghai", "Pacific/Kiritimati", "nonsense/bad"])
def test_case26_texts_do_not_depend_on_the_hosts_zone(zone: str):
    code = "from tests.unit.test_message_templates import *; import sys; sys.stdout.write(golden_text('b-warning'))"
    command = [sys.executable, "-c", code]
    environment = os.environ | {"TZ": zone, "PYTHONIOENCODING": "utf-8"}
    result = subprocess.run(command, env=environment, capture_output=True, check=True, cwd=Path(__file__).parents[2])
    assert result.stdout.decode() == golden_text("b-warning")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (86400 + 120, "剩余 24 小时 02 分"),
        (7080, "剩余 1 小时 58 分"),
        (3600, "剩余 1 小时 00 分"),
        (3599, "剩余 59 分钟"),
        (119, "剩余 1 分钟"),
        (60, "剩余 1 分钟"),
        (59, "剩余不足 1 分钟"),
        (1, "剩余不足 1 分钟"),
        (0, "已到期"),
        (-1, "已超时不足 1 分钟"),
        (-60, "已超时 1 分钟"),
        (-720, "已超时 12 分钟"),
        (-3600, "已超时 1 小时 00 分"),
        (72 * 3600 - 1, "剩余 71 小时 59 分"),
        (72 * 3600, "剩余 3 天 00 小时"),
    ],
)
def test_case26_remaining_time_in_messages(seconds: int, words: str):
    for form in (Form.PLAIN, Form.DINGTALK, Form.WECOM_MARKDOWN, Form.FEISHU):
        body = render(a_notice(remaining_seconds=seconds), form).body
        assert words in body
        assert "剩余 0 分" not in body


@pytest.mark.parametrize(
    ("due", "composed", "shown"),
    [
        (datetime(2026, 11, 22, 16, 5, tzinfo=UTC), _AT, "11月23日（周一）00:05（北京时间）"),
        (datetime(2026, 11, 22, 16, 0, tzinfo=UTC), _AT, "11月22日（周日）24:00（北京时间）"),
        (datetime(2027, 1, 1, 2, 0, tzinfo=UTC), _AT, "2027年1月1日（周五）10:00（北京时间）"),
        (datetime(2026, 12, 31, 16, 0, tzinfo=UTC), _AT, "12月31日（周四）24:00（北京时间）"),
        (datetime(2026, 11, 22, 10, 40, 7, tzinfo=UTC), _AT, "11月22日（周日）18:40:07（北京时间）"),
    ],
)
def test_due_times_name_weekday_and_zone(due: datetime, composed: datetime, shown: str):
    assert shown in render(a_notice(due_at=due, composed_at=composed), Form.PLAIN).body


def test_marks_stand_in_title_and_text():
    message = render(a_notice(drill=True, resend=True), Form.WECOM_MARKDOWN)
    for text in (message.title, message.body):
        assert "【演练】【临期预警】" in text
        assert "（重发）" in text


def test_ack_link_number_and_deadline_survive_every_size():
    long = a_notice(
        state_text="现状🔴" * 900, next_step="下一步" * 900, basis="依据" * 900, responsible="单位" * 900,
        must_do=("办理" * 900,), notice_title="标题" * 900, content_rule="提示" * 900, previous_failed="说明" * 900,
    )  # fmt: skip
    for form in (Form.PLAIN, Form.DINGTALK, Form.WECOM_MARKDOWN):
        for limit in (700, 1000, 2048, 4096, 18_000):
            body = render(long, form, limit).body
            assert len(body.encode("utf-8")) <= limit
            for kept in ("剩余 1 小时 58 分", "18:40（北京时间）", "/a/9Pd4rT2w9Pd4rT2w9Pd4rT", "N-20261122-0107"):
                assert kept in body, (form, limit)


def test_truncation_uses_the_room_there_is():
    body = render(a_notice(state_text="现" * 3000), Form.WECOM_MARKDOWN, 4096).body
    assert len(body.encode()) > 4096 - 8
    assert "…" in body


def test_links_are_dropped_whole_or_kept_whole():
    notice = a_notice(ack_url="", detail_url="https://duty.example.gov.cn/" + "p" * 600)
    body = render(notice, Form.PLAIN, 700).body
    assert "https://" not in body


def test_digests_show_at_most_25_lines_and_count_the_rest():
    notice = dataclasses.replace(SAMPLES["digest"], lines=tuple(f"第{n}项" for n in range(40)), hidden_lines=3)
    body = render(notice, Form.WECOM_MARKDOWN).body
    assert body.count("- 第") == MOST_LINES == 25
    assert "另有 18 项" in body
    assert "共 43 项" in body


def test_the_inbox_shows_every_line_it_is_given():
    notice = dataclasses.replace(SAMPLES["digest"], lines=tuple(f"第{n}项" for n in range(40)), hidden_lines=3)
    body = render(notice, Form.PLAIN).body
    assert body.count("- 第") == 40
    assert "另有 3 项" in body


def test_digests_lose_lines_and_count_them_when_the_room_is_small():
    line = "🔴超时12分 2026-0117 某化工园区异味（48小时回应）｜示例市生态环境局"
    notice = dataclasses.replace(SAMPLES["digest"], lines=(line,) * 25, hidden_lines=0)
    body = render(notice, Form.PLAIN, 2048).body
    shown = body.count("- 🔴")
    assert 10 < shown < 25
    assert f"另有 {25 - shown} 项" in body
    assert len(body.encode()) <= 2048


def test_short_messages_obey_the_templates_of_sms_vendors():
    for notice in SAMPLES.values():
        body = render(notice, Form.SHORT).body
        for forbidden in ("【", "】", "①", "→", "http"):
            assert forbidden not in body


def test_short_message_of_the_warning_fits_two_parts():
    assert len(render(a_notice(responsible="示例市生态环境局"), Form.SHORT).body) <= 67


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("a\r\nb", "a b"),
        ("  x   y ", "x y"),
        ("abc\u202ecba", "abc□cba"),
        ("zero\u200bwidth", "zero□width"),
        ("esc\x1b[31m", "esc [31m"),
        ("nul\x00", "nul"),
        ("\x1f1!forged", "1!forged"),
        ("lone\ud800", "lone□"),
        ("tag\U000e0041", "tag□"),
    ],
    ids=ascii,
)
def test_invisible_characters_are_made_visible(dirty: str, clean: str):
    assert visible(dirty) == clean


def test_inert_text_has_no_markup_left():
    assert inert("**a** [b](https://c) <at id=all> @all `x`") == "＊＊a＊＊ ［b］(https：//c) ＜at id=all＞ ＠all ｀x｀"


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://x.example/a/b?c=1&d=2", "https://x.example/a/b?c=1&d=2"),
        ("https://x.example/a)b[c]", "https://x.example/a%29b%5Bc%5D"),
        ('https://x.example/"><script>', "https://x.example/%22%3E%3Cscript%3E"),
        ("javascript:alert(1)", ""),
        ("https://x.example/\n", ""),
        ("https://x.例/", ""),
        ("", ""),
    ],
)
def test_links_stay_links(url: str, safe: str):
    assert link(url) == safe


TEXTS = st.text(max_size=300)


@given(TEXTS, TEXTS, TEXTS, st.integers(600, 3000), st.sampled_from([Form.PLAIN, Form.DINGTALK, Form.WECOM_MARKDOWN]))
@settings(max_examples=150, deadline=None)
def test_any_text_renders_within_any_limit(title: str, state: str, basis: str, limit: int, form: Form):
    notice = a_notice(notice_title=title, state_text=state, basis=basis)
    for measure in (utf8_size, json_size):
        body = render(notice, form, limit, measure).body
        assert measure(body) <= limit
        assert "\x1f" not in body
        assert "N-20261122-0107" in body
        body.encode("utf-8")


@given(st.text(max_size=400), st.integers(4, 500))
def test_cut_keeps_whole_characters(text: str, limit: int):
    text = text.encode("utf-8", "ignore").decode()
    shortened = cut(text, limit)
    assert len(shortened.encode()) <= limit
    assert text.startswith(shortened.removesuffix("…")) or shortened == text


def test_json_size_is_what_json_takes():
    for text in ('引号"', "换\n行", "🔴", "\\"):
        assert json_size(text) == len(json.dumps(text, ensure_ascii=False).encode()) - 2


def test_titles_are_short_whatever_the_headline():
    title = title_of(a_notice(headline="长" * 500))
    assert len(title.encode()) <= 200
    assert title.endswith("2026-0117")


def test_two_texts_of_one_step_differ():
    first = a_notice()
    second = a_notice(ordinal=4, composed_at=_AT + timedelta(minutes=10), notice_no="N-20261122-0108")
    for form in Form:
        if form not in {Form.SHORT, Form.FEISHU}:  # a card carries its number in an element of its own
            assert render(first, form).body != render(second, form).body


def test_the_free_text_title_has_no_way_out():
    secret_title = "内部标题不得外发"
    notice = a_notice(extra={"title": secret_title})
    for form in Form:
        message = render(notice, form)
        assert secret_title not in message.title + message.body


def test_mentions_are_printed_only_where_the_vendor_needs_them():
    notice = a_notice(mentions=("13800001234",))
    for form in Form:
        assert ("13800001234" in render(notice, form).body) is (form is Form.DINGTALK)


def test_random_orders_of_cutting_never_lose_the_heading():
    generator = random.Random(7)
    for _ in range(50):
        notice = a_notice(state_text="状" * generator.randrange(2000), basis="据" * generator.randrange(2000))
        assert render(notice, Form.WECOM_MARKDOWN, 1500).body.startswith("### 【临期预警】剩余 1 小时 58 分")


def _write() -> None:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name in SAMPLES:
        (GOLDEN / f"{name}.txt").write_text(golden_text(name), "utf-8")
    (GOLDEN / "b-warning.html").write_text(render(SAMPLES["b-warning"], Form.EMAIL_HTML).body + "\n", "utf-8")


if __name__ == "__main__":
    _write()
