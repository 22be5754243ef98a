"""The geometry of the timeline: nothing outside the drawing, nothing over anything else, everything in order."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from huiying.domain.lanes import (
    LEFT,
    RIGHT,
    WIDTH,
    Chart,
    Label,
    Mark,
    Span,
    Tick,
    lay_out,
    scale_for,
    shorten,
    text_width,
)
from tests.builders import at

NOW = at("2026-03-10 10:00")
TEXTS = st.text(alphabet="权威信息发布 ABC 0123→", min_size=0, max_size=60)
MOMENTS = st.integers(-90 * 86400, 90 * 86400).map(lambda seconds: NOW + timedelta(seconds=seconds))


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    found = []
    for number in range(draw(st.integers(0, 12))):
        start = draw(MOMENTS)
        due = start + timedelta(seconds=draw(st.sampled_from([0, 1200, 18000, 86400, 172800, 5_000_000])))
        later = draw(st.one_of(st.none(), st.integers(0, 400_000)))
        end = None if later is None else start + timedelta(seconds=later)
        text, is_open = draw(TEXTS), end is None and draw(st.booleans())
        found.append(Span(str(number), draw(TEXTS), start, due, "running", is_open, text=text, end=end))
    return found


def charts() -> st.SearchStrategy[Chart]:
    ticks = st.lists(st.builds(Tick, st.sampled_from("0123"), MOMENTS, st.sampled_from(["sent", "suppressed", "planned"]), TEXTS, st.booleans()), max_size=30)  # fmt: skip
    marks = st.lists(st.builds(Mark, MOMENTS, st.just("release"), TEXTS), max_size=15)
    return st.builds(lay_out, st.just(NOW), spans(), ticks, marks)


def labels(chart: Chart) -> list[Label]:
    found = [chart.now_label, *(lane.label for lane in chart.lanes)]
    found += [mark.label for mark in chart.marks if mark.label]
    return found + [line.label for line in chart.grid if line.label]


@given(charts())
def test_everything_lies_inside_the_drawing(chart: Chart):
    for lane in chart.lanes:
        assert LEFT <= lane.start_x <= lane.used_x <= lane.due_x <= lane.over_x <= RIGHT
        assert chart.lanes_top <= lane.top < chart.lanes_bottom <= chart.height
        assert lane.end_x is None or LEFT <= lane.end_x <= RIGHT
        assert all(LEFT <= tick.x <= RIGHT for tick in lane.ticks)
    assert all(LEFT <= mark.x <= RIGHT for mark in chart.marks)
    assert all(LEFT <= line.x <= RIGHT for line in chart.grid)
    assert LEFT <= chart.now_x <= RIGHT


@given(charts())
def test_labels_are_never_cut_and_never_lie_over_each_other(chart: Chart):
    placed = [label for label in labels(chart) if label.text]
    for label in placed:
        assert label.x >= 0
        assert label.x + label.width <= WIDTH
        assert 12 <= label.y <= chart.height
    for one, other in combinations(placed, 2):
        if abs(one.y - other.y) < 12:
            assert one.x + one.width <= other.x or other.x + other.width <= one.x


@given(spans(), st.lists(MOMENTS, min_size=2, max_size=20))
def test_the_scale_never_goes_back(found: list[Span], moments: list[datetime]):
    scale = scale_for(found, NOW)
    places = [scale.x(moment) for moment in sorted(moments)]
    assert all(before <= after for before, after in pairwise(places))


@given(spans())
def test_every_clock_of_some_length_can_be_seen(found: list[Span]):
    chart = lay_out(NOW, found)
    for lane in chart.lanes:
        if lane.span.due > lane.span.start:
            assert lane.due_x - lane.start_x >= 10


@given(charts())
def test_ticks_keep_their_order_and_never_cover_each_other(chart: Chart):
    for lane in chart.lanes:
        assert all(after.x - before.x >= 2.4 for before, after in pairwise(lane.ticks))


def test_twenty_minutes_beside_forty_eight_hours_can_both_be_read():
    short = Span("a", "电话报告", NOW, NOW + timedelta(minutes=20), "running", is_open=True)
    long = Span("b", "回应", NOW, NOW + timedelta(hours=48), "running", is_open=True)
    chart = lay_out(NOW + timedelta(minutes=5), [short, long])
    widths = [lane.due_x - lane.start_x for lane in chart.lanes]
    assert widths[0] >= 64
    assert widths[1] > 2 * widths[0]
    assert not chart.even


def test_like_clocks_get_an_even_scale():
    five = Span("a", "发布", NOW, NOW + timedelta(hours=5), "running", is_open=True)
    day = Span("b", "发布会", NOW, NOW + timedelta(hours=24), "running", is_open=True)
    chart = lay_out(NOW + timedelta(hours=1), [five, day])
    assert chart.even
    widths = [lane.due_x - lane.start_x for lane in chart.lanes]
    assert abs(widths[1] / widths[0] - 24 / 5) < 0.01


def test_now_of_an_incident_that_ended_long_ago_does_not_stretch_the_window():
    span = Span("a", "发布", NOW, NOW + timedelta(hours=5), "satisfied", is_open=False, end=NOW + timedelta(hours=2))
    chart = lay_out(NOW + timedelta(days=90), [span])
    assert chart.now_outside
    assert chart.lanes[0].due_x - chart.lanes[0].start_x > 700


def test_an_overdue_clock_shows_how_far_it_went_over():
    span = Span("a", "发布", NOW, NOW + timedelta(hours=5), "breached", is_open=True)
    lane = lay_out(NOW + timedelta(hours=10), [span]).lanes[0]
    assert lane.used_x == lane.due_x
    assert abs((lane.over_x - lane.due_x) - (lane.due_x - lane.start_x)) < 1


def test_an_event_before_the_window_is_marked_as_outside():
    span = Span("a", "发布", NOW, NOW + timedelta(hours=5), "running", is_open=True)
    marks = [Mark(NOW - timedelta(days=400), "stage", "事发"), Mark(NOW + timedelta(hours=1), "release", "发布")]
    chart = lay_out(NOW + timedelta(hours=2), [span], marks=marks)
    assert [mark.outside for mark in chart.marks] == [True, False]


def test_an_incident_without_clocks_is_a_drawing_around_now():
    chart = lay_out(NOW, [])
    assert chart.lanes == ()
    assert abs(chart.now_x - (LEFT + RIGHT) / 2) < 1


def test_of_ticks_at_one_place_the_loudest_shows_and_all_are_named():
    span = Span("a", "发布", NOW, NOW + timedelta(hours=5), "running", is_open=True)
    moment = NOW + timedelta(hours=1)
    chart = lay_out(
        NOW, [span], [Tick("a", moment, "suppressed", "一"), Tick("a", moment, "sent", "二", escalation=True)]
    )
    (tick,) = chart.lanes[0].ticks
    assert (tick.happened, tick.escalation, tick.texts) == ("sent", True, ("一", "二"))


@given(st.text(max_size=200), st.integers(20, 400))
def test_a_shortened_text_fits(text: str, room: int):
    assert text_width(shorten(text, room)) <= room
