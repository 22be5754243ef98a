"""A sign-in in today's Chromium: what locks, what goes on ticking, and what somebody was writing meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page

from huiying.service import session_rows, sessions
from huiying.service.services import Services
from huiying.store import tables as t
from tests.browser.browsers import axe, until
from tests.browser.screens import numbers
from tests.browser.stage import Stage
from tests.browser.states import beside
from tests.browser.watch import Watch
from tests.fakes.sessions import session_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
Desk = Callable[..., Page]
PERSON = "lianluo"
INCIDENT = "示例化工园区储罐泄漏"
WORDS = "写了一刻钟的说明"


@pytest.fixture
def services(stage: Stage) -> Iterator[Services]:
    """A second view of the running demo's store."""
    with beside(stage.folder) as made:
        yield made


class Seat:
    """A sign-in of its own, at which time can be let pass."""

    def __init__(
        self, services: Services, desk: Desk, stage: Stage, path: str, person: str = PERSON, **options: Any
    ) -> None:
        self._services = services
        self._secret, _csrf = session_of(services, person)
        self._url = stage.url
        self.password = stage.password(person)
        self.page = desk("", "", **options)
        self.page.context.add_cookies([{"name": "hy_session", "value": self._secret, "url": stage.url}])
        self.page.goto(f"{stage.url}{path}")

    def row(self) -> Any:
        """The session as it stands, by the browser's present cookie."""
        (cookie,) = [one for one in self.page.context.cookies() if one.get("name") == "hy_session"]
        with self._services.store.reading() as tx:
            return session_rows.find(tx, str(cookie.get("value")))

    def pass_by(self, *, idle: timedelta = timedelta(0), since: timedelta = timedelta(0)) -> None:
        """As if nobody had been at the desk for so long, and as if it had been opened so much earlier."""
        row = self.row()
        values = {
            "seen_at": row.seen_at - idle,
            "opened_at": row.opened_at - since,
            "expires_at": row.expires_at - since,
        }
        with self._services.store.transaction("test") as tx:
            tx.run(t.session.update().where(t.session.c.id == row.id).values(**values))

    def seen_at(self) -> datetime:
        """When somebody was last at the desk."""
        found: datetime = self.row().seen_at
        return found

    def look_again(self) -> None:
        """The page comes to the front of its browser."""
        self.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    def unlock(self) -> None:
        """Type the password into the field that the locked desk shows."""
        self.page.fill("#unlock-password", self.password)
        self.page.press("#unlock-password", "Enter")


@pytest.fixture
def sit(services: Services, desk: Desk, stage: Stage) -> Callable[..., Seat]:
    """``sit("/incidents")``: somebody signed in at that page."""
    return lambda path="/", **options: Seat(services, desk, stage, path, **options)


def ticks(page: Page) -> None:
    """The clocks of the main screen go on, and say nothing of what they are about."""
    shown = page.evaluate(_LEFT)
    until(page, f"was => {_LEFT} !== was", shown, 90)
    assert INCIDENT not in page.inner_text("main")
    assert page.locator("#panel, #feed").count() == 0


_LEFT = "[...document.querySelectorAll('#board time.left')].map(e => e.textContent).join('|')"


def test_after_a_long_shift_the_desk_goes_on_ticking_and_asks_for_everything_again(sit: Callable[..., Seat]):
    seat = sit("/")
    until(seat.page, "Boolean(window.huiyingDesk)")
    before = seat.row().id
    seat.pass_by(since=timedelta(hours=12))
    seat.page.wait_for_selector("form.lock", timeout=30_000)  # the stream says so, nobody has touched anything
    assert seat.page.url.split("?")[0].endswith("/")
    assert "已满 12 小时" in seat.page.inner_text("form.lock")
    assert axe(seat.page) == []
    ticks(seat.page)
    seat.unlock()
    seat.page.wait_for_selector("#panel")
    assert seat.row().id != before
    assert "已登录。" in seat.page.inner_text("#notices")


def test_locking_by_hand_leads_to_clocks_that_tick(sit: Callable[..., Seat]):
    seat = sit("/devices")
    seat.page.click("form[action='/lock'] button")
    seat.page.wait_for_selector("form.lock")
    ticks(seat.page)
    seat.unlock()
    seat.page.wait_for_selector("#panel")


