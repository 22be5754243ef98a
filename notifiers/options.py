"""Typed reading of a channel's settings, the same for every kind.

``Options`` is what a notifier uses (it takes ``Secret`` and plain text alike); ``check`` is what the configuration's
author sees: findings in Chinese, one per key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from config.secrets import Secret, is_reference, remember
from huiying.domain.sentences import Sentence, listed, said, term
from notifiers.guard import BadAddress, parse_cidrs, parse_target

Type: TypeAlias = Literal["text", "url", "secret", "number", "flag", "texts", "cidrs", "file", "proxy"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a channel's settings."""

    key: str
    message: str

    @property
    def sentence(self) -> Sentence:
        """The key and what is wrong with it."""
        return said("%(key)s：%(message)s", key=self.key, message=term(self.message))

    def __str__(self) -> str:
        return str(self.sentence)


@dataclass(frozen=True, slots=True)
class Option:
    """One key a kind understands. ``choices`` closes a text's vocabulary; ``low`` and ``high`` bound a number."""

    key: str
    type: Type
    required: bool = False
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = float("inf")


#: Understood by every kind that posts over HTTP.
HTTP_OPTIONS = (
    Option("proxy", "proxy"),
    Option("ca_bundle", "file"),
    Option("allow_cidrs", "cidrs"),
)
#: Understood by every kind that counts its messages.
RATE_OPTIONS = (
    Option("per_minute", "number", low=1, high=10_000),
    Option("per_second", "number", low=1, high=1_000),
)


class Options:
    """A channel's settings, read with a type and a default."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._settings = settings

    def text(self, key: str, default: str = "") -> str:
        """A text; the clear value where it is a secret."""
        value = self._settings.get(key, default)
        if isinstance(value, Secret):
            return value.reveal()
        return default if value is None else str(value)

    def secret(self, key: str) -> str:
        """A secret's clear value, masked in every log from now on even where it was configured in clear text."""
        value = self.text(key)
        remember(value)
        return value

    def number(self, key: str, default: float) -> float:
        """A number."""
        value = self._settings.get(key, default)
        return float(value) if isinstance(value, int | float | str) else default

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self._settings.get(key, default)
        return value if isinstance(value, bool) else default

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; one text alone counts as a list of one."""
        value = self._settings.get(key, ())
        if isinstance(value, str):
            return (value,)
        return tuple(map(str, value)) if isinstance(value, Sequence) else ()


def check(options: Sequence[Option], settings: Mapping[str, object]) -> list[Finding]:
    """Everything that is wrong, in the order of the options; unknown keys last."""
    findings = [finding for option in options if (finding := _check_one(option, settings)) is not None]
    known = {option.key for option in options}
    findings += [Finding(key, "不认识的设置项。") for key in settings if key not in known]
    return findings


def _check_one(option: Option, settings: Mapping[str, object]) -> Finding | None:
    value = settings.get(option.key)
    if value is None or value == "":
        return Finding(option.key, "必须填写。") if option.required else None
    if isinstance(value, Secret):
        value = value.reveal()
    elif isinstance(value, str) and is_reference(value):
        return None
    message = _complaint(option, value)
    return Finding(option.key, message) if message else None


def _complaint(option: Option, value: object) -> str:
    if option.type in {"number", "flag"}:
        return _complaint_of_plain(option, value)
    if option.type in {"texts", "cidrs"}:
        return _complaint_of_list(option, value)
    if not isinstance(value, str):
        return "应为文字。"
    try:
        return _complaint_of_text(option, value)
    except BadAddress as bad:
        return str(bad)


def _complaint_of_plain(option: Option, value: object) -> str:
    if option.type == "flag":
        return "" if isinstance(value, bool) else "应为 true 或 false。"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "应为数字。"
    return (
        ""
        if option.low <= value <= option.high
        else said("应在 %(low)s 到 %(high)s 之间。", low=f"{option.low:g}", high=f"{option.high:g}")
    )


def _complaint_of_list(option: Option, value: object) -> str:
    if isinstance(value, str):
        value = (value,)
    if not isinstance(value, Sequence) or not all(isinstance(item, str) for item in value):
        return "应为文字列表。"
    if option.type == "cidrs":
        try:
            parse_cidrs(value)
        except ValueError as bad:
            return str(bad)
    return ""


def _complaint_of_text(option: Option, value: str) -> str:
    if option.choices and value not in option.choices:
        return said("应为以下之一：%(choices)s。", choices=listed(option.choices))
    if option.type == "url":
        parse_target(value)
    if option.type == "proxy" and not value.startswith("http://"):
        return "应为 http://主机：端口。"
    if option.type == "file" and not Path(value).is_file():
        return "文件不存在或无法读取。"
    if option.type == "secret" and any(character.isspace() for character in value):
        return "不得含有空白字符。"
    return ""
