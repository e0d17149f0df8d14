"""What commands on the event log share: the product's PostgreSQL, its rules, and a bar that says how far they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from psycopg2.errors import UndefinedColumn, UndefinedTable
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from config.settings import Settings
from models.cold.connection import connect_database
from models.cold.publications import load
from models.cold.reading import microseconds_of
from models.errors import PermanentError
from models.rules.calendar import PERIOD_MARGIN_US
from models.rules.goals import Publications
from models.rules.matching import Matcher
from worker.audit.replaying import RecallingMatcher
from worker.publications import parse_stored


@contextmanager
def log_database(settings: Settings) -> Iterator[Engine]:
    """The PostgreSQL of these settings, which may take as long as it needs for a statement.

    Raises:
        PermanentError: there is none, or it has not this version's tables.
    """
    if not settings.db_host:
        folder = settings.questline_data_dir
        raise PermanentError(f"Questline is not running on {folder}: start it with `questline up`, or set DB_HOST")
    engine = connect_database(settings.database_url, application="questline-log", statement_timeout=timedelta())
    try:
        yield engine
    except ProgrammingError as error:
        if isinstance(error.orig, UndefinedTable | UndefinedColumn):
            raise PermanentError("PostgreSQL has not this version's tables yet: run `questline migrate`") from error
        raise
    finally:
        engine.dispose()


def published_rules(engine: Engine, settings: Settings) -> Matcher:
    """All rules that were ever published, as the workers go by them.

    Raises:
        ConfigurationError: there are none.
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    return matcher_of(load(engine, parse_stored, since_us=0), settings)


def matcher_of(publications: Publications, settings: Settings) -> Matcher:
    """A matcher of logged events, with the workers' lateness."""
    return RecallingMatcher(publications, lateness_us=microseconds_of(settings.max_lateness) + PERIOD_MARGIN_US)


def progress_bar() -> Progress:
    """A bar on stderr, so that stdout holds the answer alone; only the last state where it is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        refresh_per_second=4,
    )
