"""Where short-lived processes come from: ``python -m tests.trials.nursery`` has imported everything and forks.

A storm kills more often than Python starts. What is forked here has opened nothing yet: no database, no thread, no
socket; from then on it is the product's process like any other. One JSON command a line on standard input, one process
id a line on standard output; how each process ended is appended to the file that is named at the start.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import sys
import traceback
from pathlib import Path
from typing import Any

import alembic.config  # noqa: F401 - what the product imports late is imported here, once
import psycopg  # noqa: F401

import schedules.ticker  # noqa: F401
from config import logging as _logging  # noqa: F401
from config.settings import load_settings
from huiying import bootstrap, crash
from huiying.service import engine, rulebook  # noqa: F401
from notifiers import registry  # noqa: F401
from tests.trials import registrar


def _live(command: dict[str, Any]) -> None:
    """In the child: its own environment and output, then the work."""
    os.environ.clear()
    os.environ.update(command["environment"])
    importlib.reload(crash)  # the same functions, armed by the new environment
    output = os.open(Path(command["output"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if command["what"] == "engine":
        bootstrap.run_engine(load_settings())
    else:
        sys.argv = ["registrar", *command["argv"]]
        registrar.main()


def _fork(command: dict[str, Any]) -> int:
    child = os.fork()
    if not child:
        code = 1
        try:
            _live(command)
            code = 0
        except BaseException:  # noqa: BLE001 - told in the child's own output
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return child


def _bury(exits: int) -> None:
    """Note how the dead have ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            os.write(exits, f"{child} {os.waitstatus_to_exitcode(status)}\n".encode())


def main(exits_path: str) -> None:
    """Fork whatever is asked for until standard input ends."""
    exits = os.open(exits_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.write(1, b"ready\n")
    pending = b""
    while True:
        asked, _, _ = select.select([0], [], [], 0.01)
        _bury(exits)
        if not asked:
            continue
        part = os.read(0, 65536)
        if not part:
            return
        *lines, pending = (pending + part).split(b"\n")
        for line in lines:
            os.write(1, f"{_fork(json.loads(line))}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1])
