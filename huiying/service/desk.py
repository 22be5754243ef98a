"""What the main screen asks for: the queue of running clocks, its counts, one incident's lanes, the latest events.

Everything about one look is read in one snapshot, with a fixed number of questions however long the queue is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.access import Permission
from huiying.domain.errors import NotFound
from huiying.domain.incident import Facts
from huiying.domain.kinds import ClockState, EventKind, Role, Severity
from huiying.domain.remaining import HOUR, WITHIN_4_HOURS, Urgency, urgency
from huiying.domain.sentences import said
from huiying.domain.strictness import Line as LimitLine
from huiying.domain.strictness import Verdict, lines_of, strict_verdict
from huiying.service.actor import Actor
from huiying.service.fact_words import Say, fact_zh, known
from huiying.service.queries import clock_zh, on_duty, step_of
from huiying.service.scope import concerned, visible_units
from huiying.service.services import Services
from huiying.service.views import unit_names, zh
from huiying.store import incidents as repo
from huiying.store import tables as t
from huiying.store.db import Tx
from huiying.store.scenes import roots

PAGE = 200
#: Clocks that count down or have run out and are not answered; what starts later is not on the desk yet.
ACTIVE = ("running", "breached")
#: Whom the desk names as on duty today.
_SHIFT = (Role.SHIFT_LEADER, Role.DUTY_OFFICER)
_LANES, _LOG_LINES = 40, 8
#: What the feed tells of clocks; that one started is told by the registration.
_TOLD = ("breached", "satisfied", "satisfied_late", "reopened", "cancelled", "re_anchored")
#: What became of a message, by whether it was accepted.
MESSAGES_ZH = {True: "已送出", False: "发送失败"}
_ORDER = (Urgency.OVERDUE, Urgency.HOUR, Urgency.FOUR, Urgency.NORMAL)


@dataclass(frozen=True, slots=True)
class Filters:
    """What of the queue is shown; empty means everything. ``state``: an urgency, ``acked`` or ``unacked``."""

    who: str = ""  # "mine": asked of me or registered by me; "unit": answered by my unit
    severity: str = ""
    rule: str = ""
    state: str = ""
    text: str = ""
    page: int = 1

    @property
    def any(self) -> bool:
        """Whether anything is held back."""
        return bool(self.who or self.severity or self.rule or self.state or self.text)


@dataclass(frozen=True, slots=True)
class Line:
    """One running clock as the queue shows it."""

    clock_id: int
    no: str
    title: str
    drill: bool
    severity_zh: str
    rule: str
    due_at: datetime
    seconds: int
    left_share: int  # of its limit, in percent; 0 when past due
    urgency: Urgency
    provisional: bool
    on_receipt: bool
    lead: str
    handler: str
    next_at: datetime | None
    next_what: str
    next_to: tuple[str, ...]  # roles
    acked_by: str
    acked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Queue:
    """One page of the queue with the counts of everything the person may see."""

    now: datetime
    lines: list[Line]
    matching: int
    tiles: Mapping[Urgency, int]
    page: int
    pages: int
    rules: list[tuple[str, str]]
    on_duty: list[tuple[str, str]]  # role and name
    received: int  # of the overdue ones, those that were overdue when they were reported
    held: str = ""

    @property
    def active(self) -> int:
        """All running clocks; the tiles add up to it."""
        return sum(self.tiles.values())


def queue(services: Services, actor: Actor, unit_id: str, filters: Filters, say: Say = str) -> Queue:
    """The running clocks most urgent first: by due time; of those due at once, what nobody has acknowledged.

    ``say`` puts our words into the reader's language, here and in what follows.
    """
    with services.store.reading() as tx:
        now = tx.now
        base = _seen(tx, actor)
        chosen = [*base, *_chosen(filters, actor, unit_id, now)]
        matching = int(tx.value(_joined(sa.func.count()).where(*chosen)) or 0)
        pages = max(1, -(-matching // PAGE))
        page = min(max(1, filters.page), pages)
        statement = (
            _joined(*_COLUMNS)
            .where(*chosen)
            .order_by(t.clock.c.due_at, _acked(now), t.clock.c.id)
            .offset((page - 1) * PAGE)
            .limit(PAGE)
        )
        tiles, received = _tiles(tx, base, now)
        return Queue(
            now=now,
            lines=_lines(tx, tx.all(statement), say),
            matching=matching,
            tiles=tiles,
            received=received,
            page=page,
            pages=pages,
            rules=_rules(tx, base),
            on_duty=[(p["role_zh"], p["name"]) for p in on_duty(tx) if p["unit"] == unit_id and p["role"] in _SHIFT][
                :4
            ],
            held=str(tx.value(sa.select(t.setting.c.value).where(t.setting.c.key == "dispatch_held")) or ""),
        )


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for this very person: changes to confirm or turn down, messages not read (of both at most 100)."""

    requests: int
    unread: int


