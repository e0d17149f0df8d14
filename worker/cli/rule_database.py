"""What commands about published rules share: the running product's PostgreSQL, and files in its form."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from psycopg2.errors import UndefinedColumn, UndefinedTable
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from config.settings import Settings
from models.cold.connection import connect_database
from models.cold.publishing import Document
from models.errors import ConfigurationError, PermanentError
from models.rules.challenges import parse_challenges
from worker.services.running import running_settings


@contextmanager
def rules_database() -> Iterator[Engine]:
    """The PostgreSQL of the running product, or the one that the environment names.

    Raises:
        PermanentError: there is none, or it has not this version's tables.
    """
    settings = running_settings(Settings())
    if not settings.db_host:
        folder = settings.questline_data_dir
        raise PermanentError(f"Questline is not running on {folder}: start it with `questline up`, or set DB_HOST")
    engine = connect_database(settings.database_url, pool_size=1, application="questline-rules")
    try:
        yield engine
    except ProgrammingError as error:
        if isinstance(error.orig, UndefinedTable | UndefinedColumn):
            raise PermanentError("PostgreSQL has not this version's tables yet: run `questline migrate`") from error
        raise
    finally:
        engine.dispose()


def read_document(file: Path, *, lateness: timedelta | None = None) -> Document:
    """Read a challenges file from disk, with the bounds that ``lateness``, or else ``MAX_LATENESS``, sets.

    Raises:
        ConfigurationError: the file cannot be read.
        InvalidChallengesError: the file has faults.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror or error}") from error
    lateness = Settings().max_lateness if lateness is None else lateness
    return Document(content, parse_challenges(content, str(file), lateness=lateness), str(file))
