"""Signing in step by step, locking, unlocking, signing out, one's own password, authenticator and sign-ins."""

from __future__ import annotations

import io
from typing import Annotated

import segno
from fastapi import APIRouter, Form, Query, Request, Response

from huiying.domain.access import Permission
from huiying.domain.errors import Forbidden, HuiyingError, InvalidInput, NotAuthenticated
from huiying.domain.passwords import SHORTEST
from huiying.domain.signing import Stage
from huiying.service import accounts, oidc, sessions
from huiying.service.services import Services
from huiying.service.sessions import Session
from huiying.web.callers import House, client_of
from huiying.web.pages.duty import alarm_view
from huiying.web.pages.kept import review_page, seal, unseal
from huiying.web.pages.own_tokens import devices_page
from huiying.web.pages.shell import PUBLIC, Guarded, Viewer, back, flash, render, words_of
from huiying.web.pages.sign_in import (
    ATTEMPTS,
    arrive,
    elsewhere,
    forget,
    keep,
    landing,
    last_login_text,
    local_path,
    mark_of,
    refusal,
    refused,
    secret_of,
    slowly,
    spoken,
)

router = APIRouter(include_in_schema=False)

Next = Annotated[str, Query(alias="next", max_length=2000)]
NextField = Annotated[str, Form(alias="next", max_length=2000)]
#: Longer than any password that is accepted; what is longer is refused like a wrong one.
Secret = Annotated[str, Form(max_length=500)]

_CROWDED = "登录尝试过于频繁，请一分钟后再试。"
_DIFFERENT = "两次输入的新密码不一致，密码未改动。"
_WALL_ONLY = "大屏登录只能查看，不能进行此操作。"


def _session(request: Request) -> Session | None:
    found: Session | None = request.state.session
    return found


def _agent(request: Request) -> str:
    return request.headers.get("user-agent", "")


# -- name and password -------------------------------------------------------------------------------------------------


@router.get("/login", dependencies=[PUBLIC])
def login_page(request: Request, wanted: Next = "/") -> Response:
    """Name and password; whoever is half or wholly signed in is led on."""
    session = _session(request)
    return elsewhere(session, wanted) if session else _login_form(request, wanted)


def _login_form(request: Request, wanted: str, name: str = "") -> Response:
    on = oidc.is_on(request.app.state.services)
    return render(request, "account/login.html", wanted=local_path(wanted), name=name, fault="", oidc=on)


@router.post("/login", dependencies=[PUBLIC, Guarded])
async def login(
    request: Request,
    services: House,
    name: Annotated[str, Form(max_length=200)] = "",
    password: Secret = "",
    wanted: NextField = "/",
) -> Response:
    """Sign in; no cookie is set before that has succeeded."""
    return await slowly(request, _login, services, name, password, wanted)


def _login(request: Request, services: Services, name: str, password: str, wanted: str) -> Response:
    context = {"wanted": local_path(wanted), "name": name, "oidc": oidc.is_on(services)}
    if not ATTEMPTS.allows(client_of(request)):
        return render(request, "account/login.html", 429, fault=words_of(request)(_CROWDED), **context)
    try:
        secret, session = sessions.sign_in(
            services, name, password, client_of(request), _agent(request), mark_of(request)
        )
    except NotAuthenticated as error:
        return refused(request, "account/login.html", error, **context)
    # One browser, one session: the one it had ends with the new one.
    sessions.sign_out(services, secret_of(request))
    return arrive(request, secret, session, wanted)


@router.post("/login/wall", dependencies=[PUBLIC, Guarded])
async def wall(request: Request, services: House, token: Annotated[str, Form(max_length=200)] = "") -> Response:
    """A wall display signs in with a token that allows nothing but reading."""
    return await slowly(request, _wall, services, token)


def _wall(request: Request, services: Services, token: str) -> Response:
    context = {"wanted": "/", "name": "", "oidc": oidc.is_on(services)}
    if not ATTEMPTS.allows(client_of(request)):
        return render(request, "account/login.html", 429, fault=words_of(request)(_CROWDED), **context)
    try:
        secret, session = sessions.wall_session(services, token, client_of(request), _agent(request))
    except HuiyingError as error:
        return render(request, "account/login.html", error.status, fault=spoken(request, error), **context)
    sessions.sign_out(services, secret_of(request))
    return keep(request, back(request, "/wall"), secret, session)


# -- the second factor -------------------------------------------------------------------------------------------------


