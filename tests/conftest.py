"""Stores for every test: SQLite, PostgreSQL, and ``store``, which runs a test on both.

PostgreSQL comes out of a package and is started once per session, when the first test asks for it; all xdist workers
share it. It is never skipped: where it does not start, the tests fail. Every test gets a database of its own.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from huiying.store.db import Store, open_engine
from huiying.store.schema import upgrade
from tests.fakes.clock import FakeClock
from tests.fakes.postgres import locked, new_folder, shared_server, stop_shared, url_of

__all__ = ["FakeClock"]

_SESSION = "HUIYING_TEST_POSTGRES"  # "<pid of the session>:<folder of its server>", inherited by xdist's workers
_TEMPLATE = "hy_template"
_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """Name the folder of this session's PostgreSQL, before any worker starts."""
    if not hasattr(config, "workerinput"):
        os.environ[_SESSION] = f"{os.getpid()}:{new_folder()}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the session's PostgreSQL if a test started it."""
    if not hasattr(config, "workerinput"):
        stop_shared(Path(os.environ[_SESSION].partition(":")[2]))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Browser tests stay on one worker; everything else goes by file, as ``--dist loadfile`` does."""
    from tests.scheduling import OneBrowser

    return OneBrowser(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What was not tested for want of a browser is said aloud, never passed over."""
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if r.nodeid.startswith("tests/browser/")]
    if skipped:
        reasons = sorted({str(report.longrepr[2]) for report in skipped})
        terminalreporter.section("NOT TESTED IN A BROWSER", sep="!", red=True, bold=True)
        terminalreporter.line(f"{len(skipped)} tests of the desk did not run: {'; '.join(reasons)}", red=True)


@pytest.fixture
def clock() -> FakeClock:
    """The clock of ``sqlite_store``, ``pg_store`` and ``store``: ``clock.advance(timedelta(hours=1))``."""
    return FakeClock()


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "huiying.db"
    store = Store(open_engine(f"sqlite:///{path}"), FakeClock(), fixed_clock=True)
    upgrade(store.engine)
    with store.engine.connect() as conn:
        conn.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    return path


@pytest.fixture
def sqlite_path(_sqlite_template: Path, tmp_path: Path) -> Path:
    """A database file with an empty schema that nobody has opened yet."""
    path = tmp_path / "huiying.db"
    shutil.copyfile(_sqlite_template, path)
    return path


@pytest.fixture
def sqlite_store(sqlite_path: Path, clock: FakeClock) -> Iterator[Store]:
    """A store in an SQLite file of its own."""
    store = Store(open_engine(f"sqlite:///{sqlite_path}"), clock, fixed_clock=True)
    yield store
    store.close()


@pytest.fixture(scope="session")
def pg_server() -> Path:
    """The folder of the session's PostgreSQL server (``url_of(folder, database)``), with a template database."""
    owner, _, name = os.environ[_SESSION].partition(":")
    folder = Path(name)
    shared_server(folder, int(owner))
    with locked(folder / "template.lock"):
        if not (folder / "template.ready").exists():
            with _admin(folder) as conn:
                conn.execute(f"CREATE DATABASE {_TEMPLATE}")
            store = Store(open_engine(url_of(folder, _TEMPLATE)), FakeClock(), fixed_clock=True)
            upgrade(store.engine)
            store.close()
            (folder / "template.ready").touch()
    return folder


def _admin(folder: Path) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(host=str(folder / "run"), user="postgres", dbname="postgres", autocommit=True)


def _new_database(folder: Path, template: str) -> Iterator[str]:
    name = f"t{os.getpid()}_{next(_numbers)}"
    with _admin(folder) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield url_of(folder, name)
    with _admin(folder) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def pg_empty_url(pg_server: Path) -> Iterator[str]:
    """The address of a PostgreSQL database without any table."""
    yield from _new_database(pg_server, "template1")


@pytest.fixture
def pg_url(pg_server: Path) -> Iterator[str]:
    """The address of a PostgreSQL database with an empty schema."""
    yield from _new_database(pg_server, _TEMPLATE)


@pytest.fixture
def pg_store(pg_url: str, clock: FakeClock) -> Iterator[Store]:
    """A store in a PostgreSQL database of its own."""
    store = Store(open_engine(pg_url), clock, fixed_clock=True)
    yield store
    store.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest) -> Store:
    """The same test on SQLite and on PostgreSQL."""
    found = request.getfixturevalue("sqlite_store" if request.param == "sqlite" else "pg_store")
    assert isinstance(found, Store)
    return found
