"""Reading: what the faces ask for. Nothing is written here."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.clock import Clock, derive_clocks
from huiying.domain.errors import InvalidInput, NotFound
from huiying.domain.incident import Facts, TimeFact, check_times, resolve_anchor, to_precision
from huiying.domain.kinds import (
    ActionState,
    ChannelKind,
    ClockState,
    DeliveryState,
    EventKind,
    IncidentState,
    Kind,
    LimitStatus,
    Role,
    Severity,
    TimeKind,
)
from huiying.domain.obligations import ObligationDue, due_dates
from huiying.domain.plan import SHANGHAI, PlannedAction, plan_actions
from huiying.domain.rules import Obligation, RulePack, packs_in_force
from huiying.domain.sentences import Recorded, listed, said, term
from huiying.service import fact_words
from huiying.service.actor import Actor
from huiying.service.changes import REQUEST_STEP
from huiying.service.fact_words import Say, fact_zh, known, typed_of
from huiying.service.obligations import anchors_of
from huiying.service.requests import TimeInput
from huiying.service.rulebook import (
    current_calendar,
    current_packs,
    current_policies,
    pack_of,
    policy_for_clock,
)
from huiying.service.scope import concerned, concerning, visible_units
from huiying.service.second_person import waiting
from huiying.service.services import Services
from huiying.service.views import (
    brief_view,
    clock_view,
    incident_view,
    request_view,
    shown,
    unit_names,
    untimed_view,
    zh,
)
from huiying.store import incidents as repo
from huiying.store import tables as t
from huiying.store.db import Tx

_OPEN_CLOCKS = ("running", "breached", "scheduled")
OPEN_INCIDENTS = ("registered", "verifying", "graded", "handling", "responded", "continuing", "evaluating")
#: Open incidents in which something still has to be answered.
_WORKING = ("registered", "verifying", "graded", "handling")
#: Messages that ask somebody to act, as against those that report.
_ASKING = ("registered", "reminder", "escalation", "regraded", "breached", "digest")
MOST_ROWS = 1000
#: How many copies of one message there may be: inbox, channels, group.
_COPIES = 5


def preview(
    services: Services,
    pack_ids: tuple[str, ...] = (),
    kind: Kind | None = None,
    severity: Severity | None = None,
    times: Mapping[TimeKind, TimeInput] | None = None,
    registered_at: datetime | None = None,
    region_code: str = "",
    unit_id: str = "",
    *,
    ahead: bool = False,
) -> dict[str, Any]:
    """The clocks and reminders that an incident like this would start; nothing is written.

    ``ahead`` also answers for times still to come: the incident then counts as registered at the latest of them.

    ``kind`` defaults to emergency when a severity is given, else opinion. One pack id looks at that pack alone, whether
    or not it is in force; none takes every pack in force for the region (or unit) on the incident's date.
    """
    kind = kind or (Kind.EMERGENCY if severity else Kind.OPINION)
    if severity is not None and kind is not Kind.EMERGENCY:
        raise InvalidInput("severity", "只有突发事件才有级别；一般政务舆情请留空。")
    with services.store.reading() as tx:
        stated = tuple(
            TimeFact(k, to_precision(v.value, v.precision), v.source, v.precision, v.estimated)
            for k, v in (times or {}).items()
        )
        now = registered_at or max([tx.now, *(fact.value for fact in stated if ahead)])
        check_times(stated, max(now, tx.now))
        facts = Facts(kind=kind, severity=severity, source="", registered_at=now, times=stated)
        packs = _preview_packs(tx, pack_ids, facts, region_code, unit_id)
        facts = Facts(
            kind=kind, severity=severity, source="", registered_at=now, times=stated,
            rules=tuple(rule for pack in packs for rule in pack.clocks),
        )  # fmt: skip
        by_id = {pack.id: pack for pack in packs}
        rules = {f"{rule.pack_id}:{rule.rule_id}": rule for rule in facts.rules}
        found = []
        for clock in derive_clocks(facts, now):
            view = clock_view(clock, rules.get(clock.key), by_id.get(clock.pack_id), None, now)
            view["reminders"] = _reminders(tx, clock, now)
            found.append(view)
        untimed = untimed_view(facts, packs)
    return {
        "pack": pack_ids[0] if len(pack_ids) == 1 else None,
        "packs": [{"id": p.id, "version": p.version, "title": p.title, "doc_no": p.doc_no} for p in packs],
        "kind": str(kind),
        "severity": severity and str(severity),
        "provisional": kind is Kind.EMERGENCY and severity is None,
        "registered_at": shown(now),
        "clocks": found,
        "untimed": untimed,
    }


def _preview_packs(
    tx: Tx, pack_ids: tuple[str, ...], facts: Facts, region_code: str, unit_id: str
) -> tuple[RulePack, ...]:
    packs = current_packs(tx)
    if pack_ids:
        known = {pack.id: pack for pack in packs}
        missing = [pack_id for pack_id in pack_ids if pack_id not in known]
        if missing:
            raise NotFound(said("没有名为「%(pack_id)s」的规则包。可用 huiying rules list 查看。", pack_id=missing[0]))
        return tuple(known[pack_id] for pack_id in pack_ids)
    unit = tx.one(sa.select(t.unit).where(t.unit.c.id == unit_id)) if unit_id else None
    on = resolve_anchor("occurred_at", facts).at.astimezone(SHANGHAI).date()
    region = region_code or (unit.region_code if unit else "")
    return packs_in_force(packs, region, unit.pack_id if unit else "", on)


def _reminders(tx: Tx, clock: Clock, now: datetime) -> list[dict[str, Any]]:
    policy = policy_for_clock(current_policies(tx), clock.origin, clock.rule_id, internal=clock.is_internal)
    return [_reminder(action) for action in plan_actions(clock, policy, now, now)]


def _reminder(action: PlannedAction) -> dict[str, Any]:
    roles = action.detail["to"]
    assert isinstance(roles, list)
    return {
        "at": shown(action.due_at.replace(microsecond=0)),
        "step": action.step_id,
        "kind": str(action.kind),
        "kind_zh": action.kind.zh,
        "to": list(roles),
        "to_zh": [Role(role).zh for role in roles],
        "when": action.detail["when"],
    }


def workdays(services: Services, start: date, n: int) -> dict[str, Any]:
    """The due date ``n`` working days after ``start``, which itself is not counted; due at 24:00 of the last day."""
    if not 1 <= n <= 1000:
        raise InvalidInput("add", "工作日数须为 1 至 1000。")
    with services.store.reading() as tx:
        due = current_calendar(tx).add_working_days(start, n)
    return {
        "due_date": due.due_date.isoformat(),
        "due_at": shown(due.due_at),
        "text": due.text,
        "provisional": due.provisional,
        "calendar": list(due.calendar),
    }


def view_incident(services: Services, no: str, actor: Actor | None = None) -> dict[str, Any]:
    """Everything about one incident."""
    with services.store.reading() as tx:
        if actor and not tx.value(sa.select(t.incident.c.id).where(t.incident.c.no == no, concerned(tx, actor))):
            raise NotFound(said("没有编号为 %(no)s 的事项。", no=no))
        return incident_view(tx, no)


def incident_list(
    services: Services,
    actor: Actor | None = None,
    state: str = "",
    kind: str = "",
    text: str = "",
    unit: str = "",
    limit: int = 50,
    after: str = "",
    severity: str = "",
) -> dict[str, Any]:
    """Incidents, newest first. ``state`` "open" means all open ones; ``after`` is the last number of the page before.

    ``severity`` "ungraded" means emergencies that nobody has graded yet.
    """
    table = t.incident
    statement = sa.select(table).order_by(table.c.id.desc()).limit(min(limit, MOST_ROWS) + 1)
    _check_word("state", state, ("open", *map(str, IncidentState)), "事项状态")
    _check_word("kind", kind, tuple(map(str, Kind)), "事项种类")
    if state == "open":
        statement = statement.where(table.c.state.in_(OPEN_INCIDENTS))
    elif state:
        statement = statement.where(table.c.state == state)
    if kind:
        statement = statement.where(table.c.kind == kind)
    if severity == "ungraded":
        statement = statement.where(table.c.kind == Kind.EMERGENCY, table.c.severity.is_(None))
    elif severity:
        statement = statement.where(table.c.severity == severity)
    if unit:
        statement = statement.where(table.c.unit_id == unit)
    if text:
        statement = statement.where(sa.or_(table.c.title.contains(text, autoescape=True), table.c.no == text))
    with services.store.reading() as tx:
        if actor:
            statement = statement.where(concerned(tx, actor))
        if after:
            last = repo.find_incident(tx, after)
            statement = statement.where(table.c.id < (last.id if last else 0))
        rows = tx.all(statement)
        names = unit_names(tx, {row.unit_id for row in rows})
    page = rows[: min(limit, MOST_ROWS)]
    return {
        "incidents": [brief_view(row, names) for row in page],
        "next": page[-1].no if len(rows) > len(page) else None,
    }


def _check_word(field: str, given: str, allowed: Sequence[str], what: str) -> None:
    if given and given not in allowed:
        raise InvalidInput(
            field,
            said(
                "没有「%(text)s」这种%(what)s。可用：%(allowed)s。",
                text=given[:40],
                what=term(what),
                allowed=listed(allowed),
            ),
        )


def clocks(
    services: Services,
    state: str = "open",
    actor: Actor | None = None,
    *,
    binding: bool = True,
    limit: int = 200,
    after: int = 0,
) -> dict[str, Any]:
    """Clocks across incidents, most urgent first. ``state``: "open" or a clock state; ``after`` skips that many rows."""
    table, incident = t.clock, t.incident
    statement = (
        sa.select(
            table, incident.c.no, incident.c.title, incident.c.notice_title, incident.c.severity, incident.c.kind.label("incident_kind"),
            incident.c.unit_id.label("lead"), incident.c.drill,
        )
        .join(incident, incident.c.id == table.c.incident_id)
        .order_by(table.c.due_at, table.c.id)
        .offset(after)
        .limit(min(limit, MOST_ROWS) + 1)
    )  # fmt: skip
    with services.store.reading() as tx:
        statement = statement.where(_clock_state(state, tx.now))
        if binding:
            statement = statement.where(table.c.binding)
        if actor:
            statement = statement.where(concerned(tx, actor))
        rows = tx.all(statement)
        now = tx.now
    page = rows[: min(limit, MOST_ROWS)]
    return {
        "now": shown(now),
        "clocks": [_clock_line(row, now) for row in page],
        "next": after + len(page) if len(rows) > len(page) else None,
    }


def _clock_state(state: str, now: datetime) -> sa.ColumnElement[bool]:
    """Stored states lag by the time since the last look; running past due is breached, whatever is stored."""
    table = t.clock
    if state == "open":
        return table.c.state.in_(_OPEN_CLOCKS)
    if state == ClockState.BREACHED:
        return sa.or_(table.c.state == state, sa.and_(table.c.state == "running", table.c.due_at < now))
    if state == ClockState.RUNNING:
        return sa.and_(table.c.state == state, table.c.due_at >= now)
    if state not in {str(word) for word in ClockState}:
        raise InvalidInput(
            "state",
            said("没有「%(state)s」这种时钟状态。可用：open、%(states)s。", state=state, states=listed(ClockState)),
        )
    return table.c.state == state


def _clock_line(row: Any, now: datetime) -> dict[str, Any]:
    state = ClockState.BREACHED if row.state == "running" and row.due_at < now else ClockState(row.state)
    return {
        "incident": row.no,
        "title": row.title,
        "notice_title": row.notice_title,
        "incident_kind": row.incident_kind,
        "severity": row.severity,
        "severity_zh": zh(Severity, row.severity),
        "unit": row.unit_id or row.lead,
        "drill": row.drill,
        "key": row.key,
        "rule": row.rule_id,
        "name": row.name,
        "status": row.status,
        "status_zh": zh(LimitStatus, row.status),
        "pack": row.pack_id,
        "started_at": shown(row.started_at),
        "due_at": shown(row.due_at),
        "state": str(state),
        "state_zh": "接报时已逾期" if row.on_receipt and state is ClockState.BREACHED else state.zh,
        "remaining_seconds": int((row.due_at - now).total_seconds()) if state.is_open else None,
        "binding": row.binding,
        "provisional": row.provisional,
        "on_receipt": row.on_receipt,
        "attribution": row.attribution,
        "fulfilled_at": shown(row.fulfilled_at),
    }


# -- runs, notifications, timeline -----------------------------------------------------------------------------------


def runs(
    services: Services,
    no: str = "",
    day: date | None = None,
    limit: int = 200,
    actor: Actor | None = None,
    *,
    kind: str = "",
    only: str = "",
    after: int = 0,
    troubled_first: bool = False,
) -> dict[str, Any]:
    """Runs: one per incident event that came due, with its deliveries and attempts, newest first.

    ``kind``: one event kind. ``only``: "failed" (a message did not arrive), "retried", "ran" (whatever had not become
    needless before its time), or a state of the action. ``after`` skips that many rows. ``troubled_first``: what
    failed, then what was tried again, then the rest.
    """
    action = t.timed_action
    statement = (
        sa.select(action, t.incident.c.no, t.clock.c.name.label("clock_name"), t.clock.c.rule_id)
        .outerjoin(t.incident, t.incident.c.id == action.c.incident_id)
        .outerjoin(t.clock, t.clock.c.id == action.c.clock_id)
        .offset(after)
        .limit(min(limit, MOST_ROWS) + 1)
    )
    if troubled_first:
        statement = statement.order_by(sa.case((_only("failed"), 0), (_only("retried"), 1), else_=2))
    statement = statement.order_by(action.c.done_at.desc(), action.c.id.desc())
    if only:
        statement = statement.where(_only(only))
    with services.store.reading() as tx:
        found = tx.all(statement.where(*_runs_of(tx, no, day, actor, kind)))
        rows = found[: min(limit, MOST_ROWS)]
        sent = _deliveries_of(tx, [row.id for row in rows])
    return {
        "runs": [_run_view(row, sent.get(row.id, [])) for row in rows],
        "next": after + len(rows) if len(found) > len(rows) else None,
    }


def run_sums(
    services: Services, no: str = "", day: date | None = None, actor: Actor | None = None, *, kind: str = ""
) -> dict[str, int]:
    """How many runs of the day, or of the incident, there are; how many of them failed, were tried again, never ran."""
    counted = {
        "ran": _only("ran"), "failed": _only("failed"), "retried": _only("retried"),
        "needless": _only(ActionState.SUPERSEDED),
    }  # fmt: skip
    columns = [sa.func.sum(sa.case((condition, 1), else_=0)).label(name) for name, condition in counted.items()]
    statement = sa.select(*columns).select_from(
        t.timed_action.outerjoin(t.incident, t.incident.c.id == t.timed_action.c.incident_id)
    )
    with services.store.reading() as tx:
        row = tx.one(statement.where(*_runs_of(tx, no, day, actor, kind)))
    return {name: int(getattr(row, name) or 0) for name in counted}


def _runs_of(tx: Tx, no: str, day: date | None, actor: Actor | None, kind: str) -> list[sa.ColumnElement[bool]]:
    """Whatever came due or became needless: of an incident, on a Shanghai day, that the actor may see."""
    action = t.timed_action.c
    found: list[sa.ColumnElement[bool]] = [action.state != ActionState.PENDING]
    if day is not None:
        begin = datetime.combine(day, datetime.min.time(), SHANGHAI)
        found.append(action.done_at >= begin)
        if day < date.max:  # the last day there is has no end
            found.append(action.done_at < begin + timedelta(days=1))
    if kind:
        found.append(action.kind == kind)
    if no:
        if repo.find_incident(tx, no) is None:
            raise NotFound(said("没有编号为 %(no)s 的事项。", no=no))
        found.append(t.incident.c.no == no)
    if actor:
        found.append(concerned(tx, actor))
    return found


#: What did not reach whom it was meant for, or not everybody of them.
_NOT_ARRIVED = (DeliveryState.FAILED, DeliveryState.DEAD, DeliveryState.PARTIAL)


def _only(wanted: str) -> sa.ColumnElement[bool]:
    """Which runs: by what became of their messages, or by their own state."""
    delivery = t.delivery.c
    own = sa.exists().where(delivery.action_id == t.timed_action.c.id)
    if wanted == "failed":
        return own.where(delivery.state.in_(_NOT_ARRIVED))
    if wanted == "retried":
        return own.where(delivery.attempts > 1)
    if wanted == "ran":
        return t.timed_action.c.state != ActionState.SUPERSEDED
    return t.timed_action.c.state == wanted


def _run_view(row: Any, deliveries: list[dict[str, Any]]) -> dict[str, Any]:
    failed = [d for d in deliveries if d["state"] in _NOT_ARRIVED]
    return {
        "id": row.id,
        "incident": row.no,
        "event": row.kind,
        "event_zh": zh(EventKind, row.kind),
        "clock": row.clock_name or "",
        "rule": row.rule_id or "",
        "step": row.step_id,
        "step_zh": step_zh(row.step_id),
        "repetition": row.repetition,
        "due_at": shown(row.due_at),
        "started_at": shown(row.claimed_at),
        "ended_at": shown(row.done_at),
        "state": row.state,
        "state_zh": zh(ActionState, row.state),
        "mode": row.mode,
        "mode_zh": {"prefect": "Prefect 流程", "direct": "直接执行"}.get(row.mode, ""),
        "flow_run_id": row.flow_run_id,
        "history": row.history,
        "history_zh": {"prefect": "流程内", "owed": "待补记", "backfilled": "已补记"}.get(row.history, ""),
        "tasks": _tasks(row, deliveries),
        "retries": sum(max(0, len(d["attempts"]) - 1) for d in deliveries),
        "failed_deliveries": len(failed),
        "deliveries": deliveries,
    }


def _tasks(row: Any, deliveries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same three steps in either mode: decide, deliver to each, record."""
    if row.state != ActionState.DONE:
        return [{"name": "判定", "state": row.state, "state_zh": zh(ActionState, row.state), "at": shown(row.done_at)}]
    found: list[dict[str, Any]] = [
        {"name": "判定", "state": "completed", "state_zh": "已完成", "at": shown(row.claimed_at)}
    ]
    found += [
        {
            "name": said("发送 %(notice_no)s", notice_no=d["notice_no"]),
            "state": d["state"],
            "state_zh": d["state_zh"],
            "at": d["sent_at"] or (d["attempts"][-1]["ended_at"] if d["attempts"] else None),
            "attempts": len(d["attempts"]),
        }
        for d in deliveries
    ]
    return found


