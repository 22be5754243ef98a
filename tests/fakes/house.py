"""A small office: services on a given store, with the people, duties and channels that a test acts through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from config.sealed import Sealer
from config.settings import Settings
from huiying.domain.access import GRANTS, LOCAL_PERMISSIONS, AccessRole
from huiying.service import channels, people, roster_admin, tokens
from huiying.service.actor import Actor
from huiying.service.services import Services
from huiying.store.db import Store


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Password hashes that cost next to nothing; import it where passwords are only in passing."""
    cheap = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
    monkeypatch.setattr(tokens, "_hasher", lambda: cheap)


OPERATOR = Actor("local:tester", "", LOCAL_PERMISSIONS)


def make_services(
    store: Store, folder: Path, make_notifier: Callable[..., Any] | None = None, **settings: Any
) -> Services:
    """Services without any rule loaded."""
    made = Settings(data_dir=folder, **{"node": "test", "public_url": "https://desk.example", **settings})
    return Services(store, made, Sealer(folder / "seal.key"), b"k" * 32, make_notifier)


def acting(person_id: str, *roles: AccessRole, units: tuple[str, ...] = ()) -> Actor:
    """An actor as a token of this person would make it."""
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
