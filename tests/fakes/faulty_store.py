"""A store whose database misbehaves on demand, in the ways databases do.

``with faulty.lost_answer(): …`` and the like; outside of the blocks the store is as it always is. Take it for any store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from huiying.store.db import Store

_QUICK = 60  # milliseconds to wait for a lock, where the product waits for ten seconds


class FaultyStore(Store):
    """A store on the engine of another one."""

    def __init__(self, store: Store, host_now: Callable[[], datetime]) -> None:
        super().__init__(store.engine, host_now, fixed_clock=True)

    @contextmanager
    def lost_answer(self) -> Iterator[None]:
        """The database commits, and whoever asked for it is told that it failed."""
        with self._commits(done=True):
            yield

    @contextmanager
    def lost_request(self) -> Iterator[None]:
        """The connection breaks before the commit reaches the database."""
        with self._commits(done=False):
            yield

    @contextmanager
    def _commits(self, *, done: bool) -> Iterator[None]:
        dialect: Any = self.engine.dialect

        def commit(connection: Any) -> None:
            if done:
                connection.commit()
            if self.is_sqlite:
                raise sqlite3.OperationalError("disk I/O error")
            connection.driver_connection.close()  # as psycopg does when the server is gone
            raise psycopg.OperationalError("server closed the connection unexpectedly")

        dialect.do_commit = commit
        try:
            yield
        finally:
            del dialect.do_commit

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Somebody else holds the lock that every writer needs, longer than we wait."""
        with self._each_connection(_impatient), self.engine.connect() as other:
            if self.is_sqlite:
                other.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                other.exec_driver_sql("LOCK TABLE audit_head IN ACCESS EXCLUSIVE MODE")
            yield
            other.rollback()

    @contextmanager
    def full(self) -> Iterator[None]:
        """The disk takes no further page (SQLite)."""
        with self._each_connection(_no_more_pages):
            yield
        with self._each_connection(_pages_again), self.engine.connect():
            pass

    @contextmanager
    def _each_connection(self, prepare: Callable[[Any], None]) -> Iterator[None]:
        """Do something to every connection that is taken from the pool; afterwards all are made anew."""

        def taken(driver: Any, _record: Any, _proxy: Any) -> None:
            prepare(driver)

        sa.event.listen(self.engine, "checkout", taken)
        try:
            yield
        finally:
            sa.event.remove(self.engine, "checkout", taken)
            self.engine.dispose()

    def cut_off(self, conn: Connection) -> None:
        """End the server's side of a connection that is in use (PostgreSQL)."""
        number = conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with self.engine.connect() as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": number})


def _impatient(driver: Any) -> None:
    if isinstance(driver, sqlite3.Connection):
        driver.execute(f"PRAGMA busy_timeout={_QUICK}")
    else:
        driver.execute(f"SET lock_timeout = '{_QUICK}ms'")
        driver.commit()


def _no_more_pages(driver: sqlite3.Connection) -> None:
    (pages,) = driver.execute("PRAGMA page_count").fetchone()
    driver.execute(f"PRAGMA max_page_count={pages}")


def _pages_again(driver: sqlite3.Connection) -> None:
    driver.execute("PRAGMA max_page_count=1073741823")
