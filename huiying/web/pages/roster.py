"""排班: two weeks on a page, standing duties, and a roster taken in from a table."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from huiying.domain.access import Permission
from huiying.domain.errors import HuiyingError, InvalidInput
from huiying.domain.plan import SHANGHAI
from huiying.service import admin_view, people, roster_admin, roster_pickers
from huiying.service.services import Services
from huiying.web.callers import House
from huiying.web.pages.fields import Fault, Form, Typed, fault_of, typed_text
from huiying.web.pages.shell import Guarded, Session, allow, back, render, words_of

router = APIRouter(include_in_schema=False)

Rosterer = Annotated[Session, allow(Permission.ROSTER)]
DAYS = 14
_MOST_SHIFTS = 2000
_FIRST_YEAR, _LAST_YEAR = 1949, 2199


@router.get("/roster")
def show(
    request: Request,
    services: House,
    session: Rosterer,
    unit: Annotated[str, Query(max_length=64)] = "",
    since: Annotated[date | None, Query(alias="from")] = None,
) -> Response:
    """Two weeks from a Monday on."""
    return _page(request, services, session, unit=unit, since=since)


def _page(
    request: Request,
    services: Services,
    session: Session,
    status: int = 200,
    *,
    unit: str = "",
    since: date | None = None,
    form: Form | None = None,
    fault: Fault | None = None,
    text: str = "",
) -> Response:
    today = services.store.now().astimezone(SHANGHAI).date()
    day = since if since is not None and _FIRST_YEAR <= since.year <= _LAST_YEAR else today
    first = day - timedelta(days=day.weekday())
    begin = datetime.combine(first, time(0), SHANGHAI)
    shifts = roster_admin.list_shifts(services, session.actor, unit, since=begin, limit=_MOST_SHIFTS)
    units, offered = _units(services, session), roster_pickers.offered(services, session.actor)
    return render(
        request,
        "admin/roster.html",
        status,
        days=[_day(first + timedelta(days=number), shifts) for number in range(DAYS)],
        first=first,
        before=first - timedelta(days=DAYS),
        after=first + timedelta(days=DAYS),
        today=today,
        unit=unit,
        units=units,
        people=[(row["id"], f"{row['name']}（{row['id']}）") for row in offered],
        example=_example(units, offered),
        everybody=[row for row in people.list_people(services, session.actor) if row["active"]],
        duties=[row for row in roster_admin.list_duties(services, session.actor) if not unit or row["unit_id"] == unit],
        words=admin_view.words(),
        form=form or Form(),
        fault=fault,
        text=text,
    )


def _units(services: Services, session: Session) -> list[tuple[str, str]]:
    return [(row["id"], row["name"]) for row in people.list_units(services, session.actor) if row["active"]]


def _example(units: list[tuple[str, str]], offered: list[dict[str, Any]]) -> str:
    """Two lines of a table that this house could take in: by names, and by ids."""
    unit_id, unit = units[0] if units else ("main", "本单位")
    person_id, person = (offered[0]["id"], offered[0]["name"]) if offered else ("zhang", "张三")
    return (
        "单位,职责,人员,开始,结束\n"
        f"{unit},值班员,{person},2026-11-22 08:30,2026-11-22 20:30\n"
        f"{unit_id},duty_officer,{person_id},2026-11-22 20:30,2026-11-23 08:30"
    )


def _day(day: date, shifts: list[dict[str, Any]]) -> dict[str, Any]:
    """A day with the shifts that touch it; one over midnight stands on both days."""
    begin = datetime.combine(day, time(0), SHANGHAI)
    end = begin + timedelta(days=1)
    found = []
    for shift in shifts:
        starts, ends = datetime.fromisoformat(shift["starts_at"]), datetime.fromisoformat(shift["ends_at"])
        if starts < end and ends > begin:
            span = f"{_clock(starts, begin)}–{_clock(ends, begin)}"
            found.append({**shift, "span": span, "continues": starts < begin})
    return {"date": day, "shifts": sorted(found, key=lambda shift: (shift["starts_at"], shift["role"]))}


def _clock(at: datetime, begin: datetime) -> str:
    """A time of this day; 00:00 and 24:00 where the shift goes beyond it."""
    local = at.astimezone(SHANGHAI)
    if local <= begin:
        return "00:00"
    return "24:00" if local >= begin + timedelta(days=1) else f"{local:%H:%M}"


@router.post("/roster/shifts", dependencies=[Guarded])
def add(request: Request, services: House, session: Rosterer, form: Typed) -> Response:
    """Put a person on duty for a time."""
    try:
        starts_at, ends_at = form.moment("starts_at"), form.moment("ends_at")
        if starts_at is None or ends_at is None:
            name = "ends_at" if starts_at else "starts_at"
            raise InvalidInput(name, "请写明开始和结束时间，未登记。")
        shift = roster_admin.ShiftInput(
            form.text("unit_id"), form.text("role"), form.text("person_id"), starts_at, ends_at
        )
        roster_admin.add_shift(services, session.actor, shift)
    except HuiyingError as error:
        return _page(request, services, session, error.status, form=form, fault=fault_of(error))
    url = f"/roster?from={starts_at.astimezone(SHANGHAI):%Y-%m-%d}"
    return back(request, url, words_of(request)("已排班。"))


@router.post("/roster/shifts/{shift}/cancel", dependencies=[Guarded])
def cancel(request: Request, services: House, session: Rosterer, shift: int) -> Response:
    """Cancel a shift that is not over."""
    try:
        done = roster_admin.cancel_shift(services, session.actor, shift)
    except HuiyingError as error:
        return _page(request, services, session, error.status, fault=fault_of(error))
    return back(request, f"/roster?from={done['starts_at'][:10]}", words_of(request)("已取消该班次，记录保留。"))


@router.post("/roster/import", dependencies=[Guarded])
def take_in(request: Request, services: House, session: Rosterer, form: Typed) -> Response:
    """A roster from a table: all of it or nothing."""
    text = form.values.get("roster_text", "")
    try:
        _, data = form.document("roster", "")
        text = typed_text(data)
        done = roster_admin.import_shifts(services, session.actor, data)
    except HuiyingError as error:
        return _page(request, services, session, error.status, form=form, fault=fault_of(error), text=text)
    say = words_of(request)
    url = f"/roster?from={done['shifts'][0]['starts_at'][:10]}" if done["shifts"] else "/roster"
    return back(request, url, f"{say('已导入班次')} {done['imported']}")


@router.post("/roster/duties", dependencies=[Guarded])
def add_duty(request: Request, services: House, session: Rosterer, form: Typed) -> Response:
    """Give a standing duty."""
    given = (form.text("person_id"), form.text("role"), form.text("unit_id"))
    try:
        roster_admin.add_duty(services, session.actor, *given)
    except HuiyingError as error:
        return _page(request, services, session, error.status, form=form, fault=fault_of(error))
    return back(request, "/roster#duties", words_of(request)("已登记职责。"))


@router.post("/roster/duties/remove", dependencies=[Guarded])
def remove_duty(request: Request, services: House, session: Rosterer, form: Typed) -> Response:
    """Take a standing duty away."""
    given = (form.text("person_id"), form.text("role"), form.text("unit_id"))
    try:
        roster_admin.remove_duty(services, session.actor, *given)
    except HuiyingError as error:
        return _page(request, services, session, error.status, form=form, fault=fault_of(error))
    return back(request, "/roster#duties", words_of(request)("已取消职责。"))
