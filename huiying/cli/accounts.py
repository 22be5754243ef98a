"""``huiying token …`` and ``huiying account …``: personal tokens, and what people sign in on the desk with."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from huiying.cli import show
from huiying.cli.session import command, group, read_file, session
from huiying.domain.errors import InvalidInput

token = group("令牌：换取、办理、列表、撤销。")
account = group("登录账号：重置密码与动态口令、查看和踢出登录、解锁。")


def install(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(token, name="token")
    app.add_typer(account, name="account")


Days = Annotated[int, typer.Option("--days", help="有效天数，最长 365。")]
Scopes = Annotated[
    list[str] | None,
    typer.Option("--scope", help="限定范围，如 read，可多次；不写为本人全部权限。token 为可再办令牌，须写明。"),
]


@command(token, "exchange")
def exchange(
    person: Annotated[str, typer.Option("--person", help="人员编号。")],
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="从文件第一行读取密码；不写则提示输入。")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="令牌名称，如 值班电脑。")] = "",
    code: Annotated[str, typer.Option("--code", help="动态口令或恢复码；已启用动态口令的账号须提供。")] = "",
    scopes: Scopes = None,
    days: Days = 90,
) -> None:
    """用本人密码（或一次性密码）换取个人令牌；令牌只显示一次。一次性密码用后即作废，不能再用来登录值班台。"""
    from huiying.service.first_run import forget_password
    from huiying.service.tokens import exchange_password

    password = _password(password_file)
    answer = exchange_password(session.services, person, password, name=name, code=code, scopes=scopes or (), days=days)
    forget_password(session.services, password)
    session.answer(answer, _shown_exchanged)


def _shown_exchanged(data: dict[str, Any]) -> None:
    _shown_token(data)
    if data["used_up"]:
        show.line(
            "一次性密码已用掉，不能再用来登录值班台；本人尚未设置密码的，请管理员另发（huiying account password）。"
        )


def _password(file: Path | None) -> str:
    if file is not None:
        return read_file(file, 10_000).decode("utf-8", "replace").partition("\n")[0].strip()
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass("密码：").strip()
    given = sys.stdin.readline().strip()
    if not given:
        raise InvalidInput("password", "请输入密码，或用 --password-file 指定文件。")
    return given


def _shown_token(data: dict[str, Any]) -> None:
    show.line("个人令牌（只显示这一次，请妥善保存，不要转交他人）：", "bold")
    print(data["token"])
    show.line(f"编号 {data['id']}，有效至 {show.at(data['expires_at'])}。使用：export HUIYING_TOKEN=令牌")


@command(token, "create")
def create(
    name: Annotated[str, typer.Option("--name", help="令牌名称，如 看板。")], scopes: Scopes = None, days: Days = 90
) -> None:
    """以现有令牌为本人再办一个，范围不超过现有的；现有令牌须在换取时写明 --scope token。"""
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
    """令牌列表（不含令牌本身）。"""
    from huiying.service.tokens import list_tokens

    answer = {"tokens": list_tokens(session.services, session.actor, person)}
    session.answer(answer, lambda data: show.table("", _COLUMNS, data["tokens"]))


@command(token, "revoke")
def revoke(token_id: Annotated[str, typer.Argument(metavar="令牌编号")]) -> None:
    """撤销令牌，立即生效。"""
    from huiying.service.tokens import revoke_token

    answer = revoke_token(session.services, session.actor, token_id)
    session.answer(answer, lambda data: show.line(f"已撤销：{data['id']}"))


@command(token, "whoami")
def whoami() -> None:
    """当前以谁的身份操作、能做什么。"""
    from huiying.domain.access import Permission

    actor = session.actor
    answer = {
        "actor": actor.id,
        "person_id": actor.person_id,
        "permissions": sorted(actor.permissions),
        "units": sorted(actor.units or ()),
        "everywhere": actor.is_everywhere,
    }

    def shown(data: dict[str, Any]) -> None:
        who = data["person_id"] or f"{data['actor']}（本机命令行，不能作为第二人）"
        show.line(f"身份：{who}")
        show.line(f"可以：{'、'.join(p.zh for p in Permission if p.value in data['permissions']) or '无'}")
        reach = "全部单位" if data["everywhere"] else f"{'、'.join(data['units'])} 及其下级" if data["units"] else "无"
        show.line(f"范围：{reach}")

    session.answer(answer, shown)


# -- signing in on the desk --------------------------------------------------------------------------------------------

_Person = Annotated[str, typer.Argument(metavar="人员编号")]

_ACCOUNT_COLUMNS: tuple[show.Column, ...] = (
    ("人员", lambda row: row["person_id"]),
    ("姓名", lambda row: row["name"]),
    ("密码", lambda row: "已设" if row["has_password"] else "未设"),
    ("动态口令", lambda row: f"已启用，余恢复码 {row['recovery_left']} 个" if row["enrolled"] else "未启用"),
    ("锁定至", lambda row: show.at(row["locked_until"])),
    ("最近登录", lambda row: show.at(row["last_login_at"])),
    ("统一身份", lambda row: row["oidc_subject"]),
)


def _stage_word(row: Mapping[str, Any]) -> str:
    from huiying.domain.signing import Stage

    return "大屏（只读）" if row["kind"] == "wall" else Stage(row["stage"]).zh


_SESSION_COLUMNS: tuple[show.Column, ...] = (
    ("登录", lambda row: row["id"]),
    ("人员", lambda row: f"{row['person_id']} {row['person_name']}"),
    ("状态", _stage_word),
    ("来自", lambda row: row["client"]),
    ("浏览器", lambda row: row["agent"][:40]),
    ("登录时间", lambda row: show.at(row["opened_at"])),
    ("最近活动", lambda row: show.at(row["seen_at"])),
    ("最迟至", lambda row: show.at(row["expires_at"])),
)


@command(account, "list")
def account_list() -> None:
    """各人能否登录：密码、动态口令、锁定、最近登录。"""
    from huiying.service.account_view import list_accounts

    answer = {"accounts": list_accounts(session.services, session.actor)}
    session.answer(answer, lambda data: show.table("", _ACCOUNT_COLUMNS, data["accounts"]))


@command(account, "password")
def account_password(person: _Person) -> None:
    """重置登录密码：原密码作废、退出全部登录，给出一次性密码，本人登录后须设新密码。"""
    from huiying.service.accounts import reset_password

    def shown(data: dict[str, Any]) -> None:
        show.line("一次性密码（只显示这一次，请当面或电话告知本人）：", "bold")
        print(data["password"])
        show.line(f"有效至 {show.at(data['expires_at'])}。原密码已作废，该人员的登录已全部退出。")

    session.answer(reset_password(session.services, session.actor, person), shown)


@command(account, "reset-totp")
def account_reset_totp(person: _Person) -> None:
    """重置动态口令（手机丢失或更换）：原口令与恢复码作废，退出全部登录。"""
    from huiying.service.accounts import reset_second_factor

    def shown(data: dict[str, Any]) -> None:
        was = "已重置" if data["was_enrolled"] else "原未启用"
        show.line(f"{data['person_id']} 的动态口令{was}，已退出 {data['ended']} 个登录。")

    session.answer(reset_second_factor(session.services, session.actor, person), shown)


@command(account, "sessions")
def account_sessions(person: Annotated[str, typer.Option("--person", help="人员编号；不写为全部。")] = "") -> None:
    """当前的登录：谁、在哪里、最近活动。"""
    from huiying.domain.access import Permission
    from huiying.service.sessions import list_sessions

    everybody = "*" if Permission.PEOPLE in session.actor.permissions else ""
    answer = {"sessions": list_sessions(session.services, session.actor, person or everybody)}
    session.answer(answer, lambda data: show.table("", _SESSION_COLUMNS, data["sessions"]))


@command(account, "revoke")
def account_revoke(session_id: Annotated[str, typer.Argument(metavar="登录编号")]) -> None:
    """踢出一个登录，立即生效。"""
    from huiying.service.sessions import revoke as revoke_session

    answer = revoke_session(session.services, session.actor, session_id)
    session.answer(answer, lambda data: show.line(f"已踢出：{data['id']}（{data['person_id']}）"))


@command(account, "unlock")
def account_unlock(person: _Person) -> None:
    """解除因连续输错造成的锁定。"""
    from huiying.service.accounts import unlock_account

    def shown(data: dict[str, Any]) -> None:
        show.line(f"{data['person_id']}：{'已解除锁定' if data['had_failures'] else '没有输错记录，无需解锁'}。")

    session.answer(unlock_account(session.services, session.actor, person), shown)


@command(account, "subject")
def account_subject(
    person: _Person, subject: Annotated[str, typer.Argument(metavar="统一身份标识", help="写空串 '' 为取消对应。")]
) -> None:
    """登记人员在统一身份认证中的标识；只认登记过的，不自动建账号。"""
    from huiying.service.accounts import set_subject

    answer = set_subject(session.services, session.actor, person, subject)
    session.answer(answer, lambda data: show.line(f"{data['person_id']} 对应：{data['oidc_subject'] or '(无)'}"))
