"""What stands in the history is told with its values, whatever it is, and in the language of the reader."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from huiying.domain import folding
from huiying.service.fact_words import Known, fact_zh, spoken, typed_of
from tests.builders import at

PUBLISHED = SimpleNamespace(id=1, kind="press_conference", url="https://www.example.cn/1", channel="政府网站")
NAMES = Known(
    units={"water": "示例市水务局"},
    publications={1: PUBLISHED},
    clocks={(7, "pack:release"): "权威信息发布"},
    given={(7, "task", "1"): "提供数据", (7, "transfer", "1"): "国办转1号"},
)
GRADE: dict[str, Any] = {"kind": "emergency", "severity": "general", "basis": "downgrade", "criterion": "伤亡数更正"}
RELEASE = {"id": 1, "kind": "press_conference", "content_kind": "original", "published_at": "2026-03-10T12:25:00+08:00"}
TASK = {"key": "1", "name": "提供数据", "unit_id": "water", "due_at": "2026-03-10T18:00:00+08:00"}
#: what: (detail, words)
TOLD: dict[str, tuple[dict[str, Any], str]] = {
    "registered": ({"kind": "emergency", "severity": "major"}, "登记：突发事件 · 重大"),
    "time_fact": ({"kind": "occurred_at", "value": "2025-12-31T23:00:00+08:00"}, "记录事发时间 2025-12-31 23:00"),
    "grading": (GRADE, "定级：一般 · 降级"),
    "late_exposure": ({"confirmed": False, "reason": "核对"}, "改回按事发时间起算"),
    "publication": (RELEASE, "登记发布：新闻发布会 · 本机关权威信息 · 发布于 03-10 12:25"),
    "review": (
        {"id": 1, "review": "accepted", "content_kind": "news_report", "credited": False, "note": "属实"},
        "核验发布：发布记录 1 · 新闻发布会 · 已核 · 转载新闻报道 · 不认可计入",
    ),
    "confirm_publication": ({"id": 1}, "第二人确认按时发布：发布记录 1 · 新闻发布会"),
    "merged": ({"into": "2026-0002", "reason": "同一事件"}, "并入：2026-0002"),
    "absorbed": ({"no": "2026-0003", "reason": "同一事件"}, "并入本件：2026-0003"),
    "released": ({"no": "2026-0003", "reason": "不是同一事件"}, "拆出本件：2026-0003"),
    "reopened_as": ({"cycle": 2, "reason": "复燃"}, "复燃重开：第 2 轮"),
    "task": (TASK, "部门任务：提供数据 · 示例市水务局 · 截止 03-10 18:00"),
    "task_done": ({"key": "1", "at": "2026-03-10T17:00:00+08:00"}, "任务完成：提供数据 · 完成于 03-10 17:00"),
    "transfer": ({"key": "1", "notice_no": "国办转1号", "from_org": "国办", "due_at": None}, "转办通知：国办转1号 · 国办"),
    "transfer_feedback": ({"key": "1", "at": "2026-03-10T17:00:00+08:00"}, "反馈转办通知：国办转1号 · 完成于 03-10 17:00"),
    "continuous": ({"every_hours": 6}, "持续发布间隔：每 6 小时"),
    "stage": ({"stage": "研判"}, "进入阶段：研判"),
    "attribution": (
        {"clock_key": "pack:release", "attribution": "late_response", "note": "处置迟缓"},
        "确认归因：权威信息发布 · 处置超时",
    ),
    "replanned": (
        {"clock_key": "pack:release", "policy_id": "response-48h", "reason": "夜间"},
        "更换提醒策略：权威信息发布 · response-48h",
    ),
    "reassigned": ({"unit_id": "water", "reason": "职责所在"}, "变更主办单位：示例市水务局"),
    "details": ({"title_was_sha256": "0", "body_was_sha256": "0", "reason": "更准确"}, "修改内容：标题 · 情况说明"),
}  # fmt: skip
#: What the name of the entry says already.
PLAIN = {"acknowledged", "unmerged", "voided", "waived", "handed_over", "closed", "transfers_returned", "packs"}
#: Names of entries that nothing writes.
UNUSED = {"reclassify", "withdraw", "credit", "leader_voice"}


def entry(what: str, detail: dict[str, Any]) -> Any:
    return SimpleNamespace(what=what, detail=detail, incident_id=7, recorded_at=at("2026-03-10 12:30"))


@pytest.mark.parametrize("what", TOLD)
def test_every_kind_of_fact_is_told_with_what_it_is_about(what: str):
    detail, words = TOLD[what]
    assert fact_zh(entry(what, detail), names=NAMES) == words


def test_no_kind_of_fact_is_left_out():
    known = {"registered", *folding._FOLDS, *folding.RECORD_ONLY} - UNUSED
    assert known == set(TOLD) | PLAIN


def test_an_id_without_a_name_stands_for_itself_and_a_stop_is_a_stop():
    assert fact_zh(entry("reassigned", {"unit_id": "water"})) == "变更主办单位：water"
    assert fact_zh(entry("continuous", {"every_hours": 0})) == "持续发布间隔：停止"


def test_what_people_typed_is_given_apart():
    assert typed_of(entry("publication", RELEASE), NAMES) == ["政府网站", "https://www.example.cn/1"]
    assert typed_of(entry("grading", GRADE), NAMES) == ["伤亡数更正"]
    assert typed_of(entry("stage", {"stage": "研判"}), NAMES) == []


def test_a_reading_is_put_into_the_readers_language_piece_by_piece():
    def english(text: str) -> str:
        return {
            "%(what)s：%(more)s": "%(what)s: %(more)s",
            "经过：进入阶段": "Entered stage",
            "阶段：研判": "阶段：Assessment",
        }.get(text, text)

    assert fact_zh(entry("stage", {"stage": "研判"}), english) == "Entered stage: Assessment"
    assert "经过：进入阶段" in spoken()
