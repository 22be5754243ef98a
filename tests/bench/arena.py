"""Where contestants meet: one receiver, contestants as processes, and what the receiver saw."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil

_PYTHON = sys.executable


class Progress:
    """One line that says what is being measured."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def say(self, text: str) -> None:
        """Show it; on a terminal it replaces the line before."""
        if self._shown:
            sys.stderr.write(f"\r\033[K{text}")
        else:
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Make room for the table."""
        if self._shown:
            sys.stderr.write("\r\033[K")


@dataclass
class Hook:
    """The receiver's process."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        """Where posts go."""
        return f"http://127.0.0.1:{self.port}/hook"

    def ask(self, path: str) -> Any:
        """What it has seen."""
        with urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=10) as answer:
            return json.load(answer)

    def reset(self) -> None:
        """Forget."""
        urlopen(Request(f"http://127.0.0.1:{self.port}/reset", b"", method="POST"), timeout=10).close()

    def wait_for(self, count: int, seconds: float) -> dict[str, Any]:
        """Until so many different messages have come."""
        end = time.monotonic() + seconds
        while True:
            stats: dict[str, Any] = self.ask("stats")
            if stats["distinct"] >= count or time.monotonic() > end:
                return stats
            time.sleep(0.05)


@contextmanager
def hook(delay: float = 0.0) -> Iterator[Hook]:
    """A receiver in a process of its own."""
    command = [_PYTHON, "-m", "tests.fakes.receiver", "--delay", str(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield Hook(process, json.loads(process.stdout.readline())["port"])
        finally:
            process.terminate()


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one contestant's data."""
    path = Path(tempfile.mkdtemp(prefix="huiying-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def run_role(role: str, plan: dict[str, Any]) -> str:
    """Run a contestant's role to its end; gives what it wrote."""
    command = [_PYTHON, "-m", "tests.bench.contestants", role, json.dumps(plan)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time of these processes: what other users of the machine can hardly bend."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(spent.user + spent.system for spent in times)


@contextmanager
def running(role: str, plan: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """A contestant's process, ready."""
    command = [_PYTHON, "-m", "tests.bench.contestants", role, json.dumps(plan)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    if process.stdout.readline() != "ready\n":
        process.kill()
        raise RuntimeError(f"{role} did not start")
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@dataclass(frozen=True)
class Result:
    """What a contestant did: messages that came, seconds from due to the last, lateness of each."""

    name: str
    count: int
    distinct: int
    copies: int
    drained: float
    late: list[float] = field(default_factory=list)
    cpu: float = 0.0
    recorded: int | None = None

    def cpu_ms(self) -> float:
        """Processor time for each message."""
        return 1000 * self.cpu / max(1, self.distinct)

    def rate(self) -> float:
        """Messages a second."""
        return self.distinct / self.drained if self.drained > 0 else 0.0

    def late_ms(self, share: float) -> float:
        """A quantile of lateness in milliseconds."""
        ordered = sorted(self.late)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def _judge(name: str, receiver: Hook, plan: dict[str, Any], due: dict[str, float]) -> Result:
    first: dict[str, float] = {}
    records = receiver.ask("records")
    for message_id, at in records:
        first.setdefault(message_id, at)
    late = [at - due[message_id] for message_id, at in first.items() if message_id in due]
    drained = max(first.values(), default=plan["start"]) - plan["start"]
    return Result(name, plan["count"], len(first), len(records) - len(first), drained, late)


def _due_by_index(plan: dict[str, Any]) -> dict[str, float]:
    gap = plan.get("gap", 0.0)
    return {f"m{number}": plan["start"] + number * gap for number in range(plan["count"])}


def _patience(plan: dict[str, Any]) -> float:
    return float(plan.get("patience", 60.0)) + plan["start"] - time.time()


def simple(name: str, role: str, receiver: Hook, plan: dict[str, Any], lead: float) -> Result:
    """A contestant that brings its own timers."""
    receiver.reset()
    with folder() as path:
        plan = {**plan, "url": receiver.url, "start": time.time() + lead, "database": f"sqlite:///{path}/jobs.db"}
        with running(role, plan) as process:
            if time.time() > plan["start"]:
                raise RuntimeError(f"{name} was not ready when the first message was due")
            before = cpu_seconds([process.pid])
            receiver.wait_for(plan["count"], _patience(plan))
            spent = cpu_seconds([process.pid]) - before
    return replace(_judge(name, receiver, plan, _due_by_index(plan)), cpu=spent)


def ours(
    name: str, receiver: Hook, plan: dict[str, Any], *, database: str = "", workers: int = 1, lead: float
) -> Result:
    """Our engine, in one process or several, on SQLite unless another database is named."""
    receiver.reset()
    with folder() as path, ExitStack() as stack:
        base = {
            **plan,
            "url": receiver.url,
            "folder": str(path),
            "database": database or f"sqlite:///{path}/huiying.db",
        }
        run_role("create", base)
        names = ["engine", *(f"sender-{number}" for number in range(1, workers))]
        pids = [stack.enter_context(running("worker", base | {"name": name})).pid for name in names]
        before = cpu_seconds(pids)
        plan = base | json.loads(run_role("prepare", base | {"lead": lead}))
        receiver.wait_for(plan["count"], _patience(plan))
        spent = cpu_seconds(pids) - before
        stack.close()
        facts = json.loads(run_role("lateness", plan))
    return replace(_judge(name, receiver, plan, facts["due"]), cpu=spent, recorded=facts["sent"])