_MANY = 100


def waiting(services: Services, actor: Actor) -> Waiting:
    """The numbers beside the entries of the navigation."""
    request, message = t.change_request.c, t.inbox_message.c
    unread = sa.select(message.id).where(message.person_id == (actor.person_id or "-"), message.read_at.is_(None))
    with services.store.reading() as tx:
        seen = visible_units(tx, actor)
        pending = (
            sa.select(request.id)
            .join(t.incident, t.incident.c.id == request.incident_id)
            .where(request.state == "pending", request.requested_by != actor.id)
            .where(sa.true() if seen is None else t.incident.c.unit_id.in_(seen))
        )
        decides = Permission.APPROVE.value in actor.permissions
        return Waiting(_up_to(tx, pending) if decides else 0, _up_to(tx, unread))


def _up_to(tx: Tx, rows: sa.Select[Any]) -> int:
    """How many rows there are; nobody is told more than a hundred, so nobody waits for the rest to be counted."""
    return int(tx.value(sa.select(sa.func.count()).select_from(rows.limit(_MANY).subquery())) or 0)


def unit_name(services: Services, unit_id: str) -> str:
    """A unit's name; empty where it does not exist."""
    with services.store.reading() as tx:
        return str(tx.value(sa.select(t.unit.c.name).where(t.unit.c.id == unit_id)) or "")


def house_name(services: Services) -> str:
    """The name of the one office at the top of the tree; empty where there is none yet, or more than one."""
    with services.store.reading() as tx:
        top = roots(tx)
        return str(tx.value(sa.select(t.unit.c.name).where(t.unit.c.id == top[0])) or "") if len(top) == 1 else ""


# -- the queue ---------------------------------------------------------------------------------------------------------

_COLUMNS = (
    t.clock.c.id,
    t.clock.c.incident_id,
    t.clock.c.name,
    t.clock.c.unit_id,
    t.clock.c.started_at,
    t.clock.c.due_at,
    t.clock.c.provisional,
    t.clock.c.on_receipt,
    t.incident.c.no,
    t.incident.c.title,
    t.incident.c.severity,
    t.incident.c.drill,
    t.incident.c.unit_id.label("lead"),
    t.incident.c.co_units,
)


def _joined(*columns: Any) -> sa.Select[Any]:
    return sa.select(*columns).select_from(t.clock).join(t.incident, t.incident.c.id == t.clock.c.incident_id)


def _seen(tx: Tx, actor: Actor) -> list[sa.ColumnElement[bool]]:
    """Running clocks of the incidents that the person may see."""
    return [t.clock.c.state.in_(ACTIVE), t.clock.c.binding, concerned(tx, actor)]


def _band(now: datetime) -> sa.ColumnElement[int]:
    due = t.clock.c.due_at
    return sa.case(
        (due < now, 0),
        (due < now + timedelta(seconds=HOUR), 1),
        (due < now + timedelta(seconds=WITHIN_4_HOURS), 2),
        else_=3,
    )


def _acked(now: datetime) -> sa.ColumnElement[bool]:
    """Whether anybody's acknowledgement of this very clock still holds."""
    ack = t.acknowledgement.c
    return sa.exists().where(
        ack.incident_id == t.clock.c.incident_id, ack.clock_id == t.clock.c.id, ack.expires_at > now
    )


def _chosen(filters: Filters, actor: Actor, unit_id: str, now: datetime) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if filters.who == "mine":
        asked = sa.exists().where(
            t.delivery.c.incident_id == t.clock.c.incident_id, t.delivery.c.person_id == actor.person_id
        )
        found.append(sa.or_(t.incident.c.registered_by == actor.id, asked))
    elif filters.who == "unit":
        found.append(sa.func.coalesce(t.clock.c.unit_id, t.incident.c.unit_id) == unit_id)
    if filters.severity:
        graded = t.incident.c.severity
        found.append(graded.is_(None) if filters.severity == "none" else graded == filters.severity)
    if filters.rule:
        found.append(t.clock.c.rule_id == filters.rule)
    if filters.state in {"acked", "unacked"}:
        found.append(_acked(now) if filters.state == "acked" else ~_acked(now))
    elif filters.state:
        found.append(_band(now) == [u.value for u in _ORDER].index(filters.state))
    if filters.text:
        text = filters.text.strip()
        title, no = t.incident.c.title, t.incident.c.no
        found.append(sa.or_(title.contains(text, autoescape=True), no.contains(text, autoescape=True)))
    return found


