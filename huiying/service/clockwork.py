"""Bringing the stored clocks up to date with the facts: derive → compare → write → plan.

Called inside the transaction of every change. The stored clock is a cache of a pure function; its own history of values
is append-only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from huiying.domain.clock import Clock, derive_clocks
from huiying.domain.incident import Facts
from huiying.domain.kinds import ClockState, EventKind, IncidentState
from huiying.domain.plan import plan_actions
from huiying.domain.policy import Policy
from huiying.service.rulebook import current_policies, policy_for_clock, policy_of, rules_of
from huiying.store import incidents as repo
from huiying.store import tables as t
from huiying.store.db import Tx

_WATCHED = ("started_at", "due_at", "state", "binding", "provisional", "on_receipt", "fulfilled_at", "ended_reason")


@dataclass
class Snapshot:
    """An incident as the transaction sees it."""

    row: Any
    facts: Facts
    clocks: tuple[Clock, ...]


def snapshot(tx: Tx, row: Any) -> Snapshot:
    """Gather: facts and clocks at the instant of the transaction."""
    facts = repo.load_facts(tx, row, lambda pack, version: rules_of(tx, pack, version))
    return Snapshot(row, facts, derive_clocks(facts, tx.now))


def store_clocks(tx: Tx, row: Any, clocks: Sequence[Clock]) -> None:
    """Apply: write what is new or changed, keep the old values as events, plan or take back actions."""
    stored = repo.clock_rows(tx, row.id, row.cycle)
    policies = current_policies(tx)
    events = _insert_new(tx, row, [clock for clock in clocks if clock.key not in stored], policies)
    for clock in clocks:
        if clock.key in stored:
            events += _update(tx, row, clock, stored[clock.key], policies)
    derived = {clock.key for clock in clocks}
    for key, old in stored.items():
        if key not in derived and ClockState(old.state).is_open:
            events += _drop(tx, row, old)
    if events:
        tx.run(t.clock_event.insert(), events)


def _policy_for(clock: Clock, policies: Sequence[Policy]) -> Policy:
    return policy_for_clock(policies, clock.origin, clock.rule_id, internal=clock.is_internal)


def _insert_new(tx: Tx, row: Any, clocks: list[Clock], policies: Sequence[Policy]) -> list[dict[str, Any]]:
    """New clocks in one insert, their actions in another."""
    chosen = {clock.key: _policy_for(clock, policies) for clock in clocks}
    values = [
        {
            "incident_id": row.id,
            "cycle": row.cycle,
            "key": clock.key,
            "policy_hash": chosen[clock.key].hash,
            "pack_version": None,
            "attribution": clock.attribution and str(clock.attribution),
            "noticed_at": tx.now if clock.was_breached else None,
            "generation": 1,
            "detail": {},
            **repo.clock_values(clock),
        }
        for clock in clocks
    ]
    versions = dict(repo.packs_of(tx, row.id, row.cycle)) if values else {}
    for value in values:
        value["pack_version"] = versions.get(value["pack_id"] or "")
    ids = repo.insert_clocks(tx, values)
    rows = [
        action
        for clock in clocks
        for action in repo.action_rows(
            tx, row.id, ids[clock.key], 1, plan_actions(clock, chosen[clock.key], tx.now, tx.now)
        )
    ]
    if rows:
        tx.run(t.timed_action.insert(), rows)
    return [
        repo.clock_event_row(
            tx,
            ids[clock.key],
            row.id,
            "started",
            state_to=str(clock.state),
            due_to=clock.due_at,
            detail={"on_receipt": clock.on_receipt, "provisional": clock.provisional, "policy": chosen[clock.key].hash},
        )
        for clock in clocks
    ]


def _differs(old: Any, values: dict[str, Any]) -> bool:
    return any(getattr(old, name) != values[name] for name in _WATCHED)


def _update(tx: Tx, row: Any, clock: Clock, old: Any, policies: Sequence[Policy]) -> list[dict[str, Any]]:
    values = repo.clock_values(clock)
    if not _differs(old, values):
        return []
    replan = _must_replan(clock, old)
    generation = old.generation + 1 if replan else old.generation
    attribution = old.attribution if old.attribution_confirmed_by else clock.attribution and str(clock.attribution)
    noticed = old.noticed_at or (tx.now if clock.was_breached else None)
    tx.run(
        t.clock.update()
        .where(t.clock.c.id == old.id)
        .values(**values, generation=generation, attribution=attribution, noticed_at=noticed)
    )
    if replan or not clock.state.is_open:
        repo.supersede_actions(tx, [old.id], "clock changed")
    if replan:
        policy = policy_of(tx, old.policy_hash) if old.policy_hash else _policy_for(clock, policies)
        planned = plan_actions(clock, policy, tx.now, tx.now)
        if old.state == ClockState.BREACHED:  # everybody concerned has been told of this breach already
            planned = tuple(action for action in planned if action.kind is not EventKind.BREACHED)
        repo.insert_actions(tx, row.id, old.id, generation, planned)
    return [
        repo.clock_event_row(
            tx,
            old.id,
            row.id,
            _what(clock, old),
            state_from=old.state,
            state_to=str(clock.state),
            due_from=old.due_at,
            due_to=clock.due_at,
            detail={"reason": clock.ended_reason, "on_receipt": clock.on_receipt, "publication": clock.publication_id},
        )
    ]


def _must_replan(clock: Clock, old: Any) -> bool:
    """A clock that moved, came to life again or began to bind gets a fresh plan; a mere breach keeps the one it has."""
    if not clock.state.is_open:
        return False
    moved = old.due_at != clock.due_at or old.started_at != clock.started_at
    revived = not ClockState(old.state).is_open
    return moved or revived or (clock.binding and not old.binding) or (old.on_receipt and not clock.on_receipt)


def _what(clock: Clock, old: Any) -> str:
    if old.due_at != clock.due_at or old.started_at != clock.started_at:
        return "re_anchored"
    if not ClockState(old.state).is_open and clock.state.is_open:
        return "reopened"
    return str(clock.state)


def _drop(tx: Tx, row: Any, old: Any) -> list[dict[str, Any]]:
    """A clock that no longer follows from the facts (a corrected time made it needless) is cancelled, never deleted."""
    reason = "更正后不再适用"
    tx.run(
        t.clock.update()
        .where(t.clock.c.id == old.id)
        .values(state=str(ClockState.CANCELLED), ended_at=tx.now, ended_reason=reason, binding=False)
    )
    repo.supersede_actions(tx, [old.id], reason)
    return [
        repo.clock_event_row(
            tx,
            old.id,
            row.id,
            "cancelled",
            state_from=old.state,
            state_to=str(ClockState.CANCELLED),
            due_from=old.due_at,
            due_to=old.due_at,
            detail={"reason": reason},
        )
    ]


def incident_state(facts: Facts, clocks: Sequence[Clock], *, handling: bool) -> IncidentState:
    """Where the incident stands, from its facts and clocks."""
    if facts.merged_at is not None:
        return IncidentState.MERGED
    if facts.ending is not None:
        return {
            "voided": IncidentState.VOIDED,
            "handed_over": IncidentState.HANDED_OVER,
        }.get(facts.ending.what, IncidentState.CLOSED)
    documents = [clock for clock in clocks if not clock.is_internal]
    answered = any(clock.fulfilled_at for clock in documents)
    if answered and not any(clock.state.is_open for clock in documents):
        continuing = facts.continuous is not None and facts.continuous.until is None
        return IncidentState.CONTINUING if continuing else IncidentState.RESPONDED
    if handling or answered:
        return IncidentState.HANDLING
    return IncidentState.GRADED if facts.present[1] is not None else IncidentState.REGISTERED


def refresh(tx: Tx, row: Any, facts: Facts | None = None, **changed: Any) -> Snapshot:
    """Recompute an incident inside the transaction that changed it; ``changed`` are further columns to set.

    ``facts`` spares reading what the caller has just written. Gives the incident as it stands afterwards.
    """
    fresh: Any = tx.one(sa.select(t.incident).where(t.incident.c.id == row.id))
    shot = snapshot(tx, fresh) if facts is None else Snapshot(fresh, facts, derive_clocks(facts, tx.now))
    store_clocks(tx, fresh, shot.clocks)
    stages = tx.value(sa.select(sa.func.count()).where(t.stage_log.c.incident_id == row.id))
    state = incident_state(shot.facts, shot.clocks, handling=bool(stages))
    kind, severity = shot.facts.present
    values = {
        "state": str(state),
        "kind": str(kind),
        "severity": severity and str(severity),
        "version": fresh.version + 1,
        **changed,
    }
    tx.run(t.incident.update().where(t.incident.c.id == row.id).values(**values))
    present = dict(fresh._mapping) | values  # noqa: SLF001 - the documented name of a row's mapping
    return Snapshot(SimpleNamespace(**present), shot.facts, shot.clocks)
