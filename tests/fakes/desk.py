"""Browsers without a browser: signed-in sessions for everybody of a house, and forms sent as a page sends them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.testclient import TestClient

from huiying.domain.signing import Stage
from huiying.service.services import Services
from huiying.web.pages.policy import COOKIE
from tests.fakes.sessions import session_of


@dataclass(frozen=True)
class Seat:
    """A signed-in person: the cookie of a session and the token of its forms."""

    client: TestClient
    cookie: str
    csrf: str

    def get(self, url: str, **more: Any) -> httpx.Response:
        """Look at a page; a redirect is shown, not followed."""
        return self._ask("GET", url, **more)

    def post(self, url: str, data: Mapping[str, Any] | None = None, **more: Any) -> httpx.Response:
        """Send a form of ours."""
        return self._ask("POST", url, data={"csrf": self.csrf, **(data or {})}, **more)

    def _ask(self, method: str, url: str, **more: Any) -> httpx.Response:
        self.client.cookies.clear()
        plain = {"accept": "text/html", "accept-encoding": "identity"}
        headers = {"cookie": f"{COOKIE}={self.cookie}", **plain, **more.pop("headers", {})}
        answer: httpx.Response = self.client.request(method, url, headers=headers, follow_redirects=False, **more)
        return answer


def take_seat(services: Services, client: TestClient, person_id: str, stage: Stage = Stage.OPEN) -> Seat:
    """Somebody signed in without the way through the sign-in pages."""
    return Seat(client, *session_of(services, person_id, stage))
