"""The PostgreSQL that commands about rules and the event log work on."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from psycopg2.errors import UndefinedColumn, UndefinedTable
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from config.settings import Settings
from models.database.connection import STATEMENT_TIMEOUT, connect_database
from models.errors import DatabaseUnavailableError, PermanentError


@contextmanager
def open_database(
    settings: Settings, application: str, *, statement_timeout: timedelta = STATEMENT_TIMEOUT
) -> Iterator[Engine]:
    """The PostgreSQL of these settings, with the options of ``connect_database``.

    Raises:
        PermanentError: there is none, or it has not this version's tables.
    """
    if not settings.db_host:
        folder = settings.questline_data_dir
        raise PermanentError(f"Questline is not running on {folder}: start it with `questline up`, or set DB_HOST")
    url = settings.database_url
    engine = connect_database(url, application=application, statement_timeout=statement_timeout)
    try:
        yield engine
    except (ProgrammingError, DatabaseUnavailableError) as error:
        refused = error if isinstance(error, ProgrammingError) else error.__cause__
        if isinstance(getattr(refused, "orig", None), UndefinedTable | UndefinedColumn):
            raise PermanentError("PostgreSQL has not this version's tables yet: run `questline migrate`") from error
        raise
    finally:
        engine.dispose()
