"""What every store promises, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from huiying.domain.audit import GENESIS
from huiying.store.db import Store
from huiying.store.tables import audit, audit_head, setting
from tests.fakes.clock import FakeClock


def _set(store: Store, key: str, value: object) -> None:
    with store.transaction("tester") as tx:
        tx.run(setting.insert().values(key=key, value=value, updated_at=tx.now))
        tx.audit("setting", key, {"value": value})


def test_a_transaction_commits_rows_and_their_audit_entries_together(store: Store, clock: FakeClock):
    _set(store, "colour", {"名": "红"})
    with store.reading() as tx:
        row = tx.one(sa.select(setting))
        entry = tx.one(sa.select(audit))
        head = tx.one(sa.select(audit_head))
    assert row is not None
    assert entry is not None
    assert head is not None
    assert (row.key, row.value, row.updated_at) == ("colour", {"名": "红"}, clock())
    assert (entry.seq, entry.at, entry.actor, entry.prev_hash) == (1, clock(), "tester", GENESIS)
    assert (head.seq, head.hash) == (1, entry.hash)


def test_a_transaction_that_raises_leaves_nothing(store: Store):
    def change_and_fail() -> None:
        with store.transaction("tester") as tx:
            tx.run(setting.insert().values(key="a", value=1, updated_at=tx.now))
            tx.audit("setting", "a", {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change_and_fail()
    with store.reading() as tx:
        assert tx.all(sa.select(setting)) == []
        assert tx.all(sa.select(audit)) == []


def test_time_is_what_the_clock_says(store: Store, clock: FakeClock):
    at = datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)
    clock.set(at)
    _set(store, "a", 1)
    clock.advance(timedelta(microseconds=1))
    _set(store, "b", 1)
    with store.reading() as tx:
        assert [row.updated_at for row in tx.all(sa.select(setting).order_by(setting.c.key))] == [
            at,
            datetime(2026, 3, 1, tzinfo=UTC),
        ]


def test_a_reading_sees_one_instant_while_others_write(store: Store):
    _set(store, "a", 1)
    with store.reading() as tx:
        assert len(tx.all(sa.select(setting))) == 1
        _set(store, "b", 2)
        assert len(tx.all(sa.select(setting))) == 1
    with store.reading() as tx:
        assert len(tx.all(sa.select(setting))) == 2


def test_what_is_written_while_reading_is_not_kept(store: Store):
    try:
        with store.reading() as tx:
            tx.run(setting.insert().values(key="a", value=1, updated_at=tx.now))
    except sa.exc.DBAPIError:
        pass  # PostgreSQL refuses at once
    with store.reading() as tx:
        assert tx.all(sa.select(setting)) == []
