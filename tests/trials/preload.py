"""Small C libraries that trials put between a process and its libc; built when they are needed."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

_ROOT = Path(__file__).parents[2]
CLOCKSTEP = _ROOT / "tests" / "tools" / "clockstep.c"
_NANO = 1_000_000_000
POWERCUT = Path(__file__).with_name("powercut.c")


class NoCompiler(RuntimeError):
    """There is no C compiler on this machine, or it cannot build for LD_PRELOAD."""


def build(source: Path, folder: Path) -> Path:
    """Compile one source into a shared library in the folder."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise NoCompiler(f"no gcc: {source.name} could not be built (Debian, Ubuntu: apt-get install gcc libc6-dev)")
    library = folder / f"{source.stem}.so"
    done = subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NoCompiler(f"{source.name} could not be built: {done.stderr.strip()[:400]}")
    return library


def preloading(library: Path, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variable that puts the library first."""
    before = (environment or os.environ).get("LD_PRELOAD", "")
    return {"LD_PRELOAD": f"{library}:{before}" if before else str(library)}


class Clockstep:
    """A wall clock of its own for the processes that are started with ``environment``.

    Where this process lives by a stepped clock already (``--at``), the steps are counted from that.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clockstep"
        self._lived_by = _step_of_this_process()
        self.seconds = 0.0
        self.step(0.0)
        self.environment = preloading(build(CLOCKSTEP, folder)) | {"CLOCKSTEP_FILE": str(self._file)}

    def step(self, seconds: float) -> None:
        """Put the clock that far from the true time (negative: behind it), at once."""
        self.seconds = seconds
        packed = struct.pack("<q", int((self._lived_by + seconds) * _NANO))
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(packed)
        self._file.chmod(0o644)  # a PostgreSQL server under a user of its own reads it, too


def _step_of_this_process() -> float:
    file = os.environ.get("CLOCKSTEP_FILE", "")
    return float(struct.unpack("<q", Path(file).read_bytes())[0] / _NANO) if file else 0.0
