"""Pictures of every screen of the demo: ``./dev screenshots [--out FOLDER] [--only NAME …] [--english]``.

A demo of its own is started on a temporary folder; each screen of ``tests/browser/screens.py`` is opened by the role
that it is for, in Chinese at all its sizes and, where the list says so, in English; with ``--english`` every one in both
languages at all its sizes. What a demo has no page for is said.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from huiying.domain.signing import Stage as At
from tests.browser import browsers
from tests.browser.screens import SCREENS, Screen, act, numbers, path_of, status_of
from tests.browser.stage import PEOPLE, Stage
from tests.browser.states import add, beside
from tests.tools import browsers as installed
from tests.tools.png import tighter

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 300 * 1024


@dataclass
class Album:
    """Where the pictures go, whether all are wanted in English, too, and what could not be taken."""

    folder: Path
    english: bool
    missing: list[str]
    heavy: list[str]

    def take(self, page: Page, name: str) -> None:
        """One picture of what is on the screen."""
        path = self.folder / f"{name}.png"
        page.screenshot(path=path, scale="css", animations="disabled", caret="hide")
        if path.stat().st_size > LARGEST:
            path.write_bytes(tighter(path.read_bytes()))
        size = path.stat().st_size
        print(f"  {path.name:<36} {size / 1024:7.1f} kB")
        if size > LARGEST:
            self.heavy.append(path.name)


def main() -> int:
    """Take them all; 1 when a screen did not answer or a picture is too heavy."""
    parser = argparse.ArgumentParser(prog="./dev screenshots")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="names of tests/browser/screens.py")
    parser.add_argument("--english", action="store_true", help="every screen in English as well, at all its sizes")
    given = parser.parse_args()
    path = installed.modern()
    if path is None:
        print("no Chromium on this machine: ./dev browsers installs it", file=sys.stderr)
        return 1
    given.out.mkdir(parents=True, exist_ok=True)
    album = Album(given.out, given.english, [], [])
    wanted = [screen for screen in SCREENS if not given.only or screen.name in given.only]
    with tempfile.TemporaryDirectory(prefix="huiying-pictures-") as name:
        stage = Stage(Path(name) / "data")
        stage.start()
        try:
            with sync_playwright() as playwright, browsers.modern(playwright, path) as browser:
                _take_all(browser, stage, wanted, album)
        finally:
            stage.stop()
    for text in (*(f"not there: {name}" for name in album.missing), *(f"too heavy: {name}" for name in album.heavy)):
        print(f"screenshots: {text}", file=sys.stderr)
    return int(bool(album.missing or album.heavy))


def _take_all(browser: Browser, stage: Stage, wanted: list[Screen], album: Album) -> None:
    with beside(stage.folder) as services:
        add(services)
    known = numbers(stage.folder)
    for language in ("zh", "en"):
        shown = [screen for screen in wanted if language == "zh" or screen.english_picture or album.english]
        for (role, at), screens in _by_sign_in(shown):
            context = browser.new_context(locale="zh-CN", timezone_id="Asia/Shanghai")
            if role:
                browsers.arrive(context, stage, PEOPLE.get(role, role), at)
            for screen in screens:
                _take(context, f"{stage.url}{path_of(screen, known)}", screen, language, album)
            context.close()


def _by_sign_in(screens: list[Screen]) -> Iterator[tuple[tuple[str, At], list[Screen]]]:
    for key in dict.fromkeys((screen.role, screen.at) for screen in screens):
        yield key, [screen for screen in screens if (screen.role, screen.at) == key]


def _take(context: BrowserContext, url: str, screen: Screen, language: str, album: Album) -> None:
    page = context.new_page()
    page.goto(url)
    browsers.switch_language(page, language)
    act(page, screen)
    if status_of(page) != screen.status:
        album.missing.append(f"{screen.name} ({url})")
        page.close()
        return
    if screen.pressed:
        page.evaluate("document.activeElement.blur()")
    for name, size in screen.sizes if language == "zh" or album.english else screen.sizes[:1]:
        page.set_viewport_size(size)
        page.evaluate("document.fonts.ready.then(() => new Promise(requestAnimationFrame))")
        album.take(page, f"{screen.name}-{name}" + ("" if language == "zh" else "-en"))
    page.close()


if __name__ == "__main__":
    sys.exit(main())