def _deliveries_of(tx: Tx, action_ids: list[int]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for start in range(0, len(action_ids), 400):
        part = action_ids[start : start + 400]
        rows = tx.all(_delivery_statement().where(t.delivery.c.action_id.in_(part)))
        attempts = _attempts_of(tx, [row.notice_no for row in rows])
        for row in rows:
            found.setdefault(row.action_id, []).append(_delivery_view(row, attempts.get(row.notice_no, [])))
    return found


def _delivery_statement() -> sa.Select[Any]:
    delivery = t.delivery
    return (
        sa.select(
            delivery, t.channel.c.name.label("channel_name"), t.channel.c.kind.label("channel_kind"),
            t.person.c.name.label("person_name"), t.incident.c.no,
        )
        .join(t.channel, t.channel.c.id == delivery.c.channel_id)
        .outerjoin(t.person, t.person.c.id == delivery.c.person_id)
        .outerjoin(t.incident, t.incident.c.id == delivery.c.incident_id)
        .order_by(delivery.c.created_at, delivery.c.notice_no)
    )  # fmt: skip


def _attempts_of(tx: Tx, numbers: list[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for start in range(0, len(numbers), 400):
        table = t.delivery_attempt
        part = sa.select(table).where(table.c.notice_no.in_(numbers[start : start + 400])).order_by(table.c.id)
        for row in tx.all(part):
            found.setdefault(row.notice_no, []).append(
                {
                    "number": row.number, "started_at": shown(row.started_at), "ended_at": shown(row.ended_at),
                    "outcome": row.outcome, "code": row.code, "reason": Recorded(row.reason or ""), "mode": row.mode,
                }
            )  # fmt: skip
    return found


def _delivery_view(row: Any, attempts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "notice_no": row.notice_no,
        "incident": row.no,
        "person": row.person_id or None,
        "person_name": row.person_name or (term("工作群") if not row.person_id else ""),
        "channel": row.channel_id,
        "channel_name": row.channel_name,
        "channel_kind_zh": zh(ChannelKind, row.channel_kind),
        "role_zh": zh(Role, row.role) if row.role else "",
        "band": row.band,
        "state": row.state,
        "state_zh": zh(DeliveryState, row.state),
        "outcome": row.outcome,
        "reason": Recorded(row.reason or ""),
        "created_at": shown(row.created_at),
        "sent_at": shown(row.sent_at),
        "bundle_no": row.bundle_no,
        "fallback_of": row.fallback_of,
        "ordinal": row.ordinal,
        "attempts": attempts,
    }


def notifications(
    services: Services,
    no: str = "",
    person: str = "",
    state: str = "",
    limit: int = 100,
    actor: Actor | None = None,
) -> dict[str, Any]:
    """Deliveries, newest first."""
    statement = (
        _delivery_statement().order_by(None).order_by(t.delivery.c.created_at.desc(), t.delivery.c.notice_no.desc())
    )
    statement = statement.limit(min(limit, MOST_ROWS))
    for column, value in ((t.incident.c.no, no), (t.delivery.c.person_id, person), (t.delivery.c.state, state)):
        if value:
            statement = statement.where(column == value)
    with services.store.reading() as tx:
        if actor:
            statement = statement.where(concerned(tx, actor))
        rows = tx.all(statement)
        attempts = _attempts_of(tx, [row.notice_no for row in rows])
    return {"notifications": [_delivery_view(row, attempts.get(row.notice_no, [])) for row in rows]}


def timeline(services: Services, no: str, actor: Actor | None = None, say: Say = str) -> dict[str, Any]:
    """What happened and what will happen, in order of time: facts, clocks, messages, and the reminders to come.

    ``say`` puts our words into the reader's language.
    """
    view = view_incident(services, no, actor)
    with services.store.reading() as tx:
        row = repo.find_incident(tx, no)
        assert row is not None
        items = _past(tx, row, say) + _planned(tx, row, say)
        now = tx.now
    items.sort(key=lambda item: (item["at"], item["order"]))
    return {"no": no, "now": shown(now), "incident": view, "items": [{**i, "at": shown(i["at"])} for i in items]}


_DUE_ZH = ",截止 %(at)s"
_EVENT_ZH = {
    "started": "起算", "re_anchored": "重新起算", "reopened": "恢复计时", "satisfied": "按时完成", "breached": "超时",
    "satisfied_late": "超时完成", "cancelled": "取消", "superseded": "被替代", "merged": "并案", "waived": "不予回应",
    "running": "计时", "scheduled": "待起算",
}  # fmt: skip


def _past(tx: Tx, row: Any, say: Say) -> list[dict[str, Any]]:
    told = repo.history_of(tx, row.id)
    named = known(tx, told)
    items = [
        {"at": h.recorded_at, "order": 0, "kind": "fact", "what": h.what, "zh": fact_zh(h, say, named), "by": h.recorded_by,
         "detail": h.detail, "typed": typed_of(h, named), "future": False}
        for h in told
    ]  # fmt: skip
    names = {
        c.id: c
        for c in tx.all(
            sa.select(t.clock.c.id, t.clock.c.name, t.clock.c.binding).where(t.clock.c.incident_id == row.id)
        )
    }
    events = tx.all(sa.select(t.clock_event).where(t.clock_event.c.incident_id == row.id).order_by(t.clock_event.c.id))
    items += [
        {"at": e.at, "order": 1, "kind": "clock", "what": e.what, "zh": clock_zh(names[e.clock_id].name, e, say),
         "by": "", "detail": {"due_at": shown(e.due_to), "due_was": shown(e.due_from), "binding": names[e.clock_id].binding},
         "future": False}
        for e in events
    ]  # fmt: skip
    sent = _delivery_statement().where(t.delivery.c.incident_id == row.id)
    sent = sent.add_columns(
        t.timed_action.c.kind.label("event"), t.timed_action.c.step_id, t.clock.c.name.label("clock_name")
    )
    sent = sent.join(t.timed_action, t.timed_action.c.id == t.delivery.c.action_id)
    sent = sent.outerjoin(t.clock, t.clock.c.id == t.delivery.c.clock_id)
    for d in tx.all(sent):
        items.append(
            {"at": d.sent_at or d.created_at, "order": 2, "kind": "delivery", "what": d.state,
             "zh": f"{say(zh(DeliveryState, d.state))} {d.notice_no} {d.channel_name} {d.person_name or ''}".rstrip(),
             "by": "", "future": False,
             "detail": {"band": d.band, "role": d.role, "event": d.event, "event_zh": zh(EventKind, d.event),
                        "clock": say(d.clock_name) if d.clock_name else "", "step": step_of(d.event, d.step_id, say)}}
        )  # fmt: skip
    return items


def step_zh(step_id: str, say: Say = str) -> str:
    """A step's id in words where its form is one of ours: share_80 → 80%, left_30m → 剩30分钟; in ``say``'s language."""
    if found := _STEP.fullmatch(step_id):
        share, left, amount, unit = (
            found.group("share"),
            found.group("left"),
            found.group("amount"),
            found.group("unit"),
        )
        return f"{share}%" if share else say(_LEFT_ZH[unit]) % {"n": amount} if left else ""
    return say(_STEPS_ZH.get(step_id, step_id))


def step_of(kind: str, step_id: str, say: Say = str) -> str:
    """The step of a reminder or an escalation in words; empty for every other event, which a clock has once.

    There the step is a name of ours that says nothing new, and is no word that an officer reads.
    """
    return step_zh(step_id, say) if kind in {EventKind.REMINDER, EventKind.ESCALATION} else ""


_STEP = re.compile(r"share_(?P<share>\d+)|(?P<left>left)_(?P<amount>\d+)(?P<unit>[mh])")
_LEFT_ZH = {"m": "剩%(n)s分钟", "h": "剩%(n)s小时"}
_STEPS_ZH = {
    "start": "起算",
    "registered": "登记",
    "breach": "超时",
    "overdue_hourly": "超时每小时",
    "overdue_daily": "超时每日",
    "unacknowledged_1h": "一小时未签收",
}


def clock_zh(name: str, row: Any, say: Say = str) -> str:
    """What happened to a clock; with its due time where that is the news."""
    words = f"{say(name)} {fact_words.told(_EVENT_ZH.get(row.what, row.what), say)}"
    if row.what not in {"started", "re_anchored", "reopened"}:
        return words
    due, at = row.due_to.astimezone(SHANGHAI), row.at.astimezone(SHANGHAI)
    return words + say(_DUE_ZH) % {"at": f"{due:%m-%d %H:%M}" if due.year == at.year else f"{due:%Y-%m-%d %H:%M}"}


def spoken() -> tuple[str, ...]:
    """Every text of these that a face may ask for in another language."""
    events = (f"{fact_words.TOLD}{word}" for word in _EVENT_ZH.values())
    return (*fact_words.spoken(), *events, *_STEPS_ZH.values(), *_LEFT_ZH.values(), _DUE_ZH)


def _planned(tx: Tx, row: Any, say: Say) -> list[dict[str, Any]]:
    action = t.timed_action
    statement = (
        sa.select(action, t.clock.c.name.label("clock_name"))
        .outerjoin(t.clock, t.clock.c.id == action.c.clock_id)
        .where(action.c.incident_id == row.id, action.c.state == ActionState.PENDING)
    )
    return [
        {"at": a.due_at, "order": 3, "kind": "planned", "what": a.kind,
         "zh": f"{say(a.clock_name) if a.clock_name else ''} {say(zh(EventKind, a.kind))} {step_of(a.kind, a.step_id, say)}".strip(), "by": "",
         "detail": {"to": [say(Role(role).zh) for role in a.detail.get("to", [])]}, "future": True}
        for a in tx.all(statement)
    ]  # fmt: skip


# -- duty, inbox, requests, rules ------------------------------------------------------------------------------------


def requests_pending(services: Services, actor: Actor | None = None) -> dict[str, Any]:
    """Everything that waits for a second person, oldest first."""
    statement = (
        sa.select(t.change_request, t.incident.c.no, t.incident.c.unit_id)
        .join(t.incident, t.incident.c.id == t.change_request.c.incident_id)
        .where(t.change_request.c.state == "pending")
        .order_by(t.change_request.c.id)
    )
    with services.store.reading() as tx:
        visible = visible_units(tx, actor) if actor else None
        rows = [row for row in tx.all(statement) if visible is None or row.unit_id in visible]
    return {"requests": [request_view(row, row.no) for row in rows]}


def on_duty(tx: Tx) -> list[dict[str, Any]]:
    """Who is on shift at this moment, then who holds a standing duty."""
    shift, duty = t.shift, t.duty
    now = tx.now
    current = tx.all(
        sa.select(shift, t.person.c.name)
        .join(t.person, t.person.c.id == shift.c.person_id)
        .where(shift.c.starts_at <= now, shift.c.ends_at > now, shift.c.cancelled_at.is_(None))
        .order_by(shift.c.unit_id, shift.c.role)
    )
    standing = tx.all(
        sa.select(duty, t.person.c.name).join(t.person, t.person.c.id == duty.c.person_id).where(t.person.c.active)
    )
    return [
        {"unit": s.unit_id, "role": s.role, "role_zh": Role(s.role).zh, "person": s.person_id, "name": s.name, "until": shown(s.ends_at)}
        for s in current
    ] + [
        {"unit": d.unit_id, "role": d.role, "role_zh": Role(d.role).zh, "person": d.person_id, "name": d.name, "until": None}
        for d in standing
    ]  # fmt: skip


def unacknowledged(tx: Tx, limit: int = 200, units: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Messages about what is still open that nobody has acknowledged for their clock, oldest first; once per person.

    ``units``: only incidents in which these take part.
    """
    delivery, clock, ack = t.delivery, t.clock, t.acknowledgement
    answered = sa.exists().where(
        ack.c.incident_id == delivery.c.incident_id,
        sa.or_(ack.c.clock_id == delivery.c.clock_id, sa.and_(ack.c.clock_id.is_(None), ack.c.step_id != REQUEST_STEP)),
        ack.c.at >= delivery.c.created_at,
        ack.c.expires_at > tx.now,
    )
    action = t.timed_action.c
    # What was said of a whole incident before a flare-up can be acknowledged no more: its generation is that cycle.
    present = sa.or_(action.clock_id.is_not(None), action.generation == t.incident.c.cycle)
    asks = sa.and_(action.kind.in_(_ASKING), present)
    rows = tx.all(
        _delivery_statement()
        .add_columns(t.timed_action.c.kind.label("event"))
        .outerjoin(clock, clock.c.id == delivery.c.clock_id)
        .join(t.timed_action, t.timed_action.c.id == delivery.c.action_id)
        .where(asks, delivery.c.state.in_(("sent", "partial")), delivery.c.incident_id.is_not(None), ~answered)
        .where(sa.or_(clock.c.state.in_(_OPEN_CLOCKS), sa.and_(clock.c.id.is_(None), t.incident.c.state.in_(_WORKING))))
        .where(concerning(units))
        .limit(limit * _COPIES)
    )
    # A person's message lies in several places (inbox, channels, the group): it waits for one signature, not for each.
    found: dict[tuple[int, str], dict[str, Any]] = {}
    called = {row.action_id for row in rows if row.person_id}
    for row in rows:
        if row.channel_kind == ChannelKind.CONSOLE or (not row.person_id and row.action_id in called):
            continue
        key = row.action_id, row.person_id
        kept = found.get(key)
        if kept is None or kept["channel_kind_zh"] == ChannelKind.INBOX.zh:
            found[key] = {**_delivery_view(row, []), "event": row.event, "event_zh": zh(EventKind, row.event)}
    return list(found.values())[:limit]


def duty_now(services: Services, actor: Actor | None = None) -> dict[str, Any]:
    """The desk at this moment: running clocks most urgent first, what nobody acknowledged, who is on duty."""
    running = clocks(services, "open", actor, limit=200)
    with services.store.reading() as tx:
        units = visible_units(tx, actor) if actor else None
        held = tx.value(sa.select(t.setting.c.value).where(t.setting.c.key == "dispatch_held"))
        open_count = tx.value(sa.select(sa.func.count()).where(t.incident.c.state.in_(OPEN_INCIDENTS)))
        return {
            "now": shown(tx.now),
            "open_incidents": open_count,
            "clocks": running["clocks"],
            "breached": sum(1 for clock in running["clocks"] if clock["state"] == ClockState.BREACHED),
            "unacknowledged": unacknowledged(tx, units=units),
            "requests": waiting(tx, units),
            "on_duty": on_duty(tx),
            "dispatch_held": held or None,
        }


def inbox(services: Services, person_id: str = "", limit: int = 50) -> dict[str, Any]:
    """A person's inbox, newest first; without a person the messages that found nobody."""
    table = t.inbox_message
    statement = (
        sa.select(table).where(table.c.person_id == person_id).order_by(table.c.id.desc()).limit(min(limit, MOST_ROWS))
    )
    with services.store.reading() as tx:
        rows = tx.all(statement)
    return {
        "messages": [
            {"notice_no": r.notice_no, "subject": r.subject, "text": r.text, "created_at": shown(r.created_at),
             "read_at": shown(r.read_at), "drill": r.drill}
            for r in rows
        ]
    }  # fmt: skip


def rules_list(services: Services) -> dict[str, Any]:
    """The packs in use with their provenance and effective dates."""
    with services.store.reading() as tx:
        today = tx.now.astimezone(SHANGHAI).date()
        packs = current_packs(tx)
    return {
        "packs": [
            {"id": p.id, "version": p.version, "title": p.title, "title_basis": p.title_basis, "issuer": p.issuer,
             "doc_no": p.doc_no, "doc_no_basis": p.doc_no_basis, "jurisdiction": p.jurisdiction_name, "level": p.level,
             "effective_from": p.effective_from.isoformat(), "effective_to": p.effective_to and p.effective_to.isoformat(),
             "in_force": p.in_force(today), "awaits_confirmation": p.awaits_confirmation(today),
             "clocks": sum(1 for c in p.clocks if c.limit is not None), "untimed": sum(1 for c in p.clocks if c.limit is None),
             "obligations": len(p.obligations), "unverified": list(p.unverified)}
            for p in packs
        ]
    }  # fmt: skip


def rules_explain(services: Services, pack_id: str, rule_id: str = "") -> dict[str, Any]:
    """A pack's rules with document, clause, quote, status, anchor and what satisfies them."""
    with services.store.reading() as tx:
        version = tx.value(sa.select(t.pack.c.version).where(t.pack.c.id == pack_id, t.pack.c.current))
        if version is None:
            raise NotFound(said("没有名为「%(pack_id)s」的规则包。可用 huiying rules list 查看。", pack_id=pack_id))
        pack = pack_of(tx, pack_id, version)
    rules = [rule for rule in pack.clocks if not rule_id or rule.rule_id == rule_id]
    if not rules:
        raise NotFound(said("规则包 %(pack_id)s 没有规则「%(rule_id)s」。", pack_id=pack_id, rule_id=rule_id))
    return {
        "pack": pack.id, "version": pack.version, "title": pack.title, "doc_no": pack.doc_no, "issuer": pack.issuer,
        "rules": [
            {"rule": r.rule_id, "name": r.name, "status": str(r.status), "status_zh": r.status.zh, "clause": r.clause,
             "quote": r.quote, "responsible": r.responsible, "limit_seconds": r.limit and int(r.limit.total_seconds()),
             "anchor": r.anchor and {"field": r.anchor.field, "stated": r.anchor.stated, "basis": r.anchor.basis},
             "satisfied_by": list(r.satisfied_by), "satisfied_basis": r.satisfied_basis, "content_rules": list(r.content_rules),
             "on_breach": {"measures": list(r.on_breach.measures), "basis": r.on_breach.basis}, "note": r.note}
            for r in rules
        ],
    }  # fmt: skip


def obligations(services: Services, pack_id: str, year: int) -> dict[str, Any]:
    """The due dates of a pack's other duties in a year, computed now; duties without a date say why."""
    with services.store.reading() as tx:
        version = tx.value(sa.select(t.pack.c.version).where(t.pack.c.id == pack_id, t.pack.c.current))
        if version is None:
            raise NotFound(said("没有名为「%(pack_id)s」的规则包。可用 huiying rules list 查看。", pack_id=pack_id))
        pack, calendar = pack_of(tx, pack_id, version), current_calendar(tx)
    found = [
        _obligation_view(obligation, due)
        for obligation in pack.obligations
        for due in due_dates(obligation, range(year, year + 1), calendar, anchors_of(pack))
    ]
    return {"pack": pack_id, "year": year, "obligations": found}


def _obligation_view(obligation: Obligation, due: ObligationDue) -> dict[str, Any]:
    return {
        "id": obligation.id,
        "clause": obligation.clause,
        "kind": obligation.kind,
        "quote": obligation.quote,
        "who": obligation.who,
        "period": due.period_label,
        "due_date": due.due_date and due.due_date.isoformat(),
        "due_at": shown(due.due_at),
        "text": due.text,
        "provisional": due.provisional,
        "note": due.note_zh,
    }
