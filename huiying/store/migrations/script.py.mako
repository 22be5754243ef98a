"""${message}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One step forward, the same on SQLite and PostgreSQL."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """There is no way back: restore the backup taken before."""
    raise NotImplementedError("数据库结构只向前升级;需要退回时,请恢复升级前的备份。")
