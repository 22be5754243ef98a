"""What waits for a second person: in the applicant's words, with what it would do to the clocks and who may decide."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from huiying.domain.access import Permission
from huiying.domain.errors import Forbidden, NotFound
from huiying.domain.freetext import NOTE_LIMIT, checked
from huiying.domain.sentences import listed, said, term
from huiying.service import changes
from huiying.service.actor import Actor
from huiying.service.deciders import deciders
from huiying.service.request_effects import effects_of
from huiying.service.scope import visible_units
from huiying.service.services import Services
from huiying.service.views import request_view
from huiying.store import tables as t
from huiying.store.db import Tx

NOBODY_MAY = "尚无可复核的账号"
#: A token with no more than these (a wall's, a reporting program's) changes nothing, in whoever's name it was made.
_LOOKING = frozenset(p.value for p in (Permission.READ, Permission.CALL, Permission.AUDIT, Permission.EVALUATE))


def waiting(tx: Tx, units: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Every pending request in short, oldest first: its number, what, since when, who may decide; None: of all units."""
    request, incident = t.change_request, t.incident
    rows = tx.all(
        sa.select(request, incident.c.no, incident.c.unit_id, incident.c.drill)
        .join(incident, incident.c.id == request.c.incident_id)
        .where(request.c.state == "pending")
        .order_by(request.c.id)
    )
    names = {f"person:{row.id}": row.name for row in tx.all(sa.select(t.person.c.id, t.person.c.name))}
    found = []
    for row in rows:
        if units is None or row.unit_id in units:
            may = deciders(tx, row.unit_id, row.requested_by)
            found.append(
                {
                    **request_view(row, row.no),
                    "drill": bool(row.drill),
                    "requested_by_name": names.get(row.requested_by, row.requested_by),
                    "may_decide": [{"person": one.id, "name": one.name} for one in may],
                }
            )
    return found


def line_of(request: Mapping[str, Any]) -> str:
    """One request as a sentence, for a brief and for the doctor; without what anybody typed."""
    who = listed(one["name"] for one in request["may_decide"]) or said(NOBODY_MAY)
    since = str(request["requested_at"])[5:16].replace("T", " ")
    return said(
        "申请 %(id)s（%(incident)s %(command)s）自 %(since)s 待复核，可复核：%(who)s",
        id=request["id"],
        incident=request["incident"],
        command=term(request["command_zh"]),
        since=since,
        who=who,
    )


def list_pending(services: Services, actor: Actor) -> dict[str, Any]:
    """Everything that waits for a second person and that this actor sees, with what it would do now."""
    with services.store.reading() as tx:
        found = waiting(tx, visible_units(tx, actor))
    told = effects_of(services, [request["id"] for request in found])
    return {"requests": [{**request, **told[request["id"]]} for request in found]}


def show_request(services: Services, actor: Actor, request_id: int) -> dict[str, Any]:
    """One request, pending or decided."""
    with services.store.reading() as tx:
        row = visible_request(tx, actor, request_id)
        may = deciders(tx, row.unit_id, row.requested_by)
        name = tx.value(sa.select(t.person.c.name).where(t.person.c.id == row.requested_by.removeprefix("person:")))
        view = {
            **request_view(row, row.no),
            "drill": bool(row.drill),
            "requested_by_name": name or row.requested_by,
            "may_decide": [{"person": one.id, "name": one.name} for one in may],
        }
    return {**view, **effects_of(services, [request_id], decided=row.state != "pending")[request_id]}


def withdraw(services: Services, actor: Actor, request_id: int, note: str = "") -> dict[str, Any]:
    """The applicant takes the request back; nothing of the incident changes."""
    text = checked("note", note, NOTE_LIMIT, "撤回说明")
    with services.store.transaction(actor.id) as tx:
        row = visible_request(tx, actor, request_id)
        changes.pending_request(tx, request_id)
        if row.requested_by != actor.id:
            raise Forbidden("只有申请人本人可以撤回申请；复核人如不同意，请用「不同意」办理。申请仍待复核。")
        if actor.permissions <= _LOOKING:
            raise Forbidden("该令牌只能查看，不能撤回申请。请登录后办理，申请仍待复核。")
        changes.settle_request(tx, request_id, "withdrawn", actor.id, text)
        tx.audit("request.withdrawn", f"incident:{row.no}", {"request": request_id, "command": row.command})
    return show_request(services, actor, request_id)


def visible_request(tx: Tx, actor: Actor, request_id: int) -> Any:
    """A request with its incident's ``no``, ``unit_id`` and ``drill``, where the actor sees it or has asked for it."""
    request, incident = t.change_request, t.incident
    row = tx.one(
        sa.select(request, incident.c.no, incident.c.unit_id, incident.c.drill)
        .join(incident, incident.c.id == request.c.incident_id)
        .where(request.c.id == request_id)
    )
    units = visible_units(tx, actor)
    # Who asked may be of a unit that only helps.
    if row is None or not (units is None or row.unit_id in units or row.requested_by == actor.id):
        raise NotFound(said("没有编号为 %(request_id)s 的待复核申请。", request_id=request_id))
    return row
