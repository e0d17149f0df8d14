"""Alembic's environment.

``migrations/runner.py`` hands in a connection, and holds the transaction and the lock.
"""

from alembic import context
from sqlalchemy import Connection

from models.database.tables import metadata


def _belongs_to_the_model(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "table" and name is not None and name.startswith(("events_", "evaluations_")))


def run_migrations(connection: Connection) -> None:
    """Run the migrations that were asked for, in the transaction of the connection where it has one."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_name=_belongs_to_the_model,
        transaction_per_migration=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run_migrations(context.config.attributes["connection"])
