"""What the main screen weighs and costs with many running clocks: shared by the tests and by ``./dev bench desk``."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from playwright.sync_api import Browser

from config.settings import load_settings
from huiying.bootstrap import build
from huiying.domain.kinds import Kind, TimeKind
from huiying.service import incidents, queries
from huiying.service.actor import EVERYWHERE, Actor
from huiying.service.requests import RegisterRequest, TimeInput
from tests.browser.browsers import DESK, until
from tests.browser.stage import Stage

_REGISTRAR = Actor("system:figures", "", frozenset({"register", "read"}), EVERYWHERE)
_LANES = ("main", "water", "transport", "health", "education", "emergency", "chengbei")


@dataclass(frozen=True, slots=True)
class Load:
    """One opening of the main screen with an empty cache. Times in milliseconds after the navigation began."""

    clocks: int
    wire_bytes: int
    requests: int
    first_paint: float
    ready: float


def fill_up(stage: Stage, wanted: int) -> int:
    """Register common opinions until so many clocks run; gives how many do."""
    services = build(load_settings(data_dir=stage.folder, demo=True, prefect_enabled=False), prepare=False)
    with closing(services.store):
        running = sum(
            clock["state"] in {"running", "breached"} for clock in queries.clocks(services, limit=5000)["clocks"]
        )
        now = services.store.now()
        for number in range(wanted - running):
            request = RegisterRequest(
                title=f"示例批量事项第 {number:04d} 号（虚构）",
                kind=Kind.OPINION,
                unit_id=_LANES[number % len(_LANES)],
                times={TimeKind.DETECTED: TimeInput(now - timedelta(minutes=7 * number % 2800), "示例来源")},
                drill=True,
            )
            incidents.register(services, _REGISTRAR, request)
    return max(wanted, running)


def load(browser: Browser, stage: Stage, state: Any) -> Load:
    """Open the main screen with an empty cache and count what came over the wire."""
    context = browser.new_context(storage_state=state, viewport=DESK, locale="zh-CN")
    page = context.new_page()
    wire = context.new_cdp_session(page)
    weights: dict[str, float] = {}

    def asked(event: dict[str, Any]) -> None:
        weights.setdefault(event["requestId"], 0)

    def came(event: dict[str, Any]) -> None:
        weights[event["requestId"]] = event["encodedDataLength"]

    wire.on("Network.requestWillBeSent", asked)
    wire.on("Network.loadingFinished", came)
    wire.send("Network.enable")
    page.goto(f"{stage.url}/")
    until(page, "document.readyState === 'complete' && Boolean(window.huiyingClock)")
    page.wait_for_timeout(500)
    timing = page.evaluate(
        "() => ({paint: performance.getEntriesByName('first-contentful-paint')[0].startTime,"
        " ready: performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd})"
    )
    clocks = page.locator("#board tr[data-no]").count()
    context.close()
    return Load(clocks, int(sum(weights.values())), len(weights), timing["paint"], timing["ready"])


def ticking(browser: Browser, stage: Stage, state: Any, seconds: float) -> float:
    """Seconds of main thread per ten seconds that an idle desk takes."""
    context = browser.new_context(storage_state=state, viewport=DESK, locale="zh-CN")
    page = context.new_page()
    page.goto(f"{stage.url}/")
    page.wait_for_timeout(3000)  # what loading leaves behind is no ticking
    wire = context.new_cdp_session(page)
    wire.send("Performance.enable")
    before, began = _task_seconds(wire), time.monotonic()
    page.wait_for_timeout(seconds * 1000)
    used, took = _task_seconds(wire) - before, time.monotonic() - began
    context.close()
    return used / took * 10


def _task_seconds(wire: Any) -> float:
    found = wire.send("Performance.getMetrics")["metrics"]
    return float(next(metric["value"] for metric in found if metric["name"] == "TaskDuration"))
