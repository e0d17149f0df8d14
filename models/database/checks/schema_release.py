"""Refuses tables in PostgreSQL that are of a later release than this one.

It runs at every start, so it asks for one value and does without Alembic, whose import takes its time.
"""

import structlog
from sqlalchemy import Engine

from models.database.connection import database_errors
from models.database.tables import NEWEST_MIGRATION
from models.errors import ConfigurationError, DatabaseUnavailableError, NotReadyError

_HAS_TABLES = "SELECT to_regclass('alembic_version') IS NOT NULL"
_REVISION = "SELECT max(version_num) FROM alembic_version"

log = structlog.get_logger()


def require_tables(engine: Engine) -> None:
    """Whether there are tables of Questline at all.

    Raises:
        NotReadyError: there are none, as in a database that was just made and not restored yet.
        DatabaseUnavailableError: PostgreSQL does not answer.
    """
    with database_errors(), engine.connect() as connection:
        if not connection.exec_driver_sql(_HAS_TABLES).scalar_one():
            raise NotReadyError("has no tables of Questline: run `questline migrate`, or restore the backup")


def refuse_newer_schema(engine: Engine) -> None:
    """Refuse tables of a later release.

    While PostgreSQL is away that is not known: the process goes on, as one does that was started before the migration.

    Raises:
        ConfigurationError: they are; one line that names both migrations.
    """
    try:
        with database_errors(), engine.connect() as connection:
            has_tables = connection.exec_driver_sql(_HAS_TABLES).scalar_one()
            revision = connection.exec_driver_sql(_REVISION).scalar_one() if has_tables else None
    except DatabaseUnavailableError as error:
        log.warning("schema_not_checked", error=str(error))
        return
    known = NEWEST_MIGRATION
    if revision is not None and revision > known:
        raise ConfigurationError(
            f"PostgreSQL's tables are of a later release (migration {revision}, this release knows up to {known}): "
            "start that release, or restore a backup of before its migration"
        )
