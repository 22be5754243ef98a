"""Fifty identical registrations at the same moment through the real web server: one incident, fifty times its number."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from huiying.domain.access import AccessRole
from huiying.service import roster_admin, tokens
from huiying.service.services import Services
from huiying.store import tables as t
from tests.trials.judge import Verdict, judge_database
from tests.trials.processes import Cast, Process, wait_until
from tests.trials.setting import Setting
from tests.trials.stage import OPERATOR, UNIT, furnish, staged
from tests.trials.table import Row

_PARALLEL = 50
_WEB = "from config.settings import load_settings\nfrom huiying import bootstrap\nbootstrap.run_web(load_settings())\n"
_BODY = {"title": "示例路段积水", "kind": "opinion", "unit_id": UNIT}


@dataclass(frozen=True, slots=True)
class Answer:
    """What one caller was told."""

    status: int
    no: str


def fifty(setting: Setting) -> Row:
    """On SQLite and PostgreSQL: alone, and with a kill of the web process in the middle and everybody asking again."""
    faults, figures = [], []
    rounds = 20 if setting.is_long else 4
    for database in ("sqlite", "postgres"):
        verdict, text = _on(setting.folder / database, database, rounds)
        faults += [f"{database}: {fault}" for fault in verdict.faults]
        figures.append(f"{database}: {text}")
    return setting.row("; ".join(figures), faults)


def _on(folder: Path, database: str, rounds: int) -> tuple[Verdict, str]:
    port = _free_port()
    with staged(folder, database, port=port) as stage, Cast(stage) as cast:
        furnish(stage, None)
        services = stage.services()
        secret = _token(services)
        web = cast.add("web", [sys.executable, "-c", _WEB]).start()
        verdict = Verdict()
        if not wait_until(lambda: _is_up(port), 40.0):
            verdict.faults.append(f"the web process did not come up: {web.said()}")
            return verdict, "not tried"
        answers = [asyncio.run(_together(port, secret, f"key-{number}")) for number in range(rounds)]
        answers.append(_with_a_kill(port, secret, web))
        for number, group in enumerate(answers):
            numbers = Counter(answer.no for answer in group if answer.status in {200, 201})
            if len(numbers) != 1 or sum(numbers.values()) != _PARALLEL:
                verdict.faults.append(f"round {number}: {Counter((a.status, a.no) for a in group)}")
        other = asyncio.run(_post(port, secret, "key-0", {**_BODY, "title": "另一件事"}))
        if other.status != 409:
            verdict.faults.append(f"another request under a used key was answered with {other.status}")
        with services.store.reading() as tx:
            count = tx.value(sa.select(sa.func.count()).select_from(t.incident))
            entries = tx.value(
                sa.select(sa.func.count()).select_from(t.audit).where(t.audit.c.action == "incident.registered")
            )
        if (count, entries) != (rounds + 1, rounds + 1):
            verdict.faults.append(f"{count} incidents and {entries} audit entries instead of {rounds + 1}")
        web.end()
        judge_database(stage, services, verdict)
        services.store.close()
    return verdict, f"{rounds + 1} × {_PARALLEL} requests, {count} incidents"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _token(services: Services) -> str:
    """A duty officer's personal token."""
    roster_admin.grant_access(services, OPERATOR, "zhang", AccessRole.DUTY, UNIT)
    password = tokens.issue_password(services, OPERATOR, "zhang")["password"]
    return str(tokens.exchange_password(services, "zhang", password)["token"])


def _is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=1) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


async def _together(port: int, secret: str, key: str) -> list[Answer]:
    return await asyncio.gather(*(_post(port, secret, key, _BODY) for _ in range(_PARALLEL)))


async def _post(port: int, secret: str, key: str, body: dict[str, Any]) -> Answer:
    content = json.dumps(body, ensure_ascii=False).encode()
    head = (
        f"POST /api/v1/incidents HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {secret}\r\n"
        f"Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        "Connection: close\r\n\r\n"
    )
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + content)
        await writer.drain()
        said = await asyncio.wait_for(reader.read(), 30.0)
        writer.close()
    except (OSError, TimeoutError):
        return Answer(0, "")
    if not said.startswith(b"HTTP/1.1 "):
        return Answer(0, "")
    status = int(said.split(b" ", 2)[1])
    text = said.partition(b"\r\n\r\n")[2]
    try:
        return Answer(status, json.loads(text).get("no", "") if text else "")
    except ValueError:
        return Answer(0, "")  # cut off by the kill


def _with_a_kill(port: int, secret: str, web: Process) -> list[Answer]:
    """The web process dies among fifty requests; whoever got no answer asks again under the same key."""

    async def storm() -> list[Answer]:
        asked = [asyncio.create_task(_post(port, secret, "key-kill", _BODY)) for _ in range(_PARALLEL)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        web.kill()
        return list(await asyncio.gather(*asked))

    answers = asyncio.run(storm())
    web.start()
    wait_until(lambda: _is_up(port), 40.0)
    time.sleep(0.1)

    async def again() -> list[Answer]:
        return list(
            await asyncio.gather(*(_post(port, secret, "key-kill", _BODY) for answer in answers if not answer.no))
        )

    return [answer for answer in answers if answer.no] + asyncio.run(again())
