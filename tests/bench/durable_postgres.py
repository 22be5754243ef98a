"""The tests' own PostgreSQL, but waiting for the disk: a bench that compares durable stores must not cheat.

``python -m tests.bench.durable_postgres FOLDER OWNER_PID`` is the guard of such a server.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes import postgres


@contextmanager
def durable_server() -> Iterator[str]:
    """The address of a fresh database on a server that syncs every commit."""
    folder = postgres.new_folder()
    folder.mkdir(mode=0o755, exist_ok=True)
    command = [sys.executable, "-m", "tests.bench.durable_postgres", str(folder), str(os.getpid())]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        end = time.monotonic() + 60
        while not postgres._ready(folder):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("PostgreSQL did not start")
            time.sleep(0.05)
        yield postgres.url_of(folder)
    finally:
        process.terminate()
        process.wait(20)


def fresh_database(url: str, name: str) -> str:
    """Another empty database of that server."""
    import sqlalchemy as sa

    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        conn.exec_driver_sql(f'CREATE DATABASE "{name}"')
    engine.dispose()
    return url.replace("@/postgres?", f"@/{name}?")


if __name__ == "__main__":
    postgres._SETTINGS |= {"fsync": "on", "full_page_writes": "on"}
    postgres.guard(Path(sys.argv[1]), int(sys.argv[2]))
