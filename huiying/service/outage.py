"""After an outage: the whole backlog in one transaction, one digest page per recipient and channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from loguru import logger

from huiying.domain.backlog import Page, consolidate
from huiying.domain.expansion import Action, Decision, broken
from huiying.domain.kinds import ActionState, EventKind, Role
from huiying.domain.plan import dedup_key
from huiying.domain.routes import Route
from huiying.service.breaches import record_breaches
from huiying.service.claims import Room, claim_new, lease_for_new
from huiying.service.drafts import Draft, vacancy, write_drafts
from huiying.service.expand import (
    Batch,
    bare_action,
    bare_scene,
    expansion_of,
    finish,
    follow_up,
    is_stale_row,
    stale_after,
    write_deliveries,
)
from huiying.service.hand import Hand
from huiying.service.senders import Senders
from huiying.service.services import Services
from huiying.service.sources import Sources, gather, to_action
from huiying.store import outbox
from huiying.store.db import Tx

#: A backlog larger than this is consolidated in several digests: memory stays bounded.
MOST_STALE = 10_000


def consolidate_backlog(services: Services, senders: Senders, hand: Hand, room: Room) -> Batch | None:
    """Everything that is late after an outage, in one go; None when nothing is."""
    with services.store.transaction(hand.actor, crash="expand") as tx:
        stale = stale_after(services)
        rows = outbox.due_actions(tx, tx.now - stale, MOST_STALE)
        rows = [row for row in rows if is_stale_row(row, tx.now, stale)]
        if not rows:
            return None
        rows += outbox.due_beside(tx, rows, tx.now)
        sources = gather(tx, rows)
        readable, decisions = _sort_out(rows, sources)
        result = consolidate(readable, lambda action: sources.scene(action, _unit(sources, action)))
        decisions += result.decisions
        record_breaches(tx, sources, [d.action.clock_id for d in decisions if d.breach])
        lease = lease_for_new(services, sources, senders, hand, room)
        written = write_deliveries(services, sources, decisions, hand, lease)
        batch = Batch(digest_id=_insert_digest(sources, result.pages, hand, readable))
        drafts = [_draft(batch.digest_id, page, result.missing) for page in result.pages if batch.digest_id]
        written += write_drafts(services, sources, drafts, lease=lease)
        finish(tx, decisions, hand)
        follow_up(tx, sources, decisions)
        _audit(tx, decisions, batch.digest_id, [row.notice_no for row in written])
        batch.claimed = claim_new(services, sources, senders, written, hand, room)
        batch.expansions = [expansion_of(sources, decision, (), set()) for decision in decisions]
        return batch


def _sort_out(rows: Sequence[Any], sources: Sources) -> tuple[list[Action], list[Decision]]:
    """Actions that can be read, and decisions about those that cannot."""
    actions, decisions = [], []
    for row in rows:
        try:
            actions.append(to_action(row))
        except ValueError:
            logger.exception("action {} cannot be read; the administrators are told instead", row.id)
            decisions.append(broken(bare_action(row), bare_scene(sources)))
    return actions, decisions


def _unit(sources: Sources, action: Action) -> str | None:
    unit: str | None = sources.actions[action.id].detail.get("unit")
    return unit


def _insert_digest(sources: Sources, pages: Sequence[Page], hand: Hand, actions: Sequence[Action]) -> int | None:
    """The digest is an action of its own, done as soon as it is written; its pages are the deliveries."""
    if not pages:
        return None
    tx = sources.tx
    band = min((page.band for page in pages), key=lambda band: band.urgency)
    first = min(actions, key=lambda action: action.id)
    incidents = {action.incident_id for action in actions}
    key = outbox.insert_action(
        tx,
        {
            "dedup_key": dedup_key("digest", str(first.id), first.generation, first.repetition),
            "kind": str(EventKind.DIGEST),
            "incident_id": incidents.pop() if len(incidents) == 1 else None,
            "step_id": "digest",
            "urgency": band.urgency,
            "due_at": tx.now,
            "detail": {"to": [], "audience": [], "when": "always", "of": "digest", "band": str(band)},
        },
    )
    if key is None:
        raise RuntimeError("this digest has been written before")
    outbox.finish_actions(tx, [outbox.Finish(key, ActionState.DONE, hand.history)], hand.mode, hand.owner)
    sources.need_actions([key])
    return key


def _draft(digest_id: int, page: Page, missing: Sequence[Role]) -> Draft:
    route = Route(page.person_id, page.channel_id, page.role, tuple(page.people.values()), page.note)
    incidents, clocks = list(page.incidents), list(page.clocks)
    return Draft(
        digest_id,
        incidents[0] if len(incidents) == 1 else None,
        clocks[0] if len(clocks) == 1 and not page.events else None,
        route,
        page.band,
        {"clocks": clocks, "events": list(page.events), **vacancy(missing, route)},
    )


def _audit(tx: Tx, decisions: Sequence[Decision], digest_id: int | None, notices: list[str]) -> None:
    by_reason: dict[str, list[int]] = {}
    for decision in decisions:
        by_reason.setdefault(f"{decision.state}:{decision.reason}", []).append(decision.action.id)
    counts = dict(Counter(str(decision.state) for decision in decisions))
    payload = {"digest": digest_id, "actions": by_reason, "counts": counts, "notices": notices}
    tx.audit("backlog.consolidated", "actions", payload)
