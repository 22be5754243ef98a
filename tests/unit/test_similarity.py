"""Which incidents may be the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from huiying.domain.similarity import Candidate, addresses, alike, title_likeness


@given(st.text(max_size=80), st.text(max_size=80))
def test_likeness_is_between_none_and_all_and_the_same_from_both_sides(one: str, other: str):
    assert 0 <= title_likeness(one, other) <= 1
    assert title_likeness(one, other) == title_likeness(other, one)


@pytest.mark.parametrize(
    ("one", "other", "least", "most"),
    [
        ("示例市某小区自来水发黄", "示例市某小区自来水发黄", 1, 1),
        ("示例市某小区自来水发黄", "示例市某小区自来水发黄!!", 1, 1),
        ("示例市某小区自来水发黄", "网传示例市某小区自来水发黄有异味", 0.7, 0.99),
        ("ＡＢＣ工厂爆炸", "abc 工厂爆炸", 1, 1),
        ("示例市某小区自来水发黄", "高速公路连环追尾", 0, 0.1),
        ("", "任何标题", 0, 0),
        ("火", "火灾", 0, 0),
    ],
)
def test_titles(one: str, other: str, least: float, most: float):
    assert least <= title_likeness(one, other) <= most


def test_addresses_are_compared_as_a_browser_reads_them():
    assert addresses("见 https://www.example.cn/a/1/?utm_source=x&id=3#top。") == {"example.cn/a/1?id=3"}
    assert addresses("http://m.example.cn/a/1?id=3") == addresses("https://example.cn/a/1/?id=3&from=timeline")
    assert addresses("javascript:alert(1) http://[bad ftp://example.cn") == frozenset()


def test_the_same_address_is_a_hint_whatever_the_title():
    old = Candidate("2026-0001", "完全不同的题目", text="https://example.cn/post/9")
    (hint,) = alike(Candidate("", "自来水发黄", text="来源 https://example.cn/post/9?spm=1"), [old])
    assert (hint.no, hint.score) == ("2026-0001", 1)
    assert "链接相同" in hint.reasons


def test_the_same_region_lowers_the_bar():
    old = Candidate("2026-0001", "河东区停水", "990101")
    new = "河东区大面积停水两天"
    assert title_likeness(new, old.title) < 0.5
    assert alike(Candidate("", new, "990102"), [old]) == []
    (hint,) = alike(Candidate("", new, "990101"), [old])
    assert hint.reasons == ("标题相近", "属地相同")


def test_the_same_region_alone_is_no_hint():
    assert alike(Candidate("", "道路塌陷", "990101"), [Candidate("2026-0001", "幼儿园收费争议", "990101")]) == []


def test_most_alike_first_and_never_more_than_asked_for():
    others = [Candidate(f"2026-{n:04}", "自来水发黄" + "甲乙丙丁"[: n % 4]) for n in range(1, 20)]
    found = alike(Candidate("", "自来水发黄"), others, most=3)
    assert [hint.no for hint in found] == ["2026-0004", "2026-0008", "2026-0012"]
