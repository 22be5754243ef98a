"""Signing in through the real application: forms, cookies, steps, locks, and everything that must not work."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest
import sqlalchemy as sa
from starlette.requests import Request
from starlette.testclient import TestClient

from huiying.domain.errors import NotAuthenticated
from huiying.service import accounts, sessions, tokens
from huiying.service.first_run import PASSWORD_FILE
from huiying.store import tables as t
from huiying.web.app import create_app
from huiying.web.guard import Throttle
from huiying.web.pages import shell, sign_in
from tests.fakes.desk import take_seat
from tests.fakes.house import OPERATOR, House, cheap_passwords, house_template, open_house
from tests.fakes.sessions import session_of

__all__ = ["cheap_passwords", "house_template"]

pytestmark = pytest.mark.usefixtures("cheap_passwords")
PASSWORD = "Lake-7-lantern"
OTHER = "River-8-candle"
HERE = {"Sec-Fetch-Site": "same-origin"}
_CSRF = re.compile(r'name="csrf" value="([^"]*)"')


@pytest.fixture
def house(house_template: Path, tmp_path: Path) -> Iterator[House]:
    made = open_house(house_template, tmp_path / "house")
    yield made
    made.services.store.close()


class Browser:
    """One browser: keeps cookies, sends the token of the page it has last seen."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.csrf = ""

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self._seen(self.client.get(path, headers={**HERE, **headers}))

    def post(self, path: str, _headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        data = {"csrf": self.csrf, **fields}
        return self._seen(self.client.post(path, data=data, headers=HERE if _headers is None else _headers))

    def _seen(self, response: httpx.Response) -> httpx.Response:
        found = _CSRF.search(response.text)
        if found:
            self.csrf = found.group(1)
        return response

    @property
    def secret(self) -> str:
        return self.client.cookies.get("hy_session") or ""

    def sign_in(self, name: str, password: str = PASSWORD, wanted: str = "/") -> httpx.Response:
        self.get("/login")
        return self.post("/login", name=name, password=password, next=wanted)

    def sign_out(self) -> None:
        self.place()
        assert self.post("/logout").headers["location"] == "/login"
        assert not self.secret

    def place(self, path: str = "/devices") -> str:
        """Where the browser ends up when it asks for a page."""
        response = self.get(path)
        while response.status_code == 303:
            path = response.headers["location"]
            response = self.get(path)
        return path.partition("?")[0]


@pytest.fixture
def app(house: House, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sign_in, "ATTEMPTS", Throttle(1000))
    from huiying.web.pages import account

    monkeypatch.setattr(account, "ATTEMPTS", Throttle(1000))
    return create_app(house.services)


@pytest.fixture
def browser(app: Any) -> Iterator[Browser]:
    with TestClient(app, follow_redirects=False) as client:
        yield Browser(client)


@pytest.fixture
def second_browser(app: Any) -> Iterator[Browser]:
    with TestClient(app, follow_redirects=False) as client:
        yield Browser(client)


def new_one_time(house: House, person_id: str) -> str:
    return str(tokens.issue_password(house.services, OPERATOR, person_id)["password"])


def settle(house: House, browser: Browser, person_id: str, password: str = PASSWORD) -> None:
    """From a one-time password to an open desk with an own password."""
    browser.sign_in(person_id, new_one_time(house, person_id))
    browser.get("/password")
    done = browser.post("/password", new_password=password, again_password=password)
    assert done.status_code == 303, done.text
    browser.place()


def enrol_page(house: House, browser: Browser) -> str:
    """The page with the recovery codes, which a first code leads to."""
    shown = re.search(r'class="typed-secret">([A-Z2-7 ]+)<', browser.get("/enrol").text)
    assert shown is not None
    done = browser.post("/enrol", code=pyotp.TOTP(shown.group(1).replace(" ", "")).at(house.clock()))
    assert 'class="recovery"' in done.text
    return done.text


def enrol(house: House, browser: Browser) -> tuple[pyotp.TOTP, list[str]]:
    page = browser.get("/enrol").text
    shown = re.search(r'class="typed-secret">([A-Z2-7 ]+)<', page)
    assert shown is not None
    totp = pyotp.TOTP(shown.group(1).replace(" ", ""))
    done = browser.post("/enrol", code=totp.at(house.clock()))
    assert done.status_code == 200, done.text
    return totp, re.findall(r"<code>([a-z2-9-]{19})</code>", done.text)


def audited(house: House, action: str) -> list[Any]:
    with house.services.store.reading() as tx:
        return tx.all(sa.select(t.audit).where(t.audit.c.action == action).order_by(t.audit.c.seq))


# -- the way in --------------------------------------------------------------------------------------------------------


def test_a_one_time_password_leads_to_a_new_one_and_is_used_up(house, browser, second_browser):
    one_time = new_one_time(house, "zhang")
    path = house.services.settings.data_dir / PASSWORD_FILE
    path.write_text(one_time + "\n")
    first = browser.sign_in("zhang", one_time)
    assert (first.status_code, first.headers["location"]) == (303, "/password")
    assert browser.place("/") == "/password"
    assert browser.post("/password", new_password=PASSWORD, again_password=PASSWORD).headers["location"] == "/"
    assert browser.place() == "/devices"
    assert not path.exists()
    assert second_browser.sign_in("zhang", one_time).status_code == 401
    assert second_browser.sign_in("zhang").status_code == 303


def test_a_replaced_one_time_password_sets_no_password_any_more(house, browser):
    browser.sign_in("zhang", new_one_time(house, "zhang"))
    new_one_time(house, "zhang")
    browser.get("/password")
    refused = browser.post("/password", new_password=PASSWORD, again_password=PASSWORD)
    assert refused.status_code == 409
    assert "一次性密码已失效" in refused.text


def test_the_cookie_and_its_flags(house, browser):
    assert "set-cookie" not in browser.get("/login").headers
    assert "set-cookie" not in browser.sign_in("zhang", "wrong").headers
    given = browser.sign_in("zhang", new_one_time(house, "zhang")).headers["set-cookie"]
    assert given.startswith("hy_session=")
    assert "httponly" in given.lower()
    assert "samesite=lax" in given.lower()
    assert "path=/" in given.lower()
    assert "secure" not in given.lower().replace("hy_session", "")
    with house.services.store.reading() as tx:
        assert browser.secret not in {row.secret_hash for row in tx.all(sa.select(t.session.c.secret_hash))}


def test_over_https_the_cookie_is_secure(house, app):
    with TestClient(app, base_url="https://desk.example", follow_redirects=False) as client:
        chosen = client.post("/language", data={"language": "en", "to": "/login"}).headers["set-cookie"]
        given = Browser(client).sign_in("zhang", new_one_time(house, "zhang")).headers["set-cookie"]
    assert "; secure" in given.lower()
    assert "; secure" in chosen.lower()


def test_the_office_is_named_where_one_signs_in(house, browser):
    assert '<p class="unit" title="示例市政务公开办">示例市政务公开办</p>' in browser.get("/login").text
    with house.services.store.transaction("test") as tx:
        tx.run(t.unit.insert().values(id="other", name="示例县政府办公室"))
    assert 'class="unit"' not in browser.get("/login").text, "of two offices neither is the one"


def test_a_file_of_a_page_is_no_sign_of_life(house, browser):
    """A browser may ask for the icon long after the page; nobody has to be there for that."""
    settle(house, browser, "zhang")
    with house.services.store.reading() as tx:
        before = tx.value(sa.select(sa.func.max(t.session.c.seen_at)))
    house.clock.advance(timedelta(minutes=5))
    assert browser.get("/static/icon.svg").status_code == 200
    with house.services.store.reading() as tx:
        assert tx.value(sa.select(sa.func.max(t.session.c.seen_at))) == before
    assert browser.get("/devices").status_code == 200
    with house.services.store.reading() as tx:
        assert tx.value(sa.select(sa.func.max(t.session.c.seen_at))) > before


def test_the_last_sign_in_is_shown_after_the_next(house, browser):
    settle(house, browser, "zhang")
    browser.sign_out()
    house.clock.advance(timedelta(hours=1))
    browser.sign_in("zhang")
    page = browser.get("/devices").text
    assert "上次登录：2025年6月2日 星期一 09:00，来自 testclient" in page


@pytest.mark.parametrize(
    ("language", "first", "last"),
    [
        ("zh", "已登录。这是您第一次登录。", "已登录。上次登录：2025年6月2日 星期一 09:00，来自 testclient。如非本人"),
        (
            "en",
            "This is your first sign-in.",
            "Last sign-in: Mon 2025-06-02 09:00 from testclient. If that was not you",
        ),
    ],
)
def test_who_signs_in_by_enrolling_learns_of_the_last_sign_in_behind_the_recovery_codes(
    house, browser, language, first, last
):
    settle(house, browser, "boss")
    with house.services.store.transaction("test") as tx:
        tx.run(t.account.update().where(t.account.c.person_id == "boss").values(language=language))
    codes = enrol_page(house, browser)
    assert first not in codes
    assert first in browser.get("/devices").text
    assert first not in browser.get("/devices").text, "once"
    browser.sign_out()
    house.clock.advance(timedelta(hours=1))
    accounts.reset_second_factor(house.services, OPERATOR, "boss")
    house.clock.advance(timedelta(hours=1))
    assert browser.sign_in("boss", wanted="/admin/people").headers["location"].startswith("/enrol?")
    codes = enrol_page(house, browser)
    assert last not in codes, "the codes have that page to themselves"
    page = browser.get("/admin/people").text
    assert last in page
    assert page.index(last) < page.index("2025年6月2日 星期一 10:00" if language == "zh" else "Mon 2025-06-02 10:00"), (
        "and of who has reset the second factor since"
    )
    assert last not in browser.get("/admin/people").text


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        ("/incidents?unit=office", "/incidents?unit=office"),
        ("//evil.example/x", "/"),
        ("https://evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("/\tevil", "/"),
        ("javascript:alert(1)", "/"),
        ("/logout", "/"),
        ("/login?next=/login", "/"),
        ("", "/"),
    ],
)
def test_only_local_places_after_signing_in(house, browser, wanted, place):
    settle(house, browser, "zhang")
    browser.sign_out()
    assert browser.sign_in("zhang", wanted=wanted).headers["location"] == place


