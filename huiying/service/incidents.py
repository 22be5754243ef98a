"""The use cases of an incident: register, grade, record a release, acknowledge, correct, merge, end, reopen …

Each is one transaction: gather the incident as it stands, decide with the pure core, apply. A change that the rules
reserve for two persons is rolled back, kept as a pending request, and done when another person's account approves it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from huiying.domain.audit import rfc3339
from huiying.domain.clock import Clock, second_person_reasons
from huiying.domain.errors import Forbidden, InvalidInput, NeedsSecondPerson, NotFound, Refused
from huiying.domain.folding import instant
from huiying.domain.freetext import BODY_LIMIT, NOTE_LIMIT, NOTICE_TITLE_LIMIT, TITLE_LIMIT, checked
from huiying.domain.incident import TimeFact, check_times, resolve_anchor, to_precision
from huiying.domain.kinds import (
    Attribution,
    Band,
    ContentKind,
    EventKind,
    GradeBasis,
    Kind,
    PublicationKind,
    Review,
    Role,
    Severity,
    TimeKind,
)
from huiying.domain.plan import SHANGHAI, plan_actions, summary_action
from huiying.service.actor import Actor
from huiying.service.clockwork import Snapshot, refresh, snapshot
from huiying.service.idempotency import recall, remember, request_hash
from huiying.service.requests import (
    AckRequest,
    CorrectRequest,
    GradeRequest,
    RegisterRequest,
    ReleaseRequest,
    ReviewRequest,
    TimeInput,
    TransferInput,
)
from huiying.service.rulebook import packs_for_unit, policy_of
from huiying.service.scope import covers, parents
from huiying.service.services import Services
from huiying.service.views import incident_view
from huiying.store import incidents as repo
from huiying.store import tables as t
from huiying.store.db import Tx

_DESK = (Role.DUTY_OFFICER, Role.LIAISON)
_ACK_EVERYTHING = "*"
#: Changes that must never move the earliest open due time later without a second person.
_MAY_MOVE_DUE = frozenset({"grade", "merge", "unmerge", "correct", "reassign", "details", "task", "transfer"})


# -- registering ---------------------------------------------------------------------------------------------------


def register(services: Services, actor: Actor, request: RegisterRequest, idempotency_key: str = "") -> dict[str, Any]:
    """Register an incident: its clocks, all their future actions and the audit entry in one transaction.

    The answer is given only after the commit. The same key with the same request gives the same incident again;
    with another request it is refused (``Conflict``).
    """
    actor.require("register")
    clean = _clean(request)
    digest = request_hash(clean)
    with services.store.transaction(actor.id, crash="register") as tx:
        known = recall(tx, actor.id, idempotency_key, digest)
        no = known["no"] if known else _register(tx, actor, clean)
        if not known:
            remember(tx, actor.id, idempotency_key, {"no": no})
        return incident_view(tx, no)


def _clean(request: RegisterRequest) -> dict[str, Any]:
    """The request as plain JSON values, every text checked."""
    if request.severity is not None and request.kind is not Kind.EMERGENCY:
        raise InvalidInput("severity", "只有突发事件才有级别;一般政务舆情请留空。内容未登记。")
    if request.severity is not None and not request.criterion.strip():
        raise InvalidInput("criterion", "定级需写明依据(例如对照哪一条分级标准)。内容未登记。")
    return {
        "title": checked("title", request.title, TITLE_LIMIT, "标题", required=True),
        "body": checked("body", request.body, BODY_LIMIT, "情况说明"),
        "notice_title": checked("notice_title", request.notice_title, NOTICE_TITLE_LIMIT, "对外通知用标题"),
        "kind": str(request.kind),
        "severity": request.severity and str(request.severity),
        "criterion": checked("criterion", request.criterion, NOTE_LIMIT, "定级依据"),
        "unit_id": checked("unit_id", request.unit_id, 64, "主办单位", required=True),
        "co_units": [checked("co_units", unit, 64, "协办单位", required=True) for unit in request.co_units],
        "region_code": checked("region_code", request.region_code, 12, "属地代码"),
        "category": checked("category", request.category, 40, "事件类别"),
        "source": checked("source", request.source, 40, "来源"),
        "source_detail": {
            checked("source_detail", k, 40): checked("source_detail", str(v), 2000, "来源信息")
            for k, v in request.source_detail.items()
        },
        "times": {str(kind): _time(kind, value) for kind, value in sorted(request.times.items())},
        "late_exposure": request.late_exposure,
        "transfer": _transfer_value(request.transfer) if request.transfer else None,
        "drill": request.drill,
    }


def _time(kind: TimeKind, value: TimeInput) -> dict[str, Any]:
    if value.value.tzinfo is None:
        raise InvalidInput(kind, f"{kind.zh}缺少时区,请写明如 2026-11-22T08:30:00+08:00。内容未登记。")
    if value.precision not in {"second", "minute"}:
        raise InvalidInput(kind, f"{kind.zh}的精度只能是 second(到秒)或 minute(到分)。内容未登记。")
    return {
        "kind": str(kind),
        "value": rfc3339(to_precision(value.value, value.precision)),
        "source": checked("source", value.source, 200, f"{kind.zh}的来源"),
        "precision": value.precision,
        "estimated": value.estimated,
    }


def _transfer_value(transfer: TransferInput) -> dict[str, Any]:
    for name, at in (("received_at", transfer.received_at), ("due_at", transfer.due_at)):
        if at is not None and at.tzinfo is None:
            raise InvalidInput(name, "转办通知的时间缺少时区,请写明如 2026-11-22T08:30:00+08:00。内容未登记。")
    return {
        "notice_no": checked("notice_no", transfer.notice_no, 80, "转办通知文号", required=True),
        "from_org": checked("from_org", transfer.from_org, 120, "转办单位"),
        "received_at": rfc3339(transfer.received_at),
        "due_at": rfc3339(transfer.due_at) if transfer.due_at else None,
    }


def _register(tx: Tx, actor: Actor, clean: dict[str, Any]) -> str:
    _check_units(tx, actor, [clean["unit_id"], *clean["co_units"]])
    _check_stated(clean["times"].values(), tx.now)
    local = tx.now.astimezone(SHANGHAI)
    no = f"{local.year}-{repo.count_up(tx, f'incident:{local.year}'):04d}"
    row_id = tx.run(
        t.incident.insert()
        .values(
            no=no,
            cycle=1,
            title=clean["title"],
            notice_title=clean["notice_title"],
            body=clean["body"],
            kind=clean["kind"],
            severity=clean["severity"],
            state="registered",
            source=clean["source"],
            source_detail=clean["source_detail"],
            unit_id=clean["unit_id"],
            co_units=clean["co_units"],
            region_code=clean["region_code"],
            category=clean["category"],
            registered_at=tx.now,
            registered_by=actor.id,
            version=1,
            drill=clean["drill"],
            ended_reason="",
        )
        .returning(t.incident.c.id)
    ).scalar_one()
    row = tx.one(sa.select(t.incident).where(t.incident.c.id == row_id))
    _open_cycle(tx, row, actor.id, clean)
    # The audit names people and texts by hash only: the row itself is reproduced in the history.
    tx.audit("incident.registered", f"incident:{no}", {**_without_texts(clean), "title_sha256": _sha(clean["title"])})
    return no


def _without_texts(clean: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in clean.items() if k not in {"title", "body", "source_detail", "notice_title"}}


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _open_cycle(tx: Tx, row: Any, by: str, clean: dict[str, Any]) -> None:
    """The first entries of a cycle, its packs, its clocks and the one message that goes out at once."""
    entries: list[tuple[str, Mapping[str, Any]]] = [
        ("registered", {k: clean[k] for k in ("kind", "severity", "criterion", "source", "unit_id")})
    ]
    entries += [("time_fact", value) for value in clean["times"].values()]
    if clean["transfer"]:
        entries.append(("transfer", {"key": "1", **clean["transfer"]}))
    repo.append_history(tx, row.id, row.cycle, entries, by)
    _choose_packs(tx, row)
    if clean["late_exposure"]:
        # Anchoring at the exposure puts the strict due times later: the shift leader confirms it as a second person.
        _keep_request(
            tx,
            row,
            "correct",
            {"reason": "登记时申请按首发时间起算", "late_exposure": True},
            by,
            ["登记时申请按首发(曝光)时间起算"],
        )
    shot = refresh(tx, row)
    _announce_registration(tx, row, shot.clocks)


def _announce_registration(tx: Tx, row: Any, clocks: tuple[Clock, ...]) -> None:
    """One consolidated message per incident; when something was overdue on receipt the shift leader hears of it too."""
    overdue = any(clock.on_receipt for clock in clocks)
    roles = [*_DESK, Role.SHIFT_LEADER] if overdue else list(_DESK)
    action = summary_action(
        EventKind.REGISTERED, tx.now, roles, Band.OVERDUE if overdue else Band.NOTICE,
        headline="接报时已逾期" if overdue else "新事项登记", of="start",
    )  # fmt: skip
    repo.insert_actions(tx, row.id, None, row.cycle, [action], salt="registered")


def _choose_packs(tx: Tx, row: Any) -> bool:
    """Freeze the packs in force on the incident's date; packs already frozen keep their version. True when it changed."""
    have = dict(repo.packs_of(tx, row.id, row.cycle))
    facts = repo.load_facts(tx, row, lambda _pack, _version: ())
    anchor = resolve_anchor("occurred_at", facts).at
    chosen = packs_for_unit(tx, row.unit_id, row.region_code, anchor)
    wanted = {pack.id: have.get(pack.id, pack.version) for pack in chosen}
    if wanted == have:
        return False
    link = t.incident_pack
    tx.run(link.delete().where(link.c.incident_id == row.id, link.c.cycle == row.cycle))
    if wanted:
        tx.run(
            link.insert(),
            [{"incident_id": row.id, "cycle": row.cycle, "pack_id": k, "pack_version": v} for k, v in wanted.items()],
        )
    repo.append_history(tx, row.id, row.cycle, [("packs", wanted)], "system:rules")
    return True


