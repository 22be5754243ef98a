"""The audit chain as an auditor reads it on a screen; checking and exporting are ``huiying.service.audit``."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from huiying.domain.access import Permission
from huiying.service.actor import Actor
from huiying.service.services import Services
from huiying.service.views import shown
from huiying.store import tables as t

MOST_ROWS = 1000


def entries(services: Services, actor: Actor, *, after: int = 0, subject: str = "", limit: int = 200) -> dict[str, Any]:
    """Entries in the order of the chain, from ``after`` on; ``subject`` such as incident:2026-0001."""
    actor.require(Permission.AUDIT)
    table = t.audit
    statement = sa.select(table).where(table.c.seq > after).order_by(table.c.seq).limit(min(limit, MOST_ROWS) + 1)
    if subject:
        statement = statement.where(table.c.subject == subject)
    with services.store.reading() as tx:
        rows = tx.all(statement)
        head = tx.one(sa.select(t.audit_head.c.seq, t.audit_head.c.hash))
    page = rows[: min(limit, MOST_ROWS)]
    return {
        "head": {"count": head.seq, "hash": head.hash} if head else {"count": 0, "hash": ""},
        "entries": [_view(row) for row in page],
        "next": page[-1].seq if len(rows) > len(page) else None,
    }


def _view(row: Any) -> dict[str, Any]:
    return {
        "seq": row.seq,
        "at": shown(row.at),
        "actor": row.actor,
        "action": row.action,
        "subject": row.subject,
        "payload": json.loads(row.payload) if row.payload else None,
        "hash": row.hash,
    }
