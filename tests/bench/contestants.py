"""The contestants, each run as a process of its own: ``python -m tests.bench.contestants NAME JSON``.

All post the same signed 700 bytes. ``bare`` keeps its timers in memory and nothing else; ``apscheduler`` keeps one
stored job per message, as its documents show; ``worker`` is one process of ours with its ticker, and ``prepare`` writes
the incidents, clocks and actions whose reminders are counted.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

_KEY = b"an invented signing secret"
_BODY = json.dumps({"type": "huiying.notice", "data": {"text": "示例" * 100}}, ensure_ascii=False).encode()
_tickets = threading.local()


def due_times(plan: dict[str, Any]) -> list[float]:
    """When each message is due, as seconds since the epoch: spread evenly, or all at once."""
    gap = plan.get("gap", 0.0)
    return [plan["start"] + number * gap for number in range(plan["count"])]


def signed_headers(message_id: str) -> dict[str, str]:
    """What a signed webhook carries."""
    stamp = str(int(time.time()))
    digest = hmac.digest(_KEY, f"{message_id}.{stamp}.".encode() + _BODY, hashlib.sha256)
    signature = "v1," + base64.b64encode(digest).decode()
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": signature,
    }


def ready() -> None:
    """Tell the parent."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def bare(plan: dict[str, Any]) -> None:
    """aiohttp and timers in memory: what the network and Python cost without any promise."""
    import aiohttp

    async def run() -> None:
        connector = aiohttp.TCPConnector(limit=plan["connections"])
        async with aiohttp.ClientSession(connector=connector) as session:

            async def one(number: int, at: float) -> None:
                await asyncio.sleep(max(0.0, at - time.time()))
                async with session.post(plan["url"], data=_BODY, headers=signed_headers(f"m{number}")) as answer:
                    await answer.read()

            ready()
            await asyncio.gather(*(one(number, at) for number, at in enumerate(due_times(plan))))

    asyncio.run(run())


def post_once(url: str, number: int) -> None:
    """APScheduler's job: named by module and function in its store."""
    import requests

    session = getattr(_tickets, "session", None)
    if session is None:
        session = _tickets.session = requests.Session()
    session.post(url, data=_BODY, headers=signed_headers(f"m{number}"), timeout=(3, 5)).raise_for_status()


def apscheduler(plan: dict[str, Any]) -> None:
    """APScheduler 3 with its SQLAlchemy job store on SQLite, sixteen threads, one date job per message."""
    from apscheduler.executors.pool import ThreadPoolExecutor
    from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
    from apscheduler.schedulers.background import BackgroundScheduler

    from huiying.store.db import open_engine

    # The same pragmas as our store: both must survive a power cut.
    engine = open_engine(plan["database"])
    scheduler = BackgroundScheduler(
        jobstores={"default": SQLAlchemyJobStore(engine=engine)},
        executors={"default": ThreadPoolExecutor(plan["connections"])},
        job_defaults={"misfire_grace_time": None, "coalesce": True},
        timezone=UTC,
    )
    scheduler.start(paused=True)
    for number, at in enumerate(due_times(plan)):
        when = datetime.fromtimestamp(at, UTC)
        scheduler.add_job("tests.bench.contestants:post_once", "date", run_date=when, args=[plan["url"], number])
    scheduler.resume()
    ready()
    sys.stdin.read()


def _services(plan: dict[str, Any]) -> Any:
    from huiying.store.db import Store, open_engine
    from tests.engine_fixtures import real_notifier, services_on

    store = Store(open_engine(plan["database"]), lambda: datetime.now(UTC))
    threads = plan.get("threads", 320)
    return services_on(store, Path(plan["folder"]), lambda config: real_notifier(config, threads))


def create(plan: dict[str, Any]) -> None:
    """A fresh database with an office, one officer on duty and the webhook."""
    from huiying.domain.kinds import Role
    from huiying.store import tables as t
    from tests.engine_fixtures import World

    services = _services(plan)
    t.metadata.create_all(services.store.engine)
    world = World(services).furnish({"officer": Role.DUTY_OFFICER})
    world.webhook("hook", plan["url"])


