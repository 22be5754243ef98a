"""What somebody tries who means harm, or whose keyboard does: each of these once did what it should not."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from config.calendar_loader import CALENDARS_DIRECTORY
from config.loader import RULES_DIRECTORY
from huiying.domain.access import AccessRole
from huiying.domain.errors import Forbidden, HuiyingError, InvalidInput, NotAuthenticated, NotFound, Refused
from huiying.domain.kinds import Kind
from huiying.domain.signing import Stage
from huiying.service import (
    accounts,
    channels,
    dispatch,
    hashing,
    held,
    incidents,
    pack_admin,
    people,
    queries,
    roster_admin,
    rulebook,
    sessions,
    tokens,
)
from huiying.service.requests import RegisterRequest
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Store
from huiying.web.app import create_app
from tests.fakes.desk import take_seat
from tests.fakes.house import OPERATOR, acting, cheap_passwords, furnish, house_template, make_services, open_house

__all__ = ["cheap_passwords", "house_template"]

pytestmark = pytest.mark.usefixtures("cheap_passwords")
PASSWORD = "Lake-7-lantern"
HERE, ELSEWHERE = "10.1.2.3", "10.9.9.9"
PACK = min(RULES_DIRECTORY.glob("*.yaml"))
YEAR = min(CALENDARS_DIRECTORY.glob("*.yaml"))
WATER_ADMIN = acting("boss-water", AccessRole.ADMINISTRATOR, units=("water",))
WIDE = {ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"}
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


@pytest.fixture
def services(store: Store, tmp_path: Path) -> Services:
    made = make_services(store, tmp_path)
    furnish(made)
    return made


def give_password(services: Services, person_id: str, password: str = PASSWORD) -> None:
    with services.store.transaction("test") as tx:
        row = {"person_id": person_id, "password_hash": hashing.hash_password(password), "changed_at": tx.now}
        tx.run(t.account.insert().values(**row))


# -- codes and locks ---------------------------------------------------------------------------------------------------


def test_a_code_typed_in_wide_digits_is_read_and_other_scripts_are_wrong(services, clock):
    roster_admin.grant_access(services, OPERATOR, "wang", "approver", "office")
    give_password(services, "wang")
    secret, _ = sessions.sign_in(services, "wang", PASSWORD, HERE)
    totp = pyotp.TOTP(accounts.enrolment(services, secret).secret)
    with pytest.raises(InvalidInput):
        accounts.enrol(services, secret, totp.at(clock()).translate(ARABIC))
    _, session, _ = accounts.enrol(services, secret, totp.at(clock()).translate(WIDE))
    assert session.stage is Stage.OPEN


def test_wrong_sign_ins_from_elsewhere_keep_nobody_from_unlocking_the_desk_on_duty(services, clock):
    give_password(services, "zhang")
    secret, _ = sessions.sign_in(services, "zhang", PASSWORD, HERE)
    sessions.lock(services, secret)
    for _ in range(5):
        with pytest.raises(NotAuthenticated):
            sessions.sign_in(services, "zhang", "wrong", ELSEWHERE)
    secret, session = sessions.unlock(services, secret, PASSWORD, HERE)
    assert session.stage is Stage.OPEN
    with pytest.raises(NotAuthenticated, match="已锁定"):  # and unlocking has not opened the door to whoever guesses
        sessions.sign_in(services, "zhang", PASSWORD, ELSEWHERE)


def test_guessing_at_a_locked_desk_ends_after_five_and_leaves_the_other_door(services, clock):
    give_password(services, "zhang")
    secret, _ = sessions.sign_in(services, "zhang", PASSWORD, HERE)
    sessions.lock(services, secret)
    for _ in range(5):
        with pytest.raises(NotAuthenticated):
            sessions.unlock(services, secret, "wrong", HERE)
    with pytest.raises(NotAuthenticated, match="本席位暂不能解锁"):
        sessions.unlock(services, secret, PASSWORD, HERE)
    assert sessions.sign_in(services, "zhang", PASSWORD, HERE)[1].stage is Stage.OPEN
    clock.advance(timedelta(minutes=15))
    assert sessions.unlock(services, secret, PASSWORD, HERE)[1].stage is Stage.OPEN


def test_while_a_one_time_password_is_checked_others_can_write(services, monkeypatch):
    password = tokens.issue_password(services, OPERATOR, "zhang")["password"]
    real, written = hashing.matches, threading.Event()

    def write() -> None:
        with services.store.transaction("test") as tx:
            tx.audit("test.written", "test", {})
        written.set()

    def checked(given: str, digest: str | None) -> bool:
        threading.Thread(target=write, daemon=True).start()
        assert written.wait(5), "the check holds the store"
        return real(given, digest)

    monkeypatch.setattr(tokens, "matches", checked)
    assert tokens.exchange_password(services, "zhang", password)["token"].startswith(tokens.PREFIX)


def test_a_one_time_password_that_is_replaced_during_its_check_opens_nothing(services, monkeypatch):
    password = tokens.issue_password(services, OPERATOR, "zhang")["password"]
    real = hashing.matches

    def checked(given: str, digest: str | None) -> bool:
        monkeypatch.setattr(tokens, "matches", real)
        tokens.issue_password(services, OPERATOR, "zhang")
        return real(given, digest)

    monkeypatch.setattr(tokens, "matches", checked)
    with pytest.raises(NotAuthenticated):
        tokens.exchange_password(services, "zhang", password)


# -- administrators of one unit ----------------------------------------------------------------------------------------


def made_token(services: Services, person_id: str, unit_id: str) -> str:
    people.add_person(services, OPERATOR, person_id, name=person_id, unit_id=unit_id)
    roster_admin.grant_access(services, OPERATOR, person_id, "duty", unit_id)
    with services.store.transaction("test") as tx:
        return str(tokens._make(tx, person_id, "看板", [], timedelta(days=1))["id"])


def test_tokens_of_another_unit_are_neither_shown_nor_ended(services):
    theirs, own = made_token(services, "duty-health", "health"), made_token(services, "duty-water", "water")
    assert [row["id"] for row in tokens.list_tokens(services, WATER_ADMIN)] == [own]
    assert tokens.list_tokens(services, WATER_ADMIN, "duty-health") == []
    with pytest.raises(NotFound):
        tokens.revoke_token(services, WATER_ADMIN, theirs)
    assert tokens.revoke_token(services, WATER_ADMIN, own)["revoked_at"]
    assert len(tokens.list_tokens(services, OPERATOR)) == 2


@pytest.mark.parametrize(
    "take_over",
    [
        lambda services: tokens.issue_password(services, WATER_ADMIN, "reach"),
        lambda services: accounts.reset_password(services, WATER_ADMIN, "reach"),
        lambda services: accounts.reset_second_factor(services, WATER_ADMIN, "reach"),
        lambda services: accounts.set_subject(services, WATER_ADMIN, "reach", "mine"),
    ],
    ids=["issue", "reset", "second-factor", "subject"],
)
def test_nobody_takes_over_an_account_whose_roles_reach_further(services, take_over: Any):
    people.add_person(services, OPERATOR, "reach", name="兼职", unit_id="water")
    roster_admin.grant_access(services, OPERATOR, "reach", "duty", "water")
    take_over(services)
    roster_admin.grant_access(services, OPERATOR, "reach", "duty", "office")
    with pytest.raises(Forbidden, match="权限范围以外"):
        take_over(services)


@pytest.mark.parametrize(
    "change",
    [
        lambda services, actor: dispatch.hold(services, actor, "演练"),
        lambda services, actor: held.confirm_dispatch(services.store, actor, sent_until=None),
        lambda services, actor: channels.edit_channel(services, actor, "inbox", name="收件箱"),
        lambda services, actor: pack_admin.confirm_pack(services, actor, "any"),
        lambda services, actor: pack_admin.import_pack(services, actor, PACK.read_bytes(), PACK.name),
        lambda services, actor: rulebook.import_calendar(services, actor, YEAR.read_bytes(), YEAR.name),
        lambda services, actor: pack_admin.reset_pack(services, actor, "any"),
    ],
    ids=["hold", "release", "channel", "confirm-pack", "import-pack", "calendar", "reset-pack"],
)
def test_what_concerns_every_unit_is_for_who_administers_every_unit(services, change: Any):
    """Otherwise the administrator of one bureau could silence the reminders of the whole city."""
    with pytest.raises(Forbidden, match="影响全部单位"):
        change(services, WATER_ADMIN)
    whole = acting("boss", AccessRole.ADMINISTRATOR, units=("office",))
    try:
        change(services, whole)
    except Forbidden:
        pytest.fail("who administers the top of the tree administers all of it")
    except HuiyingError:
        pass  # there is nothing held and no such pack: the question of permission is behind us


def test_two_grants_at_once_do_not_join_what_is_kept_apart(services, monkeypatch):
    real, both = roster_admin._refuse_mixture, threading.Barrier(2)

    def slowly(held: Any) -> None:
        real(held)
        with suppress(threading.BrokenBarrierError):
            both.wait(3)  # broken where the second waits for the first, as it should

    def grant(role: str) -> None:
        with suppress(Refused):
            roster_admin.grant_access(services, OPERATOR, "li", role, "office")

    monkeypatch.setattr(roster_admin, "_refuse_mixture", slowly)
    threads = [threading.Thread(target=grant, args=(role,)) for role in ("duty", "auditor")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with services.store.reading() as tx:
        assert len(tx.all(sa.select(t.access.c.role).where(t.access.c.person_id == "li"))) == 1


# -- incidents of other units ------------------------------------------------------------------------------------------


def registered(services: Services, unit_id: str, *, co_units: tuple[str, ...] = ()) -> str:
    wanted = RegisterRequest(title=f"示例{unit_id}", kind=Kind.OPINION, unit_id=unit_id, co_units=co_units)
    return str(incidents.register(services, OPERATOR, wanted)["no"])


def test_nobody_merges_into_an_incident_that_another_unit_leads(services):
    """It would change that unit's clocks, and stop one's own."""
    rulebook.sync(services)
    water = acting("duty-water", AccessRole.DUTY, units=("water",))
    own, hidden = registered(services, "water"), registered(services, "health")
    shared = registered(services, "health", co_units=("water",))
    with pytest.raises(NotFound) as refused:
        incidents.merge(services, water, own, hidden, "同一件事")
    with pytest.raises(NotFound) as unknown:
        incidents.merge(services, water, own, "2025-9999", "同一件事")
    assert refused.value.message.replace(hidden, "") == unknown.value.message.replace("2025-9999", "")
    with pytest.raises(Forbidden):
        incidents.merge(services, water, own, shared, "同一件事")
    assert queries.view_incident(services, own)["state"] != "merged"
    second = registered(services, "water")
    incidents.merge(services, water, second, own, "同一件事")


# -- what no database can hold -----------------------------------------------------------------------------------------


def test_numbers_and_texts_that_no_database_holds_are_refused_not_failures(services):
    table = t.incident.c
    with services.store.reading() as tx:
        assert tx.one(sa.select(table.id).where(table.id == 2**62)) is None
    with pytest.raises(InvalidInput), services.store.transaction("test") as tx:
        tx.run(t.inbox_message.insert().values(id=2**200, notice_no="x", person_id="li", created_at=tx.now))


BIG = "9" * 30
ODD: list[tuple[str, str, dict[str, str] | None]] = [
    ("zhao", f"/handover/{BIG}", None),
    ("zhao", f"/handover?before={BIG}", None),
    ("zhao", "/runs?day=9999-12-31", None),
    ("zhao", "/roster?from=9999-12-31", None),
    ("zhao", "/roster?from=0001-01-01", None),
    ("li", f"/audit?before={BIG}", None),
    ("li", "/audit?until=9999-12-31", None),
    ("zhao", "/acknowledge", {"only": BIG}),
    ("zhao", "/acknowledge", {"clock": BIG}),
    ("zhao", "/acknowledge", {"only": "1", "query": "page=²"}),
    ("zhao", f"/roster/shifts/{BIG}/cancel", {}),
    ("zhao", f"/handover/{BIG}/withdraw", {}),
    ("li", "/audit/export", {"since": BIG}),
]


def test_odd_numbers_and_days_get_an_answer(house_template: Path, tmp_path: Path):
    house = open_house(house_template, tmp_path / "house")
    failed = []
    with TestClient(create_app(house.services), raise_server_exceptions=False) as client:
        seats = {name: take_seat(house.services, client, name) for name in ("zhao", "li")}
        for name, url, form in ODD:
            answer = seats[name].get(url) if form is None else seats[name].post(url, form)
            failed += [f"{url} {form} {answer.status_code}"] if answer.status_code >= 500 else []
    house.services.store.close()
    assert not failed, "\n".join(failed)
