"""事件详情: one incident with its timeline, clocks, facts and history, and a form for everything that may be done."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from huiying.domain.access import Permission
from huiying.domain.errors import Conflict, Forbidden, HuiyingError, InvalidInput, NeedsSecondPerson, NotFound
from huiying.domain.kinds import Attribution, ContentKind, GradeBasis, PublicationKind, Review, Severity
from huiying.domain.lanes import Mark, Span, lay_out
from huiying.domain.remaining import urgency
from huiying.domain.sentences import value_told
from huiying.service import contacts, desk, fact_words, incident_desk, policies, queries
from huiying.service.fact_words import stage_zh
from huiying.service.services import Services
from huiying.web.callers import House
from huiying.web.pages import incident_actions as actions
from huiying.web.pages.incident_forms import Fields, Form, errors_of
from huiying.web.pages.shell import Guarded, Session, allow, back, page_headers, render
from huiying.web.pages.shown_times import when
from huiying.web.pages.words import Say, words_of

router = APIRouter(include_in_schema=False)

Reader = Annotated[Session, allow(Permission.READ)]


def _(text: str) -> str:
    """Mark a text for the catalogue."""
    return text


No = Annotated[str, Path(max_length=20)]
_CHANGED = _(
    "您打开页面之后事项已有变更（第 {seen} 版 → 第 {now} 版），本次未提交。下面是现在的情形，您填写的内容已保留，请核对后再提交。"
)
#: The stages that the shipped packs know; an office's own packs may name others.
STAGES = (
    _("阶段：收集"),
    _("阶段：会商"),
    _("阶段：研判"),
    _("阶段：回应"),
    _("阶段：评估"),
    _("阶段：监测"),
    _("阶段：处置"),
    _("阶段：回应处置"),
)
#: How a reminder went, for the timeline.
HAPPENED = (_("已发"), _("未发（无需或未送达）"), _("待发"))
#: What the timeline shows of the history, by our words for the entries.
_MARKS = {
    "registered": _("经过：登记"),
    "grading": _("经过：定级"),
    "merged": _("经过：并入"),
    "absorbed": _("经过：并案"),
    "voided": _("经过：撤销"),
    "waived": _("经过：不予回应"),
    "handed_over": _("经过：移交"),
    "closed": _("经过：办结"),
    "reopened_as": _("经过：重开"),
    "acknowledged": _("经过：签收"),
}


@router.get("/incidents/{no}")
def show(
    request: Request,
    services: House,
    no: No,
    session: Reader,
    unfolded: Annotated[str, Query(alias="open", max_length=40)] = "",
) -> Response:
    """The screen; looking writes nothing. ``open`` names the form that somebody has come for."""
    return _page(request, services, session, no, unfolded=unfolded)


@router.get("/incidents/{no}/news")
def news(
    request: Request, services: House, no: No, session: Reader, seen: Annotated[int, Query(ge=0, le=2**53)] = 0
) -> Response:
    """What has been done since a page was made; nothing where that is nothing. Asked for by the page itself."""
    found = desk.news(services, session.actor, no, seen, words_of(request))
    if not found:
        return Response(status_code=204, headers=page_headers())
    return render(request, "incidents/news.html", no=no, events=found)


def _carry_out(
    request: Request, services: Services, session: Session, no: str, action: actions.Action, fields: Fields
) -> Response:
    """Send one form: done and back, kept for a second person and back, or the form again with what is wrong."""
    try:
        if action.decisive:
            _refuse_stale(services, session, no, fields)
        view, said = action.perform(services, session.actor, no, fields)
    except NeedsSecondPerson as error:
        return back(request, f"/incidents/{no}#requests", error.message, "warn")
    except (NotFound, Forbidden):
        raise
    except InvalidInput as error:
        return _page(request, services, session, no, 422, opened=action.name, fields=fields, errors=errors_of(error))
    except HuiyingError as error:
        if error.status >= 500:
            raise
        said_no = {"": error.message}
        return _page(request, services, session, no, error.status, opened=action.name, fields=fields, errors=said_no)
    loud, place = action.told(view)
    return back(request, place, said, loud)


def _refuse_stale(services: Services, session: Session, no: str, fields: Fields) -> None:
    view = queries.view_incident(services, no, session.actor)
    if actions.stale(fields, view):
        raise Conflict(fields.say(_CHANGED).format(seen=fields.text("version"), now=view["version"]))


def _add_routes(action: actions.Action) -> None:
    """A POST for the form, and a GET for whoever reloads or comes back to its address."""
    holder = allow(action.permission)

    def send(request: Request, services: House, no: No, fields: Form, session: Session = holder) -> Response:
        return _carry_out(request, services, session, no, action, fields)

    def looked_at(request: Request, no: No, session: Reader) -> Response:
        _ = session
        return back(request, f"/incidents/{no}?open={action.name}#act-{action.name}")

    path = f"/incidents/{{no}}/{action.name}"
    router.add_api_route(path, send, methods=["POST"], name=action.name, dependencies=[Guarded])
    router.add_api_route(path, looked_at, methods=["GET"], name=f"{action.name}_form")


for _action in actions.ACTIONS.values():
    _add_routes(_action)


# -- the page ----------------------------------------------------------------------------------------------------------


def _page(
    request: Request,
    services: Services,
    session: Session,
    no: str,
    status: int = 200,
    *,
    opened: str = "",
    unfolded: str = "",
    fields: Fields | None = None,
    errors: dict[str, str] | None = None,
) -> Response:
    case = incident_desk.case(services, session.actor, no, words_of(request))
    view, say = case["view"], words_of(request)
    may = {
        name for name, action in actions.ACTIONS.items() if actions.offered(action, view, session.actor, leads=case["leads"])
    }  # fmt: skip
    clocks = [{**clock, "chip": _chip(clock)} for clock in sorted(view["clocks"], key=_urgency)]
    requests = incident_desk.with_effects(services, session.actor, view["requests"], case["names"], leads=case["leads"])
    return render(
        request,
        "incidents/detail.html",
        status,
        case=case,
        view=view,
        clocks=clocks,
        urgent=next((c for c in clocks if c["binding"] and c["remaining_seconds"] is not None), None),
        chart=lay_out(
            datetime.fromisoformat(case["now"]),
            _spans(clocks, case["now"], say),
            case["ticks"],
            _marks(case, say),
            say("现在"),
        ),
        strict_first=Permission.AUDIT in session.actor.permissions,
        stages=_stages(view, say),
        may=may,
        actions=actions.ACTIONS,
        opened=opened,
        unfolded=unfolded,
        typed=fields.typed() if fields else {},
        errors=errors or {},
        key=(fields.text("key") if fields else "") or secrets.token_hex(16),
        requests=requests,
        who=lambda author: value_told(incident_desk.who(author, case["names"]), say),
        policies=policies.list_policies(services) if "replan" in may else [],
        contacts=contacts.of_incident(services, session.actor, no) if _may_call(session) else None,
        words={
            "severities": list(Severity),
            "bases": list(GradeBasis),
            "publications": list(PublicationKind),
            "contents": list(ContentKind),
            "reviews": list(Review),
            "attributions": list(Attribution),
            "times": actions.correctable(),
        },
        unit_names={unit["id"]: unit["name"] for unit in case["units"]},
    )


def _may_call(session: Session) -> bool:
    return Permission.CALL in session.actor.permissions


def _urgency(clock: dict[str, Any]) -> tuple[bool, bool, str]:
    """Open before ended, binding before what another document asks as well, then by due time."""
    return (clock["remaining_seconds"] is None, not clock["binding"], clock["due_at"])


def _chip(clock: dict[str, Any]) -> str:
    """The look of a clock's state."""
    if clock["remaining_seconds"] is not None:
        return str(urgency(clock["remaining_seconds"]))
    return {"satisfied": "met", "satisfied_late": "late"}.get(clock["state"], "off")


