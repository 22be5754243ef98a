"""Standing duties, access roles and shifts: who is asked to act, who may act, and when.

The roster itself is read at the moment a message leaves (``huiying.domain.roster``); here it is written.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from huiying.domain.access import AccessRole, Permission, separation_conflict
from huiying.domain.errors import Conflict, Forbidden, HuiyingError, InvalidInput, NotFound, Refused
from huiying.domain.kinds import Role, Word
from huiying.domain.plan import SHANGHAI
from huiying.domain.sentences import listed, said, term
from huiying.service.actor import Actor
from huiying.service.roster_names import Names, read_names
from huiying.service.scope import require_unit, visible_units
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Tx

_W = TypeVar("_W", bound=Word)

LONGEST_SHIFT = timedelta(days=7)
CSV_COLUMNS = ("unit_id", "role", "person_id", "starts_at", "ends_at")
#: The headings that an office writes instead.
_CSV_ALIASES = {
    "单位": "unit_id",
    "职责": "role",
    "人员": "person_id",
    "开始": "starts_at",
    "开始时间": "starts_at",
    "结束": "ends_at",
    "结束时间": "ends_at",
}
#: What a spreadsheet makes of a time: 2026/1/5 8:30.
_TABLE_TIME = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})[ T](\d{1,2}):(\d{2})(?::00)?")
_LARGEST_CSV = 1024 * 1024
_MOST_ROWS = 5000


def _role(value: str) -> Role:
    """A duty by its word or its Chinese name."""
    return _word(Role, "role", value, "职责")


def _access_role(value: str) -> AccessRole:
    return _word(AccessRole, "role", value, "权限")


def _word(words: type[_W], field: str, value: str, what: str) -> _W:
    for word in words:
        if value.strip() in {word.value, word.zh}:
            return word
    known = listed(said("%(word)s（%(name)s）", word=word.value, name=word) for word in words)
    raise InvalidInput(
        field, said("没有「%(text)s」这种%(what)s，可用：%(known)s。", text=value[:40], what=term(what), known=known)
    )


def _active_person(tx: Tx, person_id: str) -> Any:
    row = tx.one(sa.select(t.person).where(t.person.c.id == person_id))
    if row is None or not row.active:
        raise NotFound(said("没有编号为「%(person_id)s」的在用人员。", person_id=person_id[:64]))
    return row


# -- standing duties ---------------------------------------------------------------------------------------------------


def add_duty(services: Services, actor: Actor, person_id: str, role: str, unit_id: str) -> dict[str, Any]:
    """Give a person a standing duty for a unit; a shift of the same role comes first."""
    with services.store.transaction(actor.id) as tx:
        return insert_duty(tx, actor, person_id, role, unit_id)


def insert_duty(tx: Tx, actor: Actor, person_id: str, role: str, unit_id: str) -> dict[str, Any]:
    """The same within the caller's transaction."""
    actor.require(Permission.ROSTER)
    chosen = _role(role)
    _add_holding(tx, actor, t.duty, person_id=person_id, role=chosen, unit_id=unit_id)
    tx.audit("duty.added", f"person:{person_id}", {"role": chosen.value, "unit": unit_id})
    return _holding_view(person_id, chosen, unit_id)


def remove_duty(services: Services, actor: Actor, person_id: str, role: str, unit_id: str) -> dict[str, Any]:
    """Take a standing duty away."""
    actor.require(Permission.ROSTER)
    chosen = _role(role)
    with services.store.transaction(actor.id) as tx:
        _remove_holding(tx, actor, t.duty, person_id=person_id, role=chosen, unit_id=unit_id)
        tx.audit("duty.removed", f"person:{person_id}", {"role": chosen.value, "unit": unit_id})
    return _holding_view(person_id, chosen, unit_id)


def list_duties(services: Services, actor: Actor) -> list[dict[str, Any]]:
    """All standing duties an actor sees."""
    return _list_holdings(services, actor, t.duty, Role)


# -- access roles ------------------------------------------------------------------------------------------------------


def grant_access(services: Services, actor: Actor, person_id: str, role: str, unit_id: str) -> dict[str, Any]:
    """Let a person act in a role for a unit and everything below it; nobody can widen their own access."""
    with services.store.transaction(actor.id) as tx:
        return insert_access(tx, actor, person_id, role, unit_id)


