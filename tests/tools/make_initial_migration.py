"""Write ``0001_initial.py`` from ``huiying.store.tables``: ``python -m tests.tools.make_initial_migration``.

Only until the first release: from then on 0001 is history, and every change is a further step written by hand.
``tests/migration`` proves that the steps and the tables agree.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext

from huiying.domain.audit import GENESIS
from huiying.store import schema, tables, types

TARGET = Path(schema.__file__).parent / "migrations" / "versions" / "0001_initial.py"

_TEXT = '''"""The first schema: every table, and triggers that keep the append-only ones as they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_APPEND_ONLY = {append_only!r}
_REFUSAL = "本表只增不改,不得修改或删除"
_GENESIS = {genesis!r}


def upgrade() -> None:
    """Create everything."""
    _create_tables()
    for table in _APPEND_ONLY:
        _forbid_changes(table)
    head = sa.table("audit_head", sa.column("one"), sa.column("seq"), sa.column("hash"))
    op.execute(head.insert().values(one=1, seq=0, hash=_GENESIS))


def downgrade() -> None:
    """There is no way back: restore the backup taken before."""
    raise NotImplementedError("数据库结构只向前升级;需要退回时,请恢复升级前的备份。")


def _forbid_changes(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            name = f"{{table}}_no_{{verb.lower()}}"
            op.execute(f"CREATE TRIGGER {{name}} BEFORE {{verb}} ON {{table}} BEGIN SELECT RAISE(ABORT, '{{_REFUSAL}}'); END")
        return
    op.execute(
        "CREATE OR REPLACE FUNCTION huiying_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{{_REFUSAL}}' USING ERRCODE = 'restrict_violation', TABLE = TG_TABLE_NAME; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {{table}}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {{table}} "
        "FOR EACH STATEMENT EXECUTE FUNCTION huiying_append_only()"
    )


def _create_tables() -> None:  # noqa: PLR0915 - one statement for each table
{statements}
'''


def _render(kind: str, item: Any, _context: Any) -> Any:
    """Migrations name plain types: what our own types mean may change later, the columns of 0001 may not."""
    if kind == "type" and isinstance(item, types.Instant):
        return "sa.BigInteger()"
    if kind == "type" and isinstance(item, types.Json):
        return "sa.Text()"
    if kind == "server_default" and isinstance(getattr(item, "arg", None), sa.True_ | sa.False_):
        return "sa.true()" if isinstance(item.arg, sa.True_) else "sa.false()"
    return False


def make() -> str:
    """The source of the first migration."""
    engine = sa.create_engine("sqlite://")
    with engine.connect() as conn:
        context = MigrationContext.configure(
            conn, opts={"target_metadata": tables.metadata, "render_item": _render, "sqlalchemy_module_prefix": "sa."}
        )
        operations = produce_migrations(context, tables.metadata)
    assert operations.upgrade_ops is not None
    code = render_python_code(
        operations.upgrade_ops, render_item=_render, sqlalchemy_module_prefix="sa.", migration_context=context
    )
    lines = [line.rstrip() for line in code.splitlines() if not line.lstrip().startswith("#")]
    statements = textwrap.indent(textwrap.dedent("\n".join(lines)), "    ")
    return _TEXT.format(append_only=schema.APPEND_ONLY, genesis=GENESIS, statements=statements)


if __name__ == "__main__":
    TARGET.write_text(make(), encoding="utf-8")
    subprocess.run([Path(sys.executable).with_name("ruff"), "format", "--quiet", TARGET], check=True)
    print(f"wrote {TARGET.name}")
