"""Prepared statements give what SQLAlchemy itself would have given, and fail as it would."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from huiying.store.db import open_engine
from huiying.store.prepared import Prepared
from huiying.store.types import Instant, Json

_META = sa.MetaData()
_THING = sa.Table(
    "thing",
    _META,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(20), nullable=False, unique=True),
    sa.Column("at", Instant),
    sa.Column("detail", Json),
    sa.Column("open", sa.Boolean, nullable=False, default=True),
)
_AT = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
_INSERT = Prepared(_THING.insert(), ("name", "at", "detail"))
_BY_NAME = sa.select(_THING).where(_THING.c.name.in_(sa.bindparam("names", expanding=True))).order_by(_THING.c.id)


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[Connection]:
    engine = open_engine(f"sqlite:///{tmp_path / 'p.db'}")
    _META.create_all(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection
    engine.dispose()


def _fill(conn: Connection, count: int) -> list[str]:
    names = [f"n{number}" for number in range(count)]
    assert _INSERT.change(conn, [{"name": n, "at": _AT, "detail": {"b": 1, "a": [n]}} for n in names]) == count
    return names


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 8, 9])
def test_a_list_of_any_length_finds_what_sqlalchemy_finds(conn: Connection, length: int):
    names = _fill(conn, 9)[:length]
    mine = Prepared(_BY_NAME).rows(conn, {"names": names})
    theirs = conn.execute(_BY_NAME, {"names": names}).all()
    assert [tuple(row) for row in mine] == [tuple(row) for row in theirs]
    assert [row.name for row in mine] == names


def test_values_are_converted_both_ways_and_defaults_stand(conn: Connection):
    _fill(conn, 1)
    row = Prepared(_BY_NAME).rows(conn, {"names": ["n0"]})[0]
    assert (row.at, row.detail, row.open) == (_AT, {"b": 1, "a": ["n0"]}, True)


def test_constants_of_the_statement_stay_and_a_missing_value_is_an_error(conn: Connection):
    _fill(conn, 2)
    close = Prepared(_THING.update().where(_THING.c.name == sa.bindparam("key")).values(open=False))
    assert close.change(conn, [{"key": "n0"}, {"key": "nobody"}]) == 1
    assert Prepared(sa.select(sa.func.count()).where(_THING.c.open.is_(sa.true()))).value(conn) == 1
    with pytest.raises(KeyError):
        close.change(conn, [{}])


def test_nothing_is_run_for_no_rows(conn: Connection):
    assert _INSERT.change(conn, []) == 0


def test_a_violated_rule_is_sqlalchemys_own_error_without_the_values(conn: Connection):
    _fill(conn, 1)
    with pytest.raises(IntegrityError) as caught:
        _INSERT.change(conn, [{"name": "n0", "at": None, "detail": None}])
    assert "n0" not in str(caught.value)


def test_it_is_part_of_the_connections_transaction(conn: Connection):
    _fill(conn, 3)
    conn.rollback()
    assert Prepared(sa.select(sa.func.count()).select_from(_THING)).value(conn) == 0
    assert conn.in_transaction()
