"""联系电话: whom to ring about an incident: who is on duty for its unit now, and the handlers of the units that take part.

Numbers are masked until they are asked for; that look is an entry of the audit and names whose numbers were shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from config.sealed import CannotOpen
from huiying.domain.access import Permission
from huiying.domain.errors import NotFound
from huiying.domain.kinds import Role
from huiying.domain.masking import mask_phone
from huiying.domain.roster import on_duty, unit_chain
from huiying.domain.sentences import said
from huiying.service.actor import Actor
from huiying.service.people import UNREADABLE
from huiying.service.scope import concerned, parents, visible_units
from huiying.service.services import Services
from huiying.service.views import unit_names
from huiying.store import scenes
from huiying.store import tables as t
from huiying.store.db import Tx


def of_incident(services: Services, actor: Actor, no: str, *, reveal: bool = False) -> dict[str, Any]:
    """People with role, unit and number. The number of somebody outside of the actor's units is never shown."""
    actor.require(Permission.CALL)
    with services.store.transaction(actor.id) if reveal else services.store.reading() as tx:
        row = tx.one(sa.select(t.incident).where(t.incident.c.no == no, concerned(tx, actor)))
        if row is None:
            raise NotFound(said("没有编号为 %(no)s 的事项，或不在您的查看范围内。", no=no[:20]))
        found = list(_called(tx, row))
        homes = _homes(tx, [person.id for _, person in found])
        seen = visible_units(tx, actor)
        names = unit_names(tx, homes.values())
        near = {person_id for person_id, unit_id in homes.items() if seen is None or unit_id in seen}
        if reveal and near:
            tx.audit("person.revealed", f"incident:{row.no}", {"people": sorted(near)})
    people = [
        {
            "person_id": person.id,
            "name": person.name,
            "role_zh": role.zh,
            "unit": names.get(homes[person.id], homes[person.id]),
            "mobile": _number(services, person.mobile_sealed, reveal=reveal) if person.id in near else "",
            "within_reach": person.id in near,
        }
        for role, person in found
    ]
    return {"no": row.no, "revealed": reveal, "people": people}


def _called(tx: Tx, incident: Any) -> Iterator[tuple[Role, Any]]:
    """Role and person: everybody on duty for the leading unit, then the handlers of the others."""
    tree = parents(tx)
    chain = unit_chain(tree, incident.unit_id)
    helping = [unit_id for unit_id in _helpers(tx, incident) if unit_id != incident.unit_id]
    roster, people = scenes.roster(tx, [*chain, *helping], Role)
    named: set[tuple[str, Role]] = set()
    for unit_id, roles in ((incident.unit_id, tuple(Role)), *((unit_id, (Role.HANDLER,)) for unit_id in helping)):
        for role in roles:
            # Another unit's own handlers: whoever stands in for them further up is no help on the telephone.
            where = chain if unit_id == incident.unit_id else (unit_id,)
            for person_id in on_duty(roster, role, where, tx.now):
                if person_id in people and (person_id, role) not in named:
                    named.add((person_id, role))
                    yield role, people[person_id]


def _helpers(tx: Tx, incident: Any) -> list[str]:
    """Units that help, or have a task in it."""
    clock = t.clock.c
    tasks = sa.select(clock.unit_id).where(
        clock.incident_id == incident.id, clock.cycle == incident.cycle, clock.unit_id.is_not(None)
    )
    return list(dict.fromkeys([*incident.co_units, *(row.unit_id for row in tx.all(tasks.distinct()))]))


def _homes(tx: Tx, people: list[str]) -> dict[str, str]:
    rows = tx.all(sa.select(t.person.c.id, t.person.c.unit_id).where(t.person.c.id.in_(people)))
    return {row.id: row.unit_id for row in rows}


def _number(services: Services, sealed: str, *, reveal: bool) -> str:
    try:
        clear = services.sealer.open(sealed) if sealed else ""
    except CannotOpen:
        return UNREADABLE
    return clear if reveal else mask_phone(clear)
