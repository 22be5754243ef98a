"""After an outage: one digest per recipient and channel instead of a replay of everything that was missed.

What is late is consolidated over the whole backlog at once. Every breach is still recorded with its true due time, and
every step that was passed leaves its trace as bundled or superseded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from huiying.domain.expansion import (
    CLOCK_KINDS,
    Action,
    Decision,
    Scene,
    is_acknowledged,
    is_breach,
    obsolete,
    reach,
)
from huiying.domain.kinds import ActionState, Band, EventKind, Role
from huiying.domain.plan import next_daily
from huiying.domain.roster import Addressee
from huiying.domain.routes import Route

#: A daily brief that is later than this belongs to yesterday.
BRIEF_LIVES = timedelta(hours=12)
#: Messages about the system itself, sent whenever they can be.
_OWN_KINDS = frozenset({EventKind.DAILY_BRIEF, EventKind.TEST, EventKind.DIGEST})


def is_stale(action: Action, now: datetime, stale_after: timedelta) -> bool:
    """True when the action is so late that saying it alone would be a replay."""
    if action.kind in _OWN_KINDS:
        return False
    return now - action.due_at > stale_after


@dataclass
class Page:
    """What one recipient reads on one channel: clocks and other events, each once."""

    person_id: str
    channel_id: str
    role: str
    band: Band = Band.INFO
    people: dict[str, Addressee] = field(default_factory=dict)
    clocks: dict[int, None] = field(default_factory=dict)
    events: dict[int, None] = field(default_factory=dict)
    incidents: dict[int, None] = field(default_factory=dict)
    note: str = ""

    def add(self, action: Action, route: Route, band: Band) -> None:
        """Take up one missed step."""
        self.people.update({addressee.person_id: addressee for addressee in route.people})
        self.note = self.note or route.note
        if band.urgency < self.band.urgency:
            self.band = band
        if action.clock_id is not None:
            self.clocks[action.clock_id] = None
        else:
            self.events[action.id] = None
        if action.incident_id is not None:
            self.incidents[action.incident_id] = None


@dataclass(frozen=True, slots=True)
class Consolidation:
    """All decisions about a backlog, and the pages of its one digest."""

    decisions: tuple[Decision, ...]
    pages: tuple[Page, ...]
    missing: tuple[Role, ...] = ()


def consolidate(actions: Sequence[Action], scene_of: Callable[[Action], Scene]) -> Consolidation:
    """Judge every late action and gather what has to be said, by recipient and channel."""
    decisions, pages, missing = [], {}, {}  # type: ignore[var-annotated]
    for action in actions:
        scene = scene_of(action)
        reason = obsolete(action, scene)
        breach = not reason and is_breach(action, scene)
        following = next_daily(max(scene.now, action.due_at), action.step.daily_at) if action.step.daily_at else None
        if not reason and action.step.unacknowledged_only and is_acknowledged(action, scene.acks, scene.now):
            decisions.append(Decision(action, ActionState.SUPERSEDED, "acknowledged", (), (), breach, following))
        elif reason:
            decisions.append(Decision(action, ActionState.SUPERSEDED, reason))
        else:
            decisions.append(Decision(action, ActionState.BUNDLED, "outage", (), (), breach, following))
            called, routes = reach(action, scene)
            missing |= dict.fromkeys(called.missing)
            for route in routes:
                key = route.person_id, route.channel_id
                page = pages.setdefault(key, Page(route.person_id, route.channel_id, route.role))
                page.add(action, route, band_now(action, scene))
    return Consolidation(tuple(decisions), tuple(pages.values()), tuple(missing))


def band_now(action: Action, scene: Scene) -> Band:
    """How urgent a missed step is by now: past its due time everything about a clock is overdue."""
    if action.kind in CLOCK_KINDS and scene.clock is not None and scene.now > scene.clock.due_at:
        return Band.OVERDUE
    return action.step.band
