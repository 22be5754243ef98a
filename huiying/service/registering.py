"""Registering an incident: its clocks and all their future actions in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from huiying.domain.audit import rfc3339
from huiying.domain.clock import Clock
from huiying.domain.errors import Forbidden, InvalidInput
from huiying.domain.folding import Entry, fold, instant
from huiying.domain.freetext import BODY_LIMIT, NOTE_LIMIT, NOTICE_TITLE_LIMIT, TITLE_LIMIT, checked
from huiying.domain.incident import Facts, TimeFact, check_times, resolve_anchor, to_precision
from huiying.domain.kinds import (
    Band,
    EventKind,
    Kind,
    Role,
    TimeKind,
)
from huiying.domain.plan import SHANGHAI, summary_action
from huiying.domain.rules import RulePack
from huiying.domain.sentences import said
from huiying.service.actor import Actor
from huiying.service.changes import DESK, in_scope, keep_request, open_clock_ids, without_free_text
from huiying.service.clockwork import Snapshot, refresh
from huiying.service.idempotency import recall, remember, request_hash
from huiying.service.people import list_units
from huiying.service.requests import (
    RegisterRequest,
    TimeInput,
    TransferInput,
)
from huiying.service.rulebook import pack_of, packs_for_unit
from huiying.service.services import Services
from huiying.service.views import incident_view
from huiying.store import incidents as repo
from huiying.store import tables as t
from huiying.store.db import Tx

#: Every time fact names its source; where nobody named one it is the word of whoever registered.
STATED_BY_REGISTRAR = "登记人填报"
#: 演练. Letters, because a number also stands in addresses, tags and file names.
DRILL_PREFIX = "YL-"


def register(services: Services, actor: Actor, request: RegisterRequest, idempotency_key: str = "") -> dict[str, Any]:
    """Register an incident: its clocks, all their future actions and the audit entry in one transaction.

    The answer is given only after the commit. The same key with the same request gives the same incident again;
    with another request it is refused (``Conflict``).
    """
    actor.require("register")
    # In a demo nothing is real: what somebody registers there never leaves the house either.
    unit_id = request.unit_id or only_unit(services, actor)
    clean = _clean(replace(request, unit_id=unit_id, drill=request.drill or services.settings.demo))
    digest = request_hash(clean)
    with services.store.transaction(actor.id, crash="register") as tx:
        known = recall(tx, actor.id, idempotency_key, digest)
        if known:
            return incident_view(tx, known["no"])
        shot = _register(tx, actor, clean)
        remember(tx, actor.id, idempotency_key, {"no": shot.row.no})
        return incident_view(tx, shot.row.no, shot)


def only_unit(services: Services, actor: Actor) -> str:
    """The unit nobody has to name: the only one that the actor sees, or the one at its top."""
    units = [unit for unit in list_units(services, actor) if unit["active"]]
    seen = {unit["id"] for unit in units}
    tops = [unit for unit in units if unit["parent_id"] not in seen]
    if len(tops) != 1:
        raise InvalidInput("unit_id", "请写明主办单位编号（huiying unit list 可查）。内容未登记。")
    return str(tops[0]["id"])


def _clean(request: RegisterRequest) -> dict[str, Any]:
    """The request as plain JSON values, every text checked."""
    if request.severity is not None and request.kind is not Kind.EMERGENCY:
        raise InvalidInput("severity", "只有突发事件才有级别；一般政务舆情请留空。内容未登记。")
    if request.severity is not None and not request.criterion.strip():
        raise InvalidInput("criterion", "定级需写明依据（例如对照哪一条分级标准）。内容未登记。")
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
        "times": {str(kind): time_value(kind, value) for kind, value in sorted(request.times.items())},
        "late_exposure": request.late_exposure,
        "transfer": transfer_value(request.transfer) if request.transfer else None,
        "drill": request.drill,
    }


def time_value(kind: TimeKind, value: TimeInput) -> dict[str, Any]:
    if value.value.tzinfo is None:
        raise InvalidInput(kind, said("%(kind)s缺少时区，请写明如 2026-11-22T08:30:00+08:00。内容未登记。", kind=kind))
    if value.precision not in {"second", "minute"}:
        raise InvalidInput(kind, said("%(kind)s的精度只能是 second(到秒)或 minute(到分)。内容未登记。", kind=kind))
    return {
        "kind": str(kind),
        "value": rfc3339(to_precision(value.value, value.precision)),
        "source": checked("source", value.source, 200, said("%(kind)s的来源", kind=kind)) or STATED_BY_REGISTRAR,
        "precision": value.precision,
        "estimated": value.estimated,
    }


def transfer_value(transfer: TransferInput) -> dict[str, Any]:
    for name, at in (("received_at", transfer.received_at), ("due_at", transfer.due_at)):
        if at is not None and at.tzinfo is None:
            raise InvalidInput(name, "转办通知的时间缺少时区，请写明如 2026-11-22T08:30:00+08:00。内容未登记。")
    return {
        "notice_no": checked("notice_no", transfer.notice_no, 80, "转办通知文号", required=True),
        "from_org": checked("from_org", transfer.from_org, 120, "转办单位"),
        "received_at": rfc3339(transfer.received_at),
        "due_at": rfc3339(transfer.due_at) if transfer.due_at else None,
    }


def _register(tx: Tx, actor: Actor, clean: dict[str, Any]) -> Snapshot:
    _check_units(tx, actor, [clean["unit_id"], *clean["co_units"]])
    check_stated(clean["times"].values(), tx.now)
    no = _number(tx, drill=clean["drill"])
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
    shot = open_cycle(tx, row, actor.id, clean)
    # The audit names people and texts by hash only: the row itself is reproduced in the history.
    tx.audit("incident.registered", f"incident:{no}", without_free_text(clean))
    return shot


def _number(tx: Tx, *, drill: bool) -> str:
    """The next number of the year. A drill has its own: it is plain wherever it stands, and the real ones have no gaps."""
    year = tx.now.astimezone(SHANGHAI).year
    if drill:
        return f"{DRILL_PREFIX}{year}-{repo.count_up(tx, f'drill:{year}'):04d}"
    return f"{year}-{repo.count_up(tx, f'incident:{year}'):04d}"


def open_cycle(tx: Tx, row: Any, by: str, clean: dict[str, Any]) -> Snapshot:
    """The first entries of a cycle, its packs, its clocks and the one message that goes out at once."""
    entries: list[tuple[str, Mapping[str, Any]]] = [
        ("registered", {k: clean[k] for k in ("kind", "severity", "criterion", "source", "unit_id")})
    ]
    entries += [("time_fact", value) for value in clean["times"].values()]
    if clean["transfer"]:
        entries.append(("transfer", {"key": "1", **clean["transfer"]}))
    repo.append_history(tx, row.id, row.cycle, entries, by)
    facts = fold([Entry(what, tx.now, by, dict(detail)) for what, detail in entries], (), ())
    packs = choose_packs(tx, row, facts)
    if clean["late_exposure"]:
        # Anchoring at the exposure puts the strict due times later: the shift leader confirms it as a second person.
        keep_request(
            tx,
            row,
            "correct",
            {"reason": "登记时申请按首发时间起算", "late_exposure": True},
            by,
            ["登记时申请按首发（曝光）时间起算"],
        )
    shot = refresh(tx, row, replace(facts, rules=tuple(rule for pack in packs for rule in pack.clocks)))
    _announce_registration(tx, row, shot.clocks)
    return shot


def _announce_registration(tx: Tx, row: Any, clocks: tuple[Clock, ...]) -> None:
    """One consolidated message per incident; when something was overdue on receipt the shift leader hears of it too."""
    overdue = any(clock.on_receipt for clock in clocks)
    roles = [*DESK, Role.SHIFT_LEADER] if overdue else list(DESK)
    action = summary_action(
        EventKind.REGISTERED,
        tx.now,
        roles,
        Band.OVERDUE if overdue else Band.NOTICE,
        headline="接报时已逾期" if overdue else "新事项登记",
        of="start",
        clocks=open_clock_ids(tx, row),
    )
    repo.insert_actions(tx, row.id, None, row.cycle, [action], salt="registered")


def choose_packs(tx: Tx, row: Any, facts: Facts) -> list[RulePack]:
    """Freeze the packs in force on the incident's date; packs already frozen keep their version."""
    have = dict(repo.packs_of(tx, row.id, row.cycle))
    anchor = resolve_anchor("occurred_at", facts).at
    chosen = packs_for_unit(tx, row.unit_id, row.region_code, anchor)
    wanted = {pack.id: have.get(pack.id, pack.version) for pack in chosen}
    if wanted != have:
        _freeze_packs(tx, row, wanted)
    return [pack_of(tx, pack_id, version) for pack_id, version in sorted(wanted.items())]


