"""From delivery rows to letters: gathers all that a message speaks of, for many deliveries at once."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from huiying.domain.compose import MOST_LINES, Letter, Matter, Next, Subject
from huiying.domain.kinds import Band, ChannelKind, ClockState, EventKind, Kind, LimitStatus, Role, Severity
from huiying.service.services import Services
from huiying.service.sources import Sources
from huiying.store import outbox

#: What an inbox shows of a digest; a robot's message ends sooner.
INBOX_LINES = 200
_TOKEN_BYTES = 16


@lru_cache(maxsize=4096)
def ack_token(server_key: bytes, notice_no: str) -> str:
    """The secret in a message's acknowledge link: 22 characters, made again from the 通知号 whenever it is needed."""
    digest = hmac.new(server_key, f"ack:{notice_no}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest[:_TOKEN_BYTES]).rstrip(b"=").decode()


def ack_hash(server_key: bytes, notice_no: str) -> str:
    """What the database keeps of it."""
    return hashlib.sha256(ack_token(server_key, notice_no).encode()).hexdigest()


def matter_of(incident: Any | None, unit_name: str) -> Matter:
    """The incident as a message may show it."""
    if incident is None:
        return Matter(unit_name=unit_name)
    severity = Severity(incident.severity) if incident.severity else None
    kind = Kind(incident.kind)
    return Matter(incident.no, incident.notice_title, kind, severity, unit_name, bool(incident.drill))


def subject_of(sources: Sources, clock: Any) -> Subject:
    """A clock as a message shows it; every message of a batch about it shares one."""
    made = sources.subjects.get(clock.id)
    if made is None or made[0] is not clock:
        made = sources.subjects[clock.id] = (clock, _subject(sources, clock))
    subject: Subject = made[1]
    return subject


def _subject(sources: Sources, clock: Any) -> Subject:
    incident = sources.incidents.get(clock.incident_id)
    return Subject(
        matter=matter_of(incident, sources.unit_name(sources.unit_of(incident, clock))),
        name=clock.name,
        status=LimitStatus(clock.status),
        started_at=clock.started_at,
        due_at=clock.due_at,
        state=ClockState(clock.state),
        on_receipt=bool(clock.on_receipt),
        ground=sources.ground(clock),
    )


def clocks_of(action: Any, detail: dict[str, Any]) -> list[int]:
    """The clocks one delivery speaks of: its page of a digest, those its action lists, or the action's own."""
    listed = detail.get("clocks") or action.detail.get("clocks")
    if listed:
        return list(listed)
    return [action.clock_id] if action.clock_id is not None else []


def need_for(sources: Sources, rows: Sequence[Any]) -> dict[str, list[Any]]:
    """Read what the letters of these deliveries need; gives the members of every bundle."""
    bundled = [number for row in rows for number in row.detail.get("bundle", ())]
    members = {row.notice_no: row for row in outbox.deliveries(sources.tx, bundled)}
    everything = [*rows, *members.values()]
    events = [event for row in everything for event in row.detail.get("events", ())]
    sources.need_actions([row.action_id for row in everything] + events)
    actions = [sources.actions[row.action_id] for row in everything]
    clocks = [clock for action, row in zip(actions, everything, strict=True) for clock in clocks_of(action, row.detail)]
    incidents = [row.incident_id for row in everything] + [sources.actions[event].incident_id for event in events]
    sources.need_matters(incidents, [*clocks, *(row.clock_id for row in everything)])
    sources.need_units(action.detail.get("unit") for action in actions)
    sources.need_people(person for row in rows for person in _named(row))
    return {row.notice_no: [members[no] for no in row.detail.get("bundle", ()) if no in members] for row in rows}


def _named(row: Any) -> Iterable[str]:
    return [row.person_id, *(person for person, _ in row.detail.get("people", ()))]


def write_letters(services: Services, sources: Sources, rows: Sequence[Any]) -> dict[str, Letter | Exception]:
    """A letter for every delivery; where one cannot be written the fault stands in its place and holds up no other."""
    members = need_for(sources, rows)
    letters: dict[str, Letter | Exception] = {}
    for row in rows:
        try:
            letters[row.notice_no] = _letter(services, sources, row, members[row.notice_no])
        except Exception as fault:  # noqa: BLE001 - a poisonous row must not hold up the others
            letters[row.notice_no] = fault
    return letters


def _letter(services: Services, sources: Sources, row: Any, members: list[Any]) -> Letter:
    action, detail = sources.actions[row.action_id], row.detail
    carried = [row, *members]
    subjects = [sources.clocks[key] for item in carried for key in _clocks_now(sources, item)]
    subjects = list({clock.id: clock for clock in subjects}.values())
    incident, clock = sources.incidents.get(row.incident_id or 0), sources.clocks.get(row.clock_id or 0)
    unit = sources.unit_of(incident, clock) or action.detail.get("unit")
    return Letter(
        notice_no=row.notice_no,
        kind=EventKind(action.kind),
        band=Band(row.band),
        # In a demo a brief or an alarm is no more real than the incidents.
        matter=_in_demo(services, _common_matter(carried, incident, sources.unit_name(unit))),
        subjects=tuple(subject_of(sources, clock) for clock in subjects),
        roles=_roles(row, action),
        headline="" if members else action.detail.get("headline", ""),
        must_do=() if members else tuple(action.detail.get("must_do", ())),
        lines=tuple(_lines(sources, carried, action)),
        next=_next(subjects),
        ordinal=row.ordinal,
        resend=bool(detail.get("resend")),
        previous_failed=detail.get("previous_failed", ""),
        note=detail.get("note", ""),
        ack_url=_ack_url(services, row, action, members),
        most_lines=INBOX_LINES if _is_inbox(sources, row) else MOST_LINES,
        as_list=bool(members) or action.kind == EventKind.DIGEST,
    )


def _common_matter(carried: Sequence[Any], incident: Any | None, unit_name: str) -> Matter:
    """A bundle of several matters is headed by none of them."""
    if len({row.incident_id for row in carried}) > 1:
        return Matter(drill=incident is not None and bool(incident.drill))
    return matter_of(incident, unit_name)


def _in_demo(services: Services, matter: Matter) -> Matter:
    return replace(matter, drill=True) if services.settings.demo else matter


def _clocks_now(sources: Sources, row: Any) -> list[int]:
    found = clocks_of(sources.actions[row.action_id], row.detail)
    return [key for key in found if key in sources.clocks]


def _is_inbox(sources: Sources, row: Any) -> bool:
    channel = sources.channels.get(row.channel_id)
    return channel is not None and channel.kind == ChannelKind.INBOX


def _roles(row: Any, action: Any) -> tuple[Role, ...]:
    """A person is told which duty brings the message; a group for whom it is meant, leaders left out."""
    if row.person_id:
        return (Role(row.role),) if row.role else ()
    roles = [Role(role) for role in action.detail.get("to", ())]
    return tuple(role for role in roles if not role.is_leader)


def _lines(sources: Sources, carried: Sequence[Any], action: Any) -> Iterable[str]:
    """Ready lines of a brief, and one line for each event that is no clock's."""
    yield from action.detail.get("lines", ())
    for row in carried:
        for event in row.detail.get("events", ()):
            yield _event_line(sources, sources.actions[event])
        own = sources.actions[row.action_id]
        if len(carried) > 1 and not clocks_of(own, row.detail) and not row.detail.get("events"):
            yield _event_line(sources, own)


def _event_line(sources: Sources, action: Any) -> str:
    incident = sources.incidents.get(action.incident_id or 0)
    matter = matter_of(incident, sources.unit_name(None if incident is None else incident.unit_id))
    title = f" {matter.notice_title}" if matter.notice_title else ""
    headline = action.detail.get("headline", "")
    return f"{EventKind(action.kind).zh} {matter.no}{title}{f'({headline})' if headline else ''}|{matter.unit_name}"


def _next(clocks: Sequence[Any]) -> Next | None:
    """What comes after this message; of several clocks of one matter the earliest, named."""
    waiting = [clock for clock in clocks if clock.next_at is not None and ClockState(clock.state).is_open]
    if not waiting or len({clock.incident_id for clock in clocks}) > 1:
        return None
    soonest = min(waiting, key=lambda clock: clock.next_at)
    roles = tuple(Role(role) for role in soonest.next_detail.get("to", ()))
    return Next(soonest.next_at, roles, soonest.name if len(clocks) > 1 else "", soonest.due_at)


def _ack_url(services: Services, row: Any, action: Any, members: list[Any]) -> str:
    base = services.settings.public_url
    if not base or members or row.ack_hash is None or action.kind == EventKind.DAILY_BRIEF:
        return ""
    return f"{base}/a/{ack_token(services.server_key, row.notice_no)}"
