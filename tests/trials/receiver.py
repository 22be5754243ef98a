"""The other side of every channel in a trial: takes posts, checks them, sometimes fails, and remembers everything.

``POST /hook`` is a signed webhook, ``POST /robot/<name>`` a robot in the manner of WeCom (HTTP 200 with an error code).
Times come from the monotonic clock tied to the wall clock once, so that a stepped clock does not bend the record.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

SECRET = "whsec_" + base64.b64encode(b"trial-secret-of-the-receiver-32b").decode()
_KEY = b"trial-secret-of-the-receiver-32b"
_NOTICE = re.compile(r"N-\d{8}-\d{4,}")
_ANCHOR = time.time() - time.monotonic()


def wall_now() -> float:
    """Seconds since the epoch on a clock nobody steps."""
    return _ANCHOR + time.monotonic()


@dataclass(frozen=True, slots=True)
class Post:
    """One request. ``taken``: the message counts as received, whatever the sender was told."""

    path: str
    notice_no: str
    at: float
    taken: bool
    answer: str
    data: Any
    genuine: bool


@dataclass(frozen=True, slots=True)
class Faults:
    """How often the other side fails; shares of all requests. ``hang`` is for one path."""

    dropped: float = 0.0  # taken, and the connection closed without an answer
    refused: float = 0.0  # not taken: 500, or 200 with an error code from a robot
    delay: float = 0.0
    hang: str = ""


@dataclass
class Log:
    """Everything that arrived, in order."""

    posts: list[Post] = field(default_factory=list)

    def taken(self, paths: Iterable[str] = ()) -> list[Post]:
        """The requests that count as received."""
        wanted = set(paths)
        return [post for post in list(self.posts) if post.taken and (not wanted or post.path in wanted)]

    def copies(self) -> Counter[str]:
        """How often each 通知号 was received."""
        return Counter(post.notice_no for post in self.taken())

    def count(self, answer: str) -> int:
        """How many requests ended that way."""
        return sum(post.answer == answer for post in list(self.posts))


class _Connection(asyncio.Protocol):
    """Keep-alive HTTP/1.1 with Content-Length, nothing more."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._one():
            pass

    def _one(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        stop = end + 4 + int(headers.get("content-length", 0))
        if len(self._buffer) < stop:
            return False
        body, self._buffer = self._buffer[end + 4 : stop], self._buffer[stop:]
        path = first.split(" ")[1].partition("?")[0]
        answer = self._receiver.take(path, headers, body)
        if self._receiver.faults.delay:
            asyncio.get_running_loop().call_later(self._receiver.faults.delay, self._reply, answer)
        else:
            self._reply(answer)
        return True

    def _reply(self, answer: bytes | None) -> None:
        if self._transport is None or self._transport.is_closing() or answer == b"":
            return
        if answer is None:
            self._transport.close()
        else:
            self._transport.write(answer)


class Receiver:
    """In a thread of its own inside the trial's process; use as a context manager."""

    def __init__(self, seed: int = 0, faults: Faults | None = None, port: int = 0) -> None:
        self.log = Log()
        self.faults = faults or Faults()
        self.port = port
        self._random = random.Random(seed)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)

    @property
    def url(self) -> str:
        """Where a signed webhook posts."""
        return f"http://127.0.0.1:{self.port}/hook"

    def robot(self, name: str) -> str:
        """Where a robot posts."""
        return f"http://127.0.0.1:{self.port}/robot/{name}?key=00000000-0000-0000-0000-000000000000"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        loop = self._loop = asyncio.new_event_loop()
        server = loop.run_until_complete(
            loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port, backlog=1024)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        loop.run_forever()
        server.close()
        loop.close()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> bytes | None:
        """Judge and keep one request; None closes the connection, b"" leaves it without an answer."""
        robot = path.startswith("/robot/")
        genuine = robot or _verifies(headers, body)
        data = json.loads(body) if body else {}
        number = headers.get("webhook-id", "") or next(iter(_NOTICE.findall(body.decode())), "")
        answer = self._choose(path, robot=robot)
        taken = answer not in {"refused", "hung"}
        self.log.posts.append(Post(path, number, wall_now(), taken, answer, data, genuine))
        if answer == "hung":
            return b""
        if answer == "dropped":
            return None
        if answer == "refused":
            return _answer(200, b'{"errcode":-1,"errmsg":"busy"}') if robot else _answer(500, b"")
        return _answer(200, b'{"errcode":0,"errmsg":"ok"}')

    def _choose(self, path: str, *, robot: bool) -> str:
        faults = self.faults
        if faults.hang and path == faults.hang:
            return "hung"
        chance = self._random.random()
        if chance < faults.dropped:
            return "dropped"
        return "refused" if chance < faults.dropped + faults.refused else "accepted"


def _answer(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _verifies(headers: dict[str, str], body: bytes) -> bool:
    content = b".".join((headers.get("webhook-id", "").encode(), headers.get("webhook-timestamp", "").encode(), body))
    wanted = "v1," + base64.b64encode(hmac.digest(_KEY, content, hashlib.sha256)).decode()
    return wanted in headers.get("webhook-signature", "").split(" ")
