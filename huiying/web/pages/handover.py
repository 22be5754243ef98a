"""交接班: the paper one shift leaves to the next, signed by both, each in a session of their own."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response

from huiying.domain.access import Permission
from huiying.service import handover
from huiying.web.callers import House
from huiying.web.pages.shell import Guarded, Session, allow, back, render, words_of

router = APIRouter(include_in_schema=False)

Reader = Annotated[Session, allow(Permission.READ)]
Signer = Annotated[Session, allow(Permission.READ, Permission.ACKNOWLEDGE)]
Hash = Annotated[str, Form(alias="hash", max_length=64)]


@router.get("/handover")
def page(
    request: Request,
    services: House,
    session: Reader,
    unit: Annotated[str, Query(max_length=64)] = "",
    before: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """What waits for a signature, the form for the next paper, and those that were signed."""
    actor = session.actor
    return render(
        request,
        "handover/list.html",
        pending=handover.pending(services, actor),
        desk=handover.desk(services, actor, unit),
        past=handover.listing(services, actor, before=before),
        before=before,
        may_sign=Permission.ACKNOWLEDGE in actor.permissions,
        notes_limit=handover.NOTES_LIMIT,
    )


@router.post("/handover", dependencies=[Guarded])
def prepare(
    request: Request,
    services: House,
    session: Signer,
    unit: Annotated[str, Form(max_length=64)] = "",
    to: Annotated[str, Form(max_length=80)] = "",
    notes: Annotated[str, Form(max_length=20_000)] = "",
) -> Response:
    """Make the snapshot, then show it to be read and signed."""
    made = handover.prepare(services, session.actor, unit, to, notes)
    return back(request, f"/handover/{made['id']}")


@router.get("/handover/{handover_id}")
def one(request: Request, services: House, session: Reader, handover_id: int) -> Response:
    """One paper as it was signed, or is to be."""
    made = handover.view(services, session.actor, handover_id)
    me = session.person_id
    return render(
        request,
        "handover/one.html",
        paper=made,
        snapshot=made["snapshot"],
        titles={one["no"]: one["title"] for one in made["snapshot"]["matters"]},
        signs_out=made["state"] == "prepared" and made["from_person"] == me,
        signs_in=made["state"] == "offered" and made["to_person"] == me,
        withdraws=made["state"] == "offered" and made["from_person"] == me,
        remark_limit=handover.REMARK_LIMIT,
    )


@router.post("/handover/{handover_id}/sign-out", dependencies=[Guarded])
def sign_out(request: Request, services: House, session: Signer, handover_id: int, given: Hash) -> Response:
    """交班签字."""
    made = handover.sign_out(services, session.actor, handover_id, given)
    _ = words_of(request)
    return back(request, f"/handover/{handover_id}", _("已签字交班，等待%s签字接班。") % made["to_name"])


@router.post("/handover/{handover_id}/take", dependencies=[Guarded])
def take(
    request: Request,
    services: House,
    session: Signer,
    handover_id: int,
    given: Hash,
    remark: Annotated[str, Form(max_length=5000)] = "",
) -> Response:
    """接班签字."""
    handover.take(services, session.actor, handover_id, given, remark)
    _ = words_of(request)
    return back(request, f"/handover/{handover_id}", _("已签字接班，交接完成。"))


@router.post("/handover/{handover_id}/withdraw", dependencies=[Guarded])
def withdraw(request: Request, services: House, session: Signer, handover_id: int) -> Response:
    """Take back what the other has not signed."""
    handover.withdraw(services, session.actor, handover_id)
    _ = words_of(request)
    return back(request, "/handover", _("已撤回交接单。"))
