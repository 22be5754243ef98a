"""Pending requests whose content is not what any command of ours has ever asked for."""

from __future__ import annotations

from typing import Any

#: By name: the command and its payload.
ODD: dict[str, tuple[str, Any]] = {
    "a command that is not known": ("no_such_command", {"reason": "示例"}),
    "a text": ("grade", "示例"),
    "a number": ("grade", 7),
    "a list": ("merge", ["into"]),
    "an empty object": ("grade", {}),
    "a word that is not known": ("correct", {"reason": "示例", "time": {"kind": "no_such_time"}}),
    "an object for a number": ("merge", {"into": {"no": 1}, "reason": "示例"}),
    "a text for a publication": ("confirm_publication", {"publication_id": "x"}),
    "an object for a publication": ("review", {"publication_id": {"id": 1}}),
    "a publication beyond 64 bits": ("confirm_publication", {"publication_id": 1 << 70}),
    "an object for a unit": ("reassign", {"unit_id": {"id": "water"}, "reason": "示例"}),
    "a number for an instant": ("task", {"unit_id": "water", "name": "示例任务", "due_at": 7}),
    "an object for a name": ("task", {"unit_id": "water", "name": {"a": 1}, "due_at": "2025-06-03T09:00:00+08:00"}),
    "a number for a title": ("details", {"title": 7, "reason": "示例"}),
    "an object for a reason": ("void", {"reason": {"a": 1}}),
    "a list for times": ("reopen", {"times": [1], "reason": "示例"}),
    "an object for a clock": ("replan", {"clock_key": {"a": 1}, "policy_id": 7, "reason": "示例"}),
    "a number for a stage": ("stage", {"stage": 7, "note": 7}),
}
