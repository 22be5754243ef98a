"""Marks of browsers: a stranger who knows a name keeps its owner out nowhere, and a mark opens nothing; on both stores."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest
import sqlalchemy as sa

from huiying.domain.errors import NotAuthenticated
from huiying.domain.signing import Stage
from huiying.service import accounts, device_marks, hashing, lockout, oidc, people, roster_admin, sessions
from huiying.service.services import Services
from huiying.service.sessions import Session
from huiying.store import tables as t
from huiying.store.db import Store
from tests.fakes.clock import FakeClock
from tests.fakes.house import OPERATOR, cheap_passwords, furnish, make_services

__all__ = ["cheap_passwords"]

pytestmark = pytest.mark.usefixtures("cheap_passwords")
PASSWORD, HERE, ELSEWHERE = "Lake-7-lantern", "10.1.2.3", "10.9.9.9"


@pytest.fixture
def services(store: Store, tmp_path: Path) -> Services:
    made = make_services(store, tmp_path)
    furnish(made)
    with made.store.transaction("test") as tx:
        for person_id in ("zhang", "li"):
            digest = hashing.hash_password(PASSWORD)
            tx.run(t.account.insert().values(person_id=person_id, password_hash=digest, changed_at=tx.now))
    return made


def come_in(services: Services, name: str = "zhang", mark: str = "", client: str = HERE) -> Session:
    return sessions.sign_in(services, name, PASSWORD, client, "Firefox/128.0", mark)[1]


def miss(services: Services, mark: str = "", name: str = "zhang", client: str = ELSEWHERE) -> NotAuthenticated:
    with pytest.raises(NotAuthenticated) as refused:
        sessions.sign_in(services, name, "wrong", client, mark=mark)
    return refused.value


def lock_name(services: Services, name: str = "zhang") -> None:
    """What anybody can do who knows the name."""
    for _ in range(lockout.NAME_FAILURES):
        miss(services, name=name)


def rows(services: Services, table: sa.Table) -> list[Any]:
    with services.store.reading() as tx:
        return tx.all(sa.select(table))


def entries(services: Services, action: str) -> list[Any]:
    with services.store.reading() as tx:
        return tx.all(sa.select(t.audit).where(t.audit.c.action == action))


# -- what it is for ----------------------------------------------------------------------------------------------------


def test_who_knows_the_name_keeps_its_owner_out_of_no_browser_of_theirs(services: Services):
    mark = come_in(services).mark
    lock_name(services)
    with pytest.raises(NotAuthenticated, match="已锁定"):
        come_in(services)
    assert come_in(services, mark=mark).is_open
    with pytest.raises(NotAuthenticated, match="已锁定"):  # and that has not opened the door to whoever guesses
        come_in(services, client=ELSEWHERE)


def test_the_lock_for_strangers_stands_as_before(services: Services, clock: FakeClock):
    come_in(services)
    lock_name(services)
    assert miss(services, mark="made-up").details["locked"]
    clock.advance(lockout.WINDOW)
    assert come_in(services).is_open


def test_a_shared_seat_knows_each_of_its_people(services: Services):
    first = come_in(services, "zhang").mark
    both = come_in(services, "li", first).mark
    for name in ("zhang", "li"):
        lock_name(services, name)
    both = come_in(services, "zhang", both).mark
    assert come_in(services, "li", both).is_open
    assert len({row.browser_id for row in rows(services, t.device_mark)}) == 1


# -- and what it is not ------------------------------------------------------------------------------------------------


def test_only_a_hash_is_kept(services: Services):
    mark = come_in(services).mark
    assert len(mark) >= 43
    assert mark not in str([rows(services, table) for table in (t.device_mark, t.session, t.audit)])
    assert mark not in repr(come_in(services, mark=mark))


def test_a_mark_is_one_persons_and_signs_nobody_in(services: Services):
    mark = come_in(services, "zhang").mark
    lock_name(services, "li")
    with pytest.raises(NotAuthenticated, match="已锁定"):
        come_in(services, "li", mark)
    refused = miss(services, mark, "li")
    assert refused.details["locked"]
    assert miss(services, mark, "nobody").message == sessions.REFUSED


def test_a_stolen_mark_gives_five_tries_and_no_fresh_five(services: Services, clock: FakeClock):
    mark = come_in(services).mark
    tries = [miss(services, mark).details["locked"] for _ in range(device_marks.ALLOWED)]
    assert tries == [False] * 4 + [True]
    with pytest.raises(NotAuthenticated, match="已锁定"):
        come_in(services, mark=mark, client=ELSEWHERE)  # the right one comes too late
    with pytest.raises(NotAuthenticated, match="已锁定"):
        come_in(services)  # without the mark as well: one allowance for both
    clock.advance(lockout.WINDOW)
    lock_name(services)
    with pytest.raises(NotAuthenticated, match="已锁定"):
        come_in(services, mark=mark)  # a dead mark stays dead
    assert len(entries(services, "session.mark_ended")) == 1


def test_waiting_gives_a_mark_no_further_tries(services: Services, clock: FakeClock):
    mark = come_in(services).mark
    for _ in range(device_marks.ALLOWED):
        miss(services, mark)
        clock.advance(timedelta(hours=7))
    assert rows(services, t.device_mark) == []


def test_mistyping_once_a_day_costs_nobody_the_mark(services: Services, clock: FakeClock):
    mark = come_in(services).mark
    for _ in range(3 * device_marks.ALLOWED):
        clock.advance(timedelta(days=1))
        miss(services, mark, client=HERE)
        mark = come_in(services, mark=mark).mark
    assert mark


def test_wrong_tries_at_the_mark_leave_the_names_door_alone_until_the_last(services: Services):
    mark = come_in(services).mark
    for _ in range(device_marks.ALLOWED - 1):
        miss(services, mark)
    for _ in range(lockout.NAME_FAILURES - 1):
        assert not miss(services).details["locked"]
    assert come_in(services).is_open


def test_a_copy_is_worth_nothing_after_the_next_sign_in(services: Services):
    copied = come_in(services).mark
    kept = come_in(services, mark=copied).mark
    assert kept != copied
    lock_name(services)
    with pytest.raises(NotAuthenticated, match="已锁定"):
        come_in(services, mark=copied, client=ELSEWHERE)
    assert come_in(services, mark=kept).is_open


def test_the_address_is_throttled_all_the_same(services: Services):
    mark = come_in(services).mark
    for number in range(lockout.CLIENT_FAILURES - 1):
        miss(services, name=f"nobody-{number}")
    assert not miss(services, mark).details["locked"]
    with pytest.raises(NotAuthenticated, match="网络地址"):
        come_in(services, mark=mark, client=ELSEWHERE)
    assert come_in(services, mark=mark).is_open


# -- the second factor -------------------------------------------------------------------------------------------------


def with_codes(services: Services, clock: FakeClock) -> tuple[pyotp.TOTP, str]:
    """An approver who has signed in with both factors; gives the authenticator and the browser's secret."""
    roster_admin.grant_access(services, OPERATOR, "zhang", "approver", "office")
    secret, session = sessions.sign_in(services, "zhang", PASSWORD, HERE)
    assert (session.stage, session.mark) == (Stage.ENROL, "")
    totp = pyotp.TOTP(accounts.enrolment(services, secret).secret)
    _, session, _ = accounts.enrol(services, secret, totp.at(clock()))
    assert session.mark
    clock.advance(timedelta(minutes=1))
    return totp, session.mark


