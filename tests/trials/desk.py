"""A desk that registers when it is told to: ``python -m tests.trials.desk`` takes ``[title, seconds]`` as JSON lines.

A process of its own, so that it can live under another clock or on another disk than the trial.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from config.settings import load_settings
from huiying import bootstrap
from huiying.service import incidents
from tests.trials.stage import OPERATOR, ROOT, Stage, opinion


class Desk:
    """The trial's end of the pipe; use as a context manager."""

    def __init__(self, stage: Stage, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.trials.desk"],
            cwd=ROOT,
            env={**stage.environment, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def register(self, title: str, seconds: float) -> str:
        """Register an incident that is due in so many seconds by the deciding clock; gives its number."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([title, seconds]) + "\n")
        self._process.stdin.flush()
        return str(json.loads(self._process.stdout.readline()))


def main() -> None:
    """Register until standard input ends."""
    services = bootstrap.build(load_settings())
    for line in sys.stdin:
        title, seconds = json.loads(line)
        view = incidents.register(services, OPERATOR, opinion(title, services.store.now(), seconds), title)
        sys.stdout.write(json.dumps(view["no"]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
