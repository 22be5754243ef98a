"""系统管理, first page: the state of the installation, and holding and releasing what leaves it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response

from huiying.domain.access import Permission
from huiying.domain.errors import HuiyingError, InvalidInput
from huiying.service import admin_view, dispatch, held
from huiying.service.services import Services
from huiying.web.callers import House
from huiying.web.pages.fields import Form, Typed, fault_of
from huiying.web.pages.shell import Guarded, Session, allow, back, render, words_of

router = APIRouter(include_in_schema=False)


def _(text: str) -> str:
    """Mark a text for the catalogue; the template translates it."""
    return text


#: Where a finding is seen to: address, what the screen is called, who has it.
PLACES = {
    "calendar": ("/rules/calendar#import", _("工作日历"), Permission.RULES),
    "dispatch": ("/admin/dispatch", _("通知放行"), Permission.OPERATE),
    "channels": ("/admin/channels", _("通知渠道"), Permission.CHANNELS),
    "people": ("/admin/people", _("人员与权限"), Permission.PEOPLE),
    "roster": ("/roster", _("排班"), Permission.ROSTER),
    "runs": ("/admin/runs?state=failed", _("运行记录"), Permission.OPERATE),
}

Operator = Annotated[Session, allow(Permission.OPERATE)]


@router.get("/admin")
def overview(request: Request, services: House, session: Operator) -> Response:
    """Findings, signs of life, backlog, disk and backups."""
    held = session.actor.permissions
    places = {name: (url, word) for name, (url, word, needed) in PLACES.items() if needed.value in held}
    return render(request, "admin/overview.html", state=admin_view.overview(services, session.actor), places=places)


# -- dispatch ----------------------------------------------------------------------------------------------------------


@router.get("/admin/dispatch")
def dispatch_state(request: Request, services: House, session: Operator) -> Response:
    """Whether anything may leave, and what waits."""
    _ = session
    return _dispatch_page(request, services, Form())


def _dispatch_page(request: Request, services: Services, form: Form, status: int = 200, fault: Any = None) -> Response:
    return render(request, "admin/dispatch.html", status, state=dispatch.status(services), form=form, fault=fault)


@router.post("/admin/dispatch/hold", dependencies=[Guarded])
def hold(request: Request, services: House, session: Operator, form: Typed) -> Response:
    """Let nothing leave from now on."""
    try:
        dispatch.hold(services, session.actor, form.text("reason"))
    except HuiyingError as error:
        return _dispatch_page(request, services, form, error.status, fault_of(error))
    say = words_of(request)
    return back(request, "/admin/dispatch", say("通知发送已暂停。时钟照常走，超时照常记录，通知留待放行。"), "warn")


@router.post("/admin/dispatch/release", dependencies=[Guarded])
def release(request: Request, services: House, session: Operator, form: Typed) -> Response:
    """Let dispatch go again, after saying up to when the former system had sent."""
    try:
        sent_until = _sent_until(services, form)
        done = held.confirm_dispatch(services.store, session.actor, sent_until=sent_until, note=form.text("note")[:500])
    except HuiyingError as error:
        return _dispatch_page(request, services, form, error.status, fault_of(error))
    return back(request, "/admin/dispatch", done.message)


def _sent_until(services: Services, form: Form) -> Any:
    choice = form.text("sent")
    if choice == "nothing":
        return None
    if choice == "everything":
        return services.store.now()
    at = form.moment("sent_until") if choice == "until" else None
    if at is None:
        raise InvalidInput("sent_until", "请选择原系统发送到了什么时候，通知发送仍为暂停状态。")
    return at
