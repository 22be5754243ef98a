"""系统管理, one person's account: what the page says of it, and that each button does what stands beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from huiying.domain.errors import NotAuthenticated
from huiying.domain.signing import AccountState, account_state
from huiying.service import account_view, lockout, people, roster_admin, sessions, tokens
from huiying.store import tables as t
from huiying.web.app import create_app
from tests.fakes.desk import Seat, take_seat
from tests.fakes.house import OPERATOR, House, cheap_passwords, house, house_template

__all__ = ["cheap_passwords", "house", "house_template"]

pytestmark = pytest.mark.usefixtures("cheap_passwords")


@pytest.fixture
def client(house: House) -> Iterator[TestClient]:
    with TestClient(create_app(house.services), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def boss(house: House, client: TestClient) -> Seat:
    return take_seat(house.services, client, "boss")


def lock(house: House, person_id: str) -> None:
    with house.services.store.transaction("test") as tx:
        lockout.note_failure(tx, lockout.name_key(person_id), 1)


def account(house: House, person_id: str) -> dict[str, object]:
    return account_view.show_account(house.services, OPERATOR, person_id)


def shown_secret(page: str) -> str:
    found = re.search(r'<code class="secret">([a-z0-9-]+)</code>', page)
    assert found is not None
    return found.group(1)


@pytest.mark.parametrize(
    ("opens", "locked", "enrolled", "obliged", "state"),
    [
        (False, True, False, True, AccountState.NONE),
        (True, True, False, True, AccountState.LOCKED),
        (True, False, False, True, AccountState.UNBOUND),
        (True, False, False, False, AccountState.READY),
        (True, False, True, True, AccountState.READY),
    ],
)
def test_an_account_in_a_word(opens: bool, locked: bool, enrolled: bool, obliged: bool, state: AccountState):
    assert account_state(opens=opens, locked=locked, enrolled=enrolled, obliged=obliged) is state


def test_the_list_says_how_every_account_stands(boss: Seat, house: House, client: TestClient):
    take_seat(house.services, client, "zhang")
    take_seat(house.services, client, "zhao")
    lock(house, "zhao")
    rows = re.findall(r"<tr.*?</tr>", boss.get("/admin/people").text, re.DOTALL)
    words = {"zhang": "正常", "zhao": "已锁定", "qian": "未启用"}
    for person, word in words.items():
        (row,) = [row for row in rows if f'/admin/people/{person}"' in row]
        cell = re.search(r'data-label="登录账号">(.*?)</td>', row, re.DOTALL)
        assert cell is not None
        assert word in cell.group(1)


def test_a_role_that_needs_a_code_is_shown_as_lacking_one(house: House, client: TestClient):
    take_seat(house.services, client, "wang")
    with house.services.store.transaction("test") as tx:
        tx.run(t.account.update().where(t.account.c.person_id == "wang").values(totp_since=None))
    found = {row["person_id"]: row["state"] for row in account_view.list_accounts(house.services, OPERATOR)}
    assert (found["wang"], found["qian"]) == ("unbound", "none")


def test_a_locked_name_is_unlocked_on_the_desk(boss: Seat, house: House):
    assert "/account/unlock" not in boss.get("/admin/people/zhang").text
    lock(house, "zhang")
    page = boss.get("/admin/people/zhang").text
    assert "连续输错已锁定，至" in page
    assert "/admin/people/zhang/account/unlock" in page
    assert boss.post("/admin/people/zhang/account/unlock").status_code == 303
    assert account(house, "zhang")["locked_until"] is None
    assert "未锁定" in boss.get("/admin/people/zhang").text


def test_a_one_time_password_leaves_everything_and_a_reset_ends_everything(
    boss: Seat, house: House, client: TestClient
):
    zhang = take_seat(house.services, client, "zhang")
    page = boss.get("/admin/people/zhang").text
    assert "原密码、现有登录和令牌都不受影响" in page
    assert "原密码作废，现有登录全部退出，令牌全部撤销" in page
    assert boss.post("/admin/people/zhang/password").status_code == 200
    assert zhang.get("/inbox").status_code == 200
    assert tokens.authenticate(house.services, house.tokens["zhang"]).person_id == "zhang"
    assert account(house, "zhang")["has_password"] is True

    answer = boss.post("/admin/people/zhang/account/password")
    assert answer.status_code == 200
    assert "no-store" in answer.headers["cache-control"]
    secret = shown_secret(answer.text)
    assert secret not in boss.get("/admin/people/zhang").text
    assert zhang.get("/inbox").headers["location"].startswith("/login")
    with pytest.raises(NotAuthenticated):
        tokens.authenticate(house.services, house.tokens["zhang"])
    after = account(house, "zhang")
    assert (after["has_password"], after["sessions"], after["tokens"]) == (False, 0, 0)
    assert after["one_time_until"] is not None
    _, session = sessions.sign_in(house.services, "zhang", secret, "10.0.0.1")
    assert session.stage == "second_factor"  # the code was not reset, and is asked for before a new password is set


def test_a_lost_authenticator_is_reset_and_not_by_who_has_reset_the_password(
    boss: Seat, house: House, client: TestClient
):
    zhao = take_seat(house.services, client, "zhao")
    assert "已启用" in boss.get("/admin/people/zhao").text
    assert boss.post("/admin/people/zhao/account/code").status_code == 303
    assert account(house, "zhao")["enrolled"] is False
    assert zhao.get("/inbox").status_code == 303
    refused = boss.post("/admin/people/zhao/account/password")
    assert refused.status_code == 403
    assert "密码须由另一人重置" in refused.text
    assert 'class="secret"' not in refused.text


def test_an_identity_of_the_provider_is_put_on_and_taken_away(boss: Seat, house: House):
    assert boss.post("/admin/people/zhang/account/subject", {"oidc_subject": "u-1001"}).status_code == 303
    assert 'value="u-1001"' in boss.get("/admin/people/zhang").text
    taken = boss.post("/admin/people/li/account/subject", {"oidc_subject": "u-1001"})
    assert taken.status_code == 409
    assert "已对应另一人员" in taken.text
    assert boss.post("/admin/people/zhang/account/subject", {"oidc_subject": "u-1001"}).status_code == 303
    assert boss.post("/admin/people/zhang/account/subject", {"oidc_subject": ""}).status_code == 303
    assert account(house, "zhang")["oidc_subject"] == ""
    with house.services.store.reading() as tx:
        count = sa.select(sa.func.count()).where(t.audit.c.action == "account.subject")
        assert tx.value(count) == 2  # the same again is no change


def test_who_acts_beyond_the_administrators_units_is_shown_but_not_touched(house: House, client: TestClient):
    people.add_person(house.services, OPERATOR, "unten", name="水务管理员", unit_id="water")
    roster_admin.grant_access(house.services, OPERATOR, "unten", "administrator", "water")
    people.add_person(house.services, OPERATOR, "weit", name="水务值班员", unit_id="water")
    roster_admin.grant_access(house.services, OPERATOR, "weit", "duty", "office")
    below = take_seat(house.services, client, "unten")
    page = below.get("/admin/people/weit").text
    assert "该人员在您的权限范围以外也有权限" in page
    assert re.search(r"<button class=\"danger\" disabled>重置密码", page)
    for way in ("password", "account/password", "account/code", "account/unlock", "account/subject"):
        assert below.post(f"/admin/people/weit/{way}", {"oidc_subject": "u-1"}).status_code == 403


def test_one_person_of_many_costs_no_more_questions(house: House):
    """A list of accounts is read with a fixed number of questions, however many people there are."""
    counted: list[str] = []
    engine = house.services.store.engine

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        counted.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        account_view.list_accounts(house.services, OPERATOR)
        few = len(counted)
        for number in range(20):
            people.add_person(house.services, OPERATOR, f"more{number}", name="某人", unit_id="office")
        counted.clear()
        account_view.list_accounts(house.services, OPERATOR)
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    assert len(counted) == few
