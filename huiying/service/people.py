"""Units and people: who belongs where and how they are reached.

Phone numbers and addresses are sealed before they reach the database and are shown masked; only who has to call sees
them in clear, and that look is an entry of the audit. A person is never deleted, only taken out of use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from config.sealed import CannotOpen
from huiying.domain.access import AccessRole, Permission
from huiying.domain.errors import Conflict, InvalidInput, NotFound, Refused
from huiying.domain.kinds import Role
from huiying.domain.masking import mask_email, mask_phone
from huiying.domain.roster import UNASSIGNED, unit_chain
from huiying.domain.sentences import said, term
from huiying.domain.text import identifier, line
from huiying.service import device_marks, session_rows
from huiying.service.actor import Actor
from huiying.service.scope import parents, require_unit, visible_units
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Tx

_MOBILE = re.compile(r"\+?[0-9][0-9 -]{4,24}")
_EMAIL = re.compile(r"[^\s@<>\"']+@[^\s@<>\"']+\.[^\s@<>\"'.]+")
_REGION = re.compile(r"(?:\d{6})?")
UNREADABLE = "（无法解开）"
_RESERVED = frozenset({UNASSIGNED, "local", "system", "anonymous"})


def insert_once(tx: Tx, table: sa.Table, values: Mapping[str, Any], sentence: str) -> sa.CursorResult[Any]:
    """Insert a row whose key may be taken already; then refuse with the sentence."""
    try:
        return tx.run(table.insert().values(**values))
    except IntegrityError:
        raise Conflict(sentence) from None


# -- units -------------------------------------------------------------------------------------------------------------


def add_unit(
    services: Services,
    actor: Actor,
    unit_id: str,
    *,
    name: str,
    parent_id: str = "",
    region_code: str = "",
    kind: str = "",
    pack_id: str = "",
) -> dict[str, Any]:
    """A new unit under another one (or at the top)."""
    actor.require(Permission.PEOPLE)
    values = {"id": identifier("id", unit_id), **_unit_values(name, region_code, kind, pack_id)}
    with services.store.transaction(actor.id) as tx:
        if parent_id or not actor.is_everywhere:
            require_unit(tx, actor, parent_id)
        row = {**values, "parent_id": parent_id or None, "active": True}
        insert_once(tx, t.unit, row, said("编号「%(unit_id)s」已有单位使用，未新建。", unit_id=unit_id))
        tx.audit("unit.added", f"unit:{unit_id}", {"name": values["name"], "parent": parent_id or None})
        return _unit_view(row)


def _unit_values(name: str, region_code: str, kind: str, pack_id: str) -> dict[str, str]:
    if not _REGION.fullmatch(region_code):
        raise InvalidInput("region_code", "行政区划代码为 6 位数字，如 520200。")
    return {
        "name": line("name", name, 200, "单位名称", required=True),
        "region_code": region_code,
        "kind": line("kind", kind, 32, "单位类型"),
        "pack_id": line("pack_id", pack_id, 80, "规则包"),
    }


def edit_unit(services: Services, actor: Actor, unit_id: str, **changes: Any) -> dict[str, Any]:
    """Change name, parent, region, kind, pack or use of a unit; absent (None) fields stay."""
    actor.require(Permission.PEOPLE)
    given = {key: value for key, value in changes.items() if value is not None}
    with services.store.transaction(actor.id) as tx:
        require_unit(tx, actor, unit_id)
        (row,) = tx.all(sa.select(t.unit).where(t.unit.c.id == unit_id))
        present = {**row._asdict(), **given}
        values = _unit_values(present["name"], present["region_code"], present["kind"], present["pack_id"])
        parent_id = present["parent_id"] or None
        if "parent_id" in given and parent_id:
            require_unit(tx, actor, parent_id)
            if unit_id in unit_chain(parents(tx), parent_id):
                raise InvalidInput("parent_id", "上级单位不能是本单位自己或其下级。")
        if given.get("active") is False:
            _refuse_unit_in_use(tx, unit_id)
        changed = {**values, "parent_id": parent_id, "active": bool(present["active"])}
        tx.run(t.unit.update().where(t.unit.c.id == unit_id).values(**changed))
        tx.audit("unit.changed", f"unit:{unit_id}", {"fields": sorted(given)})
        return _unit_view({"id": unit_id, **changed})


def _refuse_unit_in_use(tx: Tx, unit_id: str) -> None:
    people = tx.value(
        sa.select(sa.func.count()).select_from(t.person).where(t.person.c.unit_id == unit_id, t.person.c.active)
    )
    children = tx.value(
        sa.select(sa.func.count()).select_from(t.unit).where(t.unit.c.parent_id == unit_id, t.unit.c.active)
    )
    if people or children:
        raise Refused(
            said(
                "该单位还有 %(people)s 名在用人员、%(children)s 个在用下级单位，未停用。请先调整后再停用。",
                people=people,
                children=children,
            )
        )


def list_units(services: Services, actor: Actor) -> list[dict[str, Any]]:
    """The units an actor sees, by id."""
    with services.store.reading() as tx:
        seen = visible_units(tx, actor)
        rows = tx.all(sa.select(t.unit).order_by(t.unit.c.id))
    return [_unit_view(row._asdict()) for row in rows if seen is None or row.id in seen]


def _unit_view(row: Mapping[Any, Any]) -> dict[str, Any]:
    names = ("id", "name", "parent_id", "region_code", "kind", "pack_id", "active")
    return {name: row[name] for name in names}


# -- people ------------------------------------------------------------------------------------------------------------


def add_person(
    services: Services,
    actor: Actor,
    person_id: str,
    *,
    name: str,
    unit_id: str,
    mobile: str = "",
    email: str = "",
    im: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A new person; ``im`` gives a user id per channel."""
    with services.store.transaction(actor.id) as tx:
        row = insert_person(
            services, tx, actor, person_id, name=name, unit_id=unit_id, mobile=mobile, email=email, im=im or {}
        )
        return _person_view(services, row)


