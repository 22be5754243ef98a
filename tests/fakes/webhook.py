"""A receiver of Standard Webhooks, verifying by its own arithmetic, with the specification's five minutes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable

from tests.fakes.http_server import Exchange, HttpServer, Received

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class FakeWebhookReceiver(HttpServer):
    """204 for what verifies, 401 for what does not; ``accepted`` maps ids to how often they came."""

    def __init__(self, secret: str = SECRET, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.secret = secret
        self.accepted: dict[str, int] = {}
        self._clock = clock

    @property
    def url(self) -> str:
        """Where to post."""
        return f"{self.base_url}/events"

    def usual(self, exchange: Exchange, received: Received) -> None:
        headers = {name.lower(): value for name, value in received.headers.items()}
        if not self._verifies(headers, received.body):
            exchange.answer(401, b"")
            return
        self.accepted[headers["webhook-id"]] = self.accepted.get(headers["webhook-id"], 0) + 1
        exchange.answer(204, b"")

    def _verifies(self, headers: dict[str, str], body: bytes) -> bool:
        message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not message_id or not stamp.isdigit() or abs(self._clock() - int(stamp)) > 300:
            return False
        key = base64.b64decode(self.secret.split("_", 1)[1])
        mac = hmac.new(key, b".".join((message_id.encode(), stamp.encode(), body)), hashlib.sha256)
        wanted = "v1," + base64.b64encode(mac.digest()).decode()
        return wanted in headers.get("webhook-signature", "").split(" ")
