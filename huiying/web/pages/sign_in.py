"""What the pages before the desk share: the cookie, the way from step to step, one's place after signing in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import anyio
import anyio.to_thread
from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from huiying.domain.access import Permission
from huiying.domain.errors import HuiyingError, NotAuthenticated
from huiying.domain.signing import Stage
from huiying.service import device_marks, sessions
from huiying.service.sessions import Session
from huiying.web.guard import Throttle
from huiying.web.pages import shell, shown_times
from huiying.web.pages.navigation import home
from huiying.web.pages.policy import COOKIE
from huiying.web.pages.words import words_of

#: Attempts of one address within a minute, right or wrong; an office changing shifts behind one address needs many.
ATTEMPTS = Throttle(60)
_LONGEST_PATH = 1000
#: Sent to the door alone: it says who has signed in from this browser before, and opens nothing.
MARK_COOKIE = "hy_device"
#: The inbox holds them all; one line has room for the latest.
_MOST_TOLD = 3
#: Passwords are checked by threads of their own: a crowd at the door must not keep the desk from answering.
_CHECKING = 3
_guard = threading.Lock()

#: Where a locked desk is opened again by who may look at no clocks; everybody else does it in the alarm view.
UNLOCK = "/unlock"
PLACES = {
    Stage.SECOND_FACTOR: "/second",
    Stage.PASSWORD: "/password",
    Stage.ENROL: "/enrol",
    Stage.LOCKED: "/",
    Stage.OPEN: "/",
}


async def slowly(request: Request, work: Callable[..., Response], *given: Any, door: str = "password") -> Response:
    """Run what checks a password, waiting for a place without holding one of the desk's threads.

    Each ``door`` has places of its own: an identity provider that does not answer must not close the local one.
    """
    name = f"{door}_limiter"
    with _guard:
        if not hasattr(request.app.state, name):
            setattr(request.app.state, name, anyio.CapacityLimiter(_CHECKING))
    limiter = getattr(request.app.state, name)
    return await anyio.to_thread.run_sync(lambda: work(request, *given), limiter=limiter)


def mark_of(request: Request) -> str:
    """What the browser says of having been signed in from before."""
    return request.cookies.get(MARK_COOKIE, "")


def secret_of(request: Request) -> str:
    """What the browser's cookie says."""
    return request.cookies.get(COOKIE, "")


def local_path(wanted: str) -> str:
    """Where to go after signing in: a path of ours, never an address, never a page of signing in."""
    plain = wanted.startswith("/") and wanted.isprintable() and "\\" not in wanted and len(wanted) <= _LONGEST_PATH
    if not plain or wanted.startswith("//"):
        return "/"
    path = wanted.partition("?")[0]
    return "/" if path in {"/login", "/logout", "/lock", UNLOCK, *PLACES.values()} - {"/"} else wanted


def elsewhere(session: Session | None, wanted: str = "/") -> Response:
    """To the page where this session goes on."""
    return RedirectResponse(place_of(session, wanted), 303, shell.page_headers())


def place_of(session: Session | None, wanted: str) -> str:
    """The address at which this session goes on, with where its person wanted to be."""
    if session is not None and session.is_open:
        return local_path(wanted)
    place = PLACES[session.stage] if session else "/login"
    if session is not None and session.stage is Stage.LOCKED and Permission.READ.value not in session.actor.permissions:
        place = UNLOCK
    return place if local_path(wanted) == "/" else f"{place}?next={quote(local_path(wanted), safe='')}"


def keep(request: Request, response: Response, secret: str, session: Session) -> Response:
    """Give the browser a session's new secret; what is rendered from now on belongs to that session."""
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, secret, path="/", httponly=True, samesite="lax", secure=secure)
    if session.mark:
        seconds = int(device_marks.LIVES.total_seconds())
        response.set_cookie(
            MARK_COOKIE, session.mark, max_age=seconds, path="/login", httponly=True, samesite="lax", secure=secure
        )
    request.state.session = session
    return response


def forget(response: Response) -> Response:
    """Take the cookie away."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
    return response


def arrive(request: Request, secret: str, session: Session, wanted: str) -> Response:
    """A step is done: to the next one or, once the session is open, to the desk with a word about the last sign-in."""
    request.state.session = session
    if not session.is_open:
        return keep(request, elsewhere(session, wanted), secret, session)
    response = RedirectResponse(landing(request, session, wanted), 303, shell.page_headers())
    shell.flash(request, response, last_login_text(request, session))
    return keep(request, response, secret, session)


def landing(request: Request, session: Session, wanted: str) -> str:
    """Where one was going; for who may not look at incidents the first page of the role."""
    path = local_path(wanted)
    if path == "/" and Permission.READ.value not in session.actor.permissions:
        return home(request, session)
    return path


def last_login_text(request: Request, session: Session) -> str:
    """When and where this account was last used, so that its owner notices what was not the owner."""
    say = words_of(request)
    if session.last_login_at is None:
        return say("已登录。这是您第一次登录。")
    at = shown_times.when_long(session.last_login_at, session.language)
    source = session.last_login_from or "?"
    said = say("已登录。上次登录：%(at)s，来自 %(source)s。如非本人，请立即修改密码并报告管理员。") % {
        "at": at,
        "source": source,
    }
    return "".join([said, *_resets_text(request, session)])


def _resets_text(request: Request, session: Session) -> list[str]:
    """Who has reset what since then: the person must learn of it from us and not only from who did it."""
    say = words_of(request)
    found: list[str] = []
    for told in sessions.resets_told(request.app.state.services, session)[-_MOST_TOLD:]:
        at = shown_times.when_long(told.at, session.language)
        found.append(say("此后 %(by)s 于 %(at)s %(what)s。") % {"by": say(told.by), "at": at, "what": say(told.what)})
    return found


def refused(request: Request, template: str, error: HuiyingError, **context: Any) -> Response:
    """The same page with the reason; a session that is gone leads to the sign-in page instead."""
    status, fault = refusal(request, error)
    return shell.render(request, template, status, fault=fault, **context)


def refusal(request: Request, error: HuiyingError) -> tuple[int, str]:
    """The status and the sentence of a wrong answer; raises what is none."""
    if isinstance(error, NotAuthenticated) and "locked" not in error.details:
        raise error
    return 429 if error.details.get("locked") else error.status, spoken(request, error)


def spoken(request: Request, error: HuiyingError) -> str:
    """A refusal in the language of the page."""
    return words_of(request)(error.message)
