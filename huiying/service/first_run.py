"""What an empty system needs to be entered: one unit, one administrator, the channels that need no account."""

from __future__ import annotations

from contextlib import suppress

from huiying.domain.access import AccessRole
from huiying.domain.kinds import ChannelKind
from huiying.service import tokens
from huiying.service.hashing import hash_password, matches
from huiying.service.services import Services
from huiying.store import tables as t
from notifiers.registry import audience_of

UNIT_ID = "main"
UNIT_NAME = "本单位"
ADMINISTRATOR_ID = "admin"
ADMINISTRATOR_NAME = "系统管理员"
PASSWORD_FILE = "first-password"  # noqa: S105 - a file's name
_SEEDER = "system:setup"
#: Kind, rank, in use. The console is there to be switched on for a look; it reaches nobody and would double everything.
_CHANNELS = ((ChannelKind.INBOX, 0, True), (ChannelKind.CONSOLE, 900, False))


def seed(services: Services) -> str | None:
    """Seed an empty system; gives the administrator's one-time password, or None where somebody has been before."""
    password = tokens.new_password()
    digest = hash_password(password)
    with services.store.transaction(_SEEDER) as tx:
        # Two first starts at once: whoever comes second finds the unit.
        if tx.one(t.unit.select().limit(1)) is not None:
            return None
        tx.run(t.unit.insert().values(id=UNIT_ID, name=UNIT_NAME, parent_id=None, active=True))
        person = {"id": ADMINISTRATOR_ID, "name": ADMINISTRATOR_NAME, "unit_id": UNIT_ID, "im_sealed": {}}
        tx.run(t.person.insert().values(**person, created_at=tx.now, active=True))
        role = AccessRole.ADMINISTRATOR.value
        tx.run(t.access.insert().values(person_id=ADMINISTRATOR_ID, role=role, unit_id=UNIT_ID))
        for kind, rank, enabled in _CHANNELS:
            row = {"id": kind.value, "name": kind.zh, "kind": kind.value, "audience": audience_of(kind).value}
            tx.run(t.channel.insert().values(**row, rank=rank, enabled=enabled, settings={}, secrets_sealed={}))
        tx.audit("system.seeded", "system", {"unit": UNIT_ID, "administrator": ADMINISTRATOR_ID})
        tokens.keep_password(tx, ADMINISTRATOR_ID, digest)
    return password


def forget_password(services: Services, password: str) -> None:
    """Take away the file with the first password once that password is used up."""
    path = services.settings.data_dir / PASSWORD_FILE
    with suppress(OSError):
        if path.read_text("utf-8").partition("\n")[0].strip() == password:
            path.unlink()


def forget_spent(services: Services, digest: str) -> None:
    """Take the file away when the password in it is the one with this hash."""
    path = services.settings.data_dir / PASSWORD_FILE
    with suppress(OSError):
        if matches(path.read_text("utf-8").partition("\n")[0].strip(), digest):
            path.unlink()