# -- wrong answers -----------------------------------------------------------------------------------------------------


def test_the_sixth_wrong_password_meets_a_lock_and_so_does_the_right_one(house, browser):
    settle(house, browser, "zhang")
    browser.sign_out()
    for _ in range(4):
        page = browser.sign_in("zhang", "wrong")
        assert page.status_code == 401
        assert sessions.REFUSED in page.text
    assert browser.sign_in("zhang", "wrong").status_code == 429
    sixth = browser.sign_in("zhang", "wrong")
    assert sixth.status_code == 429
    assert "已锁定。请在 15 分钟后再试" in sixth.text
    assert browser.sign_in("zhang").status_code == 429
    assert len(audited(house, "session.name_locked")) == 1
    assert [row.subject for row in audited(house, "session.refused")] == ["person:zhang"] * 7
    house.clock.advance(timedelta(minutes=15))
    assert browser.sign_in("zhang").status_code == 303


def test_an_administrator_unlocks_before_time(house, browser):
    settle(house, browser, "zhang")
    browser.sign_out()
    for _ in range(5):
        browser.sign_in("zhang", "wrong")
    accounts.unlock_account(house.services, OPERATOR, "zhang")
    assert browser.sign_in("zhang").status_code == 303


def test_an_unknown_name_looks_like_a_known_one(house, browser):
    settle(house, browser, "zhang")
    browser.sign_out()
    pages = {name: [browser.sign_in(name, "wrong") for _ in range(6)] for name in ("zhang", "ghost")}
    plain = {name: [(p.status_code, re.sub(name, "", p.text)) for p in found] for name, found in pages.items()}
    strip = re.compile(r'data-now="\d+"')
    assert [(s, strip.sub("", x)) for s, x in plain["zhang"]] == [(s, strip.sub("", x)) for s, x in plain["ghost"]]


