"""The tables in the code, the steps that create them and the databases agree; only forward; safe for many at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from huiying.domain.audit import GENESIS
from huiying.domain.errors import Refused
from huiying.service.archive import Archive, open_archive
from huiying.service.audit import verify
from huiying.store.db import Store, open_engine
from huiying.store.dump import (
    Shape,
    begin_load,
    clear_rows,
    count_rows,
    former_shapes,
    load_rows,
    read_rows,
    set_sequences,
)
from huiying.store.schema import (
    APPEND_ONLY,
    VERSION_TABLE,
    check_version,
    lock_schema,
    migrate,
    schema_version,
    upgrade,
)
from huiying.store.tables import (
    SCHEMA_VERSION,
    audit_head,
    clock,
    clock_event,
    history,
    incident,
    metadata,
    session,
    unit,
)
from tests.fakes.clock import FakeClock

_ROOT = Path(__file__).parents[2]
FORMER = _ROOT / "tests" / "data" / "backup-schema-1.zip"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without any table."""
    return (
        f"sqlite:///{tmp_path / 'empty.db'}" if request.param == "sqlite" else request.getfixturevalue("pg_empty_url")
    )


@pytest.fixture
def empty(empty_url: str) -> Iterator[sa.Engine]:
    """An engine on a database without any table."""
    engine = open_engine(empty_url)
    yield engine
    engine.dispose()


def _described(engine: sa.Engine) -> dict[str, Any]:
    """Everything the database itself says about our tables."""
    inspector = sa.inspect(engine)
    return {
        table: {
            "columns": [
                (
                    column["name"],
                    column["type"].compile(engine.dialect),
                    column["nullable"],
                    column["default"],
                    column.get("autoincrement"),
                    column.get("identity"),
                )
                for column in inspector.get_columns(table)
            ],
            "primary key": inspector.get_pk_constraint(table),
            "foreign keys": _ordered(inspector.get_foreign_keys(table)),
            "uniques": _ordered(inspector.get_unique_constraints(table)),
            "indexes": _ordered(inspector.get_indexes(table)),
            "checks": _ordered(inspector.get_check_constraints(table)),
        }
        for table in inspector.get_table_names()
        if table != VERSION_TABLE
    }


def _ordered(found: list[Any]) -> list[tuple[str, str]]:
    """Comparable whatever the order; a partial index brings its condition as an expression."""
    plain = [
        {**item, "dialect_options": {k: str(v) for k, v in item.get("dialect_options", {}).items()}} for item in found
    ]
    return sorted((str(item["name"]), repr(sorted(item.items()))) for item in plain)


def test_migrations_and_metadata_make_the_same_database(empty: sa.Engine):
    upgrade(empty)
    migrated = _described(empty)
    with empty.begin() as conn:
        if empty.dialect.name == "postgresql":
            conn.exec_driver_sql("DROP SCHEMA public CASCADE")
            conn.exec_driver_sql("CREATE SCHEMA public")
        else:
            metadata.drop_all(conn)
    metadata.create_all(empty)
    created = _described(empty)
    assert sorted(migrated) == sorted(created) == sorted(metadata.tables)
    for table, parts in created.items():
        for part, value in parts.items():
            assert migrated[table][part] == value, (
                f"{part} of {table}: a change of the tables is a further step in huiying/store/migrations"
            )
    conditions = [text for parts in migrated.values() for _, text in parts["indexes"] if "_where" in text]
    assert len(conditions) == _partial_indexes()


def _partial_indexes() -> int:
    indexes = [index for table in metadata.tables.values() for index in table.indexes]
    return sum(index.dialect_options["sqlite"]["where"] is not None for index in indexes)


def test_alembic_finds_nothing_left_to_do(empty: sa.Engine):
    upgrade(empty)
    with empty.connect() as conn:
        # On SQLite Alembic takes '' for a changed default; the test above compares defaults itself.
        defaults = empty.dialect.name == "postgresql"
        context = MigrationContext.configure(
            conn, opts={"compare_type": True, "compare_server_default": defaults, "version_table": VERSION_TABLE}
        )
        assert compare_metadata(context, metadata) == []


def test_a_connection_to_sqlite_loses_no_commit_and_checks_references(sqlite_store: Store):
    with sqlite_store.reading() as tx:
        assert tx.conn.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert tx.conn.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert tx.conn.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_upgrading_twice_changes_nothing(empty: sa.Engine):
    assert schema_version(empty) == 0
    assert upgrade(empty) == SCHEMA_VERSION
    assert upgrade(empty) == SCHEMA_VERSION
    assert schema_version(empty) == SCHEMA_VERSION
    with empty.connect() as conn:
        assert [tuple(row) for row in conn.execute(sa.select(audit_head))] == [(1, 0, GENESIS)]
    check_version(empty)


_UPGRADE = """
import sys
from huiying.store.db import open_engine
from huiying.store.schema import check_version, upgrade
engine = open_engine(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
upgrade(engine)
check_version(engine)
"""


def test_processes_starting_together_create_one_schema(empty_url: str, empty: sa.Engine):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _UPGRADE, empty_url],
            cwd=_ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, errors
    assert schema_version(empty) == SCHEMA_VERSION


def _set_version(engine: sa.Engine, version: str) -> None:
    with engine.connect() as conn:
        if engine.dialect.name == "sqlite":
            conn.exec_driver_sql("BEGIN")
        conn.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = :v"), {"v": version})
        conn.commit()


