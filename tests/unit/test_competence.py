"""谁主管谁负责: what titles suggest, and that they only suggest."""

from __future__ import annotations

import pytest

from huiying.domain.competence import competent

UNITS = [
    ("main", "示例市政府办公室"),
    ("water", "示例市水务局"),
    ("transport", "示例市交通运输局"),
    ("health", "示例市卫生健康委"),
    ("education", "示例市教育局"),
    ("emergency", "示例市应急管理局"),
]


@pytest.mark.parametrize(
    ("title", "wanted"),
    [
        ("示例隧道多车追尾", [("transport", "隧道")]),
        ("示例轨道交通列车脱轨", [("transport", "轨道交通")]),
        ("示例学校疑似食物中毒", [("health", "食物中毒"), ("education", "学校")]),
        ("示例学校旁储罐泄漏、河道受污染，患者送医", [("education", "学校"), ("emergency", "储罐")]),
        ("示例水库下游出现管涌", [("water", "水库")]),
        ("网民反映示例窗口服务态度", []),
        ("", []),
    ],
)
def test_a_title_suggests_units_by_its_words(title: str, wanted: list[tuple[str, str]]):
    assert [(one.unit_id, one.word) for one in competent(title, UNITS)] == wanted


def test_only_units_that_there_are_and_each_once():
    assert competent("示例隧道多车追尾", [("main", "示例市政府办公室")]) == ()
    both = [("a", "示例市应急管理局"), ("b", "示例市消防救援支队")]
    assert [one.unit_id for one in competent("示例仓库火灾、失火、爆炸", both)] == ["a", "b"]
    twice = [("x", "示例市交通运输局"), ("y", "示例县交通运输局")]
    assert [one.unit_id for one in competent("公路隧道桥梁", twice)] == ["x", "y"]