def _freeze_packs(tx: Tx, row: Any, wanted: dict[str, str]) -> None:
    link = t.incident_pack
    tx.run(link.delete().where(link.c.incident_id == row.id, link.c.cycle == row.cycle))
    rows = [{"incident_id": row.id, "cycle": row.cycle, "pack_id": k, "pack_version": v} for k, v in wanted.items()]
    if rows:
        tx.run(link.insert(), rows)
    repo.append_history(tx, row.id, row.cycle, [("packs", wanted)], "system:rules")


def _check_units(tx: Tx, actor: Actor, unit_ids: Iterable[str]) -> None:
    for unit_id in unit_ids:
        if tx.one(sa.select(t.unit.c.id).where(t.unit.c.id == unit_id, t.unit.c.active)) is None:
            raise InvalidInput("unit_id", said("没有编号为「%(unit_id)s」的在用单位。内容未登记。", unit_id=unit_id))
    first = next(iter(unit_ids), "")
    if first and not in_scope(tx, actor, [first]):
        raise Forbidden("您的账号不负责该单位的事项，内容未登记。请由该单位或上级值班室登记。")


def check_stated(values: Iterable[Mapping[str, Any]], now: datetime) -> None:
    facts = [
        TimeFact(TimeKind(v["kind"]), instant(v["value"]), v["source"], v["precision"], v["estimated"]) for v in values
    ]
    if any(fact.kind is TimeKind.REGISTERED for fact in facts):
        raise InvalidInput("registered_at", "登记时间由系统记录，不能填写。内容未登记。")
    check_times(facts, now)