def test_what_was_typed_stands_nowhere(house, browser):
    browser.sign_in("My-Secret-As-Name", "My-Secret-Password")
    with house.services.store.reading() as tx:
        rows = [str(row) for table in (t.audit, t.login_failure) for row in tx.all(sa.select(table))]
    assert not [row for row in rows if "My-Secret" in row]


def test_many_names_from_one_address_are_stopped(house, browser):
    for number in range(30):
        assert browser.sign_in(f"ghost{number}", "wrong").status_code == 401
    stopped = browser.sign_in("ghost99", "wrong")
    assert stopped.status_code == 429
    assert "此网络地址" in stopped.text
    assert len(audited(house, "session.client_locked")) == 1


#: The pages before the desk, each with what it needs besides its fault.
DOORS: dict[str, dict[str, Any]] = {
    "login": {"name": "", "oidc": False},
    "second": {},
    "enrol": {"typed_secret": "ABCD"},
    "password": {"asked": True, "shortest": 10, "field": "old_password"},
    "locked": {"kept": "", "oidc": False},
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("fault", ["登录", "Refused: 100 %, %(name)s, {name}, %s"])
def test_a_refusal_comes_translated_and_is_shown_as_it_is(house, app, door, fault):
    """What the page is given has been said in its language; were it looked up again, a text of the catalogue would turn."""
    secret, _ = session_of(house.services, "zhang")
    session = sessions.look(house.services, secret)
    assert session is not None
    state = {"session": replace(session, language="en")}
    request = Request({"type": "http", "app": app, "method": "GET", "path": "/", "headers": [], "state": state})
    page = shell.render(request, f"account/{door}.html", 401, wanted="/", fault=fault, **DOORS[door])
    notice = re.search(r'<div class="notice fault" role="alert"><p[^>]*>(.*?)</p>', bytes(page.body).decode())
    assert notice is not None
    assert re.sub(r"<[^>]+>", "", notice.group(1)) == fault


def test_attempts_within_a_minute_are_limited(house, browser, monkeypatch):
    from huiying.web.pages import account

    monkeypatch.setattr(account, "ATTEMPTS", Throttle(2))
    answers = [browser.sign_in(f"ghost{n}", "wrong").status_code for n in range(3)]
    assert answers == [401, 401, 429]


# -- the second factor -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("person_id", ["boss", "li", "wang"])
def test_who_administers_audits_or_approves_cannot_skip_the_second_factor(house, browser, person_id):
    settle(house, browser, person_id)
    assert browser.place("/devices") == "/enrol"
    assert browser.place("/") == "/enrol"
    assert browser.place("/password") == "/enrol"
    session = sessions.look(house.services, browser.secret)
    assert session is not None
    assert session.actor.permissions == frozenset()
    enrol(house, browser)
    assert browser.place("/devices") == "/devices"
    browser.sign_out()
    assert browser.sign_in(person_id).headers["location"] == "/second"
    assert browser.place("/devices") == "/second"
    assert browser.place("/enrol") == "/second"
    assert browser.place("/password") == "/second"


def test_a_code_opens_once_within_its_time_and_the_secret_turns(house, browser):
    settle(house, browser, "boss")
    totp, _ = enrol(house, browser)
    used = totp.at(house.clock())
    browser.sign_out()
    browser.sign_in("boss")
    before = browser.secret
    browser.get("/second")
    assert browser.post("/second", code=used).status_code == 401, "the code of the enrolment opens nothing"
    house.clock.advance(timedelta(seconds=30))
    late = totp.at(house.clock())
    assert browser.post("/second", code=late).status_code == 303
    assert browser.secret != before
    assert sessions.look(house.services, before) is None
    browser.get("/devices")
    browser.sign_out()
    browser.sign_in("boss")
    browser.get("/second")
    replayed = browser.post("/second", code=late)
    assert replayed.status_code == 401
    assert sessions.REFUSED_CODE in replayed.text
    house.clock.advance(timedelta(seconds=90))
    assert browser.post("/second", code=totp.at(house.clock() - timedelta(seconds=60))).status_code == 401
    assert browser.post("/second", code=totp.at(house.clock() - timedelta(seconds=30))).status_code == 303


def test_a_recovery_code_opens_once(house, browser):
    settle(house, browser, "boss")
    _, codes = enrol(house, browser)
    assert len(set(codes)) == 10
    for code, status in ((codes[3], 303), (codes[3], 401), (codes[4].upper(), 303)):
        browser.get("/devices")
        browser.sign_out()
        browser.sign_in("boss")
        browser.get("/second")
        assert browser.post("/second", code=code).status_code == status
    assert len(audited(house, "second_factor.recovery_used")) == 2


def test_wrong_codes_lock_the_name_although_the_password_is_right(house, browser):
    settle(house, browser, "boss")
    enrol(house, browser)
    house.clock.advance(timedelta(minutes=1))
    browser.sign_out()
    answers = []
    for _ in range(5):
        browser.sign_in("boss")
        browser.get("/second")
        answers.append(browser.post("/second", code="000000").status_code)
        browser.sign_out()
    assert answers == [401, 401, 401, 401, 429]
    assert browser.sign_in("boss").status_code == 429


def test_the_picture_is_served_to_its_owner_alone(house, browser, second_browser):
    settle(house, browser, "boss")
    picture = browser.get("/enrol/qr.svg")
    assert picture.headers["content-type"] == "image/svg+xml"
    assert picture.headers["cache-control"] == "no-store"
    assert "style=" not in picture.text
    assert "<script" not in picture.text
    assert second_browser.get("/enrol/qr.svg").status_code == 303
    enrol(house, browser)
    assert browser.get("/enrol").headers["location"] == "/devices"
    assert browser.get("/enrol/qr.svg").status_code == 409, "an authenticator in force is never shown again"


def test_a_role_given_meanwhile_asks_for_the_second_factor_at_the_next_request(house, browser):
    from huiying.service import roster_admin

    settle(house, browser, "zhang")
    assert browser.place() == "/devices"
    roster_admin.grant_access(house.services, OPERATOR, "zhang", "approver", "office")
    assert browser.place() == "/enrol"


def test_an_administrator_lands_where_there_is_something_to_administer(house, browser):
    settle(house, browser, "boss")
    page = enrol(house, browser)
    assert page
    house.clock.advance(timedelta(minutes=1))
    browser.sign_out()
    browser.sign_in("boss")
    browser.get("/second")
    where = browser.post("/second", code=page[0].at(house.clock())).headers["location"]
    assert where == "/admin"
    assert browser.get(where).status_code == 200
    assert browser.get("/").headers["location"] == "/admin"


# -- idle, locked, over ------------------------------------------------------------------------------------------------


def test_after_fifteen_idle_minutes_the_desk_is_locked_and_the_password_opens_it(house, browser):
    settle(house, browser, "zhang")
    house.clock.advance(timedelta(minutes=14, seconds=59))
    assert browser.get("/devices").status_code == 200
    house.clock.advance(timedelta(minutes=15))
    before = browser.secret
    assert browser.get("/devices").status_code == 303
    session = sessions.look(house.services, before)
    assert session is not None
    assert session.stage == "locked"
    assert session.actor.permissions == {"read"}
    assert browser.get("/devices").headers["location"] == "/?next=%2Fdevices"
    assert browser.get("/unlock").headers["location"] == "/"
    assert "本席位已锁定" in browser.get("/").text
    wrong = browser.post("/unlock", password="wrong")
    assert (wrong.status_code, 'id="board"' in wrong.text) == (401, True), "the clocks stay in sight"
    assert browser.post("/password", old_password=PASSWORD, new_password=OTHER, again_password=OTHER).status_code == 303
    assert browser.post("/unlock", password=PASSWORD, next="/devices").headers["location"] == "/devices"
    assert browser.secret != before
    assert sessions.look(house.services, before) is None
    assert browser.get("/devices").status_code == 200
    assert [len(audited(house, action)) for action in ("session.locked", "session.unlocked")] == [1, 1]


def test_what_a_page_asks_by_itself_keeps_nobody_awake(house, browser):
    settle(house, browser, "zhang")
    for _ in range(4):
        house.clock.advance(timedelta(minutes=4))
        browser.get("/devices", **{"X-Quiet": "1"})
    assert browser.get("/devices").status_code == 303
    assert browser.place("/unlock") == "/"


def be_busy(house: House, browser: Browser, hours: int = 12) -> None:
    """Work at the desk without a pause until so many hours after signing in."""
    for _ in range(6 * hours - 1):
        house.clock.advance(timedelta(minutes=10))
        assert browser.get("/devices").status_code == 200
    house.clock.advance(timedelta(minutes=10))


def test_after_twelve_hours_the_desk_locks_however_busy_and_goes_on_ticking(house, browser):
    settle(house, browser, "zhang")
    be_busy(house, browser)
    assert browser.place() == "/"
    page = browser.get("/").text
    assert "本次登录已满 12 小时" in page
    assert 'id="board"' in page
    assert 'name="code"' not in page
    session = sessions.look(house.services, browser.secret)
    assert session is not None
    assert (session.stage.value, session.spent, set(session.actor.permissions)) == ("locked", True, {"read"})
    assert "limit" in audited(house, "session.locked")[-1].payload
    before, old = browser.secret, session.id
    opened = browser.post("/unlock", password=PASSWORD, next="/devices")
    assert opened.headers["location"] == "/devices"
    assert sessions.look(house.services, before) is None
    renewed = sessions.look(house.services, browser.secret)
    assert renewed is not None
    assert (renewed.id != old, renewed.opened_at) == (True, house.clock())
    assert "上次登录" in browser.get("/devices").text
    be_busy(house, browser)
    assert browser.place() == "/", "and after another twelve hours again"


def test_after_twelve_hours_the_second_factor_is_asked_for_as_well(house, browser):
    settle(house, browser, "wang")
    totp, codes = enrol(house, browser)
    be_busy(house, browser)
    page = browser.get("/").text
    assert 'name="code"' in page
    without = browser.post("/unlock", password=PASSWORD)
    assert without.status_code == 401
    assert sessions.CODE_NEEDED in without.text
    guessed = browser.post("/unlock", password="wrong")
    assert sessions.CODE_NEEDED in guessed.text, "without a code nothing is said about the password"
    assert browser.post("/unlock", password=PASSWORD, code="000000").status_code == 401
    assert browser.post("/unlock", password="wrong", code=codes[0]).status_code == 401
    assert browser.place("/devices") == "/"
    assert browser.post("/unlock", password=PASSWORD, code=totp.at(house.clock())).status_code == 303
    assert browser.place("/devices") == "/devices"
    be_busy(house, browser)
    browser.get("/")
    assert browser.post("/unlock", password=PASSWORD, code=codes[0]).status_code == 303, "not spent by a wrong password"
    assert len(audited(house, "second_factor.recovery_used")) == 1


def test_within_twelve_hours_the_password_alone_unlocks(house, browser):
    settle(house, browser, "wang")
    enrol(house, browser)
    house.clock.advance(timedelta(minutes=20))
    page = browser.get("/").text
    assert 'name="code"' not in page
    assert browser.post("/unlock", password=PASSWORD).status_code == 303
    house.clock.advance(timedelta(hours=11, minutes=39))
    assert 'name="code"' not in browser.get("/").text
    house.clock.advance(timedelta(minutes=1))
    assert 'name="code"' in browser.get("/").text, "unlocking does not make the sign-in any younger"


def test_the_alarm_view_itself_is_over_a_day_after_the_limit(house, browser):
    settle(house, browser, "zhang")
    house.clock.advance(timedelta(hours=36) - timedelta(seconds=1))
    for _ in range(3):  # looking at it makes it no longer
        assert "本次登录已满 12 小时" in browser.get("/").text
    house.clock.advance(timedelta(seconds=1))
    assert browser.place("/") == "/login"


@pytest.mark.parametrize("how", ["revoke", "sign-out", "reset", "second-factor", "closed"])
def test_a_spent_desk_ends_with_what_ends_any(house, browser, how):
    from huiying.service import people

    settle(house, browser, "zhang")
    be_busy(house, browser)
    browser.get("/")
    session = sessions.look(house.services, browser.secret)
    assert session is not None
    if how == "revoke":
        sessions.revoke(house.services, OPERATOR, session.id)
    elif how == "sign-out":
        browser.post("/logout")
    elif how == "reset":
        accounts.reset_password(house.services, OPERATOR, "zhang")
    elif how == "second-factor":
        accounts.reset_second_factor(house.services, OPERATOR, "zhang")
    else:
        people.edit_person(house.services, OPERATOR, "zhang", active=False)
    assert browser.place("/") == "/login"


def test_a_half_finished_sign_in_is_no_alarm_view(house, browser):
    browser.sign_in("zhang", new_one_time(house, "zhang"))
    for _ in range(72):
        assert browser.place("/password") == "/password"
        house.clock.advance(timedelta(minutes=10))
    assert browser.place("/password") == "/login"


def test_who_looks_at_no_clocks_unlocks_on_a_page_of_its_own(house, browser):
    settle(house, browser, "boss")
    enrol(house, browser)
    house.clock.advance(timedelta(minutes=20))
    assert browser.place("/admin") == "/unlock"
    assert browser.post("/unlock", password=PASSWORD, next="/admin").headers["location"] == "/admin"


def test_what_is_done_at_a_page_keeps_the_desk_awake_and_what_it_asks_by_itself_does_not(house, browser):
    settle(house, browser, "zhang")
    browser.get("/devices")
    for _ in range(4):
        house.clock.advance(timedelta(minutes=10))
        assert browser.post("/live/awake").json()["stage"] == "open"
    assert browser.post("/live/awake", csrf="x" * 32).status_code == 403
    house.clock.advance(timedelta(minutes=8))
    assert browser.client.get("/live/state?auto=1", headers=HERE).json()["stage"] == "open"
    house.clock.advance(timedelta(minutes=8))
    assert browser.client.get("/live/state?auto=1", headers=HERE).json()["stage"] == "locked"
    assert browser.post("/live/awake").json()["stage"] == "locked", "and opens nothing"


def test_without_a_script_the_refreshing_page_keeps_nobody_awake(house, browser):
    settle(house, browser, "zhang")
    page = browser.get("/?state=four").text
    found = re.search(r'<noscript><meta http-equiv="refresh" content="60;url=([^"]+)">', page)
    assert found is not None
    address = found.group(1).replace("&amp;", "&")
    assert address == "/?auto=1&state=four"
    for _ in range(4):
        house.clock.advance(timedelta(minutes=4))
        page = browser.get(address).text
    assert "本席位已锁定" in page


def test_a_half_finished_sign_in_ends_by_itself(house, browser):
    browser.sign_in("zhang", new_one_time(house, "zhang"))
    house.clock.advance(timedelta(minutes=15))
    assert browser.place("/password") == "/login"


def test_a_desk_is_locked_by_hand(house, browser):
    settle(house, browser, "zhang")
    browser.get("/devices")
    assert browser.post("/lock").headers["location"] == "/"
    assert browser.place("/devices") == "/"
    assert 'id="board"' in browser.get("/").text, "the clocks stay in sight"


# -- ending ------------------------------------------------------------------------------------------------------------


def test_signing_out_ends_the_session_on_the_server(house, browser):
    settle(house, browser, "zhang")
    secret = browser.secret
    browser.get("/devices")
    assert browser.post("/logout").headers["location"] == "/login"
    assert browser.secret == ""
    assert sessions.look(house.services, secret) is None


def test_a_revoked_session_is_refused_at_once(house, browser, second_browser):
    settle(house, browser, "zhang")
    second_browser.sign_in("zhang")
    assert second_browser.place() == "/devices"
    page = browser.get("/devices").text
    mine = sessions.look(house.services, browser.secret)
    other = sessions.look(house.services, second_browser.secret)
    assert mine is not None
    assert other is not None
    assert other.id in page
    assert browser.post(f"/devices/{other.id}/revoke").status_code == 303
    assert second_browser.place() == "/login"
    assert browser.place() == "/devices"
    assert audited(house, "session.revoked")[0].subject == "person:zhang"


def test_nobody_ends_a_stranger_s_session(house, browser, second_browser):
    settle(house, browser, "zhang")
    settle(house, second_browser, "zhao")
    theirs = sessions.look(house.services, second_browser.secret)
    assert theirs is not None
    browser.get("/devices")
    assert browser.post(f"/devices/{theirs.id}/revoke").status_code == 404
    assert second_browser.place() == "/devices"


def test_a_new_password_ends_the_other_sessions(house, browser, second_browser):
    settle(house, browser, "zhang")
    second_browser.sign_in("zhang")
    browser.get("/password")
    wrong = browser.post("/password", old_password="wrong", new_password=OTHER, again_password=OTHER)
    assert wrong.status_code == 401
    same = browser.post("/password", old_password=PASSWORD, new_password=PASSWORD, again_password=PASSWORD)
    assert (same.status_code, "最近 5 次" in same.text) == (422, True)
    uneven = browser.post("/password", old_password=PASSWORD, new_password=OTHER, again_password=OTHER + "x")
    assert (uneven.status_code, "不一致" in uneven.text) == (422, True)
    weak = browser.post("/password", old_password=PASSWORD, new_password="Zhang-2026!", again_password="Zhang-2026!")
    assert (weak.status_code, "编号或姓名" in weak.text) == (422, True)
    done = browser.post("/password", old_password=PASSWORD, new_password=OTHER, again_password=OTHER)
    assert done.headers["location"] == "/devices"
    assert browser.place() == "/devices"
    assert second_browser.place() == "/login"
    assert second_browser.sign_in("zhang", PASSWORD).status_code == 401
    assert second_browser.sign_in("zhang", OTHER).status_code == 303


def test_five_passwords_are_remembered(house, browser):
    words = [f"Lake-{n}-lantern-Q" for n in range(6)]
    settle(house, browser, "zhang", words[0])
    for old, new in pairwise(words):
        browser.get("/password")
        assert browser.post("/password", old_password=old, new_password=new, again_password=new).status_code == 303
    browser.get("/password")
    again = {"old_password": words[5], "new_password": words[1], "again_password": words[1]}
    assert browser.post("/password", **again).status_code == 422
    again |= {"new_password": words[0], "again_password": words[0]}
    assert browser.post("/password", **again).status_code == 303


def test_a_removed_person_is_out_at_the_next_request(house, browser):
    from huiying.service import people

    settle(house, browser, "zhang")
    people.edit_person(house.services, OPERATOR, "zhang", active=False)
    assert browser.place() == "/login"
    people.edit_person(house.services, OPERATOR, "zhang", active=True)
    assert browser.place() == "/login"


def test_a_reset_by_the_administrator_ends_password_sessions_and_tokens(house, browser):
    settle(house, browser, "zhang")
    assert tokens.authenticate(house.services, house.tokens["zhang"]).person_id == "zhang"
    one_time = accounts.reset_password(house.services, OPERATOR, "zhang")["password"]
    assert browser.place() == "/login"
    assert browser.sign_in("zhang").status_code == 401
    assert browser.sign_in("zhang", one_time).headers["location"] == "/password"
    with pytest.raises(NotAuthenticated):
        tokens.authenticate(house.services, house.tokens["zhang"])


def test_a_second_sign_in_in_the_same_browser_ends_the_first(house, browser):
    settle(house, browser, "zhang")
    first = browser.secret
    sessions_before = browser.get("/devices").text
    assert browser.post("/login", name="zhang", password=PASSWORD).status_code == 303
    assert browser.secret != first
    assert sessions.look(house.services, first) is None
    assert "本机" in sessions_before


# -- forms from elsewhere ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/logout", "/lock", "/password", "/unlock", "/devices/x/revoke", "/second", "/enrol"])
def test_forms_without_token_or_from_elsewhere_are_refused(house, browser, path):
    settle(house, browser, "zhang")
    browser.get("/devices")
    assert browser.post(path, csrf="").status_code == 403
    assert browser.post(path, csrf="x" * 32).status_code == 403
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ):
        browser.get("/devices")
        assert browser.post(path, headers).status_code == 403
    assert browser.place() == "/devices"


