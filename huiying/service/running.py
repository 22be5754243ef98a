"""What the running product works with, as against what the settings say in the shell of whoever asks."""

from __future__ import annotations

from typing import Any

from huiying.domain.audit import rfc3339
from huiying.service.health import ENGINE_FRESH
from huiying.service.services import Services
from huiying.store import heartbeats
from huiying.store import tables as t
from huiying.store.db import Tx

_KEY = "running_settings"
_ACTOR = "system:engine"


def note_running(services: Services) -> None:
    """The engine writes down, at its start, what stands in the messages it makes."""
    with services.store.transaction(_ACTOR) as tx:
        value = {"public_url": services.settings.public_url, "node": services.settings.node, "since": rfc3339(tx.now)}
        tx.run(t.setting.delete().where(t.setting.c.key == _KEY))
        tx.run(t.setting.insert().values(key=_KEY, value=value, updated_at=tx.now))


def running(tx: Tx) -> dict[str, Any] | None:
    """What the engine that lives at this moment works with; None while none does."""
    noted = tx.one(t.setting.select().where(t.setting.c.key == _KEY))
    if noted is None:
        return None
    value: dict[str, Any] = noted.value
    return value if heartbeats.is_healthy(tx, f"{value['node']}/engine", ENGINE_FRESH) else None
