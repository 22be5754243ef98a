"""A registrar as a process: ``python -m tests.trials.registrar NAME FOLDER`` registers without end until it is killed.

What it is about to do is written to ``FOLDER/<name>.intent`` first and done under an idempotency key; what the product
has acknowledged is a line in ``FOLDER/<name>.acks``. After a kill the unfinished intent is repeated with its key, as a
person or an upstream system would repeat it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from config.settings import load_settings
from huiying import bootstrap
from huiying.domain.errors import HuiyingError, Unavailable
from huiying.service import incidents
from tests.trials.stage import OPERATOR, opinion


@dataclass(frozen=True, slots=True)
class Load:
    """How much is registered, and how soon it falls due."""

    pause: float
    shortest: float
    longest: float
    tasks: float
    count: int


def _intend(chance: random.Random, load: Load) -> dict[str, Any]:
    seconds = chance.uniform(load.shortest, load.longest)
    return {"key": uuid.uuid4().hex, "at": datetime.now(UTC).isoformat(), "seconds": round(seconds, 3)}


def _repeat_while_busy(do: Callable[[], dict[str, Any]], note: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """An answer "not now" is no acknowledgement: the same key is sent again until there is one."""
    while True:
        try:
            return do()
        except Unavailable as busy:
            note({"busy": busy.message, "at": time.time()})
            time.sleep(0.2)


def run(name: str, folder: Path, load: Load, seed: int) -> None:
    """Register until killed, or ``count`` times."""
    services = bootstrap.build(load_settings())
    chance = random.Random(f"{seed}-{name}-{os.getpid()}")
    intent_path = folder / f"{name}.intent"
    acks = os.open(folder / f"{name}.acks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(line: dict[str, Any]) -> None:
        os.write(acks, (json.dumps(line, ensure_ascii=False) + "\n").encode())

    done = 0
    while not load.count or done < load.count:
        text = intent_path.read_text(encoding="utf-8") if intent_path.exists() else ""
        intent = json.loads(text) if text else _intend(chance, load)
        if not text:
            _keep(intent_path, intent)
        view = _register(services, intent, note)
        if "task_due" in intent or chance.random() < load.tasks:
            if "task_due" not in intent:
                intent["task_due"] = (datetime.now(UTC) + timedelta(seconds=intent["seconds"])).isoformat()
                _keep(intent_path, intent)
            _add_task(services, intent, view["no"], note)
        intent_path.unlink()
        done += 1
        time.sleep(load.pause * chance.uniform(0.5, 1.5))


def _keep(path: Path, intent: dict[str, Any]) -> None:
    """What is repeated under one key must be the same to the letter, the task's due time too."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(intent), encoding="utf-8")
    fresh.rename(path)


def _register(services: Any, intent: dict[str, Any], note: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    began = time.monotonic()
    request = opinion(intent["key"], datetime.fromisoformat(intent["at"]), intent["seconds"])
    view = _repeat_while_busy(lambda: incidents.register(services, OPERATOR, request, intent["key"]), note)
    clocks = {clock["key"]: clock["due_at"] for clock in view["clocks"]}
    note(
        {"no": view["no"], "key": intent["key"], "clocks": clocks, "took": time.monotonic() - began, "at": time.time()}
    )
    return view


def _add_task(services: Any, intent: dict[str, Any], no: str, note: Callable[[dict[str, Any]], None]) -> None:
    due = datetime.fromisoformat(intent["task_due"])
    try:
        view = _repeat_while_busy(
            lambda: incidents.add_task(services, OPERATOR, no, "water", "核查情况", due, intent["key"] + "t"), note
        )
    except HuiyingError as refused:
        note({"refused": refused.message, "no": no})
    else:
        clocks = {clock["key"]: clock["due_at"] for clock in view["clocks"]}
        note({"no": view["no"], "task": True, "clocks": clocks, "at": time.time()})


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pause", type=float, default=0.05)
    parser.add_argument("--shortest", type=float, default=4.0)
    parser.add_argument("--longest", type=float, default=9.0)
    parser.add_argument("--tasks", type=float, default=0.25)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    load = Load(given.pause, given.shortest, given.longest, given.tasks, given.count)
    run(given.name, given.folder, load, given.seed)
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main()