def test_signing_in_from_a_foreign_page_is_refused(house, browser):
    settle(house, browser, "zhang")
    browser.sign_out()
    foreign = browser.post("/login", {"Sec-Fetch-Site": "cross-site"}, name="zhang", password=PASSWORD)
    assert foreign.status_code == 403
    assert browser.secret == ""


def test_no_address_and_no_cookie_of_a_browser_makes_an_internal_failure(house, browser):
    settle(house, browser, "zhang")
    browser.get("/devices")
    switched = browser.post("/language", {**HERE, "HX-Request": "true"}, language="zh", to="/事\t?x=\r\nY: 1")
    assert (switched.status_code, switched.headers["hx-redirect"]) == (200, "/%E4%BA%8B?x=Y:%201")
    deep = base64.urlsafe_b64encode(b"[" * 3000).decode()
    assert browser.get("/devices", cookie=f"hy_session={browser.secret}; hy_flash={deep}").status_code == 200


# -- the command line, afterwards --------------------------------------------------------------------------------------


def test_after_the_first_sign_in_the_own_password_and_a_code_make_a_token(house, browser):
    settle(house, browser, "boss")
    totp, _ = enrol(house, browser)
    house.clock.advance(timedelta(minutes=1))
    code = totp.at(house.clock())
    made = tokens.exchange_password(house.services, "boss", PASSWORD, code=code)
    assert tokens.authenticate(house.services, made["token"]).person_id == "boss"
    browser.sign_out()
    assert browser.sign_in("boss").headers["location"] == "/second", "and the password is still the desk's"


