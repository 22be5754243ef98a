"""Expanding: a due action becomes deliveries, in one transaction with the breach it records and the step that follows.

Whoever takes an action closes it by a conditional UPDATE in the same transaction that writes its deliveries, so that a
second taker (the runner's flow, the engine, another engine) finds nothing. In the direct path the deliveries are written
already claimed and leave at once; in Prefect's path they wait for their tasks, and the engine takes over when those
stand still.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from loguru import logger

from huiying.domain.backlog import BRIEF_LIVES
from huiying.domain.expansion import Action, Decision, Scene, Step, broken, decide, overtaken, speak_for
from huiying.domain.kinds import ActionState, Band, EventKind
from huiying.domain.plan import dedup_key
from huiying.now import monotonic
from huiying.service.breaches import record_breaches
from huiying.service.claims import Claimed, Room, claim_new, lease_for_new
from huiying.service.drafts import Draft, Lease, Written, vacancy, write_drafts
from huiying.service.hand import Hand
from huiying.service.inboxes import deliver_inside
from huiying.service.senders import Senders
from huiying.service.services import Services
from huiying.service.sources import Sources, gather, to_action
from huiying.store import outbox
from huiying.store.db import Tx

#: How long a flow's own tasks may take before the engine sends in their place.
_FLOW_AFTER_DUE = timedelta(seconds=1.2)
_FLOW_AT_LEAST = timedelta(seconds=0.3)
MOST_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Planned:
    """A delivery that was written, as a flow may know it: no person, no address."""

    notice_no: str
    channel_id: str
    channel_kind: str
    audience: str
    urgency: int


@dataclass(frozen=True, slots=True)
class Expansion:
    """What became of one action: for the flow that shows it and for tests."""

    action_id: int
    kind: EventKind
    state: ActionState
    reason: str
    incident_id: int | None
    incident_no: str
    clock_id: int | None
    step_id: str
    due_at: datetime
    breach: bool
    next_at: datetime | None
    deliveries: tuple[Planned, ...] = ()


@dataclass
class Batch:
    """What one transaction did: the expansions and the deliveries this process now holds."""

    expansions: list[Expansion] = field(default_factory=list)
    claimed: list[Claimed] = field(default_factory=list)
    digest_id: int | None = None
    #: What the queues look like when the transaction ends, where it was asked for.
    ahead: outbox.Outlook | None = None
    now: datetime | None = None
    began: float = 0.0


# -- the three ways in -------------------------------------------------------------------------------------------------


def expand_one(services: Services, senders: Senders, action_id: int, hand: Hand) -> Expansion | None:
    """Take one due action for a flow; None when somebody else has it, dispatch is held, or it belongs into a digest."""
    with services.store.transaction(hand.actor, crash="expand") as tx:
        row = outbox.one_pending(tx, action_id)
        if row is None or row.due_at > tx.now or is_stale_row(row, tx.now, stale_after(services)):
            return None
        rows = [row, *outbox.due_beside(tx, [row], tx.now)]
        batch = _expand(services, tx, rows, hand, senders, _no_room)
        return next(made for made in batch.expansions if made.action_id == action_id)


def expand_due(
    services: Services,
    senders: Senders,
    hand: Hand,
    *,
    room: Room,
    older_than: timedelta,
    most: int = MOST_AT_ONCE,
    runner: str = "",
) -> Batch:
    """Take the most urgent due actions, at most ``most``, that fell due at least ``older_than`` ago.

    The same transaction looks ahead: in calm, asking again would cost as much as a fifth of everything else.
    """
    with services.store.transaction(hand.actor, crash="expand") as tx:
        began = monotonic()
        rows = outbox.due_actions(tx, tx.now - older_than, most)
        if older_than or len(rows) >= most:  # else everything that is due is here already
            rows += outbox.due_beside(tx, rows, tx.now)
        stale = stale_after(services)
        rows = [row for row in rows if not is_stale_row(row, tx.now, stale)]
        batch = _expand(services, tx, rows, hand, senders, room) if rows else Batch()
        batch.ahead, batch.now, batch.began = outbox.outlook(tx, runner), tx.now, began
        return batch


def stale_after(services: Services) -> timedelta:
    """How late an action may be said alone."""
    return timedelta(minutes=services.settings.digest_after_minutes)


def _no_room(_channel_id: str) -> int:
    return 0


def is_stale_row(row: Any, now: datetime, after: timedelta) -> bool:
    if now - row.due_at <= after:
        return False
    return row.kind not in {EventKind.DAILY_BRIEF, EventKind.TEST, EventKind.DIGEST}


# -- decide ------------------------------------------------------------------------------------------------------------


def _expand(services: Services, tx: Tx, rows: Sequence[Any], hand: Hand, senders: Senders, room: Room) -> Batch:
    sources = gather(tx, rows)
    decisions = _decide(rows, sources)
    breached = record_breaches(tx, sources, [d.action.clock_id for d in decisions if d.breach])
    lease = lease_for_new(services, sources, senders, hand, room)
    written = write_deliveries(services, sources, decisions, hand, lease)
    finish(tx, decisions, hand)
    follow_up(tx, sources, decisions)
    _audit_expansion(tx, sources, decisions, written)
    claimed = deliver_inside(tx, claim_new(services, sources, senders, written, hand, room))
    by_action: dict[int, list[Any]] = {}
    for row in written:
        by_action.setdefault(row.action_id, []).append(row)
    return Batch([expansion_of(sources, d, by_action.get(d.action.id, []), breached) for d in decisions], claimed)


def _decide(rows: Sequence[Any], sources: Sources) -> list[Decision]:
    actions, decisions = [], []
    for row in rows:
        try:
            actions.append(to_action(row))
        except ValueError:
            logger.exception("action {} cannot be read; the administrators are told instead", row.id)
            decisions.append(broken(bare_action(row), bare_scene(sources)))
    later = overtaken(actions)
    silent: dict[int, list[Action]] = {}
    for action in actions:
        if action.id in later:
            silent.setdefault(later[action.id].id, []).append(action)
    for action in actions:
        scene = sources.scene(action, sources.actions[action.id].detail.get("unit"))
        try:
            speaker = speak_for(action, silent[action.id], scene) if action.id in silent else action
            decisions.append(_decide_one(speaker, scene, later.get(action.id)))
        except Exception:  # noqa: BLE001 - one action that cannot be judged must not hold up the others
            logger.exception("action {} cannot be judged; the administrators are told instead", action.id)
            decisions.append(broken(action, scene))
    return decisions


def _decide_one(action: Action, scene: Scene, later: Action | None) -> Decision:
    if action.kind is EventKind.DAILY_BRIEF and scene.now - action.due_at > BRIEF_LIVES:
        return Decision(action, ActionState.SUPERSEDED, "past")
    return decide(action, scene, later)


def bare_action(row: Any) -> Action:
    known = row.kind in set(EventKind)
    kind = EventKind(row.kind) if known else EventKind.TEST
    return Action(
        row.id,
        kind,
        row.incident_id,
        row.clock_id,
        row.step_id,
        row.generation,
        row.repetition,
        row.due_at,
        Step(band=Band.OVERDUE),
    )


def bare_scene(sources: Sources) -> Scene:
    return Scene(sources.roster, sources.ways(()), sources.tx.now)


# -- apply -------------------------------------------------------------------------------------------------------------


def write_deliveries(
    services: Services, sources: Sources, decisions: Sequence[Decision], hand: Hand, lease: Lease | None
) -> list[Written]:
    """Write what the decisions ask for; a flow's deliveries are hidden until its own tasks have had their time."""
    now = sources.tx.now
    drafts = [
        Draft(
            d.action.id,
            d.action.incident_id,
            d.action.clock_id,
            route,
            d.action.step.band,
            vacancy(d.missing, route),
        )
        for d in decisions
        for route in d.routes
    ]
    due = {d.action.id: d.action.due_at for d in decisions}

    def visible(draft: Draft) -> datetime:
        if hand.is_direct:
            return now
        return max(due[draft.action_id] + _FLOW_AFTER_DUE, now + _FLOW_AT_LEAST)

    return write_drafts(
        services, sources, drafts, visible=visible, owner="" if hand.is_direct else hand.owner, lease=lease
    )


