"""When the database fails: a Chinese sentence that says what was kept, nothing half-written, and then it goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from huiying.domain.errors import Unavailable
from huiying.service.audit import verify
from huiying.store.db import Store, Tx, open_engine
from huiying.store.schema import upgrade
from huiying.store.tables import audit, setting
from tests.fakes.clock import FakeClock
from tests.fakes.faulty_store import FaultyStore
from tests.fakes.postgres import postgres_server, url_of


@pytest.fixture
def faulty(store: Store, clock: FakeClock) -> FaultyStore:
    """A store that can be made to fail."""
    return FaultyStore(store, clock)


def _write(store: Store, key: str, then: Callable[[Tx], None] = lambda _tx: None, size: int = 1) -> None:
    with store.transaction("tester") as tx:
        tx.run(setting.insert().values(key=key, value="x" * size, updated_at=tx.now))
        tx.audit("setting", key, {"size": size})
        then(tx)


def _keys(store: Store) -> list[str]:
    """What was written; in every case the chain holds and agrees with it."""
    assert verify(store).ok
    with store.reading() as tx:
        keys = sorted(row.key for row in tx.all(sa.select(setting.c.key)))
        assert sorted(row.subject for row in tx.all(sa.select(audit.c.subject))) == keys
    return keys


def _failure(store: Store, key: str, then: Callable[[Tx], None] = lambda _tx: None, size: int = 1) -> Unavailable:
    with pytest.raises(Unavailable) as failure:
        _write(store, key, then, size)
    return failure.value


def test_an_answer_that_was_lost_is_called_uncertain_and_the_work_is_there(faulty: FaultyStore):
    with faulty.lost_answer():
        failure = _failure(faulty, "a")
    assert failure.details == {"uncertain": True}
    assert failure.message == "提交时与数据库的连接中断，不能确定本次操作是否已写入。请先查询结果，再决定是否重试。"
    assert _keys(faulty) == ["a"]
    _write(faulty, "b")
    assert _keys(faulty) == ["a", "b"]


def test_a_request_that_was_lost_is_called_uncertain_and_nothing_is_there(faulty: FaultyStore):
    with faulty.lost_request():
        failure = _failure(faulty, "a")
    assert failure.details == {"uncertain": True}
    assert _keys(faulty) == []
    _write(faulty, "b")
    assert _keys(faulty) == ["b"]


def test_a_database_that_stays_busy_is_given_up_with_nothing_written(faulty: FaultyStore):
    with faulty.busy():
        failure = _failure(faulty, "a")
    assert failure.status == 503
    assert failure.message == "数据库暂时不可用：本次操作未写入。请稍后重试；若持续出现，请联系系统管理员。"
    assert _keys(faulty) == []
    _write(faulty, "b")
    assert _keys(faulty) == ["b"]


def test_a_full_disk_keeps_what_there_was_and_can_still_be_read(sqlite_store: Store, clock: FakeClock):
    faulty = FaultyStore(sqlite_store, clock)
    _write(faulty, "a")
    with faulty.full():
        failure = _failure(faulty, "b", size=200_000)
        assert _keys(faulty) == ["a"]
    assert failure.status == 507
    assert failure.details == {"disk_full": True}
    assert failure.message == "磁盘空间已满：本次操作未写入，已有数据完好。请清理磁盘后重试。"
    _write(faulty, "c", size=200_000)
    assert _keys(faulty) == ["a", "c"]


@pytest.mark.postgres
def test_a_connection_that_is_cut_off_in_the_middle_writes_nothing(pg_store: Store, clock: FakeClock):
    faulty = FaultyStore(pg_store, clock)
    failure = _failure(faulty, "a", lambda tx: faulty.cut_off(tx.conn))
    assert failure.status == 503
    assert "本次操作未写入" in failure.message
    assert _keys(faulty) == []
    _write(faulty, "b")
    assert _keys(faulty) == ["b"]


@pytest.mark.postgres
def test_connections_that_died_in_the_pool_are_replaced_unseen(pg_store: Store, pg_url: str, clock: FakeClock):
    faulty = FaultyStore(pg_store, clock)
    _write(faulty, "a")
    with pg_store.engine.connect() as one, pg_store.engine.connect() as other:
        numbers = [conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() for conn in (one, other)]
    with psycopg.connect(pg_url.replace("+psycopg", ""), autocommit=True) as outside:
        for number in numbers:
            outside.execute("SELECT pg_terminate_backend(%s, 5000)", [number])
    _write(faulty, "b")
    assert _keys(faulty) == ["a", "b"]


@pytest.mark.postgres
def test_a_server_that_is_gone_is_said_to_be_gone(clock: FakeClock):
    with postgres_server() as folder:
        store = Store(open_engine(url_of(folder)), clock, fixed_clock=True)
        upgrade(store.engine)
        _write(store, "a")
    for attempt in (lambda: _write(store, "b"), lambda: store.reading().__enter__()):
        with pytest.raises(Unavailable, match="数据库暂时不可用"):
            attempt()
    store.close()


def test_a_damaged_file_is_called_damaged(sqlite_path: Path, clock: FakeClock):
    size = sqlite_path.stat().st_size
    for damage in (b"no database at all" * 1000, sqlite_path.read_bytes()[:4096] + b"\xff" * (size - 4096)):
        sqlite_path.write_bytes(damage)
        store = Store(open_engine(f"sqlite:///{sqlite_path}"), clock, fixed_clock=True)
        failure = _failure(store, "a")
        assert failure.details == {"damaged": True}
        assert "从最近的备份恢复" in failure.message
        store.close()


def test_no_free_connection_is_no_reason_to_wait_for_ever(sqlite_path: Path, clock: FakeClock):
    url = f"sqlite:///{sqlite_path}"
    engine = sa.create_engine(url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.1)
    store = Store(engine, clock, fixed_clock=True)
    with store.reading():
        assert "系统繁忙" in _failure(store, "a").message
    store.close()


def test_what_fails_in_our_own_code_is_not_blamed_on_the_database(faulty: FaultyStore):
    def mistake(_tx: Tx) -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        _write(faulty, "a", mistake)
    _write(faulty, "a")
    with pytest.raises(sa.exc.IntegrityError):
        _write(faulty, "a")
    assert _keys(faulty) == ["a"]
