"""Correcting what was stated: times, the late-exposure reading, texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huiying.domain.audit import rfc3339
from huiying.domain.errors import InvalidInput
from huiying.domain.folding import instant
from huiying.domain.freetext import BODY_LIMIT, NOTE_LIMIT, NOTICE_TITLE_LIMIT, TITLE_LIMIT, checked
from huiying.domain.incident import TimeFact, check_times
from huiying.domain.kinds import (
    Band,
    EventKind,
    TimeKind,
)
from huiying.domain.sentences import said
from huiying.service.actor import Actor
from huiying.service.changes import DESK, Change, command, execute, sha256
from huiying.service.registering import choose_packs, time_value
from huiying.service.requests import (
    CorrectRequest,
)
from huiying.service.services import Services
from huiying.store import incidents as repo


def correct(services: Services, actor: Actor, no: str, request: CorrectRequest) -> dict[str, Any]:
    """Correct a time fact or the late-exposure reading; the old value stays in the history."""
    payload: dict[str, Any] = {"reason": checked("reason", request.reason, NOTE_LIMIT, "更正理由", required=True)}
    if request.late_exposure is not None:
        payload["late_exposure"] = request.late_exposure
    if request.kind is not None and request.time is not None:
        payload["time"] = time_value(request.kind, request.time)
    if len(payload) == 1:
        raise InvalidInput("kind", "请写明要更正哪一个时间及其新值。未作任何改动。")
    return execute(services, actor, "correct", no, payload)


@command("correct", "correct")
def _correct(change: Change, payload: dict[str, Any]) -> None:
    if "late_exposure" in payload:
        change.note("late_exposure", {"confirmed": payload["late_exposure"], "reason": payload["reason"]})
        if payload["late_exposure"]:
            change.reasons.append(said("按首发（曝光）时间起算须由带班领导确认"))
    if "time" in payload:
        _correct_time(change, payload)
    change.announce = (EventKind.CHANGED, DESK, Band.NOTICE, "时间已更正，时钟已重新计算")


def _correct_time(change: Change, payload: dict[str, Any]) -> None:
    stated = payload["time"]
    facts = [fact for fact in change.before.facts.times if str(fact.kind) != stated["kind"]]
    new = TimeFact(TimeKind(stated["kind"]), instant(stated["value"]), stated["source"])
    if new.kind is TimeKind.REGISTERED:
        raise InvalidInput("kind", "登记时间由系统记录，不能更正。未作任何改动。")
    check_times([*facts, new], change.tx.now)
    old = change.before.facts.time(new.kind)
    detail = {**stated, "reason": payload["reason"], "was": rfc3339(old.value) if old else None}
    repo.append_history(
        change.tx, change.row.id, change.row.cycle, [("time_fact", detail)], change.actor_id, change.approver_id
    )
    choose_packs(change.tx, change.row, repo.load_facts(change.tx, change.row, lambda _pack, _version: ()))


def update_details(
    services: Services, actor: Actor, no: str, changes: Mapping[str, str], reason: str
) -> dict[str, Any]:
    """Change title, body, notice title or category; the earlier text's hash stays in the history."""
    limits = {"title": TITLE_LIMIT, "body": BODY_LIMIT, "notice_title": NOTICE_TITLE_LIMIT, "category": 40}
    unknown = set(changes) - set(limits)
    if unknown or not changes:
        raise InvalidInput(
            next(iter(unknown), "title"), "可修改的内容：标题、情况说明、对外通知用标题、类别。未作任何改动。"
        )
    payload: dict[str, Any] = {k: checked(k, v, limits[k], required=k == "title") for k, v in changes.items()}
    payload["reason"] = checked("reason", reason, NOTE_LIMIT, "修改理由", required=True)
    return execute(services, actor, "details", no, payload)


@command("details", "correct")
def _details(change: Change, payload: dict[str, Any]) -> None:
    wanted = {k: v for k, v in payload.items() if k != "reason"}
    change.columns = wanted
    was = {f"{k}_was_sha256": sha256(getattr(change.row, k)) for k in wanted}
    change.note("details", {"reason": payload["reason"], **was})