def _tiles(tx: Tx, base: Sequence[sa.ColumnElement[bool]], now: datetime) -> tuple[dict[Urgency, int], int]:
    """How many clocks are in each band, and how many of the overdue ones were overdue when they were reported.

    接报时已逾期 is late when it reached the office, which is not the office's own 超时.
    """
    band, counted = _band(now).label("band"), Counter[Urgency]()
    columns = (band, t.clock.c.on_receipt, sa.func.count().label("number"))
    received = 0
    for row in tx.all(_joined(*columns).where(*base).group_by(band, t.clock.c.on_receipt)):
        counted[_ORDER[row.band]] += row.number
        if row.on_receipt and _ORDER[row.band] is Urgency.OVERDUE:
            received += row.number
    return {word: counted[word] for word in _ORDER}, received


def _rules(tx: Tx, base: Sequence[sa.ColumnElement[bool]]) -> list[tuple[str, str]]:
    rows = tx.all(
        _joined(t.clock.c.rule_id, sa.func.min(t.clock.c.name).label("name")).where(*base).group_by(t.clock.c.rule_id)
    )
    return sorted(((row.rule_id, row.name) for row in rows), key=lambda pair: pair[1])


def _lines(tx: Tx, rows: Sequence[Any], say: Say) -> list[Line]:
    ids = [row.id for row in rows]
    units = {u for row in rows for u in (row.lead, row.unit_id, *row.co_units) if u}
    names, acks, following = unit_names(tx, units), _acks(tx, rows), _next_actions(tx, ids)
    return [_line(row, tx.now, names, acks.get(row.id), following.get(row.id), say) for row in rows]


def _line(row: Any, now: datetime, names: Mapping[str, str], ack: Any, action: Any, say: Say) -> Line:
    seconds = int((row.due_at - now).total_seconds())
    others = [row.unit_id] if row.unit_id and row.unit_id != row.lead else row.co_units
    return Line(
        clock_id=row.id,
        no=row.no,
        title=row.title,
        drill=row.drill,
        severity_zh=zh(Severity, row.severity),
        rule=row.name,
        due_at=row.due_at,
        seconds=seconds,
        left_share=left_share(row.started_at, row.due_at, now),
        urgency=urgency(seconds),
        provisional=row.provisional,
        on_receipt=bool(row.on_receipt) and seconds < 0,
        lead=names.get(row.lead, row.lead),
        handler="、".join(names.get(unit, unit) for unit in others),
        next_at=action.due_at if action else None,
        next_what=(step_of(action.kind, action.step_id, say) or say(zh(EventKind, action.kind))) if action else "",
        next_to=tuple(Role(role).zh for role in action.detail.get("to", [])) if action else (),
        acked_by=(ack.name or ack.person_id) if ack else "",
        acked_at=ack.at if ack else None,
    )


def left_share(started_at: datetime, due_at: datetime, now: datetime) -> int:
    """How much of the limit is left, in whole percent between 0 and 100."""
    whole = (due_at - started_at).total_seconds()
    left = (due_at - now).total_seconds()
    return max(0, min(100, round(100 * left / whole))) if whole > 0 else 0


def _acks(tx: Tx, rows: Sequence[Any]) -> dict[int, Any]:
    """The latest acknowledgement that still holds, by clock."""
    ack = t.acknowledgement
    statement = (
        sa.select(ack.c.clock_id, ack.c.person_id, ack.c.at, t.person.c.name)
        .outerjoin(t.person, t.person.c.id == ack.c.person_id)
        .where(ack.c.incident_id.in_({row.incident_id for row in rows}))
        .where(ack.c.clock_id.is_not(None), ack.c.expires_at > tx.now)
        .order_by(ack.c.id)
    )
    return {row.clock_id: row for row in tx.all(statement)}


def _next_actions(tx: Tx, clock_ids: Sequence[int]) -> dict[int, Any]:
    """What the system will do next about each clock."""
    action = t.timed_action
    pending = sa.and_(action.c.clock_id.in_(clock_ids), action.c.state == "pending")
    first = (
        sa.select(action.c.clock_id, sa.func.min(action.c.due_at).label("due_at"))
        .where(pending)
        .group_by(action.c.clock_id)
        .subquery()
    )
    statement = (
        sa.select(action.c.clock_id, action.c.due_at, action.c.kind, action.c.step_id, action.c.detail)
        .join(first, sa.and_(first.c.clock_id == action.c.clock_id, first.c.due_at == action.c.due_at))
        .where(pending)
        .order_by(action.c.id.desc())
    )
    return {row.clock_id: row for row in tx.all(statement)}


