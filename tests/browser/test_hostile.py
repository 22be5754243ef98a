"""Hostile texts in a real browser: no dialog, no script of theirs, no request to anybody, on any screen."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Dialog, Page

from huiying.domain.access import AccessRole
from huiying.web.app import create_app
from huiying.web.pages.policy import COOKIE
from tests import hostile
from tests.browser.stage import free_port
from tests.browser.watch import Watch
from tests.fakes.house import House, acting, house_template, open_house, run_engine_once
from tests.fakes.sessions import session_of

__all__ = ["house_template"]

_START = 60
#: Whatever of a text runs calls this.
_TRAP = f"window.fired = 0; window.{hostile.MARK} = function () {{ window.fired += 1; }};"
SCREENS = (
    ("zhao", "/"), ("zhao", "/incidents"), ("zhao", "/incidents/new"), ("zhao", "/runs"), ("zhao", "/requests"),
    ("zhao", "/handover"), ("zhao", "/inbox"), ("zhao", "/wall"), ("zhao", "/roster"), ("zhao", "/rules/whatif"),
    ("zhang", "/inbox"), ("wang", "/requests"), ("li", "/audit"), ("boss", "/admin/people"), ("boss", "/admin/units"),
    ("boss", "/admin/channels"), ("boss", "/admin/people/p2"), ("boss", "/admin/units/u2"), ("boss", "/roster"),
)  # fmt: skip


@dataclass
class Full:
    """A served house full of hostile texts."""

    house: House
    url: str
    numbers: list[str]


@pytest.fixture(scope="module")
def full(house_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Full]:
    house = open_house(house_template, tmp_path_factory.mktemp("hostile") / "house")
    stored = hostile.store(house.services, acting("zhao", AccessRole.HEAD), "office")
    run_engine_once(house.services)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(house.services), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + _START
    while not server.started:
        assert time.monotonic() < until, "the server did not start"
        time.sleep(0.05)
    yield Full(house, f"http://127.0.0.1:{port}", stored.numbers)
    server.should_exit = True
    thread.join(30)
    house.services.store.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_of_them_runs_anywhere(full: Full, chromium: Browser):
    visits = [*SCREENS, *(("zhao", f"/incidents/{no}") for no in full.numbers)]
    visits += [("zhao", f"/incidents/{no}/runs") for no in full.numbers[::24]]
    faults: list[str] = []

    def accuse(dialog: Dialog) -> None:
        faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    for person in dict.fromkeys(person for person, _ in visits):
        context = chromium.new_context(locale="zh-CN")
        secret, _ = session_of(full.house.services, person)
        context.add_cookies([{"name": COOKIE, "value": secret, "url": full.url}])
        context.add_init_script(_TRAP)
        watch = Watch(context, full.url)
        page = context.new_page()
        page.on("dialog", accuse)
        for url in (url for who, url in visits if who == person):
            faults += _visit(page, full.url, url)
        faults += watch.faults()
        context.close()
    assert not faults, "\n" + "\n".join(faults[:40])


def _visit(page: Page, origin: str, url: str) -> list[str]:
    """Open a page, point at and focus what can be, and see whether anything fired."""
    answer = page.goto(f"{origin}{url}", wait_until="load")
    found = [] if answer is not None and answer.status == 200 else [f"{url}: {answer and answer.status}"]
    page.evaluate(
        "document.querySelectorAll('a,button,input,summary,[title]').forEach(function (one) {"
        " one.dispatchEvent(new MouseEvent('mouseover', {bubbles: true}));"
        " if (one.focus) { one.focus(); } })"
    )
    if page.evaluate("window.fired") != 0:
        found.append(f"{url}: a text ran")
    if not page.url.startswith(origin):
        found.append(f"{url}: led to {page.url}")
    return found
