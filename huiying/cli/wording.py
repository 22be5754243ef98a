"""The command line's help pages in Chinese throughout: what the library says of its own accord is said in our words."""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from functools import cache
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

HELP = "显示本说明后退出。"
_USAGE = (("Usage: ", "用法："), ("[OPTIONS]", "[选项]"), ("COMMAND [ARGS]...", "命令 [参数]…"))
_TYPES = {
    "str": "文字",
    "int": "整数",
    "float": "数字",
    "int range": "整数",
    "float range": "数字",
    "path": "路径",
    "file": "文件",
    "directory": "目录",
    "datetime": "时间",
}
_TYPE = re.compile(r"<(list\[)?([a-z ]+?)\]?>")

#: Where the command line calls a field of the API otherwise than by its name with hyphens.
_OPTIONS = {
    "clock_key": "--clock",
    "co_units": "--co-unit",
    "code": "",
    "content_kind": "--content",
    "days": "--days",
    "due_at": "--due",
    "ends_at": "--to",
    "file": "",
    "folder": "",
    "id": "",
    "parent_id": "--parent",
    "path": "",
    "person_id": "--person",
    "published_at": "--at",
    "received_at": "--notice-received",
    "region_code": "--region",
    "scopes": "--scope",
    "starts_at": "--from",
    "step_id": "--step",
    "times": "--source-of",
    "unit_id": "--unit",
    "add": "--add",
    **{f"{name}_at": f"--{name}" for name in ("occurred", "captured", "detected", "notified", "registered")},
    "first_exposed_at": "--exposed",
}


#: What options mean wherever a command says nothing more particular.
_MEANINGS = {
    "--audience": "类别：group 工作群、personal 个人渠道、phone 电话短信。",
    "--body": "情况说明，最多 20000 字。",
    "--category": "类别。",
    "--detected": "发现时间。",
    "--estimated": "该时间为估计。",
    "--exposed": "首发（曝光）时间。",
    "--from": "开始时间。",
    "--from-org": "转来的机关。",
    "--idempotency-key": "同一个键只办理一次。",
    "--incident": "只看这个事项。",
    "--kind": "种类。",
    "--late-exposure": "按首发（曝光）时间起算（旧事新曝）。",
    "--limit": "最多列出多少条。",
    "--name": "名称或姓名。",
    "--note": "说明。",
    "--notice-received": "收到转办通知的时间。",
    "--notice-title": "对外通知用标题：发到系统之外的只有它和编号。",
    "--notified": "接报时间。",
    "--occurred": "事发时间。",
    "--pack": "部门自己的规则包。",
    "--parent": "上级单位编号。",
    "--person": "只看这个人的。",
    "--rank": "优先级 0 至 1000，数字小的先用。",
    "--received": "收到时间。",
    "--region": "行政区划代码。",
    "--source-of": "某个时间的来源，如 occurred=现场，可多次。",
    "--title": "标题。",
    "--unit": "单位编号。",
    "--value": "更正后的时间。",
}


def option_of(field: str, known: Container[str]) -> str:
    """What an officer typed for a field that was refused, of the command's ``known`` options.

    Empty where it has none of its own there: an argument, a file, a part of some other option.
    """
    found = (option for option in (_option(field), f"--{field.removesuffix('_at')}") if option.split(" ")[0] in known)
    return next(found, "")


def _option(field: str) -> str:
    if not field or not field.replace("_", "").replace("-", "").replace(".", "").isascii():
        return ""
    if field.startswith("settings."):
        return f"--set {field.removeprefix('settings.')}"
    if field in _OPTIONS:
        return _OPTIONS[field]
    return f"--{field.replace('_', '-')}" if field.islower() and "." not in field else field


def usage_zh(usage: str) -> str:
    """The line that shows how a command is called."""
    for theirs, ours in _USAGE:
        usage = usage.replace(theirs, ours)
    return usage


def type_zh(label: str) -> str:
    """What kind of value an option takes; the words of a closed choice are typed as they stand."""
    return _TYPE.sub(lambda found: f"<{_TYPES.get(found[2], found[2])}>", label)


@cache
def speak_chinese() -> None:
    """Headings, marks and types of help pages; loaded only where one is shown."""
    from typer import rich_utils

    rich_utils.OPTIONS_PANEL_TITLE = "选项"
    rich_utils.ARGUMENTS_PANEL_TITLE = "参数"
    rich_utils.COMMANDS_PANEL_TITLE = "命令"
    rich_utils.ERRORS_PANEL_TITLE = "错误"
    rich_utils.ABORTED_TEXT = "已中断。"
    rich_utils.RICH_HELP = "查看用法：[blue]{command_path} {help_option}[/]"
    rich_utils.DEPRECATED_STRING = "（已弃用）"
    rich_utils.REQUIRED_LONG_STRING = "[必填]"
    rich_utils.DEFAULT_STRING = "[默认：{}]"
    rich_utils.ENVVAR_STRING = "[环境变量：{}]"
    for kind in (TyperOption, TyperArgument):
        kind.display_type_rich = _in_chinese(kind.display_type_rich)  # type: ignore[method-assign, assignment]


def _in_chinese(theirs: Callable[[Any, Any], str | None]) -> Callable[[Any, Any], str | None]:
    def display_type_rich(self: Any, ctx: Any) -> str | None:
        label = theirs(self, ctx)
        return None if label in {None, "<bool>"} else type_zh(str(label))  # a switch takes no value

    return display_type_rich


class _Chinese:
    """What commands and groups of commands share."""

    def get_usage(self, ctx: Any) -> str:
        """How the command is called."""
        return usage_zh(super().get_usage(ctx))  # type: ignore[misc]

    def get_help_option(self, ctx: Any) -> Any:
        """``--help`` itself."""
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.help = HELP
        return option

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The whole page."""
        speak_chinese()
        for parameter in self.get_params(ctx):  # type: ignore[attr-defined]
            if not getattr(parameter, "help", None):
                parameter.help = next((_MEANINGS[name] for name in parameter.opts if name in _MEANINGS), None)
        super().format_help(ctx, formatter)  # type: ignore[misc]


class ChineseCommand(_Chinese, TyperCommand):
    """A command whose help is Chinese."""


class ChineseGroup(_Chinese, TyperGroup):
    """A group of commands whose help is Chinese."""
