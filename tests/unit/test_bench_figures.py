"""The bench's arithmetic: quantiles, ratios within one round, and the table they are shown in."""

from __future__ import annotations

import math

import pytest

from tests.bench.__main__ import _rendered
from tests.bench.arena import Progress, Result
from tests.bench.contestants import due_times
from tests.bench.contests import Field, Setting, Table


def _result(name: str, drained: float, late: list[float] | None = None, cpu: float = 0.0) -> Result:
    return Result(name, 100, 100, 0, drained, late or [], cpu)


def test_lateness_is_a_quantile_in_milliseconds_whatever_the_order():
    late = [number / 1000 for number in range(100, 0, -1)]
    assert _result("ours", 1.0, late).late_ms(0.5) == pytest.approx(51)
    assert _result("ours", 1.0, late).late_ms(0.99) == pytest.approx(100)
    assert _result("ours", 1.0, late).late_ms(1.0) == pytest.approx(100)


def test_without_a_single_message_there_is_no_lateness_and_no_rate():
    assert math.isnan(_result("ours", 1.0).late_ms(0.99))
    assert _result("ours", 0.0).rate() == 0.0


def test_rate_and_processor_time_count_what_has_arrived_once():
    found = Result("ours", count=200, distinct=100, copies=3, drained=0.5, cpu=0.08)
    assert found.rate() == 200
    assert found.cpu_ms() == pytest.approx(0.8)


def test_a_ratio_is_taken_within_each_round_before_the_middle_is_chosen():
    """The second round met a busy machine: both took ten times as long, and the ratio stands."""
    rounds = [
        {"ours": _result("ours", 1.0), "theirs": _result("theirs", 2.0)},
        {"ours": _result("ours", 10.0), "theirs": _result("theirs", 20.0)},
        {"ours": _result("ours", 1.0), "theirs": _result("theirs", 4.0)},
    ]
    field = Field(rounds)
    assert field.ratio("ours", "theirs", lambda result: result.drained) == 0.5
    assert field.median("ours", lambda result: result.drained) == 1.0
    assert field.names() == ["ours", "theirs"]


def test_due_times_are_spread_evenly_or_all_the_same():
    assert due_times({"start": 10.0, "count": 3, "gap": 0.5}) == [10.0, 10.5, 11.0]
    assert due_times({"start": 10.0, "count": 2}) == [10.0, 10.0]


def test_a_smaller_contest_never_becomes_an_empty_one():
    assert Setting(Progress(), scale=0.001).count(1000) == 20
    assert Setting(Progress(), scale=0.5).count(1000) == 500


def test_the_table_lines_up_with_its_notes_below():
    text = _rendered(Table("title", ("who", "ms"), [("ours", "1.0"), ("somebody else", "100.0")], ["kept  so"]))
    assert text.splitlines() == [
        "",
        "title",
        "--------------------",
        "who               ms",
        "--------------------",
        "ours             1.0",
        "somebody else  100.0",
        "kept  so",
    ]
