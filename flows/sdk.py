"""Prefect's SDK as the runner uses it: one client for the process, quick to give up, never on a stale connection.

Left alone, the SDK waits 2 s and 4 s before it asks again after a 503 (which a busy SQLite file makes the server answer
now and then), keeps connections for 25 s that the server closes after 5 s, and builds a client with a TLS context and a
CSRF token for every run. A reminder has one second: so a 503 is asked again within milliseconds, every request has a
connection of its own (0.3 ms on loopback), and what cannot be reached is reported at once instead of being retried.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from uuid import UUID

import httpx
from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate, FlowRunCreate, StateCreate
from prefect.client.schemas.objects import FlowRun, FlowRunPolicy, State, StateType
from prefect.context import AsyncClientContext
from prefect.flow_engine import run_flow_async
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    temporary_settings,
)

from huiying.now import monotonic

#: How long a request may be answered 503 and asked again before it counts as failed.
PATIENCE_SECONDS = 0.8
_FIRST_PAUSE = 0.02
_ASK_AGAIN = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY}

EventFlow = Flow[..., Any]


class Unreachable(httpx.TransportError):
    """Prefect's server gave no usable answer in time; the SDK does not retry this one."""


class QuickTransport(httpx.AsyncBaseTransport):
    """Asks a busy server again at once and reports an absent one at once.

    Safe, because each of our requests may arrive twice: runs carry an idempotency key, states are forced or repeated.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport | None = None) -> None:
        self._inner = inner or httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send; only a final answer gets back to the SDK."""
        give_up_at, pause = monotonic() + PATIENCE_SECONDS, _FIRST_PAUSE
        while True:
            try:
                response = await self._inner.handle_async_request(request)
            except httpx.TransportError as error:
                raise Unreachable(f"{request.method} {request.url.path}: {type(error).__name__}") from None
            if response.status_code not in _ASK_AGAIN:
                return response
            await response.aclose()
            if monotonic() + pause > give_up_at:
                raise Unreachable(f"{request.method} {request.url.path}: {response.status_code}")
            await asyncio.sleep(pause)
            pause *= 2

    async def aclose(self) -> None:
        """Give back the connections."""
        await self._inner.aclose()


@asynccontextmanager
async def connected() -> AsyncIterator[PrefectClient]:
    """The client that everything started inside this context shares; asks nothing of the server yet."""
    quiet: dict[Any, Any] = {
        # A heartbeat costs each run a thread and an event; whether we are alive is told by our own table.
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        # Server and client come out of the same lock, and the server may well start after us.
        PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED: False,
    }
    with temporary_settings(quiet):
        timeout = httpx.Timeout(PREFECT_API_REQUEST_TIMEOUT.value())
        context = AsyncClientContext(httpx_settings={"transport": QuickTransport(), "timeout": timeout})
        # Tasks ask for "the client without special settings" and would build one each.
        context._httpx_settings = None  # noqa: SLF001
        async with context:
            yield context.client


async def create_run(
    client: PrefectClient,
    flow_id: UUID,
    key: str,
    name: str,
    tags: Sequence[str],
    parameters: Mapping[str, Any],
) -> FlowRun | None:
    """A new flow run under this idempotency key; None when there is one already, which is then somebody else's.

    Name and tags are given here and not through ``flow_run_name`` and ``tags()``: that saves a request, and a task that
    inherits tags asks the server for a concurrency slot for each of them.
    """
    wanted = FlowRunCreate(
        flow_id=flow_id,
        name=name,
        tags=list(tags),
        parameters=dict(parameters),
        idempotency_key=key,
        state=StateCreate(type=StateType.PENDING, name="Pending"),
        empirical_policy=FlowRunPolicy(retries=0, retry_delay=0),
    )
    body = wanted.model_dump(mode="json", exclude_unset=True)
    response = await client.request("POST", "/flow_runs/", json=body)
    return FlowRun.model_validate(response.json()) if response.status_code == HTTPStatus.CREATED else None


async def run(flow: EventFlow, flow_run: FlowRun, parameters: Mapping[str, Any]) -> State[Any]:
    """Carry out a flow run in this process; gives its final state as Prefect took it."""
    state = await run_flow_async(flow, flow_run=flow_run, parameters=dict(parameters), return_type="state")
    if not isinstance(state, State):
        raise TypeError("Prefect gave no state")
    return state


async def attach_page(key: str, page: str, flow_run_id: UUID) -> None:
    """Attach a markdown page to a flow run of this process."""
    context = AsyncClientContext.get()
    if context is None:
        raise RuntimeError("no client: the flow was started outside of the runner")
    await context.client.create_artifact(ArtifactCreate(key=key, type="markdown", data=page, flow_run_id=flow_run_id))
