"""Rule packs and policies as somebody might upload them: shipped ones, changed a little, well or badly."""

from __future__ import annotations

from pathlib import Path

from config.loader import RULES_DIRECTORY
from config.policy_loader import POLICIES_DIRECTORY

PACK = "cn-gbf-2016-61"
_PACK = RULES_DIRECTORY / f"{PACK}.yaml"
_POLICY = POLICIES_DIRECTORY / "release-5h.yaml"


def changed_pack() -> str:
    """A good one: one duty is changed, one is new, one is gone, and some reminders never come."""
    return _with(_PACK, ("limit: PT24H", "limit: PT1H"), ("id: continuous_release", "id: daily_release"))


def faulty_pack() -> str:
    """A key that is none, a duty without its clause, a word and a limit that are not understood."""
    return _with(
        _PACK, ("limit: PT24H", "limit: 一天"), ("clause: 三", "clauses: 三"), ("kind: emergency", "kind: other")
    )


def changed_policy() -> str:
    """A good one, with a step that comes too late for the clocks that it is for."""
    return _with(_POLICY, ("designed_for: PT5H", "designed_for: PT8H"), ("value: PT1H", "value: PT6H"))


def faulty_policy() -> str:
    """Somebody who is nobody's duty, and a share of more than all the time."""
    return _with(_POLICY, ("value: 0.5", "value: 1.5"), ("to: [duty_officer, liaison]", "to: [mayor]"))


def _with(path: Path, *changes: tuple[str, str]) -> str:
    text = path.read_text("utf-8")
    for before, after in changes:
        assert before in text, f"{path.name} says no more: {before}"
        text = text.replace(before, after, 1)
    return text
