"""Another process holds SQLite's write lock: nobody dies, refusals are loud, and everything goes on afterwards."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

from tests.trials.judge import Bounds, drain, judge, lateness, read_acks
from tests.trials.processes import Cast, read_lines, wait_until
from tests.trials.receiver import Receiver
from tests.trials.setting import Setting
from tests.trials.stage import furnish, staged
from tests.trials.table import Row


def write_lock(setting: Setting) -> Row:
    """60 seconds in the long run; in ci long enough for the busy timeout to run out."""
    held = 60.0 if setting.is_long else 16.0
    with Receiver() as receiver, staged(setting.folder) as stage, Cast(stage) as cast:
        furnish(stage, receiver)
        services = stage.services()
        engine = cast.engine().start()
        registrars = [cast.registrar(name, "--pause", "0.2").start() for name in ("r1", "r2")]
        wait_until(lambda: len(read_acks(stage.folder).keys) > 6 and bool(receiver.log.posts), 60.0)
        before = len(read_acks(stage.folder).keys)
        _hold(stage.folder / "huiying.db", held)
        alive = [member.ended is None for member in (engine, *registrars)]
        released = time.monotonic()
        while len(read_acks(stage.folder).keys) <= before + 2 and time.monotonic() - released < 30.0:
            time.sleep(0.05)
        resumed = time.monotonic() - released
        for registrar in registrars:
            registrar.kill()
        for registrar in registrars:
            cast.add(f"{registrar.name}-again", [*registrar.argv, "--count", "1"]).start().wait(60.0)
        drained = drain(services, 60.0, soon=10.0)
        code = engine.end()
        verdict = judge(stage, services, receiver.log, Bounds(duplicates=0, copies=2))
        late = lateness(services, receiver.log)
        services.store.close()
    said = {
        line["busy"]
        for path in stage_acks(stage.folder)
        for line in map(json.loads, read_lines(path))
        if "busy" in line
    }
    if not said:
        verdict.faults.append("nobody was told to come again: the lock was not felt")
    verdict.blame("refusal without a Chinese sentence", (text for text in said if "未写入" not in text))
    if not all(alive) or code:
        verdict.faults.append(f"a process died: {alive}, the engine ended with {code}: {engine.said()}")
    return setting.row(
        f"held {held:.0f} s: {verdict.figures['told to come again']} refusals, {verdict.figures['acknowledged']}"
        f" acknowledged, resumed after {resumed:.1f} s, worst lateness {late[-1]:.1f} s, drained {drained:.1f} s,"
        f" duplicates {verdict.figures['duplicates']}, lost {'?' if verdict.faults else 0}",
        verdict.faults,
    )


def stage_acks(folder: Path) -> list[Path]:
    """The registrars' notes, kept beside the database."""
    return sorted(folder.glob("*.acks"))


def _hold(path: Path, seconds: float) -> None:
    """What a forgotten transaction of somebody's database tool does."""
    connection = sqlite3.connect(path, timeout=30.0, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE counter SET value = value")
    time.sleep(seconds)
    connection.execute("ROLLBACK")
    connection.close()
