"""联系电话 of an incident: names and masked numbers; the numbers themselves by a button, because that look is audited."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from huiying.domain.access import Permission
from huiying.service import contacts
from huiying.web.callers import House
from huiying.web.pages.shell import Guarded, Session, allow, render

router = APIRouter(include_in_schema=False)

Caller = Annotated[Session, allow(Permission.CALL)]
No = Annotated[str, Path(max_length=20)]


@router.get("/incidents/{no}/contacts")
def show(request: Request, services: House, session: Caller, no: No) -> Response:
    """Whom to ring, with masked numbers."""
    return _answer(request, contacts.of_incident(services, session.actor, no))


@router.post("/incidents/{no}/contacts", dependencies=[Guarded])
def reveal(request: Request, services: House, session: Caller, no: No) -> Response:
    """The same with the numbers."""
    return _answer(request, contacts.of_incident(services, session.actor, no, reveal=True))


def _answer(request: Request, found: dict[str, Any]) -> Response:
    """The section alone for the page that it stands in, a page of its own where no script runs."""
    part = bool(request.headers.get("hx-request"))
    return render(request, "incidents/contacts_part.html" if part else "incidents/contacts.html", contacts=found)
