"""规则与日历: what the documents demand clause by clause, what differs between versions, an office's own packs."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from huiying.domain.access import Permission
from huiying.domain.errors import HuiyingError
from huiying.domain.plan import SHANGHAI
from huiying.service import pack_admin, queries
from huiying.service.services import Services
from huiying.web.callers import House
from huiying.web.pages.fields import Form, Typed, fault_of, typed_text
from huiying.web.pages.shell import Guarded, Session, Viewer, allow, back, render, words_of
from huiying.web.pages.uploads import upload_page

router = APIRouter(include_in_schema=False)
_upload_page = partial(upload_page, template="rules/upload.html", field="pack")

Keeper = Annotated[Session, allow(Permission.RULES)]
Year = Annotated[int, Query(ge=0, le=2199)]
Version = Annotated[str, Query(max_length=64)]


def may_change(session: Session) -> bool:
    """Whether the forms that change rules are shown; the use cases decide again."""
    return Permission.RULES in session.actor.permissions


@router.get("/rules")
def packs(request: Request, services: House, session: Viewer) -> Response:
    """All packs in use."""
    return render(request, "rules/packs.html", packs=pack_admin.list_packs(services), may_change=may_change(session))


# -- taking in an own pack; stands before the addresses of packs ----------------------------------------------------------


@router.get("/rules/upload")
def upload(request: Request, session: Keeper) -> Response:
    """The form for an office's own pack."""
    _ = session
    return _upload_page(request, Form())


@router.post("/rules/upload", dependencies=[Guarded])
def uploaded(request: Request, services: House, session: Keeper, form: Typed) -> Response:
    """Check a pack, or take it in; of a bad one nothing is kept but the text in the form."""
    text, name, looked = form.values.get("pack_text", ""), "", None
    try:
        name, data = form.document("pack", words_of(request)("粘贴的内容.yaml"))
        text = typed_text(data)
        looked = pack_admin.check_pack(services, data, name)
        if form.text("do") == "import" and looked["ok"]:
            made = pack_admin.import_pack(services, session.actor, data, name)
            say = words_of(request)
            done = (
                say("已采用，此后登记的事项按此执行；在办事项沿用原版本。")
                if made["changed"]
                else say("与在用版本相同，内容未变。")
            )
            return back(request, f"/rules/{made['pack']}", done)
    except HuiyingError as error:
        return _upload_page(request, form, status=error.status, text=text, name=name, fault=fault_of(error))
    return _upload_page(request, form, status=200 if looked["ok"] else 422, text=text, name=name, looked=looked)


# -- one pack ----------------------------------------------------------------------------------------------------------


@router.get("/rules/{pack}")
def one(
    request: Request, services: House, session: Viewer, pack: str, version: Version = "", year: Year = 0
) -> Response:
    """A pack clause by clause, with the due dates of its other duties in a year."""
    return _pack_page(request, services, session, pack, version=version, year=year)


def _pack_page(
    request: Request,
    services: Services,
    session: Session,
    pack: str,
    status: int = 200,
    *,
    version: str = "",
    year: int = 0,
    fault: Any = None,
) -> Response:
    shown = pack_admin.show_pack(services, pack, version)
    wanted = year or shown["year"] or services.store.now().astimezone(SHANGHAI).year
    current = next((row["version"] for row in shown["versions"] if row["current"]), "")
    duties = queries.obligations(services, pack, wanted)["obligations"] if current else []
    return render(
        request,
        "rules/pack.html",
        status,
        pack=shown,
        current=current,
        year=wanted,
        duties=duties,
        fault=fault,
        may_change=may_change(session),
    )


@router.get("/rules/{pack}/diff")
def diff(
    request: Request, services: House, session: Viewer, pack: str, before: Version = "", after: Version = ""
) -> Response:
    """Two versions side by side; without a choice the present one and the one before it."""
    _ = session
    versions = pack_admin.show_pack(services, pack)["versions"]
    newest = next((row["version"] for row in versions if row["current"]), versions[0]["version"])
    older = next((row["version"] for row in versions if row["version"] != newest), newest)
    compared = pack_admin.compare(services, pack, before or older, after or newest)
    return render(request, "rules/diff.html", pack=pack_admin.show_pack(services, pack), compared=compared)


@router.post("/rules/{pack}/confirm", dependencies=[Guarded])
def confirm(request: Request, services: House, session: Keeper, pack: str) -> Response:
    """A yearly document goes on holding this year."""
    try:
        done = pack_admin.confirm_pack(services, session.actor, pack)
    except HuiyingError as error:
        return _pack_page(request, services, session, pack, error.status, fault=fault_of(error))
    say = words_of(request)
    return back(request, f"/rules/{pack}", f"{say('已确认沿用')} {done['year']}")


@router.post("/rules/{pack}/reset", dependencies=[Guarded])
def reset(request: Request, services: House, session: Keeper, pack: str) -> Response:
    """Back to the pack that came with the product."""
    try:
        done = pack_admin.reset_pack(services, session.actor, pack)
    except HuiyingError as error:
        return _pack_page(request, services, session, pack, error.status, fault=fault_of(error))
    say = words_of(request)
    if done["shipped"]:
        return back(request, f"/rules/{pack}", say("已恢复系统自带的版本。"))
    return back(request, "/rules", say("已停用该规则包；在办事项沿用原版本。"))
