"""Checks before the first work whether the PostgreSQL of the settings can be used."""

import structlog
from sqlalchemy import Engine

from config.settings import Settings
from models.database.connection import connect_database, database_errors
from models.database.server.transactions import require_in_force
from models.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    NotReadyError,
    OnlyReadsError,
    UnsuitableDatabaseError,
)

log = structlog.get_logger()


def require_suitable(settings: Settings) -> None:
    """Refuse a PostgreSQL that cannot be used as it is.

    Raises:
        ConfigurationError: its release, its encoding or the pooler before it; one line that says what to change.
        OnlyReadsError: it is a standby.
        DatabaseUnavailableError: it does not answer.
    """
    engine = connect_database(settings.database_url, application="questline-check", pool_size=1)
    try:
        check_database(engine)
    except UnsuitableDatabaseError as error:
        raise ConfigurationError(str(error)) from error
    finally:
        engine.dispose()


def refuse_unsuitable(engine: Engine) -> None:
    """The same for a process that goes on while PostgreSQL is away, or only reads for now.

    Raises:
        ConfigurationError: it cannot be used as it is; one line that says what to change.
    """
    try:
        check_database(engine)
    except UnsuitableDatabaseError as error:
        raise ConfigurationError(str(error)) from error
    except DatabaseUnavailableError as error:
        log.warning("database_not_checked", error=str(error))


def check_database(engine: Engine) -> None:
    """The same over an engine.

    Raises:
        UnsuitableDatabaseError: it cannot be used as it is.
        OnlyReadsError: it is a standby.
        DatabaseUnavailableError: it does not answer.
    """
    with database_errors(), engine.connect() as connection:
        require_in_force(connection)


def database_probe(engine: Engine) -> None:
    """Ask PostgreSQL whether it can be used and takes writes.

    Raises:
        DatabaseUnavailableError: it does not answer.
        NotReadyError: it cannot be used as it is, or is a standby.
    """
    try:
        check_database(engine)
    except (UnsuitableDatabaseError, OnlyReadsError) as error:
        raise NotReadyError(str(error).removeprefix("PostgreSQL ")) from error
