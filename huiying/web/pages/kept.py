"""A form that a locked desk could not take is not lost: it is kept in the answer itself until its person has unlocked.

The server stores none of it. It stands sealed in the alarm view, and meanwhile in that tab of the browser, so that a
passer-by reads none of it, and comes back with the password. The same person then sees what was typed and sends it by one
press of a button, with a fresh token: nothing is carried out by unlocking. Secrets, files and the forms that hold them are
never kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request, Response

from config.sealed import CannotOpen
from huiying.domain.signing import SHOWN_FOR
from huiying.service.services import Services
from huiying.service.sessions import Session
from huiying.store.types import from_micros, to_micros
from huiying.web.callers import House
from huiying.web.pages import kept_words, shell
from huiying.web.pages.duty import alarm_view
from huiying.web.pages.policy import allow
from huiying.web.pages.shell import Guarded
from huiying.web.pages.sign_in import elsewhere, local_path
from huiying.web.pages.words import words_of

router = APIRouter(include_in_schema=False)

#: Sealed and sent as a form it must fit into a request's body (``guard.LARGEST_BODY``).
_LARGEST = 128 * 1024
_MOST_FIELDS = 400
_MARK = "kept form"
#: What signs in, acknowledges, or takes secrets: there is nothing to write again, or it must not be written down.
_NEVER = (
    "/login", "/logout", "/lock", "/unlock", "/second", "/enrol", "/password", "/devices", "/language", "/live", "/kept",
    "/acknowledge", "/admin/channels", "/admin/tokens",
)  # fmt: skip


def _(text: str) -> str:
    """Mark a text for the catalogue."""
    return text


LOCKED = _("本席位已锁定，操作未执行。请先解锁。")
LOCKED_KEPT = _("本席位已锁定，操作未执行。您填写的内容已保留，解锁后核对并提交即可。")
LOCKED_DRAFT = _("本席位已锁定。您填写的内容已保留，解锁后放回原表单。")


@dataclass(frozen=True, slots=True)
class Kept:
    """A form: where it was to be sent, the page it stood on, its fields. ``whole``: nothing had to be left out;
    ``draft``: nobody had sent it yet."""

    to: str
    page: str
    pairs: tuple[tuple[str, str], ...]
    whole: bool = True
    draft: bool = False


def of_request(request: Request) -> Kept | None:
    """What this request would have sent; None where there is nothing to keep, or it must not or cannot be kept."""
    sent: list[tuple[str, str]] = getattr(request.state, "sent", [])
    to = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return _checked(Kept(to, _page_of(request) or to, tuple(sent), whole=getattr(request.state, "sent_whole", True)))


def _page_of(request: Request) -> str:
    """The page of ours on which the form stood, as the browser says."""
    parts = urlsplit(request.headers.get("referer", ""))
    if parts.netloc != request.headers.get("host", ""):
        return ""
    path = local_path(parts.path + (f"?{parts.query}" if parts.query else ""))
    return "" if path == "/" else path


def _checked(kept: Kept) -> Kept | None:
    path = kept.to.partition("?")[0]
    never = any(path == one or path.startswith(f"{one}/") for one in _NEVER)
    if never or local_path(kept.to) != kept.to or path == "/" or local_path(kept.page) != kept.page:
        return None
    typed = any(value.strip() for _name, value in kept.pairs)
    size = sum(len(name.encode()) + len(value.encode("utf-8", "replace")) + 8 for name, value in kept.pairs)
    return kept if typed and size <= _LARGEST and len(kept.pairs) <= _MOST_FIELDS else None


def seal(services: Services, session: Session, kept: Kept | None) -> str:
    """For the answer: readable to nobody but us, and of use to its person alone."""
    if kept is None:
        return ""
    body = {"what": _MARK, "person": session.person_id, "at": to_micros(services.store.now()), **asdict(kept)}
    return services.sealer.seal(json.dumps(body, ensure_ascii=False))


def unseal(services: Services, session: Session, sealed: str) -> Kept | None:
    """What comes back; None where it is not this person's, too old, or not from us."""
    try:
        body: dict[str, Any] = json.loads(services.sealer.open(sealed))
    except (CannotOpen, ValueError):
        return None
    if body.get("what") != _MARK or body["person"] != session.person_id:
        return None
    if _too_old(from_micros(body["at"]), services.store.now()):
        return None
    pairs = tuple((name, value) for name, value in body["pairs"])
    return _checked(Kept(body["to"], body["page"], pairs, whole=body["whole"], draft=body["draft"]))


def _too_old(at: datetime, now: datetime) -> bool:
    return now - at > SHOWN_FOR


# -- the pages ---------------------------------------------------------------------------------------------------------


def locked_page(request: Request, services: Services, session: Session, kept: Kept | None) -> Response:
    """The alarm view, holding what could not be done."""
    say = words_of(request)
    sentence = LOCKED if kept is None else LOCKED_DRAFT if kept.draft else LOCKED_KEPT
    return alarm_view(
        request,
        services,
        session,
        200 if kept is not None and kept.draft else 403,
        wanted=kept.page if kept is not None else "/",
        fault=say(sentence),
        kept=seal(services, session, kept),
    )


def review_page(request: Request, kept: Kept, status: int = 200) -> Response:
    """To its person, at an open desk: what was typed, and the button that sends it."""
    say = words_of(request)
    typed = kept_words.readable(kept.pairs, say)
    return shell.render(request, "account/kept.html", status, kept=kept, typed=typed)


@router.post("/kept", dependencies=[Guarded])
def keep_draft(
    request: Request,
    services: House,
    session: Annotated[Session, allow(locked_too=True)],
    to: Annotated[str, Form(max_length=1000)] = "",
    page: Annotated[str, Form(max_length=1000)] = "",
    fields: Annotated[str, Form(max_length=2 * _LARGEST)] = "",
) -> Response:
    """A page that has just been locked hands over what somebody was writing, before it goes."""
    kept = _checked(Kept(to, page, tuple(_fields(fields)), whole=False, draft=True))
    if not session.is_open:
        return locked_page(request, services, session, kept) if kept is not None else elsewhere(session, page)
    return review_page(request, kept) if kept is not None else shell.back(request, local_path(page))


@router.post("/kept/again", dependencies=[Guarded])
def look_again(
    request: Request,
    services: House,
    session: Annotated[Session, allow(locked_too=True)],
    sealed: Annotated[str, Form(max_length=3 * _LARGEST)] = "",
) -> Response:
    """A page that is open again, by whatever way, brings what a locked one held; the same rules as at the unlocking."""
    kept = unseal(services, session, sealed)
    if kept is None:
        return shell.back(request, "/")
    return review_page(request, kept) if session.is_open else locked_page(request, services, session, kept)


def _fields(text: str) -> Iterable[tuple[str, str]]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return
    for pair in given if isinstance(given, list) else []:
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair):
            name, value = pair
            if shell.may_be_shown(name):
                yield name, value
