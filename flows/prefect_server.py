"""Prefect's server in the hardened profile, and the settings of the processes that talk to it.

Nothing here imports Prefect: the supervisor needs these settings before any child exists.

CSRF protection is on. The SDK needs nothing for it: every client context fetches a token from `/api/csrf-token` before
its first change (seen: one such request, with a small write, per flow run). A raw REST caller must do the same on top of
basic authentication: `GET /api/csrf-token?client=<any id>` answers `{"token": ...}`, good for an hour, and each POST,
PUT, PATCH and DELETE then carries `Prefect-Csrf-Client: <that id>` and `Prefect-Csrf-Token: <token>`; reading with
`POST .../filter` counts as a change. Without them it is refused with 403 before anybody looks at the credentials; reads
without credentials get 401, and only `/api/health` and `/api/ready` are open.
"""

import contextlib
import http.client
import os
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

HOST = "127.0.0.1"
SECRET_BYTES = 32

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")

# Nothing may leave the house: no heartbeat to the vendor, no usage reports, no advertising, no surprise server.
_SILENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    # Started in a terminal, `prefect server start` would otherwise ask which profile to change.
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_CLI_COLORS": "false",
    "PREFECT_LOGGING_COLORS": "false",
}

# We have no deployments, workers, schedules, pauses or automations; their services would only compete for the one writer
# of an SQLite file. Storing every event costs 150 kB per flow run instead of 10 and doubles the time to close a run; task
# runs are recorded without it.
_LEAN = {
    f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false"
    for service in (
        "CANCELLATION_CLEANUP",
        "CLEANUP_RECONCILER",
        "EVENT_PERSISTER",
        "FOREMAN",
        "LATE_RUNS",
        "PAUSE_EXPIRATIONS",
        "REPOSSESSOR",
        "SCHEDULER",
        "TRIGGERS",
    )
}


def home(data_dir: Path) -> Path:
    """PREFECT_HOME: everything Prefect writes lies in here."""
    return data_dir / "prefect"


def origin(port: int) -> str:
    return f"http://{HOST}:{port}"


def api_url(port: int) -> str:
    return f"{origin(port)}/api"


def load_or_create_auth_string(data_dir: Path) -> str:
    """The one `user:password` of Prefect's API, made at the first start and kept in a file only its owner may read."""
    directory = home(data_dir)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / "auth-string"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="ascii").strip()
    # Written aside and linked into place: two processes that start at once agree on one of the two secrets, and nobody
    # ever reads half of one.
    draft = directory / f".auth-string-{secrets.token_hex(8)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"huiying:{secrets.token_urlsafe(SECRET_BYTES)}\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    return path.read_text(encoding="ascii").strip()


def server_environment(
    data_dir: Path, port: int, ui_origin: str, auth_string: str, *, database_url: str | None = None
) -> dict[str, str]:
    """What `prefect server start` must find in its environment.

    `ui_origin` is the only foreign origin a browser may call from: our own web address. Prefect keeps its history in a
    SQLite file of its own unless `database_url` names a PostgreSQL database.
    """
    return {
        **_SILENT,
        **_LEAN,
        "PREFECT_HOME": str(home(data_dir)),
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_API_AUTH_STRING": auth_string,
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": ui_origin,
        "PREFECT_SERVER_API_CORS_ALLOWED_METHODS": "GET,POST,PUT,PATCH,DELETE",
        "PREFECT_SERVER_API_CORS_ALLOWED_HEADERS": "Authorization,Content-Type,Prefect-Csrf-Client,Prefect-Csrf-Token",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": _database_url(data_dir, database_url),
        # Told nothing, the dashboard asks port 4200 whatever port the server has.
        "PREFECT_SERVER_UI_API_URL": api_url(port),
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        # The server's own tasks (block registration, events) must not find another server by accident.
        "PREFECT_API_URL": api_url(port),
        "PREFECT_API_AUTH_STRING": auth_string,
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    }


def client_environment(
    data_dir: Path, port: int, auth_string: str, *, request_timeout: float = 3.0, max_retries: int = 2
) -> dict[str, str]:
    """What the process that runs flows must find in its environment.

    Prefect's own patience (60 s, five retries) would hold a call 430 s at a hung server. Two retries (after about 2 s
    and 4 s) ride over the 503 that a busy SQLite file makes the server answer.
    """
    return {
        **_SILENT,
        "PREFECT_HOME": str(home(data_dir)),
        "PREFECT_API_URL": api_url(port),
        "PREFECT_API_AUTH_STRING": auth_string,
        "PREFECT_API_REQUEST_TIMEOUT": str(request_timeout),
        "PREFECT_CLIENT_MAX_RETRIES": str(max_retries),
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "true",
        # A log line or a traceback may hold free text or an address; what happened is told by our own tables.
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    }


def process_environment(inherited: Mapping[str, str], additions: Mapping[str, str]) -> dict[str, str]:
    """A child's whole environment: ours, without the caller's Prefect settings, and past any proxy on loopback."""
    environment = {name: value for name, value in inherited.items() if not name.upper().startswith("PREFECT_")}
    environment.update(additions)
    exempt = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    names = [name for name in exempt.split(",") if name]
    names += [name for name in _LOOPBACK_NAMES if name not in names]
    environment["NO_PROXY"] = environment["no_proxy"] = ",".join(names)
    return environment


def command() -> list[str]:
    """Starts the server in the foreground, as one process; -P keeps the working directory out of its imports."""
    return [sys.executable, "-P", "-m", "prefect", "server", "start"]


def is_healthy(port: int, *, timeout: float = 1.0) -> bool:
    """Whether the server says that it is well. Goes straight to loopback, whatever proxy the environment names."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request("GET", "/api/health")
        response = connection.getresponse()
        return response.status == http.HTTPStatus.OK and response.read(16).strip() == b"true"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _database_url(data_dir: Path, database_url: str | None) -> str:
    if database_url is None:
        return f"sqlite+aiosqlite:///{home(data_dir) / 'prefect.db'}"
    scheme, separator, rest = database_url.partition("://")
    if not separator or not re.fullmatch(r"postgres(ql)?(\+\w+)?", scheme):
        raise ValueError("Prefect's history can be kept in PostgreSQL (postgresql://...) or in its own SQLite file")
    # Prefect speaks to PostgreSQL through asyncpg only, whichever driver our own tables use.
    return f"postgresql+asyncpg://{rest}"
