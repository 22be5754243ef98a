"""Sessions of the desk as the service keeps them, on SQLite and PostgreSQL, on a clock that the test moves."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pyotp
import pytest
import sqlalchemy as sa

from huiying.domain.errors import NotAuthenticated
from huiying.domain.signing import Stage
from huiying.service import accounts, hashing, roster_admin, sessions, tokens
from huiying.service.audit import verify
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Store
from tests.fakes.house import OPERATOR, cheap_passwords, furnish, make_services

__all__ = ["cheap_passwords"]

pytestmark = pytest.mark.usefixtures("cheap_passwords")
PASSWORD = "Lake-7-lantern"
HERE = "10.1.2.3"


@pytest.fixture
def services(store: Store, tmp_path: Path) -> Services:
    made = make_services(store, tmp_path)
    furnish(made)
    return made


def give_password(services: Services, person_id: str, password: str = PASSWORD) -> None:
    with services.store.transaction("test") as tx:
        row = {"person_id": person_id, "password_hash": hashing.hash_password(password), "changed_at": tx.now}
        tx.run(t.account.insert().values(**row))


def actions(services: Services) -> list[str]:
    with services.store.reading() as tx:
        return [row.action for row in tx.all(sa.select(t.audit.c.action).order_by(t.audit.c.seq))]


def test_signing_in_looking_and_signing_out(services):
    give_password(services, "zhang")
    secret, session = sessions.sign_in(services, "zhang", PASSWORD, HERE, "Firefox")
    assert session.stage is Stage.OPEN
    assert sessions.look(services, secret) == session
    sessions.sign_out(services, secret)
    assert sessions.look(services, secret) is None
    assert actions(services)[-3:] == ["session.started", "session.opened", "session.closed"]


def test_wrong_passwords_and_unknown_names_are_answered_alike(services):
    give_password(services, "zhang")
    said = []
    for name in ("zhang", "nobody"):
        for _ in range(6):
            with pytest.raises(NotAuthenticated) as refused:
                sessions.sign_in(services, name, "wrong", HERE)
            said.append(refused.value.message)
    assert said[:6] == said[6:]
    assert said[3] == sessions.REFUSED
    assert "锁定。请在 15 分钟后再试" in said[5]


def test_a_one_time_password_leads_to_a_new_password(services):
    password = tokens.issue_password(services, OPERATOR, "zhang")["password"]
    _, session = sessions.sign_in(services, "zhang", password, HERE)
    assert session.stage is Stage.PASSWORD
    assert session.actor.permissions == frozenset()


def test_the_whole_life_of_an_approver_s_session(services, clock):
    roster_admin.grant_access(services, OPERATOR, "wang", "approver", "office")
    password = tokens.issue_password(services, OPERATOR, "wang")["password"]
    first, session = sessions.sign_in(services, "wang", password, HERE)
    second, session = accounts.change_password(services, first, PASSWORD)
    assert (session.stage, sessions.look(services, first)) == (Stage.ENROL, None)
    totp = pyotp.TOTP(accounts.enrolment(services, second).secret)
    third, session, codes = accounts.enrol(services, second, totp.at(clock()))
    assert (session.stage, len(codes)) == (Stage.OPEN, 10)
    clock.advance(timedelta(minutes=15))
    locked = sessions.look(services, third)
    assert locked is not None
    assert locked.stage is Stage.LOCKED
    fourth, session = sessions.unlock(services, third, PASSWORD, HERE)
    assert session.actor.permissions >= {"approve"}
    fifth, session = sessions.sign_in(services, "wang", PASSWORD, HERE)
    sixth, session = sessions.second_factor(services, fifth, codes[0])
    assert session.stage is Stage.OPEN
    assert [row["stage"] for row in sessions.list_sessions(services, session.actor)] == ["open", "open"]
    sessions.revoke(services, session.actor, session.id)
    assert sessions.look(services, sixth) is None
    assert sessions.look(services, fourth) is not None
    accounts.reset_second_factor(services, OPERATOR, "wang")
    assert sessions.look(services, fourth) is None
    assert verify(services.store).ok


def test_two_right_answers_with_one_code_at_once_open_one_desk(services, clock):
    """The step of a code is used up under a lock, whoever comes first."""
    roster_admin.grant_access(services, OPERATOR, "wang", "approver", "office")
    give_password(services, "wang")
    secret, _ = sessions.sign_in(services, "wang", PASSWORD, HERE)
    totp = pyotp.TOTP(accounts.enrolment(services, secret).secret)
    accounts.enrol(services, secret, totp.at(clock()))
    clock.advance(timedelta(minutes=1))
    waiting = [sessions.sign_in(services, "wang", PASSWORD, HERE)[0] for _ in range(4)]
    opened: list[str] = []

    def answer(secret: str) -> None:
        try:
            opened.append(sessions.second_factor(services, secret, totp.at(clock()))[1].stage)
        except NotAuthenticated as refused:
            opened.append(refused.message)

    threads = [threading.Thread(target=answer, args=(secret,)) for secret in waiting]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(opened) == sorted([Stage.OPEN.value, *[sessions.REFUSED_CODE] * 3])


def test_failures_at_once_are_all_counted(services):
    give_password(services, "zhang")

    def guess() -> None:
        with pytest.raises(NotAuthenticated):
            sessions.sign_in(services, "zhang", "wrong", HERE)

    threads = [threading.Thread(target=guess) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert actions(services).count("session.name_locked") == 1
    assert actions(services).count("session.refused") == 8
    with pytest.raises(NotAuthenticated):
        sessions.sign_in(services, "zhang", PASSWORD, HERE)


@pytest.mark.parametrize("typed", ["session {}", "desk:{}", "desk {}", "{}"])
def test_no_text_typed_as_a_name_closes_the_door_of_a_locked_desk(services, typed):
    give_password(services, "zhang")
    secret, session = sessions.sign_in(services, "zhang", PASSWORD, HERE)
    sessions.lock(services, secret)
    for _ in range(5):
        with pytest.raises(NotAuthenticated):
            sessions.sign_in(services, typed.format(session.id), "wrong", "10.9.9.9")
    _, session = sessions.unlock(services, secret, PASSWORD, HERE)
    assert session.stage is Stage.OPEN


def test_the_door_of_a_desk_closes_after_five_wrong_passwords_and_for_this_desk_alone(services):
    give_password(services, "zhang")
    secrets = [sessions.sign_in(services, "zhang", PASSWORD, HERE)[0] for _ in range(2)]
    for secret in secrets:
        sessions.lock(services, secret)
    for _ in range(5):
        with pytest.raises(NotAuthenticated):
            sessions.unlock(services, secrets[0], "wrong", HERE)
    with pytest.raises(NotAuthenticated, match="本席位暂不能解锁。请在 15 分钟后再试"):
        sessions.unlock(services, secrets[0], PASSWORD, HERE)
    assert sessions.unlock(services, secrets[1], PASSWORD, HERE)[1].stage is Stage.OPEN
    assert sessions.sign_in(services, "zhang", PASSWORD, HERE)[1].stage is Stage.OPEN


def test_an_old_password_is_renewed_where_the_installation_wants_it(store, tmp_path, clock):
    services = make_services(store, tmp_path, password_max_days=90)
    furnish(services)
    give_password(services, "zhang")
    clock.advance(timedelta(days=90))
    secret, session = sessions.sign_in(services, "zhang", PASSWORD, HERE)
    assert session.stage is Stage.PASSWORD
    _, session = accounts.change_password(services, secret, "River-8-candle")
    assert session.stage is Stage.OPEN
    clock.advance(timedelta(days=89))
    assert sessions.sign_in(services, "zhang", "River-8-candle", HERE)[1].stage is Stage.OPEN


def test_everybody_shows_a_second_factor_where_the_installation_wants_it(store, tmp_path):
    services = make_services(store, tmp_path, second_factor_for_all=True)
    furnish(services)
    give_password(services, "zhang")
    assert sessions.sign_in(services, "zhang", PASSWORD, HERE)[1].stage is Stage.ENROL