# -- the wall ----------------------------------------------------------------------------------------------------------


def test_a_wall_reads_one_unit_never_locks_and_ends_with_its_token(house, browser):
    actor = tokens.authenticate(house.services, house.tokens["zhang"])
    made = tokens.exchange_password(
        house.services, "zhang", new_one_time(house, "zhang"), name="大屏", scopes=["read"], days=30
    )
    browser.get("/login")
    assert browser.post("/login/wall", token=house.tokens["zhang"]).status_code == 403
    assert browser.post("/login/wall", token="hy_wrong").status_code == 401
    settle(house, browser, "zhang")
    before = browser.secret
    browser.get("/devices")
    assert browser.post("/login/wall", token=made["token"]).headers["location"] == "/wall"
    assert sessions.look(house.services, before) is None
    house.clock.advance(timedelta(days=3))
    session = sessions.look(house.services, browser.secret)
    assert session is not None
    assert (session.stage, session.read_only) == ("open", True)
    assert session.actor.permissions == {"read"}
    assert session.actor.units == frozenset({"office"})
    for path in ("/password", "/enrol", "/devices"):
        assert browser.get(path).status_code == 403
    tokens.revoke_token(house.services, actor, made["id"])
    assert sessions.look(house.services, browser.secret) is None


# -- resets by somebody else -------------------------------------------------------------------------------------------


