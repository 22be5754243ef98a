"""Marks of browsers from which a person has signed in before: their attempts are counted at a door of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A table of marks, and the browser that a session was opened in."""
    op.create_table(
        "device_mark",
        sa.Column("browser_id", sa.String(length=32), nullable=False),
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_device_mark_person_id_person")),
        sa.PrimaryKeyConstraint("browser_id", "person_id", name=op.f("pk_device_mark")),
    )
    op.create_index(op.f("ix_device_mark_secret_hash"), "device_mark", ["secret_hash"], unique=False)
    op.add_column("session", sa.Column("browser_id", sa.String(length=32), server_default="", nullable=False))


def downgrade() -> None:
    """There is no way back: restore the backup taken before."""
    raise NotImplementedError("数据库结构只向前升级；需要退回时，请恢复升级前的备份。")
