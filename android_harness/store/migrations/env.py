"""Alembic's environment: migrations run on a connection, in a transaction, that are given."""

from alembic import context

from android_harness.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
