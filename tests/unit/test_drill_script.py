"""A drill's script is read as strictly as a rule pack."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from huiying.domain.errors import BadRulePack
from huiying.service.drill_script import read_script

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
GOOD = (EXAMPLES / "reservoir.yaml").read_text()


def test_every_example_is_a_script_and_says_that_it_is_invented():
    found = sorted(EXAMPLES.glob("*.yaml"))
    assert found
    for path in found:
        script = read_script(path.name, path.read_bytes())
        assert "虚构" in path.read_text()
        assert "示例" in script.title + script.unit_name
        assert all(deed.at <= script.length for deed in script.deeds)


def test_a_script_is_in_the_order_of_its_time():
    script = read_script("x", GOOD.encode())
    assert script.length == timedelta(hours=48)
    assert list(script.deeds) == sorted(script.deeds, key=lambda deed: deed.at)
    assert script.registrar == "duty"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("length: PT48H", "length: PT999H", "最长 7 天"),
        ("length: PT48H", "length: 2 days", "时长格式不对"),
        ("do: acknowledge, note: 已通知水务局赶赴现场", "do: shout", "不在允许的取值中"),
        ("kind: press_conference", "kind: party", "不在允许的取值中"),
        (
            "who: duty\n    do: release\n    kind: release",
            "who: nobody\n    do: release\n    kind: release",
            "不在允许",
        ),
        ("{at: PT4H, who: duty, do: stage, stage: 回应}", "{at: PT4H, who: duty, do: stage}", "缺少此项"),
        ("{at: PT4H, who: duty, do: stage, stage: 回应}", "{at: PT4H, who: duty, do: stage, url: x}", "不认识的键"),
        ('starts: "2026-03-10 08:40"', 'starts: "2026-02-30 08:40"', "不是存在的时间"),
        ("severity: major", "severity: huge", "不在允许的取值中"),
        ("schema: 1", "schema: 2", "应为 1 到 1"),
    ],
)
def test_a_fault_is_named_with_its_line(old: str, new: str, words: str):
    assert old in GOOD
    with pytest.raises(BadRulePack) as refused:
        read_script("bad.yaml", GOOD.replace(old, new, 1).encode())
    findings = refused.value.details["findings"]
    assert isinstance(findings, tuple)
    assert words in "".join(map(str, findings))
    assert "bad.yaml 第" in refused.value.message


@pytest.mark.parametrize("data", [b"", b"\xff", b"[", b"a: &x 1", b"1", b"- 1"])
def test_what_is_no_script_is_refused(data: bytes):
    with pytest.raises(BadRulePack):
        read_script("x.yaml", data)
