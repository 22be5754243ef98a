"""The acknowledge page behind a message's link: looking changes nothing, the button does.

Chat programs and mail scanners open every link they see, so only the form acts. It needs no script and no account; the
22 characters of the address are the permission. They stand in no log and are sent to nobody (no referrer).
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, Template

from huiying.domain.duration import human_left
from huiying.domain.errors import HuiyingError, InvalidInput, NotFound
from huiying.domain.plan import SHANGHAI
from huiying.service import ack_links
from huiying.service.ack_links import AckLink
from huiying.service.services import Services
from huiying.web.callers import House, client_of
from huiying.web.guard import Throttle

router = APIRouter(include_in_schema=False)

_TEMPLATES = Path(__file__).parent / "templates"
#: A person opens a link a few times; whoever tries addresses needs many. Counted by link where there is one, so that an
#: office behind one address is not shut out by its own storm, and by caller where there is none.
_LOOKS, _PRESSES, _MISSES = Throttle(60), Throttle(20), Throttle(20)
_LONGEST_KEY = 64
_TOO_MANY = "操作过于频繁，请一分钟后再试。"
_FOREIGN = "签收须在本页面上进行，未签收。请从消息中的链接打开后再试。"


@router.get("/a/{token}")
def show(services: House, token: str, request: Request) -> Response:
    """The page; nothing is changed, whoever asks."""
    if not _LOOKS.allows(token[:_LONGEST_KEY]):
        return _page(services, 429, fault=_TOO_MANY)
    return _look(services, token, request)


@router.post("/a/{token}")
def press(services: House, token: str, request: Request, person: Annotated[str, Form(max_length=64)] = "") -> Response:
    """The button; then back to the page, so that a reload does not press it again."""
    if not _PRESSES.allows(token[:_LONGEST_KEY]):
        return _page(services, 429, fault=_TOO_MANY)
    if not _from_our_page(request):
        return _page(services, 403, fault=_FOREIGN)
    try:
        ack_links.answer(services, token, person)
    except InvalidInput as error:
        return _look(services, token, request, fault=error.message, status=422)
    except HuiyingError as error:
        return _refusal(services, error, request)
    return RedirectResponse(request.url.path, 303)


def _look(services: Services, token: str, request: Request, *, fault: str = "", status: int = 200) -> Response:
    try:
        return _page(services, status, link=ack_links.look(services, token), fault=fault)
    except HuiyingError as error:
        return _refusal(services, error, request)


def _refusal(services: Services, error: HuiyingError, request: Request) -> Response:
    if isinstance(error, NotFound) and not _MISSES.allows(client_of(request)):
        return _page(services, 429, fault=_TOO_MANY)
    gone = error.message == ack_links.EXPIRED
    return _page(services, 410 if gone else error.status, fault=error.message)


def _from_our_page(request: Request) -> bool:
    """Whether a browser that says where it comes from comes from here; older ones say nothing, the address must do."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("origin")
    # Under our own referrer policy a browser sends "null" for a form of ours.
    if origin is None or origin == "null":
        return True
    return urlsplit(origin).netloc == request.headers.get("host", "")


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["left"] = _left
    environment.filters["local"] = _local
    return environment.get_template("ack.html")


@cache
def _style() -> str:
    return (_TEMPLATES / "ack.css").read_text("utf-8").strip()


@cache
def _policy() -> str:
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def _page(services: Services, status: int, *, link: AckLink | None = None, fault: str = "") -> Response:
    html = _template().render(style=_style(), link=link, fault=fault, phone=services.settings.desk_phone)
    headers = {
        "Content-Security-Policy": _policy(),
        "Referrer-Policy": "no-referrer",
        "X-Robots-Tag": "noindex, nofollow",
        "Cache-Control": "no-store",
        **({"Retry-After": "60"} if status == 429 else {}),
    }
    return HTMLResponse(html, status, headers)


def _left(link: AckLink) -> str:
    return human_left(int((link.due_at - link.now).total_seconds())) if link.due_at else ""


def _local(at: object) -> str:
    return f"{at.astimezone(SHANGHAI):%m-%d %H:%M}" if hasattr(at, "astimezone") else ""
