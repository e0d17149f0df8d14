"""PostgreSQL and the fences for commands about rules and the event log."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import timedelta
from pathlib import Path

from psycopg2.errors import UndefinedColumn, UndefinedTable
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from cli.client.running import require_servers, running_settings
from config.settings import Settings
from models.database.connection import STATEMENT_TIMEOUT, connect_database
from models.database.rules.publisher import Document
from models.errors import DatabaseUnavailableError, PermanentError
from models.installation.joining import shared
from models.state.connection import connect_state
from models.state.fleet.fences import Fences
from tasks.rules.publications import read_file


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


def log_database(settings: Settings) -> AbstractContextManager[Engine]:
    """The PostgreSQL of these settings, which may take as long as it needs for a statement.

    Raises:
        PermanentError: there is none, or it has not this version's tables.
    """
    return open_database(settings, "questline-log", statement_timeout=timedelta())


def rules_database() -> AbstractContextManager[Engine]:
    """The PostgreSQL of the running product, or the one that the environment names.

    Raises:
        PermanentError: there is none, or it has not this version's tables.
    """
    return open_database(running_settings(Settings()), "questline-rules")


@contextmanager
def rules_fences() -> Iterator[Fences]:
    """The fences of the running product, or of the Redis that the environment names.

    Raises:
        PermanentError: there is none.
        ConfigurationError: the environment names other shards than the installation has.
    """
    settings = running_settings(Settings())
    require_servers(settings)
    settings = shared(settings)  # the number of shards above all
    with closing(connect_state(settings.state)) as redis:
        yield Fences(redis, settings.shards)


def read_document(file: Path, *, lateness: timedelta | None = None) -> Document:
    """Read a challenges file from disk, with the bounds that ``lateness``, or else ``MAX_LATENESS``, sets.

    Raises:
        ConfigurationError: the file cannot be read.
        InvalidChallengesError: the file has faults.
    """
    return read_file(file, Settings().max_lateness if lateness is None else lateness)
