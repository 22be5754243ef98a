"""Every screen in both languages: no error, no other origin, accessible, readable on a telephone."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page

from tests.browser.browsers import PHONE, axe, switch_language
from tests.browser.screens import SCREENS, Screen, act, numbers, path_of, status_of
from tests.browser.stage import PEOPLE, Stage
from tests.browser.states import add, beside
from tests.browser.watch import Watch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
Desk = Callable[..., Page]


def _in_language(page: Page, language: str) -> None:
    if page.evaluate("document.body.dataset.lang") != language:
        switch_language(page, language)
    assert page.evaluate("document.body.dataset.lang") == language


@pytest.fixture(scope="module")
def known(stage: Stage) -> dict[str, str]:
    """The numbers of what screens are named after."""
    with beside(stage.folder) as services:
        add(services)
    return numbers(stage.folder)


@pytest.mark.parametrize("screen", SCREENS, ids=[screen.name for screen in SCREENS])
@pytest.mark.parametrize("language", ["zh", "en"])  # the slower one: the language is kept with the account
def test_a_screen_is_accessible_quiet_and_fits_a_telephone(
    screen: Screen, language: str, stage: Stage, desk: Desk, watches: list[Watch], known: dict[str, str]
):
    page = desk(screen.role, at=screen.at)
    if screen.status >= 400:
        watches[-1].allow(rf"status of {screen.status}")
    path = path_of(screen, known)
    page.goto(f"{stage.url}{path}")
    _in_language(page, language)
    act(page, screen)
    assert (urlsplit(page.url).path, status_of(page)) == (path.partition("?")[0], screen.status)
    assert page.get_attribute("html", "lang") == {"zh": "zh-CN", "en": "en"}[language]
    try:
        assert axe(page) == []
        if screen.name != "wall":
            page.set_viewport_size(PHONE)
            assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]
            assert page.evaluate(_WIDE) == []
            if language == "zh":  # the same elements in both languages; on the desk both were judged
                assert axe(page) == []
        else:
            assert page.evaluate("document.scrollingElement.scrollHeight <= innerHeight")
            assert page.evaluate(_CUT_OFF) == []
    finally:
        page.close()


@pytest.fixture(autouse=True, scope="module")
def _chinese_again(stage: Stage, chromium, signed_in):
    """The language is kept with the account: the next module finds the people of the demo as they were."""
    yield
    for role in {screen.role for screen in SCREENS if screen.role}:
        _back_to_chinese(stage, chromium, signed_in(PEOPLE.get(role, role)))


def _back_to_chinese(stage: Stage, chromium, state) -> None:
    context = chromium.new_context(storage_state=state)
    page = context.new_page()
    page.goto(f"{stage.url}/devices")
    _in_language(page, "zh")
    context.close()


#: Lines of the wall's cards that are wider than their card: only titles and units may end in an ellipsis.
_CUT_OFF = """
[...document.querySelectorAll('.wall-cards:not([hidden]) .wall-card > *')]
  .filter(e => e.scrollWidth > e.clientWidth + 1 || (e.querySelector('.name') || e).scrollWidth > e.clientWidth + 1)
  .map(e => e.textContent)
"""

#: What sticks out to the right without scrolling the page: cut off, and nobody sees it.
_WIDE = """
[...document.querySelectorAll('main h1, main h2, main button, main input, main select, main .notice')]
  .filter(e => e.offsetParent && e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('[tabindex="0"],.scroll'))
  .map(e => e.outerHTML.slice(0, 120))
"""
