"""``huiying serve``: ready, at work, and gone within five seconds."""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """A running product without Prefect."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HUIYING_", "PREFECT_"))}
        self.environment = {
            **kept,
            "HUIYING_DATA_DIR": str(folder),
            "HUIYING_PORT": str(self.port),
            "HUIYING_PUBLIC_URL": self.url,
            "HUIYING_PREFECT_ENABLED": "false",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "huiying.cli", "serve"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.seen: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)

    def wait_for(self, words: str, seconds: float = 60) -> str:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                line = self.lines.get(timeout=0.2)
            except queue.Empty:
                assert self.process.poll() is None, "".join(self.seen)
                continue
            self.seen.append(line)
            if words in line:
                return line
        raise AssertionError(f"{words} never came:\n{''.join(self.seen)}")

    def huiying(self, *arguments: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "huiying.cli", *arguments],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stop(self) -> float:
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        return time.monotonic() - begin


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path / "data")
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.wait(5)


def post(served: Served, path: str, body: dict[str, Any], token: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.post(f"{served.url}{path}", json=body, headers=headers, timeout=20, trust_env=False)


def test_a_newcomer_gets_from_nothing_to_a_message_in_the_inbox(served: Served, tmp_path: Path):
    ready = served.wait_for("回应系统已就绪")
    assert served.url in ready
    served.wait_for("本系统不得登记涉密信息")
    said = "".join(served.seen)
    assert str(tmp_path / "data" / "first-password") in said
    assert "在浏览器打开" in said
    assert "--password-file" not in said, "that would use the password up for the desk"
    assert httpx.get(f"{served.url}/readyz", trust_env=False).status_code == 200

    made = served.huiying(
        "person", "add", "zhang", "--name", "张一", "--unit", "main", "--duty", "值班员", "--access", "duty", "--password"
    )  # fmt: skip
    password = re.search(r"([a-z2-9]{5}-){3}[a-z2-9]{5}", made)
    assert password is not None
    token = post(served, "/api/v1/tokens/exchange", {"person_id": "zhang", "password": password.group(0)}).json()
    body = {"title": "绝不外发的标题", "kind": "opinion", "unit_id": "main"}
    view = post(served, "/api/v1/incidents", body, token["token"]).json()
    until = time.monotonic() + 10
    messages: list[dict[str, Any]] = []
    while not messages and time.monotonic() < until:
        headers = {"Authorization": f"Bearer {token['token']}"}
        inbox = httpx.get(f"{served.url}/api/v1/inbox", headers=headers, trust_env=False, timeout=10)
        messages = inbox.json()["messages"]
        time.sleep(0.1)
    assert view["no"] in messages[0]["subject"]
    link = re.search(rf"{served.url}/a/\S+", messages[0]["text"])
    assert link is not None
    assert httpx.get(link.group(0), trust_env=False).status_code == 200
    assert served.stop() <= 5.0
    while not served.lines.empty():
        served.seen.append(served.lines.get())
    said = "".join(served.seen)
    for canary in (token["token"], password.group(0), link.group(0).rpartition("/")[2], "绝不外发的标题"):
        assert canary not in said
    assert served.process.returncode == 0


def test_a_second_one_on_the_same_data_is_refused_and_so_is_a_taken_port(served: Served, tmp_path: Path):
    served.wait_for("回应系统已就绪")
    second = subprocess.run(
        [sys.executable, "-P", "-m", "huiying.cli", "serve", "--port", str(free_port())],
        env=served.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert second.returncode == 1
    assert "已有一个回应系统在运行" in second.stderr
    other = subprocess.run(
        [sys.executable, "-P", "-m", "huiying.cli", "serve"],
        env={**served.environment, "HUIYING_DATA_DIR": str(tmp_path / "other")},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert other.returncode == 1
    assert "无法使用" in other.stderr
    assert "HUIYING_PORT" in other.stderr
    assert served.stop() <= 5.0