def _check_units(tx: Tx, actor: Actor, unit_ids: Iterable[str]) -> None:
    for unit_id in unit_ids:
        if tx.one(sa.select(t.unit.c.id).where(t.unit.c.id == unit_id, t.unit.c.active)) is None:
            raise InvalidInput("unit_id", f"没有编号为「{unit_id}」的在用单位。内容未登记。")
    first = next(iter(unit_ids), "")
    if first and not in_scope(tx, actor, [first]):
        raise Forbidden("您的账号不负责该单位的事项,内容未登记。请由该单位或上级值班室登记。")


def in_scope(tx: Tx, actor: Actor, unit_ids: Iterable[str]) -> bool:
    """Whether one of the units lies in the part of the tree that the actor's account covers."""
    if not actor.units:
        return True
    tree = parents(tx)
    return any(covers(actor, tree, unit_id) for unit_id in unit_ids)


def _check_stated(values: Iterable[Mapping[str, Any]], now: datetime) -> None:
    facts = [
        TimeFact(TimeKind(v["kind"]), instant(v["value"]), v["source"], v["precision"], v["estimated"]) for v in values
    ]
    if any(fact.kind is TimeKind.REGISTERED for fact in facts):
        raise InvalidInput("registered_at", "登记时间由系统记录,不能填写。内容未登记。")
    check_times(facts, now)


# -- changing: the common way ---------------------------------------------------------------------------------------


@dataclass
class Change:
    """What a command sees and says while it runs inside its transaction."""

    tx: Tx
    row: Any
    actor_id: str
    approver_id: str
    before: Snapshot
    entries: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    first_grading: bool = False
    announce: tuple[EventKind, tuple[Role, ...], Band, str] | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    also: list[Snapshot] = field(default_factory=list)  # other incidents whose clocks change with it, as they stood
    new_cycle: bool = False
    allow_ended: bool = False

    def note(self, what: str, detail: Mapping[str, Any]) -> None:
        """Add a history entry."""
        self.entries.append((what, detail))


class _PendingError(Exception):
    """Rolls the transaction back: a second person is needed."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__()
        self.reasons = reasons


Command = Callable[[Change, dict[str, Any]], None]
_COMMANDS: dict[str, tuple[str, Command]] = {}


def _command(name: str, permission: str) -> Callable[[Command], Command]:
    def keep(function: Command) -> Command:
        _COMMANDS[name] = (permission, function)
        return function

    return keep


def execute(services: Services, actor: Actor, name: str, no: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Run a command on an incident; a change reserved for two persons is kept as a request and refused for now."""
    permission, _ = _COMMANDS[name]
    actor.require(permission)
    try:
        with services.store.transaction(actor.id, crash="change") as tx:
            _perform(tx, actor, actor.id, "", name, no, payload)
            return incident_view(tx, no)
    except _PendingError as pending:
        return _refuse_for_now(services, actor, name, no, payload, pending.reasons)


