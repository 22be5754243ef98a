"""The wall on a screen that nobody touches, and the paper that two people sign."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page

from tests.browser.browsers import WALL
from tests.browser.watch import Watch

Desk = Callable[..., Page]
_SIZES = (
    "() => [document.documentElement.scrollWidth - innerWidth, document.documentElement.scrollHeight - innerHeight]"
)
_SHOWN = "() => Array.from(document.querySelectorAll('.wall-cards')).map(page => !page.hidden)"
_LETTERS = "() => getComputedStyle(document.querySelector('.wall-card .left')).fontSize"


def test_the_wall_fills_its_screen_and_shows_a_page_at_a_time(desk: Desk):
    page = desk("duty", "/wall", viewport=WALL)
    assert page.evaluate(_SIZES) == [0, 0]
    assert page.evaluate(_LETTERS) == "50px"
    shown = page.evaluate(_SHOWN)
    assert shown.count(True) == 1
    counts = [int(text) for text in page.locator(".count b").all_inner_texts()]
    assert sum(counts) == page.locator(".wall-card").count()
    for card in page.locator(".wall-cards:not([hidden]) .wall-card").all():
        assert re.search(r"[■▲◆●]", card.inner_text())
        assert re.search(r"剩|超|已到期", card.inner_text())
    if len(shown) > 1:  # it turns by itself
        page.wait_for_selector('.wall-cards[data-page="1"]', state="visible", timeout=40_000)
        assert page.evaluate(_SHOWN).count(True) == 1


def test_the_clock_of_the_wall_is_beijings_wherever_its_computer_thinks_it_is(desk: Desk):
    page = desk("duty", "/wall", viewport=WALL, timezone_id="America/New_York")
    before = page.locator("#wall-clock").inner_text()
    page.locator("#wall-clock", has_not_text=before).wait_for(timeout=10_000)
    server = page.locator("#wall-data").get_attribute("data-at")
    shown = page.locator("#wall-clock").inner_text()
    assert server is not None
    assert abs(_seconds(shown) - _seconds(server)) % 86_400 <= 15


def _seconds(text: str) -> int:
    hours, minutes, seconds = map(int, text.split(":"))
    return 3600 * hours + 60 * minutes + seconds


def test_a_wall_that_hears_nothing_for_fifteen_seconds_says_so_and_recovers(desk: Desk, watches: list[Watch]):
    page = desk("duty", "/wall", viewport=WALL)
    watches[-1].allow(r"ERR_INTERNET_DISCONNECTED")
    assert page.locator("#wall-stale").is_hidden()
    page.context.set_offline(offline=True)
    page.locator("#wall-stale").wait_for(state="visible", timeout=40_000)
    assert "数据中断" in page.locator("#wall-stale").inner_text()
    assert page.evaluate(_SIZES) == [0, 0]
    page.context.set_offline(offline=False)
    page.locator("#wall-stale").wait_for(state="hidden", timeout=40_000)


def test_two_people_sign_a_hand_over_without_a_script(desk: Desk):
    out = desk("duty", "/handover", java_script_enabled=False)
    chosen = out.locator("#to option", has_text="示例处室负责人").get_attribute("value")
    out.select_option("#to", chosen)
    out.fill("#notes", "等示例市水务局 22:00 回电")
    out.get_by_role("button", name="生成交接单").click()
    out.get_by_role("button", name="签字交班").click()
    assert "待接班人签字" in out.locator("main").inner_text()
    address = out.url.partition("/handover/")[2]
    into = desk("head", f"/handover/{address}", java_script_enabled=False)
    assert "等示例市水务局 22:00 回电" in into.locator("main").inner_text()
    into.get_by_role("button", name="已阅读，签字接班").click()
    text = into.locator("main").inner_text()
    assert "已交接" in text
    assert text.count("✓ 已签字") == 2


def test_the_audit_page_says_first_that_the_chain_is_whole_and_checks_again(desk: Desk):
    page = desk("auditor", "/audit")
    page.locator("#chain", has_text="链完整 ✓").wait_for()
    page.get_by_role("button", name="重新校验全部").click()
    page.locator("#chain", has_text="链完整 ✓").wait_for()
    with page.expect_download() as started:
        page.get_by_role("button", name="导出（含核验程序）").click()
    assert started.value.suggested_filename.endswith(".zip")
    assert started.value.failure() is None
