"""系统管理: people, their roles of access and standing duties, and the tree of units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from huiying.domain.access import GRANTS, AccessRole, Permission
from huiying.domain.errors import HuiyingError
from huiying.service import account_view, admin_view, channels, oidc, pack_admin, people, roster_admin
from huiying.service.services import Services
from huiying.web.callers import House
from huiying.web.pages.fields import Fault, Form, Typed, fault_of
from huiying.web.pages.shell import Guarded, Session, allow, back, render, words_of

router = APIRouter(include_in_schema=False)

Manager = Annotated[Session, allow(Permission.PEOPLE)]
_OF_UNITS = ("name", "parent_id", "region_code", "kind", "pack_id")
_REACHED_BY = ("name", "unit_id", "mobile", "email")


# -- people ------------------------------------------------------------------------------------------------------------


@router.get("/admin/people")
def listing(
    request: Request, services: House, session: Manager, unit: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    """Everybody, with what they may do and where."""
    return _people_page(request, services, session, unit=unit)


def _people_page(
    request: Request,
    services: Services,
    session: Session,
    status: int = 200,
    *,
    unit: str = "",
    form: Form | None = None,
    fault: Fault | None = None,
) -> Response:
    held: dict[str, list[dict[str, Any]]] = {}
    for row in roster_admin.list_access(services, session.actor):
        held.setdefault(row["person_id"], []).append(row)
    return render(
        request,
        "admin/people.html",
        status,
        people=people.list_people(services, session.actor, unit),
        held=held,
        accounts={row["person_id"]: row for row in account_view.list_accounts(services, session.actor)},
        units=_units(services, session),
        unit=unit,
        form=form or Form(),
        fault=fault,
    )


def _units(services: Services, session: Session) -> list[tuple[str, str]]:
    return [(unit["id"], unit["name"]) for unit in people.list_units(services, session.actor) if unit["active"]]


@router.post("/admin/people", dependencies=[Guarded])
def add(request: Request, services: House, session: Manager, form: Typed) -> Response:
    """A new person."""
    given: dict[str, Any] = {name: form.text(name) for name in _REACHED_BY}
    try:
        people.add_person(services, session.actor, form.text("id"), **given)
    except HuiyingError as error:
        return _people_page(request, services, session, error.status, form=form, fault=fault_of(error))
    say = words_of(request)
    return back(
        request, f"/admin/people/{form.text('id')}", say("已新建。请接着授予权限、登记职责，并发放一次性密码。")
    )


@router.get("/admin/people/{person}")
def one(request: Request, services: House, session: Manager, person: str) -> Response:
    """One person."""
    return person_page(request, services, session, person)


def person_page(
    request: Request,
    services: Services,
    session: Session,
    person: str,
    status: int = 200,
    *,
    form: Form | None = None,
    fault: Fault | None = None,
    password: dict[str, Any] | None = None,
) -> Response:
    shown = people.show_person(services, session.actor, person)
    return render(
        request,
        "admin/person.html",
        status,
        person=shown,
        can_answer=any(Permission.ACKNOWLEDGE in GRANTS[AccessRole(one["role"])] for one in shown["access"]),
        units=_units(services, session),
        unit_names={unit["id"]: unit["name"] for unit in people.list_units(services, session.actor)},
        channels=[row for row in channels.list_channels(services, session.actor) if row["kind"] != "inbox"],
        role_words={role.value: role.zh for role in AccessRole},
        role_grants={role.value: [p.zh for p in Permission if p in GRANTS[role]] for role in AccessRole},
        duty_words=dict(admin_view.words()["duty_roles"]),
        words=admin_view.words(),
        account=account_view.show_account(services, session.actor, person),
        oidc=oidc.is_on(services),
        form=form or Form(),
        fault=fault,
        password=password,
    )


def done(
    request: Request,
    services: Services,
    session: Session,
    person: str,
    form: Form,
    change: Callable[[], object],
    text: str,
) -> Response:
    """Make a change to a person and show the page again; a refusal stands above what was typed."""
    try:
        change()
    except HuiyingError as error:
        return person_page(request, services, session, person, error.status, form=form, fault=fault_of(error))
    return back(request, f"/admin/people/{person}", text)


@router.post("/admin/people/{person}", dependencies=[Guarded])
def edit(request: Request, services: House, session: Manager, person: str, form: Typed) -> Response:
    """Change a person; numbers and addresses that were left empty stay as they are, a ticked box takes one away."""

    def change() -> object:
        changes: dict[str, Any] = {name: form.text(name) or None for name in _REACHED_BY}
        changes |= {name: "" for name in ("mobile", "email") if form.ticked(f"drop_{name}")}
        im = {channel: text.strip() for channel, text in form.starting("im.").items() if text.strip()}
        im |= dict.fromkeys(form.starting("drop_im."), "")
        return people.edit_person(services, session.actor, person, **changes, im=im or None)

    return done(request, services, session, person, form, change, words_of(request)("已保存。"))


@router.post("/admin/people/{person}/end", dependencies=[Guarded])
def end(request: Request, services: House, session: Manager, person: str, form: Typed) -> Response:
    """Take a person out of use: tokens and sessions end, shifts ahead are cancelled."""
    return done(
        request, services, session, person, form,
        lambda: people.edit_person(services, session.actor, person, active=False),
        words_of(request)("已停用：令牌和登录立即失效，今后的班次已取消。"),
    )  # fmt: skip


@router.post("/admin/people/{person}/return", dependencies=[Guarded])
def bring_back(request: Request, services: House, session: Manager, person: str, form: Typed) -> Response:
    """Take a person back into use; passwords and shifts have to be given anew."""
    return done(
        request, services, session, person, form,
        lambda: people.edit_person(services, session.actor, person, active=True),
        words_of(request)("已恢复使用。请重新发放一次性密码并排班。"),
    )  # fmt: skip


@router.post("/admin/people/{person}/access", dependencies=[Guarded])
def grant(request: Request, services: House, session: Manager, person: str, form: Typed) -> Response:
    """Give a role for a unit and what lies below it."""
    return done(
        request, services, session, person, form,
        lambda: roster_admin.grant_access(services, session.actor, person, form.text("role"), form.text("unit_id")),
        words_of(request)("已授予权限，从下一次操作起生效。"),
    )  # fmt: skip


@router.post("/admin/people/{person}/access/remove", dependencies=[Guarded])
def revoke(request: Request, services: House, session: Manager, person: str, form: Typed) -> Response:
    """Take a role away."""
    return done(
        request, services, session, person, form,
        lambda: roster_admin.revoke_access(services, session.actor, person, form.text("role"), form.text("unit_id")),
        words_of(request)("已收回权限，立即生效。"),
    )  # fmt: skip


@router.post("/admin/people/{person}/duties", dependencies=[Guarded])
def add_duty(request: Request, services: House, session: Manager, person: str, form: Typed) -> Response:
    """Give a standing duty."""
    return done(
        request, services, session, person, form,
        lambda: roster_admin.add_duty(services, session.actor, person, form.text("role"), form.text("unit_id")),
        words_of(request)("已登记职责。"),
    )  # fmt: skip


@router.post("/admin/people/{person}/duties/remove", dependencies=[Guarded])
def remove_duty(request: Request, services: House, session: Manager, person: str, form: Typed) -> Response:
    """Take a standing duty away."""
    return done(
        request, services, session, person, form,
        lambda: roster_admin.remove_duty(services, session.actor, person, form.text("role"), form.text("unit_id")),
        words_of(request)("已取消职责。"),
    )  # fmt: skip


# -- units -------------------------------------------------------------------------------------------------------------


@router.get("/admin/units")
def units(request: Request, services: House, session: Manager) -> Response:
    """The tree of units."""
    return _units_page(request, services, session)


def _units_page(
    request: Request,
    services: Services,
    session: Session,
    status: int = 200,
    *,
    form: Form | None = None,
    fault: Fault | None = None,
    editing: str = "",
) -> Response:
    listed = people.list_units(services, session.actor)
    below: dict[str, list[dict[str, Any]]] = {}
    known = {unit["id"] for unit in listed}
    for unit in listed:
        parent = unit["parent_id"] if unit["parent_id"] in known else ""
        below.setdefault(parent or "", []).append(unit)
    chosen = next((unit for unit in listed if unit["id"] == editing), None)
    packs = [(pack["id"], f"{pack['title']}（{pack['region']}）") for pack in pack_admin.list_packs(services)]
    return render(
        request,
        "admin/units.html",
        status,
        units=listed,
        packs=packs,
        pack_names=dict(packs),
        below=below,
        chosen=chosen,
        typed={name: form.text(name) for name in ("id", *_OF_UNITS)} | {"active": form.ticked("active")}
        if form
        else None,
        fault=fault,
    )


@router.post("/admin/units", dependencies=[Guarded])
def add_unit(request: Request, services: House, session: Manager, form: Typed) -> Response:
    """A new unit."""
    try:
        people.add_unit(services, session.actor, form.text("id"), **{name: form.text(name) for name in _OF_UNITS})
    except HuiyingError as error:
        return _units_page(request, services, session, error.status, form=form, fault=fault_of(error))
    return back(request, "/admin/units", words_of(request)("已新建单位。"))


@router.get("/admin/units/{unit}")
def edit_unit_form(request: Request, services: House, session: Manager, unit: str) -> Response:
    """The tree with one unit opened for changes."""
    return _units_page(request, services, session, editing=unit)


@router.post("/admin/units/{unit}", dependencies=[Guarded])
def edit_unit(request: Request, services: House, session: Manager, unit: str, form: Typed) -> Response:
    """Change a unit."""
    changes = {name: form.text(name) for name in _OF_UNITS}
    try:
        people.edit_unit(services, session.actor, unit, **changes, active=form.ticked("active"))
    except HuiyingError as error:
        fault = fault_of(error)
        return _units_page(request, services, session, error.status, form=form, fault=fault, editing=unit)
    return back(request, "/admin/units", words_of(request)("已保存。"))
