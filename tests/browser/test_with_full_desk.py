"""The main screen with two hundred running clocks: small on the wire, quick, calm while it ticks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import figures
from tests.browser.stage import PEOPLE, Stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
CLOCKS = 200


@pytest.fixture(scope="module")
def full(stage: Stage) -> Stage:
    """The demo with many more incidents; this module runs after those that look at the sample itself."""
    figures.fill_up(stage, CLOCKS)
    return stage


def test_two_hundred_clocks_weigh_little(full: Stage, chromium: Browser, signed_in: Callable[[str], Any]):
    """The lightest of three: a page that is told of news while it opens asks for what has changed, as it should."""
    loads = [figures.load(chromium, full, signed_in(PEOPLE["duty"])) for _ in range(3)]
    found = min(loads, key=lambda load: (load.requests, load.wire_bytes))
    assert found.clocks >= CLOCKS
    assert found.wire_bytes <= 60 * 1024, found
    assert found.requests <= 8, found


def test_ticking_leaves_the_machine_alone(full: Stage, chromium: Browser, signed_in: Callable[[str], Any]):
    """The bound is generous, for machines are shared; ``./dev bench desk`` prints the figure that counts (0.6)."""
    assert figures.ticking(chromium, full, signed_in(PEOPLE["duty"]), 5) <= 3


def test_every_clock_of_a_full_desk_ticks_on_the_screen(full: Stage, desk: Callable[..., Page]):
    page = desk("duty", "/")
    texts = page.eval_on_selector_all("#board time.left", "all => all.map(e => e.textContent)")
    assert len(texts) >= CLOCKS
    assert all(text.startswith(("剩 ", "超 ", "已到期")) for text in texts)
    # Not only those in sight: wherever one scrolls to, the time shown is the time left now.
    for place in (0, len(texts) // 2, len(texts) - 1):
        clock = page.locator("#board time.left").nth(place)
        clock.scroll_into_view_if_needed()
        page.wait_for_timeout(1200)
        shown, wanted = clock.evaluate(_SHOWN_AND_DUE)
        assert shown in wanted, (place, shown, wanted)


#: What a clock shows, and what it may show: the words of this second and of its neighbours.
_SHOWN_AND_DUE = """clock => {
  const left = Math.trunc((Number(clock.dataset.due) - huiyingClock.now()) / 1000);
  return [clock.textContent, [-1, 0, 1].map(by => huiyingClock.humanLeft(left + by))];
}"""
