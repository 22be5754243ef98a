"""The desk in Chromium 88: what an officer needs works there too.

Playwright's own ``fill``, ``click`` and waiting speak a newer engine's language: here everything goes by evaluation, the
mouse and the keyboard.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.browsers import DESK, until
from tests.browser.screens import numbers
from tests.browser.stage import Stage
from tests.browser.watch import Watch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PERSON = "zhiban1"


class Old:
    """A page in the oldest engine."""

    def __init__(self, page: Page, stage: Stage) -> None:
        self.page = page
        self._stage = stage

    def go(self, path: str) -> None:
        """Open a page."""
        self.page.goto(f"{self._stage.url}{path}")
        until(self.page, "document.readyState === 'complete'")

    def until(self, condition: str, seconds: float = 30) -> None:
        """Wait for something on the page; a page that is just being left is asked again."""
        end = time.monotonic() + seconds
        while True:
            try:
                if self.page.evaluate(condition):
                    return
            except Exception:
                if time.monotonic() > end:
                    raise
            assert time.monotonic() < end, f"never came true: {condition}"
            self.page.wait_for_timeout(100)

    def click(self, selector: str) -> None:
        """With the mouse, where the thing is."""
        box = self.page.evaluate(_BOX, selector)
        assert box, f"nothing to press: {selector}"
        self.page.mouse.click(*box)

    def type(self, selector: str, text: str) -> None:
        """With the keyboard, after the mouse has set the cursor."""
        self.click(selector)
        self.until(f"document.activeElement.matches({selector!r})")
        self.page.keyboard.insert_text(text)

    def has(self, script: str) -> bool:
        """Whether an expression is true."""
        return bool(self.page.evaluate(script))


_BOX = """selector => {
  const found = document.querySelector(selector);
  if (!found) return null;
  found.scrollIntoView({block: 'center'});
  const box = found.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
}"""


@pytest.fixture(scope="module")
def context(chromium_88: Browser, stage: Stage) -> Iterator[BrowserContext]:
    """One context for the module: this engine starts slowly."""
    made = chromium_88.new_context(viewport=DESK, locale="zh-CN")
    yield made
    made.close()


@pytest.fixture
def watch(context: BrowserContext, stage: Stage, watches: list[Watch]) -> Watch:
    """Errors fail the test here as well."""
    made = Watch(context, stage.url)
    # This engine tells a page that is being left that its stream has failed; htmx writes that down.
    made.allow(r"\[object Event\].*htmx-2")
    watches.append(made)
    return made


@pytest.fixture
def old(context: BrowserContext, stage: Stage, watch: Watch) -> Iterator[Old]:
    """A page where somebody is signed in, by the real form."""
    page = context.new_page()
    made = Old(page, stage)
    made.go("/")
    if made.has("location.pathname === '/login'"):
        made.type("#name", PERSON)
        made.type("#password", stage.password(PERSON))
        page.keyboard.press("Enter")
        made.until("document.querySelector(\"form[action='/logout']\") !== null")
    yield made
    page.close()


def test_the_engine_is_the_oldest_supported_one(chromium_88: Browser):
    assert chromium_88.version.startswith("88.")


def test_the_clocks_tick_and_the_page_is_whole(old: Old):
    old.go("/")
    assert old.has("document.querySelectorAll('#board tr[data-no]').length >= 12")
    ticking = "[...document.querySelectorAll('#board time.left')].map(e => e.textContent).join()"
    before = old.page.evaluate(ticking)
    old.until(f"{ticking} !== {before!r}")
    assert old.has("document.scrollingElement.scrollWidth <= innerWidth")
    assert old.has("getComputedStyle(document.querySelector('.tiles')).display !== 'block'")


def test_an_acknowledgement_is_seen_at_once_and_by_the_live_channel_elsewhere(
    old: Old, context: BrowserContext, stage: Stage
):
    old.go("/")
    other = Old(context.new_page(), stage)
    other.go("/")
    number = old.page.evaluate(
        "[...document.querySelectorAll('#board tr[data-no]')].find(r => !r.querySelector('.chip.acked')).dataset.no"
    )
    row = f"#board tr[data-no='{number}']"
    count = f'document.querySelectorAll("{row} .chip.acked").length'
    was = other.page.evaluate(count)
    old.click(f"{row} button[name='only']")
    old.until(f"{count} > {was}")
    other.until(f"{count} > {was}")
    other.page.close()


def test_an_incident_is_registered(old: Old, stage: Stage):
    title = f"示例旧浏览器登记 {int(time.time())}"
    old.go("/incidents/new")
    old.type("[name='title']", title)
    old.click("input[name='grade'][value='opinion:']")
    old.click("select[name='unit_id']")
    old.page.keyboard.press("Escape")
    old.page.evaluate("document.querySelector(\"select[name='unit_id']\").focus()")
    old.page.keyboard.press("ArrowDown")
    old.until("document.querySelector(\"select[name='unit_id']\").value !== ''")
    old.click("#register button[type='submit']:not([formaction])")
    old.until("/^.incidents.(YL-)?[0-9]{4}-[0-9]{4}/.test(location.pathname)")
    assert title in numbers(stage.folder)
    assert old.has(f"document.body.textContent.includes({title!r})")


def test_the_run_history_reads(old: Old):
    old.go("/runs")
    assert old.has("document.querySelectorAll('details.run').length > 5")
    old.click("details.run summary")
    old.until("document.querySelector('details.run[open] .run-body') !== null")
    shown = old.page.evaluate("document.querySelector('details.run[open]').innerText")
    assert re.search(r"N-\d{8}-\d{4}", shown), "the deliveries of a run"
    assert "站内收件箱" in shown
    assert "已送出" in shown
    assert not re.search(r"\{\{|undefined|NaN", old.page.evaluate("document.querySelector('main').innerText"))
