"""Reading what a due action is judged by: incidents, clocks, acknowledgements, the roster and the channels of the moment.

Only what the batch at hand needs is read, by key; nothing is kept between batches, so nothing is ever out of date.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from huiying.domain.access import AccessRole
from huiying.domain.expansion import Ack
from huiying.domain.kinds import Audience, ChannelKind, Role
from huiying.domain.roster import Duty, Roster, Shift
from huiying.domain.routes import Reach, Way
from huiying.store import tables as t
from huiying.store.db import Tx
from huiying.store.prepared import Prepared
from huiying.store.types import from_micros


def _in(column: sa.ColumnElement[Any], name: str) -> sa.ColumnElement[bool]:
    return column.in_(sa.bindparam(name, expanding=True))


_I = t.incident.c
#: Everything but the free texts, which no message may carry.
_INCIDENTS = Prepared(
    sa.select(_I.id, _I.no, _I.notice_title, _I.kind, _I.severity, _I.state, _I.unit_id, _I.drill).where(
        _in(_I.id, "ids")
    )
)
_C, _A = t.clock.c, t.timed_action.c


def _next(column: sa.ColumnElement[Any]) -> Any:
    """A column of the clock's next action after now."""
    ahead = sa.select(column).where(_A.clock_id == _C.id, _A.state == "pending", _A.due_at > sa.bindparam("at"))
    return ahead.order_by(_A.due_at, _A.id).limit(1).correlate(t.clock).scalar_subquery()


_CLOCKS = Prepared(
    sa.select(
        _C.id,
        _C.incident_id,
        _C.key,
        _C.pack_id,
        _C.pack_version,
        _C.rule_id,
        _C.name,
        _C.status,
        _C.unit_id,
        _C.started_at,
        _C.due_at,
        _C.state,
        _C.on_receipt,
        _next(_A.due_at).label("next_at"),
        _next(_A.detail).label("next_detail"),
    ).where(_in(_C.id, "ids"))
)
_ACKS = Prepared(
    sa.select(
        t.acknowledgement.c.incident_id,
        t.acknowledgement.c.clock_id,
        t.acknowledgement.c.step_id,
        t.acknowledgement.c.expires_at,
    ).where(_in(t.acknowledgement.c.incident_id, "ids"), t.acknowledgement.c.expires_at > sa.bindparam("at"))
)


def incidents(tx: Tx, ids: Iterable[int | None]) -> dict[int, Any]:
    """Incidents by id, without their free texts."""
    wanted = sorted({key for key in ids if key is not None})
    return {row.id: row for row in tx.rows(_INCIDENTS, {"ids": wanted})} if wanted else {}


def clocks(tx: Tx, ids: Iterable[int | None]) -> dict[int, Any]:
    """Clocks by id, each with its next action."""
    wanted = sorted({key for key in ids if key is not None})
    return {row.id: row for row in tx.rows(_CLOCKS, {"ids": wanted, "at": tx.now})} if wanted else {}


def acks(tx: Tx, incident_ids: Iterable[int]) -> dict[int, tuple[Ack, ...]]:
    """Valid acknowledgements by incident."""
    wanted = sorted(set(incident_ids))
    found: dict[int, list[Ack]] = {}
    if wanted:
        for row in tx.rows(_ACKS, {"ids": wanted, "at": tx.now}):
            found.setdefault(row.incident_id, []).append(
                Ack(row.incident_id, row.clock_id, row.step_id, row.expires_at)
            )
    return {incident_id: tuple(given) for incident_id, given in found.items()}


@dataclass(frozen=True, slots=True)
class Units:
    """The units of a batch and everything above them."""

    parents: Mapping[str, str | None]
    names: Mapping[str, str]


_BASE = (
    sa.select(t.unit.c.id, t.unit.c.parent_id, t.unit.c.name)
    .where(_in(t.unit.c.id, "ids"))
    .cte("above", recursive=True)
)
_ABOVE = _BASE.union(
    sa.select(t.unit.c.id, t.unit.c.parent_id, t.unit.c.name).join(_BASE, t.unit.c.id == _BASE.c.parent_id)
)
_UNITS = Prepared(sa.select(_ABOVE.c.id, _ABOVE.c.parent_id, _ABOVE.c.name))


def units(tx: Tx, ids: Iterable[str | None]) -> Units:
    """These units with all units above them."""
    wanted = sorted({key for key in ids if key})
    rows = tx.rows(_UNITS, {"ids": wanted}) if wanted else []
    return Units({row.id: row.parent_id for row in rows}, {row.id: row.name for row in rows})


def roots(tx: Tx) -> list[str]:
    """Units in use with nothing above them."""
    statement = sa.select(t.unit.c.id).where(t.unit.c.parent_id.is_(None), t.unit.c.active).order_by(t.unit.c.id)
    return [row.id for row in tx.all(statement)]


_P = t.person.c
_ACTIVE = _P.active.is_(sa.true())
_PERSON = (_P.id, _P.name, _P.mobile_sealed, _P.email_sealed, _P.im_sealed)


