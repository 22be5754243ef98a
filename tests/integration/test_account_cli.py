"""``huiying account``: what the operator does when a password, a telephone or a device is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.settings import Settings
from huiying import bootstrap
from huiying.domain.errors import NotAuthenticated
from huiying.service import sessions
from huiying.service.services import Services
from tests.fakes.house import cheap_passwords
from tests.integration.test_cli import Installation

__all__ = ["cheap_passwords"]

pytestmark = pytest.mark.usefixtures("cheap_passwords")


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    made = Installation(tmp_path / "data")
    made.json("person", "add", "zhang", "--name", "张一", "--unit", "main", "--access", "duty")
    return made


def services_of(here: Installation) -> Services:
    return bootstrap.build(Settings(data_dir=here.folder, node="test", prefect_enabled=False))


def test_from_a_lost_password_to_an_ended_session(here):
    password = here.json("account", "password", "zhang")["password"]
    services = services_of(here)
    secret, session = sessions.sign_in(services, "zhang", password, "10.1.2.3", "Firefox/128.0")
    (listed,) = here.json("account", "sessions", "--person", "zhang")["sessions"]
    assert (listed["id"], listed["client"], listed["stage"]) == (session.id, "10.1.2.3", "password")
    assert "等待设置新密码" in here.call("account", "sessions").stdout
    assert here.json("account", "revoke", session.id)["id"] == session.id
    assert sessions.look(services, secret) is None
    assert here.json("account", "sessions")["sessions"] == []
    assert "没有这个登录" in here.refused("account", "revoke", "unknown")
    services.store.close()


def test_a_lock_is_seen_and_taken_away(here):
    password = here.json("account", "password", "zhang")["password"]
    services = services_of(here)
    for _ in range(5):
        with pytest.raises(NotAuthenticated):
            sessions.sign_in(services, "zhang", "wrong", "10.1.2.3")
    (row,) = [row for row in here.json("account", "list")["accounts"] if row["person_id"] == "zhang"]
    assert row["locked_until"]
    assert here.json("account", "unlock", "zhang")["had_failures"] is True
    assert "无需解锁" in here.call("account", "unlock", "zhang").stdout
    assert sessions.sign_in(services, "zhang", password, "10.1.2.3")
    services.store.close()


def test_authenticators_and_identities(here):
    assert here.json("account", "reset-totp", "zhang") == {"person_id": "zhang", "was_enrolled": False, "ended": 0}
    assert here.json("account", "subject", "zhang", "u-1001")["oidc_subject"] == "u-1001"
    assert "已对应另一人员" in here.refused("account", "subject", "admin", "u-1001")
    assert here.json("account", "subject", "zhang", "")["oidc_subject"] == ""
    assert "没有编号" in here.refused("account", "password", "nobody")


def test_who_does_not_manage_people_changes_nobody(here):
    token = here.token_of("zhang")
    for call in (("password", "admin"), ("reset-totp", "admin"), ("unlock", "admin"), ("subject", "zhang", "x")):
        assert "没有此项权限" in here.refused("account", *call, token=token)
    assert "只能查看本人" in here.refused("account", "sessions", "--person", "admin", token=token)
    assert here.json("account", "sessions", token=token)["sessions"] == []
