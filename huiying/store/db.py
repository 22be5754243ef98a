"""Opening the store and running one transaction per decision.

``Store.transaction`` gives a ``Tx``: the connection, the instant of the decision (``now``) and the audit buffer, whose
entries are chained and written last, with the head row locked for as short a time as possible.
SQLite: WAL, ``synchronous=FULL``, ``BEGIN IMMEDIATE``. PostgreSQL: the database's clock is ``now``.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import NullPool, StaticPool

from huiying.crash import crash_point
from huiying.domain.audit import GENESIS, link
from huiying.domain.errors import InvalidInput, Unavailable
from huiying.now import monotonic
from huiying.store.prepared import Prepared
from huiying.store.tables import audit, audit_head
from huiying.store.types import from_micros

_SQLITE_PRAGMAS = (
    "PRAGMA busy_timeout=10000",  # first: the next one may have to wait for another process
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
)
_WAL_PATIENCE = 10.0  # seconds
_UNSTORABLE = "请求中有数据库不能保存的内容（数字过大，或含有空字符），未作任何改动。请核对后重试。"


@dataclass
class Tx:
    """One open transaction: all of it is committed, or nothing is."""

    conn: Connection
    now: datetime
    actor: str
    entries: list[tuple[str, str, Any]] = field(default_factory=list)

    def audit(self, action: str, subject: str, payload: Any) -> None:
        """Note a change for the chain; written when the transaction ends."""
        self.entries.append((action, subject, payload))

    def all(self, statement: sa.Executable, params: Any = None) -> list[Any]:
        """Every row of a query."""
        return list(self._execute(statement, params).all())

    def one(self, statement: sa.Executable) -> Any | None:
        """The first row or None."""
        return self._execute(statement).first()

    def value(self, statement: sa.Executable) -> Any:
        """The first column of the first row or None."""
        return self._execute(statement).scalar()

    def rows(self, statement: Prepared, params: Mapping[str, Any] | None = None) -> list[Any]:
        """Every row of a prepared query."""
        return statement.rows(self.conn, params)

    def change(self, statement: Prepared, rows: Sequence[Mapping[str, Any]]) -> int:
        """Execute a prepared change for every row; gives how many were changed, -1 where the driver does not say."""
        return statement.change(self.conn, rows)

    def run(self, statement: sa.Executable, params: Any = None) -> sa.CursorResult[Any]:
        """Execute a change."""
        return self._execute(statement, params)

    def _execute(self, statement: sa.Executable, params: Any = None) -> sa.CursorResult[Any]:
        try:
            return self.conn.execute(statement, params)
        except (OverflowError, DataError) as error:
            # A number beyond 64 bits, or NUL in a text: the one database says so, the other's driver does.
            raise InvalidInput("", _UNSTORABLE) from error


class Store:
    """The database behind every use case; cheap to share between threads, never between forked processes."""

    def __init__(self, engine: Engine, host_now: Callable[[], datetime], *, fixed_clock: bool = False) -> None:
        self.engine = engine
        self._host_now = host_now
        self._ask_database = engine.dialect.name == "postgresql" and not fixed_clock

    @property
    def is_sqlite(self) -> bool:
        """True for SQLite."""
        return self.engine.dialect.name == "sqlite"

    def now(self, conn: Connection | None = None) -> datetime:
        """The instant that decides: the database's on PostgreSQL, the host's (or a test's) otherwise."""
        if not self._ask_database:
            return self._host_now()
        if conn is None:
            with self.engine.connect() as fresh:
                return self.now(fresh)
        micros = conn.exec_driver_sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").scalar_one()
        return from_micros(int(micros))

    @contextmanager
    def transaction(self, actor: str, crash: str = "") -> Iterator[Tx]:
        """A writing transaction; ``crash`` is the prefix of its crash points (``<crash>_before_commit`` …)."""
        with self._connection("BEGIN IMMEDIATE") as conn:
            tx = Tx(conn, self.now(conn), actor)
            yield tx
            if tx.entries:
                append_audit(conn, tx.now, tx.actor, tx.entries)
            if crash:
                crash_point(f"{crash}_before_commit")
            _commit(conn)
        if crash:
            crash_point(f"{crash}_after_commit")

    @contextmanager
    def reading(self) -> Iterator[Tx]:
        """A consistent snapshot for reading; whatever is written in it is rolled back."""
        with self._connection("BEGIN") as conn:
            if not self.is_sqlite:
                conn.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield Tx(conn, self.now(conn), "")

    @contextmanager
    def exclusive(self) -> Iterator[Connection]:
        """A bare connection whose changes, the schema included, are committed together at the end: for a restore."""
        with self._connection("BEGIN IMMEDIATE") as conn:
            yield conn
            _commit(conn)

    @contextmanager
    def _connection(self, begin: str) -> Iterator[Connection]:
        try:
            with self.engine.connect() as conn:
                if self.is_sqlite:
                    conn.exec_driver_sql(begin)
                try:
                    yield conn
                except BaseException:
                    _roll_back(conn)
                    raise
        except PoolTimeout as error:
            raise Unavailable("系统繁忙：等不到空闲的数据库连接，本次操作未写入。请稍后重试。") from error
        except DBAPIError as error:
            if is_outage(error):
                raise unavailable(error) from error
            raise

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()


def _roll_back(conn: Connection) -> None:
    try:
        conn.rollback()
    except DBAPIError:
        # SQLite has already rolled back by itself (disk full, I/O error); the connection is not used again.
        conn.invalidate()


def _commit(conn: Connection) -> None:
    """Commit; where its answer was lost nobody knows what the database did, and the sentence says so."""
    try:
        conn.commit()
    except DBAPIError as error:
        if not _is_uncertain(error):
            raise
        raise Unavailable(
            "提交时与数据库的连接中断，不能确定本次操作是否已写入。请先查询结果，再决定是否重试。", uncertain=True
        ) from error


def _is_uncertain(error: DBAPIError) -> bool:
    """SQLite says whether it is full or busy and has then written nothing; any other failure leaves it open."""
    if error.connection_invalidated:
        return True
    plain = any(words in str(error.orig) for words in ("is full", "is locked", "is busy"))
    return isinstance(error.orig, sqlite3.OperationalError) and not plain


def is_outage(error: DBAPIError) -> bool:
    """Whether the database itself is away or damaged, whatever it was asked."""
    return isinstance(error, OperationalError) or error.connection_invalidated or _is_damage(error)


def _is_damage(error: DBAPIError) -> bool:
    return any(words in str(error.orig) for words in ("malformed", "not a database", "invalid page"))


def unavailable(error: DBAPIError) -> Unavailable:
    """The sentence for a store that cannot answer now."""
    text = str(error.orig).lower()
    if "disk is full" in text or "no space left" in text:
        failure = Unavailable("磁盘空间已满：本次操作未写入，已有数据完好。请清理磁盘后重试。", disk_full=True)
        failure.status = 507
        return failure
    if _is_damage(error):
        return Unavailable("数据库文件已损坏：本次操作未写入。请停止服务，保留原文件，从最近的备份恢复。", damaged=True)
    return Unavailable("数据库暂时不可用：本次操作未写入。请稍后重试；若持续出现，请联系系统管理员。")


_APPEND = Prepared(audit.insert(), [column.key for column in audit.columns])
_HEAD = Prepared(sa.select(audit_head.c.seq, audit_head.c.hash).where(audit_head.c.one == 1).with_for_update())
_MOVE_HEAD = Prepared(
    audit_head.update().where(audit_head.c.one == 1).values(seq=sa.bindparam("new_seq"), hash=sa.bindparam("new_hash"))
)


def append_audit(conn: Connection, now: datetime, actor: str, entries: list[tuple[str, str, Any]]) -> None:
    """Chain the entries onto the head; the head row is locked until the transaction ends."""
    crash_point("audit_before_head")
    seq, previous = _lock_head(conn)
    rows = []
    for action, subject, payload in entries:
        seq += 1
        made = link(seq, now, actor, action, subject, payload, previous)
        previous = made.hash
        rows.append(
            {
                "seq": seq,
                "at": now,
                "actor": actor,
                "action": action,
                "subject": subject,
                "payload": made.payload,
                "payload_hash": made.payload_hash,
                "prev_hash": made.prev_hash,
                "hash": made.hash,
            }
        )
    _APPEND.change(conn, rows)
    _MOVE_HEAD.change(conn, [{"new_seq": seq, "new_hash": previous}])


def _lock_head(conn: Connection) -> tuple[int, str]:
    """The end of the chain, ours until the transaction ends; a schema made without migrations has no head row yet."""
    found = _HEAD.rows(conn)
    if not found:
        # Two first writers at once: the second waits for the first one's row, and then reads it.
        first = "INSERT INTO audit_head (one, seq, hash) VALUES (1, 0, :hash) ON CONFLICT DO NOTHING"
        conn.execute(sa.text(first), {"hash": GENESIS})
        found = _HEAD.rows(conn)
    return found[0].seq, found[0].hash


def open_engine(url: str, pool_size: int = 8) -> Engine:
    """An engine with the pragmas that lose no acknowledged commit. ``url`` is a SQLAlchemy address."""
    if url.startswith("sqlite"):
        engine = sa.create_engine(url, pool_size=pool_size, max_overflow=8, pool_timeout=15)
        sa.event.listen(engine, "connect", _prepare_sqlite)
        return engine
    if url.startswith("postgresql://"):
        url = "postgresql+psycopg://" + url.removeprefix("postgresql://")
    return sa.create_engine(url, pool_size=pool_size, max_overflow=8, pool_timeout=15, pool_pre_ping=True)


def open_as_it_is(url: str) -> Engine | None:
    """An engine that looks at a database and changes none of its files; None where SQLite has no file yet."""
    if not url.startswith("sqlite"):
        return open_engine(url, pool_size=1)
    path = Path(sa.make_url(url).database or "").absolute()
    if not path.is_file():
        return None
    log = path.with_name(f"{path.name}-wal")
    # All is in the file itself when it was closed in order; merely reading it would leave a log and an index beside it.
    # After a crash the log must be read; that renews nothing but the index, which every start makes anew.
    mode = "mode=ro" if log.is_file() and log.stat().st_size else "mode=ro&immutable=1"
    engine = sa.create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True), poolclass=NullPool
    )
    sa.event.listen(engine, "connect", _say_begin_ourselves)
    return engine


def open_memory() -> Engine:
    """An engine on a database in memory that is gone with it: to try something on a copy."""
    engine = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    sa.event.listen(engine, "connect", _say_begin_ourselves)
    return engine


def _say_begin_ourselves(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN IMMEDIATE ourselves
    for pragma in _SQLITE_PRAGMAS:
        _patiently(connection, pragma)


def _patiently(connection: sqlite3.Connection, statement: str) -> None:
    """Turning a new file to WAL fails at once, whatever the busy timeout, when another process does the same."""
    give_up = monotonic() + _WAL_PATIENCE
    while True:
        try:
            connection.execute(statement)
        except sqlite3.OperationalError:
            if monotonic() > give_up:
                raise
            time.sleep(0.02)
        else:
            return