def _holders(  # the three parts of a roster read as one statement: who, as what, where, from when to when
    what: str, table: sa.Table, *where: sa.ColumnElement[bool], starts: Any = None, ends: Any = None
) -> sa.Select[Any]:
    nothing = sa.cast(sa.null(), sa.BigInteger)
    return (
        sa.select(
            sa.literal_column(f"'{what}'").label("what"),
            table.c.id.label("sequence"),
            table.c.role.label("role"),
            table.c.unit_id.label("unit_id"),
            (nothing if starts is None else starts).label("starts_at"),
            (nothing if ends is None else ends).label("ends_at"),
            *_PERSON,
        )
        .join(t.person, _P.id == table.c.person_id)
        .where(_ACTIVE, *where)
    )


_S = t.shift.c
_ROSTER = Prepared(
    sa.union_all(
        _holders("duty", t.duty, _in(t.duty.c.unit_id, "units"), _in(t.duty.c.role, "roles")),
        _holders(
            "shift",
            t.shift,
            _in(_S.unit_id, "units"),
            _in(_S.role, "roles"),
            _S.starts_at <= sa.bindparam("at", type_=_S.starts_at.type),
            _S.ends_at > sa.bindparam("at", type_=_S.starts_at.type),
            _S.cancelled_at.is_(None),
            starts=sa.type_coerce(_S.starts_at, sa.BigInteger),
            ends=sa.type_coerce(_S.ends_at, sa.BigInteger),
        ),
        _holders("administrator", t.access, t.access.c.role == str(AccessRole.ADMINISTRATOR)),
    )
)
_ADMINISTRATORS = Prepared(
    sa.select(t.access.c.person_id)
    .join(t.person, _P.id == t.access.c.person_id)
    .where(_ACTIVE, t.access.c.role == str(AccessRole.ADMINISTRATOR))
    .order_by(t.access.c.id)
)


def administrators(tx: Tx) -> tuple[str, ...]:
    """Who administers the system."""
    return tuple(dict.fromkeys(row.person_id for row in tx.rows(_ADMINISTRATORS)))


def roster(tx: Tx, unit_ids: Iterable[str], roles: Iterable[Role]) -> tuple[Roster, dict[str, Any]]:
    """The duties and running shifts of these roles in these units, the administrators, and all those people's rows."""
    wanted = {"units": sorted(set(unit_ids)), "roles": sorted({str(role) for role in roles}), "at": tx.now}
    rows = sorted(tx.rows(_ROSTER, wanted), key=lambda row: row.sequence)
    duties = [Duty(row.id, Role(row.role), row.unit_id) for row in rows if row.what == "duty"]
    shifts = [
        Shift(row.id, Role(row.role), row.unit_id, from_micros(row.starts_at), from_micros(row.ends_at))
        for row in rows
        if row.what == "shift"
    ]
    administering = dict.fromkeys(row.id for row in rows if row.what == "administrator")
    return Roster(tuple(duties), tuple(shifts), tuple(administering)), {row.id: row for row in rows}


_CHANNELS = Prepared(sa.select(t.channel).where(t.channel.c.enabled.is_(sa.true())))


def channels(tx: Tx) -> dict[str, Any]:
    """All channels in use by id."""
    return {row.id: row for row in tx.rows(_CHANNELS)}


def to_way(row: Any) -> Way:
    """A channel as far as choosing needs to know it."""
    kind, audience = ChannelKind(row.kind), Audience(row.audience)
    return Way(row.id, kind, audience, row.unit_id, row.rank, row.name, row.parked_until)


_PEOPLE = Prepared(sa.select(*_PERSON).where(_in(_P.id, "ids")))


def people(tx: Tx, ids: Iterable[str]) -> dict[str, Any]:
    """People by id."""
    wanted = sorted({key for key in ids if key})
    return {row.id: row for row in tx.rows(_PEOPLE, {"ids": wanted})} if wanted else {}


def reach_of(rows: Mapping[str, Any]) -> dict[str, Reach]:
    """How these people can be reached, without opening any address."""
    return {key: Reach(bool(row.email_sealed), frozenset(row.im_sealed or {})) for key, row in rows.items()}


_D = t.delivery.c
_ORDINALS = Prepared(
    sa.select(_D.clock_id, _D.person_id, _D.channel_id, sa.func.count().label("count"))
    .where(_in(_D.incident_id, "ids"), _D.clock_id.is_not(None))
    .group_by(_D.clock_id, _D.person_id, _D.channel_id)
)


def told_before(tx: Tx, incident_ids: Sequence[int]) -> dict[tuple[int, str, str], int]:
    """How many messages of each clock each person has had on each channel."""
    wanted = sorted(set(incident_ids))
    rows = tx.rows(_ORDINALS, {"ids": wanted}) if wanted else []
    return {(row.clock_id, row.person_id, row.channel_id): row.count for row in rows}


def rehearse(tx: Tx) -> None:
    """Run every frequent statement once on nothing, so that the first due action finds them compiled."""
    roster(tx, (), ())
    units(tx, ["-"])
    clocks(tx, [0])
    incidents(tx, [0])
    told_before(tx, [0])
