"""Grading and regrading an incident."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from huiying.domain.audit import rfc3339
from huiying.domain.errors import InvalidInput, Refused
from huiying.domain.folding import instant
from huiying.domain.freetext import NOTE_LIMIT, checked
from huiying.domain.incident import resolve_anchor, to_precision
from huiying.domain.kinds import (
    Band,
    EventKind,
    GradeBasis,
    Kind,
    Role,
    Severity,
)
from huiying.domain.sentences import said
from huiying.service.actor import Actor
from huiying.service.changes import DESK, Change, command, execute
from huiying.service.requests import (
    GradeRequest,
)
from huiying.service.services import Services

Grade = tuple[Kind, Severity | None]


def grade(services: Services, actor: Actor, no: str, request: GradeRequest) -> dict[str, Any]:
    """Grade or regrade. ``worsened`` starts the new clocks at ``effective_at``; ``correction`` at the occurrence."""
    at = request.effective_at
    if at is not None and at.tzinfo is None:
        raise InvalidInput("effective_at", "生效时间缺少时区，请写明如 2026-11-22T08:30:00+08:00。未作任何改动。")
    payload = {
        "kind": str(request.kind),
        "severity": request.severity and str(request.severity),
        "basis": str(request.basis),
        "criterion": checked("criterion", request.criterion, NOTE_LIMIT, "定级依据", required=True),
        "effective_at": rfc3339(to_precision(at, "second")) if at else None,
        "evidence": checked("evidence", request.evidence, 2000, "事实依据"),
    }
    return execute(services, actor, "grade", no, payload)


@command("grade", "grade")
def _grade(change: Change, payload: dict[str, Any]) -> None:
    kind = Kind(payload["kind"])
    severity = Severity(payload["severity"]) if payload["severity"] else None
    now_kind, now_severity = change.before.facts.present
    becomes_emergency = kind is Kind.EMERGENCY and now_kind is Kind.OPINION
    if (severity is not None and kind is Kind.OPINION) or (
        severity is None and not becomes_emergency and kind is Kind.EMERGENCY
    ):
        raise InvalidInput("severity", "突发事件须选定级别，一般政务舆情不分级。未作任何改动。")
    if (kind, severity) == (now_kind, now_severity) and payload["basis"] != GradeBasis.CORRECTION:
        raise Refused("与现行定级相同，未作任何改动。")
    basis = _settle_basis(GradeBasis(payload["basis"]), (now_kind, now_severity), (kind, severity))
    effective = payload["effective_at"] or rfc3339(change.tx.now)
    _check_effective(change, instant(effective), basis, payload)
    change.first_grading = now_kind is Kind.EMERGENCY and now_severity is None and severity is not None
    change.note("grading", {**payload, "basis": str(basis), "effective_at": effective})
    roles = (*DESK, Role.SHIFT_LEADER)
    words = severity.zh + "突发事件" if severity else kind.zh + ("（待定级）" if becomes_emergency else "")
    change.announce = (
        EventKind.REGRADED,
        roles,
        Band.NOTICE,
        said("定级变更：%(words)s（%(basis)s）", words=words, basis=basis),
    )


def _gravity(kind: Kind, severity: Severity | None) -> int:
    """0 for an opinion, then by severity; an emergency not yet graded is graver than an opinion."""
    if kind is Kind.OPINION:
        return 0
    return severity.rank if severity else 1


def _settle_basis(basis: GradeBasis, present: Grade, wanted: Grade) -> GradeBasis:
    """The officer says why; a first grading is always initial, a lower grade is always a downgrade."""
    if present == (Kind.EMERGENCY, None) and wanted[1] is not None:
        return GradeBasis.INITIAL
    rises = _gravity(*wanted) > _gravity(*present)
    if rises and basis not in {GradeBasis.CORRECTION, GradeBasis.WORSENED}:
        raise InvalidInput(
            "basis", "升级须说明理由：correction(自始如此，更正定级)或 worsened(事态升级)。未作任何改动。"
        )
    if not rises and basis is not GradeBasis.CORRECTION:
        return GradeBasis.DOWNGRADE
    return basis


def _check_effective(change: Change, at: datetime, basis: GradeBasis, payload: Mapping[str, Any]) -> None:
    if at > change.tx.now:
        raise InvalidInput("effective_at", "生效时间晚于当前时间，请核对。未作任何改动。")
    if basis is not GradeBasis.WORSENED:
        return
    if not payload["effective_at"] or not payload["evidence"]:
        raise InvalidInput(
            "effective_at", "事态升级须写明新情况出现的时间（effective_at）及事实依据（evidence）。未作任何改动。"
        )
    occurred = resolve_anchor("occurred_at", change.before.facts)
    if at < occurred.at:
        raise InvalidInput("effective_at", "新情况的时间早于事发时间，请核对。未作任何改动。")
