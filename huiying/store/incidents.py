"""Reading and writing incidents: rows in, facts out. No decision is taken here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from huiying.domain.clock import Clock
from huiying.domain.folding import Entry, fold, unite
from huiying.domain.incident import Facts, Publication
from huiying.domain.kinds import ContentKind, PublicationKind, Review
from huiying.domain.plan import PlannedAction, dedup_key
from huiying.domain.rules import ClockRule
from huiying.store import tables as t
from huiying.store.db import Tx
from huiying.store.prepared import Prepared

#: Gives the rules of a frozen pack: (pack id, version) → clock rules.
RulesOf = Callable[[str, str], Iterable[ClockRule]]

_COUNT = Prepared(
    sa.text(
        "INSERT INTO counter (name, value) VALUES (:name, :step) "
        "ON CONFLICT (name) DO UPDATE SET value = counter.value + :step RETURNING value"
    )
)


def count_up(tx: Tx, name: str, step: int = 1) -> int:
    """Raise a named counter and return its new value; the row stays locked until the transaction ends."""
    return int(_COUNT.value(tx.conn, {"name": name, "step": step}))


def find_incident(tx: Tx, no: str, *, for_update: bool = False) -> Any | None:
    """The incident of that number, locked against other changes when asked."""
    statement = sa.select(t.incident).where(t.incident.c.no == no)
    return tx.one(statement.with_for_update() if for_update else statement)


def history_of(tx: Tx, incident_id: int, cycle: int | None = None) -> list[Any]:
    """The rows of an incident's history in order."""
    statement = sa.select(t.history).where(t.history.c.incident_id == incident_id).order_by(t.history.c.seq)
    return tx.all(statement if cycle is None else statement.where(t.history.c.cycle == cycle))


def append_history(
    tx: Tx,
    incident_id: int,
    cycle: int,
    entries: Iterable[tuple[str, Mapping[str, Any]]],
    by: str,
    approved_by: str = "",
) -> None:
    """Add entries after the last one; the incident row must be locked (or new)."""
    last = tx.value(sa.select(sa.func.max(t.history.c.seq)).where(t.history.c.incident_id == incident_id)) or 0
    rows = [
        {
            "incident_id": incident_id,
            "cycle": cycle,
            "seq": last + number,
            "what": what,
            "recorded_at": tx.now,
            "recorded_by": by,
            "approved_by": approved_by or None,
            "detail": dict(detail),
        }
        for number, (what, detail) in enumerate(entries, start=1)
    ]
    if rows:
        tx.run(t.history.insert(), rows)


def to_publication(row: Any) -> Publication:
    """The domain's view of a publication row."""
    return Publication(
        id=row.id,
        kind=PublicationKind(row.kind),
        published_at=row.published_at,
        content_kind=ContentKind(row.content_kind),
        has_evidence=bool(row.url or row.text),
        entered_at=row.entered_at,
        review=Review(row.review),
        credited=row.credited,
        confirmed=row.confirmed_by is not None,
        withdrawn=row.withdrawn_at is not None,
    )


def publications_of(tx: Tx, incident_id: int, cycle: int | None = None) -> list[Any]:
    """Publication rows of an incident."""
    statement = sa.select(t.publication).where(t.publication.c.incident_id == incident_id).order_by(t.publication.c.id)
    return tx.all(statement if cycle is None else statement.where(t.publication.c.cycle == cycle))


def packs_of(tx: Tx, incident_id: int, cycle: int) -> list[tuple[str, str]]:
    """(pack id, version) that the incident's cycle is judged by."""
    link = t.incident_pack
    statement = sa.select(link.c.pack_id, link.c.pack_version).where(
        link.c.incident_id == incident_id, link.c.cycle == cycle
    )
    return sorted((row.pack_id, row.pack_version) for row in tx.all(statement))


