"""What becomes of a timed action at the moment it falls due: a pure decision, applied in one transaction.

State decides, time only triggers: whatever was planned, the clock and the acknowledgements of this very moment say
whether anybody still has to hear of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time
from typing import Any

from huiying.domain.kinds import EVERY_STEP, ActionState, Audience, Band, ClockState, EventKind, IncidentState, Role
from huiying.domain.plan import next_daily
from huiying.domain.roster import Called, Roster, call
from huiying.domain.routes import Route, Ways, choose

#: Events of a clock; of several that are due together only the last speaks.
CLOCK_KINDS = frozenset({EventKind.REMINDER, EventKind.ESCALATION, EventKind.BREACHED})
#: Events about a thing that is still open; the others report what has happened and are always told.
_NEEDS_OPEN_INCIDENT = CLOCK_KINDS | {EventKind.REGISTERED}


@dataclass(frozen=True, slots=True)
class Step:
    """What an action carries with it: whom to tell, how loudly, and what makes telling needless."""

    to: tuple[Role, ...] = ()
    persons: tuple[str, ...] = ()
    audience: frozenset[Audience] = frozenset({Audience.PERSONAL})
    unacknowledged_only: bool = False
    of: str = ""
    band: Band = Band.INFO
    daily_at: tuple[time, ...] = ()

    @classmethod
    def read(cls, detail: Mapping[str, Any]) -> Step:
        """Read the JSON that was frozen into the action."""
        return cls(
            to=tuple(Role(role) for role in detail.get("to", ())),
            persons=tuple(detail.get("persons") or ()),
            audience=frozenset(Audience(audience) for audience in detail.get("audience", ("personal",))),
            unacknowledged_only=detail.get("when") == "unacknowledged",
            of=detail.get("of", ""),
            band=Band(detail.get("band", Band.INFO)),
            daily_at=tuple(time.fromisoformat(text) for text in detail.get("daily_at") or ()),
        )


@dataclass(frozen=True, slots=True)
class Action:
    """A timed action that is due."""

    id: int
    kind: EventKind
    incident_id: int | None
    clock_id: int | None
    step_id: str
    generation: int
    repetition: int
    due_at: datetime
    step: Step


@dataclass(frozen=True, slots=True)
class ClockView:
    """The clock as it stands."""

    id: int
    state: ClockState
    due_at: datetime


@dataclass(frozen=True, slots=True)
class IncidentView:
    """The incident as it stands; ``chain`` is its unit and everything above it."""

    id: int
    no: str
    state: IncidentState
    drill: bool
    chain: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ack:
    """An acknowledgement; ``clock_id`` None stands for the incident's start message."""

    incident_id: int
    clock_id: int | None
    step_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything an action is judged by. ``chain`` serves actions without an incident (the daily brief)."""

    roster: Roster
    ways: Ways
    now: datetime
    incident: IncidentView | None = None
    clock: ClockView | None = None
    acks: tuple[Ack, ...] = ()
    chain: tuple[str, ...] = ()

    @property
    def units(self) -> tuple[str, ...]:
        """The unit concerned and everything above it."""
        return self.incident.chain if self.incident is not None else self.chain


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome for one action: its final state, why, whom it reaches, what it records and what follows it."""

    action: Action
    state: ActionState
    reason: str = ""
    routes: tuple[Route, ...] = ()
    missing: tuple[Role, ...] = ()
    breach: bool = False
    next_at: datetime | None = None


def decide(action: Action, scene: Scene, later: Action | None = None) -> Decision:
    """Judge one due action. ``later`` is the step of the same clock that is due as well and speaks in its place."""
    reason = obsolete(action, scene)
    breach = not reason and is_breach(action, scene)
    following = None if reason else _next_at(action, scene.now)
    reason = reason or ("overtaken" if later is not None else "") or _silenced(action, scene)
    if reason:
        return Decision(action, ActionState.SUPERSEDED, reason, breach=breach, next_at=following)
    called, routes = reach(action, scene)
    return Decision(action, ActionState.DONE, "", routes, called.missing, breach, following)


