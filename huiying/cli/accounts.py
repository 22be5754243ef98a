"""``huiying token …``: from a one-time password to a personal token."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from huiying.cli import show
from huiying.cli.session import command, group, read_file, session
from huiying.domain.errors import InvalidInput

token = group("令牌:换取、办理、列表、撤销。")


def install(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(token, name="token")


Days = Annotated[int, typer.Option("--days", help="有效天数,最长 365。")]
Scopes = Annotated[list[str] | None, typer.Option("--scope", help="限定范围,如 read,可多次;不写为本人全部权限。")]


@command(token, "exchange")
def exchange(
    person: Annotated[str, typer.Option("--person", help="人员编号。")],
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="从文件第一行读取一次性密码;不写则提示输入。")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="令牌名称,如 值班电脑。")] = "",
    scopes: Scopes = None,
    days: Days = 90,
) -> None:
    """用一次性密码换取个人令牌;令牌只显示一次。"""
    from huiying.service.first_run import forget_password
    from huiying.service.tokens import exchange_password

    password = _password(password_file)
    answer = exchange_password(session.services, person, password, name=name, scopes=scopes or (), days=days)
    forget_password(session.services, password)
    session.answer(answer, _shown_token)


def _password(file: Path | None) -> str:
    if file is not None:
        return read_file(file, 10_000).decode("utf-8", "replace").partition("\n")[0].strip()
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass("一次性密码:").strip()
    given = sys.stdin.readline().strip()
    if not given:
        raise InvalidInput("password", "请输入一次性密码,或用 --password-file 指定文件。")
    return given


def _shown_token(data: dict[str, Any]) -> None:
    show.line("个人令牌(只显示这一次,请妥善保存,不要转交他人):", "bold")
    print(data["token"])
    show.line(f"编号 {data['id']},有效至 {show.at(data['expires_at'])}。使用:export HUIYING_TOKEN=令牌")


@command(token, "create")
def create(
    name: Annotated[str, typer.Option("--name", help="令牌名称,如 看板。")], scopes: Scopes = None, days: Days = 90
) -> None:
    """以现有令牌为本人再办一个,范围不超过现有的。"""
    from huiying.service.tokens import create_token

    answer = create_token(session.services, session.actor, name=name, scopes=scopes or (), days=days)
    session.answer(answer, _shown_token)


_COLUMNS: tuple[show.Column, ...] = (
    ("令牌", lambda row: row["id"]),
    ("人员", lambda row: row["person_id"]),
    ("名称", lambda row: row["name"]),
    ("范围", lambda row: row["scopes"] or "全部"),
    ("办理", lambda row: show.at(row["created_at"])),
    ("到期", lambda row: show.at(row["expires_at"])),
    ("最近使用", lambda row: show.at(row["last_used_at"])),
    ("撤销", lambda row: show.at(row["revoked_at"])),
)


@command(token, "list")
def listing(person: Annotated[str, typer.Option("--person", help="人员编号。")] = "") -> None:
    """令牌列表(不含令牌本身)。"""
    from huiying.service.tokens import list_tokens

    answer = {"tokens": list_tokens(session.services, session.actor, person)}
    session.answer(answer, lambda data: show.table("", _COLUMNS, data["tokens"]))


@command(token, "revoke")
def revoke(token_id: Annotated[str, typer.Argument(metavar="令牌编号")]) -> None:
    """撤销令牌,立即生效。"""
    from huiying.service.tokens import revoke_token

    answer = revoke_token(session.services, session.actor, token_id)
    session.answer(answer, lambda data: show.line(f"已撤销:{data['id']}"))


@command(token, "whoami")
def whoami() -> None:
    """当前以谁的身份操作、能做什么。"""
    from huiying.domain.access import Permission

    actor = session.actor
    answer = {
        "actor": actor.id,
        "person_id": actor.person_id,
        "permissions": sorted(actor.permissions),
        "units": sorted(actor.units),
    }

    def shown(data: dict[str, Any]) -> None:
        who = data["person_id"] or f"{data['actor']}(本机命令行,不能作为第二人)"
        show.line(f"身份:{who}")
        show.line(f"可以:{'、'.join(p.zh for p in Permission if p.value in data['permissions']) or '无'}")
        if data["units"]:
            show.line(f"范围:{'、'.join(data['units'])} 及其下级")

    session.answer(answer, shown)
