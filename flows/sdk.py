"""Prefect's SDK as the runner uses it: one client for the process, quick to give up, never on a stale connection.

Left alone, the SDK waits 2 s and 4 s before it asks again after a 503 (which a busy SQLite file makes the server answer
now and then), keeps connections for 25 s that the server closes after 5 s, and builds a client with a TLS context and a
CSRF token for every run. A reminder has one second: so a 503 is asked again within milliseconds, every request has a
connection of its own (0.3 ms on loopback), and what cannot be reached is reported at once instead of being retried.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import httpx
from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate, FlowRunCreate, StateCreate
from prefect.client.schemas.objects import FlowRun, FlowRunPolicy, State, StateType
from prefect.context import AsyncClientContext, SyncClientContext
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectException
from prefect.flow_engine import AsyncFlowRunEngine
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    get_current_settings,
    temporary_settings,
)

from huiying.now import monotonic

#: How long a request may be answered 503 and asked again before it counts as failed.
PATIENCE_SECONDS = 0.8
_FIRST_PAUSE = 0.02
_ASK_AGAIN = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY}

EventFlow = Flow[..., Any]
#: What the SDK raises when the server, or the SDK itself, fails.
FAULTS = (httpx.HTTPError, PrefectException)


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
        # Every flow asks for a synchronous client (a TLS context: 25 ms) and, being told where results go, never uses it.
        with SyncClientContext():
            async with context:
                yield context.client


@dataclass(frozen=True, slots=True)
class Order:
    """The flow run that is wanted; ``key`` is its idempotency key."""

    flow_id: UUID
    key: str
    name: str
    tags: Sequence[str]
    parameters: Mapping[str, Any]


class AlreadyMade(Exception):
    """There is a flow run under this key already, which is somebody else's to carry out."""


async def run(flow: EventFlow, order: Order, note_id: Callable[[UUID], object]) -> State[Any]:
    """Carry out a new flow run in this process; gives its final state as Prefect took it.

    ``note_id`` is told the run's id as soon as there is one.
    """
    engine = _EventEngine(flow=flow, parameters=dict(order.parameters), order=order, note_id=note_id)
    async with engine.start():
        while engine.is_running():
            async with engine.run_context():
                _ = await engine.call_flow_fn()
    return engine.state


@dataclass
class _EventEngine(AsyncFlowRunEngine[..., Any]):
    """Prefect's engine with one request before the body instead of five.

    The run is created running, under its idempotency key and with its name and tags: so nothing has to be looked up,
    renamed, proposed or read back. (Tags through ``tags()`` would cost more still: a task that inherits tags asks the
    server for a concurrency slot for each of them.)
    """

    order: Order | None = None
    note_id: Callable[[UUID], object] = print

    async def create_flow_run(self, client: PrefectClient) -> FlowRun:
        """One request; the answer is all that the engine needs to know of its run."""
        if self.order is None:
            raise ValueError("no order")
        wanted = FlowRunCreate(
            flow_id=self.order.flow_id,
            name=self.order.name,
            tags=list(self.order.tags),
            parameters=dict(self.order.parameters),
            idempotency_key=self.order.key,
            state=StateCreate(type=StateType.RUNNING, name="Running"),
            empirical_policy=FlowRunPolicy(retries=0, retry_delay=0),
        )
        body = wanted.model_dump(mode="json", exclude_unset=True)
        response = await client.request("POST", "/flow_runs/", json=body)
        if response.status_code != HTTPStatus.CREATED:
            raise AlreadyMade(self.order.key)
        flow_run = FlowRun.model_validate(response.json())
        self.note_id(flow_run.id)
        return flow_run

    async def begin_run(self) -> State[Any]:
        """It was created running."""
        return self.state

    @asynccontextmanager
    async def setup_run_context(self, client: PrefectClient | None = None) -> AsyncIterator[None]:
        """The engine reads its run back before the body; it is given what it has just been told."""
        if self.flow_run is None:
            raise ValueError("no flow run")
        async with super().setup_run_context(_WithKnownRun.of(client or self.client, self.flow_run)):
            yield


class _WithKnownRun(PrefectClient):
    """The same client, except that it knows one flow run by heart."""

    _known: FlowRun

    @classmethod
    def of(cls, client: PrefectClient, flow_run: FlowRun) -> Self:
        """Everything is shared with the client."""
        made = cls.__new__(cls)
        vars(made).update(vars(client), _known=flow_run)
        return made

    async def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        """What it knows."""
        return self._known if flow_run_id == self._known.id else await super().read_flow_run(flow_run_id)


def result_folder() -> Path:
    """Where a flow's results would go, if we kept any.

    A flow that is not told asks the server, and does so synchronously: a server that hangs would stop our loop.
    """
    return get_current_settings().results.local_storage_path


async def attach_page(key: str, page: str, flow_run_id: UUID) -> None:
    """Attach a markdown page to a flow run of this process."""
    context = AsyncClientContext.get()
    if context is None:
        raise RuntimeError("no client: the flow was started outside of the runner")
    await context.client.create_artifact(ArtifactCreate(key=key, type="markdown", data=page, flow_run_id=flow_run_id))


def drain(seconds: float) -> None:
    """Let the states of tasks, which travel in the background, reach the server before the process ends."""
    EventsWorker.drain_all(timeout=seconds)
