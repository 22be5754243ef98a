"""Every action of the chain has a reading, and is found by it as by its code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from huiying.domain.audit_words import ACTIONS, action_zh, codes_for, readings, spoken
from huiying.service import incidents
from huiying.service.changes import COMMANDS
from huiying.web.pages.words import translations

ROOT = Path(__file__).resolve().parents[2]
ENGLISH = translations("en").gettext


def written() -> set[str]:
    """The first argument of every ``audit(…)`` of the sources."""
    found = set()
    for path in (path for folder in ("huiying", "flows", "schedules") for path in ROOT.glob(f"{folder}/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "audit":
                for part in node.args[:1]:
                    for text in ast.walk(part):
                        if isinstance(text, ast.Constant) and re.fullmatch(r"[a-z_]+\.?[a-z_]*", str(text.value)):
                            found.add(str(text.value))
    return found


def test_everything_that_is_written_is_offered_and_has_a_reading_in_both_languages():
    assert incidents.__all__
    made = {action for action in written() if not action.endswith(".") and not action.startswith(".")}
    assert made - set(ACTIONS) == set()
    assert {f"incident.{name}" for name in COMMANDS} - set(ACTIONS) == set()
    assert len(set(ACTIONS)) == len(ACTIONS)
    for code, reading in readings():
        assert "·" in reading or "." not in code, code
        assert action_zh(code, ENGLISH).replace("·", "").isascii(), code


@pytest.mark.parametrize("text", ["登录·锁定", "登录 锁定", "Sign-in·locked", "sign-in LOCKED"])
def test_a_reading_finds_its_code_in_both_languages(text: str):
    assert "session.locked" in codes_for(text, [str, ENGLISH])


def test_half_a_reading_finds_all_it_may_mean_and_none_finds_nothing():
    assert {"session.opened", "session.locked"} <= set(codes_for("登录"))
    assert codes_for("并入") == [c for c in codes_for("并入") if "并入" in action_zh(c)]
    assert codes_for(" ") == codes_for("没有这样的动作") == []
    assert all(text.startswith("动作：") for text in spoken())
