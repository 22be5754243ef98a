"""What the faces show of an incident: plain JSON values, instants as +08:00 text, every word beside its Chinese reading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.clock import Clock, untimed_duties
from huiying.domain.errors import NotFound
from huiying.domain.incident import Facts
from huiying.domain.kinds import (
    Attribution,
    ClockState,
    ContentKind,
    GradeBasis,
    IncidentState,
    Kind,
    LimitStatus,
    PublicationKind,
    Review,
    Severity,
    TimeKind,
    Word,
)
from huiying.domain.plan import SHANGHAI
from huiying.domain.rules import ClockRule, RulePack
from huiying.domain.sentences import Recorded, said
from huiying.domain.strictness import LineKind, Verdict, lines_of, strict_verdict
from huiying.service.clockwork import Snapshot, snapshot
from huiying.service.rulebook import pack_of
from huiying.store import incidents as repo
from huiying.store import tables as t
from huiying.store.db import Tx

#: What a superior's notice, a task or an interval starts from, in words.
_ANCHOR_ZH = {
    "severity_effective_at": "新情况出现时间",
    "assigned_at": "交办时间",
    "published_at": "上次发布时间",
    "graded_at": "定级时间",
}


def shown(at: datetime | None) -> str | None:
    """An instant as the product shows it: Asia/Shanghai with offset, to the second (finer only where it matters)."""
    if at is None:
        return None
    local = at.astimezone(SHANGHAI)
    return local.isoformat(timespec="seconds" if local.microsecond == 0 else "microseconds")


def zh(word: type[Word], value: str | None) -> str:
    """The Chinese reading of a stored word; empty for none."""
    return word(value).zh if value else ""


def anchor_zh(name: str) -> str:
    """The Chinese name of an anchor field."""
    if name in _ANCHOR_ZH:
        return _ANCHOR_ZH[name]
    if name == "first_known_at":
        return "知悉时间"
    return TimeKind(name).zh


def clock_view(
    clock: Clock, rule: ClockRule | None, pack: RulePack | None, stored: Any, now: datetime
) -> dict[str, Any]:
    """One clock in full."""
    return {
        "key": clock.key,
        "id": stored.id if stored is not None else None,
        "rule": clock.rule_id,
        "name": clock.name,
        "origin": str(clock.origin),
        "origin_zh": clock.origin.zh,
        "status": str(clock.status),
        "status_zh": clock.status.zh,
        "pack": clock.pack_id,
        "document": pack.title if pack else "",
        "doc_no": pack.doc_no if pack else "",
        "clause": rule.clause if rule else "",
        "quote": rule.quote if rule else "",
        "unit": clock.unit_id,
        "anchor": {
            "field": clock.anchor_field,
            "zh": anchor_zh(clock.anchor_field),
            "stated": clock.anchor_stated,
            "basis": rule.anchor.basis if rule and rule.anchor else "",
            "estimated": clock.anchor_estimated,
        },
        "started_at": shown(clock.started_at),
        "due_at": shown(clock.due_at),
        "limit_seconds": int(clock.limit.total_seconds()),
        "remaining_seconds": int((clock.due_at - now).total_seconds()) if clock.state.is_open else None,
        "state": str(clock.state),
        "state_zh": "接报时已逾期" if clock.on_receipt and clock.state is ClockState.BREACHED else clock.state.zh,
        "binding": clock.binding,
        "provisional": clock.provisional,
        "on_receipt": clock.on_receipt,
        "attribution": stored.attribution if stored is not None else None,
        "attribution_zh": zh(Attribution, stored.attribution if stored is not None else None),
        "attribution_confirmed_by": stored.attribution_confirmed_by if stored is not None else None,
        "fulfilled_at": shown(clock.fulfilled_at),
        "publication": clock.publication_id,
        "noticed_at": shown(stored.noticed_at) if stored is not None else None,
        "ended_at": shown(clock.ended_at),
        "ended_reason": Recorded(clock.ended_reason),
        "superseded_by": clock.superseded_by,
    }


def line_views(facts: Facts, limit: timedelta) -> dict[str, str | None]:
    """The same limit counted from each of the other times, so that late reporting and late responding are told apart."""
    known = {line.kind: shown(line.due_at) for line in lines_of(facts, limit)}
    return {kind.zh: known.get(kind) for kind in LineKind}


def verdict_view(verdict: Verdict | None, *, on_receipt: bool) -> dict[str, Any] | None:
    """The strict line with its own verdict, for whoever audits."""
    if verdict is None:
        return None
    late = on_receipt and verdict.state is ClockState.BREACHED
    return {
        "line": str(verdict.line.kind),
        "line_zh": verdict.line.kind.zh,
        "due_at": shown(verdict.line.due_at),
        "state": str(verdict.state),
        "state_zh": "接报时已逾期" if late else verdict.state.zh,
        "seconds": int(verdict.margin.total_seconds()),
    }


def _clocks(tx: Tx, shot: Snapshot) -> list[dict[str, Any]]:
    stored = repo.clock_rows(tx, shot.row.id, shot.row.cycle)
    rules = {f"{rule.pack_id}:{rule.rule_id}": rule for rule in shot.facts.rules}
    packs = {
        pack_id: pack_of(tx, pack_id, version) for pack_id, version in repo.packs_of(tx, shot.row.id, shot.row.cycle)
    }
    views = []
    for clock in shot.clocks:
        view = clock_view(clock, rules.get(clock.key), packs.get(clock.pack_id), stored.get(clock.key), tx.now)
        view |= {"lines": {}, "strict": None}
        if clock.pack_id:
            verdict = strict_verdict(
                shot.facts, clock.limit, clock.state, clock.fulfilled_at, clock.publication_id, tx.now
            )
            view["lines"] = line_views(shot.facts, clock.limit)
            view["strict"] = verdict_view(verdict, on_receipt=clock.on_receipt)
        views.append(view)
    return views


def _times(tx: Tx, shot: Snapshot) -> list[dict[str, Any]]:
    rows = [row for row in repo.history_of(tx, shot.row.id, shot.row.cycle) if row.what == "time_fact"]
    last = {row.detail["kind"]: row.seq for row in rows}
    found = [
        {
            "kind": row.detail["kind"],
            "zh": TimeKind(row.detail["kind"]).zh,
            "value": shown(datetime.fromisoformat(row.detail["value"])),
            "source": row.detail.get("source", ""),
            "precision": row.detail.get("precision", "second"),
            "estimated": bool(row.detail.get("estimated")),
            "recorded_at": shown(row.recorded_at),
            "recorded_by": row.recorded_by,
            "approved_by": row.approved_by,
            "reason": row.detail.get("reason", ""),
            "superseded": last[row.detail["kind"]] != row.seq,
        }
        for row in rows
    ]
    registered = {
        "kind": "registered_at", "zh": TimeKind.REGISTERED.zh, "value": shown(shot.facts.registered_at), "source": said("系统"),
        "precision": "second", "estimated": False, "recorded_at": shown(shot.facts.registered_at),
        "recorded_by": shot.row.registered_by, "approved_by": None, "reason": "", "superseded": False,
    }  # fmt: skip
    return [*found, registered]


def publication_view(row: Any) -> dict[str, Any]:
    """One publication."""
    return {
        "id": row.id,
        "kind": row.kind,
        "kind_zh": zh(PublicationKind, row.kind),
        "published_at": shown(row.published_at),
        "title": row.title,
        "url": row.url,
        "text": row.text,
        "channel": row.channel,
        "content_kind": row.content_kind,
        "content_kind_zh": zh(ContentKind, row.content_kind),
        "content_hash": row.content_hash,
        "leader_voice": row.leader_voice,
        "confidentiality": row.confidentiality,
        "entered_at": shown(row.entered_at),
        "entered_by": row.entered_by,
        "review": row.review,
        "review_zh": zh(Review, row.review),
        "reviewed_by": row.reviewed_by,
        "substantive": row.substantive,
        "credited": row.credited,
        "confirmed_by": row.confirmed_by,
        "withdrawn_at": shown(row.withdrawn_at),
    }


#: A command's name as people say it.
COMMAND_ZH = {
    "register": "登记", "grade": "定级", "release": "登记发布", "confirm_publication": "确认按时发布", "review": "核验发布",
    "acknowledge": "签收", "correct": "更正时间", "merge": "并案", "unmerge": "拆出", "void": "误报撤销",
    "waive": "研判不予回应", "hand_over": "移交", "close": "办结归档", "reopen": "复燃重开", "reassign": "变更主办单位",
    "details": "修改内容", "task": "部门任务", "task_done": "任务完成", "transfer": "转办通知",
    "transfer_feedback": "反馈转办通知", "continuous": "持续发布间隔", "stage": "进入阶段", "attribution": "确认归因",
    "replan": "更换提醒策略",
}  # fmt: skip
REQUEST_STATE_ZH = {
    "pending": "待复核",
    "approved": "已同意",
    "rejected": "未同意",
    "withdrawn": "已撤回",
    "lapsed": "已失效",
}
#: Where in a payload the applicant's own words stand.
_WORDS = ("reason", "criterion", "evidence", "note")


def applicant_words(payload: Any) -> str:
    """Why the applicant asks, as they typed it; nothing where the payload is none of ours."""
    if not isinstance(payload, Mapping):
        return ""
    return "；".join(str(payload[key]) for key in _WORDS if payload.get(key))


def request_view(row: Any, no: str) -> dict[str, Any]:
    """One pending or decided request for a second person."""
    return {
        "id": row.id, "incident": no, "command": row.command, "command_zh": COMMAND_ZH.get(row.command, row.command),
        "words": applicant_words(row.payload), "state_zh": REQUEST_STATE_ZH.get(row.state, row.state), "reasons": [Recorded(reason) for reason in row.reasons], "requested_by": row.requested_by,
        "requested_at": shown(row.requested_at), "state": row.state, "decided_by": row.decided_by,
        "decided_at": shown(row.decided_at), "payload": row.payload, "note": row.decision_note,
    }  # fmt: skip


def _gradings(facts: Facts) -> list[dict[str, Any]]:
    return [
        {
            "kind": str(g.kind), "kind_zh": g.kind.zh, "severity": g.severity and str(g.severity),
            "severity_zh": g.severity.zh if g.severity else "", "basis": str(g.basis), "basis_zh": GradeBasis(g.basis).zh,
            "effective_at": shown(g.effective_at), "graded_at": shown(g.graded_at), "criterion": g.criterion,
        }
        for g in facts.gradings
    ]  # fmt: skip


def untimed_view(facts: Facts, packs: Iterable[RulePack]) -> list[dict[str, Any]]:
    """Duties without a figure, each with the document that names it."""
    documents = {pack.id: pack for pack in packs}
    return [
        {
            "rule": rule.rule_id, "name": rule.name, "pack": rule.pack_id, "document": documents[rule.pack_id].title,
            "doc_no": documents[rule.pack_id].doc_no, "clause": rule.clause, "quote": rule.quote,
            "status": str(rule.status), "status_zh": LimitStatus.UNTIMED.zh, "note": rule.note,
        }
        for rule in untimed_duties(facts)
    ]  # fmt: skip


def _frozen_packs(tx: Tx, row: Any) -> list[RulePack]:
    return [pack_of(tx, pack_id, version) for pack_id, version in repo.packs_of(tx, row.id, row.cycle)]


def _packs(tx: Tx, row: Any) -> list[dict[str, Any]]:
    today = tx.now.astimezone(SHANGHAI).date()
    confirmed = {(c.pack_id, c.year) for c in tx.all(sa.select(t.pack_confirmation))}
    found = []
    for pack in _frozen_packs(tx, row):
        waits = pack.awaits_confirmation(today) and (pack.id, today.year) not in confirmed
        found.append(
            {"id": pack.id, "version": pack.version, "title": pack.title, "doc_no": pack.doc_no, "issuer": pack.issuer,
             "stages": list(pack.stages), "awaits_confirmation": waits, "note": "待确认沿用" if waits else ""}
        )  # fmt: skip
    return found


def _rows(tx: Tx, table: sa.Table, incident_id: int) -> list[Any]:
    return tx.all(sa.select(table).where(table.c.incident_id == incident_id).order_by(table.c.id))


def _stages(tx: Tx, row: Any) -> list[dict[str, Any]]:
    return [
        {"stage": s.stage, "entered_at": shown(s.entered_at), "left_at": shown(s.left_at), "note": s.note}
        for s in _rows(tx, t.stage_log, row.id)
    ]


def _acknowledgements(tx: Tx, row: Any, keys: dict[int, str]) -> list[dict[str, Any]]:
    return [
        {"clock": keys.get(a.clock_id or 0, ""), "step": a.step_id, "person": a.person_id, "at": shown(a.at),
         "expires_at": shown(a.expires_at), "via": a.via, "notice_no": a.notice_no, "note": a.note}
        for a in _rows(tx, t.acknowledgement, row.id)
    ]  # fmt: skip


def _assignments(facts: Facts) -> dict[str, Any]:
    return {
        "tasks": [
            {"key": k.key, "name": k.name, "unit": k.unit_id, "assigned_at": shown(k.assigned_at), "due_at": shown(k.due_at),
             "done_at": shown(k.done_at)}
            for k in facts.tasks
        ],
        "transfers": [
            {"key": k.key, "notice_no": k.notice_no, "received_at": shown(k.received_at), "due_at": shown(k.due_at),
             "feedback_at": shown(k.feedback_at), "note": "" if k.due_at else "通知未写明时限，不设时钟"}
            for k in facts.transfers
        ],
        "continuous_hours": facts.continuous.every.total_seconds() / 3600
        if facts.continuous and facts.continuous.until is None
        else None,
    }  # fmt: skip


def unit_names(tx: Tx, unit_ids: Iterable[str]) -> dict[str, str]:
    """Names of units by id."""
    wanted = list(unit_ids)
    return {u.id: u.name for u in tx.all(sa.select(t.unit.c.id, t.unit.c.name).where(t.unit.c.id.in_(wanted)))}


def brief_view(row: Any, names: dict[str, str]) -> dict[str, Any]:
    """An incident as one line of a list."""
    return {
        "no": row.no,
        "cycle": row.cycle,
        "title": row.title,
        "notice_title": row.notice_title,
        "kind": row.kind,
        "kind_zh": zh(Kind, row.kind),
        "severity": row.severity,
        "severity_zh": zh(Severity, row.severity) or ("待定级" if row.kind == Kind.EMERGENCY else ""),
        "state": row.state,
        "state_zh": zh(IncidentState, row.state),
        "unit": {"id": row.unit_id, "name": names.get(row.unit_id, "")},
        "registered_at": shown(row.registered_at),
        "registered_by": row.registered_by,
        "drill": row.drill,
        "version": row.version,
    }


def incident_view(tx: Tx, no: str, shot: Snapshot | None = None) -> dict[str, Any]:
    """Everything about one incident as it stands at the instant of the transaction."""
    if shot is None:
        found = repo.find_incident(tx, no)
        if found is None:
            raise NotFound(said("没有编号为 %(no)s 的事项。", no=no))
        shot = snapshot(tx, found)
    row = shot.row
    names = unit_names(tx, [row.unit_id, *row.co_units])
    clocks = _clocks(tx, shot)
    keys = {clock["id"]: clock["key"] for clock in clocks if clock["id"] is not None}
    children = tx.all(sa.select(t.incident.c.no).where(t.incident.c.merged_into == row.id).order_by(t.incident.c.no))
    pending = [r for r in _rows(tx, t.change_request, row.id) if r.state == "pending"]
    return {
        **brief_view(row, names),
        "now": shown(tx.now),
        "body": row.body,
        "source": row.source,
        "source_detail": row.source_detail,
        "category": row.category,
        "region_code": row.region_code,
        "co_units": [{"id": unit, "name": names.get(unit, "")} for unit in row.co_units],
        "merged_into": shot.facts.merged_into or None,
        "merged": [child.no for child in children],
        "ended_at": shown(row.ended_at),
        "ended_reason": row.ended_reason,
        "late_exposure": shot.facts.late_exposure,
        "times": _times(tx, shot),
        "gradings": _gradings(shot.facts),
        "clocks": clocks,
        "untimed": untimed_view(shot.facts, _frozen_packs(tx, row)),
        "publications": [publication_view(p) for p in repo.publications_of(tx, row.id)],
        "stages": _stages(tx, row),
        "packs": _packs(tx, row),
        "requests": [request_view(r, no) for r in pending],
        "acknowledgements": _acknowledgements(tx, row, keys),
        **_assignments(shot.facts),
    }