def prepare(plan: dict[str, Any]) -> None:
    """One incident, one running clock and one reminder per message; moved to their true time when all is written."""
    import sqlalchemy as sa

    from huiying.domain.plan import dedup_key
    from huiying.store import tables as t

    services = _services(plan)
    far = datetime.now(UTC) + timedelta(days=1)
    dues = [far + timedelta(seconds=plan.get("gap", 0.0) * number) for number in range(plan["count"])]
    first = plan.get("first", 0)
    clock = {
        "cycle": 1,
        "key": "p:r",
        "origin": "rule",
        "rule_id": "authoritative_response",
        "name": "权威回应",
        "status": "stipulated",
        "anchor_field": "first_known_at",
        "state": "running",
        "binding": True,
    }
    step = {"to": ["duty_officer"], "audience": ["group"], "when": "always", "of": "half", "band": "notice"}
    action = {"kind": "reminder", "step_id": "half", "urgency": 2, "state": "pending", "detail": step}
    with services.store.transaction("bench") as tx:
        seen = {"kind": "opinion", "state": "registered", "unit_id": "office", "registered_by": "bench"}
        rows = [{"no": f"2026-{first + n:06d}", "registered_at": tx.now, **seen} for n in range(plan["count"])]
        tx.run(t.incident.insert(), rows)
        ids = [row.id for row in tx.all(sa.select(t.incident.c.id).where(t.incident.c.no >= f"2026-{first:06d}"))]
        hours = timedelta(hours=48)
        clocks = [
            {"incident_id": i, "started_at": tx.now, "due_at": d + hours, **clock}
            for i, d in zip(ids, dues, strict=True)
        ]
        tx.run(t.clock.insert(), clocks)
        made = tx.all(sa.select(t.clock.c.id, t.clock.c.incident_id).where(t.clock.c.incident_id.in_(ids)))
        by_incident = {row.incident_id: row.id for row in made}
        actions = [
            {
                "dedup_key": dedup_key(f"clock:{by_incident[i]}", "half", 1),
                "incident_id": i,
                "clock_id": by_incident[i],
                "due_at": d,
                "created_at": tx.now,
                **action,
            }
            for i, d in zip(ids, dues, strict=True)
        ]
        tx.run(t.timed_action.insert(), actions)
    start = time.time() + plan["lead"]
    back = (far - datetime.fromtimestamp(start, UTC)) // timedelta(microseconds=1)
    with services.store.transaction("bench") as tx:
        move = "UPDATE timed_action SET due_at = due_at - :back WHERE due_at >= :far AND clock_id >= :first"
        micros = int(far.timestamp() * 1_000_000) - 1000
        tx.run(sa.text(move), {"back": back, "far": micros, "first": min(by_incident.values())})
    sys.stdout.write(json.dumps({"start": start}))


def populate(plan: dict[str, Any]) -> None:
    """Many open incidents with eight actions each, all in the future but one; written by the database itself."""
    import sqlalchemy as sa

    services = _services(plan)
    now = datetime.now(UTC)
    micros = int(now.timestamp() * 1_000_000)
    given = {"n": plan["count"], "now": micros, "hour": 3_600_000_000}
    numbers = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < :n)"
    step = json.dumps({"to": ["duty_officer"], "audience": ["group"], "when": "always", "of": "half", "band": "notice"})
    statements = [
        f"""INSERT INTO incident (id, no, kind, state, unit_id, registered_at, registered_by)
            {numbers} SELECT n, '2026-' || (100000 + n), 'opinion', 'registered', 'office', :now, 'bench' FROM c""",
        f"""INSERT INTO clock (id, incident_id, cycle, key, origin, rule_id, name, status, anchor_field, started_at, due_at,
                               state, binding, detail)
            {numbers} SELECT n, n, 1, 'p:r', 'rule', 'authoritative_response', '权威回应', 'stipulated', 'first_known_at',
                             :now, :now + 48 * :hour, 'running', 1, '{{}}' FROM c""",
        f"""INSERT INTO timed_action (dedup_key, kind, incident_id, clock_id, step_id, urgency, due_at, state, detail,
                                      created_at)
            {numbers}, s(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM s WHERE k < 8)
            SELECT n || '-' || k, 'reminder', n, n, 'half', 2,
                   CASE WHEN n = 1 AND k = 1 THEN :now ELSE :now + k * 5 * :hour + n END, 'pending', :step, :now
            FROM c, s""",
    ]
    with services.store.transaction("bench") as tx:
        for statement in statements:
            tx.run(sa.text(statement), given | {"step": step})


