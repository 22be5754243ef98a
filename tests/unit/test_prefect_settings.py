"""The settings Prefect gets, without starting it."""

import base64
import threading
from pathlib import Path

import pytest

from flows import prefect_server

DATA_DIR = Path("data")
AUTH = "huiying:secret"


def test_the_secret_is_long_and_made_once(tmp_path):
    first = prefect_server.load_or_create_auth_string(tmp_path)
    user, password = first.split(":")
    assert user == "huiying"
    assert len(base64.urlsafe_b64decode(password + "=")) >= 32
    assert prefect_server.load_or_create_auth_string(tmp_path) == first


def test_processes_that_start_at_once_agree_on_one_secret(tmp_path):
    seen: set[str] = set()
    barrier = threading.Barrier(8)

    def start():
        barrier.wait()
        seen.add(prefect_server.load_or_create_auth_string(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 1
    assert [path.name for path in (tmp_path / "prefect").iterdir()] == ["auth-string"]


def test_every_installation_has_another_secret(tmp_path):
    secrets = {prefect_server.load_or_create_auth_string(tmp_path / name) for name in ("a", "b")}
    assert len(secrets) == 2


def test_settings_of_the_caller_do_not_reach_the_server():
    inherited = {"PATH": "/bin", "PREFECT_API_URL": "https://elsewhere.example", "PREFECT_SERVER_API_HOST": "0.0.0.0"}
    additions = prefect_server.server_environment(DATA_DIR, 4200, "http://127.0.0.1:8000", AUTH)
    environment = prefect_server.process_environment(inherited, additions)
    assert environment["PATH"] == "/bin"
    assert environment["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
    assert environment["PREFECT_SERVER_API_HOST"] == "127.0.0.1"


def test_loopback_goes_past_the_proxy_and_other_exceptions_stay():
    environment = prefect_server.process_environment({"NO_PROXY": "oa.gov.example,localhost"}, {})
    assert environment["NO_PROXY"] == "oa.gov.example,localhost,127.0.0.1,::1"
    assert environment["no_proxy"] == environment["NO_PROXY"]


def test_a_postgresql_url_is_spoken_through_asyncpg():
    def url(given: str) -> str:
        environment = prefect_server.server_environment(DATA_DIR, 1, "http://h", AUTH, database_url=given)
        return environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"]

    assert url("postgresql+psycopg://u:p%40@h:5432/prefect") == "postgresql+asyncpg://u:p%40@h:5432/prefect"
    assert url("postgres://h/prefect") == "postgresql+asyncpg://h/prefect"


@pytest.mark.parametrize("given", ["mysql://h/prefect", "prefect.db", ""])
def test_another_database_is_refused(given):
    with pytest.raises(ValueError, match="PostgreSQL"):
        prefect_server.server_environment(DATA_DIR, 1, "http://h", AUTH, database_url=given)


def test_every_name_is_one_that_prefect_knows():
    # A name that a new version of Prefect no longer reads would silently open what we closed.
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_settings_fields

    known = set(_get_settings_fields(Settings))
    ours = prefect_server.server_environment(DATA_DIR, 1, "http://h", AUTH) | prefect_server.client_environment(
        DATA_DIR, 1, AUTH
    )
    assert {name for name in ours if name.startswith("PREFECT_")} <= known


def test_a_server_that_is_not_there_is_not_healthy():
    assert not prefect_server.is_healthy(9, timeout=0.2)
