"""What the screens of incidents read beyond the common views: lists with filters, one case in full, look-alikes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.access import Permission
from huiying.domain.kinds import ActionState, ClockState, DeliveryState, EventKind
from huiying.domain.lanes import Happened, Tick
from huiying.domain.sentences import said, value_told
from huiying.domain.similarity import Candidate, Likeness, alike
from huiying.service import queries
from huiying.service.actor import Actor
from huiying.service.request_effects import effects_of
from huiying.service.scope import concerned, covers, parents, visible_units
from huiying.service.second_person import visible_request
from huiying.service.services import Services
from huiying.service.views import REQUEST_STATE_ZH, shown, zh
from huiying.store import incidents as repo
from huiying.store import tables as t
from huiying.store.db import Tx

_RECENT = timedelta(hours=72)
_MOST_COMPARED = 500
_OPEN = tuple(str(state) for state in ClockState if state.is_open)


def units_for_registering(services: Services, actor: Actor) -> list[dict[str, str]]:
    """The active units for which this actor may register, by name."""
    with services.store.reading() as tx:
        seen = visible_units(tx, actor)
        rows = tx.all(sa.select(t.unit).where(t.unit.c.active).order_by(t.unit.c.name, t.unit.c.id))
    return [
        {"id": row.id, "name": row.name or row.id, "region_code": row.region_code}
        for row in rows
        if seen is None or row.id in seen
    ]


def look_alikes(services: Services, actor: Actor, title: str, region_code: str, text: str) -> list[Likeness]:
    """Incidents of the last 72 hours that may be the same as what is being registered, among those the actor sees."""
    row = t.incident
    statement = (
        sa.select(row.c.no, row.c.title, row.c.region_code, row.c.body, row.c.source_detail)
        .where(row.c.merged_into.is_(None))
        .order_by(row.c.id.desc())
        .limit(_MOST_COMPARED)
    )
    with services.store.reading() as tx:
        rows = tx.all(statement.where(row.c.registered_at >= tx.now - _RECENT, concerned(tx, actor)))
    known = [
        Candidate(r.no, r.title, r.region_code, " ".join([r.body, *map(str, r.source_detail.values())])) for r in rows
    ]
    return alike(Candidate("", title, region_code, text), known)


# -- the list ----------------------------------------------------------------------------------------------------------


def listing(
    services: Services,
    actor: Actor,
    *,
    state: str = "",
    kind: str = "",
    severity: str = "",
    unit: str = "",
    text: str = "",
    after: str = "",
    limit: int = 50,
) -> dict[str, Any]:
    """Incidents, newest first, each with its most urgent open clock; ``severity`` may be "ungraded"."""
    page = queries.incident_list(services, actor, state, kind, text, unit, limit, after, severity)
    with services.store.reading() as tx:
        urgent = _most_urgent(tx, [incident["no"] for incident in page["incidents"]])
        names = people_names(tx)
    for incident in page["incidents"]:
        incident["clock"] = urgent.get(incident["no"])
        incident["registered_by_name"] = who(incident["registered_by"], names)
    return page


def _most_urgent(tx: Tx, numbers: list[str]) -> dict[str, dict[str, Any]]:
    statement = (
        sa.select(t.incident.c.no, t.clock.c.name, t.clock.c.due_at, t.clock.c.state, t.clock.c.on_receipt)
        .join(t.incident, sa.and_(t.incident.c.id == t.clock.c.incident_id, t.incident.c.cycle == t.clock.c.cycle))
        .where(t.incident.c.no.in_(numbers), t.clock.c.binding, t.clock.c.state.in_(_OPEN))
        .order_by(t.clock.c.due_at.desc())
    )
    return {
        row.no: {
            "name": row.name,
            "due_at": shown(row.due_at),
            "remaining_seconds": int((row.due_at - tx.now).total_seconds()),
        }
        for row in tx.all(statement)
    }


# -- one case ----------------------------------------------------------------------------------------------------------


def case(services: Services, actor: Actor, no: str, say: Callable[[str], str] = str) -> dict[str, Any]:
    """Everything the detail screen shows of an incident, beside the view that every face gets.

    ``say`` puts our words into the reader's language.
    """
    told = queries.timeline(services, no, actor, say)
    view = told["incident"]
    with services.store.reading() as tx:
        row = repo.find_incident(tx, no)
        assert row is not None
        names, units = people_names(tx), all_units(tx)
        ticks = _ticks(tx, row, say)
        others = _merge_targets(tx, actor, row)
        parent = _parent_no(tx, row)
        asked = _decided_requests(tx, row)
        leads = covers(actor, parents(tx), row.unit_id)
        seen = tx.value(sa.select(sa.func.max(t.history.c.id)).where(t.history.c.incident_id == row.id))
    return {
        "view": view,
        "now": told["now"],
        "items": [{**item, "by_name": value_told(who(item["by"], names), say)} for item in told["items"]],
        "ticks": ticks,
        "names": names,
        "units": units,
        "merge_targets": others,
        "merged_into_no": parent,
        "decided": asked,
        "leads": leads,
        "seen": int(seen or 0),
    }


def people_names(tx: Tx) -> dict[str, str]:
    """Names of everybody by id."""
    return {row.id: row.name or row.id for row in tx.all(sa.select(t.person.c.id, t.person.c.name))}


def all_units(tx: Tx) -> list[dict[str, str]]:
    """Active units by name, for choosing one."""
    rows = tx.all(sa.select(t.unit.c.id, t.unit.c.name).where(t.unit.c.active).order_by(t.unit.c.name, t.unit.c.id))
    return [{"id": row.id, "name": row.name or row.id} for row in rows]


def who(author: str | None, names: dict[str, str]) -> str:
    """Who did something, as an officer would say it."""
    kind, _, name = (author or "").partition(":")
    if not name:
        return names.get(kind, kind)
    if kind == "person":
        return names.get(name, name)
    return said("本机命令行（%(name)s）", name=name) if kind == "local" else said("系统")


def _merge_targets(tx: Tx, actor: Actor, row: Any) -> list[dict[str, str]]:
    seen = visible_units(tx, actor)
    table = t.incident
    open_ones = table.c.state.in_(queries.OPEN_INCIDENTS)
    rows = tx.all(
        sa.select(table.c.no, table.c.title, table.c.unit_id)
        .where(open_ones, table.c.id != row.id, table.c.merged_into.is_(None))
        .order_by(table.c.id.desc())
        .limit(50)
    )
    return [{"no": r.no, "title": r.title} for r in rows if seen is None or r.unit_id in seen]


def _parent_no(tx: Tx, row: Any) -> str | None:
    if row.merged_into is None:
        return None
    no = tx.value(sa.select(t.incident.c.no).where(t.incident.c.id == row.merged_into))
    return str(no)


def _decided_requests(tx: Tx, row: Any) -> list[dict[str, Any]]:
    table = t.change_request
    rows = tx.all(
        sa.select(table).where(table.c.incident_id == row.id, table.c.state != "pending").order_by(table.c.id.desc())
    )
    return [
        {"id": r.id, "command": r.command, "state": r.state, "state_zh": REQUEST_STATE_ZH.get(r.state, r.state), "requested_by": r.requested_by, "decided_by": r.decided_by,
         "decided_at": shown(r.decided_at), "note": r.decision_note, "reasons": r.reasons}
        for r in rows
    ]  # fmt: skip


def _ticks(tx: Tx, row: Any, say: Callable[[str], str]) -> list[Tick]:
    """Every reminder of the present cycle's clocks: what was sent, what was not needed, what is planned."""
    action, clock, delivery = t.timed_action, t.clock, t.delivery
    left = delivery.c.state.in_((str(DeliveryState.SENT), str(DeliveryState.PARTIAL)))
    sent = sa.exists().where(delivery.c.action_id == action.c.id, left)
    rows = tx.all(
        sa.select(action, clock.c.key, sent.label("sent"))
        .join(clock, clock.c.id == action.c.clock_id)
        .where(action.c.incident_id == row.id, clock.c.cycle == row.cycle)
        .order_by(action.c.due_at)
    )
    found = []
    for one in rows:
        happened = _happened(one)
        if happened is not None:
            escalation = one.kind in {EventKind.ESCALATION, EventKind.BREACHED}
            found.append(Tick(one.key, one.due_at, happened, _tick_text(one, happened, say), escalation))
    return found


