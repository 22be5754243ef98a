"""系统管理: the ways out of the house. Secrets go in and never come out; a test says what the other side answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from huiying.domain.access import Permission
from huiying.domain.errors import HuiyingError, InvalidInput, NotFound
from huiying.domain.kinds import Audience, ChannelKind
from huiying.domain.sentences import said
from huiying.service import channels, people
from huiying.service.services import Services
from huiying.web.callers import House
from huiying.web.pages.fields import Fault, Form, Typed, fault_of
from huiying.web.pages.shell import Guarded, Session, allow, back, render, words_of

router = APIRouter(include_in_schema=False)

Keeper = Annotated[Session, allow(Permission.CHANNELS)]
_SETTING, _DROP = "set.", "drop."


@router.get("/admin/channels")
def listing(request: Request, services: House, session: Keeper) -> Response:
    """Every channel with its state."""
    return render(
        request,
        "admin/channels.html",
        channels=channels.list_channels(services, session.actor),
        kinds=[(kind.value, kind.zh) for kind in ChannelKind],
    )


@router.get("/admin/channels/new")
def new(
    request: Request, services: House, session: Keeper, kind: Annotated[str, Query(max_length=32)] = "webhook"
) -> Response:
    """The form for a channel of this kind."""
    return _new_page(request, services, session, kind, Form())


def _new_page(
    request: Request,
    services: Services,
    session: Session,
    kind: str,
    form: Form,
    status: int = 200,
    fault: Fault | None = None,
) -> Response:
    return render(
        request,
        "admin/channel_new.html",
        status,
        kind=kind,
        kind_zh={word.value: word.zh for word in ChannelKind}.get(kind, kind),
        fields=channels.setting_fields(kind),
        form=form,
        fault=fault,
        **_choices(services, session),
    )


def _choices(services: Services, session: Session) -> dict[str, Any]:
    return {
        "units": [(unit["id"], unit["name"]) for unit in people.list_units(services, session.actor) if unit["active"]],
        "audiences": [(audience.value, audience.zh) for audience in Audience],
    }


@router.post("/admin/channels", dependencies=[Guarded])
def add(request: Request, services: House, session: Keeper, form: Typed) -> Response:
    """A new channel; refused with every finding when its settings are wrong."""
    kind = form.text("kind")
    fields = channels.setting_fields(kind)
    try:
        channels.add_channel(
            services,
            session.actor,
            form.text("id"),
            kind=kind,
            name=form.text("name"),
            audience=form.text("audience"),
            unit_id=form.text("unit_id"),
            rank=form.number("rank", 100),
            settings=_settings(fields, form),
        )
    except HuiyingError as error:
        return _new_page(request, services, session, kind, form, error.status, _named(error))
    say = words_of(request)
    return back(request, f"/admin/channels/{form.text('id')}", say("已新建。请用“测试发送”确认对方能收到。"))


def _settings(fields: Iterable[Mapping[str, Any]], form: Form) -> dict[str, Any]:
    """Settings as they were typed; an empty field is left as it is, a ticked box takes it away."""
    found: dict[str, Any] = {}
    for field in fields:
        key = field["key"]
        text = form.text(f"{_SETTING}{key}")
        if form.ticked(f"{_DROP}{key}"):
            found[key] = None
        elif text:
            found[key] = _value(field, text)
    return found


def _value(field: Mapping[str, Any], text: str) -> Any:
    if field["type"] == "number":
        try:
            return int(text)
        except ValueError:
            raise InvalidInput(
                f"settings.{field['key']}",
                said("%(key)s：「%(text)s」不是整数，未保存。", key=field["key"], text=text[:20]),
            ) from None
    if field["type"] in {"texts", "cidrs"}:
        return [part.strip() for part in text.replace(",", " ").replace("、", " ").split()]
    return text


def _named(error: HuiyingError) -> Fault:
    """A refusal with the name of the form's field."""
    fault = fault_of(error)
    return Fault(fault.message, fault.field.replace("settings.", _SETTING), fault.findings)


# -- one channel -------------------------------------------------------------------------------------------------------


@router.get("/admin/channels/{channel}")
def one(request: Request, services: House, session: Keeper, channel: str) -> Response:
    """One channel with its settings, without its secrets."""
    return _page(request, services, session, channel)


def _find(services: Services, session: Session, channel: str) -> dict[str, Any]:
    found = next((row for row in channels.list_channels(services, session.actor) if row["id"] == channel), None)
    if found is None:
        raise NotFound(said("没有编号为「%(channel)s」的渠道。", channel=channel[:64]))
    return found


def _page(
    request: Request,
    services: Services,
    session: Session,
    channel: str,
    status: int = 200,
    *,
    form: Form | None = None,
    fault: Fault | None = None,
    tested: dict[str, Any] | None = None,
) -> Response:
    found = _find(services, session, channel)
    return render(
        request,
        "admin/channel.html",
        status,
        channel=found,
        fields=channels.setting_fields(found["kind"]),
        people=[
            (row["id"], f"{row['name']}（{row['id']}）")
            for row in people.list_people(services, session.actor)
            if row["active"]
        ],
        form=form,
        fault=fault,
        tested=tested,
        **_choices(services, session),
    )


@router.post("/admin/channels/{channel}", dependencies=[Guarded])
def edit(request: Request, services: House, session: Keeper, channel: str, form: Typed) -> Response:
    """Change a channel; secrets that were left empty stay. A change lifts a parking."""
    present = _find(services, session, channel)
    unit_id = form.text("unit_id")
    try:
        channels.edit_channel(
            services,
            session.actor,
            channel,
            name=form.text("name") or None,
            audience=form.text("audience") or None,
            # Unchanged is no change: whoever keeps one unit's channels need not be able to give one to the whole house.
            unit_id=None if unit_id == (present["unit_id"] or "") else unit_id,
            rank=form.number("rank", 100),
            enabled=form.ticked("enabled"),
            settings=_settings(channels.setting_fields(present["kind"]), form) or None,
        )
    except HuiyingError as error:
        return _page(request, services, session, channel, error.status, form=form, fault=_named(error))
    return back(request, f"/admin/channels/{channel}", words_of(request)("已保存；因失败造成的暂停已解除。"))


@router.post("/admin/channels/{channel}/test", dependencies=[Guarded])
def test(request: Request, services: House, session: Keeper, channel: str, form: Typed) -> Response:
    """Send one test message through the real notifier; the answer is shown on this page."""
    _find(services, session, channel)
    try:
        tested = channels.try_channel(services, session.actor, channel, form.text("person_id"))
    except HuiyingError as error:
        return _page(request, services, session, channel, error.status, fault=fault_of(error))
    return _page(request, services, session, channel, tested=tested)
