"""审计: is the chain whole, who did what when, and the export that an auditor takes away."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import StreamingResponse

from huiying.domain import audit_words
from huiying.domain.access import Permission
from huiying.domain.plan import SHANGHAI
from huiying.service import audit_download, audit_view
from huiying.service.audit_check import ChainCheck, CheckState
from huiying.service.audit_view import Wanted
from huiying.web.callers import House
from huiying.web.pages.shell import Guarded, Session, allow, back, page_headers, render, words_of

router = APIRouter(include_in_schema=False)

_ON_A_PAGE = 50
#: How long the page waits for a check before it shows the progress instead; most chains are done by then.
_PATIENCE = 1.2
_AUDIT = allow(Permission.AUDIT)
Auditor = Annotated[Session, _AUDIT]
Text = Annotated[str, Query(max_length=120)]
Day = Annotated[str, Query(max_length=10)]


def _(text: str) -> str:
    """Mark a text for the catalogue; the template translates it."""
    return text


#: What a check that did not end says.
FAULTS = (
    _("校验未能完成：系统内部出错，审计记录未受影响。请重试；若持续出现，请联系系统管理员。"),
    _("数据库暂时不可用：本次操作未写入。请稍后重试；若持续出现，请联系系统管理员。"),
)


@router.get("/audit")
def page(
    request: Request,
    services: House,
    session: Auditor,
    who: Text = "",
    what: Text = "",
    subject: Text = "",
    since: Day = "",
    until: Day = "",
    before: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """The state of the chain first, then its entries, newest first."""
    state = _check(request).look(0.0 if before else _PATIENCE)
    say = words_of(request)
    codes = tuple(audit_words.codes_for(_plain(what), [say]))
    wanted = Wanted(_plain(who), _plain(what), codes, _plain(subject), _midnight(since), _midnight(until, days=1))
    found = audit_view.search(services, session.actor, wanted, before=before, limit=_ON_A_PAGE)
    asked = {"who": who, "what": what, "subject": subject, "since": since, "until": until}
    kept = {name: value for name, value in asked.items() if value}
    return render(
        request,
        "audit/list.html",
        entries=[
            {**entry, "words": _words(entry["payload"]), "reading": audit_words.action_zh(entry["action"], say)}
            for entry in found["entries"]
        ],
        actions=audit_words.readings(say),
        **_chain(state, found["head"]["count"]),
        whole=found["whole"],
        no_export=audit_view.NO_EXPORT,
        asked=asked,
        filtered=bool(kept),
        first_url=f"/audit?{urlencode(kept)}" if before else "",
        next_url=f"/audit?{urlencode({**kept, 'before': found['next']})}" if found["next"] else "",
    )


@router.get("/audit/chain")
def chain(request: Request, services: House, session: Auditor) -> Response:
    """The state of the chain alone; the page asks for it every second while a check is under way."""
    head = audit_view.entries(services, session.actor, limit=1)["head"]["count"]
    return render(request, "audit/chain.html", **_chain(_check(request).state, head))


@router.post("/audit/verify", dependencies=[Guarded, _AUDIT])
def verify(request: Request) -> Response:
    """Check the whole chain again."""
    _check(request).start()
    return back(request, "/audit")


@router.post("/audit/export", dependencies=[Guarded])
def export(services: House, session: Auditor, since: Annotated[int, Form(ge=0, le=2**53)] = 0) -> Response:
    """The chain with the program that verifies it, as one file; the export becomes an entry of the chain itself."""
    name, pieces = audit_download.prepare(services, session.actor, since)
    headers = {**page_headers(), "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
    return StreamingResponse(pieces, media_type="application/zip", headers=headers)


def _check(request: Request) -> ChainCheck:
    """This process's check."""
    state = request.app.state
    if not hasattr(state, "chain_check"):
        state.chain_check = ChainCheck(state.services.store)
    found: ChainCheck = state.chain_check
    return found


def _chain(state: CheckState, head: int) -> dict[str, Any]:
    verdict = state.verdict
    return {
        "check": state,
        "verdict": verdict,
        "head": head,
        "since_then": max(0, head - verdict.count) if verdict else 0,
    }


def _plain(text: str) -> str:
    """What may be looked for; a database takes no NUL."""
    return "".join(character for character in text if character.isprintable()).strip()


def _words(payload: Any) -> str:
    """An entry's content on readable lines."""
    return json.dumps(payload, ensure_ascii=False, indent=1, sort_keys=True) if payload not in (None, {}) else ""


def _midnight(text: str, days: int = 0) -> datetime | None:
    """Shanghai's midnight at the beginning of a day; nothing for what is no date."""
    try:
        day = date.fromisoformat(text) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return datetime.combine(day, datetime.min.time(), SHANGHAI)
