"""Sessions of the desk as the service keeps them, on SQLite and PostgreSQL, on a clock that the test moves."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from huiying.domain.errors import NotAuthenticated
from huiying.domain.signing import Stage
from huiying.service import hashing, sessions, tokens
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
