"""Statements that are compiled once and then run without SQLAlchemy's machinery around every call.

SQLAlchemy writes the SQL and converts the values, as everywhere; but its bookkeeping for each execution (cache keys,
contexts, result metadata) takes ten times as long as SQLite takes for the statement itself, and a message in calm use
needs two dozen statements. So what the engine runs for every message is prepared here. Rows are named tuples.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

#: Converts one value on its way in or out; None where the driver takes and gives it as it is.
_Convert = Callable[[Any], Any] | None


class Prepared:
    """One statement, prepared for each dialect when it is first run there.

    ``IN`` lists of any length are allowed; they are filled up to a power of two by repeating their last value, so that
    few forms of the statement come into being. For an INSERT ``columns`` names what every row brings.
    """

    def __init__(self, statement: Any, columns: Sequence[str] = ()) -> None:
        self.statement: Any = statement.inline() if isinstance(statement, sa.Insert) else statement
        self._columns = tuple(columns)
        self._forms: dict[tuple[str, tuple[int, ...]], _Form] = {}
        self._lists: dict[str, tuple[str, ...]] = {}

    def rows(self, conn: Connection, params: Mapping[str, Any] | None = None) -> list[Any]:
        """Every row of a query, or of a change with RETURNING."""
        given = params or {}
        form = self._form(conn, given)
        cursor = _execute(conn, form.sql, form.values(given))
        try:
            found = cursor.fetchall()
        except conn.dialect.loaded_dbapi.Error as error:
            raise _translated(conn, form.sql, error) from error
        finally:
            cursor.close()
        return [form.row(values) for values in found]

    def value(self, conn: Connection, params: Mapping[str, Any] | None = None) -> Any:
        """The first column of the first row, or None."""
        found = self.rows(conn, params)
        return found[0][0] if found else None

    def change(self, conn: Connection, params: Sequence[Mapping[str, Any]]) -> int:
        """Run it once for every set of values; gives how many rows were changed, -1 where the driver does not say."""
        if not params:
            return 0
        form = self._form(conn, params[0])
        cursor = _execute(conn, form.sql, [form.values(given) for given in params], many=True)
        try:
            return int(cursor.rowcount)
        finally:
            cursor.close()

    # -- forms -------------------------------------------------------------------------------------------------------

    def _form(self, conn: Connection, given: Mapping[str, Any]) -> _Form:
        dialect = conn.dialect
        lists = self._lists.get(dialect.name)
        if lists is None:
            lists = self._lists[dialect.name] = self._expanding(dialect)
        key = dialect.name, tuple(_bucket(len(given[name])) for name in lists)
        form = self._forms.get(key)
        if form is None:
            form = self._forms[key] = self._prepare(dialect, dict(zip(lists, key[1], strict=True)))
        return form

    def _compiled(self, dialect: sa.Dialect) -> Any:
        more = {"column_keys": list(self._columns)} if self._columns else {}
        return self.statement.compile(dialect=dialect, **more)

    def _expanding(self, dialect: sa.Dialect) -> tuple[str, ...]:
        compiled = self._compiled(dialect)
        return tuple(sorted(name for name, bind in compiled.binds.items() if bind.expanding))

    def _prepare(self, dialect: sa.Dialect, lengths: Mapping[str, int]) -> _Form:
        compiled = self._compiled(dialect)
        constants = {**compiled.params, **_defaults(compiled)}
        state = compiled.construct_expanded_state(constants | {name: [0] * n for name, n in lengths.items()})
        sources: dict[str, tuple[str, int]] = {
            each: (name, index) for name, made in state.parameter_expansion.items() for index, each in enumerate(made)
        }
        slots: list[_Slot] = []
        order = state.positiontup if compiled.positional else list(state.parameters)
        for name in order:
            source, index = sources.get(name, (name, -1))
            bind = compiled.binds.get(source)
            convert = None if bind is None else _binder(bind.type, dialect)
            fixed = bind is not None and not bind.required
            constant = constants.get(source)
            slots.append((source, index, convert, fixed, convert(constant) if fixed and convert else constant))
        return _Form(
            state.statement,
            tuple(slots),
            tuple(lengths.items()),
            () if compiled.positional else tuple(order),
            *_shape(self.statement, dialect),
        )


#: One place of the statement: the value's name, its place in a list (-1: no list), how it is converted, and whether it is
#: always the same and what it is then.
_Slot: TypeAlias = tuple[str, int, _Convert, bool, Any]


@dataclass(frozen=True, slots=True)
class _Form:
    """A statement as the driver takes it."""

    sql: str
    slots: tuple[_Slot, ...]
    lengths: tuple[tuple[str, int], ...]
    #: For drivers that want their values by name.
    names: tuple[str, ...]
    make: Callable[[Sequence[Any]], Any]
    converts: tuple[tuple[int, Callable[[Any], Any]], ...]

    def values(self, given: Mapping[str, Any]) -> Any:
        """The driver's own form of the values."""
        if self.lengths:
            given = {**given, **{name: _filled(given[name], length) for name, length in self.lengths}}
        found = []
        for name, index, convert, is_fixed, constant in self.slots:
            if is_fixed:
                found.append(constant)
                continue
            value = given[name] if index < 0 else given[name][index]
            found.append(value if convert is None else convert(value))
        return dict(zip(self.names, found, strict=True)) if self.names else found

    def row(self, values: Sequence[Any]) -> Any:
        """A row as the house reads it."""
        if not self.converts:
            return self.make(values)
        changed = list(values)
        for index, convert in self.converts:
            changed[index] = convert(changed[index])
        return self.make(changed)


