"""Processes of a trial: started, killed by their number, started again; all of them gone at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.trials.stage import ROOT, Stage

_LONGEST_TAIL = 1500
ENGINE = (
    "from config.settings import load_settings\nfrom huiying import bootstrap\nbootstrap.run_engine(load_settings())\n"
)


class Process:
    """One process of ours in its present life; its output goes to a file."""

    def __init__(
        self, name: str, argv: Sequence[str], stage: Stage, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.lives = 0
        self.kills = 0
        self.output = stage.folder / f"{name}.out"
        self._environment = {**stage.environment, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> Self:
        """Start it (again)."""
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                self.argv,
                cwd=ROOT,
                env={**self._environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.lives += 1
        return self

    @property
    def pid(self) -> int:
        """The number of the present life."""
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """The exit code of the last life; None while it lives."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """``kill -9`` and wait for the body."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
            self.kills += 1

    def pause(self) -> None:
        """SIGSTOP: it sleeps as a suspended machine does."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def end(self, patience: float = 10.0) -> int | None:
        """Ask it to end; a stopped or deaf one is killed. Gives the exit code."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return self._process.returncode

    def wait(self, patience: float) -> int:
        """Wait for its end; an overlong one is killed and raises."""
        assert self._process is not None
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def said(self) -> str:
        """The end of what it wrote."""
        text = self.output.read_text(encoding="utf-8", errors="replace") if self.output.exists() else ""
        return text[-_LONGEST_TAIL:]


class Nursling:
    """Like ``Process``, but forked from the nursery: it works a fraction of a second after its start."""

    def __init__(self, nursery: Nursery, stage: Stage, name: str, what: str, argv: Sequence[str]) -> None:
        self.name = name
        self.kills = 0
        self.pid = 0
        self.output = stage.folder / f"{name}.out"
        self._nursery = nursery
        self._stage = stage
        self._command = {"what": what, "argv": list(argv), "output": str(self.output)}

    def start(self, **environment: str) -> Self:
        """Start it (again)."""
        self.pid = self._nursery.fork({**self._command, "environment": {**self._stage.environment, **environment}})
        return self

    @property
    def ended(self) -> int | None:
        """The exit code of the present life; None while it lasts."""
        return self._nursery.exit_code(self.pid)

    def kill(self) -> None:
        """``kill -9`` and wait until it is gone."""
        if self.pid and self.ended is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait(10.0)
            self.kills += 1

    def wait(self, patience: float) -> int | None:
        """Wait for its end; gives the exit code, None when it has not ended."""
        wait_until(lambda: self.ended is not None, patience, every=0.005)
        return self.ended

    def end(self, patience: float = 10.0) -> int | None:
        """Ask it to end; one that does not is killed. Gives the exit code."""
        if self.pid and self.ended is None:
            os.kill(self.pid, signal.SIGTERM)
            if self.wait(patience) is None:
                self.kill()
        return self.ended

    def said(self) -> str:
        """The end of what it wrote."""
        text = self.output.read_text(encoding="utf-8", errors="replace") if self.output.exists() else ""
        return text[-_LONGEST_TAIL:]


class Nursery:
    """The process that forks, shared by threads; leaving the context ends it and everything that came out of it."""

    def __init__(self, folder: Path) -> None:
        self._exits = folder / "exits"
        self._lock = threading.Lock()
        self._children: list[Nursling] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.trials.nursery", str(self._exits)],
            cwd=ROOT,
            env=Stage(folder).environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise RuntimeError("the nursery did not start")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for child in self._children:
            child.kill()
        self._process.kill()
        self._process.communicate()

    def engine(self, stage: Stage, name: str = "engine") -> Nursling:
        """The product's engine, not yet started."""
        return self._child(stage, name, "engine", [])

    def registrar(self, stage: Stage, name: str, *options: str) -> Nursling:
        """A registrar under load, not yet started."""
        return self._child(stage, name, "registrar", [name, str(stage.folder), *options])

    def _child(self, stage: Stage, name: str, what: str, argv: Sequence[str]) -> Nursling:
        made = Nursling(self, stage, name, what, argv)
        self._children.append(made)
        return made

    def fork(self, command: Mapping[str, object]) -> int:
        """One more process; gives its number."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def exit_code(self, pid: int) -> int | None:
        """How a process of ours has ended; None while it lives."""
        for line in reversed(read_lines(self._exits)):
            number, _, code = line.partition(" ")
            if int(number) == pid:
                return int(code)
        return None


class Cast:
    """All processes of a trial; leaving the context ends them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.members: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for member in self.members:
            member.kill()

    def add(self, name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Process:
        """A process, not yet started."""
        member = Process(name, argv, self.stage, environment)
        self.members.append(member)
        return member

    def engine(self, name: str = "engine", environment: Mapping[str, str] | None = None) -> Process:
        """The product's engine."""
        return self.add(name, [sys.executable, "-c", ENGINE], environment)

    def registrar(self, name: str, *options: str, environment: Mapping[str, str] | None = None) -> Process:
        """A registrar under load."""
        argv = [sys.executable, "-m", "tests.trials.registrar", name, str(self.stage.folder), *options]
        return self.add(name, argv, environment)


def wait_until(check: object, patience: float, every: float = 0.05) -> bool:
    """Ask again and again until it says yes or the patience ends."""
    assert callable(check)
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if check():
            return True
        time.sleep(every)
    return bool(check())


def read_lines(path: Path) -> list[str]:
    """The complete lines of a file that a killed process may have left unfinished."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1].splitlines()