def _spans(clocks: list[dict[str, Any]], now: str, say: Say) -> list[Span]:
    """A lane for each clock; one that another document asks for with the very same due time needs no second lane."""
    binding = {(clock["rule"], clock["due_at"]) for clock in clocks if clock["binding"]}
    return [
        _span(clock, now, say) for clock in clocks if clock["binding"] or (clock["rule"], clock["due_at"]) not in binding
    ]  # fmt: skip


def _span(clock: dict[str, Any], now: str, say: Say) -> Span:
    name, state = str(clock["name"]), str(clock["state_zh"])
    start, due = datetime.fromisoformat(clock["started_at"]), datetime.fromisoformat(clock["due_at"])
    end = clock["fulfilled_at"] or clock["ended_at"]
    return Span(
        key=clock["key"],
        name=say(name),
        start=start,
        due=due,
        state=clock["state"],
        is_open=clock["remaining_seconds"] is not None,
        text=f"{when(start, now)} → {when(due, now)} {say(state)}",
        end=datetime.fromisoformat(end) if end else None,
        internal=clock["status"] == "internal",
        binding=clock["binding"],
    )


def _marks(case: dict[str, Any], say: Say) -> list[Mark]:
    view = case["view"]
    released = [(str(p["kind_zh"]), str(p["published_at"])) for p in view["publications"]]
    found = [Mark(datetime.fromisoformat(at), "release", f"{say(kind)} {at[11:16]}") for kind, at in released]
    entered = [(str(log["stage"]), str(log["entered_at"])) for log in view["stages"]]
    found += [Mark(datetime.fromisoformat(at), "stage", stage_zh(stage, say)) for stage, at in entered]
    found += [
        Mark(datetime.fromisoformat(item["at"]), item["what"], say(word).removeprefix(fact_words.TOLD))
        for item in case["items"]
        if item["kind"] == "fact" and (word := _MARKS.get(item["what"]))
    ]
    return found


def _stages(view: dict[str, Any], say: Say) -> list[dict[str, Any]]:
    """The stages of the packs in their order, then whatever else was entered; each with when."""
    names = list(dict.fromkeys(stage for pack in _richest_first(view["packs"]) for stage in pack["stages"]))
    entered = {log["stage"]: log for log in view["stages"]}
    present = next((log["stage"] for log in view["stages"] if log["left_at"] is None), "")
    names += [stage for stage in entered if stage not in names]
    return [
        {"name": name, "text": stage_zh(name, say), "log": entered.get(name), "state": "now" if name == present else "done" if name in entered else ""}
        for name in names
    ]  # fmt: skip


def _richest_first(packs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Local packs refine the national one; the pack with stages that is most local gives them, else the national."""
    with_stages = [pack for pack in packs if pack["stages"]]
    local = [pack for pack in with_stages if not pack["id"].startswith("cn-gbf")]
    return (local or with_stages)[:1]
