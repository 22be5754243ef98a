"""After a restart the first overdue message leaves within five seconds: from exec to the receiver's hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from huiying.service import incidents
from huiying.service.services import Services
from tests.trials.judge import Bounds, drain, judge
from tests.trials.processes import Cast, Process, wait_until
from tests.trials.receiver import Receiver, wall_now
from tests.trials.setting import Setting
from tests.trials.stage import OPERATOR, furnish, opinion, staged
from tests.trials.table import Row

_LONGEST = 5.0
_DUE_SECONDS = 0.6


def restart(setting: Setting) -> Row:
    """Killed while idle, and killed with messages on the wire; on SQLite and on PostgreSQL."""
    faults: list[str] = []
    figures = []
    rounds = 10 if setting.is_long else 3
    for database in ("sqlite", "postgres"):
        idle, wire, found = _on(setting.folder / database, database, rounds)
        faults += found
        slowest = max(idle + wire)
        figures.append(f"{database}: idle {max(idle):.2f} s, on the wire {max(wire):.2f} s at worst of {rounds} each")
        if slowest > _LONGEST:
            faults.append(f"{database}: the first overdue message took {slowest:.2f} s")
    return setting.row("; ".join(figures), faults)


def _on(folder: Path, database: str, rounds: int) -> tuple[list[float], list[float], list[str]]:
    with Receiver() as receiver, staged(folder, database) as stage, Cast(stage) as cast:
        furnish(stage, receiver)
        services = stage.services()
        engine = cast.engine()
        idle = [_one(services, receiver, engine, f"闲{number}") for number in range(rounds)]
        wire = [_one(services, receiver, engine, f"忙{number}", "send_after") for number in range(rounds)]
        drain(services, 30.0, soon=1.0)
        engine.end()
        verdict = judge(stage, services, receiver.log, Bounds(duplicates=rounds * 32))
        services.store.close()
    return idle, wire, verdict.faults


def _one(services: Services, receiver: Receiver, engine: Process, title: str, crash_at: str = "") -> float:
    """Down, something falls due, up again: seconds until the first message about it."""
    if crash_at:
        engine.start(HUIYING_CRASH_AT=crash_at)
    incidents.register(services, OPERATOR, opinion(title, datetime.now(UTC), _DUE_SECONDS), title)
    if crash_at:
        engine.wait(30.0)
    time.sleep(_DUE_SECONDS + 0.1)
    before = len(receiver.log.posts)
    began = wall_now()
    engine.start()
    if not wait_until(lambda: len(receiver.log.posts) > before, 30.0, every=0.002):
        return float("inf")
    took = receiver.log.posts[before].at - began
    time.sleep(0.3)
    engine.kill()
    return took
