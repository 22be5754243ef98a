"""Short texts at the door."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from huiying.domain.errors import InvalidInput
from huiying.domain.text import identifier, line, moment


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\x00b", "a\u2028b", "a\x1bb", "\ud800", "x" * 11])
def test_a_line_is_one_line(text: str):
    with pytest.raises(InvalidInput) as refused:
        line("name", text, 10)
    assert refused.value.field == "name"


def test_a_line_loses_the_blanks_around_it():
    assert line("name", "  张三 ", 10) == "张三"
    assert line("name", "", 10) == ""
    with pytest.raises(InvalidInput):
        line("name", "  ", 10, required=True)


@pytest.mark.parametrize("value", ["a", "A-1", "zhang.san_2", "x" * 64])
def test_ids(value: str):
    assert identifier("id", value) == value


@pytest.mark.parametrize("value", ["", "-a", ".a", "张", "a b", "a/b", "a\n", "x" * 65, "a\u0301"])
def test_no_ids(value: str):
    with pytest.raises(InvalidInput):
        identifier("id", value)


def test_a_moment_needs_its_offset():
    assert moment("at", "2026-01-05T08:00:00+08:00").astimezone(UTC) == datetime(2026, 1, 5, tzinfo=UTC)
    assert moment("at", " 2026-01-05T00:00Z ") == datetime(2026, 1, 5, tzinfo=UTC)
    for text in ("2026-01-05T08:00:00", "2026-01-05", "8:00", "", "1948-12-31T00:00Z", "2200-01-01T00:00Z"):
        with pytest.raises(InvalidInput) as refused:
            moment("at", text)
        assert refused.value.field == "at"


@given(st.text(max_size=60))
def test_whatever_comes_is_a_moment_or_a_sentence(text: str):
    try:
        made = moment("at", text)
    except InvalidInput as refused:
        refused.message.encode()
    else:
        assert made.astimezone(UTC).year in range(1948, 2201)
