"""Who may decide as a second person: one answer for the call that goes out and for every list that names them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from huiying.domain.access import GRANTS, Permission
from huiying.domain.roster import unit_chain
from huiying.service.scope import parents
from huiying.store import tables as t
from huiying.store.db import Tx


def deciders(tx: Tx, unit_id: str, by: str) -> list[Any]:
    """The people (id, name) whose account may approve for this unit, the applicant left out."""
    approving = [str(role) for role, granted in GRANTS.items() if Permission.APPROVE in granted]
    holders = tx.all(
        sa.select(t.access.c.person_id.label("id"), t.access.c.unit_id, t.person.c.name)
        .join(t.person, t.person.c.id == t.access.c.person_id)
        .where(t.access.c.role.in_(approving), t.person.c.active)
        .order_by(t.access.c.person_id)
    )
    above = set(unit_chain(parents(tx), unit_id))
    return list({h.id: h for h in holders if h.unit_id in above and f"person:{h.id}" != by}.values())
