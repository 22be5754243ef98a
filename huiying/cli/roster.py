"""``huiying unit …``, ``person …``, ``duty …``, ``access …``, ``shift …``: who is who and who is on duty."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from huiying.cli import show
from huiying.cli.session import command, group, moment, needed_moment, pairs, read_file, session

unit = group("单位：新建、修改、列表。")
person = group("人员：新建、修改、列表、一次性密码。")
duty = group("值班：此刻的值班台，以及常设职责。")
access = group("权限：授予、收回、列表（三员分立）。")
shift = group("班次：排班、导入、取消、列表。")

UnitId = Annotated[str, typer.Argument(metavar="单位")]
PersonId = Annotated[str, typer.Argument(metavar="人员")]
Unit = Annotated[str, typer.Option("--unit", help="单位编号。")]


def install(app: typer.Typer) -> None:
    """Add these commands."""
    for name, made in (("unit", unit), ("person", person), ("duty", duty), ("access", access), ("shift", shift)):
        app.add_typer(made, name=name)


# -- units -------------------------------------------------------------------------------------------------------------

_UNIT_COLUMNS: tuple[show.Column, ...] = (
    ("单位", lambda row: row["id"]),
    ("名称", lambda row: row["name"]),
    ("上级", lambda row: row["parent_id"] or ""),
    ("区划代码", lambda row: row["region_code"]),
    ("类型", lambda row: row["kind"]),
    ("部门规则包", lambda row: row["pack_id"]),
    ("在用", lambda row: row["active"]),
)


def _one(columns: tuple[show.Column, ...]) -> Any:
    return lambda row: show.table("", columns, [row])


@command(unit, "add")
def unit_add(
    unit_id: UnitId,
    name: Annotated[str, typer.Option("--name", help="名称。")],
    parent: Annotated[str, typer.Option("--parent", help="上级单位编号。")] = "",
    region: Annotated[str, typer.Option("--region", help="行政区划代码，6 位；决定适用哪些规则包。")] = "",
    kind: Annotated[str, typer.Option("--kind", help="类型，如 政务公开办、网信办。")] = "",
    pack: Annotated[str, typer.Option("--pack", help="只约束本机关的部门规则包。")] = "",
) -> None:
    """新建单位。"""
    from huiying.service.people import add_unit

    view = add_unit(
        session.services,
        session.actor,
        unit_id,
        name=name,
        parent_id=parent,
        region_code=region,
        kind=kind,
        pack_id=pack,
    )
    session.answer(view, _one(_UNIT_COLUMNS))


@command(unit, "edit")
def unit_edit(
    unit_id: UnitId,
    name: Annotated[str | None, typer.Option("--name")] = None,
    parent: Annotated[str | None, typer.Option("--parent")] = None,
    region: Annotated[str | None, typer.Option("--region")] = None,
    kind: Annotated[str | None, typer.Option("--kind")] = None,
    pack: Annotated[str | None, typer.Option("--pack")] = None,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="启用或停用。")] = None,
) -> None:
    """修改单位。"""
    from huiying.service.people import edit_unit

    changes = {
        "name": name,
        "parent_id": parent,
        "region_code": region,
        "kind": kind,
        "pack_id": pack,
        "active": active,
    }
    session.answer(edit_unit(session.services, session.actor, unit_id, **changes), _one(_UNIT_COLUMNS))


@command(unit, "list")
def unit_list() -> None:
    """全部单位。"""
    from huiying.service.people import list_units

    answer = {"units": list_units(session.services, session.actor)}
    session.answer(answer, lambda data: show.table("", _UNIT_COLUMNS, data["units"]))


# -- people ------------------------------------------------------------------------------------------------------------

_PERSON_COLUMNS: tuple[show.Column, ...] = (
    ("人员", lambda row: row["id"]),
    ("姓名", lambda row: row["name"]),
    ("单位", lambda row: row["unit_id"]),
    ("手机", lambda row: row["mobile"]),
    ("邮箱", lambda row: row["email"]),
    ("其他渠道", lambda row: row["im"]),
    ("在用", lambda row: row["active"]),
)
Im = Annotated[list[str] | None, typer.Option("--im", metavar="渠道=用户号", help="在某渠道上的用户号，可多次。")]


@command(person, "add")
def person_add(
    person_id: PersonId,
    name: Annotated[str, typer.Option("--name", help="姓名。")],
    unit_id: Annotated[str, typer.Option("--unit", help="所属单位编号。")],
    mobile: Annotated[str, typer.Option("--mobile", help="手机号码（加密保存）。")] = "",
    email: Annotated[str, typer.Option("--email", help="邮箱（加密保存）。")] = "",
    im: Im = None,
    duties: Annotated[list[str] | None, typer.Option("--duty", help="同时登记常设职责，如 值班员，可多次。")] = None,
    roles: Annotated[list[str] | None, typer.Option("--access", help="同时授予权限，如 duty，可多次。")] = None,
    password: Annotated[bool, typer.Option("--password", help="同时发放一次性密码（只显示一次）。")] = False,
) -> None:
    """新建人员；可同时登记职责、授予权限、发放一次性密码。"""
    from huiying.service.joining import join

    view = join(
        session.services,
        session.actor,
        person_id,
        name=name,
        unit_id=unit_id,
        mobile=mobile,
        email=email,
        im=pairs("im", im or ()),
        duties=duties or (),
        access=roles or (),
        password=password,
    )
    session.answer(view, _shown_person)


def _shown_person(data: dict[str, Any]) -> None:
    show.table("", _PERSON_COLUMNS, [data])
    for name, key in (("职责", "duties"), ("权限", "access")):
        if data.get(key):
            show.line(f"{name}:{'、'.join(held['role_zh'] + '@' + held['unit_id'] for held in data[key])}")
    if data.get("password"):
        _shown_password(data)


def _shown_password(data: dict[str, Any]) -> None:
    show.line(f"一次性密码（只显示这一次，请当面交给本人）：{data['password']}", "bold")
    show.line(
        f"本人在浏览器登录值班台（用户编号 {data.get('person_id') or data['id']}）并随即改为自己的密码，{show.at(data['expires_at'])} 前有效。"
    )
    show.line("只用命令行或接口的，也可换取令牌（huiying token exchange），此密码即作废，不能再登录值班台。")


@command(person, "edit")
def person_edit(
    person_id: PersonId,
    name: Annotated[str | None, typer.Option("--name")] = None,
    unit_id: Annotated[str | None, typer.Option("--unit")] = None,
    mobile: Annotated[str | None, typer.Option("--mobile", help='"" 为清除。')] = None,
    email: Annotated[str | None, typer.Option("--email", help='"" 为清除。')] = None,
    im: Im = None,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="停用时其令牌与未来班次一并失效。")] = None,
) -> None:
    """修改人员。"""
    from huiying.service.people import edit_person

    changes = {
        "name": name,
        "unit_id": unit_id,
        "mobile": mobile,
        "email": email,
        "im": pairs("im", im) if im else None,
        "active": active,
    }
    session.answer(edit_person(session.services, session.actor, person_id, **changes), _one(_PERSON_COLUMNS))


Reveal = Annotated[bool, typer.Option("--reveal", help="显示完整号码（须有拨打权限，记入审计）。")]


@command(person, "list")
def person_list(unit_id: Unit = "", reveal: Reveal = False) -> None:
    """人员名单；号码默认遮盖。"""
    from huiying.service.people import list_people

    answer = {"people": list_people(session.services, session.actor, unit_id, reveal=reveal)}
    session.answer(answer, lambda data: show.table("", _PERSON_COLUMNS, data["people"]))


@command(person, "show")
def person_show(person_id: PersonId, reveal: Reveal = False) -> None:
    """一个人的联系方式、职责与权限。"""
    from huiying.service.people import show_person

    session.answer(show_person(session.services, session.actor, person_id, reveal=reveal), _shown_person)


@command(person, "password")
def person_password(person_id: PersonId) -> None:
    """发放一次性密码；此前未用的随即作废。"""
    from huiying.service.tokens import issue_password

    session.answer(issue_password(session.services, session.actor, person_id), _shown_password)


# -- standing duties and access ----------------------------------------------------------------------------------------

_HOLDING_COLUMNS: tuple[show.Column, ...] = (
    ("单位", lambda row: row["unit_id"]),
    ("职责或权限", lambda row: row["role_zh"]),
    ("人员", lambda row: row["person_id"]),
    ("姓名", lambda row: row.get("person_name", "")),
)
RoleWord = Annotated[str, typer.Argument(metavar="职责", help="如 duty_officer 或 值班员。")]
AccessWord = Annotated[str, typer.Argument(metavar="权限", help="如 duty 或 值班员。")]


@command(duty, "now")
def duty_now() -> None:
    """值班台：此刻最紧急的时钟、未签收的、谁在岗。"""
    from huiying.service import queries

    session.actor.require("read")
    session.answer(queries.duty_now(session.services, session.actor), _shown_desk)


def _shown_desk(data: dict[str, Any]) -> None:
    show.line(f"{show.at(data['now'])}  未结事项 {data['open_incidents']}，已超时 {data['breached']}", "bold")
    if data["dispatch_held"]:
        show.line("注意：通知发送已暂停（huiying dispatch status）。", "bold red")
    show.clocks(data)
    columns: tuple[show.Column, ...] = (
        ("通知号", lambda row: row["notice_no"]),
        ("事项", lambda row: row["incident"]),
        ("消息", lambda row: row["event_zh"]),
        ("人员", lambda row: row["person_name"]),
        ("渠道", lambda row: row["channel_name"]),
        ("送出", lambda row: show.at(row["sent_at"])),
    )
    show.table("未签收", columns, data["unacknowledged"], "没有。")
    waiting: tuple[show.Column, ...] = (
        ("申请", lambda row: row["id"]),
        ("事项", lambda row: row["incident"]),
        ("变更", lambda row: row["command_zh"]),
        ("提出", lambda row: f"{row['requested_by_name']} {show.at(row['requested_at'])}"),
        ("可复核", lambda row: [one["name"] for one in row["may_decide"]] or "尚无可复核的账号"),
    )
    show.table("待第二人复核", waiting, data["requests"], "没有。")
    on: tuple[show.Column, ...] = (
        ("单位", lambda row: row["unit"]),
        ("职责", lambda row: row["role_zh"]),
        ("姓名", lambda row: row["name"]),
        ("至", lambda row: show.at(row["until"]) or "常设"),
    )
    show.table("在岗", on, data["on_duty"], "无人在岗！消息将发给管理员。")


@command(duty, "list")
def duty_list() -> None:
    """常设职责。"""
    from huiying.service.roster_admin import list_duties

    answer = {"duties": list_duties(session.services, session.actor)}
    session.answer(answer, lambda data: show.table("", _HOLDING_COLUMNS, data["duties"]))


@command(duty, "add")
def duty_add(person_id: PersonId, role: RoleWord, unit_id: UnitId) -> None:
    """登记常设职责；同职责的班次优先。"""
    from huiying.service.roster_admin import add_duty

    session.answer(add_duty(session.services, session.actor, person_id, role, unit_id), _one(_HOLDING_COLUMNS))
    show.warn_of_breach_reach()


@command(duty, "remove")
def duty_remove(person_id: PersonId, role: RoleWord, unit_id: UnitId) -> None:
    """取消常设职责。"""
    from huiying.service.roster_admin import remove_duty

    session.answer(remove_duty(session.services, session.actor, person_id, role, unit_id), _one(_HOLDING_COLUMNS))
    show.warn_of_breach_reach()


@command(access, "list")
def access_list() -> None:
    """谁有什么权限。"""
    from huiying.service.roster_admin import list_access

    answer = {"access": list_access(session.services, session.actor)}
    session.answer(answer, lambda data: show.table("", _HOLDING_COLUMNS, data["access"]))


@command(access, "grant")
def access_grant(person_id: PersonId, role: AccessWord, unit_id: UnitId) -> None:
    """授予权限，及于该单位和其下级。"""
    from huiying.service.roster_admin import grant_access

    session.answer(grant_access(session.services, session.actor, person_id, role, unit_id), _one(_HOLDING_COLUMNS))


@command(access, "revoke")
def access_revoke(person_id: PersonId, role: AccessWord, unit_id: UnitId) -> None:
    """收回权限。"""
    from huiying.service.roster_admin import revoke_access

    session.answer(revoke_access(session.services, session.actor, person_id, role, unit_id), _one(_HOLDING_COLUMNS))


@command(access, "roles")
def access_roles() -> None:
    """各种权限能做什么。"""
    from huiying.domain.access import GRANTS, Permission

    answer = {
        "roles": [
            {
                "role": role.value,
                "role_zh": role.zh,
                "permissions": [permission.value for permission in Permission if permission in held],
                "permissions_zh": [permission.zh for permission in Permission if permission in held],
            }
            for role, held in GRANTS.items()
        ]
    }
    columns: tuple[show.Column, ...] = (
        ("权限", lambda row: row["role"]),
        ("", lambda row: row["role_zh"]),
        ("可以", lambda row: row["permissions_zh"]),
    )
    session.answer(answer, lambda data: show.table("", columns, data["roles"]))


# -- shifts ------------------------------------------------------------------------------------------------------------

_SHIFT_COLUMNS: tuple[show.Column, ...] = (
    ("班次", lambda row: row["id"]),
    ("单位", lambda row: row["unit_id"]),
    ("职责", lambda row: row["role_zh"]),
    ("人员", lambda row: row.get("person_name") or row["person_id"]),
    ("开始", lambda row: show.at(row["starts_at"])),
    ("结束", lambda row: show.at(row["ends_at"])),
)


@command(shift, "add")
def shift_add(
    person_id: PersonId,
    role: RoleWord,
    unit_id: UnitId,
    start: Annotated[str, typer.Option("--from", metavar="时间")],
    end: Annotated[str, typer.Option("--to", metavar="时间", help="此刻起由下一班接。")],
) -> None:
    """排一个班。"""
    from huiying.service.roster_admin import ShiftInput, add_shift

    wanted = ShiftInput(unit_id, role, person_id, needed_moment("from", start), needed_moment("to", end))
    session.answer(add_shift(session.services, session.actor, wanted), _one(_SHIFT_COLUMNS))
    show.warn_of_breach_reach()


@command(shift, "list")
def shift_list(
    unit_id: Unit = "",
    since: Annotated[str | None, typer.Option("--since", metavar="时间", help="不写为现在起。")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=5000)] = 200,
) -> None:
    """班次，最近的在前。"""
    from huiying.service.roster_admin import list_shifts

    found = list_shifts(session.services, session.actor, unit_id, since=moment("since", since), limit=limit)
    session.answer({"shifts": found}, lambda data: show.table("", _SHIFT_COLUMNS, data["shifts"], "没有排班。"))


@command(shift, "cancel")
def shift_cancel(shift_id: Annotated[int, typer.Argument(metavar="班次")]) -> None:
    """取消一个班。"""
    from huiying.service.roster_admin import cancel_shift

    session.answer(cancel_shift(session.services, session.actor, shift_id), _one(_SHIFT_COLUMNS))


@command(shift, "import")
def shift_import(file: Annotated[Path, typer.Argument(metavar="CSV 文件")]) -> None:
    """导入排班表（单位,职责,人员,开始,结束；写名称或编号都可以）；有一行不对就全部不导入，逐行写明原因。"""
    from huiying.service.roster_admin import import_shifts

    answer = import_shifts(session.services, session.actor, read_file(file))
    session.answer(answer, lambda data: show.line(f"已导入 {data['imported']} 个班次。"))
