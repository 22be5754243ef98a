"""The version of the schema, and the way there: Alembic's migrations, forward only, under a lock.

Several processes may call ``upgrade`` at the same moment: one does the work, the others wait and find it done. All steps
are one transaction on both databases, so a crash in the middle leaves the former schema.
Revision ids are the numbers of ``SCHEMA_VERSION`` in four digits.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from huiying.domain.errors import Refused
from huiying.domain.sentences import said
from huiying.store.tables import SCHEMA_VERSION

_MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "huiying_version"  # a name of its own: Prefect's tables may lie in the same database
_LOCK_NUMBER = 0x48_75_69_79_69_6E_67  # "Huiying" in ASCII: the key of our advisory lock on PostgreSQL
_thread_lock = threading.Lock()  # Alembic keeps its context in module globals

#: Nothing in these tables is ever changed or taken away; triggers see to it on both databases.
APPEND_ONLY = ("audit", "clock_event", "history")


def upgrade(engine: Engine) -> int:
    """Bring the schema to this program's version; gives the version. A newer schema is refused, untouched."""
    found = schema_version(engine)
    if found == SCHEMA_VERSION:
        return found
    with engine.connect() as conn:
        lock_schema(conn)
        _refuse_newer(read_version(conn))
        migrate(conn, SCHEMA_VERSION)
        conn.commit()
    return SCHEMA_VERSION


def migrate(conn: Connection, version: int) -> None:
    """Run the steps up to a version inside the open transaction of a connection that holds the lock."""
    from alembic import command  # noqa: PLC0415 - a process that finds the schema up to date never loads Alembic
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = conn
    with _thread_lock:
        command.upgrade(config, f"{version:04d}")


def lock_schema(conn: Connection) -> None:
    """See to it that until the end of the transaction nobody else changes the schema."""
    if conn.dialect.name == "sqlite":
        driver: Any = conn.connection.driver_connection
        if not driver.in_transaction:
            conn.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_NUMBER})")


def schema_version(engine: Engine) -> int:
    """The version found in the database; 0 for an empty one."""
    with engine.connect() as conn:
        return read_version(conn)


def read_version(conn: Connection) -> int:
    """The version found by an open connection; 0 for a database without our tables."""
    if not sa.inspect(conn).has_table(VERSION_TABLE):
        return 0
    found = conn.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()  # noqa: S608 - our own constant
    return int(found) if found else 0


def check_version(engine: Engine) -> None:
    """Refuse to work on a schema that this program was not written for."""
    found = schema_version(engine)
    _refuse_newer(found)
    if found < SCHEMA_VERSION:
        raise Refused(
            said(
                "数据库结构版本为 %(found)s，本程序需要版本 %(wanted)s：请先启动一次本程序（huiying serve），启动时会自动备份并升级。数据未作任何改动。",
                found=found,
                wanted=SCHEMA_VERSION,
            ),
            found=found,
            needed=SCHEMA_VERSION,
        )


def _refuse_newer(found: int) -> None:
    if found > SCHEMA_VERSION:
        raise Refused(
            said(
                "数据库结构版本为 %(found)s，比本程序所知的版本 %(wanted)s 新：请改用新版程序。数据未作任何改动。",
                found=found,
                wanted=SCHEMA_VERSION,
            ),
            found=found,
            needed=SCHEMA_VERSION,
        )
