"""Alembic's entrance; ``huiying.store.schema`` hands over a connection that already holds the migration lock."""

from alembic import context

from huiying.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
