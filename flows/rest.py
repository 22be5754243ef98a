"""Prefect's REST API without its SDK: for reading the history and for writing down what the engine did alone.

Importing this costs nothing (the SDK: 1.3 s). Every call has a small timeout and ends in a value or ``PrefectUnavailable``.
"""

from __future__ import annotations

import threading
import time
import uuid
from http import HTTPStatus
from typing import Any

import requests

from huiying.now import monotonic

#: Seconds to connect, and between two bytes of an answer.
TIMEOUT = (1.0, 3.0)
#: The server's tokens are good for an hour.
_TOKEN_SECONDS = 3000.0
_PAUSES = (0.05, 0.1, 0.2, 0.4)
_ASK_AGAIN = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY}


class PrefectUnavailable(Exception):
    """Prefect's server cannot be reached, is too busy or refuses our credentials; our own tables still know everything."""


class PrefectRefused(Exception):
    """Prefect's server answered, and the answer is no: the request does not fit it."""

    def __init__(self, status: int, path: str) -> None:
        super().__init__(f"{path}: {status}")
        self.status = status


class PrefectApi:
    """A caller with basic authentication and the CSRF token that every change, and every ``…/filter``, must carry."""

    def __init__(self, api_url: str, auth_string: str, timeout: tuple[float, float] = TIMEOUT) -> None:
        self._api_url = api_url.rstrip("/")
        user, _, password = auth_string.partition(":")
        self._auth = (user, password)
        self._timeout = timeout
        self._client_id = uuid.uuid4().hex
        self._token = ""
        self._token_until = 0.0
        self._lock = threading.Lock()

    def get(self, path: str) -> Any:
        """Read one thing."""
        return self._call("GET", path, None)

    def post(self, path: str, body: object) -> Any:
        """Create something, or read with a filter."""
        return self._call("POST", path, body)

    def patch(self, path: str, body: object) -> Any:
        """Change something."""
        return self._call("PATCH", path, body)

    def delete(self, path: str) -> None:
        """Remove one thing."""
        self._call("DELETE", path, None)

    def _call(self, method: str, path: str, body: object) -> Any:
        for pause in (*_PAUSES, None):
            response = self._send(method, path, body)
            if response.status_code == HTTPStatus.FORBIDDEN and method != "GET":
                self._token_until = 0.0  # the server was given another database, or forgot
            elif response.status_code not in _ASK_AGAIN:
                return _content(response, path)
            if pause is not None:
                time.sleep(pause)
        raise PrefectUnavailable(f"{path}: {response.status_code}")

    def _send(self, method: str, path: str, body: object) -> requests.Response:
        headers = {} if method == "GET" else self._csrf_headers()
        # A connection of its own: the server closes idle ones after 5 s, and reusing a closed one fails.
        with requests.Session() as session:
            session.trust_env = False
            try:
                return session.request(
                    method,
                    self._api_url + path,
                    json=body,
                    headers=headers,
                    auth=self._auth,
                    timeout=self._timeout,
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                raise PrefectUnavailable(f"{path}: {type(error).__name__}") from None

    def _csrf_headers(self) -> dict[str, str]:
        with self._lock:
            if monotonic() >= self._token_until:
                answer = self._call("GET", f"/csrf-token?client={self._client_id}", None)
                self._token, self._token_until = str(answer["token"]), monotonic() + _TOKEN_SECONDS
            return {"Prefect-Csrf-Client": self._client_id, "Prefect-Csrf-Token": self._token}


def _content(response: requests.Response, path: str) -> Any:
    if response.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise PrefectUnavailable(f"{path}: {response.status_code}")
    if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise PrefectUnavailable(f"{path}: {response.status_code}")
    if response.status_code >= HTTPStatus.MULTIPLE_CHOICES:
        raise PrefectRefused(response.status_code, path)
    if not response.content:
        return None
    try:
        return response.json()
    except ValueError:
        raise PrefectUnavailable(f"{path}: no JSON") from None
