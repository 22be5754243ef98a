"""Two factors, two pairs of hands: no administrator alone comes to sign in as somebody else; on both stores."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest
import sqlalchemy as sa

from huiying.domain.errors import Forbidden, NotAuthenticated
from huiying.domain.plan import SHANGHAI
from huiying.domain.resets import APART_FOR, Factor, Reset, is_barred
from huiying.domain.signing import Stage
from huiying.service import accounts, hashing, inbox, people, roster_admin, sessions, tokens
from huiying.service.actor import Actor
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Store
from tests.fakes.clock import FakeClock
from tests.fakes.house import OPERATOR, cheap_passwords, furnish, make_services

__all__ = ["cheap_passwords"]

pytestmark = pytest.mark.usefixtures("cheap_passwords")
PASSWORD, HERE = "Lake-7-lantern", "10.1.2.3"
Act = Callable[[Services, Actor], Any]
ISSUE: Act = lambda services, actor: tokens.issue_password(services, actor, "wang")  # noqa: E731
RESET: Act = lambda services, actor: accounts.reset_password(services, actor, "wang")  # noqa: E731
LINK: Act = lambda services, actor: accounts.set_subject(services, actor, "wang", "u-1")  # noqa: E731
CODE: Act = lambda services, actor: accounts.reset_second_factor(services, actor, "wang")  # noqa: E731


@pytest.fixture
def services(store: Store, tmp_path: Path) -> Services:
    """An office with an approver who signs in with both factors, and two administrators."""
    made = make_services(store, tmp_path)
    furnish(made)
    for person_id, name in (("boss", "管一"), ("chief", "管二")):
        people.add_person(made, OPERATOR, person_id, name=name, unit_id="office")
        roster_admin.grant_access(made, OPERATOR, person_id, "administrator", "office")
    roster_admin.grant_access(made, OPERATOR, "wang", "approver", "office")
    with made.store.transaction("test") as tx:
        digest = hashing.hash_password(PASSWORD)
        tx.run(t.account.insert().values(person_id="wang", password_hash=digest, changed_at=tx.now))
    enrol(made, "wang")
    return made


def enrol(services: Services, person_id: str, password: str = PASSWORD) -> pyotp.TOTP:
    """Sign in and set up an authenticator; the desk is open afterwards."""
    secret, session = sessions.sign_in(services, person_id, password, HERE)
    if session.stage is Stage.PASSWORD:
        secret, session = accounts.change_password(services, secret, PASSWORD)
    assert session.stage is Stage.ENROL
    totp = pyotp.TOTP(accounts.enrolment(services, secret).secret)
    assert accounts.enrol(services, secret, totp.at(services.store.now()))[1].is_open
    return totp


def acting_as(services: Services, person_id: str) -> Actor:
    with services.store.reading() as tx:
        return tokens.person_actor(tx, person_id)


# -- the rule ----------------------------------------------------------------------------------------------------------

T0 = datetime(2026, 3, 10, 8, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("signed_in_at", "now", "barred"),
    [
        (None, T0 + 3 * APART_FOR, True),
        (T0 - SECOND, T0 + 3 * APART_FOR, True),
        (T0, T0 + 3 * APART_FOR, True),
        (T0 + SECOND, T0 + APART_FOR - SECOND, True),
        (T0 + SECOND, T0 + APART_FOR, False),
    ],
)
def test_the_bar_falls_after_72_hours_and_a_sign_in(signed_in_at, now, barred):
    done = [Reset(Factor.PASSWORD, "person:boss", T0)]
    assert is_barred(Factor.CODE, done, {"person:boss"}, signed_in_at, now) is barred
    assert not is_barred(Factor.PASSWORD, done, {"person:boss"}, signed_in_at, now)
    assert not is_barred(Factor.CODE, done, {"person:chief"}, signed_in_at, now)


@pytest.mark.parametrize("password", [ISSUE, RESET, LINK])
@pytest.mark.parametrize("code_first", [False, True])
def test_one_administrator_resets_one_factor_and_another_the_other(
    services: Services, password: Act, *, code_first: bool
):
    boss, chief = acting_as(services, "boss"), acting_as(services, "chief")
    first, second = (CODE, password) if code_first else (password, CODE)
    first(services, boss)
    with pytest.raises(Forbidden, match="同一人不得经手两项") as refused:
        second(services, boss)
    assert refused.value.details["findings"] == ["可以办理的管理员：管二。"]
    first(services, boss)  # the same factor again takes nothing more
    second(services, chief)


def test_the_bar_is_there_after_a_holiday_and_gone_after_a_sign_in(services: Services, clock: FakeClock):
    boss = acting_as(services, "boss")
    CODE(services, boss)
    clock.advance(timedelta(days=30))
    with pytest.raises(Forbidden):
        ISSUE(services, boss)
    enrol(services, "wang")
    ISSUE(services, boss)


def test_the_servers_own_command_line_may_do_both(services: Services):
    CODE(services, OPERATOR)
    RESET(services, OPERATOR)
    boss = acting_as(services, "boss")
    RESET(services, boss)  # what the command line did is nobody's doing on the desk


def test_an_administrator_of_ones_own_making_is_no_other_person(services: Services):
    boss = acting_as(services, "boss")
    people.add_person(services, boss, "puppet", name="新管理员", unit_id="office")
    roster_admin.grant_access(services, boss, "puppet", "administrator", "office")
    CODE(services, boss)
    with pytest.raises(Forbidden, match="与您相关的账号"):
        RESET(services, acting_as(services, "puppet"))
    tokens.issue_password(services, boss, "chief")  # and neither is one whose password one has just taken
    with pytest.raises(Forbidden) as refused:
        RESET(services, acting_as(services, "chief"))
    assert refused.value.details["findings"] == ["目前没有其他管理员可以办理，请在服务器本机用命令行办理。"]


@pytest.mark.parametrize("password", [ISSUE, RESET, LINK])
def test_a_puppets_reset_is_its_makers_and_siblings_are_one_hand(services: Services, clock: FakeClock, password: Act):
    boss = acting_as(services, "boss")
    for name in ("puppet", "sibling"):
        people.add_person(services, boss, name, name="新管理员", unit_id="office")
        roster_admin.grant_access(services, boss, name, "administrator", "office")
    password(services, acting_as(services, "puppet"))
    for author in ("boss", "sibling"):
        with pytest.raises(Forbidden, match="与您相关的账号"):
            CODE(services, acting_as(services, author))
    clock.advance(timedelta(days=4))
    with pytest.raises(Forbidden):  # made long ago by now, but not when it acted
        CODE(services, boss)
    CODE(services, acting_as(services, "chief"))


@pytest.mark.parametrize("password", [ISSUE, LINK])
def test_what_still_opens_the_account_bars_for_as_long_as_it_does(services: Services, clock: FakeClock, password: Act):
    boss = acting_as(services, "boss")
    password(services, boss)
    clock.advance(timedelta(days=4))
    signed_in(services, "wang")
    with pytest.raises(Forbidden):
        CODE(services, boss)
    if password is LINK:
        accounts.set_subject(services, acting_as(services, "chief"), "wang", "")
    else:
        clock.advance(timedelta(days=4))
        signed_in(services, "wang")
    CODE(services, boss)


def signed_in(services: Services, person_id: str) -> None:
    """The person has been at the desk with everything that is asked for."""
    with services.store.transaction(f"person:{person_id}") as tx:
        tx.run(t.account.update().where(t.account.c.person_id == person_id).values(last_login_at=tx.now))


def test_a_first_password_and_a_missing_authenticator_bar_nothing(services: Services):
    boss = acting_as(services, "boss")
    tokens.issue_password(services, boss, "zhao")
    assert accounts.reset_second_factor(services, boss, "zhao") == {
        "person_id": "zhao", "was_enrolled": False, "ended": 0,
    }  # fmt: skip
    tokens.issue_password(services, boss, "zhao")
    accounts.set_subject(services, boss, "zhao", "")


def test_a_refused_reset_changes_nothing(services: Services):
    boss = acting_as(services, "boss")
    CODE(services, boss)
    before = stored(services)
    for act in (ISSUE, RESET, LINK):
        with pytest.raises(Forbidden):
            act(services, boss)
    assert stored(services) == before


def stored(services: Services) -> list[Any]:
    tables = (t.account, t.one_time_password, t.recovery_code, t.inbox_message, t.audit, t.session, t.token)
    with services.store.reading() as tx:
        return [tx.all(sa.select(table)) for table in tables]


# -- a token is no way round -------------------------------------------------------------------------------------------


def test_a_one_time_password_alone_becomes_no_token_of_somebody_with_a_second_factor(
    services: Services, clock: FakeClock
):
    with services.store.transaction("test") as tx:
        tx.run(t.account.update().values(totp_step=0))
        sealed = tx.value(sa.select(t.account.c.totp_sealed))
    totp = pyotp.TOTP(services.sealer.open(sealed))
    password = ISSUE(services, acting_as(services, "boss"))["password"]
    with pytest.raises(NotAuthenticated, match="须同时提供动态口令"):
        tokens.exchange_password(services, "wang", password)
    with pytest.raises(NotAuthenticated, match="不正确"):
        tokens.exchange_password(services, "wang", password, code="000000")
    code = totp.at(clock())
    assert tokens.exchange_password(services, "wang", password, code=code)["person_id"] == "wang"
    again = ISSUE(services, acting_as(services, "boss"))["password"]
    with pytest.raises(NotAuthenticated):
        tokens.exchange_password(services, "wang", again, code=code)  # used up


def test_wrong_codes_close_the_door_of_the_exchange(services: Services, clock: FakeClock):
    password = ISSUE(services, acting_as(services, "boss"))["password"]
    for _ in range(tokens.FAILURES_ALLOWED):
        with pytest.raises(NotAuthenticated):
            tokens.exchange_password(services, "wang", password, code="000000")
    with services.store.reading() as tx:
        sealed = tx.value(sa.select(t.account.c.totp_sealed))
    right = pyotp.TOTP(services.sealer.open(sealed)).at(clock() + timedelta(seconds=30))
    with pytest.raises(NotAuthenticated):
        tokens.exchange_password(services, "wang", password, code=right)


# -- the person concerned is told --------------------------------------------------------------------------------------


def test_the_person_reads_in_the_inbox_who_did_what_and_when(services: Services, clock: FakeClock):
    wang = acting_as(services, "wang")
    assert inbox.messages(services, wang)["messages"] == []
    RESET(services, acting_as(services, "boss"))
    CODE(services, OPERATOR)
    texts = [message["text"] for message in inbox.messages(services, wang)["messages"]]
    assert any("管一于" in text and "重置了登录密码" in text for text in texts)
    assert any("服务器本机命令行于" in text and "重置了动态口令" in text for text in texts)
    assert len(texts) == 2
    assert f"{clock().astimezone(SHANGHAI):%Y-%m-%d %H:%M}" in texts[0]


def test_the_next_sign_in_knows_what_others_have_done_since(services: Services, clock: FakeClock):
    clock.advance(timedelta(hours=1))
    password = RESET(services, acting_as(services, "boss"))["password"]
    clock.advance(timedelta(minutes=1))
    CODE(services, OPERATOR)
    clock.advance(timedelta(minutes=1))
    secret, _ = sessions.sign_in(services, "wang", password, HERE)
    _, session = accounts.change_password(services, secret, "River-8-candle")
    told = sessions.resets_told(services, session)
    assert [(one.by, one.what) for one in told] == [
        ("管一", "重置了登录密码"),
        ("服务器本机命令行", "重置了动态口令和恢复码"),
    ]
    clock.advance(timedelta(hours=1))
    enrol(services, "wang", "River-8-candle")
    _, later = sessions.sign_in(services, "wang", "River-8-candle", HERE)
    assert sessions.resets_told(services, later) == []
