"""The state of the installation on one page, for who operates it: no incident, no message, no person's number."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from huiying.domain.access import AccessRole, Permission
from huiying.domain.kinds import ActionState, DeliveryState, Role
from huiying.domain.sentences import Recorded
from huiying.service import doctor, health
from huiying.service.actor import Actor
from huiying.service.services import Services
from huiying.service.views import shown
from huiying.store import tables as t
from huiying.store.db import Tx

_MOST_BACKUPS = 5
_WAITING = (DeliveryState.PENDING, DeliveryState.SENDING)
_LOST = (DeliveryState.FAILED, DeliveryState.DEAD)


def overview(services: Services, actor: Actor) -> dict[str, Any]:
    """Findings of the doctor, signs of life, what waits, room on the disk, the last backups."""
    actor.require(Permission.OPERATE)
    findings = [{**asdict(one), "message": one.desk or one.message} for one in doctor.examine(services)]
    usage = shutil.disk_usage(services.settings.data_dir)
    with services.store.reading() as tx:
        beats, backlog, backups = _beats(tx), _backlog(tx), _backups(tx)
        entries = tx.value(sa.select(t.audit_head.c.seq).where(t.audit_head.c.one == 1)) or 0
    return {
        "findings": findings,
        "todo": sum(1 for finding in findings if finding["level"] == doctor.Level.DO),
        "beats": beats,
        "backlog": backlog,
        "backups": backups,
        "disk_free": usage.free,
        "disk_total": usage.total,
        "database": "SQLite" if services.store.is_sqlite else "PostgreSQL",
        "audit_entries": entries,
        "prefect_enabled": services.settings.prefect_enabled,
        "node": services.settings.node,
    }


def _beats(tx: Tx) -> list[dict[str, Any]]:
    rows = tx.all(sa.select(t.heartbeat).order_by(t.heartbeat.c.process))
    found = []
    for row in rows:
        age = (tx.now - row.at).total_seconds()
        healthy = bool(row.detail.get("healthy", True))
        note = Recorded(row.detail.get("fault") or row.detail.get("note") or "")
        found.append(
            {
                "process": row.process,
                "at": shown(row.at),
                "age": int(age),
                "fresh": abs(age) <= health.ENGINE_FRESH.total_seconds(),
                "healthy": healthy,
                "note": note,
            }
        )
    return found


def _backlog(tx: Tx) -> dict[str, Any]:
    action, delivery = t.timed_action.c, t.delivery.c
    due = tx.one(
        sa.select(sa.func.count().label("n"), sa.func.min(action.due_at).label("oldest")).where(
            action.state == ActionState.PENDING, action.due_at <= tx.now
        )
    )
    rows = tx.all(sa.select(delivery.state, sa.func.count().label("n")).group_by(delivery.state))
    counts = {row.state: row.n for row in rows}
    oldest = due.oldest if due is not None else None
    return {
        "due_actions": due.n if due is not None else 0,
        "oldest_seconds": int((tx.now - oldest).total_seconds()) if oldest else 0,
        "waiting": sum(counts.get(state.value, 0) for state in _WAITING),
        "lost": sum(counts.get(state.value, 0) for state in _LOST),
    }


def _backups(tx: Tx) -> list[dict[str, Any]]:
    """The last backups as the audit names them; the files may have been carried away since."""
    statement = sa.select(t.audit.c.at, t.audit.c.payload).where(t.audit.c.action == "backup")
    rows = tx.all(statement.order_by(t.audit.c.seq.desc()).limit(_MOST_BACKUPS))
    found = []
    for row in rows:
        noted = json.loads(row.payload)
        found.append({"at": shown(row.at), "file": noted["file"], "rows": noted["rows"], "ok": bool(noted["ok"])})
    return found


def words() -> dict[str, Any]:
    """The roles that forms offer: of access with what they stand for, and of duty."""
    return {
        "access_roles": [(role.value, role.zh) for role in AccessRole],
        "duty_roles": [(role.value, role.zh) for role in Role],
    }
