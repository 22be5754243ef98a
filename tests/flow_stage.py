"""A stage for the flows: a real Prefect server, the runner as a process of its own, the engine, and a receiver.

``python -m tests.flow_stage`` is the runner's process; its settings come from the environment.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flows import prefect_server
from huiying.service.engine import Engine
from huiying.store import tables as t
from huiying.store.db import Store, open_engine
from schedules.ticker import Ticker
from tests.engine_fixtures import World, new_sqlite, services_on, until
from tests.fakes.receiver import Receiver

ROOT = Path(__file__).parents[1]
_DATABASE = "FLOW_STAGE_DATABASE"
_FOLDER = "FLOW_STAGE_FOLDER"
_PORT = "FLOW_STAGE_PORT"
#: Numbers run on over all stages of a session: one Prefect server keeps the history of all of them.
_incidents = itertools.count(1)


def free_port() -> int:
    """A loopback port nobody uses."""
    with socket.socket() as listener:
        listener.bind((prefect_server.HOST, 0))
        return int(listener.getsockname()[1])


@dataclass
class PrefectServer:
    """Prefect's server in the hardened profile, with its data below ``folder``."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def auth(self) -> str:
        """Its credentials."""
        return prefect_server.load_or_create_auth_string(self.folder)

    @property
    def pid(self) -> int:
        """The process."""
        assert self.process is not None
        return self.process.pid

    def start(self, patience: float = 90.0) -> None:
        """Start it and wait until it is well."""
        profile = prefect_server.server_environment(self.folder, self.port, "http://127.0.0.1:8765", self.auth)
        environment = prefect_server.process_environment(os.environ, profile)
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                prefect_server.command(), env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(self._is_up, patience, 0.1)

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "server.log").read_text(encoding="utf-8")
        return prefect_server.is_healthy(self.port)

    def pause(self) -> None:
        """Let it hang: it takes connections and never answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """``kill -9``."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """End it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()


