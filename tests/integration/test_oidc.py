"""Signing in through an identity provider: a real little one on this machine, right and spoiled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import requests
from joserfc.jwk import RSAKey
from starlette.testclient import TestClient

from config.settings import load_settings
from huiying.domain.errors import Conflict, InvalidInput, Unavailable
from huiying.service import accounts, oidc, sessions
from huiying.web.app import create_app
from huiying.web.guard import Throttle
from huiying.web.pages import oidc as page
from tests.fakes.clock import FakeClock
from tests.fakes.house import OPERATOR, House, house_template, open_house
from tests.fakes.oidc import CLIENT_ID, CLIENT_SECRET, Provider

__all__ = ["house_template"]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(FakeClock()) as made:
        yield made


@pytest.fixture
def house(house_template: Path, tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("TEST_OIDC_SECRET", CLIENT_SECRET)
    settings: dict[str, Any] = {
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": "env:TEST_OIDC_SECRET",
        "public_url": "",
    }
    made = open_house(house_template, tmp_path / "house", **settings)
    provider.clock = made.clock
    accounts.set_subject(made.services, OPERATOR, "zhang", "u-1001")
    yield made
    made.services.store.close()


@pytest.fixture
def browser(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(page, "ATTEMPTS", Throttle(1000))
    with TestClient(create_app(house.services), follow_redirects=False) as client:
        yield client


def at_provider(browser: TestClient, wanted: str = "/devices") -> str:
    """What the provider gives the browser to bring back: path and query of our own address."""
    there = browser.get("/login/oidc", params={"next": wanted})
    assert there.status_code == 303, there.text
    back = requests.get(there.headers["location"], allow_redirects=False, timeout=10).headers["location"]
    parts = urlsplit(back)
    assert parts.path == oidc.CALLBACK
    return f"{parts.path}?{parts.query}"


def sign_in(browser: TestClient) -> httpx.Response:
    return browser.get(at_provider(browser))


def refused(response: httpx.Response, status: int, sentence: str) -> None:
    assert response.status_code == status
    assert sentence in response.text
    assert "hy_session" not in response.headers.get("set-cookie", "")


def test_there_and_back(house, browser):
    assert "用统一身份登录" in browser.get("/login").text
    answer = sign_in(browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/devices")
    session = sessions.look(house.services, browser.cookies["hy_session"])
    assert session is not None
    assert (session.person_id, session.stage) == ("zhang", "open")
    assert "hy_oidc" not in browser.cookies


def test_the_address_to_come_back_to_is_the_configured_one(house_template, tmp_path, provider, monkeypatch):
    monkeypatch.setattr(page, "ATTEMPTS", Throttle(1000))
    monkeypatch.setenv("TEST_OIDC_SECRET", CLIENT_SECRET)
    made = open_house(
        house_template,
        tmp_path / "own",
        oidc_issuer=provider.issuer,
        oidc_client_id=CLIENT_ID,
        oidc_client_secret="env:TEST_OIDC_SECRET",
        public_url="https://desk.example",
    )
    with TestClient(create_app(made.services), follow_redirects=False) as client:
        there = client.get("/login/oidc", headers={"Host": "evil.example"}).headers["location"]
    assert "redirect_uri=https%3A%2F%2Fdesk.example%2Flogin%2Foidc%2Fback" in there


def test_what_a_role_needs_it_needs_here_too(house, browser):
    accounts.set_subject(house.services, OPERATOR, "zhang", "")
    accounts.set_subject(house.services, OPERATOR, "boss", "u-1001")
    assert sign_in(browser).headers["location"] == "/enrol?next=%2Fdevices"


def test_nobody_is_made_or_guessed(house, browser, provider):
    for subject in ("u-9999", "zhang", "boss", ""):
        provider.subject = subject
        refused(sign_in(browser), 401, oidc.UNKNOWN)


def test_a_person_who_has_left_stays_out(house, browser):
    from huiying.service import people

    people.edit_person(house.services, OPERATOR, "zhang", active=False)
    refused(sign_in(browser), 401, oidc.UNKNOWN)


def test_one_identity_is_one_person(house):
    with pytest.raises(Conflict):
        accounts.set_subject(house.services, OPERATOR, "zhao", "u-1001")


@pytest.mark.parametrize(
    "spoil",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"nonce": "another"},
        {"nonce": None},
        {"exp": 1},
        {"exp": None},
        {"azp": "another"},
    ],
    ids=str,
)
def test_a_token_that_is_not_for_us_now_is_refused(house, browser, provider, spoil):
    provider.spoil = spoil
    refused(sign_in(browser), 401, oidc.REFUSED)
    assert provider.tokens_given == 1


def test_a_signature_by_another_key_is_refused(house, browser, provider):
    provider.key = RSAKey.generate_key(2048, {"kid": "one"})
    refused(sign_in(browser), 401, oidc.REFUSED)


def test_a_signature_that_anybody_could_make_is_refused(house, browser, provider):
    from joserfc.jwk import OctKey

    provider.key, provider.algorithm = OctKey.import_key(CLIENT_SECRET * 2), "HS256"
    refused(sign_in(browser), 401, oidc.REFUSED)


def test_a_code_works_once_and_only_in_the_browser_that_left(house, browser, provider):
    back = at_provider(browser)
    with TestClient(browser.app, follow_redirects=False) as another:
        refused(another.get(back), 401, oidc.EXPIRED)
    refused(browser.get(back.replace("state=", "state=x")), 401, oidc.EXPIRED)
    refused(browser.get(back), 401, oidc.EXPIRED)
    back = at_provider(browser)
    provider.codes.clear()
    refused(browser.get(back), 401, oidc.REFUSED)


def test_who_takes_too_long_begins_anew(house, browser):
    back = at_provider(browser)
    house.clock.advance(timedelta(minutes=10, seconds=1))
    refused(browser.get(back), 401, oidc.EXPIRED)


def test_a_provider_that_is_away_or_calls_itself_otherwise_leaves_the_local_door(house, browser, provider):
    provider.issuer_said = "https://other.example"
    refused(browser.get("/login/oidc"), 503, oidc.DOWN)
    provider.issuer_said = ""
    back = at_provider(browser)
    provider.__exit__()
    answer = browser.get(back)
    refused(answer, 503, oidc.DOWN)
    assert 'name="password"' in answer.text


def test_a_provider_that_keeps_people_waiting_leaves_the_local_door_open(house, browser, monkeypatch):
    reached, release = threading.Semaphore(0), threading.Event()

    def wait(*_given: Any) -> None:
        reached.release()
        assert release.wait(60)
        raise Unavailable(oidc.DOWN)

    monkeypatch.setattr(oidc, "depart", wait)
    waiting = [threading.Thread(target=browser.get, args=("/login/oidc",), daemon=True) for _ in range(3)]
    for one in waiting:
        one.start()
    assert all(reached.acquire(timeout=60) for _ in waiting)
    answers: list[int] = []
    local = threading.Thread(
        target=lambda: answers.append(browser.post("/login", data={"name": "zhang", "password": "x"}).status_code),
        daemon=True,
    )
    local.start()
    local.join(20)
    before_release = list(answers)
    release.set()
    for one in [*waiting, local]:
        one.join(60)
    assert before_release == [401]


def test_coming_back_is_an_attempt_too(house, browser, monkeypatch):
    monkeypatch.setattr(page, "ATTEMPTS", Throttle(2))
    back = at_provider(browser)
    assert browser.get(f"{oidc.CALLBACK}?code=x&state=y").status_code != 429
    assert browser.get(back).status_code == 429


def test_without_a_provider_there_is_no_such_door(house_template, tmp_path):
    made = open_house(house_template, tmp_path / "plain")
    with TestClient(create_app(made.services), follow_redirects=False) as client:
        assert "统一身份" not in client.get("/login").text
        assert client.get("/login/oidc").status_code == 404


def test_an_issuer_without_encryption_is_refused(tmp_path):
    with pytest.raises(InvalidInput):
        load_settings(data_dir=tmp_path, oidc_issuer="http://sso.example")