def insert_access(tx: Tx, actor: Actor, person_id: str, role: str, unit_id: str) -> dict[str, Any]:
    """The same within the caller's transaction."""
    actor.require(Permission.PEOPLE)
    chosen = _access_role(role)
    if actor.person_id == person_id:
        raise Forbidden("不能为自己的账号增加权限，请由另一名管理员办理。")
    # Held until the end: two grants at once must not each find the other's role still missing.
    tx.one(sa.select(t.person.c.id).where(t.person.c.id == person_id).with_for_update())
    held = {(AccessRole(row.role), row.unit_id) for row in _access_of(tx, person_id)}
    _refuse_mixture(held | {(chosen, unit_id)})
    _add_holding(tx, actor, t.access, person_id=person_id, role=chosen, unit_id=unit_id)
    tx.audit("access.granted", f"person:{person_id}", {"role": chosen.value, "unit": unit_id})
    return _holding_view(person_id, chosen, unit_id)


def _refuse_mixture(held: set[tuple[AccessRole, str]]) -> None:
    """Separation of the administrators; and one account holds the same roles everywhere, or its reach would be unclear."""
    roles, units = {role for role, _ in held}, {unit for _, unit in held}
    conflict = separation_conflict(roles)
    if conflict:
        raise Refused(conflict)
    if len(roles) > 1 and len(units) > 1 and len(held) != len(roles) * len(units):
        raise Refused("同一账号在不同单位须持有相同的权限，否则范围不清，未授予。请在同一单位授予，或为其另设账号。")


def revoke_access(services: Services, actor: Actor, person_id: str, role: str, unit_id: str) -> dict[str, Any]:
    """Take a role away; the last administrator stays."""
    actor.require(Permission.PEOPLE)
    chosen = _access_role(role)
    with services.store.transaction(actor.id) as tx:
        if chosen is AccessRole.ADMINISTRATOR and _administrators(tx) <= {person_id}:
            raise Refused("这是最后一名管理员，未收回。请先授予另一人管理员权限。")
        _remove_holding(tx, actor, t.access, person_id=person_id, role=chosen, unit_id=unit_id)
        tx.audit("access.revoked", f"person:{person_id}", {"role": chosen.value, "unit": unit_id})
    return _holding_view(person_id, chosen, unit_id)


def list_access(services: Services, actor: Actor) -> list[dict[str, Any]]:
    """All access roles an actor sees; an auditor sees them too."""
    if Permission.AUDIT not in actor.permissions:
        actor.require(Permission.PEOPLE)
    return _list_holdings(services, actor, t.access, AccessRole)


def _access_of(tx: Tx, person_id: str) -> list[Any]:
    return tx.all(sa.select(t.access).where(t.access.c.person_id == person_id))


def _administrators(tx: Tx) -> set[str]:
    statement = (
        sa.select(t.access.c.person_id)
        .join(t.person, t.person.c.id == t.access.c.person_id)
        .where(t.access.c.role == AccessRole.ADMINISTRATOR.value, t.person.c.active)
    )
    return {row.person_id for row in tx.all(statement)}


# -- what duties and access have in common -----------------------------------------------------------------------------


def _add_holding(tx: Tx, actor: Actor, table: sa.Table, *, person_id: str, role: Word, unit_id: str) -> None:
    _active_person(tx, person_id)
    require_unit(tx, actor, unit_id)
    try:
        tx.run(table.insert().values(person_id=person_id, role=role.value, unit_id=unit_id))
    except IntegrityError:
        raise Conflict(
            said("该人员在单位「%(unit_id)s」已有“%(role)s”，未重复登记。", unit_id=unit_id, role=role)
        ) from None


def _remove_holding(tx: Tx, actor: Actor, table: sa.Table, *, person_id: str, role: Word, unit_id: str) -> None:
    require_unit(tx, actor, unit_id)
    same = sa.and_(table.c.person_id == person_id, table.c.role == role.value, table.c.unit_id == unit_id)
    if tx.run(table.delete().where(same)).rowcount == 0:
        raise NotFound(said("该人员在单位「%(unit_id)s」没有“%(role)s”。", unit_id=unit_id, role=role))


def _list_holdings(services: Services, actor: Actor, table: sa.Table, words: type[Any]) -> list[dict[str, Any]]:
    statement = (
        sa.select(table, t.person.c.name)
        .join(t.person, t.person.c.id == table.c.person_id)
        .order_by(table.c.unit_id, table.c.role, table.c.id)
    )
    with services.store.reading() as tx:
        seen = visible_units(tx, actor)
        rows = [row for row in tx.all(statement) if seen is None or row.unit_id in seen]
    return [{**_holding_view(row.person_id, words(row.role), row.unit_id), "person_name": row.name} for row in rows]


