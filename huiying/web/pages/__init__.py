"""The web desk: one module per screen, what they share in ``shell``."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from huiying.web.pages import account, assets, faults, language
from huiying.web.pages.faults import answer

__all__ = ["ROUTERS", "answer", "install"]

#: One line per screen; the order counts where two addresses could both match.
ROUTERS = (
    assets.router,
    language.router,
    account.router,
)


def install(app: FastAPI) -> None:
    """Add the desk to an application that already speaks to programs."""
    for router in ROUTERS:
        app.include_router(router)
    faults.install(app)
    app.add_middleware(_Compressed)


class _Compressed:
    """Compresses what people look at; the JSON API stays as it is and streams are never held back."""

    def __init__(self, app: ASGIApp) -> None:
        self._plain = app
        self._compressed = GZipMiddleware(app, minimum_size=1000, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, compressed or not."""
        machine = scope["type"] != "http" or scope["path"].startswith(("/api/", "/live"))
        await (self._plain if machine else self._compressed)(scope, receive, send)
