"""收件箱: the messages of the inbox channel to whoever is signed in; reading is not acknowledging."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from huiying.domain.access import Permission
from huiying.service import inbox
from huiying.web.callers import House
from huiying.web.pages.shell import Guarded, Session, Viewer, allow, back, render, words_of

router = APIRouter(include_in_schema=False)

Taker = Annotated[Session, allow(Permission.ACKNOWLEDGE)]
_ON_A_PAGE = 30


@router.get("/inbox")
def page(
    request: Request,
    services: House,
    session: Viewer,
    only: Annotated[str, Query(max_length=8)] = "",
    before: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """Unread first; looking changes nothing."""
    unread = only == "unread"
    found = inbox.messages(services, session.actor, unread=unread, before=before, limit=_ON_A_PAGE)
    kept = {"only": "unread"} if unread else {}
    back_to = {**kept, "before": max(0, before - _ON_A_PAGE)}
    return render(
        request,
        "inbox/list.html",
        **found,
        only_unread=unread,
        may_acknowledge=Permission.ACKNOWLEDGE in session.actor.permissions,
        may_read=Permission.READ in session.actor.permissions,
        before_url=f"/inbox?{urlencode(back_to)}" if before else "",
        next_url=f"/inbox?{urlencode({**kept, 'before': found['next']})}" if found["next"] is not None else "",
    )


@router.post("/inbox/read", dependencies=[Guarded])
def read_all(request: Request, services: House, session: Viewer) -> Response:
    """Mark everything as read."""
    number = inbox.mark_read(services, session.actor)
    _ = words_of(request)
    return back(request, "/inbox", _("已将 %s 条标为已读。标为已读不等于签收。") % number)


@router.post("/inbox/{notice_no}/read", dependencies=[Guarded])
def read_one(request: Request, services: House, session: Viewer, notice_no: str) -> Response:
    """Mark one message as read."""
    inbox.mark_read(services, session.actor, notice_no)
    _ = words_of(request)
    return back(request, "/inbox", _("已标为已读。标为已读不等于签收。"))


@router.post("/inbox/{notice_no}/ack", dependencies=[Guarded])
def acknowledge(request: Request, services: House, session: Taker, notice_no: str) -> Response:
    """签收: the same single effect as the link on a phone."""
    answered = inbox.acknowledge(services, session.actor, notice_no)
    _ = words_of(request)
    said = _("已签收 %s。签收只停止对您的本级提醒，不停止时钟。") if answered else _("%s 此前已由您签收，未重复登记。")
    return back(request, "/inbox", said % notice_no)
