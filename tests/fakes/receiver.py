"""A fast counting receiver for bench and trials: ``python -m tests.fakes.receiver --port P [--delay s]``.

Every POST is recorded with its id (``webhook-id``, else ``x-notice-no``, else empty) and the wall time it was complete,
read from the monotonic clock and tied to the wall clock once at the start, so that a stepped wall clock does not bend
the record. ``GET /stats`` counts, ``GET /records`` lists, ``POST /reset`` forgets. The first line on standard output is
JSON with the port and the process id.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

_ACCEPTED = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'
# One anchor for the whole run: monotonic differences are added to it.
_WALL_ANCHOR = time.time() - time.monotonic()


def wall_now() -> float:
    """Seconds since the epoch on a clock that nobody can step during the run."""
    return _WALL_ANCHOR + time.monotonic()


@dataclass(slots=True)
class Record:
    """What arrived: ``(id, wall time)`` per post, in order of arrival."""

    posts: list[tuple[str, float]] = field(default_factory=list)

    def stats(self) -> dict[str, Any]:
        """Counts for a trial's verdict."""
        copies = Counter(post_id for post_id, _ in self.posts)
        return {
            "count": len(self.posts),
            "distinct": len(copies),
            "duplicates": len(self.posts) - len(copies),
            "max_copies": max(copies.values(), default=0),
            "first_at": self.posts[0][1] if self.posts else None,
            "last_at": self.posts[-1][1] if self.posts else None,
        }


def _header(head: bytes, name: bytes) -> str:
    """The value of one header, looked up without parsing the others."""
    at = head.lower().find(b"\r\n" + name + b":")
    if at < 0:
        return ""
    start = at + len(name) + 3
    return head[start : head.find(b"\r\n", start)].strip().decode("latin-1")


class _Connection(asyncio.Protocol):
    """One keep-alive connection: just enough HTTP/1.1 to take posts with a Content-Length."""

    def __init__(self, record: Record, delay: float) -> None:
        self._record = record
        self._delay = delay
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._take_one():
            pass

    def _take_one(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._buffer[: end + 2]
        length = int(_header(head, b"content-length") or 0)
        if len(self._buffer) < end + 4 + length:
            return False
        self._buffer = self._buffer[end + 4 + length :]
        self._answer(head)
        return True

    def _answer(self, head: bytes) -> None:
        if head.startswith(b"POST /reset"):
            self._record.posts.clear()
            self._write(_ACCEPTED)
        elif head.startswith(b"POST"):
            notice_no = _header(head, b"webhook-id") or _header(head, b"x-notice-no")
            self._record.posts.append((notice_no, wall_now()))
            if self._delay:
                asyncio.get_running_loop().call_later(self._delay, self._write, _ACCEPTED)
            else:
                self._write(_ACCEPTED)
        elif head.startswith(b"GET /records"):
            self._write_json(self._record.posts)
        else:
            self._write_json(self._record.stats())

    def _write_json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self._write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


class Receiver:
    """The receiver inside the calling process, in a thread of its own."""

    def __init__(self, port: int = 0, delay: float = 0.0) -> None:
        self.record = Record()
        self.port = port
        self._delay = delay
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)

    @property
    def url(self) -> str:
        """Where posts go."""
        return f"http://127.0.0.1:{self.port}/hook"

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
        server = loop.run_until_complete(serve(self.record, self.port, self._delay))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        loop.run_forever()
        server.close()
        loop.close()


async def serve(record: Record, port: int, delay: float) -> asyncio.Server:
    """Listen on the loopback address only."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: _Connection(record, delay), "127.0.0.1", port, backlog=1024)


async def _main(port: int, delay: float) -> None:
    server = await serve(Record(), port, delay)
    announcement = {"port": server.sockets[0].getsockname()[1], "pid": os.getpid()}
    sys.stdout.write(json.dumps(announcement) + "\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


def main() -> None:
    """Run until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    options = parser.parse_args()
    try:
        asyncio.run(_main(options.port, options.delay))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
