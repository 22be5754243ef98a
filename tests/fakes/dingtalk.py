"""A DingTalk robot as its documents describe it. Verifies signatures by its own arithmetic, not by ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.fakes.http_server import HttpServer, Received
from tests.fakes.rate import Throttle

_HOUR_MS = 3_600_000


class FakeDingTalk(HttpServer):
    """``token`` and ``secret`` are the robot's; ``keyword``, when set, must occur in every message."""

    def __init__(
        self,
        token: str = "dt-token-0001",
        secret: str = "SECding0001",
        keyword: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.token, self.secret, self.keyword = token, secret, keyword
        self._clock = clock
        self._throttle = Throttle(20, 60, 600, clock)

    @property
    def url(self) -> str:
        """The address a user would paste."""
        return f"{self.base_url}/robot/send?access_token={self.token}"

    def verdict(self, received: Received) -> dict[str, Any]:
        if urlsplit(received.path).path != "/robot/send" or received.query.get("access_token") != self.token:
            return _no(400101, "access_token 不存在")
        if not self._throttle.allows():
            return _no(130101, "send too fast, exceed 20 times per minute") | {
                "status": 1111,
                "wait": 5,
                "punish": "deny",
            }
        if self.secret and not self._signed(received):
            return _no(310000, "sign not match")
        if len(received.body) > 20_000:
            return _no(460101, "message too long")
        return self._content(received.json)

    def _signed(self, received: Received) -> bool:
        raw = re.search(r"[?&]sign=([^&]*)", received.path)
        stamp = received.query.get("timestamp", "")
        if raw is None or not re.fullmatch(r"\d{13}", stamp) or abs(self._clock() * 1000 - int(stamp)) > _HOUR_MS:
            return False
        mac = hmac.new(self.secret.encode("utf-8"), digestmod=hashlib.sha256)
        mac.update(stamp.encode() + b"\n" + self.secret.encode("utf-8"))
        # Decoded once, as a server does; a sign that was encoded twice still carries percent signs then.
        return unquote(raw[1]) == base64.standard_b64encode(mac.digest()).decode()

    def _content(self, message: dict[str, Any]) -> dict[str, Any]:
        if message.get("msgtype") not in {"text", "markdown", "actionCard", "link"}:
            return _no(400105, "unsupported msgtype")
        markdown = message["markdown"]
        if self.keyword and self.keyword not in markdown["title"] + markdown["text"]:
            return _no(310000, "keywords not in content")
        for mobile in message.get("at", {}).get("atMobiles", []):
            if f"@{mobile}" not in markdown["text"]:
                # The real robot says ok and mentions nobody; a test wants to know.
                return _no(888001, "a mentioned mobile is missing in the text")
        return {"errcode": 0, "errmsg": "ok"}


def _no(code: int, message: str) -> dict[str, Any]:
    return {"errcode": code, "errmsg": message}
