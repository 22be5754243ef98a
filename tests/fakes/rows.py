"""A few rows in every table, made from the tables' own description, with texts that break careless code."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from huiying.store.db import Store, Tx
from huiying.store.dump import read_rows, shapes
from huiying.store.tables import metadata
from huiying.store.types import Instant, Json

_TEXTS = itertools.cycle(
    ["示例市", "a'b\"c\\d", "行一\n行二\t\r", "\u2028\u200f\U0001f525", "", "NULL", "0", "[]", " x "]
)
_VALUES = itertools.cycle([{}, [], {"名": ["值", 1, None, True]}, "text", 0, {"a": {"b": "\U0001f525"}}])
_MADE_BY_TRANSACTIONS = {"audit", "audit_head"}


def fill(store: Store, each: int = 3) -> None:
    """Rows for every table; references point to rows that exist, also backwards within a table."""
    with store.transaction("person:示例") as tx:
        for table in metadata.sorted_tables:
            if table.name not in _MADE_BY_TRANSACTIONS:
                _fill_table(tx, table, each)
        tx.audit("test.fill", "everything", {"each": each})
    with store.transaction("person:示例") as tx:
        tx.audit("test.end", "everything", {"引号": '"\\'})
        for name in ("unit", "incident"):  # the first row refers to the last: a careless load stumbles over it
            table = metadata.tables[name]
            (column,) = [key.parent for key in table.foreign_keys if key.column.table is table]
            ids = [row[0] for row in tx.all(sa.select(table.c.id).order_by(table.c.id))]
            tx.run(table.update().where(table.c.id == ids[0]).values({column.name: ids[-1]}))


def _fill_table(tx: Tx, table: sa.Table, each: int) -> None:
    for number in range(1, each + 1):
        tx.run(table.insert().values({column.name: _value(tx, column, number) for column in table.columns}))


def _value(tx: Tx, column: sa.Column[Any], number: int) -> Any:
    for key in column.foreign_keys:
        if key.column.table is column.table:
            return None
        found = tx.all(sa.select(key.column).order_by(key.column))
        return found[number % len(found)][0]
    if column.primary_key or column.unique or isinstance(column.type, sa.Integer):
        return f"{column.name}{number}" if isinstance(column.type, sa.String) else number * 7
    if column.nullable and number % 3 == 0:
        return None
    return _plain(tx, column, number)


def _plain(tx: Tx, column: sa.Column[Any], number: int) -> Any:
    if isinstance(column.type, Instant):
        return tx.now + timedelta(microseconds=number, days=-number)
    if isinstance(column.type, Json):
        return next(_VALUES)
    if isinstance(column.type, sa.Boolean):
        return number % 2 == 0
    text = next(_TEXTS)
    length = getattr(column.type, "length", None)
    return text if length is None else text[:length]


def contents(conn: Connection, without: frozenset[str] = frozenset()) -> dict[str, list[Any]]:
    """Every row of every table, as plain values."""
    return {shape.name: list(read_rows(conn, shape)) for shape in shapes() if shape.name not in without}
