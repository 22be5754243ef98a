"""大屏 /wall: four counts and twelve cards, read-only, for a screen on the wall that nobody sits at.

A wall token is exchanged at once for a cookie of its own and leaves the address. That cookie is sent to ``/wall`` alone,
so a wall neither signs anybody out of the desk nor opens anything else.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from huiying.domain.access import Permission
from huiying.domain.errors import Forbidden, NotAuthenticated, Refused
from huiying.domain.remaining import Urgency
from huiying.service import sessions, wall
from huiying.service.services import Services
from huiying.service.sessions import Session
from huiying.web.callers import House, client_of
from huiying.web.guard import Throttle
from huiying.web.pages.policy import SignInNeeded, find_session
from huiying.web.pages.shell import back, render

router = APIRouter(include_in_schema=False)

COOKIE = "hy_wall"
_LONGEST_SECRET = 200
#: Whoever tries tokens needs many; a wall is opened a few times a year.
_OPENINGS = Throttle(10)
_TOO_MANY = "操作过于频繁，请一分钟后再试。"


_GONE = "大屏的令牌已失效或被撤销。请在“我的登录”中另办大屏令牌，并用给出的地址打开。"


def _wall_viewer(request: Request, services: House) -> Session | None:
    """The wall behind its own cookie; otherwise somebody at the desk who may read (locked desks go on ticking).

    None where a token stands in the address, which is judged by the exchange.
    """
    if request.url.path == "/wall" and request.query_params.get("token"):
        return None
    secret = request.cookies.get(COOKIE, "")
    if secret and len(secret) <= _LONGEST_SECRET:
        session = sessions.look(services, secret, touch=False)
        if session is not None and session.read_only:
            request.state.session = session
            return session
    session = find_session(request, services)
    if session is None and secret:
        raise Forbidden(_GONE)
    if session is None or session.stage not in {"open", "locked"}:
        raise SignInNeeded
    session.actor.require(Permission.READ)
    return session


_wall_viewer.policy = frozenset({Permission.READ.value})  # type: ignore[attr-defined]
WallViewer = Annotated[Session | None, Depends(_wall_viewer)]


@router.get("/wall")
def page(
    request: Request,
    services: House,
    session: WallViewer,
    token: Annotated[str, Query(max_length=_LONGEST_SECRET)] = "",
) -> Response:
    """The whole screen; with a token in the address only the exchange, so that no picture of the wall ever shows it."""
    if session is None:
        return _exchange(request, services, token)
    return render(request, "wall/wall.html", **_content(services, session))


@router.get("/wall/cards")
def cards(request: Request, services: House, session: WallViewer) -> Response:
    """Counts and cards alone, which the screen fetches every few seconds."""
    if session is None:
        raise SignInNeeded
    return render(request, "wall/cards.html", **_content(services, session))


def _exchange(request: Request, services: Services, token: str) -> Response:
    """A token for the wall's cookie; the token is gone from the address before anything is shown."""
    if not _OPENINGS.allows(client_of(request)):
        refusal = Refused(_TOO_MANY)
        refusal.code, refusal.status = "too_many", 429
        raise refusal
    try:
        secret, session = sessions.wall_session(
            services, token, client_of(request), request.headers.get("user-agent", "")
        )
    except NotAuthenticated:
        raise Forbidden(_GONE) from None
    response = back(request, "/wall")
    seconds = int((session.expires_at - services.store.now()).total_seconds())
    secure = request.url.scheme == "https"
    response.set_cookie(
        COOKIE, secret, max_age=max(0, seconds), path="/wall", httponly=True, samesite="lax", secure=secure
    )
    return response


def _content(services: Services, session: Session) -> dict[str, Any]:
    found = wall.show(services, session.actor, session.unit_id)
    return {"wall": found, "urgencies": tuple(Urgency), "now": found.now}