def insert_person(
    services: Services,
    tx: Tx,
    actor: Actor,
    person_id: str,
    *,
    name: str,
    unit_id: str,
    mobile: str,
    email: str,
    im: Mapping[str, str],
) -> dict[str, Any]:
    """Write a new person within the caller's transaction; gives the row."""
    actor.require(Permission.PEOPLE)
    if identifier("id", person_id) in _RESERVED:
        raise InvalidInput("id", said("「%(person_id)s」是系统保留的编号，请另取一个。", person_id=person_id))
    require_unit(tx, actor, unit_id)
    row = {
        "id": person_id,
        "name": line("name", name, 80, "姓名", required=True),
        "unit_id": unit_id,
        "mobile_sealed": _seal(services, "mobile", mobile, _MOBILE, "手机号码"),
        "email_sealed": _seal(services, "email", email, _EMAIL, "电子邮箱"),
        "im_sealed": _seal_im(services, tx, im),
        "active": True,
        "created_at": tx.now,
    }
    insert_once(tx, t.person, row, said("编号「%(person_id)s」已有人员使用，未新建。", person_id=person_id))
    reached = [key for key in ("mobile", "email") if row[f"{key}_sealed"]] + sorted(im)
    tx.audit("person.added", f"person:{person_id}", {"unit": unit_id, "reached_by": reached})
    return row


def edit_person(services: Services, actor: Actor, person_id: str, **changes: Any) -> dict[str, Any]:
    """Change name, unit, mobile, email, im or use of a person; absent (None) fields stay, "" empties an address."""
    actor.require(Permission.PEOPLE)
    given = {key: value for key, value in changes.items() if value is not None}
    with services.store.transaction(actor.id) as tx:
        row = _find(tx, actor, person_id)
        values = _person_changes(services, tx, actor, row, given)
        if values:
            tx.run(t.person.update().where(t.person.c.id == person_id).values(**values))
        if values.get("active") is False:
            _end_access(tx, person_id)
        tx.audit("person.changed", f"person:{person_id}", {"fields": sorted(given)})
        return _person_view(services, {**row._asdict(), **values})