@router.get("/second", dependencies=[PUBLIC])
def second_page(request: Request, wanted: Next = "/") -> Response:
    """Ask for a code."""
    session = _session(request)
    if session is None or session.stage is not Stage.SECOND_FACTOR:
        return elsewhere(session, wanted)
    return render(request, "account/second.html", wanted=local_path(wanted), fault="")


@router.post("/second", dependencies=[PUBLIC, Guarded])
def second(
    request: Request, services: House, code: Annotated[str, Form(max_length=60)] = "", wanted: NextField = "/"
) -> Response:
    """Check a code from the authenticator or a recovery code."""
    try:
        secret, session = sessions.second_factor(services, secret_of(request), code, client_of(request))
    except NotAuthenticated as error:
        return refused(request, "account/second.html", error, wanted=local_path(wanted))
    return arrive(request, secret, session, wanted)


@router.get("/enrol", dependencies=[PUBLIC])
def enrol_page(request: Request, services: House, wanted: Next = "/") -> Response:
    """How to set up an authenticator."""
    session = _own_desk(request)
    if session is None or session.stage not in {Stage.ENROL, Stage.OPEN}:
        return elsewhere(session, wanted)
    if session.enrolled:
        return back(request, "/devices")
    return _enrol_form(request, services, wanted)


def _enrol_form(request: Request, services: Services, wanted: str, status: int = 200, fault: str = "") -> Response:
    made = accounts.enrolment(services, secret_of(request))
    grouped = " ".join(made.secret[at : at + 4] for at in range(0, len(made.secret), 4))
    context = {"wanted": local_path(wanted), "fault": fault, "typed_secret": grouped}
    return render(request, "account/enrol.html", status, **context)


@router.get("/enrol/qr.svg", dependencies=[PUBLIC])
def enrol_picture(request: Request, services: House) -> Response:
    """The same as a picture for the telephone's camera; an address of its own, so that nothing stands inline."""
    session = _own_desk(request)
    if session is None or session.stage not in {Stage.ENROL, Stage.OPEN}:
        return elsewhere(session)
    picture = io.BytesIO()
    made = segno.make(accounts.enrolment(services, secret_of(request)).address, error="m", micro=False)
    made.save(picture, kind="svg", scale=5, border=4, light="#fff", svgclass=None, lineclass=None)
    return Response(picture.getvalue(), media_type="image/svg+xml", headers={"Cache-Control": "no-store"})


@router.post("/enrol", dependencies=[PUBLIC, Guarded])
def enrol(
    request: Request, services: House, code: Annotated[str, Form(max_length=60)] = "", wanted: NextField = "/"
) -> Response:
    """Switch the second factor on; the recovery codes are shown on this page and never again."""
    try:
        secret, session, codes = accounts.enrol(services, secret_of(request), code)
    except InvalidInput as error:
        return _enrol_form(request, services, wanted, error.status, spoken(request, error))
    request.state.session = session
    onward = landing(request, session, wanted)
    response = render(request, "account/recovery.html", codes=codes, onward=onward)
    flash(request, response, last_login_text(request, session))  # on the next page: this one is about the codes
    return keep(request, response, secret, session)


# -- the password ------------------------------------------------------------------------------------------------------


@router.get("/password", dependencies=[PUBLIC])
def password_page(request: Request, wanted: Next = "/") -> Response:
    """A new password: demanded after a one-time one, or wished for."""
    session = _own_desk(request)
    if session is None or session.stage not in {Stage.PASSWORD, Stage.OPEN}:
        return elsewhere(session, wanted)
    return _password_form(request, session, wanted)


def _password_form(
    request: Request, session: Session, wanted: str, status: int = 200, fault: str = "", field: str = ""
) -> Response:
    context = {"asked": session.is_open, "shortest": SHORTEST, "wanted": local_path(wanted), "field": field}
    return render(request, "account/password.html", status, fault=fault, **context)


@router.post("/password", dependencies=[PUBLIC, Guarded])
async def password(
    request: Request,
    services: House,
    old_password: Secret = "",
    new_password: Secret = "",
    again_password: Secret = "",
    wanted: NextField = "/",
) -> Response:
    """Set one's own password; all other sign-ins of the person end."""
    return await slowly(request, _password, services, old_password, new_password, again_password, wanted)