def _bucket(length: int) -> int:
    return 0 if not length else 1 << (length - 1).bit_length()


def _filled(values: Sequence[Any], length: int) -> Sequence[Any]:
    missing = length - len(values)
    return values if not missing else [*values, *([values[-1]] * missing)]


def _defaults(compiled: Any) -> dict[str, Any]:
    """What columns say of themselves when a row brings nothing: only plain values are prepared."""
    found = {}
    for column in compiled.insert_prefetch:
        if not column.default.is_scalar:
            raise TypeError(f"every row has to bring {column.table.name}.{column.key}")
        found[column.key] = column.default.arg
    return found


def _binder(type_: Any, dialect: sa.Dialect) -> _Convert:
    convert: _Convert = type_.dialect_impl(dialect).bind_processor(dialect)
    return convert


def _shape(statement: Any, dialect: sa.Dialect) -> tuple[Any, tuple[tuple[int, Callable[[Any], Any]], ...]]:
    """How rows are made, and which of their columns are converted."""
    columns = () if isinstance(statement, sa.TextClause) else tuple(statement.exported_columns)
    if not columns:
        return tuple, ()
    made = namedtuple("Row", [column.key or f"column_{place}" for place, column in enumerate(columns)])  # type: ignore[misc]  # noqa: PYI024 - names are data
    found = [(i, column.type.dialect_impl(dialect).result_processor(dialect, None)) for i, column in enumerate(columns)]
    return made._make, tuple((index, convert) for index, convert in found if convert is not None)


# -- running -----------------------------------------------------------------------------------------------------------


def _execute(conn: Connection, sql: str, values: Any, *, many: bool = False) -> Any:
    if not conn.in_transaction():
        conn.begin()  # else its commit would do nothing
    cursor = conn.connection.cursor()
    try:
        if many:
            cursor.executemany(sql, values)
        else:
            cursor.execute(sql, values)
    except conn.dialect.loaded_dbapi.Error as error:
        cursor.close()
        raise _translated(conn, sql, error) from error
    return cursor


def _translated(conn: Connection, sql: str, error: Exception) -> BaseException:
    """The driver's error as SQLAlchemy would have raised it, without the values: they may be anybody's name."""
    dialect = conn.dialect
    gone = dialect.is_disconnect(error, conn.connection.driver_connection, None)  # type: ignore[arg-type]
    if gone:
        conn.invalidate(error)
    return DBAPIError.instance(
        sql, None, error, dialect.loaded_dbapi.Error, connection_invalidated=gone, dialect=dialect
    )