def test_no_mark_before_the_second_factor_and_none_instead_of_it(services: Services, clock: FakeClock):
    totp, mark = with_codes(services, clock)
    secret, session = sessions.sign_in(services, "zhang", PASSWORD, HERE, mark=mark)
    assert (session.stage, session.mark) == (Stage.SECOND_FACTOR, "")
    lock_name(services)
    _, session = sessions.second_factor(services, secret, totp.at(clock()), HERE)  # the stranger's lock holds nobody up
    assert session.is_open
    assert session.mark not in {"", mark}


def test_password_and_code_share_the_five_of_a_mark(services: Services, clock: FakeClock):
    totp, mark = with_codes(services, clock)
    for _ in range(2):
        miss(services, mark)
    secret, _ = sessions.sign_in(services, "zhang", PASSWORD, ELSEWHERE, mark=mark)
    for _ in range(3):
        with pytest.raises(NotAuthenticated) as refused:
            sessions.second_factor(services, secret, "000000", ELSEWHERE)
    assert refused.value.details["locked"]
    with pytest.raises(NotAuthenticated, match="已锁定"):
        sessions.second_factor(services, secret, totp.at(clock()), ELSEWHERE)


def test_the_identity_provider_leads_to_the_same_mark(services: Services, clock: FakeClock):
    totp, mark = with_codes(services, clock)
    accounts.set_subject(services, OPERATOR, "zhang", "u-1")
    lock_name(services)
    secret, session = oidc.sign_in_as(services, "u-1", HERE, "", mark)
    assert session.stage is Stage.SECOND_FACTOR
    _, session = sessions.second_factor(services, secret, totp.at(clock()), HERE)
    assert session.is_open


