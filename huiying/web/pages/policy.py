"""Who may open a page: every page route declares exactly one policy, and a test fails for a route without one.

A policy is a dependency that carries the attribute ``policy``: ``PUBLIC`` (nobody need be signed in), ``Viewer``
(any open session) or ``allow(...)`` (an open session with all these permissions).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from huiying.domain.access import Permission
from huiying.domain.errors import Forbidden
from huiying.service import sessions
from huiying.service.services import Services
from huiying.service.sessions import Session
from huiying.web.callers import House

COOKIE = "hy_session"
_LONGEST_SECRET = 200
#: Behind a wall stands a person's token, but nobody in person: their inbox and sign-ins are none of its business.
_WALL = "大屏只能查看事项，不能打开此页或进行操作。请在值班电脑上登录办理。"


class SignInNeeded(Exception):
    """No open session stands behind the request: the browser is led to the sign-in page."""


class Locked(Exception):
    """The session is locked: it shows the alarm view and does nothing until it is unlocked."""


def find_session(request: Request, services: Services) -> Session | None:
    """The session behind the cookie, looked up once per request; None where there is none.

    What a page fetches by itself (``X-Quiet``, ``?auto=1``) is no sign of a person and does not keep a session alive.
    """
    if not hasattr(request.state, "session"):
        secret = request.cookies.get(COOKIE, "")
        request.state.session = None
        if secret and len(secret) <= _LONGEST_SECRET:
            request.state.session = sessions.look(services, secret, touch=not is_quiet(request))
    found: Session | None = request.state.session
    return found


def is_quiet(request: Request) -> bool:
    """Whether a page asks by itself, without a person."""
    return request.headers.get("x-quiet") == "1" or request.query_params.get("auto") == "1"


def _public(request: Request, services: House) -> None:
    find_session(request, services)


def _same_for_all() -> None:
    return None


def _signed_in(request: Request, services: House) -> Session:
    session = find_session(request, services)
    if session is None or session.stage not in {"open", "locked"}:
        raise SignInNeeded
    return session


def _viewer(session: Annotated[Session, Depends(_signed_in)]) -> Session:
    if session.stage == "locked":
        raise Locked
    if session.read_only:
        raise Forbidden(_WALL)
    return session


def allow(*permissions: Permission, locked_too: bool = False) -> Any:
    """A dependency that gives the session of somebody who holds all these permissions.

    ``locked_too`` lets a locked session in; such a page must be able to show itself without anything to do.
    """

    def check(request: Request, session: Annotated[Session, Depends(_signed_in)]) -> Session:
        if session.stage == "locked" and not locked_too:
            raise Locked
        if session.read_only and request.method not in {"GET", "HEAD"}:
            raise Forbidden(_WALL)
        for permission in permissions:
            session.actor.require(permission)
        return session

    return _declared(check, frozenset(permission.value for permission in permissions))


def _declared(check: Any, policy: object) -> Any:
    check.policy = policy
    return Depends(check)


PUBLIC = _declared(_public, "public")
#: The same to everybody, so nobody's session is looked for: a page brings six such files, and a late one is no sign of life.
SAME_FOR_ALL = _declared(_same_for_all, "public")
Viewer = Annotated[Session, _declared(_viewer, frozenset())]


def policies_of(route: APIRoute) -> list[object]:
    """The policies a route declares; a page must have exactly one."""
    return [found.call.policy for found in _dependencies(route.dependant) if hasattr(found.call, "policy")]  # type: ignore[union-attr]


def _dependencies(dependant: Dependant) -> Iterator[Dependant]:
    for inner in dependant.dependencies:
        yield inner
        yield from _dependencies(inner)
