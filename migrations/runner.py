"""Brings a database to the newest migration, one migrator at a time.

The lock belongs to the transaction, not to the session: behind a pooler the next transaction has another session.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

import migrations
from models.database.checks.schema_release import refuse_newer_schema
from models.database.connection import database_errors

_LOCK = 7_305_116_274_000  # any number, the same for every migration


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration, made in code: there is no alembic.ini to keep in step with the settings."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    return config


def migrate(engine: Engine, revision: str = "head") -> None:
    """Upgrade the database to a revision.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer, or a table was in use for too long.
        ConfigurationError: the database is of a later release.
    """
    refuse_newer_schema(engine)
    with database_errors(), engine.connect() as connection:
        while _advance(connection, revision):
            pass


def _advance(connection: Connection, revision: str) -> bool:
    """Run the next migration, in a transaction of its own; false where there is none."""
    with connection.begin():
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.exec_driver_sql("SET LOCAL lock_timeout = '4s'")
        config = alembic_config(connection)
        current = MigrationContext.configure(connection).get_current_revision()
        left = list(ScriptDirectory.from_config(config).iterate_revisions(revision, current or "base"))
        if not left:
            return False
        command.upgrade(config, left[-1].revision)
        return True