def _person_changes(services: Services, tx: Tx, actor: Actor, row: Any, given: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if "name" in given:
        values["name"] = line("name", given["name"], 80, "姓名", required=True)
    if "unit_id" in given:
        require_unit(tx, actor, given["unit_id"])
        values["unit_id"] = given["unit_id"]
    if "mobile" in given:
        values["mobile_sealed"] = _seal(services, "mobile", given["mobile"], _MOBILE, "手机号码")
    if "email" in given:
        values["email_sealed"] = _seal(services, "email", given["email"], _EMAIL, "电子邮箱")
    if "im" in given:
        added = _seal_im(services, tx, {key: value for key, value in given["im"].items() if value})
        kept = {key: value for key, value in row.im_sealed.items() if key not in given["im"]}
        values["im_sealed"] = {**kept, **added}
    if "active" in given:
        values["active"] = bool(given["active"])
    return values


def _end_access(tx: Tx, person_id: str) -> None:
    """Who leaves takes no token and no session along; shifts that lie ahead are cancelled, so that the gap shows at once."""
    token, shift = t.token.c, t.shift.c
    tx.run(t.token.update().where(token.person_id == person_id, token.revoked_at.is_(None)).values(revoked_at=tx.now))
    session_rows.end_all(tx, person_id, tx.actor)
    device_marks.forget_all(tx, person_id)
    ahead = sa.and_(shift.person_id == person_id, shift.ends_at > tx.now, shift.cancelled_at.is_(None))
    tx.run(t.shift.update().where(ahead).values(cancelled_at=tx.now))


def list_people(services: Services, actor: Actor, unit_id: str = "", *, reveal: bool = False) -> list[dict[str, Any]]:
    """The people an actor sees, by unit and id; ``reveal`` shows numbers in clear to who may call, and is audited."""
    if reveal:
        actor.require(Permission.CALL)
    with services.store.transaction(actor.id) if reveal else services.store.reading() as tx:
        seen = visible_units(tx, actor)
        statement = sa.select(t.person).order_by(t.person.c.unit_id, t.person.c.id)
        rows = tx.all(statement.where(t.person.c.unit_id == unit_id) if unit_id else statement)
        rows = [row for row in rows if seen is None or row.unit_id in seen]
        if reveal:
            tx.audit("person.revealed", f"unit:{unit_id or '*'}", {"people": [row.id for row in rows]})
    return [_person_view(services, row._asdict(), reveal=reveal) for row in rows]


def show_person(services: Services, actor: Actor, person_id: str, *, reveal: bool = False) -> dict[str, Any]:
    """One person with duties and access roles."""
    if reveal:
        actor.require(Permission.CALL)
    with services.store.transaction(actor.id) if reveal else services.store.reading() as tx:
        row = _find(tx, actor, person_id)
        duties = tx.all(sa.select(t.duty).where(t.duty.c.person_id == person_id).order_by(t.duty.c.id))
        roles = tx.all(sa.select(t.access).where(t.access.c.person_id == person_id).order_by(t.access.c.id))
        if reveal:
            tx.audit("person.revealed", f"person:{person_id}", {"people": [person_id]})
    return {
        **_person_view(services, row._asdict(), reveal=reveal),
        "duties": [{"role": d.role, "role_zh": Role(d.role).zh, "unit_id": d.unit_id} for d in duties],
        "access": [{"role": a.role, "role_zh": AccessRole(a.role).zh, "unit_id": a.unit_id} for a in roles],
    }


def _find(tx: Tx, actor: Actor, person_id: str) -> Any:
    row = tx.one(sa.select(t.person).where(t.person.c.id == person_id))
    if row is None:
        raise NotFound(said("没有编号为「%(person_id)s」的人员。", person_id=person_id))
    require_unit(tx, actor, row.unit_id)
    return row


def _seal(services: Services, field: str, value: str, pattern: re.Pattern[str], what: str) -> str:
    clear = line(field, value, 200, what)
    if not clear:
        return ""
    if not pattern.fullmatch(clear):
        raise InvalidInput(field, said("%(what)s格式不正确，请核对。", what=term(what)))
    return services.sealer.seal(clear)


def _seal_im(services: Services, tx: Tx, im: Mapping[str, str]) -> dict[str, str]:
    known = {row.id for row in tx.all(sa.select(t.channel.c.id))}
    sealed = {}
    for channel_id, user_id in im.items():
        if channel_id not in known:
            raise InvalidInput("im", said("没有编号为「%(channel_id)s」的渠道。", channel_id=channel_id))
        sealed[channel_id] = services.sealer.seal(line("im", user_id, 200, "渠道用户号", required=True))
    return sealed


def _person_view(services: Services, row: Mapping[Any, Any], *, reveal: bool = False) -> dict[str, Any]:
    def shown(sealed: str, masked: Any) -> str:
        try:
            clear = services.sealer.open(sealed) if sealed else ""
        except CannotOpen:
            # The key was lost or exchanged: the list must still be there to be mended.
            return UNREADABLE
        return clear if reveal else str(masked(clear))

    return {
        "id": row["id"],
        "name": row["name"],
        "unit_id": row["unit_id"],
        "mobile": shown(row["mobile_sealed"], mask_phone),
        "email": shown(row["email_sealed"], mask_email),
        "im": sorted(row["im_sealed"]),
        "active": bool(row["active"]),
    }
