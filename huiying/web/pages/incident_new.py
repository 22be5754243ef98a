"""登记事件: the form, the preview of the clocks it would start, look-alikes, and the one effect of sending it."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response

from huiying.domain.access import Permission
from huiying.domain.competence import Competent, competent
from huiying.domain.errors import HuiyingError, InvalidInput
from huiying.domain.freetext import BODY_LIMIT, NOTICE_TITLE_LIMIT, TITLE_LIMIT
from huiying.domain.kinds import Severity
from huiying.service import incident_desk, incidents, queries
from huiying.service.services import Services
from huiying.web.callers import House
from huiying.web.pages.incident_forms import (
    STATED,
    Fields,
    Form,
    InvalidForm,
    errors_of,
    grade_of,
    register_request,
    times_of,
    transfer_of,
)
from huiying.web.pages.shell import Guarded, Session, allow, back, render
from huiying.web.pages.shown_times import when

router = APIRouter(include_in_schema=False)

Registrar = Annotated[Session, allow(Permission.REGISTER)]

_FIELD_OF = {"severity": "grade", "kind": "grade", "notice_no": "transfer_no", "received_at": "transfer_received"}


@router.get("/incidents/new")
def blank(request: Request, services: House, session: Registrar) -> Response:
    """The empty form; looking writes nothing."""
    return _form(request, services, session, {})


@router.post("/incidents/preview", dependencies=[Guarded])
def preview(request: Request, services: House, fields: Form, session: Registrar) -> Response:
    """What would start; as a part for the script, as the whole form for browsers without one."""
    shown = preview_of(services, session, fields)
    if request.headers.get("hx-request"):
        return render(request, "incidents/preview.html", preview=shown, scripted=True)
    return _form(request, services, session, fields.typed(), key=fields.text("key"), preview=shown)


@router.post("/incidents", dependencies=[Guarded])
def register(request: Request, services: House, fields: Form, session: Registrar) -> Response:
    """Register; the key of the form lets it happen once however often it is sent."""
    try:
        wanted = register_request(fields)
        view = incidents.register(services, session.actor, wanted, fields.text("key"))
    except InvalidInput as error:
        return _refused(request, services, session, fields, errors_of(error), 422)
    except HuiyingError as error:
        if error.status >= 500:
            raise
        return _refused(request, services, session, fields, {"": error.message}, error.status)
    return back(request, f"/incidents/{view['no']}", _started(fields, view))


def _refused(
    request: Request, services: Services, session: Session, fields: Fields, errors: dict[str, str], status: int
) -> Response:
    named = {_FIELD_OF.get(name, name): sentence for name, sentence in errors.items()}
    try:
        shown = preview_of(services, session, fields)
    except HuiyingError:
        shown = None  # the errors above the form already say what is wrong
    return _form(
        request, services, session, fields.typed(), status, key=fields.text("key"), errors=named, preview=shown
    )


def _started(fields: Fields, view: dict[str, Any]) -> str:
    """What to say after registering: the number and the clocks that run."""
    say = fields.say
    clocks = sorted((clock for clock in view["clocks"] if clock["binding"]), key=lambda clock: str(clock["due_at"]))
    if not clocks:
        return say("已登记 {no}。没有时钟启动：没有适用的时限条款。").format(no=view["no"])
    one = say("{name}（{due} 止）")
    found = [(str(clock["name"]), when(clock["due_at"], view["now"])) for clock in clocks]
    names = say("、").join(one.format(name=say(name), due=due) for name, due in found)
    sentence = say("已登记 {no}，启动 {count} 个时钟：{names}。")
    return sentence.format(no=view["no"], count=len(clocks), names=names)


def _form(
    request: Request,
    services: Services,
    session: Session,
    typed: dict[str, Any],
    status: int = 200,
    *,
    key: str = "",
    errors: dict[str, str] | None = None,
    preview: dict[str, Any] | None = None,
) -> Response:
    units = incident_desk.units_for_registering(services, session.actor)
    if "unit_id" not in typed:
        home = session.unit_id if any(unit["id"] == session.unit_id for unit in units) else ""
        typed = {**typed, "unit_id": home or (units[0]["id"] if len(units) == 1 else "")}
    return render(
        request,
        "incidents/new.html",
        status,
        opened="new",
        typed=typed,
        errors=errors or {},
        units=units,
        key=key or secrets.token_hex(16),
        severities=list(Severity),
        times=[(str(kind), kind.zh) for kind in STATED],
        limits={"title": TITLE_LIMIT, "body": BODY_LIMIT, "notice_title": NOTICE_TITLE_LIMIT},
        preview=preview,
        scripted=False,
    )


def _step(reminder: dict[str, Any], fields: Fields) -> str:
    """Which of the clock's messages it is, in the reader's language."""
    kind = str(reminder["kind_zh"])
    return queries.step_of(reminder["kind"], reminder["step"], fields.say) or fields.say(kind)


def _competent(services: Services, session: Session, fields: Fields) -> tuple[Competent, ...]:
    """Units that may be in charge; nothing where the chosen one is the likeliest of them."""
    units = incident_desk.units_for_registering(services, session.actor)
    found = competent(fields.text("title"), ((unit["id"], unit["name"]) for unit in units))
    return () if found and found[0].unit_id == fields.text("unit_id") else found


# -- the preview -------------------------------------------------------------------------------------------------------


def preview_of(services: Services, session: Session, fields: Fields) -> dict[str, Any]:
    """The clocks, reminders and look-alikes of what has been typed so far; half a form gives half an answer."""
    reading = Fields(fields.pairs, fields.say)
    kind, severity = grade_of(reading)
    times, transfer = times_of(reading), transfer_of(reading)
    alike = incident_desk.look_alikes(
        services,
        session.actor,
        fields.text("title"),
        fields.text("region_code"),
        f"{fields.text('url')} {fields.text('body')}",
    )
    found: dict[str, Any] = {
        "errors": reading.errors,
        "alike": alike,
        "competent": _competent(services, session, fields),
        "clocks": [],
        "untimed": [],
        "provisional": False,
    }
    found |= {"transfer": transfer, "late_exposure": fields.flag("late_exposure"), "said": False}
    if "grade" in reading.errors:
        return found
    try:
        said = queries.preview(
            services,
            (),
            kind,
            severity,
            times,
            None,
            fields.text("region_code"),
            fields.text("unit_id"),
        )
    except InvalidInput as error:
        return {**found, "errors": {**reading.errors, **errors_of(InvalidForm(errors_of(error)))}}
    clocks = sorted(said["clocks"], key=lambda clock: (not clock["binding"], clock["due_at"]))
    tightest = next((clock["key"] for clock in clocks if clock["binding"]), "")
    for clock in clocks:
        clock["tightest"] = clock["key"] == tightest
        clock["reminders"] = [{**reminder, "step_zh": _step(reminder, fields)} for reminder in clock["reminders"]]
    return {
        **found,
        "said": True,
        "clocks": clocks,
        "untimed": said["untimed"],
        "provisional": said["provisional"],
    }
