"""The list of incidents: filters, pages, and of each the clock that presses most."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from huiying.domain.access import Permission
from huiying.domain.kinds import IncidentState, Kind, Severity
from huiying.service import incident_desk, people
from huiying.web.callers import House
from huiying.web.pages.shell import Session, allow, render

router = APIRouter(include_in_schema=False)

Reader = Annotated[Session, allow(Permission.READ)]

_PAGE = 50
_Short = Annotated[str, Query(max_length=64)]


@router.get("/incidents")
def listing(
    request: Request,
    services: House,
    session: Reader,
    state: _Short = "",
    kind: _Short = "",
    severity: _Short = "",
    unit: _Short = "",
    text: Annotated[str, Query(max_length=200)] = "",
    after: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """One page of the list, newest first."""
    chosen = {"state": state, "kind": kind, "severity": severity, "unit": unit, "text": text.strip()}
    page = incident_desk.listing(
        services, session.actor, after=after, limit=_PAGE, **{k: _clean(v) for k, v in chosen.items()}
    )
    kept = {name: value for name, value in chosen.items() if value}
    return render(
        request,
        "incidents/list.html",
        incidents=page["incidents"],
        chosen=chosen,
        filtered=bool(kept),
        first_url=_url(kept) if after else "",
        next_url=_url({**kept, "after": page["next"]}) if page["next"] else "",
        states=list(IncidentState),
        kinds=list(Kind),
        severities=list(Severity),
        units=people.list_units(services, session.actor),
    )


def _clean(text: str) -> str:
    """A text the database can compare with: without NUL."""
    return text.replace("\x00", "")


def _url(query: dict[str, str]) -> str:
    return f"/incidents?{urlencode(query)}" if query else "/incidents"