# -- the end of a mark -------------------------------------------------------------------------------------------------


def is_known(services: Services, mark: str) -> bool:
    """Whether the browser still passes when the name is locked."""
    lock_name(services)
    try:
        return come_in(services, mark=mark).is_open
    except NotAuthenticated:
        return False


def test_a_mark_lives_for_ninety_days_from_the_last_sign_in(services: Services, clock: FakeClock):
    mark = come_in(services).mark
    clock.advance(device_marks.LIVES - timedelta(seconds=1))
    mark = come_in(services, mark=mark).mark
    clock.advance(device_marks.LIVES)
    assert not is_known(services, mark)


@pytest.mark.parametrize("ending", ["reset", "codes", "thrown out", "left", "forgotten"])
def test_what_ends_a_mark(services: Services, ending: str):
    roster_admin.grant_access(services, OPERATOR, "li", "duty", "office")
    mark = come_in(services).mark
    session = come_in(services, mark=mark)
    if ending == "reset":
        accounts.reset_password(services, OPERATOR, "zhang")
    elif ending == "codes":
        accounts.reset_second_factor(services, OPERATOR, "zhang")
    elif ending == "thrown out":
        sessions.revoke(services, OPERATOR, session.id)
    elif ending == "left":
        people.edit_person(services, OPERATOR, "zhang", active=False)
    else:
        sessions.forget_browsers(services, session)
    assert rows(services, t.device_mark) == []


def test_throwing_one_out_leaves_the_others_who_share_the_browser(services: Services):
    mark = come_in(services, "li").mark
    session = come_in(services, "zhang", mark)
    sessions.revoke(services, OPERATOR, session.id)
    assert [row.person_id for row in rows(services, t.device_mark)] == ["li"]


def test_an_own_new_password_keeps_the_mark_of_this_browser_alone(services: Services):
    come_in(services)
    secret, session = sessions.sign_in(services, "zhang", PASSWORD, HERE)
    assert len(rows(services, t.device_mark)) == 2
    accounts.change_password(services, secret, "River-8-candle", old=PASSWORD)
    (kept,) = rows(services, t.device_mark)
    (living,) = [row for row in rows(services, t.session) if row.id == session.id]
    assert kept.browser_id == living.browser_id


def test_signing_out_keeps_the_browser_known(services: Services):
    secret, session = sessions.sign_in(services, "zhang", PASSWORD, HERE)
    sessions.sign_out(services, secret)
    assert is_known(services, session.mark)


def test_nobody_collects_marks_without_end(services: Services, clock: FakeClock):
    first = come_in(services).mark
    for _ in range(device_marks.MOST):
        clock.advance(timedelta(seconds=1))
        come_in(services)
    assert len(rows(services, t.device_mark)) == device_marks.MOST
    assert not is_known(services, first)
