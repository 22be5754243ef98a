"""The command line: the same words as the JSON API, for operators and for duty officers at a terminal.

Exit codes: 0 done, 1 refused (the reason in Chinese on standard error), 2 wrong usage.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

from huiying.cli import accounts, channels, incidents, operations, roster, rules, secrets
from huiying.cli.session import begin, session
from huiying.cli.wording import ChineseGroup, option_of
from huiying.domain.errors import HuiyingError

REFUSED, USAGE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="huiying",
    cls=ChineseGroup,
    help="Huiying 回应：政务舆情与突发事件回应时限系统。本系统不得登记涉密信息。",
    epilog="退出码：0 完成，1 未被允许（原因见标准错误），2 用法不对。各命令都可加 --json。",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for module in (operations, incidents, rules, roster, accounts, channels, secrets):
    module.install(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one call and end the process with its exit code."""
    # Whatever we write (database, keys, exports, backups) is nobody else's business.
    os.umask(0o077)
    begin()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(given)
    finally:
        session.close()
    sys.exit(code)


def _run(given: list[str]) -> int:
    try:
        code = app(args=given, prog_name="huiying", standalone_mode=False)
    except HuiyingError as error:
        return _refuse(error)
    except typer.TyperException as error:
        return _misused(error)
    except (typer.Abort, KeyboardInterrupt):
        print("已中断。", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough (huiying … | head); nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last line: no English traceback before a duty officer
        return _broken(error)
    return code if isinstance(code, int) else 0


def _broken(error: Exception) -> int:
    """A fault of ours or of the surroundings; the details only for whoever asks for them."""
    if os.environ.get("HUIYING_LOG_LEVEL", "").upper() == "DEBUG":
        raise error
    from config.secrets import mask

    first = mask(str(error)).strip().partition("\n")[0]
    print(f"操作未完成，系统内部出错：{type(error).__name__}：{first[:300]}", file=sys.stderr)
    print(
        "请核对数据库地址等设置（huiying doctor 可检查）；详细信息：设 HUIYING_LOG_LEVEL=DEBUG 后重试。",
        file=sys.stderr,
    )
    return REFUSED


def _refuse(error: HuiyingError) -> int:
    field = str(getattr(error, "field", ""))
    option = option_of(field, session.options)
    print(f"{f'{option}:' if option else ''}{error.message}".encode("utf-8", "replace").decode(), file=sys.stderr)
    for line in _listed(error.details):
        print(f"  {line}", file=sys.stderr)
    if session.json:
        body = {"code": error.code, "message": error.message, "field": field, "details": error.details}
        print(json.dumps({"error": body}, ensure_ascii=False, indent=2, default=str))
    return REFUSED


def _listed(details: dict[str, Any]) -> list[str]:
    """What belongs under the sentence: findings of a file, rows of a table."""
    findings = [str(finding) for finding in details.get("findings", ())]
    rows = [f"第 {row['row']} 行 {row['message']}" for row in details.get("rows", ()) if isinstance(row, dict)]
    return [*findings, *rows]


def _misused(error: typer.TyperException) -> int:
    # Typer exports the base alone; which of its kinds it is, its name tells.
    kind = type(error).__name__
    if kind == "NoArgsIsHelpError":
        print(error.format_message())
        return USAGE
    print(f"用法不对：{_SENTENCES.get(kind, _unknown)(error)}", file=sys.stderr)
    context = getattr(error, "ctx", None)
    if context is not None:
        print(f"查看用法：{context.command_path} --help", file=sys.stderr)
    return USAGE


def _missing(error: Any) -> str:
    return f"缺少 {_name_of(error)}。"


def _bad(error: Any) -> str:
    return f"{_name_of(error)} 的值不正确：{_translated(error.message)}"


def _name_of(error: Any) -> str:
    parameter = error.param
    if parameter is None:
        return "参数"
    options = [option for option in parameter.opts if option.startswith("-")]
    return "/".join(options) or parameter.metavar or parameter.name


def _translated(message: str) -> str:
    """What Typer says of a value, where a person is likely to see it."""
    for pattern, sentence in _MESSAGES:
        match = pattern.search(message)
        if match:
            return sentence.format(*match.groups())
    return message


_MESSAGES = (
    (re.compile(r"'(.*)' is not one of (.*?)\.?$"), "“{0}”不在可用的取值中：{1}"),
    (re.compile(r"valid integer"), "应为整数"),
    (re.compile(r"valid number"), "应为数字"),
    (re.compile(r"valid boolean"), "应为 true 或 false"),
    (re.compile(r"greater than or equal to (\S+)"), "不能小于 {0}"),
    (re.compile(r"less than or equal to (\S+)"), "不能大于 {0}"),
)


def _no_option(error: Any) -> str:
    similar = f"是不是 {'、'.join(error.possibilities)}?" if error.possibilities else ""
    return f"没有选项 {error.option_name}。{similar}"


def _unknown(error: Any) -> str:
    text = str(error.message)
    if match := re.search(r"No such command '(.*?)'", text):
        return f"没有命令 {match.group(1)}。"
    if match := re.search(r"unexpected extra argument\S* \((.*)\)", text):
        return f"多出的参数：{match.group(1)}。"
    if match := re.search(r"Option '(.*)' requires", text):
        return f"选项 {match.group(1)} 后面须有内容。"
    return text


_SENTENCES: dict[str, Callable[[Any], str]] = {
    "MissingParameter": _missing,
    "BadParameter": _bad,
    "NoSuchOption": _no_option,
}