def test_after_a_reset_the_sign_in_says_who_did_it_and_the_inbox_keeps_it(house, browser):
    settle(house, browser, "zhang")
    browser.sign_out()
    house.clock.advance(timedelta(hours=1))
    password = accounts.reset_password(house.services, OPERATOR, "zhang")["password"]
    house.clock.advance(timedelta(hours=1))
    browser.sign_in("zhang", password)
    browser.get("/password")
    browser.post("/password", new_password=OTHER, again_password=OTHER)
    page = browser.get("/devices").text
    assert "此后 服务器本机命令行 于 2025年6月2日 星期一 10:00 重置了登录密码。" in page
    assert "重置了登录密码" in browser.get("/inbox").text


def test_one_administrators_token_does_not_reset_both_factors(house, app, browser):
    settle(house, browser, "wang")
    enrol(house, browser)
    actor = tokens.authenticate(house.services, house.tokens["boss"])
    accounts.reset_second_factor(house.services, actor, "wang")
    with TestClient(app) as client:
        seat = take_seat(house.services, client, "boss")
        page = seat.post("/admin/people/wang/password")
    assert page.status_code == 403
    assert "同一人不得经手两项" in page.text
    assert "目前没有其他管理员可以办理" in page.text
    assert 'class="secret"' not in page.text


