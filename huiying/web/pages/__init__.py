"""The web desk: one module per screen, what they share in ``shell``."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from huiying.web.pages import (
    account,
    admin,
    admin_access,
    admin_accounts,
    admin_channels,
    admin_people,
    assets,
    audit,
    calendars,
    contacts,
    duty,
    faults,
    handover,
    inbox,
    incident_detail,
    incident_list,
    incident_new,
    kept,
    language,
    live,
    oidc,
    own_tokens,
    policies,
    roster,
    rules,
    runs,
    second_person,
    wall,
    whatif,
)
from huiying.web.pages.faults import answer

__all__ = ["ROUTERS", "answer", "install", "page_routes"]

#: One line per screen; the order counts where two addresses could both match.
ROUTERS = (
    assets.router,
    language.router,
    account.router,
    kept.router,
    own_tokens.router,
    oidc.router,
    duty.router,
    live.router,
    incident_new.router,  # before the address of an incident
    incident_list.router,
    incident_detail.router,
    contacts.router,
    second_person.router,
    calendars.router,  # before the addresses of packs
    policies.router,
    whatif.router,
    rules.router,
    admin.router,
    admin_people.router,
    admin_accounts.router,
    admin_channels.router,
    admin_access.router,
    roster.router,
    runs.router,
    handover.router,
    inbox.router,
    audit.router,
    wall.router,
)


def install(app: FastAPI) -> None:
    """Add the desk to an application that already speaks to programs."""
    for router in ROUTERS:
        app.include_router(router)
    faults.install(app)
    app.state.page_paths = frozenset(route.path for route in page_routes() if "GET" in (route.methods or ()))
    app.state.live = live.Watcher(app.state.services)
    app.add_middleware(_Compressed)


def page_routes() -> list[APIRoute]:
    """Every route of the desk; each declares one policy."""
    return [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]


class _Compressed:
    """Compresses what people look at; the JSON API stays as it is and streams are never held back."""

    def __init__(self, app: ASGIApp) -> None:
        self._plain = app
        self._compressed = GZipMiddleware(app, minimum_size=1000, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, compressed or not."""
        machine = scope["type"] != "http" or scope["path"].startswith(("/api/", "/live"))
        await (self._plain if machine else self._compressed)(scope, receive, send)
