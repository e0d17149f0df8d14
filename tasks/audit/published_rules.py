"""The published rules and the lateness that reads of the event log go by."""

from datetime import timedelta

from sqlalchemy import Engine

from config.settings import Settings
from models.database.rules.publications import load
from models.rules.goals import Publications
from models.rules.matcher import Matcher
from tasks.audit.audit import Auditor
from tasks.audit.replay import RecallingMatcher
from tasks.rules.publications import parse_stored, reach_us


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


def late_by(settings: Settings) -> timedelta | None:
    """How much later than it happened an event may have been applied, where old events are dropped; else None."""
    return None if settings.event_retention is None else timedelta(microseconds=reach_us(settings))


def make_auditor(settings: Settings, engine: Engine) -> Auditor:
    """An auditor by the published rules."""
    return Auditor(engine, lambda: published_rules(engine, settings), late_by(settings), settings.event_retention)
