"""Secrets: how they are named in configuration, carried in memory, and kept out of every text.

In configuration a secret is a reference: ``env:NAME``, ``file:PATH`` or ``enc:…`` (sealed with the key outside the
database, see ``config.sealed``). In memory it is a ``Secret``, whose ``repr`` and ``str`` show nothing. Whatever was
ever a secret in this process is remembered, so that the log's last step (``mask``) finds it in any text, tracebacks of
libraries included.
"""

from __future__ import annotations

import hmac
import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote, quote_plus

from huiying.domain.sentences import said

MASK = "***"
# Shorter values would blank out ordinary words; no vendor's secret is that short.
_SHORTEST = 6
_SEALED = "enc:"

# What looks like a secret although nobody told us its value: query and form parameters, robot hooks, acknowledge links,
# credentials in an address, authorization headers.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"(?i)(?<![a-z0-9])((?:access_token|corpsecret|client_secret|app_?secret|secret|password|passwd|token|sign|key)"
            r"[\"']?\s*[=:]\s*[\"']?)(?!\*\*\*)[^\s&\"'<>,;)}\]]+"
        ),
        r"\1" + MASK,
    ),
    (re.compile(r"(?i)((?:/hook|/webhook|/bot/v2/hook)/)(?!\*\*\*)[A-Za-z0-9_\-]{6,}"), r"\1" + MASK),
    (re.compile(r"(/a/)(?!\*\*\*)[A-Za-z0-9_\-]{8,}"), r"\1" + MASK),
    (re.compile(r"(://[^/\s:@]+:)(?!\*\*\*)[^/\s@]+(@)"), r"\1" + MASK + r"\2"),
    (
        re.compile(r"(?i)((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer)\s+)(?!\*\*\*)[^\s\"',]+"),
        r"\1" + MASK,
    ),
    (re.compile(r"(?i)(\bbearer\s+)(?!\*\*\*)[A-Za-z0-9._\-]{8,}"), r"\1" + MASK),
    (re.compile(r"(v1,)[A-Za-z0-9+/=]{40,}"), r"\1" + MASK),
    # People: mobiles and mail addresses, as in huiying.domain.masking.
    (re.compile(r"(?<![\w.])(1[3-9]\d)\d{4}(\d{4})(?![\w.])"), r"\1****\2"),
    (re.compile(r"(?<![\w.+*-])([A-Za-z0-9])[A-Za-z0-9._+-]*@(?=[A-Za-z0-9-]+\.[A-Za-z])"), r"\1***@"),
)


class _Known:
    """Every value that was ever a secret here, as one pattern, the longest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, value: str) -> None:
        if len(value) < _SHORTEST or value in self._values:
            return
        with self._lock:
            self._values.update({value, quote(value, safe=""), quote(value), quote_plus(value)})
            self._pattern = None

    def mask(self, text: str) -> str:
        if not self._values:
            return text
        pattern = self._pattern or self._compile()
        return pattern.sub(MASK, text)

    def _compile(self) -> re.Pattern[str]:
        """Put off until a text is masked: at the start many values are added in a row."""
        with self._lock:
            ordered = sorted(self._values, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, ordered)))
            return self._pattern


_known = _Known()


def remember(value: str) -> None:
    """Mask this value in every log line from now on."""
    _known.add(value)


def mask(text: str) -> str:
    """The text without any known secret and without anything that looks like one."""
    masked = _known.mask(text)
    for pattern, replacement in _PATTERNS:
        masked = pattern.sub(replacement, masked)
    # The very text where there was nothing to hide: a sentence of ours can then still be translated.
    return text if masked == text else masked


class Secret:
    """A value that can be used but not shown, compared in constant time, neither copied into JSON nor pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        remember(value)

    def reveal(self) -> str:
        """The clear text; call it where the value is used, not where it is passed on."""
        return self._value

    @property
    def last4(self) -> str:
        """What a screen may show to tell two secrets apart."""
        return "…" + self._value[-4:] if len(self._value) >= 12 else MASK

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never serialised")


class UnresolvedSecret(ValueError):
    """A reference leads nowhere; the message is a Chinese sentence that names the reference, never a value."""


def is_reference(text: str) -> bool:
    """Tell whether this is a reference and not a clear value."""
    return text.startswith(("env:", "file:", _SEALED))


def resolve(
    reference: str,
    unseal: Callable[[str], str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Secret:
    """Turn a reference into its secret. ``unseal`` opens ``enc:`` values (``Sealer.open``)."""
    kind, _, rest = reference.partition(":")
    if kind == "env":
        value = (os.environ if environment is None else environment).get(rest)
        if value is None:
            raise UnresolvedSecret(said("环境变量 %(rest)s 未设置。", rest=rest))
        return Secret(value)
    if kind == "file":
        return Secret(_first_line(Path(rest)))
    if kind == "enc":
        if unseal is None:
            raise UnresolvedSecret("未配置密钥文件，无法解开加密保存的值。")
        return Secret(unseal(reference))
    raise UnresolvedSecret("密钥须写成引用：env:变量名、file:文件路径 或 enc:密文。")


def resolve_settings(
    settings: Mapping[str, object],
    unseal: Callable[[str], str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """All settings of a channel with every reference resolved; values that were no references stay as they are."""
    return {
        key: resolve(value, unseal, environment) if isinstance(value, str) and is_reference(value) else value
        for key, value in settings.items()
    }


def _first_line(path: Path) -> str:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise UnresolvedSecret(said("无法读取密钥文件 %(path)s。", path=path)) from None
    value = text.partition("\n")[0].strip()
    if not value:
        raise UnresolvedSecret(said("密钥文件 %(path)s 是空的。", path=path))
    return value