@pytest.mark.parametrize("path", ["/runs", "/handover", "/inbox"])
def test_a_page_without_a_stream_does_not_stay_readable_on_a_locked_desk(sit: Callable[..., Seat], path: str):
    seat = sit()
    seat.page.clock.install()
    seat.page.goto(seat.page.url.rstrip("/") + path)
    until(seat.page, "Boolean(window.huiyingDesk)")
    seat.pass_by(idle=timedelta(minutes=15))
    seat.page.clock.run_for(61_000)  # nobody touches the page
    seat.page.wait_for_selector("form.lock", timeout=20_000)
    seat.unlock()
    seat.page.wait_for_url(re.compile(re.escape(path) + "$"))


def test_a_page_that_comes_to_the_front_looks_at_once_and_a_thrown_out_one_goes_to_the_door(
    services: Services, sit: Callable[..., Seat], stage: Stage
):
    seat = sit(f"/incidents/{numbers(stage.folder)[INCIDENT]}")
    until(seat.page, "Boolean(window.huiyingDesk)")
    seat.pass_by(idle=timedelta(minutes=15))
    before = seat.seen_at()
    seat.look_again()
    seat.page.wait_for_selector("form.lock")
    assert INCIDENT not in seat.page.content()
    assert seat.seen_at() == before, "looking is no sign of life"
    seat.unlock()
    seat.page.wait_for_url("**/incidents/*")
    with services.store.transaction("test") as tx:
        session_rows.end(tx, "test", t.session.c.id == seat.row().id)
    seat.look_again()
    seat.page.wait_for_url("**/login*")


def test_typing_keeps_the_desk_awake(sit: Callable[..., Seat], stage: Stage):
    seat = sit(f"/incidents/{numbers(stage.folder)[INCIDENT]}?open=details")
    until(seat.page, "Boolean(window.huiyingDesk)")
    seat.pass_by(idle=timedelta(minutes=14))
    before = seat.seen_at()
    asked: list[str] = []
    seat.page.on("request", lambda request: asked.append(request.url) if "/live/awake" in request.url else None)
    seat.page.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'a', bubbles: true}))")
    seat.page.evaluate(_LATER)
    seat.page.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'a', bubbles: true}))")
    seat.page.wait_for_timeout(300)
    assert asked == [], "what a script makes is nobody's key"
    with seat.page.expect_response("**/live/awake") as answer:
        seat.page.locator("#act-details [name=body]").press_sequentially("甲乙丙丁")
    assert answer.value.status == 200
    assert seat.seen_at() > before + timedelta(minutes=13)
    seat.page.locator("#act-details [name=body]").press_sequentially("戊己庚辛")
    assert len(asked) == 1, "once a minute is enough"


#: The page believes to have been opened a while ago.
_LATER = "(() => { const now = performance.now.bind(performance); performance.now = () => now() + 120000; })()"


def test_a_form_that_was_sent_too_late_waits_for_the_unlocking(
    sit: Callable[..., Seat], stage: Stage, watches: list[Watch]
):
    number = numbers(stage.folder)[INCIDENT]
    seat = sit(f"/incidents/{number}?open=details")
    watches[-1].allow(r"status of 403")
    seat.page.fill("#act-details [name=reason]", "补充")
    seat.page.fill("#act-details [name=body]", WORDS)
    seat.pass_by(idle=timedelta(minutes=15))
    seat.page.click("#act-details form button")
    seat.page.wait_for_selector("form.lock")
    assert "已保留" in seat.page.inner_text("form.lock")
    assert WORDS not in seat.page.content()
    ticks(seat.page)
    seat.unlock()
    seat.page.wait_for_selector("#kept-form")
    assert WORDS in seat.page.inner_text("main")
    assert axe(seat.page) == []
    seat.page.click("[data-refill]")
    seat.page.wait_for_url("**/incidents/*")
    assert seat.page.input_value("#act-details [name=body]") == WORDS
    assert seat.page.evaluate("sessionStorage.getItem('huiying-kept')") is None
    seat.page.click("#act-details form button")
    seat.page.wait_for_url(re.compile(rf"/incidents/{number}(\?.*)?(#.*)?$"))
    assert WORDS in seat.page.inner_text("main")


def test_what_was_being_written_is_back_in_its_form_after_the_unlocking(sit: Callable[..., Seat], stage: Stage):
    seat = sit("/incidents/new")
    seat.page.locator("#new-title").press_sequentially("示例未写完的标题")
    seat.page.check("input[value='emergency:major']")
    until(seat.page, "document.querySelectorAll('#preview .soon').length > 1")
    seat.pass_by(idle=timedelta(minutes=15))
    seat.look_again()
    seat.page.wait_for_selector("form.lock")
    assert "未写完" not in seat.page.content()
    seat.unlock()
    seat.page.wait_for_url("**/incidents/new")
    until(seat.page, "document.querySelector('#notices').textContent.includes('尚未提交')")
    assert seat.page.input_value("#new-title") == "示例未写完的标题"
    assert seat.page.is_checked("input[value='emergency:major']")
    until(seat.page, "document.querySelectorAll('#preview .soon').length > 1")