def _refuse_for_now(
    services: Services, actor: Actor, name: str, no: str, payload: dict[str, Any], reasons: list[str]
) -> dict[str, Any]:
    with services.store.transaction(actor.id) as tx:
        row = _locked(tx, actor, no)
        request_id = _keep_request(tx, row, name, payload, actor.id, reasons)
    raise NeedsSecondPerson(
        f"此项变更须由另一人复核:{';'.join(reasons)}。已保存为待复核申请 {request_id},请另一人用本人账号确认;"
        "确认前一切时限照原样计算。",
        request_id=request_id,
        reasons=reasons,
    )


def _keep_request(tx: Tx, row: Any, name: str, payload: dict[str, Any], by: str, reasons: list[str]) -> int:
    values = {
        "incident_id": row.id, "command": name, "payload": payload, "reasons": reasons, "requested_by": by,
        "requested_at": tx.now, "state": "pending",
    }  # fmt: skip
    same = tx.one(
        sa.select(t.change_request.c.id).where(
            t.change_request.c.incident_id == row.id, t.change_request.c.state == "pending",
            t.change_request.c.command == name, t.change_request.c.payload == payload,
            t.change_request.c.requested_by == by,
        )
    )  # fmt: skip
    if same is not None:
        return int(same.id)
    made = tx.run(t.change_request.insert().values(**values).returning(t.change_request.c.id)).scalar_one()
    tx.audit("request.made", f"incident:{row.no}", {"request": made, "command": name, "reasons": reasons})
    return int(made)


def _locked(tx: Tx, actor: Actor, no: str) -> Any:
    row = repo.find_incident(tx, no, for_update=True)
    if row is None or not in_scope(tx, actor, [row.unit_id, *row.co_units]):
        raise NotFound(f"没有编号为 {no} 的事项。")
    return row


def _perform(
    tx: Tx, actor: Actor, actor_id: str, approver_id: str, name: str, no: str, payload: dict[str, Any]
) -> None:
    _, function = _COMMANDS[name]
    row = _locked(tx, actor, no)
    change = Change(tx, row, actor_id, approver_id, snapshot(tx, row))
    function(change, payload)
    facts = change.before.facts
    if facts.merged_at is not None and name != "unmerge":
        raise Refused(f"事项 {no} 已并入 {facts.merged_into},请在主件上操作。未作任何改动。")
    if facts.ending is not None and not change.allow_ended:
        raise Refused(f"事项 {no} 已结束({facts.ending.reason}),如需继续处置请先重开。未作任何改动。")
    row = change.row
    repo.append_history(tx, row.id, row.cycle, change.entries, actor_id, approver_id)
    after = refresh(tx, row, **change.columns)
    refreshed = [refresh(tx, other.row) for other in change.also]
    reasons = list(change.reasons)
    if not change.new_cycle:
        before, now_is = _together(change.before, change.also), _together(after, refreshed)
        moves = name in _MAY_MOVE_DUE
        reasons += second_person_reasons(before, now_is, first_grading=change.first_grading, later_due=moves)
    if reasons and not approver_id:
        raise _PendingError(list(dict.fromkeys(reasons)))
    _announce(tx, row, change)
    tx.audit(
        f"incident.{name}", f"incident:{no}",
        {"payload": _audited(payload), "requested_by": actor_id, "approved_by": approver_id, "reasons": reasons},
    )  # fmt: skip


def _together(shot: Snapshot, others: Iterable[Snapshot]) -> list[Clock]:
    """The clocks of all incidents a change touches; keys are made unique by the incident's number."""
    found = list(shot.clocks)
    for other in others:
        found += [replace(clock, key=f"{other.row.no}/{clock.key}") for clock in other.clocks]
    return found