def _holding_view(person_id: str, role: Any, unit_id: str) -> dict[str, Any]:
    return {"person_id": person_id, "role": role.value, "role_zh": role.zh, "unit_id": unit_id}


# -- shifts ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ShiftInput:
    """A person's turn; ``ends_at`` is exclusive."""

    unit_id: str
    role: str
    person_id: str
    starts_at: datetime
    ends_at: datetime


def add_shift(services: Services, actor: Actor, shift: ShiftInput) -> dict[str, Any]:
    """Put a person on duty for a time."""
    actor.require(Permission.ROSTER)
    with services.store.transaction(actor.id) as tx:
        view = _insert_shift(tx, actor, shift)
        tx.audit("shift.added", f"shift:{view['id']}", _shift_audit(view))
    return view


def _insert_shift(tx: Tx, actor: Actor, shift: ShiftInput) -> dict[str, Any]:
    role = _role(shift.role)
    _check_span(shift)
    _active_person(tx, shift.person_id)
    require_unit(tx, actor, shift.unit_id)
    table = t.shift.c
    overlap = sa.select(table.id).where(
        table.unit_id == shift.unit_id,
        table.role == role.value,
        table.person_id == shift.person_id,
        table.cancelled_at.is_(None),
        table.starts_at < shift.ends_at,
        table.ends_at > shift.starts_at,
    )
    other = tx.one(overlap)
    if other is not None:
        raise Conflict(
            said("该人员与已有班次（编号 %(shift_id)s）时间重叠，未登记。", shift_id=other.id), shift=other.id
        )
    values = {
        "unit_id": shift.unit_id,
        "role": role.value,
        "person_id": shift.person_id,
        "starts_at": shift.starts_at,
        "ends_at": shift.ends_at,
    }
    made = tx.run(t.shift.insert().values(**values).returning(table.id)).scalar_one()
    return _shift_view({"id": made, **values, "cancelled_at": None})


def _check_span(shift: ShiftInput) -> None:
    if shift.starts_at.tzinfo is None or shift.ends_at.tzinfo is None:
        raise InvalidInput("starts_at", "时间缺少时区，请写明如 2026-11-22T08:30:00+08:00。")
    if shift.starts_at >= shift.ends_at:
        raise InvalidInput("ends_at", "结束时间应晚于开始时间。")
    if shift.ends_at - shift.starts_at > LONGEST_SHIFT:
        raise InvalidInput("ends_at", "一个班次最长 7 天，请核对日期。")


def cancel_shift(services: Services, actor: Actor, shift_id: int) -> dict[str, Any]:
    """Cancel a shift that is not over; it stays in the record."""
    actor.require(Permission.ROSTER)
    with services.store.transaction(actor.id) as tx:
        row = tx.one(sa.select(t.shift).where(t.shift.c.id == shift_id).with_for_update())
        if row is None:
            raise NotFound(said("没有编号为 %(shift_id)s 的班次。", shift_id=shift_id))
        require_unit(tx, actor, row.unit_id)
        if row.cancelled_at is not None or row.ends_at <= tx.now:
            raise Refused("该班次已取消或已结束，未作改动。")
        tx.run(t.shift.update().where(t.shift.c.id == shift_id).values(cancelled_at=tx.now))
        view = _shift_view({**row._asdict(), "cancelled_at": tx.now})
        tx.audit("shift.cancelled", f"shift:{shift_id}", _shift_audit(view))
    return view


def list_shifts(
    services: Services, actor: Actor, unit_id: str = "", *, since: datetime | None = None, limit: int = 200
) -> list[dict[str, Any]]:
    """Shifts that end after ``since`` (now when not given), the next first; cancelled ones are left out."""
    table = t.shift
    with services.store.reading() as tx:
        seen = visible_units(tx, actor)
        statement = (
            sa.select(table, t.person.c.name)
            .join(t.person, t.person.c.id == table.c.person_id)
            .where(table.c.ends_at > (since or tx.now), table.c.cancelled_at.is_(None))
            .order_by(table.c.starts_at, table.c.id)
            .limit(limit)
        )
        rows = tx.all(statement.where(table.c.unit_id == unit_id) if unit_id else statement)
    return [
        {**_shift_view(row._asdict()), "person_name": row.name} for row in rows if seen is None or row.unit_id in seen
    ]


