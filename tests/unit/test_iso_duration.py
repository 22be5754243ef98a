"""Natural durations as text."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from huiying.domain.iso_duration import LONGEST, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("PT5H", 300), ("PT24H", 1440), ("PT48H", 2880), ("PT30M", 30), ("PT1H30M", 90), ("PT90M", 90)],
)
def test_hours_and_minutes_are_read(text, minutes):
    assert parse_duration(text) == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    "text", ["", "PT", "P1D", "P2DT1H", "5h", "PT5", "-PT5H", "PT0H", "pt5h", "PT5H ", "PT1.5H", "PT\uff15H", "PT8785H"]
)
def test_anything_else_is_not_guessed(text):
    assert parse_duration(text) is None


@given(st.integers(1, int(LONGEST.total_seconds())))
def test_what_is_written_is_read_again(seconds):
    value = timedelta(seconds=seconds)
    assert parse_duration(format_duration(value)) == value


def test_zero_is_written_plainly():
    assert format_duration(timedelta(0)) == "PT0S"