def _password(request: Request, services: Services, old: str, new: str, again: str, wanted: str) -> Response:
    session = _own_desk(request)
    if session is None or session.stage not in {Stage.PASSWORD, Stage.OPEN}:
        return elsewhere(session, wanted)
    if new != again:
        return _password_form(request, session, wanted, 422, words_of(request)(_DIFFERENT), "again_password")
    try:
        secret, changed = accounts.change_password(
            services, secret_of(request), new, old=old, client=client_of(request)
        )
    except InvalidInput as error:
        return _password_form(request, session, wanted, error.status, spoken(request, error), error.field)
    except NotAuthenticated as error:
        if "locked" not in error.details:
            raise
        status = 429 if error.details["locked"] else error.status
        return _password_form(request, session, wanted, status, spoken(request, error), "old_password")
    if not session.is_open:
        return arrive(request, secret, changed, wanted)
    text = words_of(request)("密码已修改，其他设备上的登录已全部退出。")
    return keep(request, back(request, "/devices", text), secret, changed)


# -- locking and ending ------------------------------------------------------------------------------------------------


@router.post("/lock", dependencies=[PUBLIC, Guarded])
def lock(request: Request, services: House) -> Response:
    """Lock one's own desk on leaving it."""
    return elsewhere(sessions.lock(services, secret_of(request)))


@router.get("/unlock", dependencies=[PUBLIC])
def unlock_page(request: Request, services: House, wanted: Next = "/") -> Response:
    """Ask for the password of the person at the desk; who may look at the clocks is asked in their sight."""
    session = _session(request)
    if session is None or session.stage is not Stage.LOCKED or Permission.READ in session.actor.permissions:
        return elsewhere(session, wanted)
    return alarm_view(request, services, session, wanted=wanted)


@router.post("/unlock", dependencies=[PUBLIC, Guarded])
async def unlock(
    request: Request,
    services: House,
    password: Secret = "",
    code: Annotated[str, Form(max_length=60)] = "",
    wanted: NextField = "/",
    kept: Annotated[str, Form()] = "",
) -> Response:
    """Open a locked desk; a form that was kept through the lock is shown to its person again."""
    return await slowly(request, _unlock, services, password, code, wanted, kept)


def _unlock(request: Request, services: Services, password: str, code: str, wanted: str, sealed: str) -> Response:
    session = _session(request)
    if session is None or session.stage is not Stage.LOCKED:
        return elsewhere(session, wanted)
    kept = unseal(services, session, sealed) if sealed else None
    try:
        secret, opened = sessions.unlock(
            services, secret_of(request), password, client_of(request), code, _agent(request)
        )
    except NotAuthenticated as error:
        status, fault = refusal(request, error)
        again = seal(services, session, kept)
        return alarm_view(request, services, session, status, wanted=wanted, fault=fault, kept=again)
    if kept is not None and opened.is_open:
        request.state.session = opened  # for the fresh token of its form
        response = review_page(request, kept)
        if session.spent:  # a complete sign-in, which says when the last one was and who has reset what since
            flash(request, response, last_login_text(request, opened))
        return keep(request, response, secret, opened)
    if session.spent:
        return arrive(request, secret, opened, wanted)
    request.state.session = opened
    where = landing(request, opened, wanted) if opened.is_open else "/login"
    return keep(request, back(request, where), secret, opened)


@router.post("/logout", dependencies=[PUBLIC, Guarded])
def logout(request: Request, services: House) -> Response:
    """End this session and say so."""
    sessions.sign_out(services, secret_of(request))
    return forget(back(request, "/login", words_of(request)("已退出登录。")))


# -- one's own sign-ins ------------------------------------------------------------------------------------------------


@router.get("/devices")
def devices(request: Request, services: House, session: Viewer) -> Response:
    """Where one is signed in, and the way to password and authenticator."""
    _own_desk(request)
    return devices_page(request, services, session)


@router.post("/devices/forget", dependencies=[Guarded])
def forget_browsers(request: Request, services: House, session: Viewer) -> Response:
    """Be a stranger in every browser again; sign-ins that are open stay open."""
    _own_desk(request)
    sessions.forget_browsers(services, session)
    return back(request, "/devices", words_of(request)("已清除。今后在任何浏览器登录，都按陌生浏览器对待。"))


@router.post("/devices/{session_id}/revoke", dependencies=[Guarded])
def revoke(request: Request, services: House, session: Viewer, session_id: str) -> Response:
    """Throw out one of one's own sign-ins."""
    _own_desk(request)
    say = words_of(request)
    if session_id == session.id:
        # Going away is not throwing out: the browser stays known.
        sessions.sign_out(services, secret_of(request))
        return forget(back(request, "/login", say("已退出登录。")))
    sessions.revoke(services, session.actor, session_id)
    return back(request, "/devices", say("已踢出所选的登录，对方须重新登录。"))


def _own_desk(request: Request) -> Session | None:
    """The session, which must be a person's own and not a wall's."""
    session = _session(request)
    if session is not None and session.read_only:
        raise Forbidden(_WALL_ONLY)
    return session
