"""What surrounds every request: the size cap, security headers, the access log without secrets, and rate limits."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import MutableMapping
from typing import Any, Protocol

from loguru import logger
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from huiying.domain.sentences import said
from huiying.now import monotonic
from huiying.web.problems import problem

LARGEST_BODY = 256 * 1024
#: Where a file of up to 1 MB is taken in; the rest is room for the other fields.
LARGEST_UPLOAD = 1024 * 1024 + 64 * 1024
_UPLOADS = frozenset({"/rules/upload", "/rules/calendar", "/roster/import"})
_TOO_LARGE_FILE = "文件超过 1 MB，未予处理。"
_TOO_LARGE = said("请求正文超过 %(size)s KB，未予处理。", size=LARGEST_BODY // 1024)
_NOT_JSON = "请求正文须为 JSON，并写明 Content-Type: application/json。"
_INTERNAL = "系统内部出错，不能确定操作是否完成。请先查询结果再决定是否重试，并将编号告诉系统管理员。"
#: Probes ask every second or so and say nothing that anybody wants to read again.
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
_DEFAULTS = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    (b"cache-control", b"no-store"),
)


class Answer(Protocol):
    """How a request that gets no further is answered: for a program or for a person."""

    def __call__(self, scope: Scope, status: int, code: str, detail: str, **extra: Any) -> Response:
        """The answer."""


class Guard:
    """The outermost layer: pure ASGI, so that a body is counted while it arrives and every answer gets our headers."""

    def __init__(self, app: ASGIApp, counts: Counts, answer: Answer) -> None:
        self._app = app
        self._counts = counts
        self._answer_with = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = monotonic()
        exchange = _Exchange(receive, send, largest_body(scope["path"]))
        refusal = self._refusal(scope)
        if refusal is None:
            await self._answer(scope, exchange)
        else:
            await refusal(scope, exchange.receive, exchange.send)
        self._note(scope, exchange.status, monotonic() - began)

    async def _answer(self, scope: Scope, exchange: _Exchange) -> None:
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:  # noqa: BLE001 - the last place that can still say something to the caller
            number = secrets.token_hex(4)
            path = shown_path(scope["path"])
            logger.opt(exception=error).error("unexpected failure {} at {} {}", number, scope["method"], path)
            if not exchange.status:
                response = self._answer_with(scope, 500, "internal", _INTERNAL, trace=number)
                await response(scope, exchange.receive, exchange.send)

    def _refusal(self, scope: Scope) -> Response | None:
        """Why a request is turned away before anything of its body is read."""
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > largest_body(scope["path"]):
            sentence = _TOO_LARGE_FILE if scope["path"] in _UPLOADS else _TOO_LARGE
            return self._answer_with(scope, 413, "too_large", sentence, headers={"Connection": "close"})
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if scope["method"] in {"POST", "PATCH"} and scope["path"].startswith("/api/") and kind != b"application/json":
            return problem(415, "bad_request", _NOT_JSON)
        return None

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        method, path = scope["method"], shown_path(scope["path"])
        self._counts.add(method, status)
        if path not in _QUIET:
            logger.info("{} {} {} {:.0f} ms", method, path, status, seconds * 1000)


def largest_body(path: str) -> int:
    """How many bytes a request to this address may carry."""
    return LARGEST_UPLOAD if path in _UPLOADS else LARGEST_BODY


def shown_path(path: str) -> str:
    """A path as it may be written down: the secret of an acknowledge link is none of the log's business."""
    return "/a/***" if path.startswith("/a/") else path


class _Exchange:
    """Counts what comes in and adds our headers to what goes out."""

    def __init__(self, receive: Receive, send: Send, most: int) -> None:
        self._receive, self._send = receive, send
        self._most = most
        self._size = 0
        self.status = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            if self._size > self._most and not self.status:
                raise HTTPException(413)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = _with_headers(message)
        await self._send(message)


def _with_headers(message: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    given = list(message.get("headers", ()))
    names = {name.lower() for name, _ in given}
    added = [*_HEADERS, *((name, value) for name, value in _DEFAULTS if name not in names)]
    return {**message, "headers": [*given, *(pair for pair in added if pair[0] not in names)]}


class Counts:
    """Requests by method and class of status, for ``/metrics``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by: dict[tuple[str, str], int] = {}

    def add(self, method: str, status: int) -> None:
        """Count one; foreign methods are one class, so that nobody can make the table grow."""
        known = method if method in {"GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"} else "OTHER"
        key = (known, f"{status // 100}xx")
        with self._lock:
            self._by[key] = self._by.get(key, 0) + 1

    def items(self) -> list[tuple[tuple[str, str], int]]:
        """All counts so far."""
        with self._lock:
            return sorted(self._by.items())


class Throttle:
    """At most so many events per key within a minute; forgets the keys that were quiet longest."""

    def __init__(self, most: int, seconds: float = 60.0, keys: int = 10_000) -> None:
        self._most, self._seconds, self._keys = most, seconds, keys
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def allows(self, key: str) -> bool:
        """Count one event; False when there were too many."""
        now = monotonic()
        with self._lock:
            times = self._seen.setdefault(key, deque())
            self._seen.move_to_end(key)
            while times and now - times[0] >= self._seconds:
                times.popleft()
            allowed = len(times) < self._most
            if allowed:
                times.append(now)
            while len(self._seen) > self._keys:
                self._seen.popitem(last=False)
        return allowed