def test_what_was_being_written_outlasts_the_other_language_and_a_new_password(
    services: Services, sit: Callable[..., Seat], stage: Stage
):
    """Two ways on which the locked page's own form does not come along."""
    seat = sit("/incidents/new", person="zhiban3")  # whose password no other test needs
    seat.page.locator("#new-title").press_sequentially("示例绕道的标题")
    seat.pass_by(since=timedelta(hours=12))
    seat.look_again()
    seat.page.wait_for_selector("form.lock")
    seat.page.click("form[action='/language'] button[value='en']")
    seat.page.wait_for_selector("html[lang='en'] form.lock")
    with services.store.transaction("test") as tx:
        tx.run(t.account.update().where(t.account.c.person_id == seat.row().person_id).values(must_change=True))
    seat.unlock()
    seat.page.wait_for_url("**/password*")
    assert "绕道" not in seat.page.content()
    new = f"{seat.password}-neu"
    seat.page.fill("#new_password", new)
    seat.page.fill("#again_password", new)
    seat.page.press("#again_password", "Enter")
    seat.page.wait_for_selector("#notices .notice")  # said once, and read before anything takes its place
    seat.page.goto(f"{stage.url}/incidents")
    seat.page.wait_for_url("**/incidents/new")
    until(seat.page, "document.querySelector('#new-title').value === '示例绕道的标题'")
    assert seat.page.evaluate("Object.keys(sessionStorage).filter(name => name.startsWith('huiying'))") == []


def test_a_preview_that_meets_the_lock_does_not_take_the_text_along(sit: Callable[..., Seat]):
    seat = sit("/incidents/new")
    seat.page.locator("#new-title").press_sequentially("示例")
    seat.pass_by(idle=timedelta(minutes=15))
    seat.page.locator("#new-title").press_sequentially("预览时锁定")
    seat.page.wait_for_selector("form.lock")
    seat.unlock()
    seat.page.wait_for_url("**/incidents/new")
    until(seat.page, "document.querySelector('#new-title').value === '示例预览时锁定'")


def test_a_tab_goes_on_after_the_desk_was_unlocked_in_another(
    services: Services, sit: Callable[..., Seat], stage: Stage
):
    number = numbers(stage.folder)[INCIDENT]
    seat = sit(f"/incidents/{number}?open=details")
    seat.page.fill("#act-details [name=reason]", "补充")
    seat.page.fill("#act-details [name=body]", f"{WORDS}（另一页）")
    other = seat.page.context.new_page()
    sessions.lock(services, str(next(c["value"] for c in seat.page.context.cookies() if c["name"] == "hy_session")))
    other.goto(f"{stage.url}/")
    other.fill("#unlock-password", seat.password)
    other.press("#unlock-password", "Enter")
    other.wait_for_selector("#panel")
    with seat.page.expect_response("**/live/state*"):
        seat.look_again()
    until(seat.page, "document.body.dataset.csrf === arguments[0]".replace("arguments[0]", repr(seat.row().csrf)))
    seat.page.click("#act-details form button")
    until(seat.page, f"document.querySelector('main').textContent.includes('{WORDS}（另一页）')")


def test_without_javascript_a_form_waits_for_the_unlocking_as_well(
    sit: Callable[..., Seat], stage: Stage, watches: list[Watch]
):
    number = numbers(stage.folder)[INCIDENT]
    seat = sit(f"/incidents/{number}?open=details", java_script_enabled=False)
    watches[-1].allow(r"status of 403")
    seat.page.fill("#act-details [name=reason]", "补充")
    seat.page.fill("#act-details [name=body]", f"{WORDS}（无脚本）")
    seat.pass_by(idle=timedelta(minutes=15))
    seat.page.click("#act-details form button")
    seat.page.wait_for_selector("form.lock")
    seat.unlock()
    seat.page.wait_for_selector("#kept-form")
    seat.page.click("#kept-form button:not([data-refill])")
    seat.page.wait_for_url("**/incidents/*")
    assert f"{WORDS}（无脚本）" in seat.page.inner_text("main")
