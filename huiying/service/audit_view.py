"""The audit chain as an auditor reads it on a screen; checking and exporting are ``huiying.service.audit``.

The chain is one for the whole house: whether it is whole is said to everybody who audits, because every row is needed
to tell. Its entries are shown as far as the auditor's role is held: those about incidents in which the units take part,
about the units themselves, and about or by their people. The export cannot be verified in parts and is for who audits
the whole house.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from huiying.domain.access import Permission
from huiying.domain.audit_words import action_zh, actor_zh, codes_for
from huiying.domain.errors import Forbidden
from huiying.service.actor import Actor
from huiying.service.scope import concerning, is_of_house, visible_units
from huiying.service.services import Services
from huiying.service.views import shown
from huiying.store import tables as t
from huiying.store.db import Tx

MOST_ROWS = 1000
NO_EXPORT = (
    "您的审计权限未覆盖全部单位，不能导出审计链：链条须整体导出才能独立核验。"
    "请由权限覆盖全部单位的审计人员导出；本页可查看与您单位有关的记录和全链校验结果。"
)


def entries(
    services: Services,
    actor: Actor,
    *,
    after: int = 0,
    subject: str = "",
    limit: int = 200,
    newest_first: bool = False,
) -> dict[str, Any]:
    """Entries in the order of the chain, from ``after`` on; ``subject`` such as incident:2026-0001.

    ``newest_first`` turns the order round: the last entries are given, of those after ``after``.
    """
    actor.require(Permission.AUDIT)
    table = t.audit
    order = table.c.seq.desc() if newest_first else table.c.seq
    statement = sa.select(table).where(table.c.seq > after).order_by(order).limit(min(limit, MOST_ROWS) + 1)
    if subject:
        statement = statement.where(table.c.subject == subject)
    with services.store.reading() as tx:
        rows = tx.all(statement.where(*_within(tx, actor)))
        head = tx.one(sa.select(t.audit_head.c.seq, t.audit_head.c.hash))
    page = rows[: min(limit, MOST_ROWS)]
    return {
        "head": {"count": head.seq, "hash": head.hash} if head else {"count": 0, "hash": ""},
        "entries": [_view(row) for row in page],
        "next": page[-1].seq if len(rows) > len(page) and not newest_first else None,
    }


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: whose (id or name), what action, about what, from and until when; empty fields match all.

    ``what``: the beginning of a code, or words of its reading; ``codes`` adds what they mean in another language.
    """

    who: str = ""
    what: str = ""
    codes: tuple[str, ...] = ()
    subject: str = ""
    since: datetime | None = None
    until: datetime | None = None


def search(services: Services, actor: Actor, wanted: Wanted, *, before: int = 0, limit: int = 50) -> dict[str, Any]:
    """Entries newest first, with names and readings; ``before`` is the lowest number of the page before."""
    actor.require(Permission.AUDIT)
    most = min(limit, MOST_ROWS)
    table = t.audit.c
    statement = sa.select(t.audit).order_by(table.seq.desc()).limit(most + 1)
    if before:
        statement = statement.where(table.seq < before)
    with services.store.reading() as tx:
        whole = is_of_house(tx, actor)
        rows = tx.all(statement.where(*_within(tx, actor), *_conditions(tx, wanted)))
        head = tx.one(sa.select(t.audit_head.c.seq, t.audit_head.c.hash))
        page = rows[:most]
        names = _names(tx, page)
    return {
        "head": {"count": head.seq, "hash": head.hash} if head else {"count": 0, "hash": ""},
        "entries": [
            {**_view(row), "actor_zh": actor_zh(row.actor, names), "action_zh": action_zh(row.action)} for row in page
        ],
        "next": page[-1].seq if len(rows) > most else None,
        "whole": whole,
    }


def require_export(services: Services, actor: Actor) -> None:
    """A part of the chain proves nothing by itself: only who audits every unit takes it away."""
    actor.require(Permission.AUDIT)
    with services.store.reading() as tx:
        if not is_of_house(tx, actor):
            raise Forbidden(NO_EXPORT)


def _within(tx: Tx, actor: Actor) -> list[sa.ColumnElement[bool]]:
    """The entries that lie where the auditor's role is held; no condition for who audits every unit."""
    units = visible_units(tx, actor)
    if units is None or is_of_house(tx, actor):
        return []
    audit, person = t.audit.c, t.person.c
    people = sa.select(sa.literal("person:") + person.id).where(person.unit_id.in_(units))
    incidents = sa.select(sa.literal("incident:") + t.incident.c.no).where(concerning(units))
    channels = sa.select(sa.literal("channel:") + t.channel.c.id).where(t.channel.c.unit_id.in_(units))
    numbered = [
        sa.select(sa.literal(f"{what}:") + sa.cast(table.c.id, sa.Text)).where(table.c.unit_id.in_(units))
        for what, table in (("shift", t.shift), ("handover", t.handover))
    ]
    subjects = sa.union_all(people, incidents, channels, *numbered)
    return [
        sa.or_(
            audit.subject.in_(subjects),
            audit.actor.in_(people),
            audit.subject.in_([f"unit:{unit_id}" for unit_id in units]),
        )
    ]


def _conditions(tx: Tx, wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    table = t.audit.c
    found: list[sa.ColumnElement[bool]] = []
    if wanted.who:
        named = sa.select(t.person.c.id).where(t.person.c.name.contains(wanted.who, autoescape=True))
        people = [f"person:{row.id}" for row in tx.all(named.limit(200))]
        found.append(sa.or_(table.actor.contains(wanted.who, autoescape=True), table.actor.in_(people)))
    if wanted.what:
        codes = {*wanted.codes, *codes_for(wanted.what)}
        found.append(sa.or_(table.action.startswith(wanted.what, autoescape=True), table.action.in_(codes)))
    if wanted.subject:
        found.append(table.subject.contains(wanted.subject, autoescape=True))
    if wanted.since is not None:
        found.append(table.at >= wanted.since)
    if wanted.until is not None:
        found.append(table.at < wanted.until)
    return found


def _names(tx: Tx, rows: list[Any]) -> dict[str, str]:
    ids = {row.actor.removeprefix("person:") for row in rows if row.actor.startswith("person:")}
    return {row.id: row.name for row in tx.all(sa.select(t.person.c.id, t.person.c.name).where(t.person.c.id.in_(ids)))}


def _view(row: Any) -> dict[str, Any]:
    return {
        "seq": row.seq,
        "at": shown(row.at),
        "actor": row.actor,
        "action": row.action,
        "subject": row.subject,
        "payload": json.loads(row.payload) if row.payload else None,
        "hash": row.hash,
    }
