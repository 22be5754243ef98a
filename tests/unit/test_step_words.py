"""How the desk names the steps of reminders: in words, and only where a clock has several of a kind."""

from __future__ import annotations

import pytest

from huiying.service.queries import step_of


@pytest.mark.parametrize(
    ("kind", "step", "wanted"),
    [
        ("reminder", "share_80", "80%"),
        ("escalation", "left_30m", "剩30分钟"),
        ("escalation", "overdue_hourly", "超时每小时"),
        ("reminder", "our_own_step", "our_own_step"),
        ("registered", "registered", ""),
        ("breached", "breach", ""),
        ("changed", "changed", ""),
    ],
)
def test_only_what_comes_several_times_names_its_step(kind: str, step: str, wanted: str):
    assert step_of(kind, step) == wanted


def test_a_step_is_named_in_the_language_of_the_reader():
    english = {"剩%(n)s小时": "%(n)s h left"}
    assert step_of("reminder", "left_2h", lambda text: english.get(text, text)) == "2 h left"
