"""Alembic's entrance; ``huiying.store.schema`` hands over a connection that already holds the migration lock."""

from alembic import context

from huiying.store.schema import VERSION_TABLE
from huiying.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
