"""The PostgreSQL of the tests goes when its owner goes, even when the owner is killed, and changes nothing outside."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

_ROOT = Path(__file__).parents[2]
_OWNER = """
import time
from tests.fakes.postgres import postgres_server
with postgres_server() as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


def _modes(path: Path) -> list[tuple[Path, int]]:
    return [(folder, folder.stat().st_mode) for folder in (path, *path.parents)]


@pytest.mark.postgres
def test_a_killed_owner_leaves_no_server_and_no_folder():
    users, modes = len(pwd.getpwall()), _modes(_ROOT)
    owner = subprocess.Popen([sys.executable, "-c", _OWNER], cwd=_ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    folder = Path(owner.stdout.readline().strip())
    with psycopg.connect(host=str(folder / "run"), user="postgres", dbname="postgres") as conn:
        (data,) = conn.execute("SHOW data_directory").fetchone() or ("",)
    assert data == str(folder / "data")
    number = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
    owner.kill()
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + 20
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    assert (len(pwd.getpwall()), _modes(_ROOT)) == (users, modes)
