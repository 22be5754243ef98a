"""``huiying channel …``: the ways out of the house, and trying them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from huiying.cli import show
from huiying.cli.session import command, group, session, settings_of
from huiying.domain.errors import Refused
from huiying.domain.kinds import ChannelKind

channel = group("通知渠道：新建、修改、列表、测试。")


def install(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(channel, name="channel")


ChannelId = Annotated[str, typer.Argument(metavar="渠道")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="名称=内容",
        help="设置项，可多次；密钥写成引用 env:变量名 或 file:路径，直接写的会加密保存；内容为空则删去该项。",
    ),
]
_COLUMNS: tuple[show.Column, ...] = (
    ("渠道", lambda row: row["id"]),
    ("名称", lambda row: row["name"]),
    ("种类", lambda row: row["kind_zh"]),
    ("类别", lambda row: row["audience_zh"]),
    ("单位", lambda row: row["unit_id"] or "全部"),
    ("优先级", lambda row: row["rank"]),
    ("启用", lambda row: row["enabled"]),
    ("设置", lambda row: [f"{key}={value}" for key, value in {**row["settings"], **row["secrets"]}.items()]),
    ("停用至", lambda row: f"{show.at(row['parked_until'])} {row['parked_reason']}".strip()),
)


def _one(row: dict[str, Any]) -> None:
    show.table("", _COLUMNS, [row])


@command(channel, "add")
def add(
    channel_id: ChannelId,
    kind: Annotated[ChannelKind, typer.Option("--kind", help="种类。")],
    name: Annotated[str, typer.Option("--name")] = "",
    audience: Annotated[
        str, typer.Option("--audience", help="group 工作群，personal 个人渠道；只有 webhook 可选。")
    ] = "",
    unit: Annotated[str, typer.Option("--unit", help="只服务于该单位及其下级。")] = "",
    rank: Annotated[int, typer.Option("--rank", help="优先级，小的先用。")] = 100,
    settings: Settings = None,
) -> None:
    """新建渠道；建好后请用 channel test 试发。"""
    from huiying.service.channels import add_channel

    view = add_channel(
        session.services,
        session.actor,
        channel_id,
        kind=kind.value,
        name=name,
        audience=audience,
        unit_id=unit,
        rank=rank,
        settings=settings_of(settings or ()),
    )
    session.answer(view, _one)
    show.warn_of_breach_reach()


@command(channel, "edit")
def edit(
    channel_id: ChannelId,
    name: Annotated[str | None, typer.Option("--name")] = None,
    audience: Annotated[str | None, typer.Option("--audience")] = None,
    unit: Annotated[str | None, typer.Option("--unit", help='"" 为服务于全部单位。')] = None,
    rank: Annotated[int | None, typer.Option("--rank")] = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="启用或停用。")] = None,
    settings: Settings = None,
) -> None:
    """修改渠道；修改后解除因失败造成的暂停。"""
    from huiying.service.channels import edit_channel

    changes = {
        "name": name,
        "audience": audience,
        "unit_id": unit,
        "rank": rank,
        "enabled": enabled,
        "settings": settings_of(settings) if settings else None,
    }
    session.answer(edit_channel(session.services, session.actor, channel_id, **changes), _one)
    show.warn_of_breach_reach()


@command(channel, "list")
def listing() -> None:
    """全部渠道；密钥不显示。"""
    from huiying.service.channels import list_channels

    answer = {"channels": list_channels(session.services, session.actor)}
    session.answer(answer, lambda data: show.table("", _COLUMNS, data["channels"]))


@command(channel, "test")
def try_it(
    channel_id: ChannelId,
    person: Annotated[str, typer.Option("--person", help="个人渠道的收件人。")] = "",
) -> None:
    """真实发送一条测试消息，并写明对方的答复。"""
    from huiying.service.channels import try_channel

    answer = try_channel(session.services, session.actor, channel_id, person)
    if not answer["ok"]:
        raise Refused(f"测试未成功：{answer['message']}", **{k: v for k, v in answer.items() if k != "message"})
    session.answer(
        answer,
        lambda data: show.line(f"测试成功（{data['seconds']} 秒，通知号 {data['notice_no']}）：{data['message']}"),
    )