def load_facts(tx: Tx, incident: Any, rules_of: RulesOf) -> Facts:
    """Everything the clocks of the present cycle depend on, merged incidents included."""
    told = history_of(tx, incident.id, incident.cycle)
    entries = [Entry(row.what, row.recorded_at, row.recorded_by, row.detail, row.approved_by) for row in told]
    publications = [to_publication(row) for row in publications_of(tx, incident.id, incident.cycle)]
    rules = [rule for pack in packs_of(tx, incident.id, incident.cycle) for rule in rules_of(*pack)]
    facts = fold(entries, publications, rules)
    # What was merged in an earlier cycle has nothing to say in this one: neither its times nor its publications.
    absorbed = {row.detail["no"] for row in told if row.what == "absorbed"}
    children = tx.all(sa.select(t.incident).where(t.incident.c.merged_into == incident.id)) if absorbed else []
    return unite(facts, [load_facts(tx, child, rules_of) for child in children if child.no in absorbed])


def clock_rows(tx: Tx, incident_id: int, cycle: int) -> dict[str, Any]:
    """Stored clocks of a cycle by key."""
    statement = sa.select(t.clock).where(t.clock.c.incident_id == incident_id, t.clock.c.cycle == cycle)
    return {row.key: row for row in tx.all(statement)}


def clock_values(clock: Clock) -> dict[str, Any]:
    """The columns of a clock that follow from the facts."""
    return {
        "origin": str(clock.origin),
        "pack_id": clock.pack_id or None,
        "rule_id": clock.rule_id,
        "name": clock.name,
        "status": str(clock.status),
        "unit_id": clock.unit_id or None,
        "anchor_field": clock.anchor_field,
        "anchor_stated": clock.anchor_stated,
        "anchor_estimated": clock.anchor_estimated,
        "started_at": clock.started_at,
        "due_at": clock.due_at,
        "state": str(clock.state),
        "binding": clock.binding,
        "provisional": clock.provisional,
        "on_receipt": clock.on_receipt,
        "fulfilled_at": clock.fulfilled_at,
        "publication_id": clock.publication_id,
        "ended_at": clock.ended_at,
        "ended_reason": clock.ended_reason,
        "superseded_by": clock.superseded_by,
    }


def insert_clocks(tx: Tx, rows: list[dict[str, Any]]) -> dict[str, int]:
    """Write new clocks; gives their ids by key."""
    if not rows:
        return {}
    statement = t.clock.insert().returning(t.clock.c.key, t.clock.c.id)
    return {row.key: row.id for row in tx.run(statement, rows)}


def action_rows(
    tx: Tx,
    incident_id: int | None,
    clock_id: int | None,
    generation: int,
    planned: Iterable[PlannedAction],
    salt: str = "",
) -> list[dict[str, Any]]:
    """Timed actions as rows; planning the same thing twice gives the same dedup keys."""
    scope = f"clock:{clock_id}" if clock_id else f"incident:{incident_id}:{salt}"
    return [
        {
            "dedup_key": dedup_key(scope, action.step_id, generation, action.repetition),
            "kind": str(action.kind),
            "incident_id": incident_id,
            "clock_id": clock_id,
            "step_id": action.step_id,
            "generation": generation,
            "repetition": action.repetition,
            "urgency": action.urgency,
            "due_at": action.due_at,
            "state": "pending",
            "detail": action.detail,
            "created_at": tx.now,
        }
        for action in planned
    ]


def insert_actions(
    tx: Tx,
    incident_id: int | None,
    clock_id: int | None,
    generation: int,
    planned: Iterable[PlannedAction],
    salt: str = "",
) -> None:
    """Write timed actions."""
    rows = action_rows(tx, incident_id, clock_id, generation, planned, salt)
    if rows:
        tx.run(t.timed_action.insert(), rows)


def supersede_actions(tx: Tx, clock_ids: Iterable[int], reason: str) -> None:
    """Take back what was planned for these clocks and has not happened; unsent messages go with it."""
    ids = list(clock_ids)
    if not ids:
        return
    action = t.timed_action
    tx.run(
        action.update()
        .where(action.c.clock_id.in_(ids), action.c.state == "pending")
        .values(state="superseded", done_at=tx.now, owner=reason[:80], history="none")
    )


def clock_event_row(tx: Tx, clock_id: int, incident_id: int, what: str, **values: Any) -> dict[str, Any]:
    """A row for the append-only record of a clock's values (to be inserted in one go)."""
    return {
        "clock_id": clock_id,
        "incident_id": incident_id,
        "at": tx.now,
        "what": what,
        "state_from": values.get("state_from"),
        "state_to": values["state_to"],
        "due_from": values.get("due_from"),
        "due_to": values["due_to"],
        "detail": values.get("detail", {}),
    }
