"""Starting the two engines, and what both need: a page that is signed in, and the accessibility rules."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, ViewportSize

from huiying.domain.signing import Stage as At
from huiying.web.pages.policy import COOKIE
from tests.browser.stage import Stage
from tests.browser.states import beside
from tests.fakes.sessions import session_of

DESK: ViewportSize = {"width": 1600, "height": 900}
WALL: ViewportSize = {"width": 1920, "height": 1080}
PHONE: ViewportSize = {"width": 390, "height": 844}
OLD_ENGINE = ["--no-sandbox", "--headless", "--single-process", "--no-zygote", "--disable-gpu"]
_RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]
_SIGNED_IN = "form[action='/logout']"
_SECONDS = 1000


@contextmanager
def modern(playwright: Playwright, path: Path) -> Iterator[Browser]:
    """Today's Chromium; its own words, such as those of a date field, are Chinese where ``chromium-l10n`` is installed."""
    browser = playwright.chromium.launch(
        executable_path=path,
        args=["--no-sandbox", "--disable-lcd-text", "--font-render-hinting=none", "--lang=zh-CN"],
        env={**os.environ, "LANGUAGE": "zh_CN", "LANG": "zh_CN.UTF-8"},
        timeout=60 * _SECONDS,
    )
    yield browser
    browser.close()


@contextmanager
def oldest(playwright: Playwright, path: Path) -> Iterator[Browser]:
    """Chromium 88; it runs in one process and does not speak all of today's protocol."""
    browser = playwright.chromium.launch(
        executable_path=path, args=OLD_ENGINE, headless=True, timeout=60 * _SECONDS, ignore_default_args=["--headless"]
    )
    yield browser
    browser.close()


def sign_in(page: Page, stage: Stage, person_id: str) -> None:
    """Through the real form, as a person does it."""
    page.goto(f"{stage.url}/login")
    page.fill("input[name='name']", person_id)
    page.fill("input[name='password']", stage.password(person_id))
    page.press("input[name='password']", "Enter")
    page.wait_for_selector(_SIGNED_IN, state="attached", timeout=30 * _SECONDS)


def arrive(context: BrowserContext, stage: Stage, person_id: str, at: At) -> None:
    """Signed in through the form; a sign-in that has only come halfway, or is locked, is put into the store."""
    if at is At.OPEN:
        page = context.new_page()
        sign_in(page, stage, person_id)
        page.close()
        return
    with beside(stage.folder) as services:
        secret, _csrf = session_of(services, person_id, at)
    context.add_cookies([{"name": COOKIE, "value": secret, "url": stage.url}])


def until(page: Page, condition: str, arg: Any = None, seconds: float = 20) -> None:
    """Wait until an expression or function is true; asked from outside, since our pages allow no ``eval``."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition, arg):
        assert time.monotonic() < end, f"never came true: {condition}"
        page.wait_for_timeout(40)


def switch_language(page: Page, language: str) -> None:
    """By the button at the top of every page; it is kept with the account."""
    button = page.locator(f"form[action='/language'] button[value='{language}']")
    if button.count():
        with page.expect_navigation():
            button.first.click()


def axe(page: Page) -> list[str]:
    """Violations of WCAG 2.2 A and AA on this page, each with the places where it stands."""
    page.evaluate(_axe_source())
    found: dict[str, Any] = page.evaluate(
        "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}, resultTypes: ['violations']})", _RULES
    )
    return [
        f"{violation['id']}: {', '.join(' '.join(map(str, node['target'])) for node in violation['nodes'][:5])}"
        for violation in found["violations"]
    ]


@cache
def _axe_source() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