@dataclass
class Stage:
    """An office whose events go through Prefect: ``due`` makes one, ``late`` says how late its message came."""

    world: World
    server: PrefectServer
    receiver: Receiver
    database: Path
    log: Path
    api_port: int
    runner: subprocess.Popen[bytes] | None = None
    engine: Engine | None = None
    _ticker: Ticker | None = None

    @property
    def store(self) -> Store:
        """Our tables."""
        return self.world.store

    # -- processes ---------------------------------------------------------------------------------------------------

    def start_engine(self) -> None:
        """The engine with its ticker, in this process."""
        self.engine = self.world.engine()
        self.engine.start()
        self._ticker = Ticker(self.engine.tick)
        self._ticker.start()

    def start_runner(self, environment: dict[str, str] | None = None, *, ready: bool = True) -> None:
        """The runner's process; ``ready`` waits until it promises to carry out events."""
        client = prefect_server.client_environment(self.server.folder, self.api_port, self.server.auth)
        whole = prefect_server.process_environment(os.environ, client)
        whole.pop("PYTHONDONTWRITEBYTECODE", None)
        whole |= {_DATABASE: str(self.database), _FOLDER: str(self.server.folder), _PORT: str(self.api_port)}
        whole |= environment or {}
        with self.log.open("ab") as log:
            self.runner = subprocess.Popen(
                [sys.executable, "-m", "tests.flow_stage"], cwd=ROOT, env=whole, stdout=log, stderr=log
            )
        if ready:
            until(self.is_healthy, 30.0, 0.05)

    def is_healthy(self) -> bool:
        """What the runner's heartbeat says; an old one says nothing."""
        rows = self.world.rows(t.heartbeat, t.heartbeat.c.process == "n1/runner")
        return bool(rows) and bool(rows[0].detail["healthy"]) and self.beats() < 3.0

    def beats(self) -> float:
        """How old the runner's heartbeat is, in seconds."""
        row = self.world.one(t.heartbeat, t.heartbeat.c.process == "n1/runner")
        return float((self.now() - row.at).total_seconds())

    def stop(self) -> None:
        """End everything but the server."""
        if self.runner is not None and self.runner.poll() is None:
            self.runner.terminate()
            try:
                self.runner.wait(5)
            except subprocess.TimeoutExpired:
                self.runner.kill()
        if self._ticker is not None:
            self._ticker.stop()
        if self.engine is not None:
            self.engine.stop(2.0)
        self.store.close()

    # -- events ------------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The deciding clock."""
        return self.store.now()

    def new_clock(self, **more: Any) -> tuple[int, int]:
        """An incident with a running clock."""
        incident = self.world.incident(**more)
        return incident, self.world.clock(incident, self.now() + timedelta(hours=1))

    def due(self, seconds: float, *, clock: tuple[int, int | None] | None = None, **more: Any) -> int:
        """An event that falls due in so many seconds, told to the group only."""
        incident_id, clock_id = clock or self.new_clock()
        at = self.now() + timedelta(seconds=seconds)
        return self.world.action(at, incident_id, clock_id, **{"audience": ("group",), **more})

    def delivered(self, action_id: int) -> list[Any]:
        """The messages of an event outside of inboxes."""
        return self.world.rows(t.delivery, t.delivery.c.action_id == action_id, t.delivery.c.channel_id != "inbox")

    def arrivals(self) -> dict[str, list[float]]:
        """When each message came, by 通知号."""
        found: dict[str, list[float]] = {}
        for notice_no, at in list(self.receiver.record.posts):
            found.setdefault(notice_no, []).append(at)
        return found

    def await_arrival(self, action_ids: list[int], seconds: float) -> None:
        """Until a message of each event has come."""

        def here() -> bool:
            came = self.arrivals()
            return all(any(row.notice_no in came for row in self.delivered(key)) for key in action_ids)

        until(here, seconds, 0.02)

    def late(self, action_id: int) -> float:
        """Seconds from due to the receiver's hand."""
        due_at = self.world.action_row(action_id).due_at.timestamp()
        came = self.arrivals()
        return min(at for row in self.delivered(action_id) for at in came.get(row.notice_no, ())) - due_at

    def modes(self, action_ids: list[int]) -> list[str]:
        """Who carried each event out."""
        return [self.world.action_row(key).mode for key in action_ids]

    def await_history(self, action_ids: list[int], seconds: float) -> None:
        """Until every event has its flow run."""

        def complete() -> bool:
            rows = [self.world.action_row(key) for key in action_ids]
            return all(row.history in {"prefect", "backfilled"} and row.flow_run_id for row in rows)

        try:
            until(complete, seconds, 0.1)
        except AssertionError:
            rows = [self.world.action_row(key) for key in action_ids]
            found = [(row.kind, row.state, row.mode, row.history, row.flow_run_id) for row in rows]
            raise AssertionError(f"{found}\n{self.log.read_text(encoding='utf-8')[-3000:]}") from None


@contextlib.contextmanager
def stage(
    server: PrefectServer, folder: Path, *, api_port: int = 0, delay: float = 0.0, name: str = "huiying"
) -> Iterator[Stage]:
    """An empty office beside a running Prefect server; ``api_port`` when the runner reaches it another way.

    ``delay`` is how long the receiver takes to answer.
    """
    database = folder / f"{name}.db"
    services = services_on(new_sqlite(database), server.folder, prefect_port=api_port or server.port)
    with Receiver(delay=delay) as receiver:
        world = World(services, _incidents).furnish()
        world.webhook("hook", receiver.url)
        made = Stage(world, server, receiver, database, folder / f"{name}.log", api_port or server.port)
        try:
            yield made
        finally:
            made.stop()


def _run() -> None:
    """The runner's process."""
    from flows import breaker
    from flows.runner import main
    from huiying.now import utc_now

    breaker.OPEN_SECONDS = float(os.environ.get("FLOW_STAGE_OPEN_SECONDS", breaker.OPEN_SECONDS))
    store = Store(open_engine(f"sqlite:///{os.environ[_DATABASE]}"), utc_now)
    main(services_on(store, Path(os.environ[_FOLDER]), prefect_port=int(os.environ[_PORT])))


if __name__ == "__main__":
    _run()
