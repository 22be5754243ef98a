"""All rows of all tables as plain values, out of one database and into another, SQLite and PostgreSQL alike.

Instants are integers (microseconds), JSON columns are the text that is stored, truth values are true and false.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from huiying.store.db import unavailable
from huiying.store.schema import VERSION_TABLE
from huiying.store.tables import metadata

#: What a column holds, in the words of a backup's manifest.
KINDS: dict[str, type] = {"int": int, "text": str, "bool": bool}
_BATCH = 5000

Row = tuple[Any, ...]


class CannotLoad(ValueError):
    """The database refused the rows of a table."""

    def __init__(self, table: str, reason: str) -> None:
        super().__init__(reason)
        self.table = table


@dataclass(frozen=True, slots=True)
class Shape:
    """A table as the dump sees it: its name and its columns with what they hold."""

    name: str
    columns: tuple[tuple[str, str], ...]


def shapes() -> list[Shape]:
    """Our tables in an order in which nothing refers to what comes later."""
    return [shape_of(table) for table in metadata.sorted_tables]


def former_shapes(conn: Connection) -> list[Shape]:
    """The same of a database that has not been brought up to date yet: as its tables are, whatever lies beside them."""
    return found_shapes(conn, set(metadata.tables) & set(sa.inspect(conn).get_table_names()))


def shape_of(table: sa.Table) -> Shape:
    """The shape of one table, whether ours or found in a database."""
    return Shape(table.name, tuple((column.name, _kind(column.type)) for column in table.columns))


def _kind(declared: sa.types.TypeEngine[Any]) -> str:
    plain = declared.impl if isinstance(declared, sa.types.TypeDecorator) else declared
    if isinstance(plain, sa.Boolean):
        return "bool"
    return "int" if isinstance(plain, sa.Integer) else "text"


_TYPES: dict[str, sa.types.TypeEngine[Any]] = {"int": sa.BigInteger(), "text": sa.Text(), "bool": sa.Boolean()}


def count_rows(conn: Connection, name: str) -> int:
    """How many rows a table has."""
    return int(conn.execute(sa.select(sa.func.count()).select_from(sa.table(name))).scalar_one())


def read_rows(conn: Connection, shape: Shape) -> Generator[Row]:
    """Every row in the order of the primary key; memory does not grow with them."""
    columns = [sa.column(name, _TYPES[kind]) for name, kind in shape.columns]
    order: list[Any] = [sa.column(column.name) for column in metadata.tables[shape.name].primary_key]
    statement = sa.select(*columns).select_from(sa.table(shape.name)).order_by(*order)
    result: Any = conn.execute(statement, execution_options={"yield_per": _BATCH})
    for row in result:
        yield tuple(row)


# -- the other way -----------------------------------------------------------------------------------------------------
def is_empty(conn: Connection) -> bool:
    """True for a database without any of our tables, or with nothing in them but the untouched beginning of the chain."""
    present = set(sa.inspect(conn).get_table_names()) & set(metadata.tables)
    if any(count_rows(conn, name) for name in present - {"audit_head"}):
        return False
    return "audit_head" not in present or not conn.execute(sa.text("SELECT 1 FROM audit_head WHERE seq > 0")).first()


def drop_everything(conn: Connection) -> None:
    """Take away our tables, whatever is in them; only a restore does this, and in the same transaction."""
    ours = (set(metadata.tables) | {VERSION_TABLE}) & set(sa.inspect(conn).get_table_names())
    found = sa.MetaData()
    found.reflect(conn, only=sorted(ours))
    found.drop_all(conn)


def found_shapes(conn: Connection, names: Collection[str]) -> list[Shape]:
    """The shapes of these tables as they are, in an order in which nothing refers to what comes later."""
    found = sa.MetaData()
    found.reflect(conn, only=sorted(set(names) - {VERSION_TABLE}))
    return [shape_of(table) for table in found.sorted_tables]


def clear_rows(conn: Connection, name: str) -> None:
    """Take the rows that a migration has put into a table."""
    conn.execute(sa.table(name).delete())


def begin_load(conn: Connection) -> None:
    """A row may refer to one of its own table that comes later: SQLite is to look at the end only."""
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql("PRAGMA defer_foreign_keys=ON")


def load_rows(conn: Connection, shape: Shape, rows: Iterable[Row]) -> None:
    """Put rows into a table; raises CannotLoad where the database does not take them."""
    try:
        if conn.dialect.name == "sqlite":
            _insert(conn, shape, rows)
        else:
            _copy(conn, shape, rows)
    except sa.exc.DBAPIError as error:
        if isinstance(error, OperationalError):
            raise
        raise CannotLoad(shape.name, str(error.orig)) from error


def _insert(conn: Connection, shape: Shape, rows: Iterable[Row]) -> None:
    names = ", ".join(f'"{name}"' for name, _ in shape.columns)
    marks = ", ".join("?" for _ in shape.columns)
    statement = f'INSERT INTO "{shape.name}" ({names}) VALUES ({marks})'  # noqa: S608 - names found in the database
    stream = iter(rows)
    while batch := list(islice(stream, _BATCH)):
        conn.exec_driver_sql(statement, batch)


def _copy(conn: Connection, shape: Shape, rows: Iterable[Row]) -> None:
    """COPY is one statement: references within the table are looked at when all of its rows are there."""
    names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in shape.columns)
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(shape.name), names)
    driver: Any = conn.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except psycopg.OperationalError as error:
        raise unavailable(OperationalError(f"COPY {shape.name}", None, error)) from error
    except psycopg.Error as error:
        raise CannotLoad(shape.name, str(error)) from error


def set_sequences(conn: Connection, loaded: Sequence[Shape]) -> None:
    """New rows get numbers behind the loaded ones; SQLite sees to that by itself."""
    if conn.dialect.name == "sqlite":
        return
    for shape in loaded:
        for column, kind in shape.columns:
            if kind != "int":
                continue
            names = {"table": shape.name, "column": column}
            sequence = conn.execute(sa.text("SELECT pg_get_serial_sequence(:table, :column)"), names).scalar()
            if sequence:
                _set_sequence(conn, str(sequence), shape.name, column)


def _set_sequence(conn: Connection, sequence: str, table: str, column: str) -> None:
    highest = conn.execute(sa.select(sa.func.max(sa.column(column))).select_from(sa.table(table))).scalar()
    conn.execute(
        sa.text("SELECT setval(CAST(:sequence AS regclass), :value, :used)"),
        {"sequence": sequence, "value": highest or 1, "used": highest is not None},
    )
