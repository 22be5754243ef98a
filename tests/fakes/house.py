"""A small office: services on a given store, with the people, duties and channels that a test acts through."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from config.sealed import Sealer
from config.settings import Settings
from huiying.domain.access import GRANTS, LOCAL_PERMISSIONS, AccessRole
from huiying.service import channels, hashing, people, roster_admin, rulebook, tokens
from huiying.service.actor import EVERYWHERE, Actor
from huiying.service.claims import claim_due
from huiying.service.delivery import record_outcomes, send_claimed
from huiying.service.expand import expand_due
from huiying.service.hand import Hand
from huiying.service.senders import Senders
from huiying.service.services import Services
from huiying.store.db import Store, open_engine
from huiying.store.schema import upgrade
from tests.fakes.clock import FakeClock


def _cheap_hasher() -> PasswordHash:
    return PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Password hashes that cost next to nothing; import it where passwords are only in passing."""
    monkeypatch.setattr(hashing, "_hasher", _cheap_hasher)


OPERATOR = Actor("local:tester", "", LOCAL_PERMISSIONS, EVERYWHERE)


def make_services(
    store: Store, folder: Path, make_notifier: Callable[..., Any] | None = None, **settings: Any
) -> Services:
    """Services without any rule loaded."""
    made = Settings(data_dir=folder, **{"node": "test", "public_url": "https://desk.example", **settings})
    return Services(store, made, Sealer(folder / "seal.key"), b"k" * 32, make_notifier)


def acting(person_id: str, *roles: AccessRole, units: tuple[str, ...] = ("office",)) -> Actor:
    """An actor as a token of this person would make it; the office is the topmost unit."""
    granted = frozenset(permission.value for role in roles for permission in GRANTS[role])
    return Actor(f"person:{person_id}", person_id, granted, frozenset(units))


def furnish(services: Services) -> None:
    """One office 示例市政务公开办 with two departments, an inbox, and five people on standing duties."""
    people.add_unit(services, OPERATOR, "office", name="示例市政务公开办", region_code="990100")
    people.add_unit(services, OPERATOR, "water", name="示例市水务局", parent_id="office")
    people.add_unit(services, OPERATOR, "health", name="示例市卫健委", parent_id="office")
    channels.add_channel(services, OPERATOR, "inbox", kind="inbox", rank=0)
    for person_id, name in (("zhang", "张一"), ("li", "李二"), ("wang", "王三"), ("zhao", "赵四"), ("qian", "钱五")):
        people.add_person(services, OPERATOR, person_id, name=name, unit_id="office", mobile="13800001234")
    for person_id, role in (
        ("zhang", "duty_officer"),
        ("li", "liaison"),
        ("wang", "shift_leader"),
        ("zhao", "leader_in_charge"),
        ("qian", "principal"),
    ):
        roster_admin.add_duty(services, OPERATOR, person_id, role, "office")


# -- an office that can be entered, made once and copied -----------------------------------------------------------

ROLES = {"zhang": "duty", "wang": "approver", "li": "auditor", "zhao": "head", "boss": "administrator"}


@dataclass(frozen=True)
class House:
    """Services on a copy of the furnished office, with a token for everybody."""

    services: Services
    clock: FakeClock
    tokens: dict[str, str]

    def bearer(self, person_id: str, **headers: str) -> dict[str, str]:
        """Headers with which a request is this person's."""
        return {"Authorization": f"Bearer {self.tokens[person_id]}", **headers}


def build_template(folder: Path) -> None:
    """A furnished office with the shipped rules, on the test clock's first instant."""
    store = Store(open_engine(f"sqlite:///{folder / 'huiying.db'}"), FakeClock(), fixed_clock=True)
    upgrade(store.engine)
    services = make_services(store, folder)
    rulebook.sync(services)
    furnish(services)
    people.add_person(services, OPERATOR, "boss", name="管一", unit_id="office")
    made = {}
    for person_id, role in ROLES.items():
        roster_admin.grant_access(services, OPERATOR, person_id, role, "office")
        password = tokens.issue_password(services, OPERATOR, person_id)["password"]
        made[person_id] = tokens.exchange_password(services, person_id, password, days=365)["token"]
    (folder / "tokens.json").write_text(json.dumps(made))
    with store.engine.connect() as conn:
        conn.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()


def open_house(template: Path, folder: Path, make_notifier: Callable[..., Any] | None = None, **settings: Any) -> House:
    """A house of its own on a copy of the template."""
    shutil.copytree(template, folder, dirs_exist_ok=True)
    clock = FakeClock()
    store = Store(open_engine(f"sqlite:///{folder / 'huiying.db'}"), clock, fixed_clock=True)
    services = make_services(store, folder, make_notifier, **settings)
    return House(services, clock, json.loads((folder / "tokens.json").read_text()))


@pytest.fixture(scope="session")
def house_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder every house is copied from."""
    folder = tmp_path_factory.mktemp("house")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "_hasher", _cheap_hasher)
        build_template(folder)
    return folder


@pytest.fixture
def house(house_template: Path, tmp_path: Path) -> Iterator[House]:
    """A furnished office whose clock stands still until the test moves it."""
    made = open_house(house_template, tmp_path / "house")
    yield made
    made.services.store.close()


def run_engine_once(services: Services) -> int:
    """Do what is due now with the engine's own functions; gives how many messages left."""
    senders, hand = Senders(services), Hand("test/engine", "t")
    sent = 0
    while True:
        batch = expand_due(services, senders, hand, room=lambda _: 500, older_than=timedelta(0))
        claimed = [*batch.claimed, *claim_due(services, senders, hand, room=lambda _: 500, most=500)]
        if claimed:
            record_outcomes(services, hand, [send_claimed(senders, one) for one in claimed])
            sent += len(claimed)
        if not batch.expansions and not claimed:
            return sent