def register(plan: dict[str, Any]) -> None:
    """How long registering takes on that database: the median of a hundred."""
    import statistics

    from huiying.domain.access import LOCAL_PERMISSIONS
    from huiying.domain.kinds import Kind
    from huiying.service import incidents, rulebook
    from huiying.service.actor import EVERYWHERE, Actor
    from huiying.service.requests import RegisterRequest

    services = _services(plan)
    rulebook.sync(services)
    actor = Actor("local:bench", "", LOCAL_PERMISSIONS, EVERYWHERE)
    seconds = []
    for number in range(120):
        request = RegisterRequest(title=f"示例事项{number}（虚构）", kind=Kind.OPINION, unit_id="office")
        began = time.perf_counter()
        incidents.register(services, actor, request)
        seconds.append(time.perf_counter() - began)
    sys.stdout.write(json.dumps({"median": statistics.median(seconds[20:])}))


def worker(plan: dict[str, Any]) -> None:
    """One process of ours: engine and ticker, until standard input ends."""
    from huiying.service.engine import Engine, EngineOptions, calm_collector
    from schedules.ticker import Ticker

    calm_collector()
    engine = Engine(_services(plan), EngineOptions(name=plan.get("name", "engine")))
    engine.start()
    ticker = Ticker(engine.tick, on_step=engine.clock_stepped)
    ticker.start()
    ready()
    sys.stdin.read()
    ticker.stop()
    engine.stop()


def web(plan: dict[str, Any]) -> None:
    """The web server with somebody signed in at the desk, until standard input ends."""
    import uvicorn
    from loguru import logger
    from sqlalchemy import insert

    from huiying.store import tables as t
    from huiying.web.app import create_app
    from tests.fakes.sessions import session_of

    services = _services(plan)
    with services.store.transaction("bench") as tx:
        tx.run(insert(t.access).values(person_id="officer", role="duty", unit_id="office"))
    logger.remove()  # a line per page would hide the table
    secret, _ = session_of(services, "officer")
    Path(plan["folder"], "secret").write_text(secret, encoding="utf-8")
    server = uvicorn.Server(uvicorn.Config(create_app(services), port=plan["port"], log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    ready()
    sys.stdin.read()
    server.should_exit = True
    thread.join(10)


def lateness(plan: dict[str, Any]) -> None:
    """通知号 and due time of every message that went to the webhook."""
    import sqlalchemy as sa

    from huiying.store import tables as t

    statement = (
        sa.select(t.delivery.c.notice_no, t.timed_action.c.due_at)
        .join(t.timed_action, t.timed_action.c.id == t.delivery.c.action_id)
        .where(t.delivery.c.channel_id == "hook")
    )
    with _services(plan).store.reading() as tx:
        rows = {row.notice_no: row.due_at.timestamp() for row in tx.all(statement)}
        sent = tx.value(
            sa.select(sa.func.count()).where(t.delivery.c.channel_id == "hook", t.delivery.c.state == "sent")
        )
    sys.stdout.write(json.dumps({"due": rows, "sent": sent}))


_ROLES: dict[str, Callable[[dict[str, Any]], None]] = {
    "bare": bare,
    "apscheduler": apscheduler,
    "create": create,
    "prepare": prepare,
    "populate": populate,
    "register": register,
    "worker": worker,
    "web": web,
    "lateness": lateness,
}

if __name__ == "__main__":
    _ROLES[sys.argv[1]](json.loads(sys.argv[2]))
