"""Departments' tasks, transferred notices, continuous release, stages, attribution and policies."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from huiying.domain.audit import rfc3339
from huiying.domain.errors import InvalidInput, NotFound, Refused
from huiying.domain.folding import instant
from huiying.domain.freetext import NOTE_LIMIT, checked
from huiying.domain.incident import to_precision
from huiying.domain.kinds import (
    Attribution,
    Band,
    EventKind,
)
from huiying.domain.plan import plan_actions
from huiying.domain.sentences import said
from huiying.service.actor import Actor
from huiying.service.changes import DESK, Change, command, execute
from huiying.service.registering import transfer_value
from huiying.service.requests import (
    TransferInput,
)
from huiying.service.rulebook import policy_of
from huiying.service.services import Services
from huiying.store import incidents as repo
from huiying.store import tables as t


def add_task(
    services: Services, actor: Actor, no: str, unit_id: str, name: str, due_at: datetime, idempotency_key: str = ""
) -> dict[str, Any]:
    """Give a department an internal task with its own due time; document clocks are not touched by it."""
    payload = {
        "unit_id": unit_id,
        "name": checked("name", name, 80, "任务名称", required=True),
        "due_at": rfc3339(_aware("due_at", due_at)),
    }
    return execute(services, actor, "task", no, payload, idempotency_key)


def _aware(name: str, at: datetime) -> datetime:
    if at.tzinfo is None:
        raise InvalidInput(name, "时间缺少时区，请写明如 2026-11-22T08:30:00+08:00。未作任何改动。")
    return to_precision(at, "second")


@command("task", "assign")
def _task(change: Change, payload: dict[str, Any]) -> None:
    if change.tx.one(sa.select(t.unit.c.id).where(t.unit.c.id == payload["unit_id"])) is None:
        raise InvalidInput(
            "unit_id", said("没有编号为「%(unit_id)s」的单位。未作任何改动。", unit_id=payload["unit_id"])
        )
    if instant(payload["due_at"]) <= change.tx.now:
        raise InvalidInput("due_at", "任务截止时间须晚于现在。未作任何改动。")
    change.note("task", {"key": str(len(change.before.facts.tasks) + 1), **payload})
    units = list(dict.fromkeys([*change.row.co_units, payload["unit_id"]]))
    change.columns = {"co_units": [unit for unit in units if unit != change.row.unit_id]}


def task_done(services: Services, actor: Actor, no: str, key: str, at: datetime) -> dict[str, Any]:
    """A department's task was finished at ``at``."""
    return execute(services, actor, "task_done", no, {"key": key, "at": rfc3339(_aware("at", at))})


@command("task_done", "acknowledge")
def _task_done(change: Change, payload: dict[str, Any]) -> None:
    if payload["key"] not in {task.key for task in change.before.facts.tasks}:
        raise NotFound(said("事项 %(no)s 没有编号为 %(key)s 的部门任务。", no=change.row.no, key=payload["key"]))
    _not_future(change, payload["at"])
    change.note("task_done", payload)


def _not_future(change: Change, at: str) -> None:
    if instant(at) > change.tx.now:
        raise InvalidInput("at", "时间晚于当前时间，请核对。未作任何改动。")


def add_transfer(
    services: Services, actor: Actor, no: str, request: TransferInput, idempotency_key: str = ""
) -> dict[str, Any]:
    """Attach a superior's transferred notice; only a due time named in it makes a clock."""
    return execute(services, actor, "transfer", no, transfer_value(request), idempotency_key)


@command("transfer", "register")
def _transfer(change: Change, payload: dict[str, Any]) -> None:
    _not_future(change, payload["received_at"])
    change.note("transfer", {"key": str(len(change.before.facts.transfers) + 1), **payload})
    change.announce = (EventKind.CHANGED, DESK, Band.NOTICE, "收到转办通知")


def transfer_feedback(services: Services, actor: Actor, no: str, key: str, at: datetime) -> dict[str, Any]:
    """The feedback to a transferred notice was sent at ``at``."""
    return execute(services, actor, "transfer_feedback", no, {"key": key, "at": rfc3339(_aware("at", at))})


@command("transfer_feedback", "release")
def _transfer_feedback(change: Change, payload: dict[str, Any]) -> None:
    found = next((x for x in change.before.facts.transfers if x.key == payload["key"]), None)
    if found is None:
        raise NotFound(said("事项 %(no)s 没有编号为 %(key)s 的转办通知。", no=change.row.no, key=payload["key"]))
    if found.feedback_at is not None:
        raise Refused(said("转办通知 %(key)s 已反馈过，未作任何改动。", key=payload["key"]))
    _not_future(change, payload["at"])
    if found.due_at is not None and instant(payload["at"]) <= found.due_at < change.tx.now:
        change.reasons.append(said("转办通知反馈：按时反馈但逾期登记，须由第二人确认"))
    change.note("transfer_feedback", payload)


def set_continuous(services: Services, actor: Actor, no: str, every_hours: int) -> dict[str, Any]:
    """Set the office's interval for 持续发布 (1–168 hours; 0 stops it): an internal clock."""
    if not 0 <= every_hours <= 168:
        raise InvalidInput("every_hours", "持续发布间隔须为 1 至 168 小时，0 表示停止。未作任何改动。")
    return execute(services, actor, "continuous", no, {"every_hours": every_hours})


@command("continuous", "assign")
def _continuous(change: Change, payload: dict[str, Any]) -> None:
    change.note("continuous", payload)


def enter_stage(services: Services, actor: Actor, no: str, stage: str, note: str = "") -> dict[str, Any]:
    """Enter a stage of the pack (收集 …); never gates publishing."""
    payload = {
        "stage": checked("stage", stage, 40, "阶段", required=True),
        "note": checked("note", note, NOTE_LIMIT, "说明"),
    }
    return execute(services, actor, "stage", no, payload)


@command("stage", "assign")
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


@command("attribution", "attribute")
def _attribution(change: Change, payload: dict[str, Any]) -> None:
    change.allow_ended = True
    row = repo.clock_rows(change.tx, change.row.id, change.row.cycle).get(payload["clock_key"])
    if row is None or row.noticed_at is None:
        raise Refused("该时钟没有超时记录，无需归因。未作任何改动。")
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


@command("replan", "replan")
def _replan(change: Change, payload: dict[str, Any]) -> None:
    tx = change.tx
    row = repo.clock_rows(tx, change.row.id, change.row.cycle).get(payload["clock_key"])
    clock = next((c for c in change.before.clocks if c.key == payload["clock_key"]), None)
    if row is None or clock is None:
        raise NotFound(said("事项 %(no)s 没有时钟「%(key)s」。", no=change.row.no, key=payload["clock_key"]))
    digest = tx.value(sa.select(t.policy.c.hash).where(t.policy.c.id == payload["policy_id"], t.policy.c.current))
    if digest is None:
        raise NotFound(said("没有名为「%(policy_id)s」的升级提醒策略。", policy_id=payload["policy_id"]))
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


@command("reassign", "assign")
def _reassign(change: Change, payload: dict[str, Any]) -> None:
    if change.tx.one(sa.select(t.unit.c.id).where(t.unit.c.id == payload["unit_id"], t.unit.c.active)) is None:
        raise InvalidInput(
            "unit_id", said("没有编号为「%(unit_id)s」的在用单位。未作任何改动。", unit_id=payload["unit_id"])
        )
    change.columns = {"unit_id": payload["unit_id"]}
    change.note("reassigned", payload)
    change.announce = (EventKind.CHANGED, DESK, Band.NOTICE, "主办单位已变更，请新主办单位签收")