# -- browsers that are known -------------------------------------------------------------------------------------------


def set_cookies(response: httpx.Response) -> list[str]:
    return [line for line in response.headers.get_list("set-cookie") if line.startswith("hy_device=")]


def test_a_known_browser_is_not_locked_out_and_a_strange_one_is(house, browser, second_browser):
    settle(house, browser, "zhang")
    browser.sign_out()
    for _ in range(5):
        second_browser.sign_in("zhang", "wrong")
    assert second_browser.sign_in("zhang").status_code == 429
    assert browser.sign_in("zhang").status_code == 303
    assert "个浏览器记得您曾登录" in browser.get("/devices").text


def test_the_mark_is_a_cookie_for_the_door_alone_and_comes_after_the_whole_sign_in(house, app):
    with TestClient(app, base_url="https://desk.example", follow_redirects=False) as client:
        seat = Browser(client)
        started = seat.sign_in("zhang", new_one_time(house, "zhang"))
        assert set_cookies(started) == []
        seat.get("/password")
        (given,) = set_cookies(seat.post("/password", new_password=PASSWORD, again_password=PASSWORD))
    for word in ("; httponly", "; path=/login", "; samesite=lax", "; secure", "; max-age=7776000"):
        assert word in given.lower(), word


def test_going_away_keeps_the_browser_known_and_clearing_does_not(house, browser, second_browser):
    settle(house, browser, "zhang")
    session = sessions.look(house.services, browser.secret)
    assert session is not None
    browser.get("/devices")
    assert browser.post(f"/devices/{session.id}/revoke").headers["location"] == "/login"
    for _ in range(5):
        second_browser.sign_in("zhang", "wrong")
    assert browser.sign_in("zhang").status_code == 303
    browser.get("/devices")
    assert browser.post("/devices/forget").status_code == 303
    assert "个浏览器记得" not in browser.get("/devices").text
    browser.sign_out()
    assert browser.sign_in("zhang").status_code == 429
    assert len(audited(house, "session.marks_forgotten")) == 1


