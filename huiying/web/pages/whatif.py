"""推演: change the times or the severity of an incident that does not exist and see the deadlines; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from huiying.domain.errors import HuiyingError, InvalidInput
from huiying.domain.kinds import Kind, Severity, TimeKind
from huiying.service import people, queries
from huiying.service.requests import TimeInput
from huiying.service.services import Services
from huiying.web.callers import House
from huiying.web.pages.fields import fault_of, local_moment
from huiying.web.pages.shell import Session, Viewer, render

router = APIRouter(include_in_schema=False)

#: What a person may state; a machine's capture starts no clock and registering has a field of its own.
_TIMES = (TimeKind.OCCURRED, TimeKind.EXPOSED, TimeKind.DETECTED, TimeKind.NOTIFIED)
_FIELDS = ("kind", "severity", "unit", "registered", *(kind.value for kind in _TIMES))


@router.get("/rules/whatif")
def show(request: Request, services: House, session: Viewer) -> Response:
    """The form and, once something was asked, the clocks it would start."""
    asked = {name: request.query_params.get(name, "")[:64] for name in _FIELDS}
    answer, fault = None, None
    if any(asked.values()):
        try:
            answer = _preview(services, asked)
        except HuiyingError as error:
            fault = fault_of(error)
    return render(
        request,
        "rules/whatif.html",
        422 if fault else 200,
        asked=asked,
        answer=answer,
        fault=fault,
        kinds=[(kind.value, kind.zh) for kind in Kind],
        severities=[(severity.value, severity.zh) for severity in Severity],
        times=[(kind.value, kind.zh) for kind in _TIMES],
        units=_units(services, session),
    )


def _units(services: Services, session: Session) -> list[tuple[str, str]]:
    return [(unit["id"], unit["name"]) for unit in people.list_units(services, session.actor) if unit["active"]]


def _preview(services: Services, asked: Mapping[str, str]) -> dict[str, Any]:
    times: dict[TimeKind, TimeInput] = {}
    for kind in _TIMES:
        at = local_moment(kind.value, asked[kind.value])
        if at is not None:
            times[kind] = TimeInput(at)
    registered = local_moment("registered", asked["registered"])
    answer = queries.preview(
        services,
        kind=_word(Kind, "kind", asked["kind"]),
        severity=_word(Severity, "severity", asked["severity"]),
        times=times,
        registered_at=registered or _latest(services, times),
        unit_id=asked["unit"],
    )
    binding = {(clock["rule"], clock["due_at"]) for clock in answer["clocks"] if clock["binding"]}
    for clock in answer["clocks"]:
        clock["same_due"] = (clock["rule"], clock["due_at"]) in binding
    return answer


def _latest(services: Services, times: Mapping[TimeKind, TimeInput]) -> datetime | None:
    """Times may lie ahead when playing through; registering then comes with the last of them."""
    latest = max((stated.value for stated in times.values()), default=None)
    return latest if latest is not None and latest > services.store.now() else None


def _word(words: Any, name: str, value: str) -> Any:
    try:
        return words(value) if value else None
    except ValueError:
        raise InvalidInput(name, "没有这个选项，请重新选择。") from None
