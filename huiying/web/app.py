"""The web application: the desk, the JSON API, probes and the acknowledge page. Thin: no decision is taken here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI

from huiying.service.services import Services
from huiying.web import ack, desk, incidents, pages, probes, problems
from huiying.web.guard import Counts, Guard

_DESCRIPTION = (
    "政务舆情与突发事件回应时限系统。本系统不得登记涉密信息。时间一律为带时区的 ISO 8601;"
    "错误为 RFC 9457 problem details,title 与 detail 为中文。"
)


def create_app(services: Services) -> FastAPI:
    """The application on this outfit."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # As many at work as there are connections: a request waits here rather than inside a transaction.
        anyio.to_thread.current_default_thread_limiter().total_tokens = services.settings.sender_threads + 4
        yield
        services.store.close()

    app = FastAPI(
        title="Huiying 回应",
        version="1",
        description=_DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/openapi.json",
        docs_url=None,  # the usual pages load their scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.counts = Counts()
    problems.install(app)
    for module in (incidents, desk, ack, probes):
        app.include_router(module.router)
    pages.install(app)
    app.add_middleware(Guard, counts=app.state.counts, answer=pages.answer)
    return app
