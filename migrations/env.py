"""Alembic's environment: one transaction a migration, one migrator at a time, short lock waits."""

from alembic import context
from sqlalchemy import Connection

from models.cold.tables import metadata

_LOCK = 7_305_116_274_000  # any number, the same for all who migrate


def _belongs_to_the_model(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "table" and name is not None and name.startswith(("events_", "evaluations_")))


def run_migrations(connection: Connection) -> None:
    """Run the migrations on a connection that ``worker/migrating.py`` hands in."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_name=_belongs_to_the_model,
        transaction_per_migration=True,
        compare_type=True,
    )
    connection.exec_driver_sql("SET lock_timeout = '4s'")
    connection.exec_driver_sql("SELECT pg_advisory_lock(%s)", (_LOCK,))
    connection.commit()
    try:
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.exec_driver_sql("SELECT pg_advisory_unlock(%s)", (_LOCK,))
        connection.commit()


run_migrations(context.config.attributes["connection"])
