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
    found = figures.load(chromium, full, signed_in(PEOPLE["duty"]))
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
