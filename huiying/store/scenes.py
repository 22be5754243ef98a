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


def _in(column: sa.ColumnElement[Any], name: str) -> sa.ColumnElement[bool]:
    return column.in_(sa.bindparam(name, expanding=True))


_I = t.incident.c
#: Everything but the free texts, which no message may carry.
_INCIDENTS = sa.select(_I.id, _I.no, _I.notice_title, _I.kind, _I.severity, _I.state, _I.unit_id, _I.drill).where(
    _in(_I.id, "ids")
)
_CLOCKS = sa.select(t.clock).where(_in(t.clock.c.id, "ids"))
_ACKS = sa.select(
    t.acknowledgement.c.incident_id,
    t.acknowledgement.c.clock_id,
    t.acknowledgement.c.step_id,
    t.acknowledgement.c.expires_at,
).where(_in(t.acknowledgement.c.incident_id, "ids"), t.acknowledgement.c.expires_at > sa.bindparam("at"))


def incidents(tx: Tx, ids: Iterable[int | None]) -> dict[int, Any]:
    """Incidents by id, without their free texts."""
    wanted = sorted({key for key in ids if key is not None})
    return {row.id: row for row in tx.all(_INCIDENTS, {"ids": wanted})} if wanted else {}


def clocks(tx: Tx, ids: Iterable[int | None]) -> dict[int, Any]:
    """Clocks by id."""
    wanted = sorted({key for key in ids if key is not None})
    return {row.id: row for row in tx.all(_CLOCKS, {"ids": wanted})} if wanted else {}


def acks(tx: Tx, incident_ids: Iterable[int]) -> dict[int, tuple[Ack, ...]]:
    """Valid acknowledgements by incident."""
    wanted = sorted(set(incident_ids))
    found: dict[int, list[Ack]] = {}
    if wanted:
        for row in tx.all(_ACKS, {"ids": wanted, "at": tx.now}):
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
_UNITS = sa.select(_ABOVE.c.id, _ABOVE.c.parent_id, _ABOVE.c.name)


def units(tx: Tx, ids: Iterable[str | None]) -> Units:
    """These units with all units above them."""
    wanted = sorted({key for key in ids if key})
    rows = tx.all(_UNITS, {"ids": wanted}) if wanted else []
    return Units({row.id: row.parent_id for row in rows}, {row.id: row.name for row in rows})


def roots(tx: Tx) -> list[str]:
    """Units in use with nothing above them."""
    statement = sa.select(t.unit.c.id).where(t.unit.c.parent_id.is_(None), t.unit.c.active).order_by(t.unit.c.id)
    return [row.id for row in tx.all(statement)]


_P = t.person.c
_ACTIVE = _P.active.is_(sa.true())
_DUTIES = (
    sa.select(t.duty.c.person_id, t.duty.c.role, t.duty.c.unit_id)
    .join(t.person, _P.id == t.duty.c.person_id)
    .where(_ACTIVE, _in(t.duty.c.unit_id, "units"), _in(t.duty.c.role, "roles"))
    .order_by(t.duty.c.id)
)
_SHIFTS = (
    sa.select(t.shift.c.person_id, t.shift.c.role, t.shift.c.unit_id, t.shift.c.starts_at, t.shift.c.ends_at)
    .join(t.person, _P.id == t.shift.c.person_id)
    .where(
        _ACTIVE,
        _in(t.shift.c.unit_id, "units"),
        _in(t.shift.c.role, "roles"),
        t.shift.c.starts_at <= sa.bindparam("at"),
        t.shift.c.ends_at > sa.bindparam("at"),
        t.shift.c.cancelled_at.is_(None),
    )
    .order_by(t.shift.c.id)
)
_ADMINISTRATORS = (
    sa.select(t.access.c.person_id)
    .join(t.person, _P.id == t.access.c.person_id)
    .where(_ACTIVE, t.access.c.role == str(AccessRole.ADMINISTRATOR))
    .order_by(t.access.c.id)
)


def administrators(tx: Tx) -> tuple[str, ...]:
    """Who administers the system."""
    return tuple(dict.fromkeys(row.person_id for row in tx.all(_ADMINISTRATORS)))


def roster(tx: Tx, unit_ids: Iterable[str], roles: Iterable[Role]) -> Roster:
    """The duties and the running shifts of these roles in these units, and the administrators."""
    wanted = {"units": sorted(set(unit_ids)), "roles": sorted({str(role) for role in roles})}
    duties: list[Duty] = []
    shifts: list[Shift] = []
    if wanted["units"] and wanted["roles"]:
        duties = [Duty(row.person_id, Role(row.role), row.unit_id) for row in tx.all(_DUTIES, wanted)]
        shifts = [
            Shift(row.person_id, Role(row.role), row.unit_id, row.starts_at, row.ends_at)
            for row in tx.all(_SHIFTS, {**wanted, "at": tx.now})
        ]
    return Roster(tuple(duties), tuple(shifts), administrators(tx))


_CHANNELS = sa.select(t.channel).where(t.channel.c.enabled.is_(sa.true()))


def channels(tx: Tx) -> dict[str, Any]:
    """All channels in use by id."""
    return {row.id: row for row in tx.all(_CHANNELS)}


def to_way(row: Any) -> Way:
    """A channel as far as choosing needs to know it."""
    kind, audience = ChannelKind(row.kind), Audience(row.audience)
    return Way(row.id, kind, audience, row.unit_id, row.rank, row.name, row.parked_until)


_PEOPLE = sa.select(t.person).where(_in(_P.id, "ids"))


def people(tx: Tx, ids: Iterable[str]) -> dict[str, Any]:
    """People by id."""
    wanted = sorted({key for key in ids if key})
    return {row.id: row for row in tx.all(_PEOPLE, {"ids": wanted})} if wanted else {}


def reach_of(rows: Mapping[str, Any]) -> dict[str, Reach]:
    """How these people can be reached, without opening any address."""
    return {key: Reach(bool(row.email_sealed), frozenset(row.im_sealed or {})) for key, row in rows.items()}


_D = t.delivery.c
_ORDINALS = (
    sa.select(_D.clock_id, _D.person_id, _D.channel_id, sa.func.count().label("count"))
    .where(_in(_D.incident_id, "ids"), _D.clock_id.is_not(None))
    .group_by(_D.clock_id, _D.person_id, _D.channel_id)
)


def told_before(tx: Tx, incident_ids: Sequence[int]) -> dict[tuple[int, str, str], int]:
    """How many messages of each clock each person has had on each channel."""
    wanted = sorted(set(incident_ids))
    rows = tx.all(_ORDINALS, {"ids": wanted}) if wanted else []
    return {(row.clock_id, row.person_id, row.channel_id): row.count for row in rows}
