"""Rate windows: cases 27 to 31 of the channels, as pure arithmetic and as a simulated storm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from huiying.domain.kinds import Audience, Band, ChannelKind
from notifiers.contract import ChannelConfig
from notifiers.registry import audience_of, limits_of
from notifiers.window import RateLimits, may_send, off_the_mark
from tests.fakes.rate import Throttle

NOW = datetime(2026, 11, 22, 8, 42, 17, tzinfo=UTC)
LIMITS = RateLimits(per_minute=18, reserve_for_overdue=4)
SECOND = timedelta(seconds=1)


def _config(kind: ChannelKind, **settings: object) -> ChannelConfig:
    return ChannelConfig("c", kind, "c", settings)


def test_an_empty_window_lets_everything_through():
    assert may_send([], LIMITS, Band.INFO, NOW) == NOW


def test_no_limits_mean_now():
    assert may_send([NOW] * 1000, RateLimits(), Band.INFO, NOW) == NOW


def test_the_last_four_places_belong_to_overdue():
    sent = [NOW - timedelta(seconds=30)] * 14
    assert may_send(sent, LIMITS, Band.WARNING, NOW) == NOW + timedelta(seconds=30)
    assert may_send(sent, LIMITS, Band.OVERDUE, NOW) == NOW
    assert may_send(sent * 2, LIMITS, Band.OVERDUE, NOW) == NOW + timedelta(seconds=30)


def test_the_place_is_free_exactly_a_minute_later():
    sent = [NOW - timedelta(minutes=1) + timedelta(microseconds=1)] * 18
    assert may_send(sent, LIMITS, Band.OVERDUE, NOW) == NOW + timedelta(microseconds=1)
    assert may_send([NOW - timedelta(minutes=1)] * 18, LIMITS, Band.OVERDUE, NOW) == NOW


def test_the_window_slides_over_clock_minutes():
    sent = [NOW.replace(second=59) - timedelta(minutes=1)] * 18
    just_after_the_minute = NOW.replace(second=1)
    assert may_send(sent, LIMITS, Band.OVERDUE, just_after_the_minute) > just_after_the_minute


def test_per_second_and_per_minute_both_hold():
    limits = RateLimits(per_minute=90, per_second=4)
    sent = [NOW - timedelta(milliseconds=100 * n) for n in range(4)]
    assert may_send(sent, limits, Band.INFO, NOW) == NOW + timedelta(milliseconds=700)


def test_order_of_the_memory_does_not_matter():
    sent = [NOW - SECOND * n for n in (5, 50, 20, 1, 59, 30)]
    assert may_send(sent, RateLimits(per_minute=3), Band.INFO, NOW) == may_send(
        sorted(sent), RateLimits(per_minute=3), Band.INFO, NOW
    )


def test_a_clock_set_back_by_hours_does_not_silence_the_robot():
    sent = [NOW + timedelta(hours=2)] * 18
    assert may_send(sent, LIMITS, Band.INFO, NOW) == NOW


@given(
    st.lists(st.integers(-120_000, 120_000), max_size=60),
    st.integers(1, 30),
    st.integers(0, 5),
    st.integers(0, 40),
    st.sampled_from(list(Band)),
)
def test_the_answer_is_never_past_and_is_itself_allowed(
    offsets: list[int], minute: int, second: int, reserve: int, band: Band
):
    sent = [NOW + timedelta(milliseconds=offset) for offset in offsets]
    limits = RateLimits(per_minute=minute, per_second=second, reserve_for_overdue=reserve)
    at = may_send(sent, limits, band, NOW)
    assert at >= NOW
    remembered = [moment for moment in sent if moment - NOW <= timedelta(minutes=1)]
    assert may_send(remembered, limits, band, at) == at


def test_case27_28_300_due_at_once_stay_below_the_vendors_limit_and_overdue_goes_first():
    clock = [0.0]
    vendor = Throttle(20, 60, 600, lambda: clock[0])
    queue = sorted([Band.NOTICE] * 200 + [Band.WARNING] * 80 + [Band.OVERDUE] * 20, key=lambda band: band.urgency)
    sent: list[datetime] = []
    order: list[tuple[Band, float]] = []
    now = NOW
    while queue:
        at = may_send(sent, LIMITS, queue[0], now)
        if at > now:
            now = at
            clock[0] = (now - NOW).total_seconds()
            continue
        band = queue.pop(0)
        assert vendor.allows()
        sent.append(now)
        order.append((band, clock[0]))
    assert len(order) == 300
    assert [band for band, _ in order] == sorted((band for band, _ in order), key=lambda band: band.urgency)
    assert max(at for band, at in order if band is Band.OVERDUE) <= 60
    for start in {at for _, at in order}:
        assert sum(start <= at < start + 60 for _, at in order) <= 18


@pytest.mark.parametrize(
    ("kind", "minute", "second", "reserve", "park"),
    [
        (ChannelKind.DINGTALK, 18, 0, 4, 600),
        (ChannelKind.WECOM, 18, 0, 4, 60),
        (ChannelKind.FEISHU, 90, 4, 4, 60),
        (ChannelKind.WEBHOOK, 0, 0, 0, 60),
        (ChannelKind.EMAIL, 0, 0, 0, 60),
        (ChannelKind.INBOX, 0, 0, 0, 60),
    ],
)
def test_limits_of_the_kinds(kind: ChannelKind, minute: int, second: int, reserve: int, park: float):
    assert limits_of(_config(kind)) == RateLimits(minute, second, reserve, park)


def test_a_channel_may_set_its_own_limits():
    assert limits_of(_config(ChannelKind.FEISHU, per_minute=30, per_second=1)) == RateLimits(30, 1, 4, 60)


def test_audiences():
    groups = {kind for kind in ChannelKind if audience_of(kind) is Audience.GROUP}
    assert groups == {ChannelKind.DINGTALK, ChannelKind.WECOM, ChannelKind.FEISHU, ChannelKind.WEBHOOK}


def test_case31_full_and_half_hours_are_left_but_never_the_deadline():
    nine = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
    late = nine + timedelta(hours=1)
    moved = [off_the_mark(nine, late, f"duty-{n}") for n in range(200)]
    assert min(moved) >= nine + timedelta(minutes=1)
    assert max(moved) <= nine + timedelta(minutes=5)
    assert len(set(moved)) > 150
    assert off_the_mark(nine, late, "x") == off_the_mark(nine, late, "x")
    assert off_the_mark(nine, nine + SECOND, "x") <= nine + SECOND
    assert off_the_mark(nine, nine, "x") == nine
    assert off_the_mark(nine + timedelta(minutes=7), late, "x") == nine + timedelta(minutes=7)
