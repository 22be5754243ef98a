"""``python -m tests.trials ci``: every trial at the size of continuous integration, then one table.

``python -m tests.trials long`` is the long run, ``python -m tests.trials NAME …`` runs some by name (``list`` names them).
Every trial is a process of its own; those that mostly wait run beside each other. Exit code 1 when anything failed;
a trial that could not be tried at all counts as failed in ``ci`` and ``long``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path

from huiying.domain.workdays import SHANGHAI
from tests.trials.preload import Clockstep
from tests.trials.setting import Setting
from tests.trials.table import Row, render

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Entry:
    """A trial: where it lives, how much it loads the machine, and how long it may take at most."""

    module: str
    calm: bool = False
    ci_seconds: int = 240
    long_seconds: int = 7200


TRIALS = {
    "kill_storm_sqlite": Entry("kill_storm"),
    "kill_storm_postgres": Entry("kill_storm"),
    "power_cut": Entry("power_cut"),
    "time_zones": Entry("time_zones"),
    "simulation": Entry("simulation"),
    "restart": Entry("restart"),
    "outage": Entry("outage"),
    "fifty": Entry("fifty"),
    "clock_steps": Entry("clock_steps", calm=True),
    "write_lock": Entry("write_lock", calm=True),
    "full_disk": Entry("full_disk", calm=True),
    "stopped_sender": Entry("stopped_sender", calm=True),
    "hanging_channel": Entry("hanging_channel", calm=True),
}


def main() -> int:
    """Run what was asked for."""
    given = _arguments()
    if given.names == ["list"]:
        sys.stdout.write("\n".join(TRIALS) + "\n")
        return 0
    if given.alone:
        return _run_alone(given.names[0], given.scale, given.seed)
    group = given.names[0] if given.names[0] in {"ci", "long"} else ""
    scale = group or given.scale
    names = list(TRIALS) if group else given.names
    unknown = [name for name in names if name not in TRIALS]
    if unknown:
        sys.stderr.write(f"no such trial: {', '.join(unknown)}; known: {', '.join(TRIALS)}\n")
        return 2
    sys.stderr.write(f"seed {given.seed} (repeat with --seed {given.seed})\n")
    with _time_of_day(given.at):
        failed = _run_and_tell(names, scale, given.seed, strict=bool(group))
        if failed and given.second_try:
            sys.stdout.write(f"\n== SOME TRIALS FAILED: {', '.join(failed)} (above); once more with the same seed\n")
            failed = _run_and_tell(failed, scale, given.seed, strict=bool(group))
    return 1 if failed else 0


@contextmanager
def _time_of_day(at: dt.time | None) -> Iterator[None]:
    """Let every trial begin at that time of day in Shanghai, whatever the time is; None: now."""
    if at is None:
        yield
        return
    now = datetime.now(SHANGHAI)
    ahead = (datetime.combine(now, at, SHANGHAI) - now) % dt.timedelta(days=1)
    with tempfile.TemporaryDirectory(prefix="hy-clock-") as folder:
        Path(folder).chmod(0o755)  # a PostgreSQL server under a user of its own lives by the same clock
        clock = Clockstep(Path(folder))
        clock.step(ahead.total_seconds())
        os.environ.update(clock.environment)
        yield


def _run_and_tell(names: Sequence[str], scale: str, seed: int, *, strict: bool) -> list[str]:
    """The names of those that failed; where ``strict``, what could not be tried has failed too."""
    rows, seconds = _run_all(names, scale, seed)
    sys.stdout.write(render(rows, seconds) + "\n")
    failed = [name for name, row in zip(names, rows, strict=True) if row.ok is False or (row.ok is None and strict)]
    sys.stdout.write(f"{len(rows) - len(failed)} of {len(rows)} trials passed, seed {seed}\n")
    sys.stdout.flush()
    return failed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.trials", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="ci|long|list|NAME")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--scale", choices=("ci", "long"), default="ci")
    parser.add_argument(
        "--at", type=dt.time.fromisoformat, metavar="HH:MM", help="begin at that time of day in Shanghai"
    )
    parser.add_argument("--second-try", action="store_true", help="run what has failed once more and judge by that")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


# -- one trial, in this process ------------------------------------------------------------------------------------------


def _run_alone(name: str, scale: str, seed: int) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = Path(tempfile.mkdtemp(prefix=f"hy-{name[:16]}-"))
    trial = getattr(import_module(f"tests.trials.{TRIALS[name].module}"), name)
    try:
        row: Row = trial(Setting(name, folder / "stage", seed, scale))
    finally:
        if os.environ.get("HUIYING_TRIAL_KEEP"):
            sys.stderr.write(f"kept: {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(json.dumps(row.as_json(), ensure_ascii=False) + "\n")
    return 0


# -- all of them ---------------------------------------------------------------------------------------------------------


def _run_all(names: Sequence[str], scale: str, seed: int) -> tuple[list[Row], list[float]]:
    """First the heavy ones, two beside each other; then the calm ones, which mostly wait, three beside each other."""
    results: dict[str, tuple[Row, float]] = {}

    def run(name: str, places: threading.Semaphore) -> None:
        with places:
            began = time.monotonic()
            row = _run_apart(name, scale, seed)
            results[name] = row, time.monotonic() - began
        sys.stderr.write(f"[{name}] {row.word} after {results[name][1]:.0f} s: {row.figures}\n")

    for calm, together in ((False, 2), (True, 3)):
        places = threading.Semaphore(together)
        group = [name for name in names if TRIALS[name].calm is calm]
        threads = [threading.Thread(target=run, args=(name, places)) for name in group]
        for thread in threads:
            thread.start()
            time.sleep(0.05)  # in the order of the list
        for thread in threads:
            thread.join()
    return [results[name][0] for name in names], [results[name][1] for name in names]


def _run_apart(name: str, scale: str, seed: int) -> Row:
    entry = TRIALS[name]
    limit = entry.long_seconds if scale == "long" else entry.ci_seconds
    argv = [sys.executable, "-m", "tests.trials", name, "--alone", "--scale", scale, "--seed", str(seed)]
    with subprocess.Popen(argv, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            said, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
            return Row(name, f"not done after {limit} s", ok=False)
        except BaseException:
            process.terminate()
            raise
    lines = said.splitlines()
    if process.returncode or not lines:
        return Row(name, f"ended with {process.returncode} before its verdict", ok=False)
    return Row.from_json(json.loads(lines[-1]))


if __name__ == "__main__":
    sys.exit(main())
