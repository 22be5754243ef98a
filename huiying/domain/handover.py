"""What one shift leaves to the next: the snapshot that both sign, and where a change of shift was not signed.

A snapshot is plain values (texts, integers, lists), so that its hash can be computed again from what is stored. Instants
in it are Shanghai time with offset. It is the paper as it was at ``now``: it never changes afterwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from huiying.domain.audit import canonical
from huiying.domain.duration import human_left
from huiying.domain.kinds import ClockState, Role, Word
from huiying.domain.plan import SHANGHAI

#: Where nobody has entered the next shift, this much is looked ahead.
USUAL_SHIFT = timedelta(hours=12)
#: Duties that hand over to each other.
HANDED_OVER = frozenset({Role.DUTY_OFFICER, Role.SHIFT_LEADER})
#: A snapshot older than this is made anew before it is signed.
SIGN_WITHIN = timedelta(minutes=30)
#: From how long before a change of shift it is spoken of, how early its hand-over may be, how long it stays open.
_AHEAD, _EARLY, _SHOWN = timedelta(minutes=30), timedelta(hours=3), timedelta(hours=24)
#: How long after the end of a turn somebody still hands it over rather than anything else.
_LATELY = timedelta(hours=3)
#: Shifts whose ends and beginnings lie this close together follow each other.
_SEAM = timedelta(hours=1)


class HandoverState(Word):
    """The life of a paper."""

    PREPARED = "prepared", "待交班人签字"
    OFFERED = "offered", "待接班人签字"
    TAKEN = "taken", "已交接"
    WITHDRAWN = "withdrawn", "已撤回"


@dataclass(frozen=True, slots=True)
class Matter:
    """An open incident; words as the officer reads them."""

    no: str
    title: str
    kind: str
    severity: str
    state: str
    unit: str
    drill: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """An open clock."""

    no: str
    name: str
    due_at: datetime
    state: ClockState
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A reminder that nobody has acknowledged."""

    notice_no: str
    no: str
    person: str
    role: str
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Duty:
    """A dated duty of a document that is no incident's."""

    text: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a snapshot is made of; ``until`` is the end of the next shift where it is known."""

    unit: str
    matters: Sequence[Matter] = ()
    clocks: Sequence[Running] = ()
    unanswered: Sequence[Unanswered] = ()
    duties: Sequence[Duty] = ()
    requests: int = 0
    until: datetime | None = None


def snapshot(facts: Facts, notes: str, now: datetime) -> dict[str, Any]:
    """The paper to be signed: open incidents, clocks most urgent first, what nobody acknowledged, what falls due."""
    until = facts.until if facts.until is not None and facts.until > now else now + USUAL_SHIFT
    clocks = sorted(facts.clocks, key=lambda clock: (clock.due_at, clock.no, clock.name))
    return {
        "unit": facts.unit,
        "at": _stamp(now),
        "until": _stamp(until),
        "matters": [_matter(matter) for matter in sorted(facts.matters, key=lambda matter: matter.no)],
        "clocks": [_clock(clock, now) for clock in clocks],
        "unanswered": [_unanswered(one) for one in sorted(facts.unanswered, key=lambda one: one.notice_no)],
        "falling_due": _falling_due(clocks, facts.duties, now, until),
        "requests": facts.requests,
        "notes": notes,
    }


def digest(made: dict[str, Any]) -> str:
    """SHA-256 of the snapshot's canonical JSON, in hex."""
    return hashlib.sha256(canonical(made).encode()).hexdigest()


def _stamp(at: datetime) -> str:
    return at.astimezone(SHANGHAI).isoformat(timespec="seconds")


def _matter(matter: Matter) -> dict[str, Any]:
    return {
        "no": matter.no,
        "title": matter.title,
        "kind": matter.kind,
        "severity": matter.severity,
        "state": matter.state,
        "unit": matter.unit,
        "drill": matter.drill,
    }


