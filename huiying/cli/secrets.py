"""``huiying secrets …``: the key behind sealed numbers and channel secrets."""

from __future__ import annotations

import typer

from huiying.cli import show
from huiying.cli.session import command, group, session

secrets = group("密钥：更换加密保存的密钥。")


def install(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(secrets, name="secrets")


@secrets.callback()
def about() -> None:
    """密钥：更换加密保存的密钥。"""


@command(secrets, "rotate")
def rotate() -> None:
    """换一把新密钥，重新加密全部号码、邮箱和渠道密钥；中断后再执行一次即可。更换前的备份须另存原 secret.key。"""
    from huiying.service.secret_rotation import rotate_secrets

    session.answer(rotate_secrets(session.services, session.actor), lambda data: show.line(data["message"]))
