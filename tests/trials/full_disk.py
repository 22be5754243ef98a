"""The disk runs full at several moments: refused loudly in Chinese, nothing half-written, reading goes on, and it resumes.

The disk is real, its fullness is not: ``diskfull.c`` lets none of the database's files grow while it is switched on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huiying.service.services import Services
from huiying.service.views import incident_view
from tests.trials.judge import Bounds, drain, judge, read_acks
from tests.trials.preload import NoCompiler, build, preloading
from tests.trials.processes import Cast, read_lines, wait_until
from tests.trials.receiver import Receiver
from tests.trials.setting import Setting
from tests.trials.stage import Stage, furnish, staged
from tests.trials.table import Row

_SOURCE = Path(__file__).with_name("diskfull.c")
_RESUMES_WITHIN = 10.0


class Fullness:
    """The switch."""

    def __init__(self, folder: Path, stage: Stage) -> None:
        self._flag = folder / "full"
        self._flag.write_bytes(b"0")
        library = build(_SOURCE, folder)
        self.environment = preloading(library) | {
            "DISKFULL_FLAG": str(self._flag),
            "DISKFULL_FOLDER": str(stage.folder / "huiying.db"),
        }

    @contextmanager
    def on(self) -> Iterator[None]:
        """Nothing grows inside this block."""
        self._turn(b"1")
        yield
        self._turn(b"0")

    def _turn(self, value: bytes) -> None:
        with self._flag.open("r+b") as file:
            file.write(value)


def full_disk(setting: Setting) -> Row:
    """Full in the middle of work, full while the engine starts, full again; space comes back each time."""
    setting.folder.mkdir(parents=True)
    with Receiver() as receiver, staged(setting.folder / "data") as stage, Cast(stage) as cast:
        try:
            disk = Fullness(setting.folder, stage)
        except NoCompiler as missing:
            return setting.skipped(str(missing))
        furnish(stage, receiver)
        services = stage.services()
        engine = cast.engine(environment=disk.environment).start()
        desk = cast.registrar("desk", "--pause", "0.15", environment=disk.environment).start()
        wait_until(lambda: len(read_acks(stage.folder).keys) > 8, 40.0)
        resumed, faults, reads = [], [], 0
        for phase in ("at work", "engine restarts", "at work again"):
            setting.say(f"full: {phase}")
            told = _refusals(stage.folder)
            with disk.on():
                if phase == "engine restarts":
                    engine.kill()
                    engine.start()
                wait_until(lambda told=told: _refusals(stage.folder) > told + 2, 15.0)
                if _refusals(stage.folder) <= told:
                    faults.append(f"{phase}: nothing was refused")
                reads += _read_something(stage, services)
                time.sleep(1.0)
            resumed.append(_seconds_to_resume(stage.folder))
            if engine.ended is not None:
                setting.say(
                    f"the engine ended with {engine.ended} on the full disk; its supervisor would start it again"
                )
                engine.start()
        time.sleep(3.0)
        desk.kill()
        cast.add("desk-again", [*desk.argv, "--count", "1"]).start().wait(60.0)
        drained = drain(services, 60.0, soon=10.0)
        code = engine.end()
        verdict = judge(stage, services, receiver.log, Bounds(duplicates=64))
        services.store.close()
        sentences = _sentences(stage.folder)
    verdict.faults += faults
    verdict.blame(
        "refusal that does not name the full disk", (text for text in sentences if "磁盘空间已满" not in text)
    )
    if max(resumed) > _RESUMES_WITHIN:
        verdict.faults.append(f"registering resumed only after {max(resumed):.1f} s")
    if code:
        verdict.faults.append(f"the engine ended with {code}: {engine.said()}")
    return setting.row(
        f"{len(resumed)} times full: {verdict.figures['told to come again']} refusals, {reads} reads meanwhile, resumed within"
        f" {max(resumed):.1f} s, {verdict.figures['acknowledged']} acknowledged, drained {drained:.1f} s,"
        f" duplicates {verdict.figures['duplicates']}, lost {'?' if verdict.faults else 0}",
        verdict.faults,
    )


def _notes(folder: Path) -> Iterator[dict[str, object]]:
    for path in folder.glob("*.acks"):
        yield from map(json.loads, read_lines(path))


def _refusals(folder: Path) -> int:
    return sum("busy" in line for line in _notes(folder))


def _sentences(folder: Path) -> set[str]:
    return {str(line["busy"]) for line in _notes(folder) if "busy" in line}


def _seconds_to_resume(folder: Path) -> float:
    began, before = time.monotonic(), len(read_acks(folder).keys)
    wait_until(lambda: len(read_acks(folder).keys) > before, 30.0)
    return time.monotonic() - began


def _read_something(stage: Stage, services: Services) -> int:
    """Reading needs no space: every acknowledged incident can be shown."""
    numbers = sorted(read_acks(stage.folder).clocks)[:20]
    with services.store.reading() as tx:
        return sum(bool(incident_view(tx, no)["clocks"]) for no in numbers)