def _clock(clock: Running, now: datetime) -> dict[str, Any]:
    state = ClockState.BREACHED if clock.state is ClockState.RUNNING and clock.due_at < now else clock.state
    return {
        "no": clock.no,
        "name": clock.name,
        "due_at": _stamp(clock.due_at),
        "state": str(state),
        "state_zh": state.zh,
        "left": human_left(int((clock.due_at - now).total_seconds())),
        "unit": clock.unit,
    }


def _unanswered(one: Unanswered) -> dict[str, Any]:
    return {
        "notice_no": one.notice_no,
        "no": one.no,
        "person": one.person,
        "role": one.role,
        "sent_at": _stamp(one.sent_at) if one.sent_at else "",
    }


def _falling_due(
    clocks: Iterable[Running], duties: Iterable[Duty], now: datetime, until: datetime
) -> list[dict[str, Any]]:
    """What has its limit within the next shift, in order of time; what is over already stands among the clocks."""
    found = [(clock.due_at, clock.no, clock.name) for clock in clocks] + [(d.due_at, "", d.text) for d in duties]
    return [{"due_at": _stamp(at), "no": no, "what": what} for at, no, what in sorted(found) if now <= at <= until]


# -- changes of shift --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shift:
    """Somebody's turn; ``ends_at`` is exclusive."""

    unit_id: str
    role: str
    person_id: str
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Signed:
    """A hand-over that the outgoing person has signed; ``taken`` when the incoming person has, too."""

    unit_id: str
    from_person: str
    signed_out_at: datetime
    taken: bool


@dataclass(frozen=True, slots=True)
class Change:
    """A change of shift that is not signed on both sides; ``offered`` when the outgoing person has signed."""

    unit_id: str
    role: str
    at: datetime
    from_person: str
    to_persons: tuple[str, ...]
    offered: bool


def unsigned_changes(shifts: Iterable[Shift], handed: Iterable[Signed], now: datetime) -> list[Change]:
    """Changes of shift from half an hour ahead until a day after, whose hand-over one of the two has not signed."""
    known, done = list(shifts), list(handed)
    found = []
    for shift in known:
        if shift.role not in HANDED_OVER or not shift.ends_at - _AHEAD <= now < shift.ends_at + _SHOWN:
            continue
        successors = _successors(shift, known)
        if not successors:
            continue
        own = [one for one in done if _belongs(one, shift)]
        if any(one.taken for one in own):
            continue
        found.append(Change(shift.unit_id, shift.role, shift.ends_at, shift.person_id, successors, offered=bool(own)))
    return sorted(found, key=lambda change: (change.at, change.unit_id, change.from_person))


def turns_after(shifts: Iterable[Shift], unit_id: str, person_id: str, now: datetime) -> list[Shift]:
    """The turns that a person's own turn is handed over to: the present one, or one that has just ended.

    Not whoever else is on duty meanwhile: the same duty only, and from about the end of that turn on.
    """
    known = [shift for shift in shifts if shift.unit_id == unit_id]
    own = [shift for shift in known if shift.person_id == person_id and shift.starts_at <= now]
    present = [shift for shift in own if now < shift.ends_at]
    turns = present or [shift for shift in own if shift.ends_at <= now < shift.ends_at + _LATELY]
    return list(dict.fromkeys(following for turn in turns for following in _following(turn, known)))


def _following(shift: Shift, known: Iterable[Shift]) -> list[Shift]:
    """The turns that follow; none where the same person goes on."""
    found = [
        other
        for other in known
        if (other.unit_id, other.role) == (shift.unit_id, shift.role)
        and abs(other.starts_at - shift.ends_at) <= _SEAM
        and other.ends_at > shift.ends_at
    ]
    return [] if any(other.person_id == shift.person_id for other in found) else found


def _successors(shift: Shift, known: Iterable[Shift]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(other.person_id for other in _following(shift, known)))


def _belongs(one: Signed, shift: Shift) -> bool:
    mine = (one.unit_id, one.from_person) == (shift.unit_id, shift.person_id)
    return mine and shift.ends_at - _EARLY <= one.signed_out_at < shift.ends_at + _SHOWN
