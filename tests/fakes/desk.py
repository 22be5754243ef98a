"""Browsers without a browser: signed-in sessions for everybody of a house, and forms sent as a page sends them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import sqlalchemy as sa
from starlette.testclient import TestClient

from huiying.domain.signing import Stage
from huiying.service import session_rows
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.web.pages.policy import COOKIE


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


def session_of(services: Services, person_id: str, stage: Stage = Stage.OPEN) -> tuple[str, str]:
    """The secret of a new session of this person and the token of its forms, without the sign-in pages."""
    with services.store.transaction(f"person:{person_id}") as tx:
        if tx.one(sa.select(t.account.c.person_id).where(t.account.c.person_id == person_id)) is None:
            # The second factor counts as set up: without it a session of an obliged role is not open.
            values = {"person_id": person_id, "password_hash": "unused", "changed_at": tx.now, "totp_since": tx.now}
            tx.run(t.account.insert().values(**values))
        secret, session_id = session_rows.open_row(tx, person_id, stage, "127.0.0.1", "test", second_done=True)
        session = session_rows.view(services, tx, session_rows.find_by_id(tx, session_id))
    return secret, session.csrf


def take_seat(services: Services, client: TestClient, person_id: str, stage: Stage = Stage.OPEN) -> Seat:
    """Somebody signed in without the way through the sign-in pages."""
    return Seat(client, *session_of(services, person_id, stage))