def _happened(row: Any) -> Happened | None:
    """None for what was taken back before its time, because the clock moved or ended."""
    if row.state in {ActionState.PENDING, ActionState.CLAIMED}:
        return "planned"
    if row.state == ActionState.BUNDLED or row.sent:
        return "sent"
    if row.state == ActionState.DONE or (row.done_at is not None and row.due_at <= row.done_at):
        return "suppressed"
    return None


def _tick_text(row: Any, happened: Happened, say: Callable[[str], str]) -> str:
    word = {"sent": "已发", "suppressed": "未发（无需或未送达）", "planned": "待发"}[happened]
    at = (shown(row.due_at) or "")[5:16].replace("T", " ")
    words = [at, say(zh(EventKind, row.kind)), queries.step_of(row.kind, row.step_id, say), say(word)]
    return " ".join(filter(None, words))


# -- what waits for a second person ------------------------------------------------------------------------------------


def waiting_requests(services: Services, actor: Actor, *, after: int = 0, limit: int = 10) -> dict[str, Any]:
    """Pending requests with what each would do now, oldest first; ``after`` is the last id of the page before."""
    found = queries.requests_pending(services, actor)["requests"]
    rest = [request for request in found if request["id"] > after]
    page = rest[:limit]
    with services.store.reading() as tx:
        names = people_names(tx)
        titles = _titles(tx, [request["incident"] for request in page])
    return {
        "requests": [
            {**request, "title": titles.get(request["incident"], "")}
            for request in with_effects(services, actor, page, names)
        ],
        "total": len(found),
        "next": page[-1]["id"] if len(rest) > limit else None,
    }


def _titles(tx: Tx, numbers: list[str]) -> dict[str, str]:
    rows = tx.all(sa.select(t.incident.c.no, t.incident.c.title).where(t.incident.c.no.in_(numbers)))
    return {row.no: row.title for row in rows}


def with_effects(
    services: Services, actor: Actor, requests: list[dict[str, Any]], names: dict[str, str], *, leads: bool = True
) -> list[dict[str, Any]]:
    """The same requests with who asks for what, what the clocks would become, and whether this actor may decide.

    ``leads``: the actor stands in the line of the lead unit; a unit that only helps decides nothing.
    """
    told = effects_of(services, [request["id"] for request in requests])
    approves = leads and Permission.APPROVE in actor.permissions and actor.is_person
    found = []
    for request in requests:
        effect, mine = told[request["id"]], request["requested_by"] == actor.id
        found.append(
            {
                **request,
                "requested_by_name": who(request["requested_by"], names),
                **effect,
                "moved": _once(effect["moved"]),
                "mine": mine,
                "may_approve": approves and not mine,
                "may_reject": approves and not mine,
            }
        )
    return found


def _once(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two documents that ask for the same move alike; one line says it."""
    return [row for number, row in enumerate(rows) if row not in rows[:number]]


def incident_of_request(services: Services, actor: Actor, request_id: int) -> str:
    """The number of the incident that a request is about, where the actor sees it or has asked for it."""
    with services.store.reading() as tx:
        return str(visible_request(tx, actor, request_id).no)
