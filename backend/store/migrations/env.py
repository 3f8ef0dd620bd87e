"""Alembic's entry: runs the migrations on the connection, and in the transaction, that the caller holds."""

from __future__ import annotations

from alembic import context

from nextlabel.backend.store.migrations import VERSION_TABLE  # alembic runs this file by its path

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
