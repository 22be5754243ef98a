"""A new key for everything sealed: nothing is ever lost, wherever it is interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from config.sealed import CannotOpen, Sealer
from huiying.domain.access import AccessRole
from huiying.domain.errors import Forbidden, Refused
from huiying.service import channels, people
from huiying.service.secret_rotation import rotate_secrets
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Store
from tests.fakes.house import OPERATOR, acting, furnish, make_services

STAGES = ("key_added", "resealed", "resealed_committed", "checked", "old_dropped")


class Killed(Exception):
    """Stands for a process that ends at this very place."""


@pytest.fixture
def services(store: Store, tmp_path: Path) -> Services:
    made = make_services(store, tmp_path)
    furnish(made)
    settings = {"url": "https://hook.example.cn/x", "secret": "whsec_" + "QUJD" * 8}
    channels.add_channel(made, OPERATOR, "hook", kind="webhook", settings=settings)
    people.edit_person(made, OPERATOR, "zhang", email="zhang@example.cn", im={"hook": "z-1"})
    return made


def numbers(services: Services) -> list[str]:
    """All telephone numbers, as a process that starts now reads them."""
    fresh = Sealer(services.settings.data_dir / "seal.key")
    with services.store.reading() as tx:
        return [fresh.open(row.mobile_sealed) for row in tx.all(sa.select(t.person.c.mobile_sealed))]


def test_everything_is_sealed_anew_the_old_key_goes_and_the_chain_keeps_it(services: Services, tmp_path: Path):
    key = services.settings.data_dir / "seal.key"
    before = key.read_text()
    elsewhere = Sealer(key)  # another process of the product
    made = rotate_secrets(services, OPERATOR)
    assert made["values"] == 5 + 1 + 1 + 2  # five mobiles, one mail address, one user id, url and secret of the channel
    assert before.strip() not in key.read_text()
    assert len(key.read_text().split()) == 1
    assert numbers(services) == ["13800001234"] * 5
    with services.store.reading() as tx:
        sealed = tx.value(sa.select(t.person.c.mobile_sealed).where(t.person.c.id == "zhang"))
        audited = [row.action for row in tx.all(sa.select(t.audit.c.action)) if row.action.startswith("secrets.")]
    assert elsewhere.open(sealed) == "13800001234"
    assert elsewhere.is_newest(elsewhere.seal("x"))
    assert audited == ["secrets.resealed", "secrets.rotated"]
    (tmp_path / "old.key").write_text(before)
    (tmp_path / "old.key").chmod(0o600)
    with pytest.raises(CannotOpen):
        Sealer(tmp_path / "old.key").open(sealed)


@pytest.mark.parametrize("stage", STAGES)
def test_interrupted_anywhere_nothing_is_lost_and_the_next_call_finishes_it(services: Services, stage: str):
    def kill(reached: str) -> None:
        if reached == stage:
            raise Killed

    with pytest.raises(Killed):
        rotate_secrets(services, OPERATOR, kill)
    assert numbers(services) == ["13800001234"] * 5
    people.edit_person(services, OPERATOR, "li", mobile="13900005678")  # work goes on meanwhile
    rotate_secrets(services, OPERATOR)
    key = services.settings.data_dir / "seal.key"
    assert len(key.read_text().split()) == 1
    assert sorted(numbers(services)) == ["13800001234"] * 4 + ["13900005678"]


def test_with_a_value_that_no_key_opens_nothing_is_exchanged(services: Services, tmp_path: Path):
    foreign = Sealer(tmp_path / "foreign.key").seal("13812345678")
    with services.store.transaction("test") as tx:
        tx.run(t.person.update().where(t.person.c.id == "li").values(mobile_sealed=foreign))
    key = services.settings.data_dir / "seal.key"
    before = key.read_text()
    with pytest.raises(Refused, match="1 项"):
        rotate_secrets(services, OPERATOR)
    assert key.read_text() == before


def test_no_token_exchanges_the_key(services: Services):
    for person in (acting("boss", AccessRole.ADMINISTRATOR), acting("zhang", AccessRole.DUTY)):
        with pytest.raises(Forbidden):
            rotate_secrets(services, person)
