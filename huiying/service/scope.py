"""Whether an actor may act for a unit: a role is held for its unit and everything below it."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from huiying.domain.errors import Forbidden, NotFound
from huiying.domain.roster import unit_chain
from huiying.domain.sentences import said
from huiying.service.actor import Actor
from huiying.store import tables as t
from huiying.store.db import Tx


def parents(tx: Tx) -> dict[str, str | None]:
    """Every unit with the one above it."""
    return {row.id: row.parent_id for row in tx.all(sa.select(t.unit.c.id, t.unit.c.parent_id))}


def covers(actor: Actor, tree: dict[str, str | None], unit_id: str) -> bool:
    """Tell whether a unit lies where the actor's roles are held; without a unit that is nowhere."""
    return actor.units is None or bool(actor.units.intersection(unit_chain(tree, unit_id)))


def require_unit(tx: Tx, actor: Actor, unit_id: str) -> None:
    """The unit exists and the actor may act for it."""
    tree = parents(tx)
    if unit_id not in tree:
        raise NotFound(said("没有编号为「%(unit_id)s」的单位。", unit_id=unit_id), unit=unit_id)
    if not covers(actor, tree, unit_id):
        raise Forbidden("该单位不在您的权限范围内，操作未执行。如需办理，请联系管理员。", unit=unit_id)


def require_reach(tx: Tx, actor: Actor, person_id: str, unit_id: str) -> None:
    """The actor may open an account: it belongs to a unit of theirs and acts nowhere that they may not.

    Whoever gives out a password could otherwise sign in as somebody whose roles reach further than their own.
    """
    require_unit(tx, actor, unit_id)
    tree = parents(tx)
    held = tx.all(sa.select(t.access.c.unit_id).where(t.access.c.person_id == person_id))
    if not all(covers(actor, tree, row.unit_id) for row in held):
        raise Forbidden("该人员在您的权限范围以外也有权限，操作未执行。请由其上级单位的管理员办理。")


def is_of_house(tx: Tx, actor: Actor) -> bool:
    """Whether the actor's roles are held for every unit there is."""
    tree = parents(tx)
    return all(covers(actor, tree, unit_id) for unit_id in tree)


def require_house(tx: Tx, actor: Actor) -> None:
    """What the change touches concerns every unit, so the actor's roles must be held for all of them."""
    if not is_of_house(tx, actor):
        raise Forbidden("此项影响全部单位，须由权限覆盖全部单位的管理员办理，操作未执行。")


def visible_units(tx: Tx, actor: Actor) -> frozenset[str] | None:
    """The units an actor sees; None for all of them."""
    if actor.is_everywhere:
        return None
    tree = parents(tx)
    return frozenset(unit_id for unit_id in tree if covers(actor, tree, unit_id))


def concerning(units: Collection[str] | None) -> sa.ColumnElement[bool]:
    """Incidents that one of these units leads, helps with or has a task in; all of them for None."""
    if units is None:
        return sa.true()
    incident, task = t.incident.c, t.clock.alias()
    has_task = sa.exists().where(task.c.incident_id == incident.id, task.c.unit_id.in_(units))
    return sa.or_(incident.unit_id.in_(units), has_task, sa.and_(incident.co_units != [], _helps(units)))


def _helps(units: Collection[str]) -> sa.ColumnElement[bool]:
    """Whether a unit stands in the incident's list: the text changes when the quoted id is taken out of it.

    Ids hold neither quotes nor backslashes; ``replace`` knows no wildcards and every database has it.
    """
    helper = t.unit.alias()
    listed = sa.cast(t.incident.c.co_units, sa.Text)
    without = sa.func.replace(listed, sa.literal('"') + helper.c.id + sa.literal('"'), "")
    return sa.exists().where(helper.c.id.in_(units), without != listed)


def concerned(tx: Tx, actor: Actor) -> sa.ColumnElement[bool]:
    """Incidents that an actor may read: those in which a unit of theirs takes part."""
    return concerning(visible_units(tx, actor))
