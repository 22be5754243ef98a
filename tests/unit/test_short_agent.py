"""Browsers by the names people know."""

from __future__ import annotations

import pytest

from huiying.web.pages.agents import short_agent

_MOZILLA = "Mozilla/5.0 "
_KIT = "AppleWebKit/537.36 (KHTML, like Gecko) "


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        (f"{_MOZILLA}(Windows NT 6.1; WOW64) {_KIT}Chrome/88.0.4298.0 Safari/537.36", "Chrome 88 · Windows"),
        (f"{_MOZILLA}(Windows NT 10.0) {_KIT}Chrome/120.0 Safari/537.36 Edg/120.0.1", "Edge 120 · Windows"),
        (f"{_MOZILLA}(X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox 128 · Linux"),
        (
            f"{_MOZILLA}(Linux; Android 12) {_KIT}Chrome/90.0 Mobile Safari/537.36 DingTalk/7.0.1",
            "DingTalk 7 · Android",
        ),
        (
            (
                f"{_MOZILLA}(iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
                "Version/17.0 Mobile/15E148 Safari/604.1"
            ),
            "Safari 17 · iOS",
        ),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", ""),
        ("x" * 500, "x" * 60),
    ],
)
def test_short_agent(agent: str, shown: str):
    assert short_agent(agent) == shown
