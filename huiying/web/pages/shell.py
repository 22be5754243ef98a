"""What every page of the desk shares: how it is rendered, who may see it, and that a form comes from our own page.

A page module needs: ``render``, ``Viewer`` or ``allow(...)`` or ``PUBLIC``, ``form_guard`` on every POST, ``back``.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.concurrency import run_in_threadpool

from huiying.domain.errors import Forbidden, Unavailable
from huiying.domain.remaining import human_left
from huiying.domain.sentences import value_told
from huiying.service import desk as desk_views
from huiying.service.session_rows import is_form_token_of
from huiying.service.sessions import Session
from huiying.web.callers import House
from huiying.web.pages import kept_words, marked, shown_times
from huiying.web.pages.assets import static
from huiying.web.pages.navigation import entries_for
from huiying.web.pages.policy import COOKIE, PUBLIC, Locked, SignInNeeded, Viewer, allow, find_session, policies_of
from huiying.web.pages.words import LANGUAGES, language_of, speaking, translations, words_of

__all__ = [
    "COOKIE",
    "PUBLIC",
    "Guarded",
    "Locked",
    "Session",
    "SignInNeeded",
    "StaleForm",
    "Viewer",
    "allow",
    "back",
    "find_session",
    "flash",
    "form_guard",
    "may_be_shown",
    "page_headers",
    "policies_of",
    "render",
    "static",
    "typed_by",
    "words_of",
]

FOLDER = Path(__file__).parent.parent / "templates"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
FLASH_COOKIE = "hy_flash"
_FLASH_SECONDS = 120
_LONGEST_FLASH = 600
#: What quoting leaves as it is; "%" because most of an address has been quoted before.
_IN_ADDRESSES = "/%:?#[]@!$&'()*+,;=~"


def _(text: str) -> str:
    """Mark a text for the catalogue; it is translated where the page is made."""
    return text


_FOREIGN = _("这次提交不是从本系统的页面发出的，操作未执行。请回到值班台，从页面上重新操作。")
_STALE = _("页面已过期（可能重新登录过），操作未执行，填写的内容列在下面。请回到原页面刷新后重新提交。")
#: Never written back into a page, whatever goes wrong.
_SECRET_NAMES = ("password", "csrf", "secret", "token", "recovery")


# -- rendering ---------------------------------------------------------------------------------------------------------


def render(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """A page or a fragment; whoever is signed in, the language, the token for forms and the time are always there."""
    language = language_of(request)
    session: Session | None = getattr(request.state, "session", None)
    now = context.pop("now", None) or request.app.state.services.store.now()
    flashed = _flashed(request)
    html = (
        environment(language)
        .get_template(template)
        .render(
            request=request,
            session=session,
            unit_name=_unit_name(request, session),
            language=language,
            html_lang=LANGUAGES[language],
            csrf=session.csrf if session else "",
            now=now,
            nav=entries_for(request, session),
            waiting=lambda: _waiting(request, session),
            flash=flashed,
            locked=session is not None and session.stage == "locked",
            demo=request.app.state.services.settings.demo,
            **context,
        )
    )
    response = HTMLResponse(html, status, page_headers())
    if flashed:
        response.delete_cookie(FLASH_COOKIE, path="/")
    return response


def page_headers() -> dict[str, str]:
    """Headers of everything that a browser shows as a page; the outermost layer adds the ones all answers share."""
    # With the referrer policy of the JSON API a browser would say "Origin: null" when it sends our own forms.
    return {
        "Content-Security-Policy": CSP,
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
        "Vary": "HX-Request, Cookie",
    }


@cache
def environment(language: str) -> Environment:
    """The templates in one language; free text is always escaped, an unknown name is an error."""
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )

    def gettext(text: str) -> str:
        return speaking(language)(text)

    def ngettext(one: str, many: str, count: int) -> str:
        return translations(language).ngettext(one, many, count)

    # Not the "newstyle" functions: those would mark a translated name from the database as harmless HTML.
    made.install_gettext_callables(gettext, ngettext, newstyle=False)  # type: ignore[attr-defined]
    made.globals["static"] = static
    made.filters |= {
        "when": _when,
        "when_long": lambda at: shown_times.when_long(at, language),
        "clock_time": shown_times.clock_time,
        "epoch": shown_times.epoch,
        "left": lambda seconds: human_left(int(seconds), language),
        "ours": lambda text: value_told(text, speaking(language)),
        "zh": lambda text: marked.data(text, language),
        "zh_mixed": lambda text: marked.mixed(text, language),
        "zh_attr": lambda text: marked.attribute(text, language),
        "web_address": web_address,
    }
    return made


@pass_context
def _when(context: Context, at: datetime | str | None) -> str:
    """An instant beside the present of the page."""
    now = context.get("now")
    return shown_times.when(at, now if isinstance(now, datetime | str) else None)


def web_address(text: str) -> str:
    """An address that may become a link: http and https only, everything else is shown as text alone."""
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        return ""
    return text.strip() if parts.scheme.lower() in {"http", "https"} and parts.netloc else ""


def _waiting(request: Request, session: Session | None) -> dict[str, int]:
    """The numbers beside the entries of the navigation, by their paths; none where nobody is signed in in person."""
    if session is None or not session.is_open or session.read_only or getattr(request.state, "store_failed", False):
        return {}
    found = desk_views.waiting(request.app.state.services, session.actor)
    return {"/requests": found.requests, "/inbox": found.unread}


def _unit_name(request: Request, session: Session | None) -> str:
    """The name in the header, asked for once per request: one's unit, before signing in the office whose system this is.

    Nothing where the store cannot answer: who wants to sign in is told so by the signing in itself.
    """
    if getattr(request.state, "store_failed", False):
        return ""
    if not hasattr(request.state, "unit_name"):
        services = request.app.state.services
        try:
            found = desk_views.unit_name(services, session.unit_id) if session else desk_views.house_name(services)
        except Unavailable:
            found = ""
        request.state.unit_name = found
    return str(request.state.unit_name)


# -- after an action ---------------------------------------------------------------------------------------------------


def back(request: Request, url: str, text: str = "", kind: str = "done") -> Response:
    """After a POST: the browser goes to a page of ours, where ``text`` is shown once."""
    # Quoted, because a header holds neither Chinese nor line ends, and a browser leaves out tabs: "/<tab>/elsewhere".
    inside = quote(url, safe=_IN_ADDRESSES) if url.startswith("/") and not url.startswith(("//", "/\\")) else "/"
    response: Response
    if request.headers.get("hx-request"):
        response = Response(headers={"HX-Redirect": inside, **page_headers()})
    else:
        response = RedirectResponse(inside, 303, page_headers())
    if text:
        flash(request, response, text, kind)
    return response


def flash(request: Request, response: Response, text: str, kind: str = "done") -> None:
    """Show a text once, on the next page. ``kind``: done, warn or fault."""
    body = json.dumps({"kind": kind, "text": words_of(request)(text)[:_LONGEST_FLASH]}).encode()
    value = base64.urlsafe_b64encode(body).decode()
    secure = request.url.scheme == "https"
    response.set_cookie(
        FLASH_COOKIE, value, max_age=_FLASH_SECONDS, path="/", httponly=True, samesite="lax", secure=secure
    )


def _flashed(request: Request) -> Mapping[str, str]:
    value = request.cookies.get(FLASH_COOKIE, "")
    # A fragment has no place for it; it waits for the page.
    if not value or request.headers.get("hx-request"):
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(value))
        return {"kind": str(found["kind"]), "text": str(found["text"])[:_LONGEST_FLASH]}
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        return {}


# -- forms -------------------------------------------------------------------------------------------------------------


class StaleForm(Forbidden):
    """页面已过期，操作未执行。"""

    def __init__(self, message: str, *, was_ours: bool) -> None:
        super().__init__(message)
        #: The token was one of the person who is signed in now, from before an unlocking.
        self.was_ours = was_ours


async def form_guard(request: Request, services: House) -> None:
    """A POST that changes something comes from a page that we gave to this very session."""
    session = await run_in_threadpool(find_session, request, services)
    form = await request.form()
    sent = [(name, value) for name, value in form.multi_items() if isinstance(value, str) and may_be_shown(name)]
    left_out = [name for name, value in form.multi_items() if _says(value) and not may_be_shown(name)]
    files = [value for _name, value in form.multi_items() if not isinstance(value, str) and value.filename]
    request.state.sent, request.state.sent_whole = sent, not files and set(left_out) <= {"csrf"}
    if not _from_our_site(request):
        raise Forbidden(_FOREIGN)
    if session is None:
        return  # before sign-in there is nothing to protect but the sign-in itself
    given = request.headers.get("x-csrf-token") or form.get("csrf")
    if not isinstance(given, str) or not _same(given, session.csrf):
        raise StaleForm(_STALE, was_ours=isinstance(given, str) and is_form_token_of(given, session.person_id))


def _says(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


Guarded = Depends(form_guard)


def typed_by(request: Request) -> list[tuple[str, str]]:
    """What was typed into the form, without secrets, in words; an error page gives it back to the person."""
    sent: list[tuple[str, str]] = getattr(request.state, "sent", [])
    return kept_words.readable(sent, words_of(request))


def may_be_shown(name: str) -> bool:
    """Whether a field of this name holds no secret."""
    return name != "code" and not any(secret in name.lower() for secret in _SECRET_NAMES)


def _from_our_site(request: Request) -> bool:
    """Browsers say where a request comes from; old ones and plain http only by the Origin of a POST."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
