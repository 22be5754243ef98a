"""待确认: what waits for a second person, with what each would do to the clocks, and the word of that person."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from huiying.domain.access import Permission
from huiying.domain.errors import Forbidden, HuiyingError, NotFound
from huiying.service import incident_desk, incidents
from huiying.service import second_person as requests_
from huiying.service.services import Services
from huiying.web.callers import House
from huiying.web.pages.incident_forms import Fields, Form
from huiying.web.pages.shell import Guarded, Session, allow, back, render

router = APIRouter(include_in_schema=False)

Reader = Annotated[Session, allow(Permission.READ)]
Approver = Annotated[Session, allow(Permission.APPROVE)]

Number = Annotated[int, Path(ge=1, le=2**53)]


@router.get("/requests")
def waiting(
    request: Request,
    services: House,
    session: Reader,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
) -> Response:
    """Everything that waits, oldest first."""
    return _page(request, services, session, after)


def _page(
    request: Request, services: Services, session: Session, after: int = 0, status: int = 200, fault: str = ""
) -> Response:
    page = incident_desk.waiting_requests(services, session.actor, after=after)
    return render(
        request,
        "incidents/requests.html",
        status,
        requests=page["requests"],
        total=page["total"],
        next_url=f"/requests?after={page['next']}" if page["next"] else "",
        first_url="/requests" if after else "",
        fault=fault,
    )


@router.post("/requests/{number}/approve", dependencies=[Guarded])
def approve(request: Request, services: House, number: Number, fields: Form, session: Approver) -> Response:
    """Confirm: the change is carried out as of now, in the name of who asked for it."""
    return _decide(request, services, session, number, fields, agreed=True)


@router.post("/requests/{number}/reject", dependencies=[Guarded])
def reject(request: Request, services: House, number: Number, fields: Form, session: Approver) -> Response:
    """Turn it down: nothing of the incident changes."""
    return _decide(request, services, session, number, fields, agreed=False)


@router.post("/requests/{number}/withdraw", dependencies=[Guarded])
def withdraw(request: Request, services: House, number: Number, fields: Form, session: Reader) -> Response:
    """The applicant takes the request back; the use case lets nobody else."""
    no = incident_desk.incident_of_request(services, session.actor, number)
    try:
        requests_.withdraw(services, session.actor, number, fields.text("note"))
    except (NotFound, Forbidden):
        raise
    except HuiyingError as error:
        if error.status >= 500:
            raise
        return _page(request, services, session, status=error.status, fault=error.message)
    return back(
        request, _target(fields, no), fields.say("申请 {number} 已撤回，事项未作任何改动。").format(number=number)
    )


def _target(fields: Fields, no: str) -> str:
    return f"/incidents/{no}" if fields.text("from") == "incident" else "/requests"


@router.get("/requests/{number}/{word}")
def looked_at(request: Request, number: Number, word: str, session: Reader) -> Response:
    """Whoever reloads after a refusal comes back to the list."""
    _ = number, word, session
    return back(request, "/requests")


def _decide(
    request: Request, services: Services, session: Session, number: int, fields: Fields, *, agreed: bool
) -> Response:
    no = incident_desk.incident_of_request(services, session.actor, number)
    use = incidents.approve if agreed else incidents.reject
    try:
        view = use(services, session.actor, number, fields.text("note"))
    except (NotFound, Forbidden):
        raise
    except HuiyingError as error:
        if error.status >= 500:
            raise
        return _page(request, services, session, status=error.status, fault=error.message)
    words = (
        fields.say("申请 {number} 已同意，变更已生效。事项 {no} 现为{state}。")
        if agreed
        else fields.say("申请 {number} 未同意，事项未作任何改动。事项 {no} 现为{state}。")
    )
    state = str(view["state_zh"])
    return back(request, _target(fields, no), words.format(number=number, no=view["no"], state=fields.say(state)))
