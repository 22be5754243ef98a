"""系统管理: tokens and sessions. A token is shown once; ending one counts from the next request on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response

from huiying.domain.access import Permission
from huiying.domain.errors import HuiyingError
from huiying.service import people, sessions, tokens
from huiying.service.services import Services
from huiying.web.callers import House
from huiying.web.pages.fields import Fault, Form, Typed, fault_of
from huiying.web.pages.shell import Guarded, Session, allow, back, render, words_of

router = APIRouter(include_in_schema=False)

Manager = Annotated[Session, allow(Permission.PEOPLE)]


@router.get("/admin/tokens")
def token_list(request: Request, services: House, session: Manager) -> Response:
    """Everybody's tokens without the tokens themselves."""
    return _tokens_page(request, services, session)


def _tokens_page(
    request: Request,
    services: Services,
    session: Session,
    status: int = 200,
    *,
    form: Form | None = None,
    fault: Fault | None = None,
    made: dict[str, Any] | None = None,
) -> Response:
    names = {row["id"]: row["name"] for row in people.list_people(services, session.actor)}
    return render(
        request,
        "admin/tokens.html",
        status,
        tokens=tokens.list_tokens(services, session.actor),
        names=names,
        scopes=[(p.value, p.zh) for p in Permission if p.value in session.actor.permissions],
        scope_words={p.value: p.zh for p in Permission},
        now_text=services.store.now().isoformat(),
        form=form or Form(),
        fault=fault,
        made=made,
    )


@router.post("/admin/tokens", dependencies=[Guarded])
def make(request: Request, services: House, session: Manager, form: Typed) -> Response:
    """Another token for the person who asks; shown on this page and nowhere again, therefore no redirect."""
    try:
        made = tokens.create_token(
            services,
            session.actor,
            name=form.text("name"),
            scopes=sorted(form.starting("scope.")),
            days=form.number("days", tokens.DEFAULT_DAYS),
        )
    except HuiyingError as error:
        return _tokens_page(request, services, session, error.status, form=form, fault=fault_of(error))
    return _tokens_page(request, services, session, made=made)


@router.post("/admin/tokens/{token}/revoke", dependencies=[Guarded])
def revoke(request: Request, services: House, session: Manager, token: str) -> Response:
    """End a token at once."""
    try:
        tokens.revoke_token(services, session.actor, token)
    except HuiyingError as error:
        return _tokens_page(request, services, session, error.status, fault=fault_of(error))
    return back(request, "/admin/tokens", words_of(request)("已撤销，立即失效。"))


@router.get("/admin/sessions")
def session_list(request: Request, services: House, session: Manager) -> Response:
    """Who is signed in, where and since when."""
    return _sessions_page(request, services, session)


def _sessions_page(
    request: Request, services: Services, session: Session, status: int = 200, fault: Fault | None = None
) -> Response:
    listed = sessions.list_sessions(services, session.actor, "*")
    return render(request, "admin/sessions.html", status, sessions=listed, own=session.id, fault=fault)


@router.post("/admin/sessions/{signed_in}/revoke", dependencies=[Guarded])
def kick_out(request: Request, services: House, session: Manager, signed_in: str) -> Response:
    """End a session at once."""
    try:
        sessions.revoke(services, session.actor, signed_in)
    except HuiyingError as error:
        return _sessions_page(request, services, session, error.status, fault_of(error))
    return back(request, "/admin/sessions", words_of(request)("已踢出，该登录立即失效。"))
