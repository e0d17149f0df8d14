"""What commands on the event log share: the product's PostgreSQL."""

from contextlib import AbstractContextManager
from datetime import timedelta

from sqlalchemy import Engine

from cli.database.connection import open_database
from config.settings import Settings


def log_database(settings: Settings) -> AbstractContextManager[Engine]:
    """The PostgreSQL of these settings, which may take as long as it needs for a statement.

    Raises:
        PermanentError: there is none, or it has not this version's tables.
    """
    return open_database(settings, "questline-log", statement_timeout=timedelta())
