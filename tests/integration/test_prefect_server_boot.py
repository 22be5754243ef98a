"""Prefect's server really starts in our profile: the versions that are locked together boot, and the doors are shut."""

import base64
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from flows import prefect_server

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

OUR_ORIGIN = "http://127.0.0.1:8765"
FOREIGN_ORIGIN = "https://evil.example"


@dataclass(frozen=True)
class Server:
    port: int
    data_dir: Path
    auth_string: str
    seconds_to_health: float

    def ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, body: object = None):
        connection = HTTPConnection(prefect_server.HOST, self.port, timeout=20)
        sent = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(
            method, path, body=json.dumps(body) if body is not None else None, headers=sent | (headers or {})
        )
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response, content

    @property
    def credentials(self) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(self.auth_string.encode()).decode()}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((prefect_server.HOST, 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # A space, Chinese and a percent sign: an officer's folder looks like this.
    data_dir = tmp_path_factory.mktemp("数据 100%")
    port = free_port()
    auth_string = prefect_server.load_or_create_auth_string(data_dir)
    environment = prefect_server.process_environment(
        os.environ, prefect_server.server_environment(data_dir, port, OUR_ORIGIN, auth_string)
    )
    log = data_dir / "server.log"
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            prefect_server.command(), env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        while not prefect_server.is_healthy(port):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() - began < 60, log.read_text(encoding="utf-8")
            time.sleep(0.2)
        yield Server(port, data_dir, auth_string, time.monotonic() - began)
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(data_dir / "prefect", ignore_errors=True)


def allowed_origin(response: HTTPResponse) -> str | None:
    return response.headers.get("Access-Control-Allow-Origin")


def preflight(server: Server, origin: str) -> HTTPResponse:
    wanted = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,prefect-csrf-token,prefect-csrf-client",
    }
    return server.ask("OPTIONS", "/api/flow_runs/filter", headers=wanted)[0]


def test_it_is_healthy_within_a_minute(server):
    assert server.seconds_to_health < 60


def test_it_listens_on_loopback_only(server):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other, pytest.raises(OSError):  # noqa: PT012
        # Every address of 127/8 is this machine; a server bound to all of them would answer here too.
        other.settimeout(2)
        other.connect(("127.0.0.2", server.port))


def test_reads_without_credentials_are_refused(server):
    for path in ("/api/admin/version", "/api/admin/settings", "/api/flows/count", "/api/csrf-token?client=x"):
        assert server.ask("GET", path)[0].status in {401, 405}, path
    assert server.ask("GET", "/api/admin/version")[0].status == 401


def test_changes_without_a_csrf_token_are_refused(server):
    assert server.ask("POST", "/api/flows/filter", body={})[0].status == 403
    assert server.ask("POST", "/api/flows/filter", body={}, headers=server.credentials)[0].status == 403


def test_wrong_credentials_are_refused(server):
    wrong = {"Authorization": "Basic " + base64.b64encode(b"admin:admin").decode()}
    assert server.ask("GET", "/api/admin/version", headers=wrong)[0].status == 401


def test_a_raw_caller_with_token_and_credentials_is_served(server):
    _, content = server.ask("GET", "/api/csrf-token?client=test", headers=server.credentials)
    headers = server.credentials | {
        "Prefect-Csrf-Client": "test",
        "Prefect-Csrf-Token": json.loads(content)["token"],
    }
    assert server.ask("POST", "/api/flows/filter", body={}, headers=headers)[0].status == 200


def test_a_foreign_page_may_not_call_it(server):
    assert preflight(server, FOREIGN_ORIGIN).status == 400
    assert allowed_origin(preflight(server, FOREIGN_ORIGIN)) is None


def test_our_own_page_may_call_it(server):
    assert allowed_origin(preflight(server, OUR_ORIGIN)) == OUR_ORIGIN


def test_it_reports_nothing_to_the_outside(server):
    _, content = server.ask("GET", "/api/admin/settings", headers=server.credentials)
    settings = json.loads(content)
    assert settings["server"]["analytics_enabled"] is False
    assert settings["cloud"]["enable_orchestration_telemetry"] is False
    assert settings["server"]["ui"]["show_promotional_content"] is False
    assert settings["server"]["ephemeral"]["enabled"] is False


def test_the_dashboard_asks_the_right_port(server):
    _, content = server.ask("GET", "/ui-settings")
    told = json.loads(content)
    assert told["api_url"] == f"http://127.0.0.1:{server.port}/api"
    assert told["default_ui"] == "v1"


def test_its_history_lies_in_our_data_directory(server):
    assert (server.data_dir / "prefect" / "prefect.db").is_file()


def test_its_secret_is_for_the_owner_only(server):
    path = server.data_dir / "prefect" / "auth-string"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_sdk_runs_a_flow_against_it(server):
    program = (
        "import asyncio\n"
        "from prefect import flow, get_client\n"
        "@flow(flow_run_name='提醒 1')\n"
        "async def reminder(): return None\n"
        "async def main():\n"
        "    await reminder()\n"
        "    async with get_client() as client:\n"
        "        runs = await client.read_flow_runs()\n"
        "    assert [(run.name, run.state_name) for run in runs] == [('提醒 1', 'Completed')], runs\n"
        "asyncio.run(main())\n"
    )
    environment = prefect_server.process_environment(
        os.environ,
        prefect_server.client_environment(server.data_dir, server.port, server.auth_string, request_timeout=20),
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
