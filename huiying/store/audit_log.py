"""Reading the audit chain as it stands, in batches, whatever somebody may have put into it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from huiying.domain.audit import AuditEntry
from huiying.domain.audit_check import BEGINNING, Head
from huiying.store.tables import audit, audit_head
from huiying.store.types import from_micros

Progress = Callable[[int, int], None]
"""Called now and then with what is done and what there is to do."""

_BATCH = 5000
_NO_TIME = datetime.min.replace(tzinfo=UTC)  # stands for a value that is no instant: its hash fits nothing


def read_head(conn: Connection) -> Head | None:
    """The head row."""
    row = conn.execute(sa.select(audit_head.c.seq, audit_head.c.hash).where(audit_head.c.one == 1)).first()
    return None if row is None else Head(row.seq, row.hash)


def read_place(conn: Connection, seq: int) -> Head | None:
    """The number and the hash of one entry; number 0 is the place before the first."""
    if seq == 0:
        return BEGINNING
    row = conn.execute(sa.select(audit.c.hash).where(audit.c.seq == seq)).first()
    return None if row is None else Head(seq, row.hash)


def count_entries(conn: Connection, after: int = 0) -> int:
    """How many entries there are behind that number."""
    counted = conn.execute(sa.select(sa.func.count()).select_from(audit).where(audit.c.seq > after)).scalar_one()
    return int(counted)


def read_entries(conn: Connection, after: int = 0, progress: Progress | None = None) -> Generator[AuditEntry]:
    """The entries behind that number in their order; memory does not grow with them.

    Rows are taken as they are: a value that could not be decoded is handed on for the check to find it.
    """
    total = count_entries(conn, after) if progress else 0
    columns: list[Any] = [sa.type_coerce(audit.c[name], sa.types.NullType()).label(name) for name in _FIELDS]
    statement = sa.select(*columns).where(audit.c.seq > after).order_by(audit.c.seq)
    with _lenient_text(conn):
        rows: Any = conn.execute(statement, execution_options={"yield_per": _BATCH})
        for number, row in enumerate(rows, 1):
            yield AuditEntry(row[0], _instant(row[1]), *row[2:])
            if progress and number % _BATCH == 0:
                progress(number, total)
        if progress:
            progress(total, total)


_FIELDS = ("seq", "at", "actor", "action", "subject", "payload", "payload_hash", "prev_hash", "hash")


def _instant(value: Any) -> datetime:
    try:
        return from_micros(value)
    except (TypeError, OverflowError):
        return _NO_TIME


@contextmanager
def _lenient_text(conn: Connection) -> Iterator[None]:
    """On SQLite a text may be made of bytes that are no UTF-8; reading it must not end the check."""
    driver: Any = conn.connection.driver_connection
    if conn.dialect.name != "sqlite":
        yield
        return
    usual = driver.text_factory
    driver.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        driver.text_factory = usual