def reach(action: Action, scene: Scene) -> tuple[Called, tuple[Route, ...]]:
    """Whom the action's step reaches at this moment, and on which channels."""
    step = action.step
    called = call(scene.roster, step.to, step.persons, scene.units, scene.now)
    drill = scene.incident is not None and scene.incident.drill
    return called, choose(step.to, called.people, step.audience, step.band, scene.ways, scene.now, drill=drill)


def obsolete(action: Action, scene: Scene) -> str:
    """Why nobody needs to hear of it any more; empty while somebody does."""
    incident, clock = scene.incident, scene.clock
    if action.kind in _NEEDS_OPEN_INCIDENT and incident is not None and not incident.state.is_open:
        return f"incident_{incident.state}"
    if action.kind not in CLOCK_KINDS or clock is None:
        return ""
    if not clock.state.is_open:
        return f"clock_{clock.state}"
    overdue = action.step.band is Band.OVERDUE or action.kind is EventKind.BREACHED
    if overdue and scene.now <= clock.due_at and clock.state is not ClockState.BREACHED:
        return "due_moved"
    return ""


def is_breach(action: Action, scene: Scene) -> bool:
    """True when this action is the one that has to record a breach nobody has recorded yet."""
    clock = scene.clock
    if action.kind is not EventKind.BREACHED or clock is None or clock.state is ClockState.BREACHED:
        return False
    return scene.now > clock.due_at


def _silenced(action: Action, scene: Scene) -> str:
    """An acknowledgement stops only the step it was given for, and only where the step says so."""
    if action.step.unacknowledged_only and is_acknowledged(action, scene.acks, scene.now):
        return "acknowledged"
    clock = scene.clock
    before_due = action.step.band in {Band.NOTICE, Band.WARNING} and action.kind in CLOCK_KINDS
    if before_due and clock is not None and scene.now > clock.due_at:
        return "past_due"
    return ""


def is_acknowledged(action: Action, acks: Iterable[Ack], now: datetime) -> bool:
    """True while somebody's acknowledgement of the step in question is valid for this very clock.

    Acknowledging a message about the whole incident is written for each clock it named; a clock that came later has not
    been acknowledged by it.
    """
    of = action.step.of or action.step_id
    return any(
        ack.incident_id == action.incident_id
        and ack.step_id in {of, EVERY_STEP}
        and ack.clock_id == action.clock_id
        and ack.expires_at > now
        for ack in acks
    )


def _next_at(action: Action, now: datetime) -> datetime | None:
    """A step at fixed times of day writes its successor, skipping whatever was slept through."""
    return next_daily(max(now, action.due_at), action.step.daily_at) if action.step.daily_at else None


def overtaken(actions: Sequence[Action]) -> dict[int, Action]:
    """For every action of a clock that has a later one due beside it: that later one."""
    last: dict[int, Action] = {}
    for action in sorted(actions, key=_sequence):
        if action.clock_id is not None and action.kind in CLOCK_KINDS:
            last[action.clock_id] = action
    return {
        action.id: last[action.clock_id]
        for action in actions
        if action.clock_id in last and action.kind in CLOCK_KINDS and last[action.clock_id].id != action.id
    }


def _sequence(action: Action) -> tuple[datetime, bool, int]:
    return action.due_at, action.kind is EventKind.BREACHED, action.id


def speak_for(last: Action, silent: Iterable[Action], scene: Scene) -> Action:
    """The last step with the people of those it stands in for, so that nobody who was to hear is skipped."""
    speakers = [
        action
        for action in (last, *silent)
        if not obsolete(action, scene)
        and not (action.step.unacknowledged_only and is_acknowledged(action, scene.acks, scene.now))
    ]
    if not speakers:
        return last
    roles = dict.fromkeys(role for action in speakers for role in action.step.to)
    audience = frozenset(audience for action in speakers for audience in action.step.audience)
    return replace(last, step=replace(last.step, to=tuple(roles), audience=audience, unacknowledged_only=False))


def broken(action: Action, scene: Scene) -> Decision:
    """An action we cannot carry out through a fault of our own: the administrators' inboxes are told instead."""
    inbox = scene.ways.inbox
    people = call(scene.roster, (), (), (), scene.now).people
    routes = tuple(Route(a.person_id, inbox.channel_id, "") for a in people) if inbox is not None else ()
    return Decision(action, ActionState.DONE, "broken", routes)