def _shift_view(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "unit_id": row["unit_id"],
        "role": row["role"],
        "role_zh": Role(row["role"]).zh,
        "person_id": row["person_id"],
        "starts_at": row["starts_at"].astimezone(SHANGHAI).isoformat(),
        "ends_at": row["ends_at"].astimezone(SHANGHAI).isoformat(),
        "cancelled": row["cancelled_at"] is not None,
    }


def _shift_audit(view: Mapping[str, Any]) -> dict[str, Any]:
    return {key: view[key] for key in CSV_COLUMNS}


# -- shifts from a table -----------------------------------------------------------------------------------------------


def import_shifts(services: Services, actor: Actor, data: bytes) -> dict[str, Any]:
    """Take in a roster written as CSV, all of it or nothing; every faulty row is named with its reason.

    Columns: unit_id, role, person_id, starts_at, ends_at (or 单位、职责、人员、开始、结束). Unit, role and person are named by
    id or by name. A time without offset is Beijing time, as people write it in a table. UTF-8 and GB 18030 are read.
    """
    actor.require(Permission.ROSTER)
    rows = _read_csv(data)
    errors: list[dict[str, Any]] = []
    made: list[dict[str, Any]] = []
    with services.store.transaction(actor.id) as tx:
        names = read_names(tx, actor)
        for number, row in rows:
            try:
                made.append(_insert_shift(tx, actor, _shift_of(row, names)))
            except HuiyingError as error:
                errors.append({"row": number, "field": getattr(error, "field", ""), "message": error.message})
        if errors:
            shown = listed(
                [
                    said("第 %(row)s 行 %(message)s", row=error["row"], message=term(error["message"]))
                    for error in errors[:3]
                ],
                "；",
            )
            raise InvalidInput(
                "file",
                said("排班表有 %(count)s 行不正确，全部未导入：%(rows)s", count=len(errors), rows=shown),
                rows=errors,
            )
        tx.audit("shift.imported", "shift:*", {"count": len(made), "shifts": [view["id"] for view in made]})
    return {"imported": len(made), "shifts": made}


def _read_csv(data: bytes) -> list[tuple[int, dict[str, str]]]:
    if len(data) > _LARGEST_CSV:
        raise InvalidInput("file", "排班表超过 1 MB，未导入。")
    reader = csv.reader(io.StringIO(_decode(data), newline=""))
    try:
        rows = [
            (reader.line_num, [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)
        ]
    except csv.Error:
        raise InvalidInput("file", "排班表不是合法的 CSV 文件，未导入。") from None
    if not rows or len(rows) > _MOST_ROWS:
        raise InvalidInput("file", said("排班表应有表头和 1 至 %(most)s 行内容。", most=_MOST_ROWS))
    header = [_CSV_ALIASES.get(name, name) for name in rows[0][1]]
    missing = [name for name in CSV_COLUMNS if name not in header]
    if missing:
        raise InvalidInput(
            "file",
            said(
                "表头缺少：%(missing)s。表头应为：%(columns)s。", missing=listed(missing), columns=",".join(CSV_COLUMNS)
            ),
        )
    return [(number, dict(zip(header, cells, strict=False))) for number, cells in rows[1:]]


def _decode(data: bytes) -> str:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise InvalidInput("file", "排班表的编码无法识别，请另存为 UTF-8 的 CSV 文件。")


def _shift_of(row: Mapping[str, str], names: Names) -> ShiftInput:
    unit_id, person_id = names.unit(row.get("unit_id", "")), names.person(row.get("person_id", ""))
    starts_at, ends_at = _table_time(row, "starts_at"), _table_time(row, "ends_at")
    return ShiftInput(unit_id, row.get("role", ""), person_id, starts_at, ends_at)


def _beijing(year: int, month: int, day: int, hour: int, minute: int) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=SHANGHAI)


def _table_time(row: Mapping[str, str], field: str) -> datetime:
    text = row.get(field, "")
    local = _TABLE_TIME.fullmatch(text)
    try:
        at = _beijing(*map(int, local.groups())) if local else datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(field, said("「%(text)s」不是时间，请写成 2026-11-22 08:30。", text=text[:40])) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=SHANGHAI)