def _audited(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Free texts stand in the audit chain as their hash, so that personal data can be erased from the rows."""
    private = {"title", "body", "text", "note", "criterion", "evidence", "notice_title", "url", "name"}
    return {k: (_sha(v) if k in private and isinstance(v, str) and v else v) for k, v in payload.items()}


def _announce(tx: Tx, row: Any, change: Change) -> None:
    if change.announce is None:
        return
    kind, roles, band, headline = change.announce
    action = summary_action(kind, tx.now, roles, band, headline=headline)
    repo.insert_actions(tx, row.id, None, row.cycle, [action], salt=f"{kind}:{row.version}")


# -- approving ------------------------------------------------------------------------------------------------------


def approve(services: Services, actor: Actor, request_id: int, note: str = "") -> dict[str, Any]:
    """Another person confirms a pending change; it is carried out as of now, in the name of who asked for it."""
    actor.require("approve")
    if not actor.is_person:
        raise Forbidden("复核须由另一人用本人账号(令牌)办理,本机命令行不能作为第二人。申请仍待复核。")
    text = checked("note", note, NOTE_LIMIT, "复核意见")
    with services.store.transaction(actor.id, crash="change") as tx:
        request = _pending_request(tx, request_id)
        if request.requested_by == actor.id:
            raise Forbidden("申请人不能复核自己的申请,请由另一人办理。申请仍待复核。")
        row = tx.one(sa.select(t.incident).where(t.incident.c.id == request.incident_id))
        assert row is not None
        _perform(tx, actor, request.requested_by, actor.id, request.command, row.no, request.payload)
        _decide(tx, request_id, "approved", actor.id, text)
        tx.audit("request.approved", f"incident:{row.no}", {"request": request_id, "command": request.command})
        return incident_view(tx, row.no)


def reject(services: Services, actor: Actor, request_id: int, note: str = "") -> dict[str, Any]:
    """Turn a pending change down; nothing of the incident changes."""
    actor.require("approve")
    text = checked("note", note, NOTE_LIMIT, "复核意见")
    with services.store.transaction(actor.id) as tx:
        request = _pending_request(tx, request_id)
        row = tx.one(sa.select(t.incident).where(t.incident.c.id == request.incident_id))
        assert row is not None
        _locked(tx, actor, row.no)
        _decide(tx, request_id, "rejected", actor.id, text)
        tx.audit("request.rejected", f"incident:{row.no}", {"request": request_id, "command": request.command})
        return incident_view(tx, row.no)


def _pending_request(tx: Tx, request_id: int) -> Any:
    request = tx.one(sa.select(t.change_request).where(t.change_request.c.id == request_id).with_for_update())
    if request is None:
        raise NotFound(f"没有编号为 {request_id} 的待复核申请。")
    if request.state != "pending":
        raise Refused(
            f"申请 {request_id} 已经办理({'同意' if request.state == 'approved' else '未同意'}),未作任何改动。"
        )
    return request


def _decide(tx: Tx, request_id: int, state: str, by: str, note: str) -> None:
    tx.run(
        t.change_request.update()
        .where(t.change_request.c.id == request_id, t.change_request.c.state == "pending")
        .values(state=state, decided_by=by, decided_at=tx.now, decision_note=note)
    )


# -- grading --------------------------------------------------------------------------------------------------------


def grade(services: Services, actor: Actor, no: str, request: GradeRequest) -> dict[str, Any]:
    """Grade or regrade. ``worsened`` starts the new clocks at ``effective_at``; ``correction`` at the occurrence."""
    at = request.effective_at
    if at is not None and at.tzinfo is None:
        raise InvalidInput("effective_at", "生效时间缺少时区,请写明如 2026-11-22T08:30:00+08:00。未作任何改动。")
    payload = {
        "kind": str(request.kind),
        "severity": request.severity and str(request.severity),
        "basis": str(request.basis),
        "criterion": checked("criterion", request.criterion, NOTE_LIMIT, "定级依据", required=True),
        "effective_at": rfc3339(to_precision(at, "second")) if at else None,
        "evidence": checked("evidence", request.evidence, 2000, "事实依据"),
    }
    return execute(services, actor, "grade", no, payload)


@_command("grade", "grade")
def _grade(change: Change, payload: dict[str, Any]) -> None:
    kind = Kind(payload["kind"])
    severity = Severity(payload["severity"]) if payload["severity"] else None
    now_kind, now_severity = change.before.facts.present
    if (severity is None) == (kind is Kind.EMERGENCY):
        raise InvalidInput("severity", "突发事件须选定级别,一般政务舆情不分级。未作任何改动。")
    if (kind, severity) == (now_kind, now_severity) and payload["basis"] != GradeBasis.CORRECTION:
        raise Refused("与现行定级相同,未作任何改动。")
    basis = _settle_basis(GradeBasis(payload["basis"]), now_kind, now_severity, severity)
    effective = payload["effective_at"] or rfc3339(change.tx.now)
    _check_effective(change, instant(effective), basis, payload)
    change.first_grading = now_kind is Kind.EMERGENCY and now_severity is None
    change.note("grading", {**payload, "basis": str(basis), "effective_at": effective})
    roles = (*_DESK, Role.SHIFT_LEADER)
    words = severity.zh + "突发事件" if severity else kind.zh
    change.announce = (EventKind.REGRADED, roles, Band.NOTICE, f"定级变更:{words}({basis.zh})")


def _settle_basis(basis: GradeBasis, kind: Kind, present: Severity | None, wanted: Severity | None) -> GradeBasis:
    """The officer says why; a first grading is always initial, a lower grade is always a downgrade."""
    if kind is Kind.EMERGENCY and present is None and wanted is not None:
        return GradeBasis.INITIAL
    rises = (wanted.rank if wanted else 0) > (present.rank if present else 0)
    if rises and basis not in {GradeBasis.CORRECTION, GradeBasis.WORSENED}:
        raise InvalidInput("basis", "升级须说明理由:correction(自始如此,更正定级)或 worsened(事态升级)。未作任何改动。")
    if not rises and basis is not GradeBasis.CORRECTION:
        return GradeBasis.DOWNGRADE
    return basis


def _check_effective(change: Change, at: datetime, basis: GradeBasis, payload: Mapping[str, Any]) -> None:
    if at > change.tx.now:
        raise InvalidInput("effective_at", "生效时间晚于当前时间,请核对。未作任何改动。")
    if basis is not GradeBasis.WORSENED:
        return
    if not payload["effective_at"] or not payload["evidence"]:
        raise InvalidInput(
            "effective_at", "事态升级须写明新情况出现的时间(effective_at)及事实依据(evidence)。未作任何改动。"
        )
    occurred = resolve_anchor("occurred_at", change.before.facts)
    if at < occurred.at:
        raise InvalidInput("effective_at", "新情况的时间早于事发时间,请核对。未作任何改动。")


# -- publications ---------------------------------------------------------------------------------------------------


def record_release(services: Services, actor: Actor, no: str, request: ReleaseRequest) -> dict[str, Any]:
    """Record a release, response or conference that happened; never blocked by a missing step, the gap is shown."""
    if request.published_at.tzinfo is None:
        raise InvalidInput("published_at", "发布时间缺少时区,请写明如 2026-11-22T08:30:00+08:00。内容未登记。")
    url, text = checked("url", request.url, 2000, "网址"), checked("text", request.text, BODY_LIMIT, "发布内容")
    if not url and not text:
        raise InvalidInput("url", "请填写发布网址或发布内容作为凭据,否则不能认定为已发布。内容未登记。")
    if url and not url.lower().startswith(("http://", "https://")):
        raise InvalidInput("url", "网址须以 http:// 或 https:// 开头。内容未登记。")
    payload = {
        "kind": str(request.kind),
        "published_at": rfc3339(to_precision(request.published_at, "second")),
        "content_kind": str(request.content_kind),
        "title": checked("title", request.title, TITLE_LIMIT, "发布标题"),
        "url": url,
        "text": text,
        "channel": checked("channel", request.channel, 120, "发布渠道"),
        "leader_voice": request.leader_voice,
        "confidentiality": {
            str(k): checked("confidentiality", str(v), 500) for k, v in request.confidentiality.items()
        },
    }
    return execute(services, actor, "release", no, payload)


@_command("release", "release")
def _release(change: Change, payload: dict[str, Any]) -> None:
    tx, at = change.tx, instant(payload["published_at"])
    if at > tx.now:
        raise InvalidInput("published_at", "发布时间晚于当前时间;请在发布之后登记。内容未登记。")
    occurred = change.before.facts.time(TimeKind.OCCURRED)
    if occurred is not None and at < occurred.value:
        raise InvalidInput("published_at", "发布时间早于事发时间,请核对两个时间。内容未登记。")
    kind, content = PublicationKind(payload["kind"]), ContentKind(payload["content_kind"])
    digest = _sha("\n".join([payload["url"], payload["title"], payload["text"]]))
    made = tx.run(
        t.publication.insert()
        .values(
            incident_id=change.row.id, cycle=change.row.cycle, kind=str(kind), published_at=at, title=payload["title"],
            url=payload["url"], text=payload["text"], channel=payload["channel"], content_kind=str(content),
            content_hash=digest, leader_voice=payload["leader_voice"], confidentiality=payload["confidentiality"],
            entered_at=tx.now, entered_by=change.actor_id, review=str(Review.PENDING), credited=False,
        )
        .returning(t.publication.c.id)
    ).scalar_one()  # fmt: skip
    change.note(
        "publication",
        {
            "id": made,
            "kind": str(kind),
            "published_at": payload["published_at"],
            "content_kind": str(content),
            "sha256": digest,
        },
    )
    _ask_confirmation(change, int(made), at, content)
    repost = f"(登记为{content.zh},不停止计时)" if content.is_repost else ""
    change.announce = (EventKind.RELEASE_RECORDED, _DESK, Band.INFO, f"已登记{kind.zh}{repost}")


def _ask_confirmation(change: Change, publication_id: int, at: datetime, content: ContentKind) -> None:
    """An on-time publication entered after the limit stops the clock now; a second person settles that it was on time."""
    late = [c.name for c in change.before.clocks if c.state == "breached" and not c.is_internal and at <= c.due_at]
    if late and not content.is_repost:
        reasons = [f"「{name}」将由超时变为按时" for name in dict.fromkeys(late)]
        _keep_request(
            change.tx, change.row, "confirm_publication", {"publication_id": publication_id}, change.actor_id, reasons
        )


@_command("confirm_publication", "release")
def _confirm_publication(change: Change, payload: dict[str, Any]) -> None:
    row = _publication(change, payload["publication_id"])
    change.tx.run(
        t.publication.update().where(t.publication.c.id == row.id).values(confirmed_by=change.approver_id or None)
    )
    if not change.approver_id:
        change.reasons.append("按时发布但逾期登记,须由第二人确认")
    change.note("confirm_publication", {"id": row.id})


def _publication(change: Change, publication_id: int) -> Any:
    table = t.publication
    children = sa.select(t.incident.c.id).where(t.incident.c.merged_into == change.row.id)
    row = change.tx.one(
        sa.select(table).where(
            table.c.id == publication_id,
            sa.or_(table.c.incident_id == change.row.id, table.c.incident_id.in_(children)),
        )
    )
    if row is None:
        raise NotFound(f"事项 {change.row.no} 没有编号为 {publication_id} 的发布记录。")
    return row


def review(services: Services, actor: Actor, no: str, request: ReviewRequest) -> dict[str, Any]:
    """A reviewer accepts or rejects a publication, reclassifies it, credits it, withdraws it, judges its substance."""
    payload = {
        "publication_id": request.publication_id,
        "review": request.review and str(request.review),
        "content_kind": request.content_kind and str(request.content_kind),
        "substantive": request.substantive,
        "credited": request.credited,
        "withdrawn": request.withdrawn,
        "note": checked("note", request.note, NOTE_LIMIT, "核验意见"),
    }
    return execute(services, actor, "review", no, payload)


@_command("review", "review")
def _review(change: Change, payload: dict[str, Any]) -> None:
    row = _publication(change, payload["publication_id"])
    if row.entered_by == change.actor_id and (payload["credited"] or payload["review"] == Review.ACCEPTED):
        change.reasons.append("核验人即登记人")
    values: dict[str, Any] = {"reviewed_by": change.actor_id, "reviewed_at": change.tx.now}
    for name in ("review", "content_kind", "substantive", "credited"):
        if payload[name] is not None:
            values[name] = payload[name]
    if payload["withdrawn"] is not None:
        values["withdrawn_at"] = change.tx.now if payload["withdrawn"] else None
    change.tx.run(t.publication.update().where(t.publication.c.id == row.id).values(**values))
    kept = {k: v for k, v in payload.items() if v is not None and k not in {"publication_id", "note"}}
    change.note("review", {"id": row.id, "note": payload["note"], "before": _review_before(row), **kept})
    change.announce = (EventKind.CHANGED, _DESK, Band.NOTICE, "发布记录已核验,时钟已重新判定")


def _review_before(row: Any) -> dict[str, Any]:
    return {"review": row.review, "content_kind": row.content_kind, "credited": row.credited}


# -- correcting -----------------------------------------------------------------------------------------------------


def correct(services: Services, actor: Actor, no: str, request: CorrectRequest) -> dict[str, Any]:
    """Correct a time fact or the late-exposure reading; the old value stays in the history."""
    payload: dict[str, Any] = {"reason": checked("reason", request.reason, NOTE_LIMIT, "更正理由", required=True)}
    if request.late_exposure is not None:
        payload["late_exposure"] = request.late_exposure
    if request.kind is not None and request.time is not None:
        payload["time"] = _time(request.kind, request.time)
    if len(payload) == 1:
        raise InvalidInput("kind", "请写明要更正哪一个时间及其新值。未作任何改动。")
    return execute(services, actor, "correct", no, payload)


@_command("correct", "correct")
def _correct(change: Change, payload: dict[str, Any]) -> None:
    if "late_exposure" in payload:
        change.note("late_exposure", {"confirmed": payload["late_exposure"], "reason": payload["reason"]})
        if payload["late_exposure"]:
            change.reasons.append("按首发(曝光)时间起算须由带班领导确认")
    if "time" in payload:
        _correct_time(change, payload)
    change.announce = (EventKind.CHANGED, _DESK, Band.NOTICE, "时间已更正,时钟已重新计算")


def _correct_time(change: Change, payload: dict[str, Any]) -> None:
    stated = payload["time"]
    facts = [fact for fact in change.before.facts.times if str(fact.kind) != stated["kind"]]
    new = TimeFact(TimeKind(stated["kind"]), instant(stated["value"]), stated["source"])
    if new.kind is TimeKind.REGISTERED:
        raise InvalidInput("kind", "登记时间由系统记录,不能更正。未作任何改动。")
    check_times([*facts, new], change.tx.now)
    old = change.before.facts.time(new.kind)
    detail = {**stated, "reason": payload["reason"], "was": rfc3339(old.value) if old else None}
    repo.append_history(
        change.tx, change.row.id, change.row.cycle, [("time_fact", detail)], change.actor_id, change.approver_id
    )
    _choose_packs(change.tx, change.row)


# -- acknowledging --------------------------------------------------------------------------------------------------


def acknowledge(services: Services, actor: Actor, no: str, request: AckRequest) -> dict[str, Any]:
    """Acknowledge by clock, step and person: stops that step's repetition, never a clock; it expires."""
    actor.require("acknowledge")
    note = checked("note", request.note, NOTE_LIMIT, "签收说明")
    who = actor.person_id or actor.id
    with services.store.transaction(actor.id, crash="change") as tx:
        row = _locked(tx, actor, no)
        targets = _ack_targets(tx, row, who, request)
        if not targets:
            raise Refused("目前没有需要您签收的提醒,未作任何改动。")
        rows = [
            {
                "incident_id": row.id, "clock_id": clock_id, "step_id": step, "person_id": who, "at": tx.now,
                "expires_at": tx.now + timedelta(seconds=seconds), "via": request.via,
                "notice_no": request.notice_no or None, "note": note,
            }
            for clock_id, step, seconds in targets
        ]  # fmt: skip
        tx.run(t.acknowledgement.insert(), rows)
        repo.append_history(
            tx, row.id, row.cycle, [("acknowledged", {"by": who, "count": len(rows), "via": request.via})], actor.id
        )
        tx.audit(
            "incident.acknowledged", f"incident:{no}",
            {"person": who, "via": request.via, "notice_no": request.notice_no, "steps": sorted({s for _, s, _ in targets})},
        )  # fmt: skip
        return incident_view(tx, no)


_ACK_SECONDS = 12 * 3600


def _ack_targets(tx: Tx, row: Any, who: str, request: AckRequest) -> set[tuple[int | None, str, int]]:
    """(clock, step, seconds until it expires) of everything this acknowledgement answers."""
    clocks = repo.clock_rows(tx, row.id, row.cycle)
    if request.clock_key:
        clock = clocks.get(request.clock_key)
        if clock is None:
            raise NotFound(f"事项 {row.no} 没有时钟「{request.clock_key}」。")
        return {(clock.id, request.step_id or _ACK_EVERYTHING, _ACK_SECONDS)}
    action, delivery = t.timed_action, t.delivery
    statement = (
        sa.select(action.c.id, action.c.clock_id, action.c.step_id, action.c.kind, action.c.detail)
        .join(delivery, delivery.c.action_id == action.c.id)
        .where(delivery.c.incident_id == row.id)
    )
    if request.notice_no:
        statement = statement.where(delivery.c.notice_no == request.notice_no)
    elif not who.startswith("local:"):
        statement = statement.where(delivery.c.person_id == who)
    open_clocks = [clock.id for clock in clocks.values() if clock.state in {"running", "breached", "scheduled"}]
    found: set[tuple[int | None, str, int]] = set()
    for asked in tx.all(statement):
        seconds = int(asked.detail.get("ack_seconds", _ACK_SECONDS))
        if asked.clock_id is not None:
            found.add((asked.clock_id, asked.detail.get("of") or asked.step_id, seconds))
        else:
            # The start message and digests speak of the whole incident: the acknowledgement holds for each open clock.
            step = "start" if asked.kind == EventKind.REGISTERED else _ACK_EVERYTHING
            found |= {(clock_id, step, seconds) for clock_id in open_clocks}
            found.add((None, step, seconds))
    return found


# -- merging --------------------------------------------------------------------------------------------------------


def merge(services: Services, actor: Actor, no: str, into: str, reason: str) -> dict[str, Any]:
    """Merge incident ``no`` into ``into``, which takes the earliest times and all publications."""
    payload = {"into": into, "reason": checked("reason", reason, NOTE_LIMIT, "并案理由", required=True)}
    return execute(services, actor, "merge", no, payload)


@_command("merge", "merge")
def _merge(change: Change, payload: dict[str, Any]) -> None:
    tx, into = change.tx, payload["into"]
    primary = repo.find_incident(tx, into, for_update=True)
    if primary is None:
        raise NotFound(f"没有编号为 {into} 的事项。")
    if primary.id == change.row.id:
        raise Refused("不能把事项并入它自己,未作任何改动。")
    target = snapshot(tx, primary)
    if target.facts.merged_at is not None or target.facts.ending is not None:
        raise Refused(f"事项 {into} 已并案或已结束,不能作为主件。未作任何改动。")
    if tx.one(sa.select(t.incident.c.id).where(t.incident.c.merged_into == change.row.id)) is not None:
        raise Refused("该事项本身已有并入件,请先拆分或直接并入主件。未作任何改动。")
    change.also.append(target)
    tx.run(t.incident.update().where(t.incident.c.id == change.row.id).values(merged_into=primary.id, merged_at=tx.now))
    change.note("merged", payload)
    repo.append_history(
        tx, primary.id, primary.cycle, [("absorbed", {"no": change.row.no, "reason": payload["reason"]})],
        change.actor_id, change.approver_id,
    )  # fmt: skip
    _announce_on(tx, primary, f"{change.row.no} 已并入本事项,时钟已按最早时间重新计算")


def _announce_on(tx: Tx, row: Any, headline: str) -> None:
    action = summary_action(EventKind.CHANGED, tx.now, _DESK, Band.NOTICE, headline=headline)
    repo.insert_actions(tx, row.id, None, row.cycle, [action], salt=f"changed:{row.version}:{headline[:12]}")


def unmerge(services: Services, actor: Actor, no: str, reason: str) -> dict[str, Any]:
    """Take an incident out again; publications entered after the merge stay with the primary (domain.md §7.10)."""
    payload = {"reason": checked("reason", reason, NOTE_LIMIT, "拆分理由", required=True)}
    return execute(services, actor, "unmerge", no, payload)


@_command("unmerge", "merge")
def _unmerge(change: Change, payload: dict[str, Any]) -> None:
    tx = change.tx
    if change.row.merged_into is None:
        raise Refused(f"事项 {change.row.no} 没有并入其他事项,未作任何改动。")
    primary = tx.one(sa.select(t.incident).where(t.incident.c.id == change.row.merged_into).with_for_update())
    assert primary is not None
    change.also.append(snapshot(tx, primary))
    tx.run(t.incident.update().where(t.incident.c.id == change.row.id).values(merged_into=None, merged_at=None))
    change.note("unmerged", payload)
    repo.append_history(
        tx, primary.id, primary.cycle, [("released", {"no": change.row.no, "reason": payload["reason"]})],
        change.actor_id, change.approver_id,
    )  # fmt: skip
    _announce_on(tx, primary, f"{change.row.no} 已从本事项拆出,时钟已重新计算")


# -- ending and reopening -------------------------------------------------------------------------------------------


def _end(services: Services, actor: Actor, name: str, no: str, reason: str) -> dict[str, Any]:
    return execute(services, actor, name, no, {"reason": checked("reason", reason, NOTE_LIMIT, "理由", required=True)})


def void(services: Services, actor: Actor, no: str, reason: str) -> dict[str, Any]:
    """Void a false alarm (误报撤销); always two persons, the clocks run until then."""
    return _end(services, actor, "void", no, reason)


def waive(services: Services, actor: Actor, no: str, reason: str) -> dict[str, Any]:
    """No response needed (研判不予回应); always two persons, counted separately."""
    return _end(services, actor, "waive", no, reason)


def hand_over(services: Services, actor: Actor, no: str, reason: str) -> dict[str, Any]:
    """Hand the incident over to another body (移交); always two persons."""
    return _end(services, actor, "hand_over", no, reason)


def close(services: Services, actor: Actor, no: str, reason: str) -> dict[str, Any]:
    """Close and archive; refused while a document's clock is open."""
    return _end(services, actor, "close", no, reason)


def _ending_command(name: str, what: str, word: str) -> None:
    def end(change: Change, payload: dict[str, Any]) -> None:
        change.reasons.append(f"{word}须由另一人复核")
        change.note(what, payload)
        change.columns = {"ended_at": change.tx.now, "ended_reason": payload["reason"]}
        change.announce = (EventKind.CLOSED, _DESK, Band.INFO, f"事项已{word}")

    _COMMANDS[name] = ("end", end)


_ending_command("void", "voided", "作误报撤销")
_ending_command("waive", "waived", "研判不予回应")
_ending_command("hand_over", "handed_over", "移交")


@_command("close", "end")
def _close(change: Change, payload: dict[str, Any]) -> None:
    still = [clock.name for clock in change.before.clocks if clock.state.is_open and clock.origin != "continuous"]
    if still:
        raise Refused(f"还有未完成的时钟({'、'.join(dict.fromkeys(still))}),不能办结。请先登记发布或按程序撤销。")
    if any(clock.state.is_open for clock in change.before.clocks):
        change.note("continuous", {"every_hours": 0})
    change.note("closed", payload)
    change.columns = {"ended_at": change.tx.now, "ended_reason": payload["reason"]}
    change.announce = (EventKind.CLOSED, _DESK, Band.INFO, "事项已办结归档")


def reopen(
    services: Services, actor: Actor, no: str, reason: str, times: Mapping[TimeKind, TimeInput] | None = None
) -> dict[str, Any]:
    """A flare-up (复燃): a new cycle with its own anchors, linked to the same incident."""
    payload = {
        "reason": checked("reason", reason, NOTE_LIMIT, "重开理由", required=True),
        "times": {str(kind): _time(kind, value) for kind, value in sorted((times or {}).items())},
    }
    return execute(services, actor, "reopen", no, payload)


@_command("reopen", "end")
def _reopen(change: Change, payload: dict[str, Any]) -> None:
    tx, row, facts = change.tx, change.row, change.before.facts
    if facts.ending is None:
        raise Refused(f"事项 {row.no} 尚未结束,无需重开。未作任何改动。")
    change.allow_ended = True
    _check_stated(payload["times"].values(), tx.now)
    repo.append_history(
        tx, row.id, row.cycle, [("reopened_as", {"cycle": row.cycle + 1, "reason": payload["reason"]})],
        change.actor_id, change.approver_id,
    )  # fmt: skip
    tx.run(
        t.incident.update()
        .where(t.incident.c.id == row.id)
        .values(cycle=row.cycle + 1, state="registered", ended_at=None, ended_reason="")
    )
    fresh = tx.one(sa.select(t.incident).where(t.incident.c.id == row.id))
    kind, severity = facts.present
    _open_cycle(
        tx, fresh, change.actor_id,
        {
            "kind": str(kind), "severity": severity and str(severity), "criterion": "复燃重开,沿用原定级",
            "source": facts.source, "unit_id": row.unit_id, "times": payload["times"], "transfer": None, "late_exposure": False,
        },
    )  # fmt: skip
    change.row = fresh
    change.new_cycle = True


# -- assignments, transfers, continuous release, stages -------------------------------------------------------------


def add_task(services: Services, actor: Actor, no: str, unit_id: str, name: str, due_at: datetime) -> dict[str, Any]:
    """Give a department an internal task with its own due time; document clocks are not touched by it."""
    payload = {
        "unit_id": unit_id,
        "name": checked("name", name, 80, "任务名称", required=True),
        "due_at": rfc3339(_aware("due_at", due_at)),
    }
    return execute(services, actor, "task", no, payload)


def _aware(name: str, at: datetime) -> datetime:
    if at.tzinfo is None:
        raise InvalidInput(name, "时间缺少时区,请写明如 2026-11-22T08:30:00+08:00。未作任何改动。")
    return to_precision(at, "second")


@_command("task", "assign")
def _task(change: Change, payload: dict[str, Any]) -> None:
    if change.tx.one(sa.select(t.unit.c.id).where(t.unit.c.id == payload["unit_id"])) is None:
        raise InvalidInput("unit_id", f"没有编号为「{payload['unit_id']}」的单位。未作任何改动。")
    if instant(payload["due_at"]) <= change.tx.now:
        raise InvalidInput("due_at", "任务截止时间须晚于现在。未作任何改动。")
    change.note("task", {"key": str(len(change.before.facts.tasks) + 1), **payload})
    units = list(dict.fromkeys([*change.row.co_units, payload["unit_id"]]))
    change.columns = {"co_units": [unit for unit in units if unit != change.row.unit_id]}


def task_done(services: Services, actor: Actor, no: str, key: str, at: datetime) -> dict[str, Any]:
    """A department's task was finished at ``at``."""
    return execute(services, actor, "task_done", no, {"key": key, "at": rfc3339(_aware("at", at))})


@_command("task_done", "acknowledge")
def _task_done(change: Change, payload: dict[str, Any]) -> None:
    if payload["key"] not in {task.key for task in change.before.facts.tasks}:
        raise NotFound(f"事项 {change.row.no} 没有编号为 {payload['key']} 的部门任务。")
    _not_future(change, payload["at"])
    change.note("task_done", payload)


def _not_future(change: Change, at: str) -> None:
    if instant(at) > change.tx.now:
        raise InvalidInput("at", "时间晚于当前时间,请核对。未作任何改动。")


def add_transfer(services: Services, actor: Actor, no: str, request: TransferInput) -> dict[str, Any]:
    """Attach a superior's transferred notice; only a due time named in it makes a clock."""
    return execute(services, actor, "transfer", no, _transfer_value(request))


@_command("transfer", "register")
def _transfer(change: Change, payload: dict[str, Any]) -> None:
    _not_future(change, payload["received_at"])
    change.note("transfer", {"key": str(len(change.before.facts.transfers) + 1), **payload})
    change.announce = (EventKind.CHANGED, _DESK, Band.NOTICE, "收到转办通知")


def transfer_feedback(services: Services, actor: Actor, no: str, key: str, at: datetime) -> dict[str, Any]:
    """The feedback to a transferred notice was sent at ``at``."""
    return execute(services, actor, "transfer_feedback", no, {"key": key, "at": rfc3339(_aware("at", at))})


@_command("transfer_feedback", "release")
def _transfer_feedback(change: Change, payload: dict[str, Any]) -> None:
    found = next((x for x in change.before.facts.transfers if x.key == payload["key"]), None)
    if found is None:
        raise NotFound(f"事项 {change.row.no} 没有编号为 {payload['key']} 的转办通知。")
    _not_future(change, payload["at"])
    if found.due_at is not None and instant(payload["at"]) <= found.due_at < change.tx.now:
        change.reasons.append("转办通知反馈:按时反馈但逾期登记,须由第二人确认")
    change.note("transfer_feedback", payload)


def set_continuous(services: Services, actor: Actor, no: str, every_hours: int) -> dict[str, Any]:
    """Set the office's interval for 持续发布 (1–168 hours; 0 stops it): an internal clock."""
    if not 0 <= every_hours <= 168:
        raise InvalidInput("every_hours", "持续发布间隔须为 1 至 168 小时,0 表示停止。未作任何改动。")
    return execute(services, actor, "continuous", no, {"every_hours": every_hours})


@_command("continuous", "assign")
def _continuous(change: Change, payload: dict[str, Any]) -> None:
    change.note("continuous", payload)


def enter_stage(services: Services, actor: Actor, no: str, stage: str, note: str = "") -> dict[str, Any]:
    """Enter a stage of the pack (收集 …); never gates publishing."""
    payload = {
        "stage": checked("stage", stage, 40, "阶段", required=True),
        "note": checked("note", note, NOTE_LIMIT, "说明"),
    }
    return execute(services, actor, "stage", no, payload)


@_command("stage", "assign")
def _stage(change: Change, payload: dict[str, Any]) -> None:
    tx, log = change.tx, t.stage_log
    tx.run(log.update().where(log.c.incident_id == change.row.id, log.c.left_at.is_(None)).values(left_at=tx.now))
    tx.run(
        log.insert().values(
            incident_id=change.row.id, stage=payload["stage"], entered_at=tx.now, note=payload["note"],
            recorded_by=change.actor_id,
        )
    )  # fmt: skip
    change.note("stage", {"stage": payload["stage"]})


def confirm_attribution(
    services: Services, actor: Actor, no: str, clock_key: str, attribution: Attribution, note: str
) -> dict[str, Any]:
    """A person confirms why a limit was missed; nothing of accountability starts before."""
    payload = {
        "clock_key": clock_key,
        "attribution": str(attribution),
        "note": checked("note", note, NOTE_LIMIT, "归因说明", required=True),
    }
    return execute(services, actor, "attribution", no, payload)


@_command("attribution", "attribute")
def _attribution(change: Change, payload: dict[str, Any]) -> None:
    change.allow_ended = True
    row = repo.clock_rows(change.tx, change.row.id, change.row.cycle).get(payload["clock_key"])
    if row is None or row.noticed_at is None:
        raise Refused("该时钟没有超时记录,无需归因。未作任何改动。")
    change.tx.run(
        t.clock.update()
        .where(t.clock.c.id == row.id)
        .values(attribution=payload["attribution"], attribution_confirmed_by=change.actor_id)
    )
    change.note("attribution", payload)


def replan(services: Services, actor: Actor, no: str, clock_key: str, policy_id: str, reason: str) -> dict[str, Any]:
    """Put another escalation policy in the place of a frozen one; audited."""
    payload = {
        "clock_key": clock_key,
        "policy_id": policy_id,
        "reason": checked("reason", reason, NOTE_LIMIT, "更换理由", required=True),
    }
    return execute(services, actor, "replan", no, payload)


@_command("replan", "replan")
def _replan(change: Change, payload: dict[str, Any]) -> None:
    tx = change.tx
    row = repo.clock_rows(tx, change.row.id, change.row.cycle).get(payload["clock_key"])
    clock = next((c for c in change.before.clocks if c.key == payload["clock_key"]), None)
    if row is None or clock is None:
        raise NotFound(f"事项 {change.row.no} 没有时钟「{payload['clock_key']}」。")
    digest = tx.value(sa.select(t.policy.c.hash).where(t.policy.c.id == payload["policy_id"], t.policy.c.current))
    if digest is None:
        raise NotFound(f"没有名为「{payload['policy_id']}」的升级提醒策略。")
    tx.run(t.clock.update().where(t.clock.c.id == row.id).values(policy_hash=digest, generation=row.generation + 1))
    repo.supersede_actions(tx, [row.id], "replanned")
    planned = plan_actions(clock, policy_of(tx, digest), tx.now, tx.now)
    planned = tuple(action for action in planned if row.noticed_at is None or action.kind is not EventKind.BREACHED)
    repo.insert_actions(tx, change.row.id, row.id, row.generation + 1, planned)
    change.note("replanned", {**payload, "hash": digest})


def reassign(services: Services, actor: Actor, no: str, unit_id: str, reason: str) -> dict[str, Any]:
    """Another unit takes the lead; document clocks never start anew by it."""
    payload = {"unit_id": unit_id, "reason": checked("reason", reason, NOTE_LIMIT, "转交理由", required=True)}
    return execute(services, actor, "reassign", no, payload)


@_command("reassign", "assign")
def _reassign(change: Change, payload: dict[str, Any]) -> None:
    if change.tx.one(sa.select(t.unit.c.id).where(t.unit.c.id == payload["unit_id"], t.unit.c.active)) is None:
        raise InvalidInput("unit_id", f"没有编号为「{payload['unit_id']}」的在用单位。未作任何改动。")
    change.columns = {"unit_id": payload["unit_id"]}
    change.note("reassigned", payload)
    change.announce = (EventKind.CHANGED, _DESK, Band.NOTICE, "主办单位已变更,请新主办单位签收")


def update_details(
    services: Services, actor: Actor, no: str, changes: Mapping[str, str], reason: str
) -> dict[str, Any]:
    """Change title, body, notice title or category; the earlier text's hash stays in the history."""
    limits = {"title": TITLE_LIMIT, "body": BODY_LIMIT, "notice_title": NOTICE_TITLE_LIMIT, "category": 40}
    unknown = set(changes) - set(limits)
    if unknown or not changes:
        raise InvalidInput(
            next(iter(unknown), "title"), "可修改的内容:标题、情况说明、对外通知用标题、类别。未作任何改动。"
        )
    payload: dict[str, Any] = {k: checked(k, v, limits[k], required=k == "title") for k, v in changes.items()}
    payload["reason"] = checked("reason", reason, NOTE_LIMIT, "修改理由", required=True)
    return execute(services, actor, "details", no, payload)


@_command("details", "correct")
def _details(change: Change, payload: dict[str, Any]) -> None:
    wanted = {k: v for k, v in payload.items() if k != "reason"}
    change.columns = wanted
    was = {f"{k}_was_sha256": _sha(getattr(change.row, k)) for k in wanted}
    change.note("details", {"reason": payload["reason"], **was})
