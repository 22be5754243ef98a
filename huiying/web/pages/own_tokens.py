"""我的登录: one's sign-ins and one's tokens, and a token for a screen on the wall that may do no more than look."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from huiying.domain.access import Permission
from huiying.domain.errors import HuiyingError, NotFound
from huiying.domain.sentences import said
from huiying.service import sessions, tokens
from huiying.service.services import Services
from huiying.web.callers import House
from huiying.web.pages.agents import short_agent
from huiying.web.pages.fields import Fault, Form, Typed, fault_of
from huiying.web.pages.shell import Guarded, Session, Viewer, allow, back, render, words_of

router = APIRouter(include_in_schema=False)

Reader = Annotated[Session, allow(Permission.READ)]
#: What a wall is let in with, no more and no less.
WALL_SCOPES = (Permission.READ.value,)


def devices_page(
    request: Request,
    services: Services,
    session: Session,
    status: int = 200,
    *,
    form: Form | None = None,
    fault: Fault | None = None,
    made: dict[str, Any] | None = None,
) -> Response:
    """The whole page, also after a form of it was refused or has made a token."""
    rows = sessions.list_sessions(services, session.actor, session.person_id)
    own = tokens.list_tokens(services, session.actor, session.person_id)
    now_text = services.store.now().isoformat()
    return render(
        request,
        "account/devices.html",
        status,
        rows=[{**row, "agent": short_agent(row["agent"])} for row in rows],
        known=sessions.marked_browsers(services, session),
        tokens=[
            {**row, "wall": row["scopes"] == list(WALL_SCOPES)}
            for row in own
            if not row["revoked_at"] and row["expires_at"] > now_text
        ],
        scope_words={permission.value: permission.zh for permission in Permission},
        may_wall=Permission.READ in session.actor.permissions,
        default_days=tokens.DEFAULT_DAYS,
        longest_days=tokens.LONGEST_DAYS,
        form=form or Form(),
        fault=fault,
        made=made,
    )


@router.post("/devices/wall-tokens", dependencies=[Guarded])
def make(request: Request, services: House, session: Reader, form: Typed) -> Response:
    """A token for a wall; shown on this page with its address and nowhere again, therefore no redirect."""
    try:
        made = tokens.create_token(
            services,
            session.actor,
            name=form.text("name"),
            scopes=WALL_SCOPES,
            days=form.number("days", tokens.DEFAULT_DAYS),
        )
    except HuiyingError as error:
        return devices_page(request, services, session, error.status, form=form, fault=fault_of(error))
    address = f"{_base(request, services)}/wall?{urlencode({'token': made['token']})}"
    return devices_page(request, services, session, made={**made, "address": address})


def _base(request: Request, services: Services) -> str:
    """Where a screen finds us: the address in messages, else the one this browser uses."""
    return (services.settings.public_url or str(request.base_url)).rstrip("/")


@router.post("/devices/tokens/{token}/revoke", dependencies=[Guarded])
def revoke(request: Request, services: House, session: Viewer, token: str) -> Response:
    """End one of one's own tokens at once; a wall that shows by it goes dark."""
    own = tokens.list_tokens(services, session.actor, session.person_id)
    try:
        if token not in {row["id"] for row in own}:
            raise NotFound(said("没有编号为「%(token_id)s」的令牌，或不归您管理。", token_id=token[:40]))
        tokens.revoke_token(services, session.actor, token)
    except HuiyingError as error:
        return devices_page(request, services, session, error.status, fault=fault_of(error))
    return back(request, "/devices#tokens", words_of(request)("已撤销，立即失效。"))