def finish(tx: Tx, decisions: Sequence[Decision], hand: Hand) -> None:
    finished = []
    for decision in decisions:
        told = decision.state is not ActionState.SUPERSEDED or decision.breach
        finished.append(outbox.Finish(decision.action.id, decision.state, hand.history if told else "none"))
    outbox.finish_actions(tx, finished, hand.mode, hand.owner)


def follow_up(tx: Tx, sources: Sources, decisions: Iterable[Decision]) -> None:
    """Write the next of a step that comes back at fixed times of day."""
    for decision in decisions:
        if decision.next_at is None:
            continue
        action, row = decision.action, sources.actions[decision.action.id]
        scope = f"clock:{action.clock_id}" if action.clock_id else f"incident:{action.incident_id}:"
        repetition = action.repetition + 1
        outbox.insert_action(
            tx,
            {
                "dedup_key": dedup_key(scope, action.step_id, action.generation, repetition),
                "kind": str(action.kind),
                "incident_id": action.incident_id,
                "clock_id": action.clock_id,
                "step_id": action.step_id,
                "generation": action.generation,
                "repetition": repetition,
                "urgency": row.urgency,
                "due_at": decision.next_at,
                "detail": row.detail,
            },
        )


def _audit_expansion(tx: Tx, sources: Sources, decisions: Sequence[Decision], written: Sequence[Written]) -> None:
    """One entry for the whole transaction: a storm must not spend its time on hashing."""
    notices: dict[int, list[str]] = {}
    for row in written:
        notices.setdefault(row.action_id, []).append(row.notice_no)
    entries = []
    for decision in decisions:
        entry: dict[str, Any] = {
            "id": decision.action.id,
            "kind": str(decision.action.kind),
            "state": str(decision.state),
        }
        if decision.reason:
            entry["reason"] = decision.reason
        if decision.missing:
            entry["vacant"] = [str(role) for role in decision.missing]
        if decision.action.id in notices:
            entry["notices"] = notices[decision.action.id]
        entries.append(entry)
    tx.audit("actions.expanded", _subject(sources, decisions), {"actions": entries})


def _subject(sources: Sources, decisions: Sequence[Decision]) -> str:
    incidents = {d.action.incident_id for d in decisions}
    if len(incidents) == 1 and (row := sources.incidents.get(next(iter(incidents)) or 0)) is not None:
        return f"incident:{row.no}"
    return "actions"


def expansion_of(sources: Sources, decision: Decision, rows: Sequence[Written], breached: set[int]) -> Expansion:
    action = decision.action
    incident = sources.incidents.get(action.incident_id or 0)
    return Expansion(
        action_id=action.id,
        kind=action.kind,
        state=decision.state,
        reason=decision.reason,
        incident_id=action.incident_id,
        incident_no="" if incident is None else incident.no,
        clock_id=action.clock_id,
        step_id=action.step_id,
        due_at=action.due_at,
        breach=decision.breach and action.clock_id in breached,
        next_at=decision.next_at,
        deliveries=tuple(_planned(sources, row) for row in rows),
    )


def _planned(sources: Sources, row: Written) -> Planned:
    channel = sources.channels[row.channel_id]
    return Planned(row.notice_no, row.channel_id, channel.kind, channel.audience, row.urgency)
