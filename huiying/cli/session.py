"""One call of the command line: who acts, on which installation, and how answers are written.

Without a token the actor is the local command line of the system user; with one it is that person. Everything heavy is
loaded when it is first needed, so that ``--help`` answers at once.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import pwd
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import typer

from huiying.cli.wording import ChineseCommand, ChineseGroup
from huiying.domain.errors import InvalidInput

if TYPE_CHECKING:
    from datetime import date, datetime

    from rich.console import Console

    from config.settings import Settings
    from huiying.service.actor import Actor
    from huiying.service.services import Services

F = TypeVar("F", bound=Callable[..., Any])
_PIPED_WIDTH = 160
TOKEN_VARIABLE = "HUIYING_TOKEN"  # noqa: S105 - a variable's name


class Session:
    """What one call needs, made at first use."""

    def __init__(self) -> None:
        self.json = False
        self.token = ""
        #: The options of the command that runs, as they are typed.
        self.options: frozenset[str] = frozenset()

    @cached_property
    def settings(self) -> Settings:
        """The installation, from the environment and its file."""
        from config.settings import load_settings

        return load_settings()

    @cached_property
    def services(self) -> Services:
        """The outfit on this installation; its first use prepares the data directory."""
        from huiying.bootstrap import build

        _log_to_stderr()
        return build(self.settings)

    @cached_property
    def actor(self) -> Actor:
        """The person behind the token, or the local command line."""
        token = self.token or os.environ.get(TOKEN_VARIABLE, "")
        if token:
            from huiying.service.tokens import authenticate

            return authenticate(self.services, token.strip())
        return local_actor()

    @cached_property
    def console(self) -> Console:
        """Where people read; wide when nobody looks at a terminal."""
        from rich.console import Console

        wide = None if sys.stdout.isatty() else _PIPED_WIDTH
        return Console(width=wide, highlight=False, soft_wrap=False)

    def close(self) -> None:
        """Give the database back."""
        if "services" in self.__dict__:
            self.services.store.close()

    def answer(self, data: Any, show: Callable[[Any], None]) -> None:
        """The answer as JSON where that was asked for, else as people read it."""
        if self.json:
            print(json.dumps(data, ensure_ascii=False, indent=2))
        else:
            show(data)

    def say(self, sentence: str) -> None:
        """A sentence for a person; nothing where a program reads."""
        if not self.json:
            print(sentence)


def _log_to_stderr() -> None:
    """What libraries and services say goes to standard error, masked; answers alone stand on standard output."""
    from config.logging import configure_logging

    configure_logging(os.environ.get("HUIYING_LOG_LEVEL", "WARNING"))


def local_actor() -> Actor:
    """The command line of this machine: may set up and operate, is never a second person."""
    from huiying.domain.access import LOCAL_PERMISSIONS
    from huiying.service.actor import EVERYWHERE, Actor

    return Actor(f"local:{system_user()}", "", LOCAL_PERMISSIONS, EVERYWHERE)


def system_user() -> str:
    """The name of the account this process runs under; the environment could say anything."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # an account without a name, as in some containers
        return str(os.getuid())


session = Session()


def begin() -> None:
    """Forget an earlier call in the same process (tests)."""
    session.__dict__.clear()
    session.__init__()  # type: ignore[misc]


_Json = Annotated[bool, typer.Option("--json", help="以 JSON 输出，供程序读取。")]
_Token = Annotated[
    str,
    typer.Option(
        "--token",
        metavar="令牌",
        show_default=False,
        help=f"以令牌所属人员的身份操作；也可设环境变量 {TOKEN_VARIABLE}（更稳妥，不会留在命令历史里）。",
    ),
]


def _with_common_options(function: F) -> F:
    """The same command, also taking ``--json`` and ``--token``."""

    @functools.wraps(function)
    def run(*args: Any, as_json: bool, own_token: str, **kwargs: Any) -> Any:
        session.json, session.token = as_json, own_token
        return function(*args, **kwargs)

    plain = inspect.signature(function, eval_str=True)
    common = [
        inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_Json),
        inspect.Parameter("own_token", inspect.Parameter.KEYWORD_ONLY, default="", annotation=_Token),
    ]
    signature = plain.replace(parameters=[*plain.parameters.values(), *common])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return cast("F", run)


def group(text: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(cls=ChineseGroup, help=text, no_args_is_help=True, add_completion=False, rich_markup_mode="rich")


class _Command(ChineseCommand):
    """A command that leaves word of its options: a refusal names none that it does not have."""

    def invoke(self, ctx: Any) -> Any:
        session.options = frozenset(name for parameter in self.params for name in parameter.opts)
        return super().invoke(ctx)


def command(app: typer.Typer, name: str, **options: Any) -> Callable[[F], F]:
    """Register a command under a name."""

    def keep(function: F) -> F:
        app.command(name, cls=_Command, **options)(_with_common_options(function))
        return function

    return keep


# -- reading what was typed --------------------------------------------------------------------------------------------


def moment(name: str, text: str | None) -> datetime | None:
    """A time with its offset; None stays None."""
    if text is None:
        return None
    from huiying.domain.text import moment as parse

    return parse(name, text)


def needed_moment(name: str, text: str) -> datetime:
    """A time with its offset."""
    from huiying.domain.text import moment as parse

    return parse(name, text)


def day(name: str, text: str) -> date:
    """A calendar day."""
    from datetime import date

    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(name, f"「{text[:40]}」不是日期，请写成 2026-11-22。") from None


def pairs(name: str, given: Sequence[str]) -> dict[str, str]:
    """``key=value`` options as a mapping."""
    found = {}
    for item in given:
        key, separator, value = item.partition("=")
        if not separator or not key:
            raise InvalidInput(name, f"「{item[:40]}」应写成 名称=内容。")
        found[key] = value
    return found


def settings_of(given: Sequence[str]) -> dict[str, Any]:
    """``key=value`` options where numbers, true, false and lists are written as JSON; an empty value takes a key away."""
    found: dict[str, Any] = {}
    for key, text in pairs("set", given).items():
        found[key] = _setting(text)
    return found


def _setting(text: str) -> Any:
    if text == "":
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, (str, dict)) or value is None else value


def read_file(path: Path, largest: int = 4 * 1024 * 1024) -> bytes:
    """A file the operator names, never more than is sensible."""
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise InvalidInput("file", f"无法读取文件 {path}（{error.strerror}）。") from None
    if len(data) > largest:
        raise InvalidInput("file", f"文件 {path} 太大，未处理。")
    return data
