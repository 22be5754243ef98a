"""A real little HTTP server on the loopback address, with faults injected by a script.

Every request takes the next step of ``script``; when there is none, the server answers as it normally would. Steps are
the ways in which the other side fails: see the functions at the end. The generic server accepts everything with
``{"errcode": 0}`` and, given the right script, is the perverse one.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, TypeAlias
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came over the wire."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def query(self) -> dict[str, str]:
        """The decoded query, first values only."""
        return {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}

    @property
    def json(self) -> Any:
        """The body, which must be UTF-8."""
        return json.loads(self.body.decode("utf-8"))


class Exchange:
    """What a step may do with one connection."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._handler = handler
        self.connection: socket.socket = handler.connection
        self.stopping: threading.Event = handler.server.stopping  # type: ignore[attr-defined]

    def write(self, data: bytes) -> None:
        """Bytes on the wire, now."""
        self.connection.sendall(data)

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """A proper answer."""
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        lines += [
            f"{name}: {value}" for name, value in ({"Content-Type": "application/json"} | dict(headers or {})).items()
        ]
        self.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def close(self) -> None:
        """End the connection in good order."""
        self._handler.close_connection = True

    def reset(self) -> None:
        """End it with a TCP reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()
        self.connection.close()

    def wait(self, seconds: float) -> None:
        """Wait, unless the server is being stopped."""
        self.stopping.wait(seconds)


Step: TypeAlias = Callable[[Exchange, Received], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    owner: HttpServer
    stopping: threading.Event

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what is being tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        received = Received(self.path, dict(self.headers.items()), self.rfile.read(length), time.monotonic())
        self.server.owner.take(received, Exchange(self))

    def do_CONNECT(self) -> None:
        self.server.owner.tunnel(self.path, dict(self.headers.items()), Exchange(self))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silence."""


class HttpServer:
    """Use as a context manager; ``requests`` is what came, ``script`` what will go wrong."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Received] = []
        self.script: deque[Step] = deque()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._server.stopping = threading.Event()
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_address[1]

    @property
    def base_url(self) -> str:
        """Scheme, host and port."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def fail_with(self, *steps: Step) -> Self:
        """Append to the script."""
        self.script.extend(steps)
        return self

    def take(self, received: Received, exchange: Exchange) -> None:
        """One request: record it, then the next step of the script or the usual answer."""
        with self._lock:
            self.requests.append(received)
            step = self.script.popleft() if self.script else None
        (step or self.usual)(exchange, received)

    def usual(self, exchange: Exchange, received: Received) -> None:
        """What a healthy server does."""
        exchange.answer(200, json.dumps(self.verdict(received)).encode())

    def verdict(self, received: Received) -> dict[str, Any]:
        """The body of the usual answer; the vendors' fakes check the request here."""
        return {"errcode": 0, "errmsg": "ok"}

    def tunnel(self, path: str, headers: Mapping[str, str], exchange: Exchange) -> None:
        """Only the proxy knows how."""
        exchange.answer(405, b"")
        exchange.close()


# --- steps: how the other side fails ---------------------------------------------------------------------------------


def status(code: int, body: bytes = b"", **headers: str) -> Step:
    """An HTTP status; ``Retry_After`` becomes the header ``Retry-After``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda exchange, _: exchange.answer(code, body, named)


def says(value: object, code: int = 200, **headers: str) -> Step:
    """HTTP 200 (or ``code``) with this JSON."""
    return status(code, json.dumps(value).encode(), **headers)


def raw_body(body: bytes, content_type: str = "application/json") -> Step:
    """HTTP 200 with these bytes."""
    return status(200, body, Content_Type=content_type)


def html_login_page() -> Step:
    """What a captive portal answers."""
    return raw_body("<html><body>请先登录</body></html>".encode(), "text/html; charset=utf-8")


def redirect(location: str) -> Step:
    """302, which no robot ever sends."""
    return status(302, b"", Location=location)


def hang(seconds: float = 30.0) -> Step:
    """Take the request and say nothing."""

    def step(exchange: Exchange, _: Received) -> None:
        exchange.wait(seconds)
        exchange.close()

    return step


def drip(seconds_between: float = 0.2, head_first: bool = True, drops: int = 10_000) -> Step:
    """One byte at a time, as good as for ever: every single read succeeds."""

    def step(exchange: Exchange, _: Received) -> None:
        if head_first:
            exchange.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{")
        else:
            exchange.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        for _drop in range(drops):
            if exchange.stopping.is_set():
                return
            exchange.write(b" ")
            exchange.wait(seconds_between)
        exchange.close()

    return step


def reset_at_once() -> Step:
    """Take the request and reset the connection."""
    return lambda exchange, _: exchange.reset()


def close_at_once() -> Step:
    """Take the request and close the connection."""
    return lambda exchange, _: exchange.close()


def reset_mid_body(beginning: bytes = b'{"errcode":0,') -> Step:
    """The beginning of a success, then a reset."""

    def step(exchange: Exchange, _: Received) -> None:
        exchange.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n" + beginning)
        time.sleep(0.05)
        exchange.reset()

    return step


def huge(size: int = 10 * 1024 * 1024) -> Step:
    """A body nobody should read to its end."""

    def step(exchange: Exchange, _: Received) -> None:
        exchange.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % size)
        for _chunk in range(size // 65536):
            exchange.write(b" " * 65536)

    return step


def raw(data: bytes) -> Step:
    """Exactly these bytes, then the end of the connection."""

    def step(exchange: Exchange, _: Received) -> None:
        exchange.write(data)
        exchange.close()

    return step
