"""值班台: every running clock, most urgent first; one incident's lanes beside it; what happened last below."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from huiying.domain.access import Permission
from huiying.domain.errors import InvalidInput, NotFound
from huiying.domain.kinds import Severity
from huiying.domain.remaining import Urgency
from huiying.service import acknowledging, desk, handover, marks, oidc
from huiying.service.desk import Filters
from huiying.service.fact_words import Say
from huiying.service.services import Services
from huiying.service.sessions import Session
from huiying.web.callers import House
from huiying.web.pages.navigation import home
from huiying.web.pages.shell import Guarded, allow, back, page_headers, render, words_of
from huiying.web.pages.sign_in import elsewhere, local_path

router = APIRouter(include_in_schema=False)

_P = Permission
_STATES = frozenset({*(word.value for word in Urgency), "acked", "unacked"})
_SEVERITIES = frozenset({*(word.value for word in Severity), "none"})
_MOST_CLOCKS = 1000

Anybody = Annotated[Session, allow(locked_too=True)]
Watching = Annotated[Session, allow(_P.READ, locked_too=True)]
Reader = Annotated[Session, allow(_P.READ)]
Short = Annotated[str, Query(max_length=60)]


def _filters(
    who: Short = "",
    severity: Short = "",
    rule: Short = "",
    state: Short = "",
    q: Annotated[str, Query(max_length=200)] = "",
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
) -> Filters:
    """Filters of the address; a word that does not exist is as good as none."""
    return Filters(
        who=who if who in {"mine", "unit"} else "",
        severity=severity if severity in _SEVERITIES else "",
        rule=rule,
        state=state if state in _STATES else "",
        text=q.strip(),
        page=page,
    )


def _filters_for(session: Session, filters: Filters) -> Filters:
    """A locked desk shows no titles, so it does not let a passer-by search them either."""
    return filters if session.is_open else replace(filters, text="")


def _filters_of(query: str) -> Filters:
    """The same out of the hidden field of a form."""
    given = {name: values[0][:200] for name, values in parse_qs(query).items()}
    page = given.get("page", "1")
    words = {name: given.get(name, "")[:60] for name in ("who", "severity", "rule", "state")}
    return _filters(
        **words, q=given.get("q", ""), page=int(page) if page.isdecimal() and 0 < int(page) <= 10_000 else 1
    )


def address(filters: Filters, **changes: Any) -> str:
    """The query part that shows the same queue with some filters changed."""
    words = {
        "who": filters.who,
        "severity": filters.severity,
        "rule": filters.rule,
        "state": filters.state,
        "q": filters.text,
        "page": filters.page if filters.page > 1 else "",
        **changes,
    }
    return urlencode({name: value for name, value in words.items() if value})


@router.get("/")
def show(
    request: Request,
    services: House,
    session: Anybody,
    who: Short = "",
    severity: Short = "",
    rule: Short = "",
    state: Short = "",
    q: Annotated[str, Query(max_length=200)] = "",
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
    incident: Annotated[str, Query(max_length=20)] = "",
    wanted: Annotated[str, Query(alias="next", max_length=2000)] = "/",
) -> Response:
    """The whole screen; somebody who may not read incidents is led to what they may open.

    ``next`` is where a desk goes on once it is unlocked.
    """
    if session.is_open and local_path(wanted) != "/":
        return elsewhere(session, wanted)
    if _P.READ.value not in session.actor.permissions:
        if not session.is_open:
            return elsewhere(session, wanted)
        return RedirectResponse(home(request, session), 303, page_headers())
    filters = _filters_for(session, _filters(who, severity, rule, state, q, page))
    return _page(request, services, session, filters, incident=incident, wanted=wanted)


def alarm_view(
    request: Request,
    services: Services,
    session: Session,
    status: int = 200,
    *,
    wanted: str = "/",
    fault: str = "",
    kept: str = "",
) -> Response:
    """What a locked desk shows: clocks that go on ticking, no titles, and the field that unlocks it.

    Who may look at no clocks gets the field alone. ``kept`` is a form that waits for the unlocking, sealed.
    """
    if _P.READ.value in session.actor.permissions:
        return _page(request, services, session, Filters(), status, wanted=wanted, fault=fault, kept=kept)
    return render(request, "account/locked.html", status, **_lock(services, wanted, fault, kept))


def _lock(services: Services, wanted: str, fault: str, kept: str) -> dict[str, Any]:
    return {"wanted": local_path(wanted), "fault": fault, "kept": kept, "oidc": oidc.is_on(services)}


def _page(
    request: Request,
    services: Services,
    session: Session,
    filters: Filters,
    status: int = 200,
    *,
    incident: str = "",
    wanted: str = "/",
    fault: str = "",
    kept: str = "",
) -> Response:
    seen = marks.mark(services)  # before what is read now, so that nothing can fall in between
    found = desk.queue(services, session.actor, session.unit_id, filters, words_of(request))
    return render(
        request,
        "duty/page.html",
        status,
        now=found.now,
        seen=str(seen),
        **_board(session, found, filters),
        **_lock(services, wanted, fault, kept),
        panel=_panel_or_none(request, services, session, incident or (found.lines[0].no if found.lines else "")),
        chosen=incident,
        handovers=handover.pending(services, session.actor) if session.stage == "open" else [],
        severities=[(word.value, word.zh) for word in Severity],
        events=_feed(request, services, session),
    )


@router.get("/desk/queue")
def queue(
    request: Request,
    services: House,
    session: Watching,
    who: Short = "",
    severity: Short = "",
    rule: Short = "",
    state: Short = "",
    q: Annotated[str, Query(max_length=200)] = "",
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
) -> Response:
    """Tiles and queue, as they are now."""
    filters = _filters_for(session, _filters(who, severity, rule, state, q, page))
    return _fragment(request, services, session, filters)


def _fragment(request: Request, services: Services, session: Session, filters: Filters, text: str = "") -> Response:
    found = desk.queue(services, session.actor, session.unit_id, filters, words_of(request))
    return render(request, "duty/board.html", now=found.now, said=text, **_board(session, found, filters))


@router.get("/desk/panel/{no}")
def panel(request: Request, services: House, session: Reader, no: str) -> Response:
    """One incident beside the queue."""
    return render(
        request, "duty/panel.html", panel=desk.panel(services, session.actor, no, words_of(request)), **_rights(session)
    )


@router.get("/desk/feed")
def feed(request: Request, services: House, session: Reader) -> Response:
    """What happened last, newest first.

    Always the whole list: messages are written down a little after what they tell of, and lines of several grow.
    """
    return render(request, "duty/feed_lines.html", events=_feed(request, services, session))


@router.post("/acknowledge", dependencies=[Guarded])
def acknowledge(
    request: Request,
    services: House,
    session: Annotated[Session, allow(_P.ACKNOWLEDGE)],
    clock: Annotated[list[int], Form(max_length=_MOST_CLOCKS)] = [],  # noqa: B006 - FastAPI copies defaults
    only: Annotated[int, Form()] = 0,
    query: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """签收: one clock by its own button, or all that are ticked."""
    chosen = [only] if only else clock
    if not chosen:
        raise InvalidInput("clock", "没有勾选任何时钟，未作任何改动。请先勾选需要签收的时钟，再按“批量签收”。")
    done, missed = acknowledging.acknowledge_clocks(services, session.actor, chosen, "desk")
    text = _acknowledged(words_of(request), done, missed)
    filters = _filters_of(query)
    if request.headers.get("hx-request"):
        return _fragment(request, services, session, filters, text)
    return back(request, f"/?{address(filters)}", text)


def _acknowledged(_: Say, done: list[tuple[str, str]], missed: int) -> str:
    """One clock is named: the queue may have moved under the hand that pressed."""
    if len(done) == 1:
        no, name = done[0]
        text = _("已签收 %(no)s %(rule)s。签收不停止时钟，只有有效发布才能停止。") % {"no": no, "rule": _(name)}
    else:
        text = _("已签收 %(n)s 个时钟。签收不停止时钟，只有有效发布才能停止。") % {"n": len(done)}
    if missed:
        text += _("另有 %(n)s 个已结束或不在您的权限范围内，未签收。") % {"n": missed}
    return text


# -- what the templates are given --------------------------------------------------------------------------------------


def _board(session: Session, found: desk.Queue, filters: Filters) -> dict[str, Any]:
    here = {"page": ""}
    return {
        "queue": found,
        "filters": filters,
        "query": address(filters),
        "tiles": [
            (word, count, address(filters, state="" if filters.state == word.value else word.value, **here))
            for word, count in found.tiles.items()
        ],
        "before": f"/?{address(filters, page=found.page - 1)}" if found.page > 1 else "",
        "after": f"/?{address(filters, page=found.page + 1)}" if found.page < found.pages else "",
        **_rights(session),
    }


def _rights(session: Session) -> dict[str, Any]:
    held = session.actor.permissions
    active = session.stage == "open"
    return {
        "may_acknowledge": active and _P.ACKNOWLEDGE.value in held,
        "may_release": active and _P.RELEASE.value in held,
        "may_register": active and _P.REGISTER.value in held,
        "strict_first": _P.AUDIT.value in held,
        "may_call": active and _P.CALL.value in held,
    }


def _panel_or_none(request: Request, services: Services, session: Session, no: str) -> desk.Panel | None:
    """The panel is company for the queue: a number that does not exist leaves it empty."""
    if not no or session.stage != "open":
        return None
    try:
        return desk.panel(services, session.actor, no, words_of(request))
    except NotFound:
        return None


def _feed(request: Request, services: Services, session: Session) -> list[desk.Event]:
    return desk.feed(services, session.actor, say=words_of(request)) if session.stage == "open" else []
