"""Whether an actor may act for a unit: a role is held for its unit and everything below it."""

from __future__ import annotations

import sqlalchemy as sa

from huiying.domain.errors import Forbidden, NotFound
from huiying.domain.roster import unit_chain
from huiying.service.actor import Actor
from huiying.store import tables as t
from huiying.store.db import Tx


def parents(tx: Tx) -> dict[str, str | None]:
    """Every unit with the one above it."""
    return {row.id: row.parent_id for row in tx.all(sa.select(t.unit.c.id, t.unit.c.parent_id))}


def covers(actor: Actor, tree: dict[str, str | None], unit_id: str) -> bool:
    """Tell whether a unit lies where the actor's roles are held."""
    return not actor.units or bool(actor.units.intersection(unit_chain(tree, unit_id)))


def require_unit(tx: Tx, actor: Actor, unit_id: str) -> None:
    """The unit exists and the actor may act for it."""
    tree = parents(tx)
    if unit_id not in tree:
        raise NotFound(f"没有编号为「{unit_id}」的单位。", unit=unit_id)
    if not covers(actor, tree, unit_id):
        raise Forbidden("该单位不在您的权限范围内,操作未执行。如需办理,请联系管理员。", unit=unit_id)


def visible_units(tx: Tx, actor: Actor) -> frozenset[str] | None:
    """The units an actor sees; None for all of them."""
    if not actor.units:
        return None
    tree = parents(tx)
    return frozenset(unit_id for unit_id in tree if covers(actor, tree, unit_id))
