"""A running product for browsers: the demo, in real processes, on a data directory of its own."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from huiying.service.demo import ACCOUNTS_FILE

READY = "回应系统已就绪"
#: One account per role of the sample city (config/demo.yaml).
PEOPLE = {
    "duty": "lianluo",
    "handler": "jiaotong",
    "head": "chuzhang",
    "approver": "fenguan",
    "auditor": "shenji",
    "administrator": "guanli",
    "assessor": "pinggu",
}
_START = 200
_STOP = 10


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stage:
    """``huiying serve --demo`` on a folder; it can be stopped and started again on the same port."""

    def __init__(self, folder: Path, *, prefect: bool = False, **environment: str) -> None:
        self.folder = folder
        self._more = [] if prefect else ["--no-prefect"]
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None
        self.said: list[str] = []

    def start(self) -> None:
        """Start and wait until it is ready; the first start makes the sample data."""
        lines: queue.Queue[str] = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "huiying.cli", "serve", "--demo", "--port", str(self.port), *self._more],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=_read, args=(self._process, lines), daemon=True).start()
        until = time.monotonic() + _START
        while time.monotonic() < until:
            try:
                self.said.append(lines.get(timeout=0.2))
            except queue.Empty:
                if self._process.poll() is not None:
                    break
                continue
            if READY in self.said[-1]:
                return
        raise AssertionError("the demo did not start:\n" + "".join(self.said))

    def environment(self) -> dict[str, str]:
        """What the product's processes see."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HUIYING_", "PREFECT_"))}
        return {**kept, "HUIYING_DATA_DIR": str(self.folder), **self._environment}

    def stop(self) -> float:
        """Ask it to end; gives the seconds that took."""
        process = self._process
        assert process is not None
        began = time.monotonic()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_STOP)
        self._process = None
        return time.monotonic() - began

    def password(self, person_id: str) -> str:
        """The password of a sample account, from the file that the demo wrote."""
        for line in (self.folder / ACCOUNTS_FILE).read_text("utf-8").splitlines():
            parts = line.split()
            if len(parts) == 4 and parts[1] == person_id:
                return parts[2]
        raise AssertionError(f"no account {person_id}")


def _read(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
