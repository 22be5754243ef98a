"""工作日历: years with their source, a year as twelve leaves, and an import that says first what it would move."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from huiying.domain.errors import HuiyingError, InvalidInput
from huiying.domain.plan import SHANGHAI
from huiying.service import calendars, queries, rulebook
from huiying.service.services import Services
from huiying.web.callers import House
from huiying.web.pages.fields import Typed, fault_of, typed_text
from huiying.web.pages.rules import Keeper, may_change
from huiying.web.pages.shell import Guarded, Session, Viewer, back, render, words_of

router = APIRouter(include_in_schema=False)

_NOT_ASKED: Mapping[str, Any] = {"since": "", "add": "", "due": None, "wrong": None}


@router.get("/rules/calendar")
def show(
    request: Request,
    services: House,
    session: Viewer,
    year: Annotated[int, Query(ge=0, le=2199)] = 0,
    version: Annotated[str, Query(max_length=64)] = "",
    since: Annotated[str, Query(alias="from", max_length=20)] = "",
    add: Annotated[str, Query(max_length=8)] = "",
) -> Response:
    """The years there are, and one of them as twelve leaves; beside them which day is so many working days off."""
    asked: dict[str, Any] = {**_NOT_ASKED, "since": since, "add": add}
    if not since and not add:
        return _page(request, services, session, year=year, version=version)
    try:
        asked["due"] = queries.workdays(services, _day(since), _number(add))
    except InvalidInput as error:
        asked["wrong"] = fault_of(error)
        return _page(request, services, session, error.status, year=year, version=version, asked=asked)
    return _page(request, services, session, year=year, version=version, asked=asked)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise InvalidInput("from", "请写明起始日，如 2026-11-22。") from None


def _number(text: str) -> int:
    return int(text) if text.strip().isdecimal() else 0


@router.post("/rules/calendar", dependencies=[Guarded])
def take_in(request: Request, services: House, session: Keeper, form: Typed) -> Response:
    """Look at a calendar file, or take it in; the due dates that move keep their old value beside the new one."""
    text, name, notice = form.values.get("calendar_text", ""), "", form.text("notice")
    try:
        name, data = form.document("calendar", words_of(request)("粘贴的内容"))
        text = typed_text(data)
        looked = calendars.check_calendar(services, data, name, notice)
        if form.text("do") == "import" and looked["ok"]:
            done = rulebook.import_calendar(services, session.actor, data, name, notice)
            return _taken_in(request, done)
    except HuiyingError as error:
        typed: dict[str, Any] = {"text": text, "name": name, "notice": notice, "fault": fault_of(error)}
        return _page(request, services, session, error.status, **typed)
    typed = {"text": text, "name": name, "notice": notice, "looked": looked}
    return _page(request, services, session, 200 if looked["ok"] else 422, **typed)


def _taken_in(request: Request, done: dict[str, Any]) -> Response:
    say = words_of(request)
    url = f"/rules/calendar?year={done['years'][0]}"
    if not done["changed"]:
        return back(request, url, say("与已有的日历相同，内容未变。"), "warn")
    years = say("、").join(map(str, done["changed"]))
    return back(request, url, f"{say('已导入日历')} {years} · {say('重算到期日')} {done['recomputed']}")


def _page(
    request: Request,
    services: Services,
    session: Session,
    status: int = 200,
    *,
    year: int = 0,
    version: str = "",
    **typed: Any,
) -> Response:
    listed = calendars.list_calendars(services)["calendars"]
    present = [row["year"] for row in listed if row["current"]]
    this_year = services.store.now().astimezone(SHANGHAI).year
    chosen = year or (this_year if this_year in present else max(present, default=0))
    return render(
        request,
        "rules/calendar.html",
        status,
        calendars=listed,
        years=sorted(set(present)),
        missing=[number for number in (this_year, this_year + 1) if number not in present],
        leaf=calendars.show_year(services, chosen, version) if chosen else None,
        moved=calendars.replaced_due_dates(services),
        may_change=may_change(session),
        **{"text": "", "name": "", "notice": "", "fault": None, "looked": None, "asked": _NOT_ASKED, **typed},
    )
