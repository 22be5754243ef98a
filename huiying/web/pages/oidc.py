"""To the organisation's identity provider and back; the local sign-in stays beside it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from huiying.domain.errors import HuiyingError
from huiying.service import oidc, sessions
from huiying.service.services import Services
from huiying.web.callers import House, client_of
from huiying.web.pages.shell import PUBLIC, page_headers, render
from huiying.web.pages.sign_in import ATTEMPTS, arrive, local_path, mark_of, secret_of, slowly, spoken
from huiying.web.pages.words import words_of

router = APIRouter(include_in_schema=False)

#: No session: it proves that who comes back is who left, and is worth nothing afterwards.
TICKET = "hy_oidc"
_CROWDED = "登录尝试过于频繁，请一分钟后再试。"


@router.get("/login/oidc", dependencies=[PUBLIC])
async def depart(
    request: Request, services: House, wanted: Annotated[str, Query(alias="next", max_length=2000)] = "/"
) -> Response:
    """Lead the browser to the provider."""
    return await slowly(request, _depart, services, wanted, door="oidc")


def _depart(request: Request, services: Services, wanted: str) -> Response:
    if not ATTEMPTS.allows(client_of(request)):
        return _refused(request, services, 429, words_of(request)(_CROWDED))
    try:
        departure = oidc.depart(services, _callback(request, services), local_path(wanted))
    except HuiyingError as error:
        return _refused(request, services, error.status, spoken(request, error))
    response = RedirectResponse(departure.address, 303, page_headers())
    seconds = int(oidc.PATIENCE.total_seconds())
    secure = request.url.scheme == "https"
    response.set_cookie(
        TICKET, departure.ticket, max_age=seconds, path=oidc.CALLBACK, httponly=True, samesite="lax", secure=secure
    )
    return response


@router.get(oidc.CALLBACK, dependencies=[PUBLIC])
async def come_back(
    request: Request,
    services: House,
    code: Annotated[str, Query(max_length=4000)] = "",
    state: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """The provider has sent the browser back."""
    return await slowly(request, _come_back, services, code, state, door="oidc")


def _come_back(request: Request, services: Services, code: str, state: str) -> Response:
    if not ATTEMPTS.allows(client_of(request)):
        return _refused(request, services, 429, words_of(request)(_CROWDED))
    ticket = request.cookies.get(TICKET, "")
    try:
        secret, session, wanted = oidc.come_back(
            services,
            _callback(request, services),
            ticket,
            state,
            code,
            client_of(request),
            request.headers.get("user-agent", ""),
            mark_of(request),
        )
    except HuiyingError as error:
        response = _refused(request, services, error.status, spoken(request, error))
    else:
        sessions.sign_out(services, secret_of(request))
        response = arrive(request, secret, session, wanted)
    response.delete_cookie(TICKET, path=oidc.CALLBACK, httponly=True, samesite="lax")
    return response


def _callback(request: Request, services: Services) -> str:
    """Our address as the provider knows it; the configured one where there is one, never what a stranger's Host says."""
    base = services.settings.public_url or str(request.base_url).rstrip("/")
    return base + oidc.CALLBACK


def _refused(request: Request, services: Services, status: int, fault: str) -> Response:
    return render(request, "account/login.html", status, fault=fault, wanted="/", name="", oidc=oidc.is_on(services))
