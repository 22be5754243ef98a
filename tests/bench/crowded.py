"""The main screen while the engine delivers a flood: how long a duty officer waits for a page."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from huiying.web.pages.policy import COOKIE
from tests.bench.arena import Hook, folder, run_role, running

_PAUSE = 0.05
_PATIENCE = 180.0


@dataclass
class Crowded:
    """Seconds for each page, before and during the flood, and what was delivered meanwhile."""

    calm: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    delivered: int = 0
    took: float = 0.0


def measure(receiver: Hook, count: int, lead: float) -> Crowded:
    """Look at the desk again and again, first in calm, then while ``count`` reminders that are due at once go out."""
    receiver.reset()
    found = Crowded()
    with folder() as path, ExitStack() as stack:
        base = {"url": receiver.url, "folder": str(path), "database": f"sqlite:///{path}/huiying.db", "count": count}
        run_role("create", base)
        port = _free_port()
        stack.enter_context(running("web", base | {"port": port}))
        stack.enter_context(running("worker", base | {"name": "engine"}))
        plan = json.loads(run_role("prepare", base | {"lead": lead}))
        cookies = {COOKIE: Path(path, "secret").read_text(encoding="utf-8")}
        browser = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", cookies=cookies, timeout=30))
        _look(browser)  # templates are read once
        while time.time() < plan["start"] - 0.2:
            found.calm.append(_look(browser))
            time.sleep(_PAUSE)
        time.sleep(max(0.0, plan["start"] - time.time()))
        end = plan["start"] + _PATIENCE
        while (seen := receiver.ask("stats")["distinct"]) < count and time.time() < end:
            found.busy.append(_look(browser))
            time.sleep(_PAUSE)
        found.delivered, found.took = seen, time.time() - plan["start"]
    return found


def _look(browser: httpx.Client) -> float:
    began = time.perf_counter()
    answer = browser.get("/", headers={"accept": "text/html"})
    spent = time.perf_counter() - began
    if answer.status_code != httpx.codes.OK or "data-no=" not in answer.text:
        raise RuntimeError(f"no desk: {answer.status_code}")
    return spent


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
