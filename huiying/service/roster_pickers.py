"""Whom the forms of the roster offer: people who can answer a reminder, and whoever stands on the roster already."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from huiying.domain.access import GRANTS, Permission
from huiying.service import people
from huiying.service.actor import Actor
from huiying.service.services import Services
from huiying.store import tables as t

_ABLE = [str(role) for role, granted in GRANTS.items() if Permission.ACKNOWLEDGE in granted]


def offered(services: Services, actor: Actor) -> list[dict[str, Any]]:
    """People in use with a role that may acknowledge; without one a reminder reaches somebody who cannot act on it."""
    access, shift = t.access.c, t.shift.c
    with services.store.reading() as tx:
        ahead = (shift.cancelled_at.is_(None), shift.ends_at > tx.now)
        chosen = sa.union(
            sa.select(access.person_id).where(access.role.in_(_ABLE)),
            sa.select(t.duty.c.person_id),
            sa.select(shift.person_id).where(*ahead),
        )
        known = {row.person_id for row in tx.all(chosen)}
    return [row for row in people.list_people(services, actor) if row["active"] and row["id"] in known]