def test_a_newer_schema_is_refused_untouched(empty: sa.Engine):
    upgrade(empty)
    _set_version(empty, "0999")
    for call in (check_version, upgrade):
        with pytest.raises(Refused, match="版本为 999，比本程序所知的版本"):
            call(empty)
    assert schema_version(empty) == 999


def test_an_older_schema_is_refused_until_it_is_upgraded(empty: sa.Engine):
    with pytest.raises(Refused, match="版本为 0，本程序需要版本"):
        check_version(empty)
    upgrade(empty)
    check_version(empty)


def test_a_step_that_fails_leaves_the_former_schema(empty: sa.Engine, monkeypatch: pytest.MonkeyPatch):
    from alembic import command
    from alembic.config import Config

    def half(config: Config, revision: str) -> None:
        config.attributes["connection"].exec_driver_sql("CREATE TABLE half (id INTEGER)")
        raise RuntimeError("power cut")

    monkeypatch.setattr(command, "upgrade", half)
    with pytest.raises(RuntimeError):
        upgrade(empty)
    assert sa.inspect(empty).get_table_names() == []


@pytest.mark.parametrize("step", ["0001_initial", "0002_device_marks"])
def test_there_is_no_way_back(step: str):
    made = import_module(f"huiying.store.migrations.versions.{step}")
    with pytest.raises(NotImplementedError, match="只向前升级"):
        made.downgrade()


def _load_former(engine: sa.Engine, archive: Archive) -> None:
    """The database as the program of that backup had it."""
    with engine.connect() as conn:
        lock_schema(conn)
        migrate(conn, archive.manifest.schema)
        clear_rows(conn, "audit_head")
        begin_load(conn)
        for shape in former_shapes(conn):
            member = archive.manifest.member(shape.name)
            assert member is not None
            load_rows(conn, member.shape, archive.rows(member))
        set_sequences(conn, former_shapes(conn))
        conn.commit()


def _rows(engine: sa.Engine, shapes: list[Shape]) -> dict[str, list[Any]]:
    with engine.connect() as conn:
        return {shape.name: list(read_rows(conn, shape)) for shape in shapes}


def test_a_filled_database_of_the_first_version_is_brought_up_to_date(empty: sa.Engine):
    """The rows were written by the program of that version: tests/data/backup-schema-1.zip is its own backup."""
    with open_archive(FORMER) as archive:
        _load_former(empty, archive)
        shapes = [member.shape for member in archive.manifest.members]
    before = _rows(empty, shapes)
    assert all(before.values()), "every table has rows"
    assert schema_version(empty) == 1
    with pytest.raises(Refused, match=r"huiying serve"):
        check_version(empty)
    assert upgrade(empty) == SCHEMA_VERSION
    assert _rows(empty, shapes) == before
    with empty.connect() as conn:
        assert {row.browser_id for row in conn.execute(sa.select(session.c.browser_id))} == {""}
        assert count_rows(conn, "device_mark") == 0
        context = MigrationContext.configure(conn, opts={"compare_type": True, "version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
    store = Store(empty, FakeClock(), fixed_clock=True)
    assert verify(store).ok
    with pytest.raises(sa.exc.IntegrityError, match="只增不改"):
        _change(store, "DELETE FROM audit")


_TEXT_OF = {"audit": "actor", "clock_event": "what", "history": "what"}


def _change(store: Store, statement: str) -> None:
    with store.transaction("insider") as tx:
        tx.conn.exec_driver_sql(statement)


def _fill(store: Store) -> None:
    """One row in each append-only table."""
    with store.transaction("tester") as tx:
        tx.audit("test", "x", {})
        tx.run(unit.insert().values(id="u", name="示例市"))
        tx.run(
            incident.insert().values(
                id=1,
                no="2026-0001",
                kind="opinion",
                state="registered",
                unit_id="u",
                registered_at=tx.now,
                registered_by="p",
            )
        )
        tx.run(
            clock.insert().values(
                id=1,
                incident_id=1,
                cycle=1,
                key="k",
                origin="rule",
                rule_id="r",
                name="n",
                status="internal",
                anchor_field="registered_at",
                started_at=tx.now,
                due_at=tx.now,
                state="running",
            )
        )
        tx.run(
            clock_event.insert().values(
                clock_id=1, incident_id=1, at=tx.now, what="started", state_to="running", due_to=tx.now, detail={}
            )
        )
        tx.run(
            history.insert().values(
                incident_id=1, cycle=1, seq=1, what="registered", recorded_at=tx.now, recorded_by="p", detail={}
            )
        )


@pytest.mark.parametrize("verb", ["UPDATE", "DELETE"])
def test_append_only_tables_refuse_every_change(store: Store, verb: str):
    _fill(store)
    for table in APPEND_ONLY:
        change = f"UPDATE {table} SET {_TEXT_OF[table]} = 'forged'" if verb == "UPDATE" else f"DELETE FROM {table}"
        with pytest.raises(sa.exc.IntegrityError, match="只增不改"):
            _change(store, change)
        with store.reading() as tx:
            (row,) = tx.conn.exec_driver_sql(f"SELECT {_TEXT_OF[table]} FROM {table}").all()
            assert row[0] in {"tester", "started", "registered"}


@pytest.mark.postgres
def test_append_only_tables_refuse_to_be_emptied(pg_store: Store):
    _fill(pg_store)
    for table in APPEND_ONLY:
        with pytest.raises(sa.exc.IntegrityError, match="只增不改"):
            _change(pg_store, f"TRUNCATE {table} CASCADE")
