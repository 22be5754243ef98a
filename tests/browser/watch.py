"""What must not happen while a page is open: errors in the console, failed requests, requests to somebody else."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Request

_REPORT_CSP = """
document.addEventListener("securitypolicyviolation", function (event) {
  console.error("CSP: " + event.violatedDirective + " " + event.blockedURI + " " + event.sourceFile);
});
"""


class Watch:
    """Listens to a browser context from its first page on."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self._origin = urlsplit(origin).netloc
        self._allowed: list[re.Pattern[str]] = []
        self.findings: list[str] = []
        context.add_init_script(_REPORT_CSP)
        context.on("console", self._console)
        context.on("weberror", lambda error: self._found(f"script error: {error.error}"))
        context.on("requestfailed", self._failed)
        context.on("request", self._asked)

    def allow(self, pattern: str) -> None:
        """What a test provokes on purpose."""
        self._allowed.append(re.compile(pattern))

    def faults(self) -> list[str]:
        """Everything that nobody allowed."""
        return [text for text in self.findings if not any(allowed.search(text) for allowed in self._allowed)]

    def _found(self, text: str) -> None:
        self.findings.append(text)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._found(f"console: {message.text} ({message.location.get('url', '')})")

    def _failed(self, request: Request) -> None:
        # A stream or a request that is under way when its page is left is given up, not failed.
        if request.failure != "net::ERR_ABORTED":
            self._found(f"failed: {request.url} {request.failure}")

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob", "about"} and parts.netloc != self._origin:
            self._found(f"another origin: {request.url}")