# -- one incident beside the queue -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lane:
    """One clock of an incident, placed on a common axis of 0 to 1000.

    ``lines``: the same limit by the incident's other times; ``strict``: what an auditor reads first.
    """

    name: str
    state: ClockState
    state_zh: str
    due_at: datetime
    seconds: int | None  # None when it no longer runs
    urgency: Urgency | None
    begins: int
    ends: int
    stops: int  # where it was answered, or the present
    lines: tuple[LimitLine, ...] = ()
    strict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One incident beside the queue: its own clocks only, and what happened last."""

    no: str
    title: str
    drill: bool
    severity_zh: str
    lead: str
    state_open: bool
    lanes: list[Lane]
    now_at: int
    log: list[Event]


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a log or of the feed; ``tone``: plain, bad or good."""

    at: datetime
    text: str
    by: str
    no: str
    tone: str = "plain"
    number: int = 0


def panel(services: Services, actor: Actor, no: str, say: Say = str) -> Panel:
    """One incident's lanes and its last events."""
    with services.store.reading() as tx:
        row = tx.one(sa.select(t.incident).where(t.incident.c.no == no, concerned(tx, actor)))
        if row is None:
            raise NotFound(said("没有编号为 %(no)s 的事项，或不在您的查看范围内。", no=no))
        clocks = tx.all(
            sa.select(t.clock)
            .where(t.clock.c.incident_id == row.id, t.clock.c.cycle == row.cycle, t.clock.c.binding)
            .where(t.clock.c.state.not_in(("superseded", "cancelled")))
            .order_by(t.clock.c.due_at, t.clock.c.id)
            .limit(_LANES)
        )
        start, end = _axis(clocks, tx.now)
        documents = any(clock.pack_id for clock in clocks)
        facts = repo.load_facts(tx, row, lambda _pack, _version: ()) if documents else None
        return Panel(
            no=row.no,
            title=row.title,
            drill=row.drill,
            severity_zh=zh(Severity, row.severity),
            lead=unit_names(tx, [row.unit_id]).get(row.unit_id, row.unit_id),
            state_open=row.ended_at is None,
            lanes=[_lane(clock, facts, tx.now, start, end) for clock in clocks],
            now_at=_place(tx.now, start, end),
            log=_log(tx, row, say),
        )


def _axis(clocks: Sequence[Any], now: datetime) -> tuple[datetime, datetime]:
    points = [
        now,
        *(c.started_at for c in clocks),
        *(c.due_at for c in clocks),
        *(c.fulfilled_at for c in clocks if c.fulfilled_at),
    ]
    start, end = min(points), max(points)
    margin = max((end - start) * 0.03, timedelta(minutes=1))
    return start, end + margin


def _place(at: datetime, start: datetime, end: datetime) -> int:
    return round(1000 * (at - start) / (end - start))


def _lane(clock: Any, facts: Facts | None, now: datetime, start: datetime, end: datetime) -> Lane:
    runs = clock.state in ACTIVE
    seconds = int((clock.due_at - now).total_seconds()) if runs else None
    state = ClockState.BREACHED if runs and clock.due_at < now else ClockState(clock.state)
    lines, strict = _lines_of(clock, facts, state, now)
    return Lane(
        name=clock.name,
        state=state,
        state_zh=state.zh,
        due_at=clock.due_at,
        seconds=seconds,
        urgency=urgency(seconds) if seconds is not None else None,
        begins=_place(clock.started_at, start, end),
        ends=_place(clock.due_at, start, end),
        stops=_place(clock.fulfilled_at or clock.ended_at or max(now, clock.started_at), start, end),
        lines=lines,
        strict=strict,
    )


def _lines_of(
    clock: Any, facts: Facts | None, state: ClockState, now: datetime
) -> tuple[tuple[LimitLine, ...], Verdict | None]:
    """A document's limit by the other times; a house target has none."""
    if facts is None or not clock.pack_id:
        return (), None
    limit = clock.due_at - clock.started_at
    verdict = strict_verdict(facts, limit, state, clock.fulfilled_at, clock.publication_id, now)
    return lines_of(facts, limit), verdict


def _log(tx: Tx, incident: Any, say: Say) -> list[Event]:
    facts = tx.all(_facts().where(t.history.c.incident_id == incident.id).limit(_LOG_LINES))
    clocks = tx.all(_clock_news().where(t.clock_event.c.incident_id == incident.id).limit(_LOG_LINES))
    return _newest(_told(tx, facts, clocks, say), _LOG_LINES)


