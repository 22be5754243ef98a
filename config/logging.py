"""Logging: one event, one line, no secret in it.

Masking happens in the sink, on the finished string. Earlier is too early: measured, a patcher on the message leaves the
secrets of the traceback in, and loguru's ``diagnose`` prints the value of every variable.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import re
import sys
from collections.abc import Callable
from datetime import UTC
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

from loguru import logger

from config.secrets import mask

if TYPE_CHECKING:
    from loguru import Message, Record

Sink: TypeAlias = Callable[[str], object] | TextIO

_FORMAT = "{time:YYYY-MM-DDTHH:mm:ss.SSSZZ} {level: <8} {name}:{line} {message}"
# Chatty libraries whose DEBUG shows addresses with their tokens.
_QUIETED = ("urllib3", "requests", "smtplib", "asyncio", "httpx", "httpcore", "aiosqlite")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure_logging(level: str = "INFO", sink: Sink | None = None, *, json: bool = False) -> None:
    """Send everything, the standard library's logging included, to ``sink`` (standard error), masked, line by line."""
    write = _writer(sys.stderr if sink is None else sink)

    def masked_sink(message: Message) -> None:
        # Loguru reports a failing sink with the whole, unmasked record; a full disk must not have that effect.
        with contextlib.suppress(OSError, ValueError):
            write(_as_json(message.record) if json else one_line(str(message)))

    logger.remove()
    logger.add(
        masked_sink,
        level=level.upper(),
        format=_FORMAT,
        diagnose=False,
        backtrace=False,
        colorize=False,
        catch=False,
    )
    logging.basicConfig(handlers=[_ToLoguru()], level=level.upper(), force=True)
    logging.captureWarnings(capture=True)
    for name in _QUIETED:
        quieted = logging.getLogger(name)
        quieted.setLevel(max(logging.INFO, quieted.getEffectiveLevel()))


def one_line(text: str) -> str:
    """Masked, with every control character written out, so that no value can forge an entry or drive a terminal."""
    return _CONTROLS.sub(_written_out, mask(text.rstrip("\n")))


def _written_out(match: re.Match[str]) -> str:
    character = match.group()
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, f"\\u{ord(character):04x}")


def _as_json(record: Record) -> str:
    entry: dict[str, Any] = {
        "time": record["time"].astimezone(UTC).isoformat(timespec="milliseconds"),
        "level": record["level"].name,
        "logger": record["name"],
        "line": record["line"],
        "message": record["message"],
    }
    entry.update({f"extra.{key}": str(value) for key, value in record["extra"].items()})
    if record["exception"] is not None:
        entry["exception"] = _traceback(record)
    return json.dumps({key: _masked(value) for key, value in entry.items()}, ensure_ascii=False)


def _masked(value: object) -> object:
    return mask(value) if isinstance(value, str) else value


def _traceback(record: Record) -> str:
    exception = record["exception"]
    if exception is None or exception.value is None:
        return ""
    formatter = logging.Formatter()
    return formatter.formatException((type(exception.value), exception.value, exception.traceback))


def _writer(sink: Sink) -> Callable[[str], object]:
    if callable(sink):
        return sink
    stream = sink

    def write(line: str) -> None:
        stream.write(line + "\n")
        stream.flush()

    return write


class _ToLoguru(logging.Handler):
    """Hands the standard library's records over, keeping their level and the place they came from."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        depth = _depth_of_caller()
        logger.opt(depth=depth, exception=record.exc_info).log(level, "{}", record.getMessage())


def _depth_of_caller() -> int:
    """How many frames lie between the one who logged and loguru."""
    frame, depth = inspect.currentframe(), 0
    while frame and (depth == 0 or frame.f_code.co_filename in {logging.__file__, __file__}):
        frame = frame.f_back
        depth += 1
    return max(depth - 1, 0)