# -- one's own tokens ----------------------------------------------------------------------------------------------------


def test_a_wall_token_is_made_on_the_desk_shown_once_and_revoked_there(house, browser, second_browser):
    settle(house, browser, "zhang")
    browser.get("/devices")
    page = browser.post("/devices/wall-tokens", name="指挥中心大屏", days="30")
    assert page.status_code == 200
    assert "no-store" in page.headers["cache-control"]
    address = re.search(r'<code class="secret">(https://desk\.example/wall\?token=hy_[\w-]+)</code>', page.text)
    assert address is not None
    place = address.group(1).removeprefix("https://desk.example")
    listed = browser.get("/devices").text
    assert "指挥中心大屏" in listed
    assert place.partition("=")[2] not in listed

    opened = second_browser.get(place)
    assert (opened.status_code, opened.headers["location"]) == (303, "/wall")
    assert second_browser.get("/wall").status_code == 200
    (made,) = [row for row in tokens.list_tokens(house.services, OPERATOR, "zhang") if row["name"] == "指挥中心大屏"]
    assert made["scopes"] == ["read"]
    browser.get("/devices")
    assert browser.post(f"/devices/tokens/{made['id']}/revoke").status_code == 303
    gone = second_browser.get("/wall")
    assert gone.status_code == 403
    assert "我的登录" in gone.text
    assert "指挥中心大屏" not in browser.get("/devices").text


def test_only_who_may_read_makes_a_wall_and_only_ones_own_tokens_are_ended(house, browser, second_browser):
    settle(house, browser, "zhang")
    browser.get("/devices")
    wrong = browser.post("/devices/wall-tokens", name="大屏", days="999")
    assert wrong.status_code == 422
    assert 'value="999"' in wrong.text
    (others, *_) = tokens.list_tokens(house.services, OPERATOR, "wang")
    assert browser.post(f"/devices/tokens/{others['id']}/revoke").status_code == 404
    assert tokens.authenticate(house.services, house.tokens["wang"]).person_id == "wang"

    settle(house, second_browser, "boss")
    enrol(house, second_browser)
    page = second_browser.get("/devices").text
    assert "/devices/wall-tokens" not in page
    assert second_browser.post("/devices/wall-tokens", name="大屏").status_code == 403