def news(services: Services, actor: Actor, no: str, seen: int, say: Say = str) -> list[Event]:
    """What has been recorded of an incident since the fact ``seen`` (the number of a history row), newest first."""
    with services.store.reading() as tx:
        row = tx.one(sa.select(t.incident.c.id).where(t.incident.c.no == no, concerned(tx, actor)))
        if row is None:
            raise NotFound(said("没有编号为 %(no)s 的事项，或不在您的查看范围内。", no=no))
        history = t.history.c
        later = _facts().where(history.incident_id == row.id, history.id > seen).limit(_LOG_LINES)
        return _newest(_told(tx, tx.all(later), [], say), _LOG_LINES)


# -- the feed ----------------------------------------------------------------------------------------------------------


def feed(services: Services, actor: Actor, most: int = 20, say: Say = str) -> list[Event]:
    """What happened last anywhere the person may look, newest first: facts, clocks, messages."""
    with services.store.reading() as tx:
        own = [concerned(tx, actor)]
        facts = tx.all(_facts().where(*own).limit(most))
        clocks = tx.all(_clock_news().where(*own).limit(most))
        events = _told(tx, facts, clocks, say) + _messages(tx, own, most, say)
    return _newest(events, most)


def _facts() -> sa.Select[Any]:
    history = t.history.c
    return (
        sa.select(
            history.incident_id, history.what, history.detail, history.recorded_at, history.recorded_by, t.incident.c.no
        )
        .join(t.incident, t.incident.c.id == history.incident_id)
        .order_by(history.id.desc())
    )


def _clock_news() -> sa.Select[Any]:
    event = t.clock_event.c
    return (
        sa.select(event.at, event.what, event.due_to, t.clock.c.name, t.incident.c.no)
        .join(t.clock, t.clock.c.id == event.clock_id)
        .join(t.incident, t.incident.c.id == event.incident_id)
        .where(event.what.in_(_TOLD), t.clock.c.binding)
        .order_by(event.id.desc())
    )


def _told(tx: Tx, facts: Sequence[Any], clocks: Sequence[Any], say: Say) -> list[Event]:
    names, named = _person_names(tx, (row.recorded_by for row in facts)), known(tx, facts)
    told = [Event(row.recorded_at, fact_zh(row, say, named), names.get(row.recorded_by, ""), row.no) for row in facts]
    tones = {"breached": "bad", "satisfied_late": "bad", "satisfied": "good"}
    return told + [
        Event(row.at, clock_zh(row.name, row, say), "", row.no, tones.get(row.what, "plain")) for row in clocks
    ]


def _person_names(tx: Tx, actors: Iterable[str]) -> dict[str, str]:
    """Names of the people among the authors of changes; the system itself has none."""
    ids = {actor.removeprefix("person:"): actor for actor in actors if actor.startswith("person:")}
    rows = tx.all(sa.select(t.person.c.id, t.person.c.name).where(t.person.c.id.in_(ids)))
    return {ids[row.id]: row.name for row in rows}


def _messages(tx: Tx, own: Sequence[sa.ColumnElement[bool]], most: int, say: Say) -> list[Event]:
    """The last attempts to send, one line per event and outcome; failures stand out."""
    attempt, delivery, action = t.delivery_attempt.c, t.delivery.c, t.timed_action.c
    statement = (
        sa.select(attempt.ended_at, attempt.outcome, delivery.action_id, action.kind, action.step_id,
                  t.clock.c.name, t.incident.c.no)
        .join(t.delivery, delivery.notice_no == attempt.notice_no)
        .join(t.timed_action, action.id == delivery.action_id)
        .join(t.incident, t.incident.c.id == delivery.incident_id)
        .outerjoin(t.clock, t.clock.c.id == delivery.clock_id)
        .where(*own)
        .order_by(attempt.id.desc())
        .limit(most * 6)
    )  # fmt: skip
    grouped: dict[tuple[int, bool], list[Any]] = {}
    for row in tx.all(statement):
        grouped.setdefault((row.action_id, row.outcome == "accepted"), []).append(row)
    return [_message(rows, say, sent=sent) for (_, sent), rows in grouped.items()]


def _message(rows: list[Any], say: Say, *, sent: bool) -> Event:
    last = rows[0]
    words = [
        last.name and say(last.name),
        say(zh(EventKind, last.kind)),
        step_of(last.kind, last.step_id, say),
        say(MESSAGES_ZH[sent]),
    ]
    return Event(
        last.ended_at, " ".join(word for word in words if word), "", last.no, "plain" if sent else "bad", len(rows)
    )


def _newest(events: list[Event], most: int) -> list[Event]:
    return sorted(events, key=lambda event: event.at, reverse=True)[:most]
