"""Signs of life: one row per process, written every second."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from huiying.store import tables as t
from huiying.store.db import Tx
from huiying.store.prepared import Prepared

_H = t.heartbeat.c
_BEAT_TEXT = sa.text(
    "INSERT INTO heartbeat (process, boot_id, at, detail) VALUES (:process, :boot_id, :at, :detail)"
    " ON CONFLICT (process) DO UPDATE SET boot_id = excluded.boot_id, at = excluded.at, detail = excluded.detail"
).bindparams(sa.bindparam("at", type_=_H.at.type), sa.bindparam("detail", type_=_H.detail.type))
_BEAT = Prepared(_BEAT_TEXT)

_ONE = Prepared(sa.select(_H.at, _H.detail).where(_H.process == sa.bindparam("process")))


def is_healthy(tx: Tx, process: str, fresh: timedelta) -> bool:
    """True when the process has said so within that time; a beat that lies ahead (clock set back) does not count."""
    rows = tx.rows(_ONE, {"process": process})
    return bool(rows) and -fresh < tx.now - rows[0].at < fresh and bool(rows[0].detail.get("healthy"))


def beat(tx: Tx, process: str, boot_id: str, detail: dict[str, Any]) -> None:
    """Say that a process lives, and how it is."""
    tx.change(_BEAT, [{"process": process, "boot_id": boot_id, "at": tx.now, "detail": detail}])
