"""A WeCom robot as its documents describe it: limits in bytes, valid UTF-8, the key as the only secret."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.fakes.http_server import HttpServer, Received
from tests.fakes.rate import Throttle


class FakeWeCom(HttpServer):
    """``key`` is the robot's."""

    def __init__(self, key: str = "wecom-key-0001", clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.key = key
        self._throttle = Throttle(20, 60, 60, clock)

    @property
    def url(self) -> str:
        """The address a user would paste."""
        return f"{self.base_url}/cgi-bin/webhook/send?key={self.key}"

    def verdict(self, received: Received) -> dict[str, Any]:
        if received.query.get("key") != self.key:
            return _no(93000, "invalid webhook url")
        if not self._throttle.allows():
            return _no(45009, "api freq out of limit")
        message = received.json
        kind = message["msgtype"]
        content = message[kind]["content"].encode("utf-8")
        if not content.strip():
            return _no(44004, "empty content")
        if len(content) > {"text": 2048, "markdown": 4096}[kind]:
            return _no(40058, f"markdown.content exceed max length {len(content)}")
        return {"errcode": 0, "errmsg": "ok"}


def _no(code: int, message: str) -> dict[str, Any]:
    return {"errcode": code, "errmsg": message}
