"""The main screen of a running demo, measured in today's Chromium."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser import browsers, figures
from tests.browser.stage import PEOPLE, Stage
from tests.tools import browsers as installed

_SECONDS = 10

Measured = tuple[float, float, float, float]
"""Bytes on the wire, requests, first paint and readiness in milliseconds."""


def measure(
    say: Callable[[str], None], sizes: Sequence[int], rounds: int
) -> tuple[dict[int, list[Measured]], list[float]]:
    """Loads by number of running clocks, and seconds of main thread per ten seconds with the smallest number."""
    path = installed.modern()
    if path is None:
        raise SystemExit("no Chromium on this machine: ./dev browsers installs it")
    loads: dict[int, list[Measured]] = {}
    ticking: list[float] = []
    with tempfile.TemporaryDirectory(prefix="huiying-bench-") as name:
        stage = Stage(Path(name) / "data")
        say("desk: starting a demo")
        stage.start()
        try:
            with sync_playwright() as playwright, browsers.modern(playwright, path) as browser:
                context = browser.new_context(locale="zh-CN")
                browsers.sign_in(context.new_page(), stage, PEOPLE["duty"])
                state = context.storage_state()
                context.close()
                for size in sizes:
                    say(f"desk: registering until {size} clocks run")
                    running = figures.fill_up(stage, size)
                    say(f"desk: opening the main screen with {running} clocks")
                    found = [figures.load(browser, stage, state) for _ in range(rounds)]
                    loads[running] = [(f.wire_bytes, f.requests, f.first_paint, f.ready) for f in found]
                    if not ticking:
                        say("desk: watching it tick")
                        ticking = [figures.ticking(browser, stage, state, _SECONDS) for _ in range(rounds)]
        finally:
            stage.stop()
    return loads, ticking
