"""Handing over a shift: the outgoing person prepares a snapshot and signs it, the incoming one reads the same and signs.

Both signatures name the snapshot's hash in the audit chain, so that nobody can say later that another paper was signed.
Each signs in a session of their own; what was signed never changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain import handover as paper
from huiying.domain.access import GRANTS, Permission
from huiying.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Refused
from huiying.domain.freetext import checked
from huiying.domain.kinds import ClockState, IncidentState, Kind, Role, Severity
from huiying.domain.roster import unit_chain
from huiying.domain.sentences import said
from huiying.service.actor import Actor
from huiying.service.queries import unacknowledged
from huiying.service.rulebook import packs_for_unit
from huiying.service.scope import covers, parents, require_unit, visible_units
from huiying.service.services import Services
from huiying.service.views import shown, unit_names, zh
from huiying.store import tables as t
from huiying.store.db import Tx

NOTES_LIMIT = 2000
REMARK_LIMIT = 500
MOST_ROWS = 200
_MOST_UNANSWERED = 1000
_LONGEST_QUOTE = 40
#: How far around the present turns are looked at; a leader's turn may last a week.
_AROUND, _LOOKED_AHEAD = timedelta(hours=26), timedelta(days=15)
_OPEN = [str(state) for state in IncidentState if state.is_open]
_OPEN_CLOCKS = [str(state) for state in ClockState if state.is_open]
_SIGNERS = [str(role) for role, granted in GRANTS.items() if Permission.ACKNOWLEDGE in granted]
_H = t.handover.c


# -- preparing ---------------------------------------------------------------------------------------------------------


def desk(services: Services, actor: Actor, unit_id: str = "") -> dict[str, Any]:
    """What the form needs: the units to hand over for and who may take over in one (that of the actor's own duty)."""
    actor.require(Permission.READ)
    with services.store.reading() as tx:
        tree, seen = parents(tx), visible_units(tx, actor)
        names = unit_names(tx, set(tree))
        units = sorted((unit_id for unit_id in tree if seen is None or unit_id in seen), key=lambda key: names[key])
        own = unit_id if unit_id in units else _own_unit(tx, actor.person_id, units)
        units.sort(key=lambda key: key != own)
        return {
            "units": [{"id": unit_id, "name": names[unit_id]} for unit_id in units],
            "people": _successors(tx, tree, own, actor.person_id) if own else [],
            "unit": own,
        }


def _own_unit(tx: Tx, person_id: str, units: list[str]) -> str:
    """Where the person is on duty now, stands on duty, or works."""
    shift, duty, person = t.shift.c, t.duty.c, t.person.c
    on_shift = sa.select(shift.unit_id).where(
        shift.person_id == person_id, shift.cancelled_at.is_(None), shift.starts_at <= tx.now, shift.ends_at > tx.now
    )
    for statement in (
        on_shift,
        sa.select(duty.unit_id).where(duty.person_id == person_id).order_by(duty.id),
        sa.select(person.unit_id).where(person.id == person_id),
    ):
        for row in tx.all(statement):
            if row.unit_id in units:
                return str(row.unit_id)
    return units[0] if units else ""


def _successors(tx: Tx, tree: dict[str, str | None], unit_id: str, own: str) -> list[dict[str, Any]]:
    """Who may sign for the next shift; whoever is entered for it in front."""
    access, person = t.access.c, t.person.c
    rows = tx.all(
        sa.select(person.id, person.name)
        .distinct()
        .join(t.access, access.person_id == person.id)
        .where(
            person.active, person.id != own, access.role.in_(_SIGNERS), access.unit_id.in_(unit_chain(tree, unit_id))
        )
        .order_by(person.name, person.id)
    )
    following = {turn.person_id for turn in _turns_after(tx, unit_id, own)}
    people = [{"id": row.id, "name": row.name, "next": row.id in following} for row in rows]
    return sorted(people, key=lambda one: not one["next"])


def _turns_after(tx: Tx, unit_id: str, person_id: str) -> list[paper.Shift]:
    shift = t.shift.c
    rows = tx.all(
        sa.select(t.shift)
        .where(shift.unit_id == unit_id, shift.cancelled_at.is_(None))
        .where(shift.ends_at > tx.now - _AROUND, shift.starts_at < tx.now + _LOOKED_AHEAD)
        .order_by(shift.starts_at, shift.id)
    )
    return paper.turns_after([_shift(row) for row in rows], unit_id, person_id, tx.now)


def _shift(row: Any) -> paper.Shift:
    return paper.Shift(row.unit_id, row.role, row.person_id, row.starts_at, row.ends_at)


def prepare(services: Services, actor: Actor, unit_id: str, to_person: str, notes: str = "") -> dict[str, Any]:
    """Make the snapshot; it waits for the outgoing person's signature. An unsigned one of the same person goes."""
    _require_signer(actor)
    text = checked("notes", notes, NOTES_LIMIT, "交班说明")
    if to_person == actor.person_id:
        raise InvalidInput("to_person", "接班人不能是交班人本人。未生成交接单。")
    with services.store.transaction(actor.id) as tx:
        require_unit(tx, actor, unit_id)
        allowed = {one["id"] for one in _successors(tx, parents(tx), unit_id, actor.person_id)}
        if to_person not in allowed:
            raise InvalidInput("to_person", "请选择接班人：须为该单位有签收权限的在册人员。未生成交接单。")
        facts = _facts(tx, unit_id, actor.person_id, to_person)
        made = paper.snapshot(facts, text, tx.now)
        row = {
            "unit_id": unit_id, "from_person": actor.person_id, "to_person": to_person, "state": "prepared", "at": tx.now,
            "snapshot": made, "snapshot_hash": paper.digest(made), "notes": text,
        }  # fmt: skip
        mine = sa.and_(_H.from_person == actor.person_id, _H.unit_id == unit_id, _H.state == "prepared")
        # Not deleted: its number stands in the audit chain and must not be given again.
        tx.run(t.handover.update().where(mine).values(state="withdrawn"))
        made_id = tx.run(t.handover.insert().values(**row).returning(_H.id)).scalar_one()
        tx.audit("handover.prepared", f"handover:{made_id}", _named(row))
        return _view(tx, _row(tx, made_id))


def _require_signer(actor: Actor) -> None:
    actor.require(Permission.ACKNOWLEDGE)
    if not actor.person_id:
        raise Forbidden("交接班须由本人登录后签字，命令行不能代签。")


def _named(row: dict[str, Any]) -> dict[str, Any]:
    """What the chain keeps: who, to whom, and which paper; nothing that anybody typed."""
    return {
        "unit": row["unit_id"],
        "from": row["from_person"],
        "to": row["to_person"],
        "snapshot_hash": row["snapshot_hash"],
    }


# -- the facts ---------------------------------------------------------------------------------------------------------


def _facts(tx: Tx, unit_id: str, from_person: str, to_person: str) -> paper.Facts:
    tree = parents(tx)
    units = [key for key in tree if unit_id in unit_chain(tree, key)]
    names = unit_names(tx, set(tree))
    i = t.incident.c
    matters = tx.all(sa.select(t.incident).where(i.unit_id.in_(units), i.state.in_(_OPEN)))
    numbers = {row.no for row in matters}
    until = _end_of_next(tx, unit_id, from_person, to_person)
    return paper.Facts(
        unit=names[unit_id],
        matters=[_matter(row, names) for row in matters],
        clocks=_clocks(tx, units, names),
        unanswered=[_unanswered(one) for one in unacknowledged(tx, _MOST_UNANSWERED) if one["incident"] in numbers],
        duties=_duties(tx, unit_id, until or tx.now + paper.USUAL_SHIFT),
        requests=_requests(tx, units),
        until=until,
    )


def _matter(row: Any, names: dict[str, str]) -> paper.Matter:
    return paper.Matter(
        no=row.no,
        title=row.title,
        kind=Kind(row.kind).zh,
        severity=zh(Severity, row.severity),
        state=IncidentState(row.state).zh,
        unit=names.get(row.unit_id, row.unit_id),
        drill=row.drill,
    )


def _clocks(tx: Tx, units: list[str], names: dict[str, str]) -> list[paper.Running]:
    c, i = t.clock.c, t.incident.c
    statement = (
        sa.select(i.no, c.name, c.due_at, c.state, c.unit_id, i.unit_id.label("lead"))
        .join(t.incident, i.id == c.incident_id)
        .where(i.unit_id.in_(units), c.binding.is_(sa.true()), c.state.in_(_OPEN_CLOCKS))
    )
    return [
        paper.Running(row.no, row.name, row.due_at, ClockState(row.state), names.get(row.unit_id or row.lead, ""))
        for row in tx.all(statement)
    ]


def _unanswered(one: dict[str, Any]) -> paper.Unanswered:
    sent = datetime.fromisoformat(one["sent_at"]) if one["sent_at"] else None
    return paper.Unanswered(one["notice_no"], one["incident"], one["person_name"], one["role_zh"], sent)


def _duties(tx: Tx, unit_id: str, until: datetime) -> list[paper.Duty]:
    """Dated duties of the documents that bind this unit."""
    o = t.obligation_due.c
    region = tx.value(sa.select(t.unit.c.region_code).where(t.unit.c.id == unit_id)) or ""
    texts = {
        (pack.id, duty.id): f"《{pack.title}》{duty.clause} {duty.quote[:_LONGEST_QUOTE]}"
        for pack in packs_for_unit(tx, unit_id, region, tx.now)
        for duty in pack.obligations
    }
    rows = tx.all(sa.select(t.obligation_due).where(o.replaced_at.is_(None), o.due_at >= tx.now, o.due_at <= until))
    return [
        paper.Duty(f"{texts[row.pack_id, row.obligation_id]}（{row.period}）", row.due_at)
        for row in rows
        if (row.pack_id, row.obligation_id) in texts
    ]


def _requests(tx: Tx, units: list[str]) -> int:
    request, incident = t.change_request.c, t.incident.c
    statement = (
        sa.select(sa.func.count())
        .select_from(t.change_request.join(t.incident, incident.id == request.incident_id))
        .where(request.state == "pending", incident.unit_id.in_(units))
    )
    return int(tx.value(statement) or 0)


def _end_of_next(tx: Tx, unit_id: str, from_person: str, person_id: str) -> datetime | None:
    """When the incoming person's own turn ends, where it is entered."""
    turns = [turn.ends_at for turn in _turns_after(tx, unit_id, from_person) if turn.person_id == person_id]
    if turns:
        return max(turns)
    shift = t.shift.c
    statement = (
        sa.select(shift.ends_at)
        .where(shift.unit_id == unit_id, shift.person_id == person_id, shift.cancelled_at.is_(None))
        .where(shift.ends_at > tx.now, shift.starts_at <= tx.now + timedelta(hours=3))
        .order_by(shift.ends_at.desc())
    )
    found: datetime | None = tx.value(statement)
    return found


# -- signing -----------------------------------------------------------------------------------------------------------


def sign_out(services: Services, actor: Actor, handover_id: int, snapshot_hash: str) -> dict[str, Any]:
    """The outgoing person's signature under exactly the paper that was shown."""
    _require_signer(actor)
    with services.store.transaction(actor.id) as tx:
        row = _held(tx, actor, handover_id, snapshot_hash)
        if row.from_person != actor.person_id:
            raise Forbidden("只有交班人本人可以在交班处签字，未签字。")
        if tx.now - row.at > paper.SIGN_WITHIN:
            raise Refused("交接单生成已超过 30 分钟，内容可能已变化，未签字。请重新生成后再签。")
        _move(tx, row, "prepared", "offered", signed_out_at=tx.now)
        tx.audit("handover.signed_out", f"handover:{row.id}", _named(row._asdict()))
        return _view(tx, _row(tx, handover_id))


def take(services: Services, actor: Actor, handover_id: int, snapshot_hash: str, remark: str = "") -> dict[str, Any]:
    """The incoming person's signature, in a session of their own."""
    _require_signer(actor)
    text = checked("remark", remark, REMARK_LIMIT, "接班意见")
    with services.store.transaction(actor.id) as tx:
        row = _held(tx, actor, handover_id, snapshot_hash)
        if row.to_person != actor.person_id:
            raise Forbidden("只有交接单上的接班人本人可以在接班处签字，未签字。")
        _move(tx, row, "offered", "taken", signed_in_at=tx.now, remark=text)
        tx.audit("handover.signed_in", f"handover:{row.id}", _named(row._asdict()))
        return _view(tx, _row(tx, handover_id))


def withdraw(services: Services, actor: Actor, handover_id: int) -> dict[str, Any]:
    """The outgoing person takes back what the other has not signed yet, for example because another one came."""
    _require_signer(actor)
    with services.store.transaction(actor.id) as tx:
        row = _visible(tx, actor, handover_id)
        if row.from_person != actor.person_id:
            raise Forbidden("只有交班人本人可以撤回，未作改动。")
        _move(tx, row, "offered", "withdrawn")
        tx.audit("handover.withdrawn", f"handover:{row.id}", _named(row._asdict()))
        return _view(tx, _row(tx, handover_id))


def _held(tx: Tx, actor: Actor, handover_id: int, snapshot_hash: str) -> Any:
    row = _visible(tx, actor, handover_id)
    if row.snapshot_hash != snapshot_hash:
        raise Conflict("交接单的内容与您看到的不同，未签字。请刷新页面，重新阅读后再签。")
    if paper.digest(row.snapshot) != row.snapshot_hash:
        raise Refused("交接单的内容与其摘要不符，可能被改动，未签字。请重新生成交接单，并告知审计人员。")
    return row


def _move(tx: Tx, row: Any, before: str, after: str, **values: Any) -> None:
    """One step of the paper's life; a second press, or another window's, finds that it has been taken."""
    changed = tx.run(
        t.handover.update().where(_H.id == row.id, _H.state == before).values(state=after, **values)
    ).rowcount
    if changed != 1:
        raise Conflict(
            said(
                "交接单现为“%(state)s”，不能再做这一步，未作改动。请刷新页面查看。",
                state=paper.HandoverState(row.state),
            )
        )


# -- looking -----------------------------------------------------------------------------------------------------------


def view(services: Services, actor: Actor, handover_id: int) -> dict[str, Any]:
    """One hand-over in full."""
    actor.require(Permission.READ)
    with services.store.reading() as tx:
        return _view(tx, _visible(tx, actor, handover_id))


def listing(services: Services, actor: Actor, *, before: int = 0, limit: int = 30) -> dict[str, Any]:
    """Hand-overs, newest first; ``before`` is the last number of the page before. Drafts of others are not shown."""
    actor.require(Permission.READ)
    most = min(limit, MOST_ROWS)
    statement = sa.select(t.handover).order_by(_H.id.desc()).limit(most + 1)
    own_draft = sa.and_(_H.state == "prepared", _H.from_person == actor.person_id)
    statement = statement.where(sa.or_(_H.signed_out_at.is_not(None), own_draft))
    with services.store.reading() as tx:
        seen = visible_units(tx, actor)
        if seen is not None:
            statement = statement.where(_H.unit_id.in_(seen))
        if before:
            statement = statement.where(_H.id < before)
        rows = tx.all(statement)
        people, units = _names(tx, rows)
    page = [_brief(row, people, units) for row in rows[:most]]
    return {"handovers": page, "next": page[-1]["id"] if len(rows) > most else None}


def pending(services: Services, actor: Actor) -> list[dict[str, Any]]:
    """What the desk reminds of: papers waiting for the actor's signature, own ones not taken yet, missed changes.

    Each item: ``kind`` (sign_in, sign_out, waiting, missing), ``text`` (a Chinese line), ``href`` and ``at``; what the
    line is made of stands beside it (``unit``, ``from``, ``to``, ``role_zh``, ``offered``), for the other language.
    """
    if Permission.READ not in actor.permissions:
        return []
    with services.store.reading() as tx:
        seen = visible_units(tx, actor)
        rows = _unfinished(tx, actor)
        changes = [c for c in _changes(tx) if seen is None or c.unit_id in seen]
        people, units = _names(tx, rows, changes)
        waiting = [_reminder(row, actor, people, units) for row in rows]
    papers = {(row.unit_id, row.from_person) for row in rows}
    return waiting + [
        _missing(change, people, units) for change in changes if (change.unit_id, change.from_person) not in papers
    ]


def _unfinished(tx: Tx, actor: Actor) -> list[Any]:
    mine = sa.or_(
        sa.and_(_H.to_person == actor.person_id, _H.state == "offered"),
        sa.and_(_H.from_person == actor.person_id, _H.state.in_(("prepared", "offered"))),
    )
    return tx.all(sa.select(t.handover).where(mine).order_by(_H.id.desc()).limit(20)) if actor.person_id else []


def _reminder(row: Any, actor: Actor, people: dict[str, str], units: dict[str, str]) -> dict[str, Any]:
    name = units.get(row.unit_id, row.unit_id)
    if row.state == "offered" and row.to_person == actor.person_id:
        kind, text = (
            "sign_in",
            said("%(name)s已签字交班（%(unit)s），请阅读后签字接班", name=people[row.from_person], unit=name),
        )
    elif row.state == "prepared":
        kind, text = "sign_out", said("交接单（%(unit)s）已生成，尚未签字交班", unit=name)
    else:
        kind, text = (
            "waiting",
            said("已签字交班（%(unit)s），等待%(name)s签字接班", unit=name, name=people[row.to_person]),
        )
    parts = {"unit": name, "from": people[row.from_person], "to": people[row.to_person], "role_zh": "", "offered": True}
    return {"kind": kind, "text": text, "href": f"/handover/{row.id}", "at": shown(row.at), **parts}


def _missing(change: paper.Change, people: dict[str, str], units: dict[str, str]) -> dict[str, Any]:
    followers = "、".join(people.get(person, person) for person in change.to_persons)
    leaving, unit = people.get(change.from_person, change.from_person), units.get(change.unit_id, change.unit_id)
    word = said("尚待接班人签字") if change.offered else said("尚未签字")
    text = said(
        "%(unit)s %(role)s交接（%(name)s→%(to)s）%(word)s",
        unit=unit,
        role=Role(change.role),
        name=leaving,
        to=followers,
        word=word,
    )
    parts = {"unit": unit, "from": leaving, "to": followers, "role_zh": Role(change.role).zh, "offered": change.offered}
    return {"kind": "missing", "text": text, "href": "/handover", "at": shown(change.at), **parts}


def _changes(tx: Tx) -> list[paper.Change]:
    shift = t.shift.c
    rows = tx.all(
        sa.select(t.shift).where(
            shift.cancelled_at.is_(None), shift.ends_at > tx.now - _AROUND, shift.starts_at < tx.now + _AROUND
        )
    )
    shifts = [_shift(row) for row in rows]
    signed = tx.all(
        sa.select(t.handover).where(_H.state.in_(("offered", "taken")), _H.signed_out_at > tx.now - 2 * _AROUND)
    )
    handed = [paper.Signed(s.unit_id, s.from_person, s.signed_out_at, taken=s.state == "taken") for s in signed]
    return paper.unsigned_changes(shifts, handed, tx.now)


def _row(tx: Tx, handover_id: int) -> Any:
    return tx.one(sa.select(t.handover).where(_H.id == handover_id))


def _visible(tx: Tx, actor: Actor, handover_id: int) -> Any:
    """The row, where the actor may see it: their units' papers, and those that name them."""
    row = _row(tx, handover_id)
    names_me = row is not None and actor.person_id in {row.from_person, row.to_person}
    hidden = row is not None and row.signed_out_at is None and row.from_person != actor.person_id
    if row is None or hidden or not (names_me or covers(actor, parents(tx), row.unit_id)):
        raise NotFound("没有这份交接单。")
    return row


def _names(tx: Tx, rows: Iterable[Any], changes: Iterable[paper.Change] = ()) -> tuple[dict[str, str], dict[str, str]]:
    found, moved = list(rows), list(changes)
    people = {person for row in found for person in (row.from_person, row.to_person)}
    people |= {person for change in moved for person in (change.from_person, *change.to_persons)}
    named = tx.all(sa.select(t.person.c.id, t.person.c.name).where(t.person.c.id.in_(people)))
    units = {one.unit_id for one in [*found, *moved]}
    return {row.id: row.name or row.id for row in named}, unit_names(tx, units)


def _brief(row: Any, people: dict[str, str], units: dict[str, str]) -> dict[str, Any]:
    return {
        "id": row.id,
        "unit": row.unit_id,
        "unit_name": units.get(row.unit_id, row.unit_id),
        "from_person": row.from_person,
        "from_name": people.get(row.from_person, row.from_person),
        "to_person": row.to_person,
        "to_name": people.get(row.to_person, row.to_person),
        "state": row.state,
        "state_zh": paper.HandoverState(row.state).zh,
        "at": shown(row.at),
        "signed_out_at": shown(row.signed_out_at),
        "signed_in_at": shown(row.signed_in_at),
        "matters": len(row.snapshot["matters"]),
        "clocks": len(row.snapshot["clocks"]),
    }


def _view(tx: Tx, row: Any) -> dict[str, Any]:
    people, units = _names(tx, [row])
    return {
        **_brief(row, people, units),
        "snapshot": row.snapshot,
        "hash": row.snapshot_hash,
        "intact": paper.digest(row.snapshot) == row.snapshot_hash,
        "remark": row.remark,
    }
