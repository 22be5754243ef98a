"""How much each kind of channel may take, and whom it speaks to."""

from __future__ import annotations

import pytest

from huiying.domain.kinds import Audience, ChannelKind
from notifiers.contract import ChannelConfig
from notifiers.registry import audience_of, limits_of
from notifiers.window import RateLimits


def _config(kind: ChannelKind, **settings: object) -> ChannelConfig:
    return ChannelConfig("c", kind, "c", settings)


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
