"""Pictures of every screen of the demo: ``./dev screenshots [--out FOLDER] [--only NAME …]``.

A demo of its own is started on a temporary folder; each screen of ``tests/browser/screens.py`` is opened by the role
that it is for, in Chinese at all its sizes and, where the list says so, in English. What a demo has no page for is said.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser import browsers
from tests.browser.screens import SCREENS, Screen, numbers, path_of
from tests.browser.stage import PEOPLE, Stage
from tests.tools import browsers as installed
from tests.tools.png import tighter

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 300 * 1024
_NOT_THERE = 404


@dataclass
class Album:
    """Where the pictures go, and what could not be taken."""

    folder: Path
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
    given = parser.parse_args()
    path = installed.modern()
    if path is None:
        print("no Chromium on this machine: ./dev browsers installs it", file=sys.stderr)
        return 1
    given.out.mkdir(parents=True, exist_ok=True)
    album = Album(given.out, [], [])
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
    known = numbers(stage.folder)
    for language in ("zh", "en"):
        for role, screens in _by_role([s for s in wanted if language == "zh" or s.english_picture]):
            context = browser.new_context(locale="zh-CN", timezone_id="Asia/Shanghai")
            _enter(context, stage, role, language)
            for screen in screens:
                _take(context, f"{stage.url}{path_of(screen, known)}", screen, language, album)
            context.close()


def _by_role(screens: list[Screen]) -> Iterator[tuple[str, list[Screen]]]:
    for role in dict.fromkeys(screen.role for screen in screens):
        yield role, [screen for screen in screens if screen.role == role]


def _enter(context: BrowserContext, stage: Stage, role: str, language: str) -> None:
    page = context.new_page()
    if role:
        browsers.sign_in(page, stage, PEOPLE[role])
    else:
        page.goto(f"{stage.url}/login")
    browsers.switch_language(page, language)
    page.close()


def _take(context: BrowserContext, url: str, screen: Screen, language: str, album: Album) -> None:
    page = context.new_page()
    answer = page.goto(url)
    if answer is None or answer.status == _NOT_THERE:
        album.missing.append(f"{screen.name} ({url})")
        page.close()
        return
    if screen.pressed:
        page.locator(screen.pressed).first.click()
        page.wait_for_selector(screen.shown)
        page.evaluate("document.activeElement.blur()")
    for name, size in screen.sizes if language == "zh" else screen.sizes[:1]:
        page.set_viewport_size(size)
        page.evaluate("document.fonts.ready.then(() => new Promise(requestAnimationFrame))")
        album.take(page, f"{screen.name}-{name}" + ("" if language == "zh" else "-en"))
    page.close()


if __name__ == "__main__":
    sys.exit(main())
