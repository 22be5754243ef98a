"""Real browsers against the real product.

Where a browser is missing its tests are skipped, and the end of the run says so aloud (``tests/conftest.py``); with
``CI=true`` they fail. ``./dev browsers`` installs both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from huiying.domain.signing import Stage as At
from tests.browser import browsers
from tests.browser.stage import PEOPLE, Stage
from tests.browser.watch import Watch
from tests.tools import browsers as installed

Desk = Callable[..., Page]


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The demo, running; all tests of a session share it."""
    made = Stage(tmp_path_factory.mktemp("demo"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Playwright's driver, and with it a running event loop in this thread: it ends before other tests begin."""
    with sync_playwright() as made:
        yield made


@pytest.fixture(scope="package")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """Today's Chromium."""
    with browsers.modern(playwright, _needed(installed.modern(), "Chromium")) as browser:
        yield browser


@pytest.fixture(scope="package")
def chromium_88(playwright: Playwright) -> Iterator[Browser]:
    """The oldest supported engine."""
    with browsers.oldest(playwright, _needed(installed.oldest(), "Chromium 88")) as browser:
        yield browser


def _needed(path: Path | None, name: str) -> Path:
    if path is None:
        sentence = f"{name} is not installed (./dev browsers)"
        if installed.in_ci():
            pytest.fail(sentence)
        pytest.skip(sentence)
    return path


@pytest.fixture(scope="package")
def signed_in(stage: Stage, chromium: Browser) -> Callable[..., Any]:
    """The cookies of a person who has signed in through the form, or halfway only; once per person and session."""
    known: dict[tuple[str, At], Any] = {}

    def of(person_id: str, at: At = At.OPEN) -> Any:
        if (person_id, at) not in known:
            context = chromium.new_context(locale="zh-CN")
            browsers.arrive(context, stage, person_id, at)
            known[person_id, at] = context.storage_state()
            context.close()
        return known[person_id, at]

    return of


@pytest.fixture
def watches() -> Iterator[list[Watch]]:
    """Everything that was watched; a fault in any of it fails the test at its end."""
    made: list[Watch] = []
    yield made
    faults = [fault for watch in made for fault in watch.faults()]
    assert faults == []


@pytest.fixture
def desk(stage: Stage, chromium: Browser, signed_in: Callable[..., Any], watches: list[Watch]) -> Iterator[Desk]:
    """``desk("duty")``: a page of its own in which somebody of that role is signed in, watched for errors.

    ``desk("duty", "/incidents", viewport=PHONE)`` goes there at once; further options are those of a browser context.
    ``desk("")`` is nobody, ``desk("duty", at=Stage.LOCKED)`` somebody whose desk is locked.
    """
    contexts = []

    def open_page(role: str = "duty", path: str = "", at: At = At.OPEN, **options: Any) -> Page:
        state = signed_in(PEOPLE.get(role, role), at) if role else None
        options = {"locale": "zh-CN", "viewport": browsers.DESK, "timezone_id": "America/New_York", **options}
        context = chromium.new_context(storage_state=state, **options)
        context.set_default_timeout(20_000)
        contexts.append(context)
        watch = Watch(context, stage.url)
        watches.append(watch)
        page = context.new_page()
        if path:
            answer = page.goto(f"{stage.url}{path}")
            assert answer is not None
            assert answer.status == 200, f"{path}: {answer.status}"
        return page

    yield open_page
    for context in contexts:
        context.close()
