"""What commands on the event log share: the product's PostgreSQL, and its rules."""

from contextlib import AbstractContextManager
from datetime import timedelta

from sqlalchemy import Engine

from config.settings import Settings
from models.cold.publications import load
from models.rules.goals import Publications
from models.rules.matching import Matcher
from worker.audit.replaying import RecallingMatcher
from worker.cli.database import open_database
from worker.publications import parse_stored, reach_us


def log_database(settings: Settings) -> AbstractContextManager[Engine]:
    """The PostgreSQL of these settings, which may take as long as it needs for a statement.

    Raises:
        PermanentError: there is none, or it has not this version's tables.
    """
    return open_database(settings, "questline-log", statement_timeout=timedelta())


def published_rules(engine: Engine, settings: Settings) -> Matcher:
    """All rules that were ever published, as the workers go by them.

    Raises:
        ConfigurationError: there are none.
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    return matcher_of(load(engine, parse_stored, since_us=0), settings)


def matcher_of(publications: Publications, settings: Settings) -> Matcher:
    """A matcher of logged events, with the workers' lateness."""
    return RecallingMatcher(publications, lateness_us=reach_us(settings))
