"""A Feishu robot as its documents describe it: the signature stands in the body and signs nothing with a built key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tests.fakes.http_server import HttpServer, Received
from tests.fakes.rate import Throttle


class FakeFeishu(HttpServer):
    """``token`` and ``secret`` are the robot's; ``legacy`` answers in the old shape."""

    def __init__(
        self,
        token: str = "feishu-token-0001",
        secret: str = "feishu-secret-0001",
        clock: Callable[[], float] = time.time,
        legacy: bool = False,
    ) -> None:
        super().__init__()
        self.token, self.secret, self.legacy = token, secret, legacy
        self._clock = clock
        self._throttles = (Throttle(100, 60, 0, clock), Throttle(5, 1, 0, clock))

    @property
    def url(self) -> str:
        """The address a user would paste."""
        return f"{self.base_url}/open-apis/bot/v2/hook/{self.token}"

    def verdict(self, received: Received) -> dict[str, Any]:
        if urlsplit(received.path).path != f"/open-apis/bot/v2/hook/{self.token}":
            return _no(19001, "param invalid: incoming webhook access token invalid")
        if not all(throttle.allows() for throttle in self._throttles):
            return _no(11232, "create message trigger system frequency limit")
        if len(received.body) > 20 * 1024:
            return _no(9499, "Bad Request")
        message = received.json
        if self.secret and not self._signed(message):
            return _no(19021, "sign match fail or timestamp is not within one hour from current time")
        if self.legacy:
            return {"StatusCode": 0, "StatusMessage": "success", "Extra": None}
        return {"code": 0, "msg": "success", "data": {}}

    def _signed(self, message: dict[str, Any]) -> bool:
        stamp = message.get("timestamp")
        if not isinstance(stamp, str) or len(stamp) != 10 or abs(self._clock() - int(stamp)) > 3600:
            return False
        mac = hmac.new((stamp + "\n" + self.secret).encode(), digestmod=hashlib.sha256)
        return message.get("sign") == base64.standard_b64encode(mac.digest()).decode()


def _no(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "msg": message, "data": {}}
