"""The daily partitions of events and evaluations: making and dropping them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import structlog
from sqlalchemy import Engine

from config.settings import Settings
from models.database.connection import database_errors

EVENTS, EVALUATIONS = "events", "evaluations"
"""The partitioned tables: by the day of ``occurred_at``, and of ``evaluated_at``."""
_LOCK = 7_305_116_274_001  # any number, the same wherever partitions are made

log = structlog.get_logger()


def partition_name(day: date, table: str = EVENTS) -> str:
    """The table that holds a day of events or of evaluations."""
    return f"{table}_{day:%Y%m%d}"


def days_around(now: datetime, lateness: timedelta, *, ahead: int = 2) -> list[date]:
    """Every UTC day an event may be accepted for: as far back as the accepted lateness, and some days ahead."""
    first = (now - lateness).astimezone(UTC).date()
    last = now.astimezone(UTC).date() + timedelta(days=ahead)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def ensure_partitions(engine: Engine, days: Iterable[date], table: str = EVENTS) -> None:
    """Create the partitions of these days where they are missing.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    with database_errors(), engine.begin() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        for day in sorted(set(days)):
            connection.exec_driver_sql(
                f"CREATE TABLE IF NOT EXISTS {partition_name(day, table)} PARTITION OF {table} "
                f"FOR VALUES FROM ('{day} 00:00:00+00') TO ('{day + timedelta(days=1)} 00:00:00+00')"
            )


def partitions_before(engine: Engine, limit: datetime) -> list[str]:
    """The partitions that hold nothing younger than ``limit``, oldest first within each table.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    first_kept = limit.astimezone(UTC).date()
    return [name for name in partition_names(engine) if _is_before(first_kept, name)]


def partition_names(engine: Engine) -> list[str]:
    """Every partition, oldest first within each table.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer, or has no tables yet.
    """
    with database_errors(), engine.connect() as connection:
        return list(
            connection.exec_driver_sql(
                "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
                " WHERE i.inhparent = ANY (ARRAY['events'::regclass, 'evaluations'::regclass]) ORDER BY c.relname"
            ).scalars()
        )


def drop_partition(engine: Engine, name: str) -> None:
    """Drop one partition in a transaction of its own; reads and writes of the table wait 4 s for it at most.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer, or the table was in use for too long.
    """
    with database_errors(), engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL lock_timeout = '4s'")
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")


@dataclass(frozen=True, slots=True)
class EventPartitions:
    """The partitions of events and evaluations, for the task that keeps them."""

    engine: Engine
    settings: Settings

    def make(self) -> None:
        """Make those of the days ahead; raises what ``prepare_database`` does."""
        prepare_database(self.engine, self.settings)

    def drop(self) -> None:
        """Drop those that are kept no longer; raises what ``drop_old_partitions`` does."""
        drop_old_partitions(self.engine, self.settings)


def prepare_database(engine: Engine, settings: Settings) -> None:
    """Make the partitions for every day that events may be accepted for, and evaluated on.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    now = datetime.now(UTC)
    ensure_partitions(engine, days_around(now, settings.max_lateness))
    ensure_partitions(engine, days_around(now, timedelta()), EVALUATIONS)


def drop_old_partitions(engine: Engine, settings: Settings) -> None:
    """Drop what is older than ``EVENT_RETENTION``, one partition at a time.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    if settings.event_retention is None:
        return
    for name in partitions_before(engine, datetime.now(UTC) - settings.event_retention):
        drop_partition(engine, name)
        log.info("partition_dropped", partition=name)


def _is_before(first_kept: date, name: str) -> bool:
    day = name.removeprefix(f"{EVENTS}_").removeprefix(f"{EVALUATIONS}_")
    return len(day) == 8 and day.isdecimal() and day < f"{first_kept:%Y%m%d}"  # others are not of our making
