"""The daily partitions of the event log: made ahead, and on demand when a batch brings another day."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Engine

from models.cold.connection import database_errors

_LOCK = 7_305_116_274_001  # any number, the same for all who make partitions


def partition_name(day: date) -> str:
    """The table that holds a day's events."""
    return f"events_{day:%Y%m%d}"


def days_around(now: datetime, lateness: timedelta, *, ahead: int = 2) -> list[date]:
    """Every UTC day an event may be accepted for: as far back as the accepted lateness, and some days ahead."""
    first = (now - lateness).astimezone(UTC).date()
    last = now.astimezone(UTC).date() + timedelta(days=ahead)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def ensure_partitions(engine: Engine, days: Iterable[date]) -> None:
    """Create the partitions of these days where they are missing.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    with database_errors(), engine.begin() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        for day in sorted(set(days)):
            connection.exec_driver_sql(
                f"CREATE TABLE IF NOT EXISTS {partition_name(day)} PARTITION OF events "
                f"FOR VALUES FROM ('{day} 00:00:00+00') TO ('{day + timedelta(days=1)} 00:00:00+00')"
            )
